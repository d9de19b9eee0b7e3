//! What a conjunct says about protocols, as entries of a service.

use super::super::expr::{Bytes, Conjunct};
use spanwire_topology::model::{IcmpVersion, ServiceEntry, TransportProtocol};

/// The most pairs of ICMP type and code that one conjunct may come to.
const ICMP_ENTRIES_MAX: usize = 64;

/// Which IP versions a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// Both.
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// The entries, any of which matches. The error says what cannot be said.
pub(super) fn services(conjunct: &Conjunct, family: Family) -> Result<Vec<ServiceEntry>, String> {
    if conjunct.protocols == Bytes::ALL {
        return Ok(vec![ServiceEntry::Any]);
    }
    if conjunct.protocols.contains(255) {
        let but: Vec<String> =
            conjunct.protocols.complement().iter().map(|number| number.to_string()).collect();
        return Err(format!("every IP protocol but {} cannot be named", but.join(", ")));
    }
    let mut entries = Vec::new();
    for number in conjunct.protocols.iter() {
        let transport = |protocol| ServiceEntry::Transport {
            protocol,
            ports: conjunct.ports.to_service(),
            source_ports: conjunct.source_ports.to_service(),
        };
        match (number, family) {
            (6, _) => entries.push(transport(TransportProtocol::Tcp)),
            (17, _) => entries.push(transport(TransportProtocol::Udp)),
            (132, _) => entries.push(transport(TransportProtocol::Sctp)),
            (1, Family::V4) => entries.extend(icmp(conjunct, IcmpVersion::V4)?),
            (58, Family::V6) => entries.extend(icmp(conjunct, IcmpVersion::V6)?),
            _ => return Err(format!("IP protocol {number} has no name in services")),
        }
    }
    Ok(entries)
}

/// True if the entries already say that the rule is about the family alone.
pub(super) fn imply_family(entries: &[ServiceEntry], family: Family) -> bool {
    let version = match family {
        Family::Both => return true,
        Family::V4 => IcmpVersion::V4,
        Family::V6 => IcmpVersion::V6,
    };
    entries.iter().all(
        |entry| matches!(entry, ServiceEntry::Icmp { version: found, .. } if *found == version),
    )
}

fn icmp(conjunct: &Conjunct, version: IcmpVersion) -> Result<Vec<ServiceEntry>, String> {
    let entry = |icmp_type, code| ServiceEntry::Icmp { version, icmp_type, code };
    let any_code = conjunct.icmp_codes == Bytes::ALL;
    if conjunct.icmp_types == Bytes::ALL {
        return match any_code {
            true => Ok(vec![entry(None, None)]),
            false => Err("an ICMP code without a type cannot be named".to_owned()),
        };
    }
    let mut entries = Vec::new();
    for icmp_type in conjunct.icmp_types.iter() {
        if any_code {
            entries.push(entry(Some(icmp_type), None));
        } else {
            let codes = conjunct.icmp_codes.iter();
            entries.extend(codes.map(|code| entry(Some(icmp_type), Some(code))));
        }
        if entries.len() > ICMP_ENTRIES_MAX {
            return Err(format!(
                "it comes to more than {ICMP_ENTRIES_MAX} pairs of ICMP type and code"
            ));
        }
    }
    Ok(entries)
}
