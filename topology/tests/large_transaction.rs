//! A transaction of 100,000 objects: the engine that applies it whole, and one that is told the
//! outcome bit by bit, tell every host the same.
//!
//! ```text
//!   [s0] [s1] [s2] [s3]          a tenant: four switches on its router, its ports on a few hosts
//!      \   \   /   /             of its own
//!       ( tenant r )──uplink──( provider )     every other tenant
//! ```

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

use spanwire_oracle::engine_view_canonical;
use spanwire_topology::engine::Outcome;
use spanwire_topology::model::*;
use spanwire_topology::{Engine, Kind};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const OBJECTS: usize = 100_000;
const TENANTS: u32 = 100;
const HOSTS: u32 = 100;
/// Hosts that carry the ports of one tenant, so that no host has to do with all of them.
const HOSTS_A_TENANT: u32 = 4;
const SWITCHES_A_TENANT: u32 = 4;
const APPS: u32 = 10;
const POLICIES_A_TENANT: u32 = 4;
/// A host's view is compared for one host in so many.
const COMPARED: usize = 5;

fn project(tenant: u32) -> String {
    format!("t{tenant:03}")
}

fn named(tenant: u32, name: impl std::fmt::Display) -> ObjectRef {
    ObjectRef::new(project(tenant), name.to_string())
}

fn object(at: &ObjectRef, labels: Labels, spec: Spec) -> Resource {
    Resource::new(at.project.clone(), at.name.clone(), labels, spec)
}

fn labels(app: u32) -> Labels {
    [("app".into(), app.to_string().into())].into_iter().collect()
}

fn router(tenant: u32, switches: std::ops::Range<u32>, has_uplink: bool) -> Resource {
    let interface = |switch| RouterInterface {
        switch: named(tenant, format_args!("s{switch}")),
        addresses: Vec::new(),
    };
    let spec = LogicalRouterSpec {
        interfaces: switches.map(interface).collect(),
        advertise: true,
        uplinks: has_uplink.then(|| named(0, "provider")).into_iter().collect(),
        peerings: Vec::new(),
    };
    object(&named(tenant, "r"), Labels::new(), Spec::LogicalRouter(spec))
}

/// A port of a tenant; `turn` counts how often it was moved on: to another host, switch and app.
fn port(tenant: u32, number: u32, turn: u32) -> Resource {
    // Tenants on their own all use the same addresses.
    let net = if tenant.is_multiple_of(2) { 100 + tenant } else { 10 };
    let [.., high, low] = number.to_be_bytes();
    let address = IpAddr::V4(Ipv4Addr::new(net as u8, turn as u8, high, low));
    let place = number + turn;
    let host = (tenant + place % HOSTS_A_TENANT) % HOSTS;
    let spec = LogicalPortSpec {
        switch: named(tenant, format_args!("s{}", place % SWITCHES_A_TENANT)),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: Some(format!("h{host}").into()),
        attachment: PortAttachment::Derived,
        port_security: !number.is_multiple_of(400),
    };
    let labels = labels((number + turn) % APPS);
    object(&named(tenant, format_args!("p{number}")), labels, Spec::LogicalPort(spec))
}

fn group(tenant: u32, app: u32, all_projects: bool) -> Resource {
    let projects = if all_projects { ProjectScope::All } else { ProjectScope::Own };
    let selector = format!("app={app}").parse().unwrap();
    let terms = vec![GroupTerm::Selector { selector, projects }];
    let spec = GroupSpec { terms, blocks: Vec::new() };
    object(&named(tenant, format_args!("app-{app}")), Labels::new(), Spec::Group(spec))
}

fn policy(tenant: u32, number: u32, turn: u32) -> Resource {
    let app = |app: u32| named(tenant, format_args!("app-{}", app % APPS));
    let rule = |action, peer| Rule {
        name: None,
        direction: Direction::In,
        peers: vec![Peer { group: app(peer), negate: false }],
        services: Vec::new(),
        action,
        log: false,
    };
    let spec = SecurityPolicySpec {
        applied_to: vec![app(number + turn)],
        tier: SecurityPolicySpec::TIER_DEFAULT,
        priority: SecurityPolicySpec::PRIORITY_DEFAULT,
        defaults: DefaultActions::default(),
        rules: vec![rule(Action::Drop, number + 1), rule(Action::Allow, number + 2)],
    };
    object(&named(tenant, format_args!("np{number}")), Labels::new(), Spec::SecurityPolicy(spec))
}

/// The whole network, what others refer to first.
fn network() -> Vec<Resource> {
    let host = |number: u32| {
        let vtep = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number as u8)));
        let at = ObjectRef::new(SYSTEM_PROJECT, format!("h{number}"));
        object(&at, Labels::new(), Spec::Host(HostSpec { vtep }))
    };
    let mut all: Vec<Resource> = (0..HOSTS).map(host).collect();
    let provider = Spec::LogicalRouter(LogicalRouterSpec::default());
    all.push(object(&named(0, "provider"), Labels::new(), provider));
    for tenant in 0..TENANTS {
        all.extend((0..SWITCHES_A_TENANT).map(|switch| {
            let spec = Spec::LogicalSwitch(LogicalSwitchSpec::default());
            object(&named(tenant, format_args!("s{switch}")), Labels::new(), spec)
        }));
        all.push(router(tenant, 0..SWITCHES_A_TENANT, tenant.is_multiple_of(2)));
        all.extend((0..APPS).map(|app| group(tenant, app, app == 0)));
        all.extend((0..POLICIES_A_TENANT).map(|number| policy(tenant, number, 0)));
    }
    let ports = (OBJECTS - all.len()) as u32;
    all.extend((0..ports).map(|number| port(number % TENANTS, number / TENANTS, 0)));
    all
}

/// A change of every object that has something to change, in one transaction: three ports in four
/// move, the fourth goes; links are cut and made; groups select otherwise; policies apply elsewhere.
fn upheaval(network: &[Resource]) -> Transaction {
    let mut operations: Vec<Operation> = Vec::with_capacity(network.len());
    for tenant in 0..TENANTS {
        let cut = 1..SWITCHES_A_TENANT - tenant % 2;
        let mut put = vec![router(tenant, cut, tenant.is_multiple_of(4))];
        put.extend((0..APPS).map(|app| group(tenant, app, app == 1)));
        put.extend((0..POLICIES_A_TENANT).map(|number| policy(tenant, number, 3)));
        operations.extend(Transaction::put(put).operations);
    }
    let keys = network.iter().map(Resource::key).filter(|key| key.kind == Kind::LogicalPort);
    for (n, key) in keys.enumerate() {
        let (tenant, number) = (n as u32 % TENANTS, n as u32 / TENANTS);
        operations.push(match number % 4 {
            0 => Operation::Delete { key, cascade: false, expected_revision: None },
            turn => {
                Operation::Put { resource: port(tenant, number, turn), expected_revision: None }
            }
        });
    }
    Transaction { operations, expected_revision: None }
}

/// What a slow and obvious reading of a transaction makes of a network.
fn outcome(network: &[Resource], transaction: &Transaction) -> Vec<Resource> {
    let mut all: BTreeMap<ObjectKey, Resource> =
        network.iter().map(|resource| (resource.key(), resource.clone())).collect();
    for operation in &transaction.operations {
        match operation {
            Operation::Put { resource, .. } => all.insert(resource.key(), resource.clone()),
            Operation::Delete { key, .. } => all.remove(key),
        };
    }
    all.into_values().collect()
}

/// An engine that is told a network in many transactions, kind by kind, the last object first.
fn told_bit_by_bit(network: &[Resource]) -> Engine {
    const PART: usize = 997;
    let mut engine = Engine::new();
    for kind in Kind::ALL {
        // Routers refer to one another, so they come at once.
        let part = if kind == Kind::LogicalRouter { network.len() } else { PART };
        let of_kind: Vec<&Resource> =
            network.iter().rev().filter(|resource| resource.spec.kind() == kind).collect();
        for part in of_kind.chunks(part) {
            let transaction = Transaction::put(part.iter().copied().cloned());
            engine.apply(&transaction, engine.revision() + 1).unwrap();
        }
    }
    engine
}

fn check_same(large: &Engine, small: &Engine) {
    let mut members = 0;
    for host in large.list(Kind::Host, None, None).step_by(COMPARED) {
        let name = &host.resource.metadata.name;
        let view =
            |engine: &Engine| engine_view_canonical(engine, engine.host_id(name).unwrap()).unwrap();
        let (found, expected) = (view(large), view(small));
        assert!(found == expected, "host {name} is told something else");
        members += found.len();
    }
    assert!(members > 1_000, "hosts are told all but nothing: {members} items");
    let domains = |engine: &Engine| {
        let mut domains: Vec<_> =
            engine.domains().into_iter().map(|domain| (domain.switches, domain.ports)).collect();
        domains.sort();
        domains
    };
    assert_eq!(domains(large), domains(small));
}

#[test]
fn a_large_transaction_is_like_many_small_ones() {
    let network = network();
    assert_eq!(network.len(), OBJECTS);
    let mut large = Engine::new();
    let changes = large.apply(&Transaction::put(network.iter().cloned()), 1).unwrap();
    assert_eq!(changes.objects.len(), OBJECTS);
    check_same(&large, &told_bit_by_bit(&network));

    // Now over what is there, with hosts watching.
    for number in 0..HOSTS {
        let host = large.host_id(&format!("h{number}")).unwrap();
        large.set_watched(host, number.is_multiple_of(2));
    }
    let upheaval = upheaval(&network);
    let changes = large.apply(&upheaval, 2).unwrap();
    let changed = changes.objects.iter().filter(|change| change.outcome != Outcome::Unchanged);
    assert!(changed.count() > OBJECTS * 9 / 10, "too little changes");
    let small = told_bit_by_bit(&outcome(&network, &upheaval));
    check_same(&large, &small);
}
