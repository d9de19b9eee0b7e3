//! Each rule of lint, on networks where it finds something and on ones where it does not.

use crate::engine;
use crate::notation::{self, key};
use spanwire_topology::lint::{LintQuestion, LintReport, RULES, Severity};
use spanwire_topology::{Engine, Kind, Transaction};
use std::collections::{BTreeMap, BTreeSet};

/// Two hosts, two joined switches with web and db ports of both families.
const BASE: &str = "
    host h1 192.0.2.1
    host h2 192.0.2.2
    switch s1 nets 10.1.0.0/24
    switch s2 nets 10.2.0.0/24
    router r on s1=10.1.0.254,s2
    port web on s1 at h1 ip 10.1.0.1 labels app=web
    port db on s2 at h2 ip 10.2.0.1 labels app=db
    group web select app=web
    group db select app=db
    group all select *
";

fn ask(severity: Severity) -> LintQuestion {
    LintQuestion { project: None, severity, limit: 1_000 }
}

/// What a rule finds on top of the base network, as `severity object: message`, without `p/`.
fn found(engine: &Engine, rule: &str) -> Vec<String> {
    let report = engine.lint(ask(Severity::Info));
    report
        .findings
        .iter()
        .filter(|finding| finding.rule == rule)
        .map(|f| format!("{} {}: {}", f.severity, f.object, f.message).replace("p/", ""))
        .collect()
}

fn check(rule: &str, more: &str, expected: &[&str]) {
    assert!(RULES.iter().any(|info| info.id == rule), "there is no rule {rule}");
    let engine = engine(&format!("{BASE}\n{more}"));
    assert_eq!(found(&engine, rule), expected, "{rule} on\n{more}");
    check_one_by_one(&engine);
}

/// Each object looked at on its own gives the same findings as the whole network.
fn check_one_by_one(engine: &Engine) {
    let mut each = BTreeSet::new();
    for kind in Kind::ALL {
        for object in engine.list(kind, None, None) {
            let alone = BTreeSet::from([object.resource.key()]);
            each.extend(engine.lint_objects(&alone, Severity::Info, usize::MAX).findings);
        }
    }
    let whole = engine.lint(ask(Severity::Info)).findings;
    assert_eq!(each.into_iter().collect::<Vec<_>>(), whole);
}

#[test]
fn groups_that_match_nothing() {
    let rule = "empty-group";
    check(rule, "", &[]);
    check(
        rule,
        "group none select app=dns
         group nothing
         group hollow
         blocks hollow 10.0.0.0/24 except 10.0.0.0/24
         group less less web,all
         group blocks
         blocks blocks 10.0.0.0/24",
        &[
            "warning group hollow: matches nothing: it has no terms, and no address in its CIDR \
             blocks",
            "warning group less: matches nothing: no port by its terms, and no address by its \
             CIDR blocks",
            "warning group none: matches nothing: no port by its terms, and no address by its \
             CIDR blocks",
            "warning group nothing: matches nothing: it has no terms, and no address in its CIDR \
             blocks",
        ],
    );
}

#[test]
fn groups_and_services_that_nothing_refers_to() {
    let uses = "group outer group db
                policy P to web
                rule P in allow from all svc http
                policy Q to outer
                service http tcp:80";
    check("unused-group", uses, &[]);
    check("unused-service", uses, &[]);
    check(
        "unused-group",
        "group outer group db
         policy P to web
         rule P in allow from all",
        &["info group outer: no policy and no other group refers to it"],
    );
    check("unused-service", "service http tcp:80", &["info service http: no policy refers to it"]);
}

#[test]
fn applied_groups_without_a_bound_port() {
    let rule = "unbound-group";
    let policy = "port idle on s1 ip 10.1.0.9 labels app=idle
                  group idle select app=idle
                  policy P to idle";
    check(
        rule,
        policy,
        &["warning group idle: none of its ports is bound to a host, so no host enforces what is \
           applied to it"],
    );
    check(rule, &format!("{policy}\nport more on s1 at h1 ip 10.1.0.8 labels app=idle"), &[]);
    // Not applied, or without any port: not this rule's business.
    check(rule, "port idle on s1 labels app=idle\ngroup idle select app=idle", &[]);
    check(rule, "group none select app=none\npolicy P to none", &[]);
}

#[test]
fn selectors_that_contradict_themselves() {
    let rule = "contradictory-selector";
    let exclude = |selector: &str, one: &str, two: &str| {
        format!(
            "error group g: selector {selector} matches no labels: {one} and {two} exclude each \
             other"
        )
    };
    for (selector, one, two) in [
        ("a=b,a=c", "a=b", "a=c"),
        ("a=b,a!=b", "a=b", "a!=b"),
        ("a=b,!a", "a=b", "!a"),
        ("a,!a", "a", "!a"),
        ("c=d,a=b,!a", "a=b", "!a"),
    ] {
        let engine = engine(&format!("{BASE}\ngroup g select {selector}"));
        let [found] = &found(&engine, rule)[..] else { panic!("{selector}") };
        let shown = found.split("selector ").nth(1).unwrap().split(' ').next().unwrap();
        assert_eq!(*found, exclude(shown, one, two));
    }
    for selector in ["a=b,c=d", "a!=b,a!=c", "a,a!=b", "!a,b"] {
        check(rule, &format!("group g select {selector}"), &[]);
    }
}

#[test]
fn services_without_entries() {
    check(
        "empty-service",
        "service none
         service http tcp:80",
        &["warning service none: has no entries, so it matches nothing"],
    );
    let rule = "rule-without-services";
    check(
        rule,
        "service none
         policy P to web
         rule P in allow from all svc none
         rule P in allow from all svc none,tcp:80
         rule P in drop",
        &["warning policy P: rule 1 matches no packet: its services have no entries"],
    );
}

#[test]
fn policies_applied_to_nothing() {
    let rule = "idle-policy";
    check(rule, "policy P to web", &[]);
    check(
        rule,
        "group none select app=none
         policy P to none
         policy Q to none,web",
        &["warning policy P: is applied to nothing: no group that it is applied to has a port"],
    );
    check(
        "useless-applied-to",
        "group net
         blocks net 10.9.0.0/16
         policy P to web,net
         policy Q to web",
        &["warning policy P: is applied to group net, which has CIDR blocks and no ports: blocks \
           do not count there"],
    );
}

#[test]
fn rules_without_peers() {
    let rule = "rule-without-peers";
    let groups = "group none select app=none
                  group world
                  blocks world 0.0.0.0/0
                  blocks world ::/0
                  policy P to web";
    let message = "matches no one: its peers have neither ports nor CIDR blocks";
    check(
        rule,
        &format!("{groups}\nrule P in allow from none\nrule P in allow from none,db"),
        &[&format!("warning policy P: rule 1 {message}")],
    );
    check(
        rule,
        &format!("{groups}\nrule P in drop\nrule P in drop from !none\nrule P in drop from !world"),
        &[&format!("warning policy P: rule 3 {message}")],
    );
}

#[test]
fn rules_of_two_families_at_once() {
    let rule = "family-mismatch";
    check(
        rule,
        "port six on s1 at h1 ip fd00::1 labels app=six
         group six select app=six
         group v4
         blocks v4 10.9.0.0/16
         policy P to web
         rule P in allow svc icmpv6
         rule P in allow from six
         rule P in allow from six,db
         rule P in allow from !six svc icmpv6
         policy Q to six
         rule Q in allow from v4
         rule Q in allow svc icmpv6
         rule Q in allow from six svc tcp:80",
        &[
            "warning policy P: rule 1 matches no packet: the ports it is applied to have IPv4 \
             addresses, its peers IPv4 and IPv6, and its services match IPv6",
            "warning policy P: rule 2 matches no packet: the ports it is applied to have IPv4 \
             addresses, its peers IPv6, and its services match IPv4 and IPv6",
            "warning policy P: rule 4 matches no packet: the ports it is applied to have IPv4 \
             addresses, its peers IPv4 and IPv6, and its services match IPv6",
            "warning policy Q: rule 1 matches no packet: the ports it is applied to have IPv6 \
             addresses, its peers IPv4, and its services match IPv4 and IPv6",
        ],
    );
}

#[test]
fn rules_whose_peers_are_out_of_reach() {
    let rule = "unreachable-peers";
    let island = "switch s3
                  port far on s3 at h1 ip 10.1.0.1 labels app=far
                  group far select app=far
                  policy P to web
                  rule P in allow from far
                  rule P in drop from far
                  rule P in allow from far,db
                  rule P in allow from !far";
    let message = "matches no one: no path or peering joins the domains of its peers with those \
                   of the ports it is applied to";
    check(
        rule,
        island,
        &[
            &format!("warning policy P: rule 1 {message}"),
            &format!("warning policy P: rule 2 {message}"),
        ],
    );
    // With a port that may forge addresses in sight, a deny rule has the whole group (G3).
    check(
        rule,
        &format!("{island}\nport open on s2 at h2 ip 10.2.0.9 open"),
        &[&format!("warning policy P: rule 1 {message}")],
    );
    check(rule, &format!("{island}\nrouter r3 on s3 peer r"), &[]);
    check(rule, &format!("{island}\nblocks far 10.9.0.0/16"), &[]);
}

#[test]
fn rules_behind_wider_ones() {
    let rule = "shadowed-rule";
    let hidden = |what: &str, by: &str| {
        format!("policy {what} never decides: {by}, which is tried before, matches all of it and ")
    };
    check(
        rule,
        "policy P to web
         rule P in drop from web svc tcp
         rule P in allow from db svc tcp:80
         rule P in drop from all svc tcp:1-9
         rule P out allow from db svc tcp:80
         rule P in allow from db svc udp:80
         rule P in allow svc tcp:80",
        &[],
    );
    check(
        rule,
        "policy P to web
         rule P in drop from db svc tcp
         rule P in allow from db svc tcp:80
         rule P in drop from db svc tcp:1-9
         rule P both allow from db svc tcp:80",
        &[
            &format!(
                "warning {}does drop and not allow",
                hidden("P: rule 2", "rule 1 of the same policy")
            ),
            &format!(
                "info {}does the same, drop",
                hidden("P: rule 3", "rule 1 of the same policy")
            ),
        ],
    );
    // By nesting, by blocks, by what a selector asks for, and by everyone.
    check(
        rule,
        "group outer group db | select app=web
         group strict select app=web,tier=1
         group net
         blocks net 10.0.0.0/8
         group subnet
         blocks subnet 10.9.0.0/16
         policy P to web
         rule P in reject from outer,net svc tcp:80-90
         rule P in drop from db svc tcp:85
         rule P in drop from subnet svc tcp:80,tcp:90
         rule P in drop from strict svc tcp:80
         rule P in drop from subnet,all svc tcp:80",
        &["2", "3", "4"].map(|n| {
            &*format!(
                "warning {}does reject and not drop",
                hidden(&format!("P: rule {n}"), "rule 1 of the same policy")
            )
            .leak()
        }),
    );
}

#[test]
fn rules_behind_other_policies() {
    let rule = "shadowed-rule";
    let never = |by: &str, does: &str| {
        format!(
            "warning policy P: rule 1 never decides: rule 1 of policy {by}, which is tried before, \
             matches all of it and {does}"
        )
    };
    let drop = "does drop and not allow";
    check(
        rule,
        "policy P to web tier 5 prio 2
         rule P in allow from db
         policy Q to web tier 5 prio 1
         rule Q in drop",
        &[&never("Q", drop)],
    );
    check(
        rule,
        "policy P to web tier 5 prio 1
         rule P in allow from db
         policy Q to web tier 5 prio 2
         rule Q in drop",
        &[],
    );
    // An outer group, applied to more.
    let outer = "group outer group web | group db
                 policy P to web tier 5
                 rule P in allow from db
                 policy Q to outer tier 4
                 rule Q in drop";
    check(rule, outer, &[&never("Q", drop)]);
    // Only some of its ports.
    check(
        rule,
        "policy P to web,db tier 5
         rule P in allow from db
         policy Q to web tier 4
         rule Q in drop",
        &[],
    );
    // A pass leads on to the next tier, from wherever in its tier it stands.
    check(rule, &format!("{outer}\npolicy R to db tier 4 prio 1\nrule R in pass from db"), &[]);
    let pass = "policy P to web tier 5
                rule P in allow from db
                policy Q to web tier 4
                rule Q in pass";
    check(rule, pass, &[]);
    check(
        rule,
        &pass.replace("tier 4", "tier 5").replace("Q", "O"),
        &[&never("O", "does pass and not allow")],
    );
}

/// Where addresses can be forged, an allow rule matches fewer than a deny rule with the same peers.
#[test]
fn protected_rules_are_not_behind_those_that_are_not() {
    let rules = "policy P to web
                 rule P in allow from db
                 rule P in drop from db";
    check("shadowed-rule", rules, &[]);
    check(
        "shadowed-rule",
        &rules.replace("allow", "reject"),
        &["warning policy P: rule 2 never decides: rule 1 of the same policy, which is tried \
           before, matches all of it and does reject and not drop"],
    );
}

#[test]
fn defaults_that_come_too_late() {
    let rule = "unreachable-default";
    check(rule, "policy P to web default in=drop\nrule P in allow from db", &[]);
    check(
        rule,
        "policy P to web default in=drop,out=drop
         rule P in allow",
        &["warning policy P: its default drop for packets to its ports never decides: rule 1 of \
           its own decides before it"],
    );
    check(
        rule,
        "policy P to web prio 2 default in=drop,out=drop
         policy Q to db prio 1 default in=allow
         policy R to web prio 3 default out=pass,in=pass",
        &["out", "in"].map(|direction| {
            let ports = if direction == "in" { "to" } else { "from" };
            &*format!(
                "warning policy R: its default pass for packets {ports} its ports never decides: \
                 the default of policy P decides before it"
            )
            .leak()
        }),
    );
    check(
        rule,
        "policy P to web prio 2 default in=drop,out=drop
         policy Q to web prio 1 default in=allow",
        &[
            "warning policy P: its default drop for packets to its ports never decides: the default \
           of policy Q decides before it",
        ],
    );
    check(
        rule,
        "policy P to web tier 5 default out=drop
         policy Q to web tier 4
         rule Q out allow",
        &[
            "warning policy P: its default drop for packets from its ports never decides: rule 1 of \
           policy Q decides before it",
        ],
    );
    check(
        rule,
        "policy P to web tier 5 default out=drop
         policy Q to web tier 4
         rule Q out allow
         policy R to db tier 4
         rule R out pass",
        &[],
    );
}

#[test]
fn addresses_outside_of_subnets() {
    check(
        "address-outside-subnets",
        "port a on s1 at h1 ip 10.1.1.1
         port b on s1 at h1 ip fd00::1
         port c on s2 at h1 ip 10.9.0.1,10.2.0.9,10.9.0.2
         switch s3
         port d on s3 at h1 ip 10.1.1.1",
        &[
            "warning port a: 10.1.1.1 lies in no subnet of switch s1",
            "warning port c: 10.9.0.1 and 10.9.0.2 lie in no subnet of switch s2",
        ],
    );
    check(
        "router-address-outside-subnets",
        "router r2 on s1=10.1.0.253,s2=10.1.0.253",
        &["warning router r2: its address on switch s2: 10.1.0.253 lies in no subnet of it"],
    );
}

#[test]
fn mac_addresses_that_stand_twice() {
    check(
        "duplicate-mac",
        "port a on s1 at h1 ip 10.1.0.11 mac 02:00:00:00:00:01
         port b on s1 at h2 ip 10.1.0.12 mac 02:00:00:00:00:01
         port c on s1 ip 10.1.0.13 mac 02:00:00:00:00:01
         port d on s2 at h1 ip 10.2.0.11 mac 02:00:00:00:00:01",
        &["error port b: has MAC address 02:00:00:00:00:01 on switch s1, as port a has"],
    );
}

/// Ports come and go, move, change their address and lose their host: at each step the findings are those
/// about who is not the oldest of the ports that are alike.
#[test]
fn mac_addresses_are_followed_as_ports_change() {
    const PORTS: u64 = 7;
    const STEPS: u64 = 600;
    let mut engine = engine(BASE);
    // Switch and address of those that are bound, by port; and when each was made.
    let mut ports: BTreeMap<u64, (u64, Option<(u64, u64)>)> = BTreeMap::new();
    let mut random = 1_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let mut most = 0;
    for step in 0..STEPS {
        let (port, switch, mac, bound) = (draw(PORTS), draw(2) + 1, draw(2), draw(4) > 0);
        let name = format!("p{port}");
        let named = key(Kind::LogicalPort, &name);
        let transaction = if draw(5) == 0 {
            if ports.remove(&port).is_none() {
                continue;
            }
            Transaction::delete([named.clone()], false)
        } else {
            let host = if bound { "at h1" } else { "" };
            let network = notation::network(&format!(
                "{BASE}\n port {name} on s{switch} {host} ip 10.{switch}.0.{} mac 02:00:00:00:00:0{mac}",
                100 + port
            ));
            let made = ports.get(&port).map_or(step, |(made, _)| *made);
            ports.insert(port, (made, bound.then_some((switch, mac))));
            let resource = network.into_values().find(|resource| resource.key() == named);
            Transaction::put(resource)
        };
        let near = engine.lint_neighbours([&named]);
        engine.apply(&transaction, step + 10).unwrap();
        let is_older = |port: &u64| {
            let (made, alike) = ports[port];
            alike.is_some() && ports.values().any(|other| other.1 == alike && other.0 < made)
        };
        let expected: Vec<String> =
            ports.keys().filter(|port| is_older(port)).map(|port| format!("p{port}")).collect();
        let objects = |report: LintReport| -> Vec<String> {
            let found = report.findings.into_iter().filter(|found| found.rule == "duplicate-mac");
            found.map(|found| found.object.name.to_string()).collect()
        };
        assert_eq!(objects(engine.lint(ask(Severity::Error))), expected, "step {step}");
        check_one_by_one(&engine);
        // Whoever makes two alike is told, be theirs the older or the newer.
        let mut near = near;
        near.extend(engine.lint_neighbours([&named]));
        let told = objects(engine.lint_objects(&near, Severity::Error, usize::MAX));
        let alike = ports.get(&port).and_then(|(_, alike)| *alike);
        let concerned = |name: &&String| {
            let other = name.trim_start_matches('p').parse().unwrap();
            alike.is_some() && ports[&other].1 == alike
        };
        assert_eq!(told, expected.iter().filter(concerned).cloned().collect::<Vec<_>>());
        most = most.max(expected.len());
        // A state that was saved and loaded finds the same.
        if step.is_multiple_of(50) {
            let loaded = Engine::import(engine.export()).unwrap();
            assert_eq!(objects(loaded.lint(ask(Severity::Error))), expected);
        }
    }
    assert!(most >= 3, "the ports were hardly ever alike");
}

#[test]
fn routers_that_see_no_one() {
    let rule = "isolated-router";
    let no_port = "can see no one: no port lies on a switch that it leads to, directly or over \
                   other routers";
    check(rule, "", &[]);
    check(
        rule,
        "switch s3
         switch s4
         router lone
         router empty on s3
         router up on s4 up r
         router one on s5
         switch s5
         port x on s5 at h1 ip 10.5.0.1",
        &[
            &format!("warning router empty: {no_port}"),
            "warning router lone: can see no one: it has no interface, uplink or peering",
            "info router one: joins nothing: it has an interface on one switch, and no uplink or \
             peering, nor is it another's",
        ],
    );
    check(
        rule,
        "router top
         router below up top silent
         switch s3
         router silent on s3 up r silent
         router peer on s3 peer r",
        &[&format!("warning router below: {no_port}"), &format!("warning router top: {no_port}")],
    );
    check(
        "uplink-to-nothing",
        "router void
         router void2
         router a on s1 up void peer void2
         router hub
         router b on s1 up hub
         router c on s2 up hub",
        &[
            "warning router a: its peer router void2 leads nowhere: it has no switch, and no other \
             router is linked with it",
            "warning router a: its uplink router void leads nowhere: it has no switch, and no \
             other router is linked with it",
        ],
    );
}

// ---- the whole ----

const UNTIDY: &str = "
    group none select app=none
    group other/none select app=none
    service s
    switch s9 nets 10.9.0.0/24
    port z on s9 ip 10.1.0.1
    group bad select a,!a
    policy P to none
    rule P in allow from none svc s
";

#[test]
fn a_report_is_sorted_filtered_and_counted() {
    let engine = engine(&format!("{BASE}{UNTIDY}"));
    let report = |project: Option<&str>, severity, limit| -> LintReport {
        engine.lint(LintQuestion { project: project.map(Into::into), severity, limit })
    };
    let all = report(None, Severity::Info, 1_000);
    assert!(all.findings.is_sorted() && all.cut == 0);
    let counts = all.counts;
    assert!(counts.errors == 1 && counts.warnings > 3 && counts.infos > 0, "{counts:?}");
    let worst = report(None, Severity::Error, 1_000);
    assert_eq!((worst.findings.len(), worst.findings[0].rule), (1, "contradictory-selector"));
    let other = report(Some("other"), Severity::Info, 1_000);
    assert_eq!(
        other.findings.iter().map(|f| (f.rule, f.object.to_string())).collect::<Vec<_>>(),
        [
            ("empty-group", "group other/none".to_owned()),
            ("unused-group", "group other/none".to_owned())
        ]
    );
    let few = report(None, Severity::Info, 2);
    assert_eq!(
        (few.findings.len() as u64 + few.cut, few.counts),
        (all.findings.len() as u64, counts)
    );
    assert_eq!(few.findings.iter().filter(|f| f.severity == Severity::Error).count(), 1);
}

/// In slices of any size, the same is found.
#[test]
fn a_sweep_in_slices_finds_the_same() {
    use spanwire_topology::lint::LintSweep;
    let engine = engine(&format!("{BASE}{UNTIDY}"));
    let whole = engine.lint(ask(Severity::Info));
    for size in [1, 2, 3, 7, 100] {
        let mut sweep = LintSweep::new(ask(Severity::Info));
        let mut steps = 1;
        while sweep.step(&engine, size) {
            steps += 1;
        }
        assert_eq!(sweep.finish(), whole, "slices of {size}");
        assert!(size < 100 || steps == 1, "{steps} steps");
    }
}

#[test]
fn next_to_a_port_are_its_switch_and_groups() {
    let engine = engine(BASE);
    let near = |kind, name: &str| {
        let found = engine.lint_neighbours([&key(kind, name)]);
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ").replace("p/", "")
    };
    assert_eq!(near(Kind::LogicalPort, "web"), "switch s1, port web, group all, group web");
    assert_eq!(near(Kind::LogicalSwitch, "s1"), "switch s1, router r, port web");
    assert_eq!(near(Kind::LogicalPort, "nowhere"), "");
}

#[test]
fn rules_are_named_once_and_sorted() {
    let ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let severities: BTreeMap<&str, Severity> =
        RULES.iter().map(|rule| (rule.id, rule.severity)).collect();
    assert_eq!(severities["duplicate-mac"], Severity::Error);
    assert!("fatal".parse::<Severity>().is_err());
    for severity in Severity::ALL {
        assert_eq!(severity.as_str().parse(), Ok(severity));
    }
}
