//! What becomes of the rows of a northbound database, table by table.
#![allow(clippy::unwrap_used)] // A panic in a test's own function is a failed test too.

mod common;

use common::{Nb, map, notes, set, sound, spec, unsupported, uuid};
use serde_json::json;
use spanwire_import::Import;
use spanwire_topology::model::{
    GroupSpec, GroupTerm, Kind, LogicalPortSpec, LogicalRouterSpec, ObjectRef, Spec,
};

fn port_spec<'a>(import: &'a Import, project: &str, name: &str) -> &'a LogicalPortSpec {
    match spec(import, Kind::LogicalPort, project, name) {
        Spec::LogicalPort(port) => port,
        other => panic!("{other:?}"),
    }
}

fn router_spec<'a>(import: &'a Import, name: &str) -> &'a LogicalRouterSpec {
    match spec(import, Kind::LogicalRouter, "p", name) {
        Spec::LogicalRouter(router) => router,
        other => panic!("{other:?}"),
    }
}

fn group_spec<'a>(import: &'a Import, project: &str, name: &str) -> &'a GroupSpec {
    match spec(import, Kind::Group, project, name) {
        Spec::Group(group) => group,
        other => panic!("{other:?}"),
    }
}

fn has_port(import: &Import, name: &str) -> bool {
    import.resources.iter().any(|r| r.spec.kind() == Kind::LogicalPort && &*r.metadata.name == name)
}

// --- Logical_Switch and Logical_Switch_Port --------------------------------------------------

#[test]
fn a_switch_has_the_subnets_of_its_routers_and_of_its_address_management() {
    let mut nb = Nb::default();
    let (router_port, switch_port) = nb.router_port("r-a", &["10.0.0.1/24", "fd00::1/64"]);
    nb.router("r", &[router_port], &[]);
    nb.switch_with(
        "a",
        &[switch_port],
        json!({ "other_config": map("subnet=10.0.1.0/24 ipv6_prefix=fd01::") }),
    );
    let import = nb.import().unwrap();
    let Spec::LogicalSwitch(switch) = spec(&import, Kind::LogicalSwitch, "p", "a") else {
        panic!()
    };
    let subnets: Vec<String> = switch.subnets.iter().map(ToString::to_string).collect();
    assert_eq!(subnets, ["10.0.0.0/24", "10.0.1.0/24", "fd00::/64", "fd01::/64"]);
    assert_eq!(unsupported(&import), [""; 0]);
}

#[test]
fn projects_follow_the_tenant_of_the_ports() {
    let mut nb = Nb::default();
    let ports = [("a1", "tenant=a"), ("a2", "tenant=a"), ("b1", "tenant=b"), ("c1", "")]
        .map(|(name, ids)| nb.port(name, "10.0.0.1", ids));
    nb.switch("a", &ports[..2]);
    nb.switch("mixed", &ports[2..]);
    nb.port_group("only_a", &ports[..2], &[]);
    nb.port_group("all", &ports[..3], &[]);
    nb.row(
        "Address_Set",
        json!({ "name": "s", "external_ids": map("tenant=b"), "addresses": set([]) }),
    );
    let import = nb.import().unwrap();
    let keys: Vec<String> = import.resources.iter().map(|r| r.key().to_string()).collect();
    assert_eq!(
        keys,
        [
            "host h1",
            "switch a/a",
            "switch p/mixed",
            "port a/a1",
            "port a/a2",
            "port b/b1",
            "port p/c1",
            "group a/only_a",
            "group b/s",
            "group p/all",
        ]
    );
}

#[test]
fn port_security_is_that_of_the_column() {
    // The column, whether it is on here, and what is listed.
    let cases: [(&[&str], bool, &[&str]); 7] = [
        (&[], false, &[]),
        (&["0a:00:00:00:00:01 10.0.0.1 fd00::1"], true, &[]),
        (&["0a:00:00:00:00:01 10.0.0.1", "0a:00:00:00:00:01 fd00::1/128"], true, &[]),
        (
            &["0a:00:00:00:00:01"],
            false,
            &["port_security 0a:00:00:00:00:01: the MAC address alone"],
        ),
        (&["0a:00:00:00:00:01 10.0.0.1"], true, &["port_security without fd00::1: all of the"]),
        (
            &["0a:00:00:00:00:01 10.0.0.0/30 fd00::1"],
            true,
            &["port_security 10.0.0.0/32: only", "port_security 10.0.0.2/31: only the port's own"],
        ),
        (
            &["0a:00:00:00:00:01 10.0.0.1 fd00::1", "0a:00:00:00:00:09"],
            true,
            &["port_security 0a:00:00:00:00:09: only the port's own MAC"],
        ),
    ];
    for (column, on, listed) in cases {
        let mut nb = Nb::default();
        let port = nb.row(
            "Logical_Switch_Port",
            json!({
                "name": "x", "addresses": "0a:00:00:00:00:01 10.0.0.1 fd00::1",
                "port_security": set(column.iter().map(|text| json!(text))),
            }),
        );
        nb.switch("a", &[port]);
        let import = nb.import().unwrap();
        assert_eq!(port_spec(&import, "p", "x").port_security, on, "{column:?}");
        let found = unsupported(&import);
        assert_eq!(found.len(), listed.len(), "{column:?}: {found:#?}");
        for (found, listed) in found.iter().zip(listed) {
            assert!(found.contains(listed), "{column:?}: {found}");
        }
    }
}

#[test]
fn ports_that_are_not_plain_workloads_are_listed() {
    let cases = [
        (
            json!({ "type": "localnet", "addresses": "unknown" }),
            false,
            "type localnet: ports of this",
        ),
        (json!({ "type": "virtual", "addresses": set([]) }), false, "type virtual: ports of this"),
        (json!({ "addresses": "unknown" }), false, "addresses: a port needs a MAC address"),
        (json!({ "addresses": set([]) }), false, "addresses: a port needs a MAC address"),
        (json!({ "addresses": "dynamic" }), false, "addresses dynamic: OVN has not chosen"),
        (
            json!({
                "addresses": "unknown", "port_security": "0a:00:00:00:00:01 10.0.0.1",
            }),
            true,
            "addresses unknown: packets to addresses that nobody knows",
        ),
        (
            json!({
                "addresses": set([
                    json!("0a:00:00:00:00:01 10.0.0.1"), json!("0a:00:00:00:00:02 10.0.0.2"),
                ]),
            }),
            true,
            "addresses 0a:00:00:00:00:02 10.0.0.2: a port has one MAC address",
        ),
        (
            json!({
                "addresses": "0a:00:00:00:00:01 10.0.0.1", "parent_name": "vm",
                "options": map("requested-chassis=h1"),
            }),
            true,
            "parent_name vm: ports inside",
        ),
        (
            json!({
                "addresses": "0a:00:00:00:00:01 10.0.0.1",
                "options": map("requested-chassis=h1,h2"),
            }),
            true,
            "requested-chassis h2: a port is bound to one host",
        ),
    ];
    for (mut columns, carried, listed) in cases {
        let mut nb = Nb::default();
        columns["name"] = json!("x");
        let port = nb.row("Logical_Switch_Port", columns.clone());
        nb.switch("a", &[port]);
        nb.port_group("g", &[port], &[]);
        let import = nb.import().unwrap();
        sound(&import);
        assert_eq!(has_port(&import, "x"), carried, "{columns}");
        assert_eq!(group_spec(&import, "p", "g").terms.len(), usize::from(carried), "{columns}");
        let found = unsupported(&import);
        assert!(found.iter().any(|line| line.contains(listed)), "{columns}: {found:#?}");
        assert!(found[0].starts_with("Logical_Switch_Port x: "), "{}", found[0]);
    }
}

#[test]
fn a_disabled_port_is_bound_to_no_host() {
    let mut nb = Nb::default();
    let columns = json!({
        "name": "x", "addresses": "0a:00:00:00:00:01 10.0.0.1", "enabled": false,
        "options": map("requested-chassis=h1"),
    });
    let port = nb.row("Logical_Switch_Port", columns);
    nb.switch("a", &[port]);
    let import = nb.import().unwrap();
    assert_eq!(port_spec(&import, "p", "x").host, None);
    assert!(
        notes(&import).contains(
            &"Logical_Switch_Port x: is disabled: it is bound to no host here".to_owned()
        )
    );
}

#[test]
fn dynamic_addresses_are_taken_where_ovn_chose_them() {
    let mut nb = Nb::default();
    let columns = json!({
        "name": "x", "addresses": "0a:00:00:00:00:01 dynamic",
        "dynamic_addresses": "0a:00:00:00:00:01 10.0.0.7",
    });
    let port = nb.row("Logical_Switch_Port", columns);
    nb.switch("a", &[port]);
    let import = nb.import().unwrap();
    assert_eq!(
        port_spec(&import, "p", "x").addresses.as_slice(),
        ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(unsupported(&import), [""; 0]);
}

#[test]
fn names_and_labels_are_cleaned_and_told_apart() {
    let mut nb = Nb::default();
    let ids = json!(["map", [["neutron:name", "two words"], ["bad key", "x"]]]);
    let columns =
        |name: &str| json!({ "name": name, "addresses": "0a:00:00:00:00:01", "external_ids": ids });
    let a = nb.row("Logical_Switch_Port", columns("a/b"));
    let b = nb.row("Logical_Switch_Port", columns("a_b"));
    nb.switch("s", &[a]);
    nb.switch("s", &[b]);
    let import = nb.import().unwrap();
    sound(&import);
    let keys: Vec<String> = import.resources.iter().map(|r| r.key().to_string()).collect();
    assert_eq!(keys, ["switch p/s", "switch p/s-2", "port p/a_b", "port p/a_b-2"]);
    let labels: Vec<_> = import.resources[2].metadata.labels.iter().collect();
    assert_eq!(format!("{labels:?}"), r#"[("bad_key", "x"), ("neutron:name", "two_words")]"#);
    let notes = notes(&import).join("\n");
    assert!(notes.contains("Logical_Switch_Port a/b: is port p/a_b here"), "{notes}");
    assert!(notes.contains("were replaced by _: a/b, a_b"), "{notes}");
}

// --- Logical_Router --------------------------------------------------------------------------

/// Tenants `t1`, `t2`, ... with a subnet 10.0.N.0/24 each, and a router `up`, all on one join
/// switch where they have the addresses 100.64.0.N and 100.64.0.254. Routes are given for each.
fn joined(tenants: &[&[&str]], up: &[&str]) -> Nb {
    let mut nb = Nb::default();
    let mut join = Vec::new();
    for (n, routes) in tenants.iter().enumerate() {
        let n = n + 1;
        let own = nb.router_port(&format!("t{n}-own"), &[&format!("10.0.{n}.1/24")]);
        let joined = nb.router_port(&format!("t{n}-join"), &[&format!("100.64.0.{n}/24")]);
        nb.router(&format!("t{n}"), &[own.0, joined.0], routes);
        let workload = nb.port(&format!("w{n}"), &format!("10.0.{n}.10"), "");
        nb.switch(&format!("s{n}"), &[own.1, workload]);
        join.push(joined.1);
    }
    let up_port = nb.router_port("up-join", &["100.64.0.254/24"]);
    nb.router("up", &[up_port.0], up);
    join.push(up_port.1);
    nb.switch("join", &join);
    nb
}

/// The routers of an import: `name>uplinks~peerings`, with `!` where one does not advertise.
fn links(import: &Import) -> String {
    let mut text = Vec::new();
    for resource in &import.resources {
        let Spec::LogicalRouter(router) = &*resource.spec else { continue };
        let names = |list: &[ObjectRef]| {
            list.iter().map(|r| r.name.to_string()).collect::<Vec<_>>().join("+")
        };
        let silent = if router.advertise { "" } else { "!" };
        let (up, peer) = (names(&router.uplinks), names(&router.peerings));
        let up = if up.is_empty() { up } else { format!(">{up}") };
        let peer = if peer.is_empty() { peer } else { format!("~{peer}") };
        text.push(format!("{}{silent}{up}{peer}", resource.metadata.name));
    }
    text.join(" ")
}

#[test]
fn static_routes_become_uplinks_and_peerings() {
    const UP: &str = "0.0.0.0/0 via 100.64.0.254";
    type Case<'a> = (&'a str, Vec<&'a [&'a str]>, &'a [&'a str], &'a str, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        ("no routes", vec![&[], &[]], &[], "t1 t2 up", &[]),
        (
            "a tenant that the provider reaches back",
            vec![&[UP], &[]],
            &["10.0.1.0/24 via 100.64.0.1"],
            "t1>up t2 up",
            &[],
        ),
        ("a wider route back", vec![&[UP]], &["10.0.0.0/16 via 100.64.0.1"], "t1>up up", &[]),
        (
            "two halves are the whole",
            vec![&[UP]],
            &["10.0.1.0/25 via 100.64.0.1", "10.0.1.128/25 via 100.64.0.1"],
            "t1>up up",
            &[],
        ),
        ("a tenant that can only send", vec![&[UP]], &[], "t1!>up up", &[]),
        (
            "half a subnet",
            vec![&[UP]],
            &["10.0.1.0/25 via 100.64.0.1"],
            "t1!>up up",
            &["Logical_Router t1: subnet 10.0.1.128/25: up has no route back to it and has \
                 routes to"],
        ),
        (
            "a specific route beside the default says nothing new",
            vec![&[UP, "10.9.0.0/16 via 100.64.0.254"]],
            &["10.0.1.0/24 via 100.64.0.1"],
            "t1>up up",
            &[],
        ),
        (
            "default routes both ways: the first by name is above",
            vec![&[UP]],
            &["0.0.0.0/0 via 100.64.0.1"],
            "t1 up>t1",
            &[],
        ),
        (
            "a chain: t2 below t1 below up",
            vec![&[UP, "10.0.2.0/24 via 100.64.0.2"], &["0.0.0.0/0 via 100.64.0.1"]],
            &["10.0.0.0/16 via 100.64.0.1"],
            "t1>up t2>t1 up",
            &[],
        ),
        (
            "a chain whose end the top cannot reach",
            vec![&[UP, "10.0.2.0/24 via 100.64.0.2"], &["0.0.0.0/0 via 100.64.0.1"]],
            &["10.0.1.0/24 via 100.64.0.1"],
            "t1!>up t2>t1 up",
            &["Logical_Router t1: subnet 10.0.2.0/24: up has no route back"],
        ),
        (
            "peers",
            vec![&["10.0.2.0/24 via 100.64.0.2"], &["10.0.1.0/24 via 100.64.0.1"]],
            &[],
            "t1~t2 t2 up",
            &[],
        ),
        (
            "one-way routes are no peering",
            vec![&["10.0.2.0/24 via 100.64.0.2"], &[]],
            &[],
            "t1 t2 up",
            &["10.0.2.0/24 via 100.64.0.2 on router t1: t2 has no route to 10.0.1.0/24 of t1"],
        ),
        (
            "a peering does not pass on",
            vec![
                &["10.0.2.0/24 via 100.64.0.2", "10.0.3.0/24 via 100.64.0.2"],
                &["10.0.1.0/24 via 100.64.0.1", "10.0.3.0/24 via 100.64.0.3"],
                &["10.0.2.0/24 via 100.64.0.2"],
            ],
            &[],
            "t1 t2~t3 t3 up",
            &[
                "10.0.2.0/24 via 100.64.0.2 on router t1: it leads to 10.0.3.0/24 of t3 through t2",
                "10.0.3.0/24 via 100.64.0.2 on router t1: it leads to 10.0.3.0/24 of t3 through t2",
                "10.0.1.0/24 via 100.64.0.1 on router t2: it leads to 10.0.3.0/24 of t3 through t2",
            ],
        ),
        (
            "a peering below an uplink would join too much",
            vec![&[UP, "10.0.2.0/24 via 100.64.0.2"], &["10.0.1.0/24 via 100.64.0.1"]],
            &["10.0.1.0/24 via 100.64.0.1"],
            "t1>up t2 up",
            &["on router t1: t1 has an uplink", "on router t2: t1 has an uplink"],
        ),
        (
            "the way out",
            vec![&[UP]],
            &["10.0.1.0/24 via 100.64.0.1", "0.0.0.0/0 via 192.0.2.1"],
            "t1>up up",
            &["0.0.0.0/0 via 192.0.2.1 on router up: the next hop is no router of this database"],
        ),
        (
            "a route that discards",
            vec![&["10.9.0.0/16 via discard"]],
            &[],
            "t1 up",
            &["10.9.0.0/16 via discard on router t1: routes that discard are not carried"],
        ),
    ];
    for (what, tenants, up, expected, listed) in cases {
        let import = joined(&tenants, up).import().unwrap();
        sound(&import);
        assert_eq!(links(&import), expected, "{what}");
        let found = unsupported(&import);
        assert_eq!(found.len(), listed.len(), "{what}: {found:#?}");
        for listed in listed {
            assert!(found.iter().any(|line| line.contains(listed)), "{what}: {found:#?}");
        }
    }
}

#[test]
fn routers_may_be_linked_without_a_switch() {
    let mut nb = Nb::default();
    let own = nb.router_port("t-own", &["10.0.1.1/24"]);
    let mk_peer = |nb: &mut Nb, name: &str, peer: &str, net: &str| {
        nb.row("Logical_Router_Port", json!({ "name": name, "peer": peer, "networks": net }))
    };
    let down = mk_peer(&mut nb, "t-up", "up-t", "100.64.0.1/30");
    let up = mk_peer(&mut nb, "up-t", "t-up", "100.64.0.2/30");
    nb.router("t", &[own.0, down], &["0.0.0.0/0 via 100.64.0.2"]);
    nb.router("up", &[up], &["10.0.1.0/24 via 100.64.0.1"]);
    nb.switch("s", &[own.1]);
    let import = nb.import().unwrap();
    assert_eq!(links(&import), "t>up up");
    assert_eq!(router_spec(&import, "t").interfaces.len(), 1);
    assert_eq!(unsupported(&import), [""; 0]);
}

#[test]
fn an_uplink_carries_both_families_or_says_so() {
    let mut nb = Nb::default();
    let own = nb.router_port("t-own", &["10.0.1.1/24", "fd00::1/64"]);
    let (join, up) =
        (nb.router_port("t-up", &["100.64.0.1/24"]), nb.router_port("up-t", &["100.64.0.2/24"]));
    nb.router("t", &[own.0, join.0], &["0.0.0.0/0 via 100.64.0.2"]);
    nb.router("up", &[up.0], &["10.0.1.0/24 via 100.64.0.1"]);
    nb.switch("s", &[own.1]);
    nb.switch("join", &[join.1, up.1]);
    let import = nb.import().unwrap();
    let found = unsupported(&import).join("\n");
    assert!(found.contains("subnet fd00::/64: there is no IPv6 default route to up"), "{found}");
    assert!(found.contains("subnet fd00::/64: up has no route back"), "{found}");
    assert_eq!(links(&import), "t!>up up");
}

#[test]
fn routers_that_share_a_switch_with_workloads_must_reach_each_other() {
    for (routes, listed) in [
        (["0.0.0.0/0 via 10.0.0.2", "10.0.1.0/24 via 10.0.0.1"], 0),
        (["10.0.2.0/24 via 10.0.0.2", "10.0.1.0/24 via 10.0.0.1"], 0),
        (["10.9.0.0/24 via 10.0.0.2", "10.0.1.0/24 via 10.0.0.1"], 1),
    ] {
        let mut nb = Nb::default();
        let mut shared = vec![nb.port("w", "10.0.0.10", "")];
        for (n, route) in ["1", "2"].iter().zip(routes) {
            let own = nb.router_port(&format!("r{n}-own"), &[&format!("10.0.{n}.1/24")]);
            let on_shared = nb.router_port(&format!("r{n}-shared"), &[&format!("10.0.0.{n}/24")]);
            nb.router(&format!("r{n}"), &[own.0, on_shared.0], &[route]);
            nb.switch(&format!("s{n}"), &[own.1]);
            shared.push(on_shared.1);
        }
        nb.switch("shared", &shared);
        let import = nb.import().unwrap();
        sound(&import);
        let found = unsupported(&import);
        assert_eq!(found.len(), listed, "{routes:?}: {found:#?}");
        assert_eq!(router_spec(&import, "r1").interfaces.len(), 2);
    }
}

#[test]
fn disabled_routers_and_ports_have_no_interfaces() {
    let mut nb = Nb::default();
    let (a, b) = (nb.router_port("r-a", &["10.0.0.1/24"]), nb.router_port("q-b", &["10.0.1.1/24"]));
    nb.row("Logical_Router", json!({ "name": "r", "enabled": false, "ports": uuid(a.0) }));
    nb.row("Logical_Router", json!({ "name": "q", "ports": uuid(b.0) }));
    nb.switch("a", &[a.1]);
    nb.switch("b", &[b.1]);
    let import = nb.import().unwrap();
    assert_eq!(router_spec(&import, "r").interfaces, []);
    assert_eq!(router_spec(&import, "q").interfaces.len(), 1);
    assert_eq!(notes(&import), ["Logical_Router r: is disabled: it has no interfaces here"]);
}

// --- Port_Group, Address_Set, and everything else ----------------------------------------------

#[test]
fn address_sets_become_blocks() {
    let mut nb = Nb::default();
    nb.switch("s", &[]);
    nb.row("Logical_Switch_Port", json!({ "name": "x", "addresses": set([]) }));
    nb.address_set(
        "a",
        &["10.0.0.1", "10.1.0.0/16", "10.2.0.0/255.255.0.0", "fd00::/64", "0a:00:00:00:00:01"],
    );
    let import = nb.import().unwrap();
    let blocks: Vec<String> =
        group_spec(&import, "p", "a").blocks.iter().map(|block| block.cidr().to_string()).collect();
    assert_eq!(blocks, ["10.0.0.1/32", "10.1.0.0/16", "10.2.0.0/16", "fd00::/64"]);
    assert_eq!(
        unsupported(&import),
        ["Address_Set a: 0a:00:00:00:00:01: groups have IP addresses only"]
    );
}

#[test]
fn port_groups_become_groups_of_ports() {
    let mut nb = Nb::default();
    let (a, b) = (nb.port("a", "10.0.0.1", "tenant=x"), nb.port("b", "10.0.0.2", ""));
    nb.switch("s", &[a, b]);
    nb.port_group("g", &[b, a], &[]);
    let import = nb.import().unwrap();
    let terms = &group_spec(&import, "p", "g").terms;
    let expected = [("x", "a"), ("p", "b")].map(|(p, n)| GroupTerm::Port(ObjectRef::new(p, n)));
    assert_eq!(terms.as_slice(), expected);
}

#[test]
fn rows_of_other_tables_are_listed_one_by_one() {
    let mut nb = Nb::default();
    nb.switch("s", &[]);
    nb.row("Logical_Switch_Port", json!({ "name": "x", "addresses": set([]) }));
    for table in [
        "Load_Balancer",
        "NAT",
        "DHCP_Options",
        "DNS",
        "QoS",
        "Meter",
        "Logical_Router_Policy",
        "Gateway_Chassis",
        "Static_MAC_Binding",
        "Mirror",
        "BFD",
        "Some_Future_Table",
    ] {
        nb.row(table, json!({ "name": format!("row of {table}") }));
        nb.row(table, json!({ "name": "" }));
    }
    nb.row("Connection", json!({ "target": "ptcp:6641" }));
    nb.row("NB_Global", json!({ "options": map("default_acl_drop=true mac_prefix=0a:00:00") }));
    let import = nb.import().unwrap();
    let found = unsupported(&import);
    assert_eq!(found.len(), 2 * 12 + 1, "{found:#?}");
    assert!(
        found
            .contains(&"NAT row of NAT: the row: Spanwire does not translate addresses".to_owned())
    );
    assert!(found.iter().any(|line| line.starts_with("NB_Global options: default_acl_drop=true")));
}

#[test]
fn bad_rows_name_table_row_and_column() {
    type Make = fn(&mut Nb);
    let cases: [(Make, &str); 17] = [
        (
            |nb| {
                nb.row("Logical_Switch", json!({ "name": "s", "ports": uuid(99) }));
            },
            "table Logical_Switch, row s, column ports: 00000000-0000-0000-0000-000000000063 is no \
             row of Logical_Switch_Port: the dump is not whole",
        ),
        (
            |nb| {
                nb.port_group("g", &[99], &[]);
            },
            "table Port_Group, row g, column ports: ",
        ),
        (
            |nb| {
                nb.port_group("g", &[], &[99]);
            },
            "table Port_Group, row g, column acls: ",
        ),
        (
            |nb| {
                let port = nb.port("x", "10.0.0.1", "");
                nb.switch("s", &[port]);
                nb.switch("t", &[port]);
            },
            "table Logical_Switch, row t, column ports: the port x belongs to switch s as well",
        ),
        (
            |nb| {
                let port = nb.port("x", "10.0.0.300", "");
                nb.switch("s", &[port]);
            },
            "table Logical_Switch_Port, row x, column addresses: \"10.0.0.300\" is no IP address",
        ),
        (
            |nb| {
                nb.port("x", "10.0.0.1", "");
                nb.port("x", "10.0.0.2", "");
            },
            "table Logical_Switch_Port: the name \"x\" is there twice",
        ),
        (
            |nb| {
                let port = nb.row("Logical_Switch_Port", json!({ "name": "x", "type": "router" }));
                nb.switch("s", &[port]);
            },
            "row x, column options: a port of type router needs the option router-port",
        ),
        (
            |nb| {
                let columns =
                    json!({ "name": "x", "type": "router", "options": map("router-port=y") });
                let port = nb.row("Logical_Switch_Port", columns);
                nb.switch("s", &[port]);
            },
            "row x, column options: router-port \"y\" is no row of Logical_Router_Port",
        ),
        (
            |nb| {
                nb.router_port("r", &["10.0.0.0.1/24"]);
            },
            "table Logical_Router_Port, row r, column networks: \"10.0.0.0.1/24\" is not an \
             address",
        ),
        (
            |nb| {
                nb.row(
                    "Logical_Router_Port",
                    json!({ "name": "r", "networks": set([]), "peer": "q" }),
                );
            },
            "table Logical_Router_Port, row r, column peer: peer \"q\" is no row of",
        ),
        (
            |nb| {
                nb.router("r", &[], &["10.0.0.0/33 via 10.0.0.1"]);
            },
            "column ip_prefix: \"10.0.0.0/33\" is neither a block nor an address",
        ),
        (
            |nb| {
                nb.address_set("a", &["10.0.0.0/8x"]);
            },
            "table Address_Set, row a, column addresses: \"10.0.0.0/8x\" is no address or block",
        ),
        (
            |nb| {
                nb.acl("sideways", 1, "ip", "drop");
            },
            "column direction: \"sideways\" is not from-lport or to-lport",
        ),
        (
            |nb| {
                nb.acl("to-lport", 40000, "ip", "drop");
            },
            "column priority: 40000 is not from 0 to 32767",
        ),
        (
            |nb| {
                nb.acl_with("to-lport", 1, "ip", "drop", json!({ "tier": 4 }));
            },
            "column tier: 4 is not from 0 to 3",
        ),
        (
            |nb| {
                nb.row("Address_Set", json!({ "name": 7, "addresses": set([]) }));
            },
            "column name: 7 is not a text",
        ),
        (
            |nb| {
                nb.row("Address_Set", json!({ "name": "a", "addresses": {"x": 1} }));
            },
            "table Address_Set, row a, column addresses: {\"x\":1} is no OVSDB value",
        ),
    ];
    for (make, expected) in cases {
        let mut nb = Nb::default();
        nb.row(
            "Logical_Switch_Port",
            json!({ "name": "p0", "addresses": set([]), "type": "", "options": map("") }),
        );
        nb.switch("s0", &[]);
        make(&mut nb);
        let error = nb.import().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn files_that_are_something_else_say_what_was_expected() {
    let import = |text: &str| {
        spanwire_import::ovn::import_dump(text.as_bytes(), &Default::default())
            .unwrap_err()
            .to_string()
    };
    let cases = [
        (
            "",
            "there is no table Logical_Switch: is this a dump of the database OVN_Northbound? \
             (found no table at all)",
        ),
        ("{", "line 1, column 1: EOF while parsing"),
        ("[]", "expected the output of `ovsdb-client -f json dump SERVER OVN_Northbound`"),
        (r#"{"kind": "Pod"}"#, "missing field `caption`"),
        (
            r#"{"caption":"Bridge table","headings":["_uuid"],"data":[]}"#,
            "there is no table Logical_Switch: is this a dump of the database OVN_Northbound? \
             (found Bridge)",
        ),
        (
            r#"{"caption":"A table","headings":["_uuid"],"data":[[]]}"#,
            "table A: row 1 has 0 values and there are 1 columns",
        ),
        (
            r#"{"caption":"A table","headings":[],"data":[]}
               {"caption":"A table","headings":[],"data":[]}"#,
            "table A: it is there twice",
        ),
        (
            r#"{"caption":"Logical_Switch table","headings":["_uuid"],"data":[]}
               {"caption":"Logical_Switch_Port table","headings":["_uuid","name"],"data":[]}"#,
            "table Logical_Switch_Port: there is no column addresses",
        ),
    ];
    for (text, expected) in cases {
        let error = import(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}
