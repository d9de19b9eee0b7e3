//! A small network that keeps changing: few enough objects that everything soon meets everything.

use rand::{Rng, RngExt as _};
use spanwire_topology::model::*;
use std::net::IpAddr;

/// Hosts.
pub const HOSTS: u8 = 6;
const SWITCHES: u8 = 4;
const ROUTERS: u8 = 2;
const PORTS: u8 = 16;
const GROUPS: u8 = 4;
const POLICIES: u8 = 3;
const PROJECT: &str = "p";

/// The name of a host.
pub fn host_name(number: u8) -> Text {
    format!("host-{number}").into()
}

fn reference(kind: Kind, number: u8) -> ObjectRef {
    ObjectRef::new(PROJECT, format!("{}-{number}", kind.short()))
}

fn mk(kind: Kind, number: u8, labels: Labels, spec: Spec) -> Resource {
    let name = reference(kind, number);
    match kind {
        Kind::Host => Resource::new(SYSTEM_PROJECT, host_name(number), labels, spec),
        _ => Resource::new(name.project, name.name, labels, spec),
    }
}

/// What there is from the start.
pub fn start() -> Vec<Resource> {
    let hosts = (0..HOSTS).map(|number| {
        let vtep = Some(IpAddr::from([192, 0, 2, number + 1]));
        mk(Kind::Host, number, Labels::new(), Spec::Host(HostSpec { vtep }))
    });
    let switches = (0..SWITCHES).map(|number| {
        let spec = LogicalSwitchSpec { subnets: Vec::new() };
        mk(Kind::LogicalSwitch, number, Labels::new(), Spec::LogicalSwitch(spec))
    });
    let routers = (0..ROUTERS).map(|number| router(number, &[number], None));
    let groups = (0..GROUPS).map(|number| group(number, number % 2, false));
    let policies = (0..POLICIES).map(|number| policy(number, number, number + 1));
    hosts.chain(switches).chain(routers).chain(groups).chain(policies).collect()
}

fn router(number: u8, switches: &[u8], uplink: Option<u8>) -> Resource {
    let interface = |switch: &u8| RouterInterface {
        switch: reference(Kind::LogicalSwitch, *switch),
        addresses: Vec::new(),
    };
    let uplinks = uplink.map(|n| reference(Kind::LogicalRouter, n)).into_iter().collect();
    let spec = LogicalRouterSpec {
        interfaces: switches.iter().map(interface).collect(),
        advertise: true,
        uplinks,
        peerings: Vec::new(),
    };
    mk(Kind::LogicalRouter, number, Labels::new(), Spec::LogicalRouter(spec))
}

fn group(number: u8, label: u8, with_block: bool) -> Resource {
    let selector = format!("app={label}").parse().unwrap_or_default();
    let term = GroupTerm::Selector { selector, projects: ProjectScope::Own };
    let block = with_block.then(|| "203.0.113.0/24".parse().ok()).flatten();
    let blocks = block.and_then(|cidr| CidrBlock::new(cidr, Vec::new()).ok());
    let spec = GroupSpec { terms: vec![term], blocks: blocks.into_iter().collect() };
    mk(Kind::Group, number, Labels::new(), Spec::Group(spec))
}

fn policy(number: u8, applied_to: u8, peer: u8) -> Resource {
    let rule = Rule {
        name: None,
        direction: Direction::Both,
        peers: vec![Peer { group: reference(Kind::Group, peer % GROUPS), negate: false }],
        services: vec![ServiceMatch::Entry(ServiceEntry::Any)],
        action: Action::Allow,
        log: false,
    };
    let spec = SecurityPolicySpec {
        applied_to: vec![reference(Kind::Group, applied_to % GROUPS)],
        tier: SecurityPolicySpec::TIER_DEFAULT,
        priority: SecurityPolicySpec::PRIORITY_DEFAULT,
        defaults: DefaultActions::default(),
        rules: vec![rule],
    };
    mk(Kind::SecurityPolicy, number, Labels::new(), Spec::SecurityPolicy(spec))
}

fn port(number: u8, rng: &mut impl Rng) -> Resource {
    // Ports of different switches may have equal addresses.
    let address = IpAddr::from([10, 0, 0, number / 2]);
    let label = rng.random_range(0..2u8).to_string();
    let labels = [("app".into(), label.into())].into_iter().collect();
    let spec = LogicalPortSpec {
        switch: reference(Kind::LogicalSwitch, number % SWITCHES),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: rng.random_bool(0.9).then(|| host_name(rng.random_range(0..HOSTS))),
        attachment: PortAttachment::Derived,
        port_security: true,
    };
    mk(Kind::LogicalPort, number, labels, Spec::LogicalPort(spec))
}

/// An operation of a transaction: what to put, or what to delete.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Put an object.
    Put(Resource),
    /// Delete an object, if it is there.
    Delete(ObjectKey),
}

/// What somebody may want to change.
pub fn deeds(rng: &mut impl Rng) -> Vec<Deed> {
    let count = if rng.random_bool(0.8) { 1 } else { rng.random_range(2..5) };
    (0..count)
        .map(|_| match rng.random_range(0..20) {
            0..12 => Deed::Put(port(rng.random_range(0..PORTS), rng)),
            12..15 => {
                let port = reference(Kind::LogicalPort, rng.random_range(0..PORTS));
                Deed::Delete(port.to_key(Kind::LogicalPort))
            }
            15..17 => {
                let number = rng.random_range(0..ROUTERS);
                let switches: Vec<u8> = (0..SWITCHES).filter(|_| rng.random_bool(0.4)).collect();
                let uplink = rng.random_bool(0.5).then_some(1 - number).filter(|_| number == 0);
                Deed::Put(router(number, &switches, uplink))
            }
            17..19 => {
                let number = rng.random_range(0..GROUPS);
                Deed::Put(group(number, rng.random_range(0..2), rng.random_bool(0.3)))
            }
            _ => {
                let (number, other) = (rng.random_range(0..POLICIES), rng.random_range(0..GROUPS));
                Deed::Put(policy(number, rng.random_range(0..GROUPS), other))
            }
        })
        .collect()
}
