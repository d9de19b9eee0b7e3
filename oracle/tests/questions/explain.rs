//! Why a host has a member, and each condition by which it does not.

use crate::engine;
use crate::notation::key;
use spanwire_topology::Kind;
use std::net::IpAddr;

/// ```text
///        (top)                       (iron)!── up to (top)
///       /     \                        |
///   (r1)       (r2)                  [s4] lone@h2, the address of db
///   [s1] web@h1 [s2] db@h2,app@h2              [s3] far@h1
/// ```
const NETWORK: &str = "
    host h1 192.0.2.1
    host h2 192.0.2.2
    host h3 192.0.2.3
    switch s1
    switch s2
    switch s3
    switch s4
    router top
    router r1 on s1 up top
    router r2 on s2 up top
    router iron on s4 up top silent
    port web on s1 at h1 ip 10.1.0.1 labels app=web,tier=front
    port db on s2 at h2 ip 10.2.0.1 labels app=db
    port app on s2 at h2 ip 10.2.0.2 labels app=app
    port far on s3 at h1 ip 10.3.0.1 labels app=db
    port lone on s4 at h2 ip 10.2.0.1 labels app=web
    group web select app=web
    group db select app=db
    group on1 switch s1
    group both and web,on1
    group front group both | router r2
    group less less front,web
    group net group inner
    group inner
    blocks inner 10.0.0.0/8 except 10.9.0.0/16
    group other select * q
    policy P to db
    rule P in allow from front svc tcp:80
    rule P in drop from net
";

/// `yes|no condition: finding`, deeper steps indented, without `p/`.
fn told(host: &str, member: &str, group: &str) -> (bool, Vec<String>) {
    let engine = engine(NETWORK);
    let group = key(Kind::Group, group);
    let explanation = match member.parse::<IpAddr>() {
        Ok(address) => engine.explain_address(host, address, &group),
        Err(_) => engine.explain(host, &key(Kind::LogicalPort, member), &group),
    };
    let explanation = explanation.unwrap();
    let lines = explanation.steps.iter().map(|step| {
        let indent = "  ".repeat(step.depth as usize);
        let mark = if step.holds { "yes" } else { "no" };
        let line = format!("{indent}{mark} {}: {}", step.condition, step.finding);
        unnumbered(&line.replace("p/", ""))
    });
    (explanation.has_member, lines.collect())
}

/// The numbers of domains depend on how a state came about.
fn unnumbered(line: &str) -> String {
    let mut parts = line.split(" domain ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        text.push_str(if rest.len() < part.len() { " domain N" } else { " domain " });
        text.push_str(rest);
    }
    text
}

fn check(host: &str, member: &str, group: &str, has: bool, expected: &[&str]) {
    let (has_member, lines) = told(host, member, group);
    assert_eq!(lines, expected, "{member} of {group} on {host}");
    assert_eq!(has_member, has);
    // The conditions decide, not more and not less: one way or several, as for an address.
    let top = || lines.iter().filter(|line| !line.starts_with(' '));
    if !member.contains('.') {
        assert_eq!(top().all(|line| line.starts_with("yes")), has, "{lines:#?}");
    }
}

#[test]
fn a_member_is_had_by_rule_nesting_and_path() {
    check(
        "h2",
        "web",
        "front",
        true,
        &[
            "yes port web is a member of group front: group front takes it from group both, group \
             both takes it from group web, its labels match the selector app=web of group web",
            "yes a policy with group front as a peer is applied to a port on host h2: rule 1 of \
             policy P names it, and policy P is applied to port db, a member of group db",
            "yes such a port and the member can meet in the logical topology: both lie in domain \
             N: switch s2 -> router r2 -> uplink router top -> down to router r1 -> switch s1",
        ],
    );
}

#[test]
fn where_the_path_ends_is_told_both_ways() {
    let (has, lines) = told("h1", "web", "front");
    assert!(!has);
    assert_eq!(
        lines[2..],
        [
            "no such a port and the member can meet in the logical topology: it lies in domain N; \
             such ports on the host lie in domain N, and neither router path nor peering leads \
             from one to the other",
            "  no a packet from port far gets to port web: switch s3, where it ends: switch s3 has \
             no router",
            "  no a packet from port web gets to port far: switch s1 -> router r1 -> uplink router \
             top, where it ends: no uplink or peering of router top leads further",
        ]
    );
}

#[test]
fn each_term_that_fails_says_why() {
    let (has, lines) = told("h2", "lone", "front");
    assert!(!has);
    assert_eq!(
        lines[..5],
        [
            "no port lone is a member of group front: none of its 2 terms holds for port lone",
            "  no term 1 of group front: the ports of group both: it is not in group both",
            "    no term 1 of group both: what group web, group on1 have in common: it is not in \
             group on1",
            "      no term 1 of group on1: the ports on switch s1: it is on switch s4",
            "  no term 2 of group front: the ports on switches of router r2: it is on switch s4, \
             where router r2 has no interface",
        ]
    );
    let membership = |member: &str, group: &str| {
        let (_, lines) = told("h2", member, group);
        lines.into_iter().filter(|line| line.starts_with(' ')).collect::<Vec<_>>()
    };
    assert_eq!(
        membership("app", "db"),
        ["  no term 1 of group db: the selector app=db: label app must be \"db\", and is \"app\""]
    );
    assert_eq!(
        membership("app", "other"),
        ["  no term 1 of group other: the selector \"\" (everything): it looks at project q, and \
          the port is of project p"]
    );
    assert_eq!(
        membership("web", "less"),
        [
            "  no term 1 of group less: the ports of group front that are not in group web: group web \
          takes it away: its labels match the selector app=web of group web"
        ]
    );
    let (_, lines) = told("h2", "web", "inner");
    assert_eq!(
        lines[0],
        "no port web is a member of group inner: the group has no terms, so it has no ports"
    );
}

#[test]
fn a_rule_that_is_missing_is_told() {
    let rule = |host: &str, group: &str| {
        let (_, lines) = told(host, "web", group);
        let at = lines.iter().position(|line| line.contains("a policy with")).unwrap();
        lines[at..].iter().take_while(|line| !line.contains("such a port")).cloned().collect()
    };
    let lines: Vec<String> = rule("h3", "front");
    assert_eq!(
        lines,
        [
            "no a policy with group front as a peer is applied to a port on host h3: host h3 has \
             no ports",
            "  no policy P, whose rule 1 names it, is applied there: no port on host h3 is a \
             member of group db",
        ]
    );
    let lines: Vec<String> = rule("h2", "both");
    assert_eq!(
        lines,
        ["no a policy with group both as a peer is applied to a port on host h2: no policy has \
          group both as a peer; group front refers to it and is: ask for that one"]
    );
}

#[test]
fn addresses_in_blocks_are_told_of() {
    check(
        "h2",
        "10.200.0.1",
        "net",
        true,
        &[
            "yes 10.200.0.1 lies in a CIDR block of group net: group net takes it from group \
             inner, it lies in 10.0.0.0/8 of group inner; blocks belong to no domain",
            "yes a policy with group net as a peer is applied to a port on host h2: rule 2 of \
             policy P names it, and policy P is applied to port db, a member of group db",
        ],
    );
    let (has, lines) = told("h2", "10.9.0.1", "net");
    assert_eq!(
        (has, &*lines[0]),
        (
            false,
            "no 10.9.0.1 lies in a CIDR block of group net: it lies in 10.9.0.0/16, which \
             10.0.0.0/8 leaves out"
        )
    );
    let (has, lines) = told("h3", "10.200.0.1", "net");
    assert!(!has && lines[1].starts_with("no a policy with group net as a peer"), "{lines:?}");
    // An address that two ports have, in two domains, and that lies in a block besides.
    let (has, lines) = told("h2", "10.2.0.1", "net");
    assert!(has);
    let starts: Vec<&str> =
        lines.iter().filter_map(|l| l.split(": ").next()).filter(|l| l.contains("10.2")).collect();
    assert_eq!(
        starts,
        [
            "yes 10.2.0.1 is an address of port db",
            "yes 10.2.0.1 is an address of port lone",
            "yes 10.2.0.1 lies in a CIDR block of group net"
        ]
    );
    let engine = engine(NETWORK);
    let error = engine.explain_address("h2", [203, 0, 113, 1].into(), &key(Kind::Group, "web"));
    assert_eq!(error.unwrap_err().to_string(), "no port has the address 203.0.113.1");
}
