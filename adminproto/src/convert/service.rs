//! Services and their entries.

use super::error::{ConvertError, Path, Problem};
use super::fields::to_list;
use crate::wire;
use crate::wire::service_entry::Protocol;
use spanwire_topology::model::{
    IcmpVersion, PortRange, ServiceEntry, ServiceSpec, TransportProtocol,
};

type Result<T> = std::result::Result<T, ConvertError>;

pub(super) fn to_service(spec: &wire::ServiceSpec, path: &Path<'_>) -> Result<ServiceSpec> {
    let wire::ServiceSpec { entries } = spec;
    Ok(ServiceSpec { entries: to_list(entries, &path.field("entries"), to_entry)? })
}

pub(super) fn from_service(spec: &ServiceSpec) -> wire::ServiceSpec {
    let ServiceSpec { entries } = spec;
    wire::ServiceSpec { entries: entries.iter().map(from_entry).collect() }
}

pub(super) fn to_entry(entry: &wire::ServiceEntry, path: &Path<'_>) -> Result<ServiceEntry> {
    let wire::ServiceEntry { protocol: number, ports, source_ports, icmp_type, icmp_code } = entry;
    let protocol = Protocol::try_from(*number).unwrap_or_default();
    let transport = |protocol| -> Result<ServiceEntry> {
        Ok(ServiceEntry::Transport {
            protocol,
            ports: to_list(ports, &path.field("ports"), to_range)?,
            source_ports: to_list(source_ports, &path.field("source_ports"), to_range)?,
        })
    };
    let icmp = |version| -> Result<ServiceEntry> {
        let byte = |value: Option<u32>, name| value.map(|v| to_byte(v, &path.field(name)));
        let icmp_type = byte(*icmp_type, "icmp_type").transpose()?;
        let code = byte(*icmp_code, "icmp_code").transpose()?;
        if code.is_some() && icmp_type.is_none() {
            return Err(path.field("icmp_code").error(Problem::Contradiction(
                "a code means nothing without a type: set icmp_type as well",
            )));
        }
        Ok(ServiceEntry::Icmp { version, icmp_type, code })
    };
    let has_ports = !ports.is_empty() || !source_ports.is_empty();
    let has_icmp = icmp_type.is_some() || icmp_code.is_some();
    let (ports_allowed, icmp_allowed) = match protocol {
        Protocol::Unspecified => {
            return Err(path.field("protocol").error(Problem::UnknownEnum {
                number: *number,
                expected: "ANY, TCP, UDP, SCTP, ICMP or ICMPV6",
            }));
        }
        Protocol::Any => (false, false),
        Protocol::Tcp | Protocol::Udp | Protocol::Sctp => (true, false),
        Protocol::Icmp | Protocol::Icmpv6 => (false, true),
    };
    if has_ports && !ports_allowed {
        return Err(path.error(Problem::Contradiction(
            "only TCP, UDP and SCTP have ports: remove them, or change the protocol",
        )));
    }
    if has_icmp && !icmp_allowed {
        return Err(path.error(Problem::Contradiction(
            "only ICMP and ICMPv6 have a type and a code: remove them, or change the protocol",
        )));
    }
    match protocol {
        Protocol::Unspecified | Protocol::Any => Ok(ServiceEntry::Any),
        Protocol::Tcp => transport(TransportProtocol::Tcp),
        Protocol::Udp => transport(TransportProtocol::Udp),
        Protocol::Sctp => transport(TransportProtocol::Sctp),
        Protocol::Icmp => icmp(IcmpVersion::V4),
        Protocol::Icmpv6 => icmp(IcmpVersion::V6),
    }
}

/// The entry of a service that a message stands for.
///
/// Errors name the field, as in `entry.ports[0]`.
pub fn to_service_entry(entry: &wire::ServiceEntry) -> Result<ServiceEntry> {
    to_entry(entry, &Path::Root("entry"))
}

/// An entry of a service as a message.
pub fn from_entry(entry: &ServiceEntry) -> wire::ServiceEntry {
    let empty = wire::ServiceEntry::default();
    match entry {
        ServiceEntry::Any => wire::ServiceEntry { protocol: Protocol::Any.into(), ..empty },
        ServiceEntry::Transport { protocol, ports, source_ports } => wire::ServiceEntry {
            protocol: match protocol {
                TransportProtocol::Tcp => Protocol::Tcp,
                TransportProtocol::Udp => Protocol::Udp,
                TransportProtocol::Sctp => Protocol::Sctp,
            }
            .into(),
            ports: ports.iter().map(from_range).collect(),
            source_ports: source_ports.iter().map(from_range).collect(),
            ..empty
        },
        ServiceEntry::Icmp { version, icmp_type, code } => wire::ServiceEntry {
            protocol: match version {
                IcmpVersion::V4 => Protocol::Icmp,
                IcmpVersion::V6 => Protocol::Icmpv6,
            }
            .into(),
            icmp_type: icmp_type.map(u32::from),
            icmp_code: code.map(u32::from),
            ..empty
        },
    }
}

fn to_range(range: &wire::PortRange, path: &Path<'_>) -> Result<PortRange> {
    let wire::PortRange { first, last } = *range;
    let port = |value: u32, name| {
        u16::try_from(value).map_err(|_| {
            path.field(name).error(Problem::OutOfRange {
                found: value.into(),
                min: 0,
                max: u16::MAX.into(),
            })
        })
    };
    PortRange::new(port(first, "first")?, port(last, "last")?)
        .ok_or_else(|| path.error(Problem::EmptyRange { first, last }))
}

fn from_range(range: &PortRange) -> wire::PortRange {
    wire::PortRange { first: range.first().into(), last: range.last().into() }
}

pub(super) fn to_byte(value: u32, path: &Path<'_>) -> Result<u8> {
    u8::try_from(value).map_err(|_| {
        path.error(Problem::OutOfRange { found: value.into(), min: 0, max: u8::MAX.into() })
    })
}
