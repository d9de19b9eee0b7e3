//! Services and their entries.

use super::context::{Context, Fields, found};
use crate::tree::{Node, Value};
use spanwire_topology::model::{
    IcmpVersion, PortRange, ServiceEntry, ServiceSpec, TransportProtocol,
};

/// The protocols of documents.
#[derive(Clone, Copy)]
enum Protocol {
    Any,
    Transport(TransportProtocol),
    Icmp(IcmpVersion),
}

const PROTOCOLS: [(&str, Protocol); 6] = [
    ("tcp", Protocol::Transport(TransportProtocol::Tcp)),
    ("udp", Protocol::Transport(TransportProtocol::Udp)),
    ("sctp", Protocol::Transport(TransportProtocol::Sctp)),
    ("icmp", Protocol::Icmp(IcmpVersion::V4)),
    ("icmpv6", Protocol::Icmp(IcmpVersion::V6)),
    ("any", Protocol::Any),
];

pub(super) fn read_service(context: &Context<'_>, node: &Node) -> Option<ServiceSpec> {
    let mut fields = context.fields(node, "a mapping with entries")?;
    let entries = fields.required("entries", "a list of protocols and ports");
    fields.finish();
    let entries = context.list(entries?, "entries");
    Some(ServiceSpec {
        entries: entries.iter().filter_map(|node| read_entry(context, node)).collect(),
    })
}

pub(super) fn read_entry(context: &Context<'_>, node: &Node) -> Option<ServiceEntry> {
    let mut fields = context.fields(node, "a mapping with a protocol")?;
    let expected = "tcp, udp, sctp, icmp, icmpv6 or any";
    let protocol = fields.required("protocol", expected);
    let protocol = protocol.and_then(|node| context.word(node, &PROTOCOLS, expected));
    let ports = read_ranges(context, &mut fields, "ports");
    let source_ports = read_ranges(context, &mut fields, "sourcePorts");
    let byte = |node: Option<&Node>| -> Option<u8> {
        let number = context.number(node?, u8::MAX.into())?;
        u8::try_from(number).ok()
    };
    let icmp_type = byte(fields.optional("type"));
    let code = byte(fields.optional("code"));
    let protocol = protocol?;
    if !matches!(protocol, Protocol::Transport(_)) {
        refuse(&fields, &["ports", "sourcePorts"], "only tcp, udp and sctp have ports");
    }
    if !matches!(protocol, Protocol::Icmp(_)) {
        refuse(&fields, &["type", "code"], "only icmp and icmpv6 have a type and a code");
    } else if fields.has("code") && !fields.has("type") {
        fields.error("code", "a code means nothing without a type: add the type");
    }
    fields.finish();
    Some(match protocol {
        Protocol::Any => ServiceEntry::Any,
        Protocol::Transport(protocol) => ServiceEntry::Transport { protocol, ports, source_ports },
        Protocol::Icmp(version) => ServiceEntry::Icmp { version, icmp_type, code },
    })
}

fn refuse(fields: &Fields<'_, '_>, names: &[&str], reason: &str) {
    for name in names {
        if fields.has(name) {
            fields.error(name, format_args!("{reason}: remove it, or change the protocol"));
        }
    }
}

fn read_ranges(
    context: &Context<'_>,
    fields: &mut Fields<'_, '_>,
    name: &'static str,
) -> Vec<PortRange> {
    fields.list(name, "ports and ranges", |node| read_range(context, node))
}

/// A port, or a range of ports as `"8000-8080"`.
fn read_range(context: &Context<'_>, node: &Node) -> Option<PortRange> {
    if let Value::Scalar { text, .. } = &node.value
        && let Some((first, last)) = text.split_once('-')
        && let (Ok(first), Ok(last)) = (first.trim().parse::<u64>(), last.trim().parse::<u64>())
    {
        let (Ok(low), Ok(high)) = (u16::try_from(first), u16::try_from(last)) else {
            context.error(
                node,
                format_args!("{first}-{last} is out of range: expected ports from 0 to 65535"),
            );
            return None;
        };
        let range = PortRange::new(low, high);
        if range.is_none() {
            context.error(
                node,
                format_args!("the range {first}-{last} is empty: did you mean {last}-{first}?"),
            );
        }
        return range;
    }
    let port = match &node.value {
        Value::Scalar { text, .. } => text.trim().parse::<i128>().ok(),
        _ => None,
    };
    let Some(port) = port else {
        let problem = format_args!(
            "expected a port such as 443, or a range such as \"8000-8080\", found {}",
            found(node)
        );
        context.error(node, problem);
        return None;
    };
    let fitting = u16::try_from(port).ok();
    if fitting.is_none() {
        context.error(node, format_args!("{port} is out of range: expected 0 to {}", u16::MAX));
    }
    fitting.map(PortRange::single)
}
