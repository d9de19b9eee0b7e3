//! From static routes to uplinks and peerings.
//!
//! OVN has no relation between routers but routes. Two routers that meet on a segment (a switch or
//! a direct link) exchange packets if their static routes send them to each other. The rules:
//!
//! 1. A router whose *default* route (`0.0.0.0/0` or `::/0`) has an address of another router as
//!    its next hop has that router as an **uplink**. If both have default routes to each other,
//!    the one whose name sorts first is the uplink of the other.
//! 2. It **advertises** to its uplinks if each of them has routes back through it that cover all
//!    its connected subnets, and all that routers below it advertise to it. If none has a route
//!    to any of them, it does not advertise. Anything in between has no counterpart: it is listed,
//!    and the router does not advertise.
//! 3. Routes from an uplink down to a router are those of rule 2. More specific routes up to an
//!    uplink say nothing that the default route does not say.
//! 4. All other routes count for **peerings**. Two routers without uplinks peer if the routes of
//!    each through the other cover everything the other has (its connected subnets and what is
//!    advertised to it), and lead to nothing that the other itself reaches through a third. Every
//!    route of a pair for which that does not hold is listed.
//! 5. A route whose next hop is no router of the database leads out of it and is listed, as are
//!    routes by source, in a table of their own, or that discard.

use super::super::tables::{Northbound, StaticRoute};
use super::Context;
use ipnet::IpNet;
use spanwire_topology::model::AddressBlocks;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// How routers are linked. Numbers are indices into `Northbound::routers`.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// The uplinks of each router that has some.
    pub(super) uplinks: BTreeMap<usize, BTreeSet<usize>>,
    /// Pairs of routers that peer, the smaller first.
    pub(super) peerings: BTreeSet<(usize, usize)>,
    /// Routers that have uplinks and do not advertise to them.
    pub(super) silent: BTreeSet<usize>,
}

/// The routes between routers: the prefixes that one sends to another, with the row of each.
type Between = BTreeMap<(usize, usize), Vec<(IpNet, usize)>>;

struct Finder<'a, 'b> {
    context: &'a mut Context<'b>,
    nb: &'b Northbound,
    routes: Between,
    links: Links,
    /// The subnets each router is connected to, those of transit switches apart.
    connected: Vec<AddressBlocks>,
    /// Those, and what routers below advertise to it. Known after rule 2.
    has: Vec<Option<AddressBlocks>>,
    /// The routers at each address of each segment.
    at_address: BTreeMap<(usize, IpAddr), Vec<usize>>,
    /// The segments of each router.
    segments_of: Vec<Vec<usize>>,
}

/// Works out the links between all routers.
pub(super) fn find(context: &mut Context<'_>) -> Links {
    let nb = context.nb;
    let connected = (0..nb.routers.len()).map(|router| connected(context, router)).collect();
    let mut segments_of = vec![Vec::new(); nb.routers.len()];
    let mut at_address: BTreeMap<(usize, IpAddr), Vec<usize>> = BTreeMap::new();
    for (n, segment) in context.layout.segments.iter().enumerate() {
        for (&router, networks) in &segment.routers {
            segments_of[router].push(n);
            for net in networks {
                at_address.entry((n, net.addr())).or_default().push(router);
            }
        }
    }
    let mut finder = Finder {
        context,
        nb,
        routes: Between::new(),
        links: Links::default(),
        connected,
        has: vec![None; nb.routers.len()],
        at_address,
        segments_of,
    };
    finder.resolve_routes();
    finder.find_uplinks();
    finder.find_silent();
    finder.find_peerings();
    finder.check_shared_switches();
    finder.links
}

fn connected(context: &Context<'_>, router: usize) -> AddressBlocks {
    let ports = context.nb.routers[router].ports.iter().filter(|port| {
        let switch = context.layout.switch_of_router_port[**port];
        context.layout.router_of_port[**port].is_some()
            && switch.is_some_and(|switch| !context.layout.is_transit[switch])
    });
    let networks = ports.flat_map(|port| &context.nb.router_ports[*port].networks);
    AddressBlocks::from_nets(networks.copied())
}

fn is_default(net: &IpNet) -> bool {
    net.prefix_len() == 0
}

impl Finder<'_, '_> {
    fn name(&self, router: usize) -> String {
        super::routers::label(&self.nb.routers[router])
    }

    fn unsupported_route(&mut self, router: usize, route: usize, why: impl Into<String>) {
        let StaticRoute { uuid, prefix, nexthop, .. } = &self.nb.static_routes[route];
        let what = format!("{prefix} via {nexthop} on router {}", self.name(router));
        let table = "Logical_Router_Static_Route";
        self.context.out.unsupported(table, &uuid.to_string(), what, why);
    }

    /// Finds the router behind the next hop of every route.
    fn resolve_routes(&mut self) {
        for (router, row) in self.nb.routers.iter().enumerate().filter(|(_, row)| row.enabled) {
            for &route in &row.static_routes {
                let StaticRoute { prefix, nexthop, policy, route_table, .. } =
                    &self.nb.static_routes[route];
                if nexthop == "discard" {
                    self.unsupported_route(router, route, "routes that discard are not carried");
                } else if policy.as_deref() == Some("src-ip") {
                    self.unsupported_route(router, route, "routes by source are not carried");
                } else if !route_table.is_empty() {
                    let why = format!("routes of table {route_table:?} are not carried");
                    self.unsupported_route(router, route, why);
                } else if let Some(other) = self.router_at(router, nexthop) {
                    self.routes.entry((router, other)).or_default().push((*prefix, route));
                } else {
                    let why = "the next hop is no router of this database: traffic that leaves it \
                               is not carried";
                    self.unsupported_route(router, route, why);
                }
            }
        }
    }

    /// The router that has an address on a segment of another.
    fn router_at(&self, router: usize, nexthop: &str) -> Option<usize> {
        let address: IpAddr = nexthop.parse().ok()?;
        let there = self.segments_of[router]
            .iter()
            .filter_map(|segment| self.at_address.get(&(*segment, address)));
        there.flatten().find(|other| **other != router).copied()
    }

    fn prefixes(&self, from: usize, to: usize) -> AddressBlocks {
        let routes = self.routes.get(&(from, to)).map(Vec::as_slice).unwrap_or_default();
        AddressBlocks::from_nets(routes.iter().map(|(net, _)| *net))
    }

    /// Rule 1.
    fn find_uplinks(&mut self) {
        let defaults: BTreeSet<(usize, usize)> = self
            .routes
            .iter()
            .filter(|(_, routes)| routes.iter().any(|(net, _)| is_default(net)))
            .map(|(pair, _)| *pair)
            .collect();
        for &(router, other) in &defaults {
            if router > other || !defaults.contains(&(other, router)) {
                self.links.uplinks.entry(router).or_default().insert(other);
            }
        }
        for (router, uplinks) in self.links.uplinks.clone() {
            for uplink in uplinks {
                self.check_families(router, uplink);
            }
        }
    }

    /// An uplink carries both families. A subnet of a family without default route is listed.
    fn check_families(&mut self, router: usize, uplink: usize) {
        let defaults = AddressBlocks::from_nets(
            self.routes[&(router, uplink)].iter().map(|(net, _)| *net).filter(is_default),
        );
        let without = self.connected[router].difference(&defaults).to_nets();
        if let Some(net) = without.first() {
            let family = if net.addr().is_ipv4() { "IPv4" } else { "IPv6" };
            let (row, uplink) = (self.name(router), self.name(uplink));
            let why = format!(
                "there is no {family} default route to {uplink}, and an uplink carries both \
                 families"
            );
            self.context.out.unsupported("Logical_Router", &row, format!("subnet {net}"), why);
        }
    }

    fn uplinks_of(&self, router: usize) -> Vec<usize> {
        self.links.uplinks.get(&router).map(|set| set.iter().copied().collect()).unwrap_or_default()
    }

    /// Rule 2, from the bottom up. A circle of uplinks is entered somewhere: there, the router
    /// below counts with its connected subnets alone.
    fn find_silent(&mut self) {
        let mut children = vec![Vec::new(); self.nb.routers.len()];
        for (child, uplinks) in &self.links.uplinks {
            for uplink in uplinks {
                children[*uplink].push(*child);
            }
        }
        for router in bottom_up(&children) {
            let mut nets = self.connected[router].to_nets();
            for &child in children[router].iter().filter(|c| !self.links.silent.contains(c)) {
                let of_child = self.has[child].as_ref().unwrap_or(&self.connected[child]);
                nets.extend(of_child.to_nets());
            }
            let has = AddressBlocks::from_nets(nets);
            self.decide_advertising(router, &has);
            self.has[router] = Some(has);
        }
    }

    fn decide_advertising(&mut self, router: usize, has: &AddressBlocks) {
        let uplinks = self.uplinks_of(router);
        if uplinks.is_empty() || has.is_empty() {
            return;
        }
        let (mut whole, mut none) = (true, true);
        for &uplink in &uplinks {
            let back = self.prefixes(uplink, router);
            // What the uplink is connected to itself, on a switch that both share, needs no route.
            whole &= has.difference(&back).difference(&self.connected[uplink]).is_empty();
            none &= has.intersection(&back).is_empty();
        }
        if whole {
            return;
        }
        self.links.silent.insert(router);
        if !none {
            let missing = uplinks.iter().find_map(|uplink| {
                let known = self.prefixes(*uplink, router).union(&self.connected[*uplink]);
                let net = *has.difference(&known).to_nets().first()?;
                Some((net, self.name(*uplink)))
            });
            let Some((net, uplink)) = missing else { return };
            let row = self.name(router);
            let why = format!(
                "{uplink} has no route back to it and has routes to others: a router advertises \
                 all its subnets or none, and this one none"
            );
            self.context.out.unsupported("Logical_Router", &row, format!("subnet {net}"), why);
        }
    }

    /// Rules 3 and 4.
    fn find_peerings(&mut self) {
        let mut pairs = BTreeSet::new();
        for &(from, to) in self.routes.keys() {
            let linked = self.uplinks_of(from).contains(&to) || self.uplinks_of(to).contains(&from);
            if !linked && !self.share_a_switch(from, to) {
                pairs.insert((from.min(to), from.max(to)));
            }
        }
        for (a, b) in pairs {
            match self.peering_problem(a, b).or_else(|| self.peering_problem(b, a)) {
                None => {
                    self.links.peerings.insert((a, b));
                }
                Some(problem) => {
                    for pair in [(a, b), (b, a)] {
                        let routes = self.routes.get(&pair).cloned().unwrap_or_default();
                        for (_, route) in routes {
                            self.unsupported_route(pair.0, route, problem.clone());
                        }
                    }
                }
            }
        }
    }

    /// Why the routes from one router to another are not those of a peering.
    fn peering_problem(&self, from: usize, to: usize) -> Option<String> {
        let (from_name, to_name) = (self.name(from), self.name(to));
        if self.links.uplinks.contains_key(&from) {
            return Some(format!(
                "{from_name} has an uplink, and a peering would join what lies behind it too"
            ));
        }
        let prefixes = self.prefixes(from, to);
        let has = self.has[to].as_ref().unwrap_or(&self.connected[to]);
        if let Some(net) = has.difference(&prefixes).to_nets().first() {
            return Some(format!(
                "{from_name} has no route to {net} of {to_name}: routers peer if each reaches all \
                 of the other"
            ));
        }
        let beyond = self.routes.keys().filter(|(via, third)| *via == to && *third != from);
        for &(_, third) in beyond {
            let there = self.prefixes(to, third).difference(has);
            if let Some(net) = prefixes.intersection(&there).to_nets().first() {
                let third = self.name(third);
                return Some(format!(
                    "it leads to {net} of {third} through {to_name}: peerings do not pass on"
                ));
            }
        }
        None
    }

    fn share_a_switch(&self, a: usize, b: usize) -> bool {
        self.context.layout.segments.iter().any(|segment| {
            segment.switch.is_some_and(|switch| !self.context.layout.is_transit[switch])
                && segment.routers.contains_key(&a)
                && segment.routers.contains_key(&b)
        })
    }

    /// Routers that share a switch with workloads share one routing domain here. That is right if
    /// each of them has routes to all that the others have; where not, it is listed.
    fn check_shared_switches(&mut self) {
        let mut findings = Vec::new();
        for segment in &self.context.layout.segments {
            let Some(switch) = segment.switch else { continue };
            if self.context.layout.is_transit[switch] {
                continue;
            }
            for from in segment.routers.keys() {
                for to in segment.routers.keys().filter(|to| *to != from) {
                    let known = self.prefixes(*from, *to).union(&self.connected[*from]);
                    if let Some(net) = self.connected[*to].difference(&known).to_nets().first() {
                        findings.push((switch, *from, *to, *net));
                    }
                }
            }
        }
        for (switch, from, to, net) in findings {
            let row = super::switches::label(&self.nb.switches[switch]);
            let (from, to) = (self.name(from), self.name(to));
            let why = format!(
                "{from} has no route to {net} of {to}, and routers that share a switch with \
                 workloads reach each other here"
            );
            let what = format!("routers {from} and {to}");
            self.context.out.unsupported("Logical_Switch", &row, what, why);
        }
    }
}

/// All nodes of a forest, children before their parents, without recursion: a chain of routers may
/// be as long as the table.
fn bottom_up(children: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(children.len());
    let mut entered = vec![false; children.len()];
    for root in 0..children.len() {
        let mut stack = vec![(root, false)];
        while let Some((node, left)) = stack.pop() {
            if left {
                order.push(node);
            } else if !entered[node] {
                entered[node] = true;
                stack.push((node, true));
                stack.extend(children[node].iter().map(|child| (*child, false)));
            }
        }
    }
    order
}
