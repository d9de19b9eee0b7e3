//! Rules mean what the ACLs meant: random ACLs, judged by a direct reading of OVN's documentation
//! on the one side and by the oracle, on the resources that were made of them, on the other.
//!
//! ```text
//!   a0 a1 a2 ── switch a ──┐
//!                          ├── router        group ga: a0 a1     set s4: 10.0.0.0/31, 192.0.2.9
//!   b0 b1 b2 ── switch b ──┘                 group gb: b0 b1     set s6: fd00::b0
//!                                            group gx: a0 b0 a2
//! ```
//!
//! Every port has an IPv4 and an IPv6 address and port security.
#![allow(clippy::unwrap_used)] // A panic in a test's own function is a failed test too.

mod common;

use common::{Nb, sound};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use spanwire_import::ovn::expr::{
    Comparison, Expression, Field, Operator, Predicate, Value, parse,
};
use spanwire_oracle::Network;
use spanwire_topology::engine::{Endpoint, PacketKind, Verdict};
use spanwire_topology::model::{Kind, ObjectKey, TransportProtocol};
use std::cell::Cell;
use std::net::IpAddr;

const PORTS: [&str; 6] = ["a0", "a1", "a2", "b0", "b1", "b2"];
const GROUPS: [(&str, &[&str]); 3] =
    [("ga", &["a0", "a1"]), ("gb", &["b0", "b1"]), ("gx", &["a0", "a2", "b0"])];
const SETS: [(&str, &[&str]); 2] =
    [("s4", &["10.0.0.0/31", "192.0.2.9"]), ("s6", &["fd00::b0/128"])];

/// The addresses of the ports, and of one endpoint outside.
fn address(name: &str, is_v4: bool) -> IpAddr {
    let n = PORTS.iter().position(|port| *port == name);
    let text = match (n, is_v4) {
        (Some(n), true) => format!("10.0.{}.{}", n / 3, n % 3),
        (Some(_), false) => format!("fd00::{name}"),
        (None, true) => "192.0.2.9".to_owned(),
        (None, false) => "2001:db8::9".to_owned(),
    };
    text.parse().unwrap()
}

/// An ACL of the port group or switch that owns it.
#[derive(Debug, Clone)]
struct Acl {
    owner: String,
    direction: &'static str,
    matches: String,
    action: &'static str,
    tier: u16,
}

fn network(acls: &[Acl]) -> Nb {
    let mut nb = Nb::default();
    let ports: Vec<u128> = PORTS
        .iter()
        .map(|name| nb.port(name, &format!("{} {}", address(name, true), address(name, false)), ""))
        .collect();
    let of_owner = |nb: &mut Nb, owner: &str| -> Vec<u128> {
        let mut rows = Vec::new();
        for (n, acl) in acls.iter().enumerate().filter(|(_, acl)| acl.owner == owner) {
            // Distinct priorities, because OVN leaves open what happens at equal ones.
            let priority = 1000 - n as u16;
            let tier = serde_json::json!({ "tier": acl.tier });
            rows.push(nb.acl_with(acl.direction, priority, &acl.matches, acl.action, tier));
        }
        rows
    };
    let sides = [("a", &ports[..3]), ("b", &ports[3..])];
    let mut router_ports = Vec::new();
    for (n, (name, ports)) in sides.into_iter().enumerate() {
        let nets = [format!("10.0.{n}.254/24"), format!("fd00::{name}:fe/64")];
        let (router_port, switch_port) =
            nb.router_port(&format!("r-{name}"), &[&nets[0], &nets[1]]);
        router_ports.push(router_port);
        let acls = of_owner(&mut nb, name);
        let acls = common::set(acls.into_iter().map(common::uuid));
        let mut all = ports.to_vec();
        all.push(switch_port);
        nb.switch_with(name, &all, serde_json::json!({ "acls": acls }));
    }
    nb.router("r", &router_ports, &[]);
    for (group, members) in GROUPS {
        let members: Vec<u128> =
            members.iter().map(|m| ports[PORTS.iter().position(|p| p == m).unwrap()]).collect();
        let acls = of_owner(&mut nb, group);
        nb.port_group(group, &members, &acls);
    }
    for (set, addresses) in SETS {
        nb.address_set(set, addresses);
    }
    nb
}

// --- A direct reading of OVN -------------------------------------------------------------------

/// A packet between two ports, or between a port and the outside.
#[derive(Debug, Clone, Copy)]
struct Packet {
    from: &'static str,
    to: &'static str,
    is_v4: bool,
    kind: PacketKind,
}

impl Packet {
    fn protocol(&self) -> u8 {
        match self.kind {
            PacketKind::Transport { protocol, .. } => protocol.number(),
            PacketKind::Icmp { .. } if self.is_v4 => 1,
            PacketKind::Icmp { .. } => 58,
        }
    }

    /// What a numeric field is, if the packet has it.
    fn number(&self, field: Field) -> Option<u128> {
        let transport = |wanted: u8, source: bool| match self.kind {
            PacketKind::Transport { protocol, source_port, port } => (protocol.number() == wanted)
                .then_some(u128::from(if source { source_port } else { port })),
            PacketKind::Icmp { .. } => None,
        };
        let icmp = |v4: bool, is_type: bool| match self.kind {
            PacketKind::Icmp { icmp_type, code } if self.is_v4 == v4 => {
                Some(u128::from(if is_type { icmp_type } else { code }))
            }
            _ => None,
        };
        match field {
            Field::SourcePort(protocol) => transport(protocol, true),
            Field::DestinationPort(protocol) => transport(protocol, false),
            Field::Icmp4Type => icmp(true, true),
            Field::Icmp4Code => icmp(true, false),
            Field::Icmp6Type => icmp(false, true),
            Field::Icmp6Code => icmp(false, false),
            Field::Protocol => Some(u128::from(self.protocol())),
            Field::EthernetType => Some(if self.is_v4 { 0x0800 } else { 0x86dd }),
            _ => None,
        }
    }

    fn holds(&self, predicate: Predicate) -> bool {
        match predicate {
            Predicate::Ip => true,
            Predicate::Ip4 => self.is_v4,
            Predicate::Ip6 => !self.is_v4,
            Predicate::Arp | Predicate::NeighborDiscovery => false,
            Predicate::Tcp => self.protocol() == 6,
            Predicate::Udp => self.protocol() == 17,
            Predicate::Sctp => self.protocol() == 132,
            Predicate::Icmp => matches!(self.kind, PacketKind::Icmp { .. }),
            Predicate::Icmp4 => self.protocol() == 1,
            Predicate::Icmp6 => self.protocol() == 58,
        }
    }

    /// One comparison; `negated` is true under an odd number of `!`. The field must be there,
    /// negated or not.
    fn compares(&self, comparison: &Comparison, negated: bool) -> bool {
        let any = |test: &dyn Fn(&Value) -> bool| comparison.values.iter().any(test);
        let equal = (comparison.operator == Operator::Equal) != negated;
        let in_group = |name: &str, port: &str| {
            GROUPS.iter().any(|(group, members)| *group == name && members.contains(&port))
        };
        let at_port = |port: &str| {
            any(&|value| match value {
                Value::Text(name) => name == port,
                Value::PortGroup(group) => in_group(group, port),
                _ => false,
            }) == equal
        };
        let at_address = |port: &str, v4: bool| {
            self.is_v4 == v4
                && any(&|value| match value {
                    Value::Net(net) => net.contains(&address(port, v4)),
                    Value::AddressSet(name) => match SETS.iter().find(|(set, _)| set == name) {
                        Some((_, nets)) => nets.iter().any(|net| {
                            let net: ipnet::IpNet = net
                                .parse()
                                .unwrap_or_else(|_| net.parse::<IpAddr>().unwrap().into());
                            net.contains(&address(port, v4))
                        }),
                        None => {
                            let (group, of_v4) = name.rsplit_once("_ip").unwrap();
                            (of_v4 == "4") == v4 && in_group(group, port)
                        }
                    },
                    _ => false,
                }) == equal
        };
        match comparison.field {
            Field::InPort => at_port(self.from),
            Field::OutPort => at_port(self.to),
            Field::Ip4Source => at_address(self.from, true),
            Field::Ip6Source => at_address(self.from, false),
            Field::Ip4Destination => at_address(self.to, true),
            Field::Ip6Destination => at_address(self.to, false),
            field => self.number(field).is_some_and(|found| {
                any(&|value| {
                    let Value::Number(value, _) = value else { return false };
                    match comparison.operator {
                        Operator::Equal | Operator::NotEqual => found == *value,
                        Operator::Less => found < *value,
                        Operator::LessOrEqual => found <= *value,
                        Operator::Greater => found > *value,
                        Operator::GreaterOrEqual => found >= *value,
                    }
                }) != (negated != (comparison.operator == Operator::NotEqual))
            }),
        }
    }

    /// `negated` is carried down to the comparisons, as OVN does.
    fn meets(&self, expression: &Expression, negated: bool) -> bool {
        match expression {
            Expression::Constant(value) => *value != negated,
            Expression::Predicate(predicate) => self.holds(*predicate) != negated,
            Expression::Comparison(comparison) => self.compares(comparison, negated),
            Expression::Not(inner) => self.meets(inner, !negated),
            Expression::And(terms) if negated => terms.iter().any(|term| self.meets(term, true)),
            Expression::Or(terms) if negated => terms.iter().all(|term| self.meets(term, true)),
            Expression::And(terms) => terms.iter().all(|term| self.meets(term, false)),
            Expression::Or(terms) => terms.iter().any(|term| self.meets(term, false)),
        }
    }
}

/// The switches on which the ACLs of an owner are installed.
fn switches(owner: &str) -> Vec<char> {
    match GROUPS.iter().find(|(group, _)| *group == owner) {
        Some((_, members)) => members.iter().filter_map(|member| member.chars().next()).collect(),
        None => owner.chars().collect(),
    }
}

/// Whether a packet passes the ACLs of one direction at one port.
fn passes(acls: &[Acl], direction: &str, port: &str, packet: &Packet) -> bool {
    if !PORTS.contains(&port) {
        return true;
    }
    let here = |acl: &&Acl| {
        acl.direction == direction && switches(&acl.owner).contains(&port.chars().next().unwrap())
    };
    for tier in 0..4 {
        // The list is in the order of falling priority.
        let mut of_tier = acls.iter().filter(here).filter(|acl| acl.tier == tier);
        let first = of_tier.find(|acl| packet.meets(&parse(&acl.matches).unwrap(), false));
        match first.map(|acl| acl.action) {
            None | Some("pass") => {}
            Some(action) => return action.starts_with("allow"),
        }
    }
    true
}

// --- Random ACLs -------------------------------------------------------------------------------

fn any_address_term(own: &'static str, peer: &'static str) -> impl Strategy<Value = String> {
    let v4 = prop::sample::select(vec![
        "10.0.0.0/24",
        "10.0.0.0/30",
        "10.0.1.1",
        "192.0.2.0/24",
        "$s4",
        "$ga_ip4",
        "$gb_ip4",
        "$gx_ip4",
        "{10.0.0.1, 10.0.1.0/24}",
        "{$ga_ip4, 10.0.1.2}",
        "{$s4, $gb_ip4}",
        "0.0.0.0/0",
    ]);
    let v6 = prop::sample::select(vec![
        "fd00::/64",
        "fd00::a0",
        "$s6",
        "$ga_ip6",
        "$gx_ip6",
        "{fd00::b0, $ga_ip6}",
        "::/0",
        "$s4",
        "$gb_ip4",
    ]);
    // Conditions on the peer are what ACLs have in practice.
    let end = prop_oneof![4 => Just(peer), 1 => Just(own)];
    let operator = prop_oneof![3 => Just("=="), 1 => Just("!=")];
    (any::<bool>(), end, operator, v4, v6).prop_map(|(is_v4, end, operator, v4, v6)| match is_v4 {
        true => format!("ip4.{end} {operator} {v4}"),
        false => format!("ip6.{end} {operator} {v6}"),
    })
}

fn any_service_term() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "tcp",
        "udp",
        "icmp",
        "icmp4",
        "icmp6",
        "ip",
        "ip4",
        "ip6",
        "arp",
        "tcp.dst == 80",
        "tcp.dst == {80, 443}",
        "tcp.dst != 80",
        "tcp.dst >= 80",
        "tcp.dst < 443",
        "1 <= udp.dst <= 53",
        "udp.src == 53",
        "udp.dst == 53",
        "sctp",
        "icmp4.type == 8",
        "icmp4.type == {0, 8}",
        "icmp6.type == 128",
        "icmp4.type == 8 && icmp4.code == 0",
        "ip.proto == 6",
        "ip.proto == {6, 17}",
        "eth.type == 0x800",
        "!(tcp.dst == 80)",
        "1",
        "!ip4",
        "!arp",
        "!(tcp.dst == {80, 443})",
    ])
    .prop_map(str::to_owned)
}

fn any_match(is_out: bool) -> impl Strategy<Value = String> {
    let (field, own, peer) =
        if is_out { ("inport", "src", "dst") } else { ("outport", "dst", "src") };
    let port = prop::sample::select(vec![
        "@ga",
        "@gb",
        "@gx",
        "\"a0\"",
        "{\"a1\", \"b2\"}",
        "{@ga, @gb}",
        "{@gx, \"b2\"}",
    ])
    .prop_map(move |ports| format!("{field} == {ports}"));
    let address = || any_address_term(own, peer).boxed();
    let condition = prop_oneof![
        4 => any_service_term(),
        4 => address(),
        1 => (address(), any_service_term()).prop_map(|(a, b)| format!("({a} || {b})")),
        1 => (address(), address()).prop_map(|(a, b)| format!("!({a} && {b})")),
        1 => (address(), address()).prop_map(|(a, b)| format!("!({a} || {b})")),
        1 => (any_service_term(), any_service_term()).prop_map(|(a, b)| format!("(({a}) || \
         ({b}))")),
    ]
    .prop_map(|text| format!("({text})"));
    (port, prop::collection::vec(condition, 0..3)).prop_map(|(port, conditions)| {
        std::iter::once(port).chain(conditions).collect::<Vec<_>>().join(" && ")
    })
}

fn any_acl() -> impl Strategy<Value = Acl> {
    let owner = prop::sample::select(vec!["a", "b", "ga", "gb", "gx"]);
    let action = prop::sample::select(vec!["allow-related", "allow", "drop", "reject", "pass"]);
    let tier = prop_oneof![4 => Just(0_u16), 1 => Just(2_u16)];
    (any::<bool>(), owner, action, tier).prop_flat_map(|(is_out, owner, action, tier)| {
        let direction = if is_out { "from-lport" } else { "to-lport" };
        any_match(is_out).prop_map(move |matches| Acl {
            owner: owner.to_owned(),
            direction,
            matches,
            action,
            tier,
        })
    })
}

fn packets() -> Vec<Packet> {
    let transport =
        |protocol, source_port, port| PacketKind::Transport { protocol, source_port, port };
    let kinds = [
        transport(TransportProtocol::Tcp, 40_000, 80),
        transport(TransportProtocol::Tcp, 80, 443),
        transport(TransportProtocol::Tcp, 1, 22),
        transport(TransportProtocol::Udp, 40_000, 53),
        transport(TransportProtocol::Udp, 53, 9_000),
        transport(TransportProtocol::Sctp, 9, 80),
        PacketKind::Icmp { icmp_type: 8, code: 0 },
        PacketKind::Icmp { icmp_type: 128, code: 0 },
    ];
    let ends: Vec<&'static str> = PORTS.iter().copied().chain(["outside"]).collect();
    let mut packets = Vec::new();
    for from in &ends {
        for to in ends.iter().filter(|to| *to != from) {
            for is_v4 in [true, false] {
                packets.extend(kinds.map(|kind| Packet { from, to, is_v4, kind }));
            }
        }
    }
    packets
}

fn endpoint(name: &str, is_v4: bool) -> Endpoint {
    let address = address(name, is_v4);
    match PORTS.contains(&name) {
        true => Endpoint::Port(ObjectKey::new(Kind::LogicalPort, "p", name), Some(address)),
        false => Endpoint::Outside(address),
    }
}

/// Compares every packet; gives back how many of the ACLs were carried over.
fn compare(acls: &[Acl]) -> Result<usize, TestCaseError> {
    let import = network(acls).import().unwrap();
    // An ACL that is listed is left out whole: so it is on the other side too.
    let left_out = |acl: &&Acl| {
        let what = format!("match {:?}", acl.matches);
        import.unsupported.iter().any(|line| line.what == what)
    };
    let kept: Vec<Acl> = acls.iter().filter(|acl| !left_out(acl)).cloned().collect();
    let resources = sound(&import);
    let oracle = Network::new(&resources);
    for packet in packets() {
        let (from, to) = (endpoint(packet.from, packet.is_v4), endpoint(packet.to, packet.is_v4));
        let verdict = oracle.verdict(&from, &to, packet.kind).unwrap();
        let expected = passes(&kept, "from-lport", packet.from, &packet)
            && passes(&kept, "to-lport", packet.to, &packet);
        prop_assert_eq!(
            matches!(verdict, Verdict::Allowed(..)),
            expected,
            "{:?}\n{:#?}\n{:?}",
            packet,
            kept,
            verdict
        );
    }
    Ok(kept.len())
}

#[test]
fn random_acls_mean_the_same() {
    let (all, kept) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 300, ..Config::default() });
    runner
        .run(&prop::collection::vec(any_acl(), 1..8), |acls| {
            all.set(all.get() + acls.len());
            kept.set(kept.get() + compare(&acls)?);
            Ok(())
        })
        .unwrap();
    // Otherwise the comparison would be of nothing with nothing.
    assert!(kept.get() * 10 >= all.get() * 8, "{} of {} carried over", kept.get(), all.get());
}

/// ACLs that once went wrong, or that are easy to get wrong.
#[test]
fn particular_acls_mean_the_same() {
    let acl = |owner: &str, direction, matches: &str, action| Acl {
        owner: owner.to_owned(),
        direction,
        matches: matches.to_owned(),
        action,
        tier: 0,
    };
    let cases: Vec<Vec<Acl>> = vec![
        // IPv4 alone, about a group whose ports have both families.
        vec![
            acl("ga", "to-lport", "outport == @ga && ip4.src == $gb_ip4 && tcp", "allow-related"),
            acl("ga", "to-lport", "outport == @ga && ip", "drop"),
        ],
        vec![
            acl("ga", "to-lport", "outport == @ga && ip6.src == $gb_ip6 && icmp6", "allow-related"),
            acl("ga", "to-lport", "outport == @ga && ip4", "drop"),
        ],
        // Not a group: everyone else, the outside included.
        vec![acl("ga", "to-lport", "outport == @ga && ip4.src != $gx_ip4", "drop")],
        vec![acl("ga", "to-lport", "outport == @ga && ip4.src != {$gb_ip4, 192.0.2.9}", "drop")],
        // Conditions on both ends.
        vec![acl("a", "from-lport", "ip4.src == 10.0.0.1 && ip4.dst == $gb_ip4", "allow")],
        vec![acl("gx", "from-lport", "inport == @gx && ip4.src == $ga_ip4 && ip4", "drop")],
        // A group of a group's owner that reaches beyond the owner's switches.
        vec![acl("ga", "to-lport", "outport == @gx && tcp.dst == 80", "drop")],
        // Two conditions on the peer.
        vec![acl(
            "ga",
            "to-lport",
            "outport == @ga && ip4.src == $gx_ip4 && ip4.src != $gb_ip4",
            "drop",
        )],
        vec![acl(
            "ga",
            "to-lport",
            "outport == @ga && ip4.src == $gx_ip4 && ip4.src == 10.0.1.0/24",
            "drop",
        )],
        vec![acl(
            "ga",
            "to-lport",
            "outport == @ga && ip4.src == 10.0.0.0/8 && ip4.src != 10.0.1.0/24",
            "drop",
        )],
        // Ports of a switch, without and with a name.
        vec![acl("a", "from-lport", "ip4.dst == 10.0.1.0/24 && udp", "allow")],
        vec![acl("a", "to-lport", "outport == \"a1\"", "drop")],
        // ICMP needs no second tier.
        vec![
            acl("ga", "to-lport", "outport == @ga && icmp4 && ip4.src == $gb_ip4", "allow"),
            acl("ga", "to-lport", "outport == @ga", "drop"),
        ],
    ];
    for acls in cases {
        assert_eq!(compare(&acls).unwrap(), acls.len(), "{acls:#?}");
    }
}

#[test]
fn acls_without_a_port_are_listed_where_they_would_judge_the_router() {
    let drop = |matches: &str| Acl {
        owner: "a".to_owned(),
        direction: "to-lport",
        matches: matches.to_owned(),
        action: "drop",
        tier: 0,
    };
    let import = network(&[drop("ip4.src == 10.0.1.0/24")]).import().unwrap();
    let found = common::unsupported(&import);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("for packets through the router of a: it names no port"),
        "{}",
        found[0]
    );
    // It is applied to the workloads all the same.
    assert!(import.resources.iter().any(|r| r.spec.kind() == Kind::SecurityPolicy));
    let import = network(&[drop("arp"), drop("outport == @ga")]).import().unwrap();
    assert_eq!(common::unsupported(&import), [""; 0]);
}

#[test]
fn acls_that_cannot_be_carried_say_why() {
    let cases = [
        ("to-lport", "outport == @nobody", "drop", "there is no port group"),
        (
            "to-lport",
            "outport == @ga && ip4.src == $nobody",
            "drop",
            "there is no address set \"nobody\"",
        ),
        ("to-lport", "outport == \"r-a\"", "drop", "there is no port \"r-a\""),
        ("to-lport", "outport == \"to-r-a\"", "drop", "is no workload that was carried over"),
        (
            "to-lport",
            "inport == @ga && outport == @gb",
            "drop",
            "inport in to-lport: rules see the address",
        ),
        ("from-lport", "outport == @ga", "drop", "outport in from-lport: it is not known"),
        ("to-lport", "outport == @ga && !tcp", "drop", "every IP protocol but 6 cannot be named"),
        ("to-lport", "outport == @ga && ip.proto == 47", "drop", "IP protocol 47 has no name"),
        ("to-lport", "outport == @ga && icmp4.code == 3", "drop", "an ICMP code without a type"),
        ("to-lport", "outport == @ga && icmp4.type != 8", "drop", "more than 64 pairs of ICMP"),
        (
            "to-lport",
            "outport == @ga && ip4.src == 10.0.0.0/8 && ip4.src != $gb_ip4",
            "drop",
            "blocks with the addresses of ports taken out cannot be a group",
        ),
        ("to-lport", "outport == @ga &&", "drop", "syntax error at byte 17"),
        ("to-lport", "outport == @ga", "sample", "the action \"sample\" has no counterpart"),
    ];
    for (direction, matches, action, expected) in cases {
        let acl =
            Acl { owner: "ga".to_owned(), direction, matches: matches.to_owned(), action, tier: 0 };
        let import = network(&[acl]).import().unwrap();
        let found = common::unsupported(&import);
        assert_eq!(found.len(), 1, "{matches}: {found:#?}");
        assert!(found[0].contains(expected), "{matches}: {}", found[0]);
        assert!(found[0].ends_with(": the ACL is left out"), "{}", found[0]);
        sound(&import);
        assert_eq!(import.resources.iter().filter(|r| r.spec.kind() == Kind::Group).count(), 5);
    }
}

#[test]
fn stateless_acls_come_before_all_others() {
    let acl = |matches: &str, action| Acl {
        owner: "ga".to_owned(),
        direction: "to-lport",
        matches: matches.to_owned(),
        action,
        tier: 0,
    };
    let acls = [acl("outport == @ga", "drop"), acl("outport == @ga && tcp", "allow-stateless")];
    let import = network(&acls).import().unwrap();
    let resources = sound(&import);
    let verdict = Network::new(&resources)
        .verdict(
            &endpoint("b0", true),
            &endpoint("a0", true),
            PacketKind::Transport { protocol: TransportProtocol::Tcp, source_port: 1, port: 80 },
        )
        .unwrap();
    assert!(matches!(verdict, Verdict::Allowed(..)), "{verdict:?}");
    assert!(common::notes(&import).iter().any(|note| note.contains("replies are always admitted")));
}
