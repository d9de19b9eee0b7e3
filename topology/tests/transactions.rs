//! Situations in which random histories once found the engine wrong, drawn small.

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

use spanwire_topology::engine::Outcome;
use spanwire_topology::model::*;
use spanwire_topology::{Engine, Refusal};
use std::net::IpAddr;

fn mk_ref(name: &str) -> ObjectRef {
    ObjectRef::new("p", name)
}

fn mk(name: &str, spec: Spec) -> Resource {
    let project = if spec.kind().is_fleet_wide() { SYSTEM_PROJECT } else { "p" };
    Resource::new(project, name, Labels::new(), spec)
}

fn mk_host(name: &str, vtep: [u8; 4]) -> Resource {
    mk(name, Spec::Host(HostSpec { vtep: Some(vtep.into()) }))
}

fn mk_switch(name: &str) -> Resource {
    mk(name, Spec::LogicalSwitch(LogicalSwitchSpec::default()))
}

fn mk_router(name: &str, switches: &[&str]) -> Resource {
    let interface = |switch: &&str| RouterInterface { switch: mk_ref(switch), addresses: vec![] };
    mk(
        name,
        Spec::LogicalRouter(LogicalRouterSpec {
            interfaces: switches.iter().map(interface).collect(),
            ..LogicalRouterSpec::default()
        }),
    )
}

fn mk_port(name: &str, switch: &str, address: [u8; 4], host: Option<&str>) -> Resource {
    let address = IpAddr::from(address);
    mk(
        name,
        Spec::LogicalPort(LogicalPortSpec {
            switch: mk_ref(switch),
            mac: Mac::derived_from(address),
            addresses: [address].into_iter().collect(),
            host: host.map(Text::from),
            attachment: PortAttachment::Derived,
            port_security: true,
        }),
    )
}

fn mk_group(name: &str, terms: Vec<GroupTerm>) -> Resource {
    mk(name, Spec::Group(GroupSpec { terms, blocks: vec![] }))
}

fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "p", name)
}

fn mk_engine(resources: Vec<Resource>) -> Engine {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(resources), 1).unwrap();
    engine
}

fn delete(name: ObjectKey, cascade: bool) -> Operation {
    Operation::Delete { key: name, cascade, expected_revision: None }
}

fn put(resource: Resource) -> Operation {
    Operation::Put { resource, expected_revision: None }
}

/// ```text
///   [s1]--(r)--[s2]      A dry run that takes r away splits the domain in two, and undoing it
///    a@h         b       must leave every identity and version as it was.
/// ```
#[test]
fn a_dry_run_that_splits_a_domain_leaves_no_trace() {
    let resources = vec![
        mk_host("h", [192, 0, 2, 1]),
        mk_switch("s1"),
        mk_switch("s2"),
        mk_router("r", &["s1", "s2"]),
        mk_port("a", "s1", [10, 0, 0, 1], Some("h")),
        mk_port("b", "s2", [10, 0, 0, 2], None),
        mk_group("g", vec![GroupTerm::Switch(mk_ref("s1"))]),
    ];
    let mut engine = mk_engine(resources);
    let host = engine.host_id("h").unwrap();
    let (before, exported) = (engine.host_view(host), engine.export());
    let split = Transaction::delete([key(Kind::LogicalRouter, "r")], false);
    assert!(!engine.dry_run(&split).unwrap().items.is_empty());
    assert_eq!(engine.host_view(host), before);
    assert_eq!(engine.export(), exported);
}

/// ```text
///   [s1]  +(r)  [s2]     r would make one domain of two ports with one address: it is refused,
///    a            b      and both ports are still found by the address.
/// ```
#[test]
fn ports_that_clashed_are_still_found_by_their_address() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut engine = mk_engine(vec![
            mk_switch("s1"),
            mk_switch("s2"),
            mk_port(names[0], "s1", [10, 0, 0, 1], None),
            mk_port(names[1], "s2", [10, 0, 0, 1], None),
        ]);
        let both = ["a", "b"].map(|name| key(Kind::LogicalPort, name));
        for switches in [["s1", "s2"], ["s2", "s1"]] {
            let join = Transaction::put([mk_router("r", &switches)]);
            let refusal = engine.apply(&join, 2).unwrap_err();
            let [first, second] = both.clone();
            let address = IpAddr::from([10, 0, 0, 1]);
            assert_eq!(refusal, Refusal::DuplicateAddress { address, first, second });
            assert_eq!(engine.ports_with_address(address), both);
        }
    }
}

/// A port that is put as it is escapes the cascade that starts from its switch, and then refers
/// to nothing: nothing about the port changes, and the transaction is wrong all the same.
#[test]
fn an_unchanged_object_may_not_be_left_dangling() {
    let port = mk_port("a", "s", [10, 0, 0, 1], None);
    let mut engine = mk_engine(vec![mk_switch("s"), port.clone()]);
    let switch = key(Kind::LogicalSwitch, "s");
    let transaction = Transaction {
        operations: vec![put(port.clone()), delete(switch.clone(), true)],
        expected_revision: None,
    };
    let refusal = engine.apply(&transaction, 2).unwrap_err();
    assert_eq!(refusal, Refusal::DanglingReference { key: port.key(), target: switch });
}

/// ```text
///   [s] <- group inner <- group outer
/// ```
/// The cascade from s deletes `inner`, named or not, and what refers to it.
#[test]
fn a_cascade_goes_on_through_what_is_deleted_by_name() {
    let mut engine = mk_engine(vec![
        mk_switch("s"),
        mk_group("inner", vec![GroupTerm::Switch(mk_ref("s"))]),
        mk_group("outer", vec![GroupTerm::Group(mk_ref("inner"))]),
    ]);
    let transaction = Transaction {
        operations: vec![
            delete(key(Kind::Group, "inner"), false),
            delete(key(Kind::LogicalSwitch, "s"), true),
        ],
        expected_revision: None,
    };
    let changes = engine.apply(&transaction, 2).unwrap();
    assert_eq!(changes.objects.len(), 3);
    assert!(changes.objects.iter().all(|change| change.outcome == Outcome::Deleted));
}

/// ```text
///   [s] a@h1 b@h2        [t] c@h3
/// ```
/// h2's tunnel endpoint stands in the locators that h1 has, and h3 has not.
#[test]
fn a_host_matters_to_those_that_send_to_it() {
    let engine = mk_engine(vec![
        mk_host("h1", [192, 0, 2, 1]),
        mk_host("h2", [192, 0, 2, 2]),
        mk_host("h3", [192, 0, 2, 3]),
        mk_switch("s"),
        mk_switch("t"),
        mk_port("a", "s", [10, 0, 0, 1], Some("h1")),
        mk_port("b", "s", [10, 0, 0, 2], Some("h2")),
        mk_port("c", "t", [10, 0, 0, 3], Some("h3")),
    ]);
    let span = engine.span(&ObjectKey::new(Kind::Host, SYSTEM_PROJECT, "h2")).unwrap();
    let names: Vec<_> = span.iter().filter_map(|id| engine.host_name(*id)).collect();
    assert_eq!(names, ["h1", "h2"]);
}

/// ```text
///   [s] a(10.0.0.1)  +b(10.0.0.1)  +c(10.0.0.1)
/// ```
/// Two ports clash with a third. Which two are named must not depend on how ports are numbered
/// inside, or replicas that were restarted would refuse for another reason than the others.
#[test]
fn replicas_name_the_same_two_of_three_ports_that_clash() {
    let mut engine = mk_engine(vec![
        mk_switch("s"),
        mk_port("z", "s", [10, 0, 0, 9], None),
        mk_port("c", "s", [10, 0, 0, 3], None),
    ]);
    engine.apply(&Transaction::delete([key(Kind::LogicalPort, "z")], false), 2).unwrap();
    let two = [mk_port("a", "s", [10, 0, 0, 1], None), mk_port("b", "s", [10, 0, 0, 2], None)];
    engine.apply(&Transaction::put(two), 3).unwrap();
    let mut restarted = Engine::import(engine.export()).unwrap();
    let clash = ["a", "b", "c"].map(|name| mk_port(name, "s", [10, 0, 0, 7], None));
    let refusal = engine.apply(&Transaction::put(clash.clone()), 4).unwrap_err();
    let [first, second] = ["a", "b"].map(|name| key(Kind::LogicalPort, name));
    let address = IpAddr::from([10, 0, 0, 7]);
    assert_eq!(refusal, Refusal::DuplicateAddress { address, first, second });
    assert_eq!(restarted.apply(&Transaction::put(clash), 4).unwrap_err(), refusal);
}

#[test]
fn services_and_policies_that_no_host_could_be_told_are_refused() {
    let ranges = |count: u16| (1..=count).filter_map(|port| PortRange::new(port, port)).collect();
    let mk_service = |ports: Vec<PortRange>| {
        let entry = ServiceEntry::Transport {
            protocol: TransportProtocol::Tcp,
            ports,
            source_ports: vec![],
        };
        mk("s", Spec::Service(ServiceSpec { entries: vec![entry] }))
    };
    let mk_policy = |services: usize| {
        let rule = Rule {
            name: None,
            direction: Direction::In,
            peers: vec![],
            services: vec![ServiceMatch::Service(mk_ref("s")); services],
            action: Action::Drop,
            log: false,
        };
        mk(
            "policy",
            Spec::SecurityPolicy(SecurityPolicySpec {
                applied_to: vec![mk_ref("g")],
                tier: SecurityPolicySpec::TIER_DEFAULT,
                priority: SecurityPolicySpec::PRIORITY_DEFAULT,
                defaults: DefaultActions::default(),
                rules: vec![rule],
            }),
        )
    };
    let put = |resources: Vec<Resource>| {
        Engine::new().apply(&Transaction::put(resources), 1).map_err(|refusal| refusal.to_string())
    };
    let largest = SERVICE_SIZE_MAX as u16 - 1;
    let group = || mk_group("g", vec![]);
    assert!(put(vec![mk_service(ranges(largest)), group(), mk_policy(9_999)]).is_ok());
    let error = put(vec![mk_service(ranges(largest + 1))]).unwrap_err();
    assert!(error.starts_with("service p/s: ") && error.contains("the most is 1000"), "{error}");
    let error = put(vec![mk_service(ranges(1)), group(), mk_policy(10_001)]).unwrap_err();
    assert!(error.contains("divide it into several policies"), "{error}");
}

#[test]
fn a_snapshot_whose_identities_contradict_its_objects_is_refused() {
    let mut engine = Engine::new();
    let network = [mk_switch("a"), mk_switch("b"), mk_router("r", &["a"])];
    engine.apply(&Transaction::put(network), 1).unwrap();
    type Change = fn(&mut spanwire_topology::engine::Snapshot);
    let cases: [(&str, Change); 4] = [
        ("are not those that have a VNI", |s| s.vnis.truncate(1)),
        ("are not those that have a VNI", |s| s.vnis[0].0 = Uid(99)),
        ("is no VNI", |s| s.vnis[0].1 = Vni(1 << 24)),
        ("two routing domains have one VNI", |s| {
            let first = s.vnis[0].1;
            s.vnis.iter_mut().for_each(|entry| entry.1 = first);
        }),
    ];
    assert!(Engine::import(engine.export()).is_ok());
    for (expected, change) in cases {
        let mut snapshot = engine.export();
        change(&mut snapshot);
        let error = Engine::import(snapshot).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, not {expected}");
    }
}
