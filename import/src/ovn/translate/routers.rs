//! `Logical_Router` to logical routers.

use super::super::tables::Router;
use super::routes::{self, Links};
use super::{Context, Switches};
use spanwire_topology::model::{Kind, Labels, LogicalRouterSpec, ObjectRef, RouterInterface, Spec};
use std::collections::BTreeMap;

const TABLE: &str = "Logical_Router";

/// Makes a logical router of every row.
pub(super) fn translate(context: &mut Context<'_>, switches: &Switches) {
    let links = routes::find(context);
    let interfaces: Vec<Vec<RouterInterface>> =
        (0..context.nb.routers.len()).map(|n| interfaces(context, n, switches)).collect();
    let mut objects = Vec::with_capacity(interfaces.len());
    for (row, interfaces) in context.nb.routers.iter().zip(&interfaces) {
        let projects: Vec<_> = interfaces.iter().map(|i| i.switch.project.clone()).collect();
        let project = context.project(&row.external_ids, projects.into_iter());
        let name = context.out.take_name(Kind::LogicalRouter, &project, &label(row), TABLE);
        if !row.enabled {
            context.out.note(TABLE, &label(row), "is disabled: it has no interfaces here");
        }
        objects.push(ObjectRef { project, name });
    }
    for (index, interfaces) in interfaces.into_iter().enumerate() {
        let spec = Spec::LogicalRouter(spec(index, interfaces, &links, &objects));
        context.out.resource(&objects[index].project, &objects[index].name, Labels::new(), spec);
    }
    note_router_ports(context);
}

/// The name of a router; its UUID if it has none.
pub(super) fn label(row: &Router) -> String {
    if row.name.is_empty() { row.uuid.to_string() } else { row.name.clone() }
}

fn spec(
    index: usize,
    interfaces: Vec<RouterInterface>,
    links: &Links,
    objects: &[ObjectRef],
) -> LogicalRouterSpec {
    let uplinks = links.uplinks.get(&index);
    let uplinks = uplinks.into_iter().flatten().map(|uplink| objects[*uplink].clone());
    let peers =
        links.peerings.iter().filter(|(a, _)| *a == index).map(|(_, b)| objects[*b].clone());
    LogicalRouterSpec {
        interfaces,
        advertise: !links.silent.contains(&index),
        uplinks: uplinks.collect(),
        peerings: peers.collect(),
    }
}

/// The interfaces of a router on switches with workloads, one for each switch.
fn interfaces(context: &Context<'_>, router: usize, switches: &Switches) -> Vec<RouterInterface> {
    let mut by_switch: BTreeMap<&ObjectRef, Vec<_>> = BTreeMap::new();
    for &port in &context.nb.routers[router].ports {
        let switch = context.layout.switch_of_router_port[port];
        if context.layout.router_of_port[port].is_some()
            && let Some(switch) = switch.and_then(|switch| switches[switch].as_ref())
        {
            let addresses = context.nb.router_ports[port].networks.iter().map(|net| net.addr());
            by_switch.entry(switch).or_default().extend(addresses);
        }
    }
    by_switch
        .into_iter()
        .map(|(switch, mut addresses)| {
            addresses.sort_unstable();
            addresses.dedup();
            RouterInterface { switch: switch.clone(), addresses }
        })
        .collect()
}

fn note_router_ports(context: &mut Context<'_>) {
    for (index, row) in context.nb.router_ports.iter().enumerate() {
        let text = if !row.enabled {
            "is disabled, and left out"
        } else if row.peer.is_none() && context.layout.switch_of_router_port[index].is_none() {
            "is attached to nothing, and left out"
        } else {
            continue;
        };
        context.out.note("Logical_Router_Port", &row.name, text);
    }
}
