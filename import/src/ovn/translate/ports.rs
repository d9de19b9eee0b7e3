//! `Logical_Switch_Port` to logical ports, and the hosts they are bound to.

use super::super::error::OvnError;
use super::super::tables::SwitchPort;
use super::addresses::{Addresses, Allowed, read_port_security};
use super::{Context, Switches, some_of};
use crate::names::{to_label_key, to_label_value};
use ipnet::IpNet;
use spanwire_topology::model::{
    AddressBlocks, HostSpec, Kind, LABELS_MAX, Labels, LogicalPortSpec, Mac, ObjectRef,
    PORT_ADDRESSES_MAX, PortAttachment, SYSTEM_PROJECT, Spec, Text,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TABLE: &str = "Logical_Switch_Port";

/// A port that became a resource.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) object: ObjectRef,
    /// The index of its switch in `Northbound::switches`.
    pub(super) switch: usize,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) port_security: bool,
}

/// The ports that became resources, by their index in `Northbound::switch_ports`.
pub(super) type Ports = BTreeMap<usize, Port>;

/// Makes a logical port of every row that stands for a workload, and a host of every chassis that
/// one asks for.
pub(super) fn translate(context: &mut Context<'_>, switches: &Switches) -> Result<Ports, OvnError> {
    let hosts = hosts(context)?;
    let mut ports = Ports::new();
    let mut relabelled = Vec::new();
    let mut outside = Vec::new();
    for (index, row) in context.nb.switch_ports.iter().enumerate() {
        let Some(switch) = context.layout.switch_of_port[index] else {
            context.out.note(TABLE, &row.name, "is on no switch, and left out");
            continue;
        };
        if !row.kind.is_empty() {
            if row.kind != "router" {
                let why = "ports of this type are not workloads: it is left out, also of groups";
                context.out.unsupported(TABLE, &row.name, format!("type {}", row.kind), why);
            }
            continue;
        }
        let Some(switch_object) = &switches[switch] else { continue };
        let Some((mac, addresses)) = reachable_by(context, row)? else { continue };
        let port_security = port_security(context, row, mac, &addresses)?;
        let project = context.port_project(index);
        let name = context.out.take_name(Kind::LogicalPort, &project, &row.name, TABLE);
        let (labels, changed) = labels(context, row);
        if changed {
            relabelled.push(row.name.clone());
        }
        if is_outside(context, switch, &addresses) {
            outside.push(row.name.clone());
        }
        let spec = Spec::LogicalPort(LogicalPortSpec {
            switch: switch_object.clone(),
            mac,
            addresses: addresses.iter().copied().collect(),
            host: host(context, row, &hosts),
            attachment: PortAttachment::Derived,
            port_security,
        });
        context.out.resource(&project, &name, labels, spec);
        let object = ObjectRef { project, name };
        ports.insert(index, Port { object, switch, addresses, port_security });
    }
    note_ports(context, &relabelled, &outside);
    Ok(ports)
}

fn note_ports(context: &mut Context<'_>, relabelled: &[String], outside: &[String]) {
    if !relabelled.is_empty() {
        let text = format!(
            "characters of external_ids that labels may not have were replaced by _: {}",
            some_of(relabelled)
        );
        context.out.note(TABLE, "", text);
    }
    if !outside.is_empty() {
        let text = format!(
            "{} ports have addresses outside of every subnet of their switch; OVN does not route \
             to those and Spanwire does: {}",
            outside.len(),
            some_of(outside)
        );
        context.out.note(TABLE, "", text);
    }
}

/// True if an address lies outside of every subnet of a switch that has a router.
fn is_outside(context: &Context<'_>, switch: usize, addresses: &[IpAddr]) -> bool {
    let routers = &context.layout.attachments[switch];
    let mut networks = routers.iter().flat_map(|port| &context.nb.router_ports[*port].networks);
    !routers.is_empty()
        && addresses.iter().any(|address| !networks.clone().any(|net| net.contains(address)))
        && networks.next().is_some()
}

/// The names of the hosts by what ports call them. The hosts are made here.
fn hosts(context: &mut Context<'_>) -> Result<BTreeMap<String, Text>, OvnError> {
    let wanted: BTreeSet<String> = context
        .nb
        .switch_ports
        .iter()
        .filter(|row| row.kind.is_empty())
        .filter_map(|row| requested_chassis(row).next().map(str::to_owned))
        .collect();
    let system: Text = SYSTEM_PROJECT.into();
    let mut hosts = BTreeMap::new();
    let mut made_up = 0_usize;
    for (n, chassis) in wanted.iter().enumerate() {
        let name = context.out.take_name(Kind::Host, &system, chassis, "Chassis");
        let vtep = match context.options.vteps.get(chassis) {
            Some(vtep) => *vtep,
            None => {
                made_up += 1;
                nth_address(context.options.vtep_subnet, n).ok_or_else(|| OvnError::VtepSubnet {
                    hosts: wanted.len(),
                    subnet: context.options.vtep_subnet,
                    addresses: room(context.options.vtep_subnet),
                })?
            }
        };
        let spec = Spec::Host(HostSpec { vtep: Some(vtep) });
        context.out.resource(&system, &name, Labels::new(), spec);
        hosts.insert(chassis.clone(), name);
    }
    if made_up > 0 {
        let text = format!(
            "a northbound database does not say where hosts are: {made_up} were given tunnel \
             endpoints from {}, in the order of their names",
            context.options.vtep_subnet
        );
        context.out.note("Chassis", "", text);
    }
    Ok(hosts)
}

/// The chassis that a port asks for: the first is where it is, the others where it may move.
fn requested_chassis(row: &SwitchPort) -> impl Iterator<Item = &str> {
    let list = row.options.get("requested-chassis").map(String::as_str).unwrap_or_default();
    list.split(',').map(str::trim).filter(|chassis| !chassis.is_empty())
}

/// How many hosts a subnet has room for, the first and the last address left free.
fn room(subnet: IpNet) -> u128 {
    let bits = u32::from(subnet.max_prefix_len() - subnet.prefix_len());
    1_u128.checked_shl(bits).unwrap_or(u128::MAX).saturating_sub(2)
}

/// The address of the `n`th host of a subnet, from 0.
fn nth_address(subnet: IpNet, n: usize) -> Option<IpAddr> {
    let n = u128::try_from(n).ok().filter(|n| *n < room(subnet))? + 1;
    match subnet.network() {
        IpAddr::V4(first) => {
            let address = u32::from(first).checked_add(u32::try_from(n).ok()?)?;
            Some(IpAddr::V4(Ipv4Addr::from(address)))
        }
        IpAddr::V6(first) => Some(IpAddr::V6(Ipv6Addr::from(u128::from(first).checked_add(n)?))),
    }
}

fn host(
    context: &mut Context<'_>,
    row: &SwitchPort,
    hosts: &BTreeMap<String, Text>,
) -> Option<Text> {
    let mut chassis = requested_chassis(row);
    let first = chassis.next()?;
    let others: Vec<&str> = chassis.collect();
    if !others.is_empty() {
        let what = format!("requested-chassis {}", others.join(","));
        context.out.unsupported(TABLE, &row.name, what, "a port is bound to one host: the first");
    }
    if let Some(parent) = &row.parent_name {
        let why = "ports inside the port of another workload are not carried: it is left unbound";
        context.out.unsupported(TABLE, &row.name, format!("parent_name {parent}"), why);
        return None;
    }
    if !row.enabled {
        context.out.note(TABLE, &row.name, "is disabled: it is bound to no host here");
        return None;
    }
    hosts.get(first).cloned()
}

/// The MAC address and the IP addresses of a port; `None` if it cannot be one.
fn reachable_by(
    context: &mut Context<'_>,
    row: &SwitchPort,
) -> Result<Option<(Mac, Vec<IpAddr>)>, OvnError> {
    let mut read = Addresses::read(row)?;
    if read.unassigned {
        let why = "OVN has not chosen an address yet: dump the database again when it has";
        context.out.unsupported(TABLE, &row.name, "addresses dynamic", why);
    }
    if read.unknown {
        let why = "packets to addresses that nobody knows are delivered to no port";
        context.out.unsupported(TABLE, &row.name, "addresses unknown", why);
        if read.known.is_empty() {
            // What the port may send from is then the best that is known about it.
            read.known.extend(read_port_security(row)?.into_iter().filter_map(single_addresses));
        }
    }
    let mut known = read.known.into_iter();
    let Some((mac, mut addresses)) = known.next() else {
        let why = "a port needs a MAC address: it is left out, also of groups";
        context.out.unsupported(TABLE, &row.name, "addresses", why);
        return Ok(None);
    };
    for (other, more) in known {
        let more: Vec<String> = more.iter().map(ToString::to_string).collect();
        let what = format!("addresses {other} {}", more.join(" "));
        let why = "a port has one MAC address: the first is taken";
        context.out.unsupported(TABLE, &row.name, what.trim_end(), why);
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() > PORT_ADDRESSES_MAX {
        let what = format!("{} addresses", addresses.len());
        let why = format!("a port has at most {PORT_ADDRESSES_MAX}: the others are left out");
        context.out.unsupported(TABLE, &row.name, what, why);
        addresses.truncate(PORT_ADDRESSES_MAX);
    }
    Ok(Some((mac, addresses)))
}

/// An element of port security that names addresses one by one.
fn single_addresses(element: Allowed) -> Option<(Mac, Vec<IpAddr>)> {
    match element {
        Allowed::Pair(mac, nets) => {
            let single = nets.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
            Some((mac, single.map(IpNet::addr).collect()))
        }
        Allowed::Other(_) => None,
    }
}

/// Whether packets must carry the port's own addresses. In OVN the list may differ from the
/// port's addresses; here it is always those, and differences are listed.
fn port_security(
    context: &mut Context<'_>,
    row: &SwitchPort,
    mac: Mac,
    addresses: &[IpAddr],
) -> Result<bool, OvnError> {
    let elements = read_port_security(row)?;
    if elements.is_empty() {
        return Ok(false);
    }
    let mut differs = |what: String, why: &str| {
        context.out.unsupported(TABLE, &row.name, format!("port_security {what}"), why);
    };
    let mut allowed = Vec::new();
    let mut any_address = false;
    let mut own_mac = false;
    for element in elements {
        match element {
            Allowed::Other(text) => differs(text, "rules of this form have no counterpart"),
            Allowed::Pair(other, _) if other != mac => {
                differs(other.to_string(), "only the port's own MAC address may be used");
            }
            Allowed::Pair(_, nets) => {
                own_mac = true;
                any_address |= nets.is_empty();
                allowed.extend(nets);
            }
        }
    }
    if own_mac && any_address {
        let why = "the MAC address alone cannot be checked: port security is off";
        differs(mac.to_string(), why);
        return Ok(false);
    }
    let allowed = AddressBlocks::from_nets(allowed);
    let own = AddressBlocks::from_nets(addresses.iter().copied().map(IpNet::from));
    for net in allowed.difference(&own).to_nets() {
        differs(net.to_string(), "only the port's own addresses may be used");
    }
    for net in own.difference(&allowed).to_nets() {
        differs(format!("without {}", net.addr()), "all of the port's own addresses may be used");
    }
    Ok(true)
}

/// The labels of a port, and whether they differ from its identifiers.
fn labels(context: &mut Context<'_>, row: &SwitchPort) -> (Labels, bool) {
    let mut labels = Labels::new();
    let mut changed = false;
    for (key, value) in &row.external_ids {
        let (label, text) = (to_label_key(key), to_label_value(value));
        changed |= label != *key || text != *value;
        if labels.len() == LABELS_MAX || labels.contains_key(label.as_str()) {
            let why = "there are too many, or another one has the same key once it is cleaned";
            context.out.unsupported(TABLE, &row.name, format!("external_ids {key}"), why);
            continue;
        }
        labels.insert(label.into(), text.into());
    }
    (labels, changed)
}
