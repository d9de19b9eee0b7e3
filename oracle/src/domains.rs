//! Routing domains and what can be delivered between them, by graph search.
//!
//! * Switches and routers are nodes. A router's interface joins it to the switch; an uplink joins
//!   two routers if the lower one advertises. A domain is a connected component with at least one
//!   switch; components of routers alone only carry packets on.
//! * A router that does not advertise can send through its uplinks, and nothing is sent back: a
//!   directed edge between components. Delivery along such edges is transitive.
//! * A peering lets the components of its two routers deliver to each other, and no further.

use crate::Resources;
use crate::canonical::DomainName;
use spanwire_topology::model::LogicalRouterSpec;
use spanwire_topology::{Kind, ObjectKey, Spec};
use std::collections::{BTreeMap, BTreeSet};

/// A connected component, numbered in the order of its smallest member.
pub(crate) type Component = usize;

/// The components of a set of resources.
pub(crate) struct Domains {
    component_of: BTreeMap<ObjectKey, Component>,
    names: Vec<DomainName>,
    reaches: Vec<BTreeSet<Component>>,
    sees: Vec<BTreeSet<Component>>,
}

impl Domains {
    /// Searches the graph. References to what does not exist join nothing.
    pub(crate) fn new(resources: &Resources) -> Domains {
        let component_of = search(resources);
        let count = component_of.values().max().map_or(0, |last| last + 1);
        let names: Vec<DomainName> = (0..count)
            .map(|component| {
                let members = component_of.iter().filter(|(_, c)| **c == component);
                members.map(|(k, _)| k).filter(|k| k.kind == Kind::LogicalSwitch).cloned().collect()
            })
            .collect();
        let (up, peers) = directed(resources, &component_of);
        let reaches: Vec<BTreeSet<Component>> = (0..count)
            .map(|from| {
                let mut reached = closure(from, &up);
                reached.extend(peers.iter().filter(|(a, _)| *a == from).map(|(_, b)| *b));
                reached.retain(|component| !names[*component].switches().is_empty());
                if names[from].switches().is_empty() { BTreeSet::new() } else { reached }
            })
            .collect();
        let sees = (0..count)
            .map(|d| {
                let delivers = |e: &Component| reaches[d].contains(e) || reaches[*e].contains(&d);
                (0..count).filter(delivers).collect()
            })
            .collect();
        Domains { component_of, names, reaches, sees }
    }

    /// The domain of a switch, if the switch exists.
    pub(crate) fn of_switch(&self, switch: &ObjectKey) -> Option<Component> {
        self.component_of.get(switch).copied()
    }

    /// The name of a component: its switches.
    pub(crate) fn name(&self, component: Component) -> &DomainName {
        &self.names[component]
    }

    /// The components that are domains.
    pub(crate) fn all(&self) -> impl Iterator<Item = Component> + '_ {
        (0..self.names.len()).filter(|component| !self.names[*component].switches().is_empty())
    }

    /// The domains that packets from this one can be delivered to, itself included.
    pub(crate) fn reaches(&self, domain: Component) -> &BTreeSet<Component> {
        &self.reaches[domain]
    }

    /// The domains that packets can be delivered to or from, itself included.
    pub(crate) fn sees(&self, domain: Component) -> &BTreeSet<Component> {
        &self.sees[domain]
    }
}

/// The routers of a set of resources.
fn routers(resources: &Resources) -> impl Iterator<Item = (&ObjectKey, &LogicalRouterSpec)> {
    resources.iter().filter_map(|(key, resource)| match &*resource.spec {
        Spec::LogicalRouter(router) => Some((key, router)),
        _ => None,
    })
}

/// Numbers the connected components of switches and routers.
fn search(resources: &Resources) -> BTreeMap<ObjectKey, Component> {
    let mut neighbours: BTreeMap<&ObjectKey, BTreeSet<ObjectKey>> = resources
        .keys()
        .filter(|key| matches!(key.kind, Kind::LogicalSwitch | Kind::LogicalRouter))
        .map(|key| (key, BTreeSet::new()))
        .collect();
    for (key, router) in routers(resources) {
        let switches = router.interfaces.iter().map(|i| i.switch.to_key(Kind::LogicalSwitch));
        let uplinks = router.uplinks.iter().map(|uplink| uplink.to_key(Kind::LogicalRouter));
        for other in switches.chain(uplinks.filter(|_| router.advertise)) {
            let Some((other, _)) = resources.get_key_value(&other) else { continue };
            neighbours.entry(key).or_default().insert(other.clone());
            neighbours.entry(other).or_default().insert(key.clone());
        }
    }
    let mut component_of = BTreeMap::new();
    let mut next = 0;
    for start in neighbours.keys() {
        if component_of.contains_key(*start) {
            continue;
        }
        let mut open = vec![(*start).clone()];
        while let Some(node) = open.pop() {
            if component_of.contains_key(&node) {
                continue;
            }
            open.extend(neighbours[&node].iter().cloned());
            component_of.insert(node, next);
        }
        next += 1;
    }
    component_of
}

/// Pairs of components.
type Edges = BTreeSet<(Component, Component)>;

/// The directed edges of uplinks that are not advertised, and the peerings in both directions.
fn directed(
    resources: &Resources,
    component_of: &BTreeMap<ObjectKey, Component>,
) -> (Edges, Edges) {
    let (mut up, mut peers) = (BTreeSet::new(), BTreeSet::new());
    for (key, router) in routers(resources) {
        let from = component_of[key];
        if !router.advertise {
            let uplinks = router.uplinks.iter().map(|uplink| uplink.to_key(Kind::LogicalRouter));
            up.extend(uplinks.filter_map(|key| Some((from, *component_of.get(&key)?))));
        }
        for peer in &router.peerings {
            if let Some(peer) = component_of.get(&peer.to_key(Kind::LogicalRouter)) {
                peers.insert((from, *peer));
                peers.insert((*peer, from));
            }
        }
    }
    (up, peers)
}

/// What can be reached over edges, the start included.
fn closure(start: Component, edges: &Edges) -> BTreeSet<Component> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        if reached.insert(node) {
            open.extend(edges.iter().filter(|(from, _)| *from == node).map(|(_, to)| *to));
        }
    }
    reached
}
