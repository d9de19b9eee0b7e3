//! `Logical_Switch` to logical switches.

use super::super::error::OvnError;
use super::super::tables::Switch;
use super::{Context, Switches, row_error};
use ipnet::{IpNet, Ipv6Net};
use spanwire_topology::model::{Kind, Labels, LogicalSwitchSpec, ObjectRef, Spec};
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

const TABLE: &str = "Logical_Switch";

/// Makes a logical switch of every row that has to do with workloads.
pub(super) fn translate(context: &mut Context<'_>) -> Result<Switches, OvnError> {
    let mut switches = Vec::with_capacity(context.nb.switches.len());
    for (index, row) in context.nb.switches.iter().enumerate() {
        if context.layout.is_transit[index] {
            let text = "only joins routers: they are linked directly here";
            context.out.note(TABLE, &label(row), text);
            switches.push(None);
            continue;
        }
        let members: Vec<_> = row
            .ports
            .iter()
            .filter(|port| context.nb.switch_ports[**port].kind.is_empty())
            .map(|port| context.port_project(*port))
            .collect();
        let project = context.project(&row.external_ids, members.into_iter());
        let name = context.out.take_name(Kind::LogicalSwitch, &project, &label(row), TABLE);
        let subnets = subnets(context, index, row)?;
        let spec = Spec::LogicalSwitch(LogicalSwitchSpec { subnets });
        context.out.resource(&project, &name, Labels::new(), spec);
        switches.push(Some(ObjectRef { project, name }));
    }
    Ok(switches)
}

/// The name of a switch; its UUID if it has none.
pub(super) fn label(row: &Switch) -> String {
    if row.name.is_empty() { row.uuid.to_string() } else { row.name.clone() }
}

/// The networks of the router ports on the switch, and those that it assigns addresses from.
fn subnets(context: &Context<'_>, index: usize, row: &Switch) -> Result<Vec<IpNet>, OvnError> {
    let mut subnets = BTreeSet::new();
    for &port in &context.layout.attachments[index] {
        subnets.extend(context.nb.router_ports[port].networks.iter().map(IpNet::trunc));
    }
    let bad = |problem| row_error(TABLE, &label(row), "other_config", problem);
    if let Some(text) = row.other_config.get("subnet") {
        let subnet = text
            .parse::<IpNet>()
            .map_err(|_| bad(format!("subnet {text:?} is no address with a prefix length")))?;
        subnets.insert(subnet.trunc());
    }
    if let Some(text) = row.other_config.get("ipv6_prefix") {
        let address: Ipv6Addr = text
            .split('/')
            .next()
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| bad(format!("ipv6_prefix {text:?} is no IPv6 address")))?;
        // ovn-nb(5): addresses are made of the upper 64 bits.
        let subnet = Ipv6Net::new(address, 64).map_err(|error| bad(error.to_string()))?;
        subnets.insert(IpNet::V6(subnet.trunc()));
    }
    Ok(subnets.into_iter().collect())
}
