//! The cases of the conformance suite.
//!
//! ```text
//!          switch web 10.0.0.0/24 ─┐                        isolated, with the same addresses:
//!                                  ├─ router r ═peering═ router s ─ switch shared 10.9.0.0/24
//!          switch db  10.0.1.0/24 ─┘                        switch lone 10.0.0.0/24
//!
//!  host a   web-0 .0.1  web-1 .0.2  db-0 .1.1   shared-0 .9.0.1   lone-0 .0.1  -1 .0.2  -3 .0.4
//!  host b   web-2 .0.3              db-1 .1.2   shared-1 .9.0.2   lone-2 .0.3
//! ```
//!
//! Every address 10.0.x.y has a companion fd00:x::y, and 10.9.0.y has fd00:9::y.

use super::probe::{Outcome, Sent};
use super::world::{blocks, group, host, policy, policy_in, port, port_with, router, switch};
use spanwire_topology::Resource;
use spanwire_topology::model::PortAttachment;

/// The network of all cases, without policies.
pub(crate) fn base() -> Vec<Resource> {
    vec![
        host("a", "172.30.0.1"),
        host("b", "172.30.0.2"),
        switch("web", "10.0.0.0/24 fd00:0:0:0::/64"),
        switch("db", "10.0.1.0/24 fd00:1::/64"),
        switch("shared", "10.9.0.0/24 fd00:9::/64"),
        switch("lone", "10.0.0.0/24 fd00:0:0:0::/64"),
        router("s", "shared", ""),
        router("r", "web db", "s"),
        port("web-0", "web", "a", "10.0.0.1 fd00::1", "app=web side=left"),
        port("web-1", "web", "a", "10.0.0.2 fd00::2", "app=web"),
        port("web-2", "web", "b", "10.0.0.3 fd00::3", "app=web"),
        port("db-0", "db", "a", "10.0.1.1 fd00:1::1", "app=db"),
        port("db-1", "db", "b", "10.0.1.2 fd00:1::2", "app=db"),
        port("shared-0", "shared", "a", "10.9.0.1 fd00:9::1", "app=shared"),
        port("shared-1", "shared", "b", "10.9.0.2 fd00:9::2", "app=shared"),
        port("lone-0", "lone", "a", "10.0.0.1 fd00::1", "app=lone"),
        port("lone-1", "lone", "a", "10.0.0.2 fd00::2", "app=lone"),
        port("lone-3", "lone", "a", "10.0.0.4 fd00::4", "app=lone"),
        port("lone-2", "lone", "b", "10.0.0.3 fd00::3", "app=lone"),
        group("webs", "app=web"),
        group("dbs", "app=db"),
        group("shareds", "app=shared"),
        group("lones", "app=lone"),
        group("left", "side=left"),
        group("nobody", "app=nobody"),
        blocks("low", "10.0.0.0/31 10.9.0.0/24 fd00::/127"),
    ]
}

/// A probe and what must become of it.
pub(crate) struct Expectation {
    pub(crate) from: &'static str,
    pub(crate) source: Option<&'static str>,
    pub(crate) to: &'static str,
    pub(crate) sent: Sent,
    pub(crate) outcome: Expected,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    By(&'static str),
    Refused,
    NoRoute,
    Silence,
}

impl Expected {
    pub(crate) fn to_outcome(self) -> Outcome {
        match self {
            By(name) => Outcome::Answered(name.to_owned()),
            Refused => Outcome::Refused,
            NoRoute => Outcome::NoRoute,
            Silence => Outcome::Silence,
        }
    }
}

use Expected::{By, NoRoute, Refused, Silence};
use Sent::{Ping, Tcp, Timestamp, Udp};

/// The answer of an operating system.
const KERNEL: Expected = By("kernel");

fn expect(from: &'static str, to: &'static str, sent: Sent, outcome: Expected) -> Expectation {
    Expectation { from, source: None, to, sent, outcome }
}

fn forged(
    from: &'static str,
    source: &'static str,
    to: &'static str,
    sent: Sent,
    outcome: Expected,
) -> Expectation {
    Expectation { from, source: Some(source), to, sent, outcome }
}

/// What is put into the network, and what then holds.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) put: Vec<Resource>,
    pub(crate) expectations: Vec<Expectation>,
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case {
            name: "without policies everything that is routed passes",
            put: vec![],
            expectations: vec![
                expect("web-0", "10.0.0.2", Tcp(80), By("web-1")),
                expect("web-0", "10.0.0.3", Tcp(80), By("web-2")),
                expect("web-0", "10.0.1.1", Udp(53), By("db-0")),
                expect("web-0", "10.0.1.2", Udp(53), By("db-1")),
                expect("web-0", "fd00::2", Tcp(80), By("web-1")),
                expect("web-0", "fd00::3", Udp(53), By("web-2")),
                expect("web-0", "fd00:1::2", Tcp(443), By("db-1")),
                expect("web-0", "10.0.0.3", Ping, KERNEL),
                expect("web-0", "fd00::3", Ping, KERNEL),
                expect("web-0", "10.0.0.77", Ping, NoRoute),
                expect("web-0", "10.7.0.1", Ping, NoRoute),
                expect("web-0", "fd00:7::1", Ping, NoRoute),
            ],
        },
        Case {
            name: "isolated domains have the same addresses and never meet",
            put: vec![],
            expectations: vec![
                expect("lone-0", "10.0.0.2", Tcp(80), By("lone-1")),
                expect("lone-0", "10.0.0.3", Tcp(80), By("lone-2")),
                expect("lone-2", "10.0.0.1", Udp(53), By("lone-0")),
                expect("web-2", "10.0.0.1", Udp(53), By("web-0")),
                expect("lone-2", "fd00::1", Udp(53), By("lone-0")),
                expect("web-2", "fd00::1", Tcp(80), By("web-0")),
                expect("lone-0", "10.0.1.1", Ping, NoRoute),
                expect("lone-0", "10.9.0.1", Ping, NoRoute),
            ],
        },
        Case {
            name: "a peering is crossed, on one host and between hosts",
            put: vec![],
            expectations: vec![
                expect("web-0", "10.9.0.1", Tcp(80), By("shared-0")),
                expect("web-0", "10.9.0.2", Tcp(80), By("shared-1")),
                expect("shared-0", "10.0.0.1", Udp(53), By("web-0")),
                expect("shared-0", "10.0.1.2", Tcp(80), By("db-1")),
                expect("shared-1", "fd00::1", Tcp(80), By("web-0")),
                expect("web-2", "fd00:9::2", Udp(53), By("shared-1")),
                expect("web-1", "fd00:9::1", Ping, KERNEL),
            ],
        },
    ];
    cases.extend(policy_cases());
    cases.extend(service_cases());
    cases.extend(tier_cases());
    cases.extend(peer_cases());
    cases.extend(visibility_cases());
    cases.extend(security_cases());
    cases
}

fn policy_cases() -> Vec<Case> {
    vec![
        Case {
            name: "allow and default drop, inbound",
            put: vec![policy("p", "dbs", "in allow webs tcp:80\ndefault in drop")],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), By("db-0")),
                expect("web-0", "10.0.1.2", Tcp(80), By("db-1")),
                expect("web-2", "10.0.1.1", Tcp(80), By("db-0")),
                expect("web-0", "fd00:1::2", Tcp(80), By("db-1")),
                expect("web-0", "10.0.1.1", Tcp(443), Silence),
                expect("web-0", "fd00:1::1", Tcp(443), Silence),
                expect("web-0", "10.0.1.2", Udp(53), Silence),
                expect("db-0", "10.0.1.2", Tcp(80), Silence),
                expect("shared-0", "10.0.1.1", Tcp(80), Silence),
                expect("shared-0", "10.0.1.2", Tcp(80), Silence),
                expect("db-0", "10.0.0.1", Tcp(80), By("web-0")),
            ],
        },
        Case {
            name: "drop and reject, outbound",
            put: vec![policy("p", "left", "out drop dbs tcp:80\nout reject dbs")],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), Silence),
                expect("web-0", "10.0.1.2", Tcp(443), Refused),
                expect("web-0", "10.0.1.2", Udp(53), Refused),
                expect("web-0", "fd00:1::1", Tcp(443), Refused),
                expect("web-0", "fd00:1::2", Udp(53), Refused),
                expect("web-0", "10.0.1.1", Ping, Refused),
                expect("web-0", "10.0.0.3", Tcp(443), By("web-2")),
                expect("web-1", "10.0.1.1", Tcp(80), By("db-0")),
            ],
        },
        Case {
            name: "reject, inbound, on the sender's host and on another",
            put: vec![policy("p", "dbs", "in reject log left")],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), Refused),
                expect("web-0", "10.0.1.2", Tcp(80), Refused),
                expect("web-0", "10.0.1.1", Udp(53), Refused),
                expect("web-0", "fd00:1::2", Udp(53), Refused),
                expect("web-0", "10.0.1.2", Ping, Refused),
                expect("web-2", "10.0.1.1", Tcp(80), By("db-0")),
            ],
        },
        Case {
            name: "out then in: both must agree",
            put: vec![
                policy("p", "webs", "out allow dbs tcp:80+443\ndefault out drop"),
                policy("q", "dbs", "in allow webs tcp:443+8080\ndefault in reject"),
            ],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), Refused),
                expect("web-0", "10.0.1.2", Tcp(80), Refused),
                expect("web-0", "10.0.1.1", Tcp(443), By("db-0")),
                expect("web-0", "10.0.1.2", Tcp(443), By("db-1")),
                expect("web-0", "10.0.1.1", Tcp(8080), Silence),
                expect("web-0", "10.0.1.2", Tcp(8080), Silence),
                expect("db-1", "10.0.0.1", Tcp(80), By("web-0")),
            ],
        },
    ]
}

fn service_cases() -> Vec<Case> {
    vec![
        Case {
            name: "port ranges, that touch and overlap",
            put: vec![policy(
                "p",
                "dbs",
                "in allow * tcp:70-90+91-100+80-443,udp:5000-6000\ndefault in reject",
            )],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), By("db-0")),
                expect("web-0", "10.0.1.1", Tcp(443), By("db-0")),
                expect("web-0", "10.0.1.1", Tcp(8080), Refused),
                expect("web-0", "10.0.1.1", Udp(5353), By("db-0")),
                expect("web-0", "10.0.1.2", Udp(53), Refused),
            ],
        },
        Case {
            name: "ICMP by type and family",
            put: vec![policy("p", "dbs", "in allow * icmp:8/0\ndefault in drop")],
            expectations: vec![
                expect("web-0", "10.0.1.1", Ping, KERNEL),
                expect("web-0", "10.0.1.2", Ping, KERNEL),
                expect("web-0", "10.0.1.1", Timestamp, Silence),
                expect("web-0", "fd00:1::1", Ping, Silence),
                expect("web-0", "10.0.1.1", Tcp(80), Silence),
            ],
        },
        Case {
            name: "ICMPv6, all types",
            put: vec![policy("p", "dbs", "in allow * icmpv6\nin allow * icmp:13\ndefault in drop")],
            expectations: vec![
                expect("web-0", "fd00:1::2", Ping, KERNEL),
                expect("web-0", "10.0.1.2", Ping, Silence),
                expect("web-0", "10.0.1.2", Timestamp, KERNEL),
            ],
        },
        Case {
            name: "both directions with one rule",
            put: vec![policy("p", "dbs", "both drop webs udp:53")],
            expectations: vec![
                expect("web-0", "10.0.1.1", Udp(53), Silence),
                expect("db-0", "10.0.0.3", Udp(53), Silence),
                expect("db-0", "10.0.0.3", Udp(5353), By("web-2")),
            ],
        },
        Case {
            name: "many peers and many services",
            put: vec![policy(
                "p",
                "dbs",
                "in allow left,shareds,low tcp:80,udp:53,icmp:8\ndefault in reject",
            )],
            expectations: vec![
                expect("web-0", "10.0.1.1", Udp(53), By("db-0")),
                expect("shared-1", "10.0.1.1", Tcp(80), By("db-0")),
                expect("shared-0", "fd00:1::1", Udp(53), By("db-0")),
                expect("web-0", "10.0.1.2", Ping, KERNEL),
                expect("web-0", "10.0.1.1", Tcp(443), Refused),
                expect("web-2", "10.0.1.1", Tcp(80), Refused),
            ],
        },
    ]
}

fn tier_cases() -> Vec<Case> {
    vec![
        Case {
            name: "priority within a tier, then the name",
            put: vec![
                policy_in("p1", 100, 20, "dbs", "in allow * tcp:80"),
                policy_in("p2", 100, 10, "dbs", "in reject * tcp:80+443"),
                policy_in("n1", 100, 30, "dbs", "in allow * udp:53"),
                policy_in("n2", 100, 30, "dbs", "in reject * udp:53+5353"),
            ],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), Refused),
                expect("web-0", "10.0.1.2", Tcp(443), Refused),
                expect("web-0", "10.0.1.1", Udp(53), By("db-0")),
                expect("web-0", "10.0.1.1", Udp(5353), Refused),
                expect("web-0", "10.0.1.1", Tcp(8080), By("db-0")),
            ],
        },
        Case {
            name: "pass leaves the tier and skips its defaults",
            put: vec![
                policy_in("first", 100, 10, "dbs", "in pass webs tcp:80+443\ndefault in reject"),
                policy_in("second", 200, 10, "dbs", "in drop * tcp:443\ndefault in allow"),
                policy_in("third", 300, 10, "dbs", "in reject *"),
            ],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), By("db-0")),
                expect("web-2", "10.0.1.1", Tcp(443), Silence),
                expect("web-0", "10.0.1.2", Udp(53), Refused),
                expect("shared-0", "10.0.1.2", Tcp(80), Refused),
            ],
        },
        Case {
            name: "pass from the last tier, and pass as a default",
            put: vec![
                policy_in("first", 100, 10, "dbs", "in drop * udp:53\ndefault in pass"),
                policy_in("second", 200, 10, "dbs", "in pass * tcp:80\ndefault in reject"),
            ],
            expectations: vec![
                expect("web-0", "10.0.1.1", Udp(53), Silence),
                expect("web-0", "10.0.1.1", Tcp(80), By("db-0")),
                expect("web-0", "10.0.1.1", Tcp(443), Refused),
                expect("web-0", "10.0.1.1", Udp(5353), Refused),
            ],
        },
        Case {
            name: "ports of one policy and different tiers after it",
            put: vec![
                policy_in("first", 100, 10, "dbs webs", "in pass * tcp:80\nin reject * tcp:443"),
                policy_in("second", 200, 10, "dbs", "in drop * tcp:80"),
            ],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), Silence),
                expect("web-0", "10.0.0.2", Tcp(80), By("web-1")),
                expect("web-0", "10.0.1.1", Tcp(443), Refused),
                expect("web-0", "10.0.0.2", Tcp(443), Refused),
            ],
        },
        Case {
            name: "the first default of a tier decides",
            put: vec![
                policy_in("b", 100, 20, "dbs", "default in drop"),
                policy_in("a", 100, 10, "dbs", "default in reject"),
            ],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), Refused),
                expect("web-0", "10.0.1.2", Udp(53), Refused),
            ],
        },
    ]
}

fn peer_cases() -> Vec<Case> {
    vec![
        Case {
            name: "negated peers",
            put: vec![policy("p", "dbs", "in reject !webs")],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), By("db-0")),
                expect("web-2", "fd00:1::1", Udp(53), By("db-0")),
                expect("db-1", "10.0.1.1", Tcp(80), Refused),
                expect("shared-1", "10.0.1.1", Tcp(80), Refused),
                expect("shared-0", "fd00:1::1", Udp(53), Refused),
            ],
        },
        Case {
            name: "negated blocks and a group without members",
            put: vec![policy("p", "dbs", "in allow !low tcp:80\nin drop !nobody")],
            expectations: vec![
                expect("web-1", "10.0.1.1", Tcp(80), By("db-0")),
                expect("web-0", "10.0.1.1", Tcp(80), Silence),
                expect("shared-0", "10.0.1.1", Tcp(80), Silence),
                expect("shared-0", "fd00:1::1", Tcp(80), By("db-0")),
                expect("web-0", "fd00:1::1", Tcp(80), Silence),
                expect("web-1", "10.0.1.1", Tcp(443), Silence),
            ],
        },
        Case {
            name: "blocks",
            put: vec![policy("p", "dbs", "in reject low")],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), Refused),
                expect("web-1", "10.0.1.1", Tcp(80), By("db-0")),
                expect("shared-1", "10.0.1.2", Tcp(80), Refused),
                expect("shared-1", "fd00:1::2", Tcp(80), By("db-1")),
                expect("web-0", "fd00:1::1", Tcp(80), Refused),
                expect("web-1", "fd00:1::1", Tcp(80), By("db-0")),
            ],
        },
    ]
}

fn visibility_cases() -> Vec<Case> {
    vec![
        Case {
            name: "a group across isolated domains means the members one sees",
            put: vec![
                port("web-0", "web", "a", "10.0.0.1 fd00::1", "app=web mix=yes"),
                port("lone-1", "lone", "a", "10.0.0.2 fd00::2", "app=lone mix=yes"),
                group("mixed", "mix=yes"),
                policy("p", "webs lones", "in reject mixed"),
            ],
            expectations: vec![
                // In the domain of web, mixed is web-0; in that of lone, it is lone-1.
                expect("web-0", "10.0.0.3", Tcp(80), Refused),
                expect("web-1", "10.0.0.3", Tcp(80), By("web-2")),
                expect("lone-1", "10.0.0.3", Tcp(80), Refused),
                expect("lone-0", "10.0.0.3", Tcp(80), By("lone-2")),
                expect("lone-0", "10.0.0.2", Tcp(80), By("lone-1")),
                expect("web-0", "10.0.0.2", Tcp(80), Refused),
            ],
        },
        Case {
            name: "a group across a peering is seen from both sides",
            put: vec![
                port("web-0", "web", "a", "10.0.0.1 fd00::1", "app=web mix=yes"),
                port("shared-1", "shared", "b", "10.9.0.2 fd00:9::2", "app=shared mix=yes"),
                group("mixed", "mix=yes"),
                policy("p", "dbs shareds", "in allow mixed\ndefault in reject"),
            ],
            expectations: vec![
                expect("web-0", "10.0.1.1", Tcp(80), By("db-0")),
                expect("shared-1", "10.0.1.1", Tcp(80), By("db-0")),
                expect("shared-0", "10.0.1.1", Tcp(80), Refused),
                expect("web-0", "10.9.0.1", Tcp(80), By("shared-0")),
                expect("web-2", "10.9.0.1", Tcp(80), Refused),
                expect("shared-1", "fd00:9::1", Tcp(80), By("shared-0")),
            ],
        },
    ]
}

fn security_cases() -> Vec<Case> {
    vec![
        Case {
            name: "port security stops forged sources",
            put: vec![],
            expectations: vec![
                forged("web-0", "10.0.0.99", "10.0.0.3", Udp(53), Silence),
                forged("lone-3", "10.0.0.1", "10.0.0.3", Udp(53), Silence),
                forged("web-0", "10.0.0.99", "10.0.0.2", Udp(53), Silence),
                forged("web-0", "fd00::99", "fd00::3", Udp(53), Silence),
                expect("web-0", "10.0.0.3", Udp(53), By("web-2")),
            ],
        },
        Case {
            name: "without port security they pass",
            put: vec![port_with(
                "web-0",
                "web",
                "a",
                "10.0.0.1 fd00::1",
                "app=web side=left",
                PortAttachment::Derived,
                false,
            )],
            expectations: vec![
                forged("web-0", "10.0.0.99", "10.0.0.3", Udp(53), By("web-2")),
                forged("web-0", "10.0.0.99", "10.0.0.2", Udp(53), By("web-1")),
                forged("web-0", "fd00::99", "fd00::3", Udp(53), By("web-2")),
            ],
        },
        Case {
            name: "a forged source does not slip past a deny rule",
            put: vec![
                port_with(
                    "web-0",
                    "web",
                    "a",
                    "10.0.0.1 fd00::1",
                    "app=web",
                    PortAttachment::Derived,
                    false,
                ),
                // Nobody that the database sees has this address, but somebody elsewhere does.
                port("lone-1", "lone", "a", "10.0.0.99 fd00::99", "app=lone bad=yes"),
                group("bad", "bad=yes"),
                policy("p", "dbs", "in drop bad"),
            ],
            expectations: vec![
                forged("web-0", "10.0.0.99", "10.0.1.1", Udp(53), Silence),
                forged("web-0", "fd00::99", "fd00:1::2", Udp(53), Silence),
                forged("web-0", "10.0.0.98", "10.0.1.1", Udp(53), By("db-0")),
            ],
        },
    ]
}
