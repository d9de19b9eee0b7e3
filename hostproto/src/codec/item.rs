//! Items that are messages of their own: domains, ports and policies.
//!
//! Everything is taken apart field by field, so that a new field asks for a decision here.

use super::addresses::{decode_addresses, encode_addresses, sorted};
use super::error::DecodeError;
use super::key::vni_from_wire;
use crate::limits::{DOMAINS_MAX, INTERFACE_BYTES_MAX};
use crate::wire;
use bytes::Bytes;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, IcmpVersion, Mac, PortAttachment, PortRange, ServiceEntry,
    Text, TransportProtocol, Uid, Vni, check_name,
};
use spanwire_topology::view::{DomainItem, PeerItem, PolicyItem, PortItem, RuleItem};
use std::fmt::Display;

/// IANA protocol numbers of what has no ports.
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;

fn bad<T>(
    what: &'static str,
    found: impl Display,
    expected: &'static str,
) -> Result<T, DecodeError> {
    Err(DecodeError::Value { what, found: found.to_string(), expected })
}

pub(super) fn domain_to_wire(item: &DomainItem) -> wire::DomainItem {
    let DomainItem { sees, reaches, spoofable } = item;
    let numbers = |list: &[Vni]| sorted(list).iter().map(|domain| domain.0).collect();
    wire::DomainItem { sees: numbers(sees), reaches: numbers(reaches), spoofable: *spoofable }
}

pub(super) fn domain_from_wire(item: wire::DomainItem) -> Result<DomainItem, DecodeError> {
    let wire::DomainItem { sees, reaches, spoofable } = item;
    Ok(DomainItem {
        sees: domains_from_wire("domain seen", &sees)?,
        reaches: domains_from_wire("domain reached", &reaches)?,
        spoofable,
    })
}

fn domains_from_wire(what: &'static str, numbers: &[u32]) -> Result<Vec<Vni>, DecodeError> {
    if numbers.len() > DOMAINS_MAX {
        let (count, max) = (numbers.len() as u64, DOMAINS_MAX as u64);
        return Err(DecodeError::Limit { what, count, max });
    }
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
        return bad(what, pair[1], "more than the one before");
    }
    numbers.iter().map(|number| vni_from_wire(what, *number)).collect()
}

pub(super) fn port_to_wire(item: &PortItem) -> wire::PortItem {
    use wire::port_item::Attachment;
    let PortItem { project, name, domain, mac, addresses, attachment, port_security, groups } =
        item;
    wire::PortItem {
        project: project.to_string(),
        name: name.to_string(),
        domain: domain.0,
        mac: Bytes::copy_from_slice(&mac.octets()),
        addresses: encode_addresses(addresses).into(),
        attachment: match attachment {
            PortAttachment::Derived => None,
            PortAttachment::Interface(device) => Some(Attachment::Interface(device.to_string())),
            PortAttachment::HostStack => Some(Attachment::HostStack(true)),
        },
        port_security: *port_security,
        groups: uids_to_wire(groups),
    }
}

pub(super) fn port_from_wire(item: wire::PortItem) -> Result<PortItem, DecodeError> {
    use wire::port_item::Attachment;
    let wire::PortItem { project, name, domain, mac, addresses, attachment, port_security, groups } =
        item;
    Ok(PortItem {
        project: name_from_wire("project of port", project)?,
        name: name_from_wire("name of port", name)?,
        domain: vni_from_wire("domain of port", domain)?,
        mac: mac_from_wire(&mac)?,
        addresses: decode_addresses("addresses of port", &addresses)?,
        attachment: match attachment {
            None => PortAttachment::Derived,
            Some(Attachment::Interface(device)) => {
                if device.is_empty() || device.len() > INTERFACE_BYTES_MAX {
                    return bad("interface of port", format!("{device:?}"), "1 to 15 bytes");
                }
                PortAttachment::Interface(device.into())
            }
            Some(Attachment::HostStack(true)) => PortAttachment::HostStack,
            Some(Attachment::HostStack(false)) => return bad("host_stack", "false", "true"),
        },
        port_security,
        groups: uids_from_wire("group of port", groups)?,
    })
}

fn uids_to_wire(uids: &[Uid]) -> Vec<u64> {
    sorted(uids).iter().map(|uid| uid.0).collect()
}

fn uids_from_wire(what: &'static str, numbers: Vec<u64>) -> Result<Vec<Uid>, DecodeError> {
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
        return bad(what, pair[1], "more than the one before");
    }
    Ok(numbers.into_iter().map(Uid).collect())
}

fn name_from_wire(what: &'static str, name: String) -> Result<Text, DecodeError> {
    match check_name(what, &name) {
        Ok(()) => Ok(name.into()),
        Err(error) => bad(what, error, "a name"),
    }
}

fn mac_from_wire(bytes: &[u8]) -> Result<Mac, DecodeError> {
    let Ok(octets) = <[u8; 6]>::try_from(bytes) else {
        return bad("MAC address of port", format!("{} bytes", bytes.len()), "6 bytes");
    };
    Mac::new(octets).or_else(|error| bad("MAC address of port", error, "a unicast address"))
}

pub(super) fn policy_to_wire(item: &PolicyItem) -> wire::PolicyItem {
    let PolicyItem { project, name, applied_to, tier, priority, defaults, rules } = item;
    let DefaultActions { inbound, outbound } = defaults;
    wire::PolicyItem {
        project: project.to_string(),
        name: name.to_string(),
        tier: u32::from(*tier),
        priority: *priority,
        default_in: inbound.map_or(wire::Action::Unspecified, action_to_wire).into(),
        default_out: outbound.map_or(wire::Action::Unspecified, action_to_wire).into(),
        rules: rules.iter().map(rule_to_wire).collect(),
        applied_to: uids_to_wire(applied_to),
    }
}

pub(super) fn policy_from_wire(item: wire::PolicyItem) -> Result<PolicyItem, DecodeError> {
    let wire::PolicyItem {
        project,
        name,
        tier,
        priority,
        default_in,
        default_out,
        rules,
        applied_to,
    } = item;
    Ok(PolicyItem {
        project: name_from_wire("project of policy", project)?,
        name: name_from_wire("name of policy", name)?,
        applied_to: uids_from_wire("group that a policy is applied to", applied_to)?,
        tier: u16::try_from(tier).or_else(|_| bad("tier of policy", tier, "at most 65535"))?,
        priority,
        defaults: DefaultActions {
            inbound: action_from_wire("inbound default", default_in)?,
            outbound: action_from_wire("outbound default", default_out)?,
        },
        rules: rules.into_iter().map(rule_from_wire).collect::<Result<_, _>>()?,
    })
}

fn action_to_wire(action: Action) -> wire::Action {
    match action {
        Action::Allow => wire::Action::Allow,
        Action::Drop => wire::Action::Drop,
        Action::Reject => wire::Action::Reject,
        Action::Pass => wire::Action::Pass,
    }
}

/// `None` for the value that stands for no action.
fn action_from_wire(what: &'static str, number: i32) -> Result<Option<Action>, DecodeError> {
    match wire::Action::try_from(number) {
        Ok(wire::Action::Unspecified) => Ok(None),
        Ok(wire::Action::Allow) => Ok(Some(Action::Allow)),
        Ok(wire::Action::Drop) => Ok(Some(Action::Drop)),
        Ok(wire::Action::Reject) => Ok(Some(Action::Reject)),
        Ok(wire::Action::Pass) => Ok(Some(Action::Pass)),
        Err(_) => bad(what, number, "0 to 4"),
    }
}

fn rule_to_wire(rule: &RuleItem) -> wire::RuleItem {
    let RuleItem { name, direction, peers, services, action, log } = rule;
    wire::RuleItem {
        name: name.as_ref().map(ToString::to_string).unwrap_or_default(),
        inbound: direction.is_in(),
        outbound: direction.is_out(),
        has_peers: peers.is_some(),
        peers: peers.iter().flatten().map(peer_to_wire).collect(),
        has_services: services.is_some(),
        services: services.iter().flatten().map(service_to_wire).collect(),
        action: action_to_wire(*action).into(),
        log: *log,
    }
}

fn rule_from_wire(rule: wire::RuleItem) -> Result<RuleItem, DecodeError> {
    let wire::RuleItem {
        name,
        inbound,
        outbound,
        has_peers,
        peers,
        has_services,
        services,
        action,
        log,
    } = rule;
    if !has_peers && !peers.is_empty() {
        return bad("number of peers", peers.len(), "0, as the rule says it has none");
    }
    if !has_services && !services.is_empty() {
        return bad("number of services", services.len(), "0, as the rule says it has none");
    }
    let services: Vec<ServiceEntry> =
        services.into_iter().map(service_from_wire).collect::<Result<_, _>>()?;
    Ok(RuleItem {
        name: (!name.is_empty()).then(|| name.into()),
        direction: match (inbound, outbound) {
            (true, false) => Direction::In,
            (false, true) => Direction::Out,
            (true, true) => Direction::Both,
            (false, false) => return bad("direction of rule", "none", "inbound, outbound or both"),
        },
        peers: has_peers.then(|| peers.into_iter().map(peer_from_wire).collect()),
        services: has_services.then_some(services),
        action: match action_from_wire("action of rule", action)? {
            Some(action) => action,
            None => return bad("action of rule", 0, "1 to 4"),
        },
        log,
    })
}

fn peer_to_wire(peer: &PeerItem) -> wire::PeerItem {
    let PeerItem { group, negate } = *peer;
    wire::PeerItem { group: group.0, negate }
}

fn peer_from_wire(peer: wire::PeerItem) -> PeerItem {
    let wire::PeerItem { group, negate } = peer;
    PeerItem { group: Uid(group), negate }
}

fn service_to_wire(entry: &ServiceEntry) -> wire::ServiceEntry {
    let numbers = |ranges: &[PortRange]| {
        ranges.iter().flat_map(|range| [range.first().into(), range.last().into()]).collect()
    };
    match entry {
        ServiceEntry::Any => wire::ServiceEntry::default(),
        ServiceEntry::Transport { protocol, ports, source_ports } => wire::ServiceEntry {
            protocol: protocol.number().into(),
            ports: numbers(ports),
            source_ports: numbers(source_ports),
            icmp_type: None,
            icmp_code: None,
        },
        ServiceEntry::Icmp { version, icmp_type, code } => wire::ServiceEntry {
            protocol: match version {
                IcmpVersion::V4 => ICMP,
                IcmpVersion::V6 => ICMPV6,
            },
            ports: Vec::new(),
            source_ports: Vec::new(),
            icmp_type: icmp_type.map(u32::from),
            icmp_code: code.map(u32::from),
        },
    }
}

fn service_from_wire(entry: wire::ServiceEntry) -> Result<ServiceEntry, DecodeError> {
    let wire::ServiceEntry { protocol, ports, source_ports, icmp_type, icmp_code } = entry;
    let version = match protocol {
        ICMP => Some(IcmpVersion::V4),
        ICMPV6 => Some(IcmpVersion::V6),
        _ => None,
    };
    if version.is_none() && (icmp_type.is_some() || icmp_code.is_some()) {
        return bad("ICMP type or code", "set", "unset, as the protocol is not ICMP");
    }
    let transport = match protocol {
        6 => Some(TransportProtocol::Tcp),
        17 => Some(TransportProtocol::Udp),
        132 => Some(TransportProtocol::Sctp),
        _ => None,
    };
    if transport.is_none() && !(ports.is_empty() && source_ports.is_empty()) {
        return bad("ports", "set", "unset, as the protocol has none");
    }
    match (transport, version) {
        (Some(protocol), _) => Ok(ServiceEntry::Transport {
            protocol,
            ports: ranges_from_wire(&ports)?,
            source_ports: ranges_from_wire(&source_ports)?,
        }),
        (None, Some(version)) => {
            if icmp_type.is_none() && icmp_code.is_some() {
                return bad("ICMP code", "set", "unset, as there is no type");
            }
            Ok(ServiceEntry::Icmp {
                version,
                icmp_type: icmp_from_wire("ICMP type", icmp_type)?,
                code: icmp_from_wire("ICMP code", icmp_code)?,
            })
        }
        (None, None) if protocol == 0 => Ok(ServiceEntry::Any),
        (None, None) => bad("protocol", protocol, "0, 1, 6, 17, 58 or 132"),
    }
}

fn icmp_from_wire(what: &'static str, number: Option<u32>) -> Result<Option<u8>, DecodeError> {
    match number.map(u8::try_from).transpose() {
        Ok(number) => Ok(number),
        Err(_) => bad(what, number.unwrap_or_default(), "at most 255"),
    }
}

fn ranges_from_wire(numbers: &[u32]) -> Result<Vec<PortRange>, DecodeError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return bad("number of port limits", numbers.len(), "pairs of first and last port");
    }
    pairs
        .iter()
        .map(|&[first, last]| {
            let limits = (u16::try_from(first), u16::try_from(last));
            match limits {
                (Ok(first), Ok(last)) => PortRange::new(first, last),
                _ => None,
            }
            .map_or_else(
                || bad("port range", format!("{first}-{last}"), "first <= last <= 65535"),
                Ok,
            )
        })
        .collect()
}
