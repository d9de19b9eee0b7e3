//! Tells whether anything of ours may have changed in the kernel, so that an audit need not read
//! twenty thousand routes every few seconds to find that all is well.

use crate::datapath::DatapathError;
use crate::datapath::linux::names::PROTOCOL;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::BTreeSet;
use std::io;

/// Groups of notifications: `RTNLGRP_LINK`, `NEIGH`, `IPV4_IFADDR`, `IPV4_ROUTE`, `IPV4_RULE`,
/// `IPV6_IFADDR`, `IPV6_ROUTE`, `IPV6_RULE`.
const GROUPS: [u32; 8] = [1, 3, 5, 7, 8, 9, 11, 19];
/// Notifications that say more than that something changed: `RTM_NEWROUTE`, `RTM_DELROUTE`,
/// `RTM_NEWNEIGH`, `RTM_DELNEIGH`.
const ROUTES: [u16; 2] = [24, 25];
const NEIGHBOURS: [u16; 2] = [28, 29];
/// The size of the receive buffer, in bytes. If it overflows, everything is read again.
const RECEIVE_BUFFER_BYTES: usize = 1 << 18;
const HEADER_BYTES: usize = 16;

/// The socket.
pub(crate) struct Watch {
    socket: Socket,
}

impl Watch {
    /// Watches the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// If the kernel does not give the socket.
    pub(crate) fn open() -> Result<Watch, DatapathError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in GROUPS {
                socket.add_membership(group)?;
            }
            socket.set_rx_buf_sz(RECEIVE_BUFFER_BYTES)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        open().map(|socket| Watch { socket }).map_err(|source| DatapathError::Netlink {
            what: "watch the network".to_owned(),
            message: source.to_string(),
        })
    }

    /// True if something that may concern us has changed since the last call: routes of our
    /// protocol, neighbours on these devices, and any device, address or rule.
    pub(crate) fn has_changes(&mut self, devices: &BTreeSet<u32>) -> bool {
        let mut changes = false;
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => changes |= concerns_us(&datagram, devices),
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => return changes,
                // Notifications were lost (ENOBUFS), or worse.
                Err(_) => {
                    changes = true;
                    if !self.can_go_on() {
                        return true;
                    }
                }
            }
        }
    }

    /// True if the socket still works: after an overflow the next call says that it is empty.
    fn can_go_on(&self) -> bool {
        match self.socket.recv_from_full() {
            Ok(_) => true,
            Err(source) => source.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

fn concerns_us(datagram: &[u8], devices: &BTreeSet<u32>) -> bool {
    let mut rest = datagram;
    while let Some(&[a, b, c, d, k0, k1, ..]) = rest.get(..HEADER_BYTES) {
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(message) = rest.get(..length).filter(|_| length >= HEADER_BYTES) else {
            return true;
        };
        let body = &message[HEADER_BYTES..];
        let kind = u16::from_ne_bytes([k0, k1]);
        let concerns = if ROUTES.contains(&kind) {
            // struct rtmsg: family, two lengths, tos, table, protocol.
            body.get(5).is_none_or(|protocol| *protocol == PROTOCOL)
        } else if NEIGHBOURS.contains(&kind) {
            // struct ndmsg: family, three bytes of padding, the device.
            let index = body.get(4..8).and_then(|index| index.try_into().ok());
            index.is_none_or(|index| devices.contains(&u32::from_ne_bytes(index)))
        } else {
            true
        };
        if concerns {
            return true;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = (HEADER_BYTES + body.len()) as u32;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    #[test]
    fn only_what_may_be_ours_counts() {
        let devices = BTreeSet::from([7]);
        let route = |protocol| message(24, &[2, 32, 0, 0, 254, protocol, 0, 1]);
        let neighbour = |index: u8| message(28, &[2, 0, 0, 0, index, 0, 0, 0]);
        assert!(concerns_us(&route(PROTOCOL), &devices));
        assert!(!concerns_us(&route(186), &devices));
        assert!(concerns_us(&neighbour(7), &devices));
        assert!(!concerns_us(&neighbour(8), &devices));
        assert!(concerns_us(&message(16, &[]), &devices));
        let several = [route(186), neighbour(8), route(PROTOCOL)].concat();
        assert!(concerns_us(&several, &devices));
        // What cannot be understood is looked into.
        assert!(concerns_us(&message(24, &[]), &devices));
        assert!(!concerns_us(&[], &devices));
    }
}
