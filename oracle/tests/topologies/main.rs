//! The oracle on networks small enough to be checked by hand.
//!
//! In the drawings `[s]` is a switch, `(r)` a router, `(r)!` one that does not advertise, `==` a
//! peering, and an uplink is drawn upwards. Workloads stand under their switch.

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

mod notation;
mod rules;

use notation::{key, network, short_domain, written};
use spanwire_oracle::{Network, State, problems};
use spanwire_topology::engine::{Endpoint, Outcome, PacketKind, Refusal, Verdict};
use spanwire_topology::model::*;
use std::collections::BTreeMap;

/// Checks the view of a host against what it must be, line by line.
fn check_view(text: &str, host: &str, expected: &[&str]) {
    let resources = network(text);
    assert_eq!(problems(&resources), [], "the network is wrong");
    let view = written(&Network::new(&resources).host_view(host));
    assert_eq!(view, expected, "the view of {host}");
}

/// Checks that the view has these lines; it may have others.
fn check_lines(text: &str, host: &str, wanted: &str, expected: &[&str]) {
    let resources = network(text);
    assert_eq!(problems(&resources), [], "the network is wrong");
    let mut view = written(&Network::new(&resources).host_view(host));
    view.retain(|line| line.starts_with(wanted));
    assert_eq!(view, expected, "lines with {wanted:?} of the view of {host}");
}

/// Checks the ports of groups, written `port port`.
fn check_groups(text: &str, expected: &[(&str, &str)]) {
    let resources = network(text);
    assert_eq!(problems(&resources), [], "the network is wrong");
    let network = Network::new(&resources);
    for (group, ports) in expected {
        let found = network.group_ports(&key(Kind::Group, group)).unwrap();
        let found: Vec<String> = found
            .iter()
            .map(|port| match &*port.project {
                "p" => port.name.to_string(),
                project => format!("{project}/{}", port.name),
            })
            .collect();
        assert_eq!(found.join(" "), *ports, "the ports of {group}");
    }
}

/// Checks verdicts for a TCP connection, written `unreachable`, `source`, `destination` (where it
/// is denied) or `allowed`.
fn check_verdicts(text: &str, port: u16, expected: &[(&str, &str, &str)]) {
    let resources = network(text);
    assert_eq!(problems(&resources), [], "the network is wrong");
    let network = Network::new(&resources);
    let endpoint = |name: &str| match name.parse() {
        Ok(address) => Endpoint::Outside(address),
        Err(_) => Endpoint::Port(key(Kind::LogicalPort, name), None),
    };
    let packet =
        PacketKind::Transport { protocol: TransportProtocol::Tcp, source_port: 40_000, port };
    for (from, to, verdict) in expected {
        let found = match network.verdict(&endpoint(from), &endpoint(to), packet).unwrap() {
            Verdict::Unreachable { .. } => "unreachable",
            Verdict::DeniedAtSource(_) => "source",
            Verdict::DeniedAtDestination(..) => "destination",
            Verdict::Allowed(..) => "allowed",
        };
        assert_eq!(found, *verdict, "from {from} to {to}");
    }
}

/// ```text
///        (r)
///      /     \
///   [s1]     [s2]      [s3]
///    a@h1     b@h2      c@h2 (the same address as b)
/// ```
const TWO_JOINED_ONE_ALONE: &str = "
    host h1 192.0.2.1
    host h2 192.0.2.2
    switch s1
    switch s2
    switch s3
    router r on s1,s2
    port a on s1 at h1 ip 10.0.0.1 labels app=web
    port b on s2 at h2 ip 10.0.1.1 labels app=web
    port c on s3 at h2 ip 10.0.1.1 labels app=web
    group web select app=web
    policy P to web
    rule P in allow from web
";

#[test]
fn a_host_has_the_members_that_its_ports_can_meet_and_no_others() {
    check_view(
        TWO_JOINED_ONE_ALONE,
        "h1",
        &[
            "domain s1+s2: sees s1+s2, reaches s1+s2",
            "port a: in s1+s2, 10.0.0.1, groups web",
            "policy P: 1 rules for web",
            "shard web in s1+s2: 10.0.0.1 10.0.1.1",
            "locators s1+s2: 10.0.0.1@192.0.2.1 10.0.1.1@192.0.2.2",
        ],
    );
}

#[test]
fn equal_addresses_on_one_host_stay_apart() {
    // h2 has a port in both domains: the shards are two, and each names its own 10.0.1.1.
    check_view(
        TWO_JOINED_ONE_ALONE,
        "h2",
        &[
            "domain s1+s2: sees s1+s2, reaches s1+s2",
            "domain s3: sees s3, reaches s3",
            "port b: in s1+s2, 10.0.1.1, groups web",
            "port c: in s3, 10.0.1.1, groups web",
            "policy P: 1 rules for web",
            "shard web in s1+s2: 10.0.0.1 10.0.1.1",
            "shard web in s3: 10.0.1.1",
            "locators s1+s2: 10.0.0.1@192.0.2.1 10.0.1.1@192.0.2.2",
            "locators s3: 10.0.1.1@192.0.2.2",
        ],
    );
}

#[test]
fn a_rule_never_matches_the_same_address_in_an_isolated_domain() {
    // G6. Only b of tenant 1 is a peer; x of tenant 2 has its address and may not profit.
    //
    //   [s1] a b       [s2] x y
    let text = "
        host h1 192.0.2.1
        switch s1
        switch s2
        port a on s1 at h1 ip 10.0.0.1 labels t=1
        port b on s1 at h1 ip 10.0.0.2
        port x on s2 at h1 ip 10.0.0.2
        port y on s2 at h1 ip 10.0.0.1 labels t=1
        group one port b
        group guarded select t=1
        policy P to guarded default in=drop
        rule P in allow from one
    ";
    check_verdicts(
        text,
        80,
        &[
            ("b", "a", "allowed"),
            ("x", "y", "destination"),
            ("x", "a", "unreachable"),
            ("b", "y", "unreachable"),
        ],
    );
    check_lines(text, "h1", "shard", &["shard one in s1: 10.0.0.2"]);
}

#[test]
fn a_host_without_ports_has_nothing() {
    check_view("host h1 192.0.2.1\nswitch s1\nport a on s1 ip 10.0.0.1", "h1", &[]);
}

#[test]
fn unbound_ports_are_members_but_not_located() {
    check_view(
        "
        host h1 192.0.2.1
        host h2
        switch s
        port a on s at h1 ip 10.0.0.1
        port b on s ip 10.0.0.2
        port c on s at h2 ip 10.0.0.3
        group all select *
        policy P to all
        rule P out allow from all
        ",
        "h1",
        &[
            "domain s: sees s, reaches s",
            "port a: in s, 10.0.0.1, groups all",
            "policy P: 1 rules for all",
            "shard all in s: 10.0.0.1 10.0.0.2 10.0.0.3",
            // c is bound, but its host has no tunnel endpoint.
            "locators s: 10.0.0.1@192.0.2.1",
        ],
    );
}

#[test]
fn advertised_uplinks_join_domains_over_any_distance() {
    //        (core)
    //        /    \
    //     (mid)   (r2)
    //       |       |
    //     (r1)    [s2] b
    //       |
    //     [s1] a
    check_lines(
        "
        host h1 192.0.2.1
        switch s1
        switch s2
        router core
        router mid up core
        router r1 on s1 up mid
        router r2 on s2 up core
        port a on s1 at h1 ip 10.0.0.1
        port b on s2 ip 10.0.0.2
        ",
        "h1",
        "domain",
        &["domain s1+s2: sees s1+s2, reaches s1+s2"],
    );
}

/// ```text
///            (core)-[web]  w@h3
///            /     \
///        (r1)!     (r2)!
///          |         |
///        [s1]      [s2]
///        a@h1      b@h2
/// ```
const SILENT_TENANTS: &str = "
    host h1 192.0.2.1
    host h2 192.0.2.2
    host h3 192.0.2.3
    switch web
    switch s1
    switch s2
    router core on web
    router r1 on s1 up core silent
    router r2 on s2 up core silent
    port w on web at h3 ip 10.9.0.1
    port a on s1 at h1 ip 10.0.0.1
    port b on s2 at h2 ip 10.0.0.1
    group all select *
    policy P to all
    rule P both allow from all
";

#[test]
fn a_silent_router_sends_up_and_is_sent_nothing() {
    check_verdicts(
        SILENT_TENANTS,
        80,
        &[
            ("a", "w", "allowed"),
            ("w", "a", "unreachable"),
            ("a", "b", "unreachable"),
            ("b", "w", "allowed"),
        ],
    );
}

#[test]
fn visibility_is_symmetric_and_not_transitive() {
    check_lines(SILENT_TENANTS, "h1", "domain", &["domain s1: sees s1 web, reaches s1 web"]);
    check_lines(SILENT_TENANTS, "h3", "domain", &["domain web: sees s1 s2 web, reaches web"]);
    check_lines(
        SILENT_TENANTS,
        "h1",
        "shard",
        &["shard all in s1: 10.0.0.1", "shard all in web: 10.9.0.1"],
    );
}

#[test]
fn silent_routers_pass_on_what_lies_above() {
    // Up and up again, through a component that has no switch of its own.
    //
    //     (top)-[s3] c
    //       |
    //     (mid)!          no switch
    //       |
    //     (low)!-[s1] a
    let text = "
        host h1 192.0.2.1
        switch s1
        switch s3
        router top on s3
        router mid up top silent
        router low on s1 up mid silent
        port a on s1 at h1 ip 10.0.0.1
        port c on s3 at h1 ip 10.0.0.1
    ";
    check_lines(
        text,
        "h1",
        "domain",
        &["domain s1: sees s1 s3, reaches s1 s3", "domain s3: sees s1 s3, reaches s3"],
    );
}

#[test]
fn peerings_do_not_compose() {
    //   (r1)-[s1] a  ==  (r2)-[s2] b  ==  (r3)-[s3] c
    let text = "
        host h1 192.0.2.1
        switch s1
        switch s2
        switch s3
        router r1 on s1 peer r2
        router r2 on s2
        router r3 on s3 peer r2
        port a on s1 at h1 ip 10.0.0.1
        port b on s2 at h1 ip 10.0.0.2
        port c on s3 at h1 ip 10.0.0.1
    ";
    check_lines(
        text,
        "h1",
        "domain",
        &[
            "domain s1: sees s1 s2, reaches s1 s2",
            "domain s2: sees s1 s2 s3, reaches s1 s2 s3",
            "domain s3: sees s2 s3, reaches s2 s3",
        ],
    );
    check_verdicts(
        text,
        80,
        &[("a", "b", "allowed"), ("b", "c", "allowed"), ("a", "c", "unreachable")],
    );
}

#[test]
fn peerings_do_not_compose_with_uplinks() {
    //   (r1)!-[s1] a  --up--  (r2)-[s2] b  ==  (r3)-[s3] c  --up-- (r4)-[s4] d
    //                                          (silent)
    let text = "
        host h1 192.0.2.1
        switch s1
        switch s2
        switch s3
        switch s4
        router r1 on s1 up r2 silent
        router r2 on s2 peer r3
        router r3 on s3 up r4 silent
        router r4 on s4
        port a on s1 at h1 ip 10.0.0.1
        port b on s2 at h1 ip 10.0.0.2
        port c on s3 at h1 ip 10.0.0.3
        port d on s4 at h1 ip 10.0.0.4
    ";
    check_verdicts(
        text,
        80,
        &[
            ("a", "b", "allowed"),
            ("a", "c", "unreachable"),
            ("b", "c", "allowed"),
            ("b", "d", "unreachable"),
            ("c", "d", "allowed"),
            ("c", "b", "allowed"),
            ("d", "b", "unreachable"),
        ],
    );
}

#[test]
fn a_peering_with_a_router_without_switches_lets_nothing_through() {
    //   (r1)-[s1] a  ==  (transit)  ==  (r2)-[s2] b
    check_lines(
        "
        host h1 192.0.2.1
        switch s1
        switch s2
        router transit peer r1,r2
        router r1 on s1
        router r2 on s2
        port a on s1 at h1 ip 10.0.0.1
        port b on s2 ip 10.0.0.2
        ",
        "h1",
        "domain",
        &["domain s1: sees s1, reaches s1"],
    );
}

#[test]
fn a_peering_inside_one_domain_changes_nothing() {
    //   (r1)-[s]-(r2),  r1 == r2
    check_lines(
        "
        host h1 192.0.2.1
        switch s
        router r1 on s peer r2
        router r2 on s
        port a on s at h1 ip 10.0.0.1
        ",
        "h1",
        "domain",
        &["domain s: sees s, reaches s"],
    );
}

#[test]
fn wrong_networks_are_found_out() {
    let found = |text: &str| {
        let list = problems(&network(text));
        list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let dangling = found("port a on s ip 10.0.0.1");
    assert!(dangling.starts_with("port p/a refers to switch p/s"), "{dangling}");
    let cycle = found("group a group b\ngroup b and c,c\ngroup c less d,a\ngroup d");
    assert!(cycle.contains("group p/a -> group p/b -> group p/c -> group p/a"), "{cycle}");
    let alone = found("group a group a");
    assert!(alone.contains("group p/a -> group p/a"), "{alone}");
    // The two ports are on two switches, and a router makes them one domain.
    let ports = "
        switch s1
        switch s2
        port a on s1 ip 10.0.0.1
        port b on s2 ip 10.0.0.1
    ";
    assert_eq!(found(ports), "");
    let duplicate = found(&format!("{ports}\nrouter r on s1,s2"));
    assert!(duplicate.starts_with("10.0.0.1 is the address of both port p/a and port p/b"));
    // Seeing each other is not enough.
    assert_eq!(found(&format!("{ports}\nrouter q on s1 peer r\nrouter r on s2")), "");
}

#[test]
fn domains_are_counted() {
    let resources = network(TWO_JOINED_ONE_ALONE);
    let sizes: BTreeMap<String, u64> = Network::new(&resources)
        .domain_sizes()
        .into_iter()
        .map(|(domain, size)| (short_domain(&domain), size))
        .collect();
    assert_eq!(sizes, BTreeMap::from([("s1+s2".to_owned(), 2), ("s3".to_owned(), 1)]));
}

#[test]
fn transactions_are_applied_whole_or_not_at_all() {
    let resources = network(TWO_JOINED_ONE_ALONE);
    let empty = State::default();
    let (state, outcomes) = empty.apply(&Transaction::put(resources.values().cloned()), 5).unwrap();
    assert_eq!(outcomes.len(), resources.len());
    assert!(outcomes.values().all(|outcome| *outcome == Outcome::Created));

    let (again, outcomes) = state.apply(&Transaction::put(resources.values().cloned()), 6).unwrap();
    assert!(outcomes.values().all(|outcome| *outcome == Outcome::Unchanged));
    assert_eq!(again.objects, state.objects);

    let switch = key(Kind::LogicalSwitch, "s1");
    let users = vec![key(Kind::LogicalRouter, "r"), key(Kind::LogicalPort, "a")];
    let refusals = state.apply(&Transaction::delete([switch.clone()], false), 6).unwrap_err();
    assert_eq!(refusals, [Refusal::StillUsed { key: switch.clone(), users: users.clone() }]);

    let (after, outcomes) = state.apply(&Transaction::delete([switch.clone()], true), 6).unwrap();
    let deleted: BTreeMap<_, _> =
        [switch].into_iter().chain(users).map(|key| (key, Outcome::Deleted)).collect();
    assert_eq!(outcomes, deleted);
    assert_eq!(after.objects.len(), state.objects.len() - 3);
}
