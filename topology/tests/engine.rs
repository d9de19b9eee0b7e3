//! The engine's behaviour in small, drawn situations. Random histories are in `histories.rs`.

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

use spanwire_oracle::engine_view_canonical;
use spanwire_topology::engine::{Endpoint, ItemChangeKind, PacketKind, Verdict};
use spanwire_topology::model::{
    Action, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, LogicalPortSpec,
    LogicalRouterSpec, LogicalSwitchSpec, Mac, Peer, PortAttachment, ProjectScope, RouterInterface,
    Rule, SecurityPolicySpec, Selector, TransportProtocol,
};
use spanwire_topology::view::{Item, ItemDelta, ItemKey};
use spanwire_topology::{Engine, Kind, ObjectKey, ObjectRef, Refusal, Resource, Spec, Transaction};

fn mk_ref(name: &str) -> ObjectRef {
    ObjectRef::new("default", name)
}

fn mk(name: &str, spec: Spec) -> Resource {
    let project = if spec.kind().is_fleet_wide() { "system" } else { "default" };
    Resource::new(project, name, Default::default(), spec)
}

fn mk_host(name: &str, last: u8) -> Resource {
    mk(name, Spec::Host(HostSpec { vtep: Some([192, 0, 2, last].into()) }))
}

fn mk_switch(name: &str) -> Resource {
    mk(name, Spec::LogicalSwitch(LogicalSwitchSpec::default()))
}

fn mk_router(name: &str, switches: &[&str], uplinks: &[&str], advertise: bool) -> Resource {
    mk(
        name,
        Spec::LogicalRouter(LogicalRouterSpec {
            interfaces: switches
                .iter()
                .map(|s| RouterInterface { switch: mk_ref(s), addresses: vec![] })
                .collect(),
            advertise,
            uplinks: uplinks.iter().map(|u| mk_ref(u)).collect(),
            peerings: vec![],
        }),
    )
}

fn mk_port(name: &str, switch: &str, address: &str, host: Option<&str>, label: &str) -> Resource {
    let address = address.parse().unwrap();
    let spec = LogicalPortSpec {
        switch: mk_ref(switch),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: host.map(Into::into),
        attachment: PortAttachment::Derived,
        port_security: true,
    };
    let labels = [("app".into(), label.into())].into_iter().collect();
    Resource::new("default", name, labels, Spec::LogicalPort(spec))
}

fn mk_group(name: &str, selector: &str) -> Resource {
    let selector: Selector = selector.parse().unwrap();
    let term = GroupTerm::Selector { selector, projects: ProjectScope::Own };
    mk(name, Spec::Group(GroupSpec { terms: vec![term], blocks: vec![] }))
}

fn mk_policy(name: &str, applied_to: &str, peer: &str) -> Resource {
    let rule = Rule {
        name: None,
        direction: Direction::In,
        peers: vec![Peer { group: mk_ref(peer), negate: false }],
        services: vec![],
        action: Action::Allow,
        log: false,
    };
    mk(
        name,
        Spec::SecurityPolicy(SecurityPolicySpec {
            applied_to: vec![mk_ref(applied_to)],
            tier: 500,
            priority: 10,
            defaults: DefaultActions { inbound: Some(Action::Drop), outbound: None },
            rules: vec![rule],
        }),
    )
}

/// ```text
///  provider ── a-router ── a-switch: a1 (host-1), a2 (host-2)
///     └─────── b-router ── b-switch: b1 (host-2)          c-switch: c1 (host-3), address of a1
/// ```
/// a1, b1, c1 are `app=web`; a2 is `app=db`; policy `db` on group `db` admits group `web`.
fn mk_network() -> Vec<Resource> {
    vec![
        mk_host("host-1", 1),
        mk_host("host-2", 2),
        mk_host("host-3", 3),
        mk_switch("a-switch"),
        mk_switch("b-switch"),
        mk_switch("c-switch"),
        mk_router("provider", &[], &[], true),
        mk_router("a-router", &["a-switch"], &["provider"], true),
        mk_router("b-router", &["b-switch"], &["provider"], true),
        mk_port("a1", "a-switch", "10.0.0.1", Some("host-1"), "web"),
        mk_port("a2", "a-switch", "10.0.0.2", Some("host-2"), "db"),
        mk_port("b1", "b-switch", "10.1.0.1", Some("host-2"), "web"),
        mk_port("c1", "c-switch", "10.0.0.1", Some("host-3"), "web"),
        mk_group("web", "app=web"),
        mk_group("db", "app=db"),
        mk_policy("db", "db", "web"),
    ]
}

/// The members that a host has of all groups, sorted.
fn members(engine: &Engine, host: &str) -> Vec<String> {
    let host = engine.host_id(host).unwrap();
    let mut found: Vec<String> = engine
        .host_view(host)
        .items
        .values()
        .filter_map(|item| match &*item.item {
            Item::Shard(addresses) => Some(addresses.iter().map(ToString::to_string)),
            _ => None,
        })
        .flatten()
        .collect();
    found.sort();
    found
}

fn tcp(port: u16) -> PacketKind {
    PacketKind::Transport { protocol: TransportProtocol::Tcp, source_port: 40_000, port }
}

fn port(name: &str) -> Endpoint {
    Endpoint::Port(ObjectKey::new(Kind::LogicalPort, "default", name), None)
}

#[test]
fn a_host_has_the_members_its_ports_can_meet_and_no_other() {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(mk_network()), 1).unwrap();
    // Only host-2 carries the policy; c1 is isolated, so it is not among the members.
    assert_eq!(members(&engine, "host-2"), ["10.0.0.1", "10.1.0.1"]);
    assert!(members(&engine, "host-1").is_empty());
    assert!(members(&engine, "host-3").is_empty());
    let allowed = engine.verdict(&port("b1"), &port("a2"), tcp(5432)).unwrap();
    assert!(matches!(allowed, Verdict::Allowed(..)), "{allowed:?}");
    let unreachable = engine.verdict(&port("c1"), &port("a2"), tcp(5432)).unwrap();
    assert!(matches!(unreachable, Verdict::Unreachable { .. }), "{unreachable:?}");
}

#[test]
fn cutting_a_link_takes_the_members_behind_it_and_healing_brings_them_back() {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(mk_network()), 1).unwrap();
    let host = engine.host_id("host-2").unwrap();
    engine.set_watched(host, true);
    let cut = Transaction::put([mk_router("b-router", &["b-switch"], &[], true)]);
    let changes = engine.apply(&cut, 2).unwrap();
    assert_eq!(members(&engine, "host-2"), ["10.0.0.1"]);
    let deltas: Vec<_> = changes
        .items
        .iter()
        .filter_map(|change| match &change.kind {
            ItemChangeKind::Delta(ItemDelta::Shard { removed, added }) => Some((removed, added)),
            _ => None,
        })
        .collect();
    assert_eq!(deltas.len(), 1, "{changes:?}");
    assert_eq!(deltas[0].0.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.0.1"]);
    let heal = Transaction::put([mk_router("b-router", &["b-switch"], &["provider"], true)]);
    engine.apply(&heal, 3).unwrap();
    assert_eq!(members(&engine, "host-2"), ["10.0.0.1", "10.1.0.1"]);
}

#[test]
fn a_link_that_would_bring_two_equal_addresses_together_is_refused_and_leaves_no_trace() {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(mk_network()), 1).unwrap();
    let before = engine.export();
    let join = Transaction::put([mk_router("c-router", &["c-switch"], &["provider"], true)]);
    let refusal = engine.apply(&join, 2).unwrap_err();
    let Refusal::DuplicateAddress { address, first, second } = refusal else {
        panic!("refused for another reason: {refusal}")
    };
    assert_eq!(address.to_string(), "10.0.0.1");
    assert_eq!([first.to_string(), second.to_string()], ["port default/a1", "port default/c1"]);
    assert_eq!(engine.export(), before);
}

#[test]
fn a_dry_run_leaves_no_trace_and_tells_the_truth() {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(mk_network()), 1).unwrap();
    let before = engine.export();
    let host = engine.host_id("host-2").unwrap();
    let cut = Transaction::put([
        mk_router("provider", &["c-switch"], &[], true),
        mk_router("a-router", &["a-switch"], &[], true),
    ]);
    let predicted = engine.dry_run(&cut).unwrap();
    assert_eq!(engine.export(), before);
    assert_eq!(engine.host_id("host-2"), Some(host));
    for id in 0..3 {
        engine.set_watched(spanwire_topology::engine::HostId(id), true);
    }
    assert_eq!(engine.apply(&cut, 2).unwrap(), predicted);
}

#[test]
fn a_snapshot_brings_back_every_view_byte_for_byte() {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(mk_network()), 1).unwrap();
    let cut = Transaction::put([mk_router("b-router", &["b-switch"], &[], true)]);
    engine.apply(&cut, 2).unwrap();
    let again = Engine::import(engine.export()).unwrap();
    assert_eq!(again.export(), engine.export());
    for host in ["host-1", "host-2", "host-3"] {
        let id = |engine: &Engine| engine.host_id(host).unwrap();
        assert_eq!(again.host_view(id(&again)), engine.host_view(id(&engine)), "{host}");
    }
}

#[test]
fn objects_in_use_are_not_deleted_unless_cascade_is_asked_for() {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(mk_network()), 1).unwrap();
    let group = ObjectKey::new(Kind::Group, "default", "web");
    let refusal = engine.apply(&Transaction::delete([group.clone()], false), 2).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "group default/web is still used by policy default/db: delete those first, or ask for \
         cascade"
    );
    engine.apply(&Transaction::delete([group.clone()], true), 2).unwrap();
    assert!(engine.get(&group).is_none());
    assert!(engine.get(&ObjectKey::new(Kind::SecurityPolicy, "default", "db")).is_none());
    let host = engine.host_id("host-2").unwrap();
    assert!(engine.host_items(host).iter().all(|(key, _)| !matches!(key, ItemKey::Policy(_))));
}

#[test]
fn a_cycle_of_groups_is_refused_with_its_members() {
    let mk_nested = |name: &str, inner: &str| {
        let terms = vec![GroupTerm::Group(mk_ref(inner))];
        mk(name, Spec::Group(GroupSpec { terms, blocks: vec![] }))
    };
    let refusal = Engine::new()
        .apply(
            &Transaction::put([mk_nested("a", "b"), mk_nested("b", "c"), mk_nested("c", "a")]),
            1,
        )
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "groups form a cycle: group default/a -> group default/b -> group default/c -> group \
         default/a"
    );
}

#[test]
fn explain_says_which_condition_fails() {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(mk_network()), 1).unwrap();
    let member = ObjectKey::new(Kind::LogicalPort, "default", "c1");
    let group = ObjectKey::new(Kind::Group, "default", "web");
    let explanation = engine.explain("host-2", &member, &group).unwrap();
    assert!(!explanation.has_member);
    let holds: Vec<bool> =
        explanation.steps.iter().filter(|step| step.depth == 0).map(|step| step.holds).collect();
    assert_eq!(holds, [true, true, false], "{explanation:?}");
}

#[test]
fn a_state_is_loaded_as_one_transaction_would_make_it() {
    let mut network = mk_network();
    network.reverse(); // what is referred to comes last
    let loaded = Engine::load(network.clone()).unwrap();
    let mut applied = Engine::new();
    applied.apply(&Transaction::put(network.clone()), 1).unwrap();
    assert_eq!((loaded.revision(), loaded.export().objects), (1, applied.export().objects));
    // The identities of domains may differ: nobody knows them yet.
    for name in ["host-1", "host-2", "host-3"] {
        let view =
            |engine: &Engine| engine_view_canonical(engine, engine.host_id(name).unwrap()).unwrap();
        assert_eq!(view(&loaded), view(&applied));
        let items = loaded.host_items(loaded.host_id(name).unwrap());
        assert!(items.iter().all(|&(_, version)| version == 1), "{items:?}");
    }
    let twice = [network[0].clone(), network[0].clone()];
    assert!(matches!(Engine::load(twice), Err(Refusal::NamedTwice { .. })));
    network.retain(|resource| &*resource.metadata.name != "provider");
    assert!(matches!(Engine::load(network), Err(Refusal::DanglingReference { .. })));
}
