//! 1,000 hosts with 10 ports each, two groups of 2,000 ports, and 10 stateful rules between them,
//! on three layouts of one network: what hosts are told depends on the layout alone.
//!
//! Every host has two ports of each group, so that on the flat network every host needs everything:
//! there is nothing to prune.

use super::fleet::{mk_host_names, mk_hosts};
use super::parts::{mk_port_spec, mk_ref, mk_resource, mk_selector_spec};
use super::texts::Texts;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, LogicalRouterSpec, LogicalSwitchSpec, Peer, PortRange,
    ProjectScope, RouterInterface, Rule, SecurityPolicySpec, ServiceEntry, ServiceMatch, Text,
    TransportProtocol,
};
use spanwire_topology::{ObjectRef, Resource, Spec};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const HOSTS: usize = 1_000;
const HOST_PORTS: usize = 10;
const SEGMENTS: usize = 100;
const TENANTS: usize = 20;
const SEGMENTS_PER_TENANT: usize = SEGMENTS / TENANTS;
pub(crate) const RULES: usize = 10;
/// A group has one port in so many.
const GROUP_EVERY: usize = 5;
const GROUPS: [&str; 2] = ["clients", "servers"];
const FIRST_ADDRESS: u32 = 0x0a00_0001;

/// How the ports are connected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Layout {
    /// 100 switches of 100 ports, apart from one another. A host has ports on 10 of them.
    Segmented,
    /// 20 tenants with a router and 5 switches each. A host has two ports of each of 5 tenants.
    TenantSegmented,
    /// One switch.
    Flat,
}

impl Layout {
    pub(crate) const ALL: [Layout; 3] = [Layout::Segmented, Layout::TenantSegmented, Layout::Flat];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Layout::Segmented => "segmented",
            Layout::TenantSegmented => "tenant-segmented",
            Layout::Flat => "flat",
        }
    }

    /// The segment of a port of a host.
    fn segment(self, host: usize, port: usize) -> usize {
        match self {
            Layout::Segmented => port * 10 + host % 10,
            Layout::TenantSegmented => {
                let tenant = port / 2 + 5 * (host % 4);
                tenant * SEGMENTS_PER_TENANT + host / 4 % SEGMENTS_PER_TENANT
            }
            Layout::Flat => 0,
        }
    }
}

pub(crate) fn resources(seed: u64, layout: Layout) -> impl Iterator<Item = Resource> {
    let hosts = mk_host_names(HOSTS);
    let mut texts = Texts::default();
    let project = texts.text("net");
    let mut list: Vec<Resource> = mk_hosts(hosts.clone()).collect();
    list.extend(mk_network(&mut texts, &project, layout));
    list.extend(mk_ports(seed, &mut texts, &project, &hosts, layout));
    let none = Arc::default();
    let groups = GROUPS.map(|name| {
        let selector = texts.selector(&format!("role={name}"));
        let spec = mk_selector_spec(selector, ProjectScope::Own);
        mk_resource(&project, &texts.text(name), &none, spec)
    });
    list.extend(groups);
    let refs = GROUPS.map(|name| mk_ref(&project, &texts.text(name)));
    list.push(mk_resource(&project, &texts.text("rules"), &none, mk_policy(refs)));
    list.into_iter()
}

fn mk_network(texts: &mut Texts, project: &Text, layout: Layout) -> Vec<Resource> {
    let none = Arc::default();
    let segments = if layout == Layout::Flat { 1 } else { SEGMENTS };
    let names: Vec<Text> = (0..segments).map(mk_segment_name).map(|n| texts.text(&n)).collect();
    let switch = || Spec::LogicalSwitch(LogicalSwitchSpec::default());
    let mut list: Vec<Resource> =
        names.iter().map(|name| mk_resource(project, name, &none, switch())).collect();
    if layout == Layout::TenantSegmented {
        list.extend(names.chunks(SEGMENTS_PER_TENANT).enumerate().map(|(tenant, names)| {
            let interface =
                |name| RouterInterface { switch: mk_ref(project, name), addresses: Vec::new() };
            let interfaces = names.iter().map(interface).collect();
            let spec = LogicalRouterSpec { interfaces, ..LogicalRouterSpec::default() };
            let name = texts.text(&format!("router-{tenant}"));
            mk_resource(project, &name, &none, Spec::LogicalRouter(spec))
        }));
    }
    list
}

fn mk_segment_name(segment: usize) -> String {
    format!("segment-{segment}")
}

/// The addresses are handed out in a random order: of two ports with neighbouring addresses one
/// knows nothing about the other.
fn mk_ports(
    seed: u64,
    texts: &mut Texts,
    project: &Text,
    hosts: &[Text],
    layout: Layout,
) -> Vec<Resource> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut addresses: Vec<u32> = (0..(HOSTS * HOST_PORTS) as u32).collect();
    for at in (1..addresses.len()).rev() {
        addresses.swap(at, random.random_range(0..=at));
    }
    let mut ports = Vec::with_capacity(addresses.len());
    for (number, address) in addresses.into_iter().enumerate() {
        let (host, port) = (number / HOST_PORTS, number % HOST_PORTS);
        let labels = match (port + host / 20) % GROUP_EVERY {
            0 => texts.labels(&[("role", GROUPS[0])]),
            1 => texts.labels(&[("role", GROUPS[1])]),
            _ => Arc::default(),
        };
        let segment = texts.text(&mk_segment_name(layout.segment(host, port)));
        let address = IpAddr::V4(Ipv4Addr::from(FIRST_ADDRESS + address));
        let spec = mk_port_spec(mk_ref(project, &segment), address, &hosts[host]);
        ports.push(mk_resource(project, &format!("port-{number}").into(), &labels, spec));
    }
    ports
}

/// A policy for both groups, whose rules admit one and the other by turns, each by another service.
fn mk_policy(groups: [ObjectRef; 2]) -> Spec {
    let rules = (0..RULES).map(|rule| Rule {
        name: None,
        direction: Direction::Both,
        peers: vec![Peer { group: groups[rule % 2].clone(), negate: false }],
        services: vec![ServiceMatch::Entry(ServiceEntry::Transport {
            protocol: TransportProtocol::Tcp,
            ports: vec![PortRange::single(8_000 + rule as u16)],
            source_ports: Vec::new(),
        })],
        action: Action::Allow,
        log: false,
    });
    Spec::SecurityPolicy(SecurityPolicySpec {
        rules: rules.collect(),
        applied_to: groups.to_vec(),
        tier: SecurityPolicySpec::TIER_DEFAULT,
        priority: SecurityPolicySpec::PRIORITY_DEFAULT,
        defaults: DefaultActions { inbound: Some(Action::Drop), outbound: Some(Action::Drop) },
    })
}

#[cfg(test)]
mod tests {
    use super::super::batches::{Sizes, check};
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn layouts_have_the_same_ports_groups_and_rules() {
        for (layout, switches, routers) in [
            (Layout::Segmented, SEGMENTS, 0),
            (Layout::TenantSegmented, SEGMENTS, TENANTS),
            (Layout::Flat, 1, 0),
        ] {
            let expected = Sizes {
                hosts: 1_000,
                switches,
                routers,
                ports: 10_000,
                groups: 2,
                policies: 1,
                rules: 10,
            };
            assert_eq!(check(|seed| resources(seed, layout)), expected, "{layout:?}");
        }
    }

    /// Segments are of equal size, and a fifth of each is in each group.
    #[test]
    fn groups_are_spread_evenly() {
        for layout in Layout::ALL {
            let mut segments: BTreeMap<Text, [usize; 3]> = BTreeMap::new();
            for resource in resources(1, layout) {
                let Spec::LogicalPort(port) = &*resource.spec else { continue };
                let role = resource.metadata.labels.get("role");
                let place = GROUPS.iter().position(|group| role.is_some_and(|r| **r == **group));
                segments.entry(port.switch.name.clone()).or_default()[place.unwrap_or(2)] += 1;
            }
            let share = 10_000 / segments.len() / 5;
            for (segment, counts) in segments {
                assert_eq!(counts, [share, share, 3 * share], "{layout:?} {segment}");
            }
        }
    }
}
