//! Hosts, switches, routers and ports.

use super::context::Context;
use crate::tree::{Node, Value};
use spanwire_topology::model::{
    HostSpec, LogicalPortSpec, LogicalRouterSpec, LogicalSwitchSpec, Mac, PORT_ADDRESSES_MAX,
    PortAttachment, RouterInterface, Text, check_device_name, parse_address, parse_cidr,
};
use std::net::IpAddr;

const SWITCH: &str = "the switch, as name or project/name";

pub(super) fn read_host(context: &Context<'_>, node: &Node) -> Option<HostSpec> {
    let mut fields = context.fields(node, "a mapping with vtep, or {}")?;
    let vtep = fields.optional("vtep").and_then(|node| read_address(context, node));
    fields.finish();
    Some(HostSpec { vtep })
}

pub(super) fn read_switch(context: &Context<'_>, node: &Node) -> Option<LogicalSwitchSpec> {
    let mut fields = context.fields(node, "a mapping with subnets, or {}")?;
    let subnets = fields.list("subnets", "CIDRs", |node| context.parse(node, "a CIDR", parse_cidr));
    fields.finish();
    Some(LogicalSwitchSpec { subnets })
}

pub(super) fn read_router(
    context: &Context<'_>,
    node: &Node,
    project: &Text,
) -> Option<LogicalRouterSpec> {
    let mut fields =
        context.fields(node, "a mapping with interfaces, advertise, uplinks and peerings")?;
    let interfaces =
        fields.list("interfaces", "interfaces", |node| read_interface(context, node, project));
    let advertise = fields.optional("advertise").and_then(|node| context.boolean(node));
    let router = |node| context.reference(node, project, "router");
    let uplinks = fields.list("uplinks", "routers", router);
    let peerings = fields.list("peerings", "routers", router);
    fields.finish();
    Some(LogicalRouterSpec { interfaces, advertise: advertise.unwrap_or(true), uplinks, peerings })
}

fn read_interface(context: &Context<'_>, node: &Node, project: &Text) -> Option<RouterInterface> {
    let mut fields = context.fields(node, "a mapping with switch and addresses")?;
    let switch = fields.required("switch", SWITCH);
    let switch = switch.and_then(|node| context.reference(node, project, "switch"));
    let addresses = fields.list("addresses", "IP addresses", |node| read_address(context, node));
    fields.finish();
    Some(RouterInterface { switch: switch?, addresses })
}

pub(super) fn read_port(
    context: &Context<'_>,
    node: &Node,
    project: &Text,
) -> Option<LogicalPortSpec> {
    let mut fields = context.fields(node, "a mapping with switch, addresses and host")?;
    let switch = fields.required("switch", SWITCH);
    let switch = switch.and_then(|node| context.reference(node, project, "switch"));
    let addresses: Vec<IpAddr> =
        fields.list("addresses", "IP addresses", |node| read_address(context, node));
    let addresses_given = match fields.optional("addresses").map(|node| &node.value) {
        Some(Value::List(list)) => !list.is_empty(),
        given => given.is_some(),
    };
    if addresses.len() > PORT_ADDRESSES_MAX {
        let found = addresses.len();
        let problem = format_args!("{found} addresses: the most is {PORT_ADDRESSES_MAX}");
        fields.error("addresses", problem);
    }
    let mac = match (fields.optional("mac"), addresses.first()) {
        (Some(node), _) => context.parse(node, "a MAC address", str::parse),
        (None, _) if fields.has("mac") => None, // without a value, which has been reported
        (None, Some(address)) => Some(Mac::derived_from(*address)),
        (None, None) if addresses_given => None, // none of them an address, as has been reported
        (None, None) => {
            let problem = "missing: expected a MAC address, or an address to derive one from";
            fields.error("mac", problem);
            None
        }
    };
    let host = fields.optional("host").and_then(|node| context.name(node, "host"));
    let interface = fields.optional("interface").and_then(|node| {
        context.parse(node, "the name of a device", |text| {
            check_device_name(text).map(|()| Text::from(text))
        })
    });
    let host_stack = fields.optional("hostStack").and_then(|node| context.boolean(node));
    let attachment = match (interface, host_stack.unwrap_or(false)) {
        (Some(_), true) => {
            let problem = "the host's own stack has no interface: keep one of the two";
            fields.error("hostStack", problem);
            return None;
        }
        (Some(name), false) => PortAttachment::Interface(name),
        (None, true) => PortAttachment::HostStack,
        (None, false) => PortAttachment::Derived,
    };
    let port_security = fields.optional("portSecurity").and_then(|node| context.boolean(node));
    fields.finish();
    Some(LogicalPortSpec {
        switch: switch?,
        mac: mac?,
        addresses: addresses.into_iter().collect(),
        host,
        attachment,
        port_security: port_security.unwrap_or(true),
    })
}

fn read_address(context: &Context<'_>, node: &Node) -> Option<IpAddr> {
    context.parse(node, "an IP address", parse_address)
}
