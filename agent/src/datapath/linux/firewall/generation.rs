//! The generation of the kernel's nftables: it grows with every transaction of anybody, so an audit
//! that finds the one it knows need not look further.

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::io;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = 10 << 8 | 16;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN`.
const GENERATION: u16 = 10 << 8 | 15;
const REQUEST: u16 = 1;
/// The attribute with the generation.
const GENERATION_ID: u16 = 1;
/// Of a message, and of what all messages of netfilter begin with.
const HEADER_BYTES: usize = 16;
const FAMILY_BYTES: usize = 4;

/// Asks the kernel for the generation in the network namespace of the calling thread.
pub(crate) fn generation() -> io::Result<u32> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    let mut request = Vec::with_capacity(HEADER_BYTES + FAMILY_BYTES);
    let length = u32::try_from(HEADER_BYTES + FAMILY_BYTES).unwrap_or_default();
    request.extend(length.to_ne_bytes());
    request.extend(GET_GENERATION.to_ne_bytes());
    request.extend(REQUEST.to_ne_bytes());
    request.extend([0; 8 + FAMILY_BYTES]);
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    parse(&answer).ok_or_else(|| io::Error::other("the kernel did not say its nftables generation"))
}

fn parse(answer: &[u8]) -> Option<u32> {
    let kind = answer.get(4..6)?;
    if kind != GENERATION.to_ne_bytes() {
        return None;
    }
    let mut attributes = answer.get(HEADER_BYTES + FAMILY_BYTES..)?;
    while let Some(&[l0, l1, t0, t1, ..]) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([t0, t1]) == GENERATION_ID {
            return value.try_into().ok().map(u32::from_be_bytes);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_found_and_nonsense_is_not_believed() {
        let mut answer = vec![0; HEADER_BYTES + FAMILY_BYTES];
        answer[4..6].copy_from_slice(&GENERATION.to_ne_bytes());
        answer.extend(8u16.to_ne_bytes());
        answer.extend(GENERATION_ID.to_ne_bytes());
        answer.extend(77u32.to_be_bytes());
        assert_eq!(parse(&answer), Some(77));
        for end in 0..answer.len() {
            assert_eq!(parse(&answer[..end]), None);
        }
        answer[HEADER_BYTES + FAMILY_BYTES..][..2].copy_from_slice(&0u16.to_ne_bytes());
        assert_eq!(parse(&answer), None);
    }
}
