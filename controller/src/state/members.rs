//! The members of the cluster: who they are and where they are reached. Who of them votes is in the
//! Raft core's configuration; both are changed by the same log entries.

use super::wire;
use std::collections::BTreeMap;

/// The first identity of a cluster: its founder's.
pub const FOUNDER: u64 = 1;
/// The longest address of a member, in bytes: a domain name and a port.
const ADDRESS_BYTES_MAX: usize = 260;

/// The members of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Where each is reached, as `host:port`. Empty while the founder is alone.
    pub addresses: BTreeMap<u64, String>,
    /// The next identity to be given out. None is given out twice: a replica that was removed and
    /// comes back with an empty disk must not be taken for what it was.
    pub next_id: u64,
}

impl Default for Members {
    fn default() -> Members {
        Members { addresses: BTreeMap::new(), next_id: FOUNDER + 1 }
    }
}

impl Members {
    /// The member at an address.
    pub fn at(&self, address: &str) -> Option<u64> {
        self.addresses.iter().find(|(_, known)| *known == address).map(|(id, _)| *id)
    }

    /// True if the identity was given out, and taken away again.
    pub fn was_removed(&self, id: u64) -> bool {
        id < self.next_id && !self.addresses.is_empty() && !self.addresses.contains_key(&id)
    }

    /// As in the context of a configuration change.
    pub fn to_wire(&self) -> Vec<wire::Member> {
        let member =
            |(id, address): (&u64, &String)| wire::Member { id: *id, address: address.clone() };
        self.addresses.iter().map(member).collect()
    }

    /// From the context of a configuration change.
    pub fn from_wire(members: &[wire::Member], next_id: u64) -> Members {
        let addresses = members.iter().map(|member| (member.id, member.address.clone()));
        Members { addresses: addresses.collect(), next_id }
    }
}

/// Checks that a text is the address of a member: a host's name or address, and a port.
///
/// # Errors
/// What is wrong with it.
pub fn check_address(address: &str) -> Result<(), String> {
    let problem = |what: &str| Err(format!("address {address:?} {what}: expected HOST:PORT"));
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(format!("an address has more than {ADDRESS_BYTES_MAX} bytes"));
    }
    let Some((host, port)) = address.rsplit_once(':') else { return problem("has no port") };
    if host.is_empty() {
        return problem("has no host");
    }
    if !matches!(port.parse::<u16>(), Ok(1..)) {
        return problem("has no port from 1 to 65535");
    }
    let is_v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_right = match is_v6 {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')),
    };
    if is_right { Ok(()) } else { problem("names no host") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for good in ["10.0.0.1:6690", "[2001:db8::1]:6690", "controller-0.example.org:1"] {
            assert_eq!(check_address(good), Ok(()));
        }
        let cases = [
            ("10.0.0.1", "has no port"),
            (":6690", "has no host"),
            ("host:0", "has no port from 1"),
            ("host:99999", "has no port from 1"),
            ("2001:db8::1:6690", "names no host"),
            ("[10.0.0.1]:6690", "names no host"),
            ("a b:1", "names no host"),
        ];
        for (bad, expected) in cases {
            let error = check_address(bad).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn an_identity_that_was_taken_away_is_known() {
        let mut members = Members::default();
        assert!(!members.was_removed(1), "the founder is alone");
        members.addresses = BTreeMap::from([(1, "a:1".into()), (3, "c:1".into())]);
        members.next_id = 4;
        assert_eq!((members.was_removed(2), members.was_removed(4)), (true, false));
        assert_eq!((members.at("c:1"), members.at("b:1")), (Some(3), None));
        assert_eq!(Members::from_wire(&members.to_wire(), 4), members);
    }
}
