//! Networks and views as text, so that a test can be read.
//!
//! One object a line; `#` starts a comment. Everything is in project `p` unless a name says
//! otherwise.
//!
//! ```text
//! host h1 192.0.2.1
//! switch s1 nets 10.0.0.0/24,fd00::/64
//! router r1 on s1=10.0.0.254,s2 up r9 peer r8 silent
//! port a on s1 at h1 ip 10.0.0.1,fd00::1 mac 02:00:00:00:00:01 labels app=web open
//! group g select app=web all | switch s1 | router r1 | port a | group x | and x,y | less x,y
//! blocks g 10.0.0.0/8 except 10.1.0.0/16
//! service http tcp:80 udp icmp:8
//! policy P to g tier 5 prio 7 default in=drop,out=allow
//! rule P in allow from g,!x svc http,tcp:443
//! ```

use spanwire_oracle::{CanonicalItem, CanonicalKey, CanonicalView, DomainName, Resources};
use spanwire_topology::model::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Parses a network.
pub(crate) fn network(text: &str) -> Resources {
    let mut specs: BTreeMap<ObjectKey, (Labels, Spec)> = BTreeMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [noun, name, rest @ ..] = &words[..] else { continue };
        let fields = Fields(rest);
        match *noun {
            "rule" => match &mut specs.get_mut(&reference(name).to_key(Kind::SecurityPolicy)) {
                Some((_, Spec::SecurityPolicy(policy))) => policy.rules.push(rule(rest)),
                _ => panic!("no policy {name}"),
            },
            "blocks" => match &mut specs.get_mut(&reference(name).to_key(Kind::Group)) {
                Some((_, Spec::Group(group))) => group.blocks.push(block(rest)),
                _ => panic!("no group {name}"),
            },
            _ => {
                let (labels, spec) = object(noun, &fields);
                let key = match spec.kind() {
                    Kind::Host => ObjectKey::new(Kind::Host, SYSTEM_PROJECT, *name),
                    kind => reference(name).to_key(kind),
                };
                assert!(specs.insert(key, (labels, spec)).is_none(), "{line} stands twice");
            }
        }
    }
    let resource = |(key, (labels, spec)): (ObjectKey, (Labels, Spec))| {
        (key.clone(), Resource::new(key.project, key.name, labels, spec))
    };
    specs.into_iter().map(resource).collect()
}

/// The key of an object of project `p`, or of `project/name`.
pub(crate) fn key(kind: Kind, name: &str) -> ObjectKey {
    reference(name).to_key(kind)
}

/// Writes a view down: one item a line, names without their project if that is `p`.
pub(crate) fn written(view: &CanonicalView) -> Vec<String> {
    view.iter().map(|(key, item)| format!("{}: {}", written_key(key), written_item(item))).collect()
}

struct Fields<'a>(&'a [&'a str]);

impl Fields<'_> {
    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    fn get(&self, word: &str) -> Option<&str> {
        let at = self.0.iter().position(|other| *other == word)?;
        self.0.get(at + 1).copied()
    }

    fn list(&self, word: &str) -> Vec<&str> {
        self.get(word).map(|list| list.split(',').collect()).unwrap_or_default()
    }

    fn references(&self, word: &str) -> Vec<ObjectRef> {
        self.list(word).into_iter().map(reference).collect()
    }
}

fn reference(name: &str) -> ObjectRef {
    let (project, name) = name.split_once('/').unwrap_or(("p", name));
    ObjectRef::new(project, name)
}

fn object(noun: &str, fields: &Fields<'_>) -> (Labels, Spec) {
    let labels = fields.list("labels").into_iter().map(|label| {
        let (key, value) = label.split_once('=').unwrap();
        (key.into(), value.into())
    });
    let spec = match noun {
        "host" => Spec::Host(HostSpec { vtep: fields.0.first().map(|vtep| vtep.parse().unwrap()) }),
        "switch" => Spec::LogicalSwitch(LogicalSwitchSpec {
            subnets: fields.list("nets").into_iter().map(|net| net.parse().unwrap()).collect(),
        }),
        "router" => {
            let interface = |text: &str| {
                let (switch, address) = match text.split_once('=') {
                    Some((switch, address)) => (switch, Some(address.parse().unwrap())),
                    None => (text, None),
                };
                RouterInterface {
                    switch: reference(switch),
                    addresses: address.into_iter().collect(),
                }
            };
            Spec::LogicalRouter(LogicalRouterSpec {
                interfaces: fields.list("on").into_iter().map(interface).collect(),
                advertise: !fields.has("silent"),
                uplinks: fields.references("up"),
                peerings: fields.references("peer"),
            })
        }
        "port" => {
            let addresses = fields.list("ip").into_iter().map(|a| a.parse().unwrap());
            let addresses: Vec<IpAddr> = addresses.collect();
            Spec::LogicalPort(LogicalPortSpec {
                switch: reference(fields.get("on").unwrap()),
                mac: match (fields.get("mac"), addresses.first()) {
                    (Some(mac), _) => mac.parse().unwrap(),
                    (None, Some(address)) => Mac::derived_from(*address),
                    (None, None) => Mac::new([2, 0, 0, 0, 0, 1]).unwrap(),
                },
                addresses: addresses.into_iter().collect(),
                host: fields.get("at").map(Text::from),
                attachment: PortAttachment::Derived,
                port_security: !fields.has("open"),
            })
        }
        "group" => Spec::Group(GroupSpec {
            terms: fields.0.split(|word| *word == "|").filter_map(term).collect(),
            blocks: Vec::new(),
        }),
        "service" => {
            Spec::Service(ServiceSpec { entries: fields.0.iter().map(|e| entry(e)).collect() })
        }
        "policy" => Spec::SecurityPolicy(policy(fields)),
        _ => panic!("what is {noun}?"),
    };
    (labels.collect(), spec)
}

fn term(words: &[&str]) -> Option<GroupTerm> {
    let [what, operand, rest @ ..] = words else { return None };
    let groups = || -> Vec<ObjectRef> { operand.split(',').map(reference).collect() };
    Some(match *what {
        "select" => GroupTerm::Selector {
            selector: if *operand == "*" { Selector::default() } else { operand.parse().unwrap() },
            projects: match rest {
                [] => ProjectScope::Own,
                ["all"] => ProjectScope::All,
                [listed] => ProjectScope::Listed(listed.split(',').map(Text::from).collect()),
                _ => panic!("what is {rest:?}?"),
            },
        },
        "switch" => GroupTerm::Switch(reference(operand)),
        "router" => GroupTerm::Router(reference(operand)),
        "port" => GroupTerm::Port(reference(operand)),
        "group" => GroupTerm::Group(reference(operand)),
        "and" => GroupTerm::Intersection(groups()),
        "less" => {
            let mut groups = groups();
            GroupTerm::Difference { of: groups.remove(0), minus: groups }
        }
        _ => panic!("what is {what}?"),
    })
}

fn block(words: &[&str]) -> CidrBlock {
    let fields = Fields(words);
    let except = fields.list("except");
    CidrBlock::new(
        words[0].parse().unwrap(),
        except.into_iter().map(|net| net.parse().unwrap()).collect(),
    )
    .unwrap()
}

fn policy(fields: &Fields<'_>) -> SecurityPolicySpec {
    let mut defaults = DefaultActions::default();
    for default in fields.list("default") {
        match default.split_once('=').unwrap() {
            ("in", name) => defaults.inbound = Some(action(name)),
            ("out", name) => defaults.outbound = Some(action(name)),
            other => panic!("what is {other:?}?"),
        }
    }
    SecurityPolicySpec {
        applied_to: fields.references("to"),
        tier: fields.get("tier").map_or(SecurityPolicySpec::TIER_DEFAULT, |t| t.parse().unwrap()),
        priority: fields
            .get("prio")
            .map_or(SecurityPolicySpec::PRIORITY_DEFAULT, |p| p.parse().unwrap()),
        defaults,
        rules: Vec::new(),
    }
}

fn rule(words: &[&str]) -> Rule {
    let fields = Fields(words);
    let peers = fields.list("from").into_iter().map(|peer| {
        let name = peer.strip_prefix('!');
        Peer { group: reference(name.unwrap_or(peer)), negate: name.is_some() }
    });
    let services = fields.list("svc").into_iter().map(|service| {
        if ["tcp", "udp", "sctp", "icmp", "icmpv6", "any"]
            .contains(&service.split(':').next().unwrap())
        {
            ServiceMatch::Entry(entry(service))
        } else {
            ServiceMatch::Service(reference(service))
        }
    });
    Rule {
        name: None,
        direction: match words[0] {
            "in" => Direction::In,
            "out" => Direction::Out,
            "both" => Direction::Both,
            other => panic!("what is {other}?"),
        },
        peers: peers.collect(),
        services: services.collect(),
        action: action(words[1]),
        log: false,
    }
}

fn action(name: &str) -> Action {
    [Action::Allow, Action::Drop, Action::Reject, Action::Pass]
        .into_iter()
        .find(|action| action.as_str() == name)
        .unwrap()
}

fn entry(text: &str) -> ServiceEntry {
    let (protocol, number) = text.split_once(':').map_or((text, None), |(p, n)| (p, Some(n)));
    let transport = |protocol| ServiceEntry::Transport {
        protocol,
        ports: number
            .map(|port| {
                let (first, last) = port.split_once('-').unwrap_or((port, port));
                PortRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
            })
            .into_iter()
            .collect(),
        source_ports: Vec::new(),
    };
    let icmp = |version| ServiceEntry::Icmp {
        version,
        icmp_type: number.map(|number| number.parse().unwrap()),
        code: None,
    };
    match protocol {
        "any" => ServiceEntry::Any,
        "tcp" => transport(TransportProtocol::Tcp),
        "udp" => transport(TransportProtocol::Udp),
        "sctp" => transport(TransportProtocol::Sctp),
        "icmp" => icmp(IcmpVersion::V4),
        "icmpv6" => icmp(IcmpVersion::V6),
        _ => panic!("what is {text}?"),
    }
}

fn joined<T: ToString>(list: impl IntoIterator<Item = T>) -> String {
    list.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

fn short(key: &ObjectKey) -> String {
    if *key.project == *"p" {
        key.name.to_string()
    } else {
        format!("{}/{}", key.project, key.name)
    }
}

/// A domain: its switches.
pub(crate) fn short_domain(domain: &DomainName) -> String {
    domain.switches().iter().map(short).collect::<Vec<_>>().join("+")
}

fn written_key(key: &CanonicalKey) -> String {
    match key {
        CanonicalKey::Domain(domain) => format!("domain {}", short_domain(domain)),
        CanonicalKey::Port(port) => format!("port {}", short(port)),
        CanonicalKey::Policy(policy) => format!("policy {}", short(policy)),
        CanonicalKey::Blocks(group) => format!("blocks {}", short(group)),
        CanonicalKey::Shard { group, domain } => {
            format!("shard {} in {}", short(group), short_domain(domain))
        }
        CanonicalKey::Locators(domain) => format!("locators {}", short_domain(domain)),
    }
}

fn written_item(item: &CanonicalItem) -> String {
    match item {
        CanonicalItem::Domain { sees, reaches, spoofable } => format!(
            "sees {}, reaches {}{}",
            joined(sees.iter().map(short_domain)),
            joined(reaches.iter().map(short_domain)),
            if *spoofable { ", spoofable" } else { "" }
        ),
        CanonicalItem::Port { domain, addresses, groups, .. } => format!(
            "in {}, {}, groups {}",
            short_domain(domain),
            joined(addresses),
            joined(groups.iter().map(short))
        ),
        CanonicalItem::Policy { applied_to, rules, .. } => {
            format!("{} rules for {}", rules.len(), joined(applied_to.iter().map(short)))
        }
        CanonicalItem::Blocks(blocks) => joined(blocks),
        CanonicalItem::Shard(members) => joined(members),
        CanonicalItem::Locators(locators) => {
            joined(locators.iter().map(|locator| format!("{}@{}", locator.address, locator.vtep)))
        }
    }
}
