//! A small network that keeps changing: few enough objects that everything soon meets everything.
//! Many of the changes are refused by the engine; that is as it should be.

use proptest::prelude::*;
use spanwire_topology::model::*;
use std::net::IpAddr;

pub(crate) const HOSTS: u8 = 3;
const SWITCHES: u8 = 3;
const ROUTERS: u8 = 2;
const PORTS: u8 = 8;
const GROUPS: u8 = 3;
const POLICIES: u8 = 3;
/// Blocks of a group with many: of three bytes each on the wire.
const MANY: u32 = 360;
const PROJECT: &str = "p";

pub(crate) fn host_name(number: u8) -> Text {
    format!("host-{number}").into()
}

fn reference(kind: Kind, number: u8) -> ObjectRef {
    ObjectRef::new(PROJECT, format!("{}-{number}", kind.short()))
}

fn mk(kind: Kind, number: u8, labels: &[(&str, u8)], spec: Spec) -> Operation {
    let name = reference(kind, number);
    let (project, name) = match kind {
        Kind::Host => (SYSTEM_PROJECT.into(), host_name(number)),
        _ => (name.project, name.name),
    };
    let labels =
        labels.iter().map(|(key, value)| ((*key).into(), value.to_string().into())).collect();
    let resource = Resource::new(project, name, labels, spec);
    Operation::Put { resource, expected_revision: None }
}

fn any_host() -> impl Strategy<Value = Operation> {
    (0..HOSTS, prop::bool::weighted(0.9)).prop_map(|(number, has_vtep)| {
        let vtep = has_vtep.then(|| IpAddr::from([192, 0, 2, number + 1]));
        mk(Kind::Host, number, &[], Spec::Host(HostSpec { vtep }))
    })
}

fn any_switch() -> impl Strategy<Value = Operation> {
    (0..SWITCHES).prop_map(|number| {
        let spec = LogicalSwitchSpec { subnets: Vec::new() };
        mk(Kind::LogicalSwitch, number, &[], Spec::LogicalSwitch(spec))
    })
}

fn any_router() -> impl Strategy<Value = Operation> {
    let switches = prop::collection::btree_set(0..SWITCHES, 0..3);
    let other = prop::option::of(0..ROUTERS);
    (0..ROUTERS, switches, other.clone(), other, any::<bool>()).prop_map(
        |(number, switches, uplink, peering, advertise)| {
            let other = |router: Option<u8>| {
                let router = router.filter(|router| *router != number);
                router.map(|router| reference(Kind::LogicalRouter, router)).into_iter().collect()
            };
            let interface = |switch| RouterInterface {
                switch: reference(Kind::LogicalSwitch, switch),
                addresses: Vec::new(),
            };
            let spec = LogicalRouterSpec {
                interfaces: switches.into_iter().map(interface).collect(),
                advertise,
                uplinks: other(uplink),
                peerings: other(peering),
            };
            mk(Kind::LogicalRouter, number, &[], Spec::LogicalRouter(spec))
        },
    )
}

fn any_port() -> impl Strategy<Value = Operation> {
    let place = (0..SWITCHES, prop::option::weighted(0.9, 0..HOSTS));
    let address = prop_oneof![4 => Just(0u8), 1 => 1u8..3];
    (0..PORTS, place, address, 0u8..2, prop::bool::weighted(0.9)).prop_map(
        |(number, (switch, host), address, label, port_security)| {
            // Ports of different switches may have equal addresses.
            let v4 = IpAddr::from([10, 0, address, number / 2]);
            let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, address.into(), number.into()]);
            let spec = LogicalPortSpec {
                switch: reference(Kind::LogicalSwitch, switch),
                mac: Mac::derived_from(v4),
                addresses: [v4, v6].into_iter().take(1 + usize::from(number % 2)).collect(),
                host: host.map(host_name),
                attachment: PortAttachment::Derived,
                port_security,
            };
            mk(Kind::LogicalPort, number, &[("app", label)], Spec::LogicalPort(spec))
        },
    )
}

fn any_group() -> impl Strategy<Value = Operation> {
    let term = prop_oneof![
        3 => (0u8..2).prop_map(|label| GroupTerm::Selector {
            selector: format!("app={label}").parse().unwrap(),
            projects: ProjectScope::Own,
        }),
        1 => (0..SWITCHES).prop_map(|n| GroupTerm::Switch(reference(Kind::LogicalSwitch, n))),
        1 => (0..PORTS).prop_map(|n| GroupTerm::Port(reference(Kind::LogicalPort, n))),
    ];
    let terms = prop::collection::vec(term, 0..3);
    (0..GROUPS, terms, prop::option::weighted(0.5, 0u8..4)).prop_map(|(number, terms, block)| {
        // Those of the first group are so many that they are sent by ranges.
        let others = if number == 0 && block.is_some() { MANY } else { 0 };
        let others = (0..others).map(|n| format!("198.{}.{}.0/28", n / 25, 10 * (n % 25)));
        let block = block.map(|n| format!("203.0.{n}.0/24"));
        let blocks = block
            .into_iter()
            .chain(others)
            .map(|cidr| CidrBlock::new(cidr.parse().unwrap(), Vec::new()).unwrap());
        let spec = GroupSpec { terms, blocks: blocks.collect() };
        mk(Kind::Group, number, &[], Spec::Group(spec))
    })
}

fn any_policy() -> impl Strategy<Value = Operation> {
    let action = prop::sample::select(vec![Action::Allow, Action::Drop, Action::Pass]);
    (0..POLICIES, 0..GROUPS, 0..GROUPS, any::<bool>(), action).prop_map(
        |(number, applied_to, peer, negate, action)| {
            let rule = Rule {
                name: None,
                direction: Direction::Both,
                peers: vec![Peer { group: reference(Kind::Group, peer), negate }],
                services: vec![ServiceMatch::Entry(ServiceEntry::Any)],
                action,
                log: false,
            };
            let spec = SecurityPolicySpec {
                applied_to: vec![reference(Kind::Group, applied_to)],
                tier: SecurityPolicySpec::TIER_DEFAULT,
                priority: SecurityPolicySpec::PRIORITY_DEFAULT,
                defaults: DefaultActions::default(),
                rules: vec![rule],
            };
            mk(Kind::SecurityPolicy, number, &[], Spec::SecurityPolicy(spec))
        },
    )
}

fn any_delete() -> impl Strategy<Value = Operation> {
    let kind = prop::sample::select(&Kind::ALL[..]);
    (kind, 0..PORTS, any::<bool>()).prop_map(|(kind, number, cascade)| {
        let key = match kind {
            Kind::Host => ObjectKey::new(kind, SYSTEM_PROJECT, host_name(number)),
            _ => reference(kind, number).to_key(kind),
        };
        Operation::Delete { key, cascade, expected_revision: None }
    })
}

/// Hosts, switches, groups and policies to begin with.
pub(crate) fn any_start() -> impl Strategy<Value = Vec<Operation>> {
    let of = |count: u8, operation: BoxedStrategy<Operation>| {
        prop::collection::vec(operation, usize::from(3 * count))
    };
    (
        of(HOSTS, any_host().boxed()),
        of(SWITCHES, any_switch().boxed()),
        of(GROUPS, any_group().boxed()),
        of(POLICIES, any_policy().boxed()),
        of(PORTS, any_port().boxed()),
    )
        .prop_map(|(hosts, switches, groups, policies, ports)| {
            [hosts, switches, ports, groups, policies].concat()
        })
}

/// The operations of one transaction, or of none if the engine refuses it.
pub(crate) fn any_operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        6 => any_port(),
        2 => any_router(),
        2 => any_group(),
        2 => any_policy(),
        1 => any_host(),
        1 => any_switch(),
        2 => any_delete(),
    ];
    prop::collection::vec(operation, 1..4)
}
