//! A network as the engine holds it.

use spanwire_agent::datapath::evaluate;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, IcmpVersion, Labels,
    LogicalPortSpec, LogicalRouterSpec, LogicalSwitchSpec, Mac, ObjectKey, ObjectRef, Operation,
    Peer, PortAttachment, PortRange, ProjectScope, RouterInterface, Rule, SecurityPolicySpec,
    Selector, ServiceEntry, ServiceMatch, Spec, TransportProtocol, derived_device_name,
};
use spanwire_topology::view::{HostView, ItemKey};
use spanwire_topology::{Engine, Kind, Resource, Transaction};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The project of everything here.
pub(crate) const PROJECT: &str = "t";

/// A network, and which items changed for a host since it was last asked.
pub(crate) struct World {
    engine: Engine,
}

fn labels(text: &str) -> Labels {
    text.split_whitespace()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap();
            (key.into(), value.into())
        })
        .collect()
}

fn object(name: &str) -> ObjectRef {
    ObjectRef::new(PROJECT, name)
}

/// A host.
pub(crate) fn host(name: &str, vtep: &str) -> Resource {
    let spec = HostSpec { vtep: Some(vtep.parse().unwrap()) };
    Resource::new("system", name, Labels::default(), Spec::Host(spec))
}

/// A switch.
pub(crate) fn switch(name: &str, subnets: &str) -> Resource {
    let subnets = subnets.split_whitespace().map(|net| net.parse().unwrap()).collect();
    let spec = LogicalSwitchSpec { subnets };
    Resource::new(PROJECT, name, Labels::default(), Spec::LogicalSwitch(spec))
}

/// A router with interfaces on switches.
pub(crate) fn router(name: &str, switches: &str, peerings: &str) -> Resource {
    let interfaces = switches
        .split_whitespace()
        .map(|switch| RouterInterface { switch: object(switch), addresses: Vec::new() })
        .collect();
    let spec = LogicalRouterSpec {
        interfaces,
        peerings: peerings.split_whitespace().map(object).collect(),
        ..LogicalRouterSpec::default()
    };
    Resource::new(PROJECT, name, Labels::default(), Spec::LogicalRouter(spec))
}

/// A port. The MAC address is derived from the first address.
pub(crate) fn port(name: &str, switch: &str, host: &str, addresses: &str, with: &str) -> Resource {
    port_with(name, switch, host, addresses, with, PortAttachment::Derived, true)
}

/// A port with everything that can be said about one.
pub(crate) fn port_with(
    name: &str,
    switch: &str,
    host: &str,
    addresses: &str,
    with: &str,
    attachment: PortAttachment,
    port_security: bool,
) -> Resource {
    let addresses: Vec<IpAddr> =
        addresses.split_whitespace().map(|address| address.parse().unwrap()).collect();
    let spec = LogicalPortSpec {
        switch: object(switch),
        mac: Mac::derived_from(addresses[0]),
        addresses: addresses.into_iter().collect(),
        host: Some(host.into()),
        attachment,
        port_security,
    };
    Resource::new(PROJECT, name, labels(with), Spec::LogicalPort(spec))
}

/// The ports with these labels, of all projects.
pub(crate) fn group(name: &str, with: &str) -> Resource {
    let selector = Selector::from_labels(&labels(with));
    let spec = GroupSpec {
        terms: vec![GroupTerm::Selector { selector, projects: ProjectScope::All }],
        blocks: Vec::new(),
    };
    Resource::new(PROJECT, name, Labels::default(), Spec::Group(spec))
}

/// CIDR blocks.
pub(crate) fn blocks(name: &str, nets: &str) -> Resource {
    let blocks = nets
        .split_whitespace()
        .map(|net| {
            spanwire_topology::model::CidrBlock::new(net.parse().unwrap(), Vec::new()).unwrap()
        })
        .collect();
    let spec = GroupSpec { terms: Vec::new(), blocks };
    Resource::new(PROJECT, name, Labels::default(), Spec::Group(spec))
}

/// A policy in the default tier.
///
/// `rules` is a line each: direction, action, perhaps `log`, then peers and services, each with
/// commas between them. A peer is a group or `!group`, `*` is everyone; a service is `tcp:80+443`,
/// `udp:53-60`, `icmp:8`, `icmp:8/0` or `icmpv6`. So `in allow log webs,!dbs tcp:80,icmp:8`. The
/// line `default in drop` sets a default.
pub(crate) fn policy(name: &str, applied_to: &str, rules: &str) -> Resource {
    policy_in(name, SecurityPolicySpec::TIER_DEFAULT, 1000, applied_to, rules)
}

/// A policy in a tier, with a priority.
pub(crate) fn policy_in(
    name: &str,
    tier: u16,
    priority: u32,
    applied_to: &str,
    rules: &str,
) -> Resource {
    let mut spec = SecurityPolicySpec {
        applied_to: applied_to.split_whitespace().map(object).collect(),
        tier,
        priority,
        defaults: DefaultActions::default(),
        rules: Vec::new(),
    };
    for line in rules.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "default" {
            let action = Some(action(words[2]));
            match words[1] {
                "in" => spec.defaults.inbound = action,
                _ => spec.defaults.outbound = action,
            }
            continue;
        }
        spec.rules.push(rule(&words));
    }
    Resource::new(PROJECT, name, Labels::default(), Spec::SecurityPolicy(spec))
}

fn action(word: &str) -> Action {
    [Action::Allow, Action::Drop, Action::Reject, Action::Pass]
        .into_iter()
        .find(|action| action.as_str() == word)
        .unwrap_or_else(|| panic!("no action {word:?}"))
}

fn rule(words: &[&str]) -> Rule {
    let direction = match words[0] {
        "in" => Direction::In,
        "out" => Direction::Out,
        "both" => Direction::Both,
        other => panic!("no direction {other:?}"),
    };
    let log = words.get(2) == Some(&"log");
    let rest = &words[if log { 3 } else { 2 }..];
    let peers = match rest.first() {
        None | Some(&"*") => Vec::new(),
        Some(peers) => peers
            .split(',')
            .map(|peer| match peer.strip_prefix('!') {
                Some(group) => Peer { group: object(group), negate: true },
                None => Peer { group: object(peer), negate: false },
            })
            .collect(),
    };
    let services = rest
        .get(1)
        .map(|services| services.split(',').map(|s| ServiceMatch::Entry(service(s))).collect());
    Rule {
        name: None,
        direction,
        peers,
        services: services.unwrap_or_default(),
        action: action(words[1]),
        log,
    }
}

fn service(text: &str) -> ServiceEntry {
    let (protocol, rest) = text.split_once(':').map_or((text, None), |(p, r)| (p, Some(r)));
    let icmp = |version| {
        let mut numbers = rest.into_iter().flat_map(|rest| rest.split('/'));
        let mut number = || numbers.next().map(|number| number.parse().unwrap());
        let icmp_type = number();
        ServiceEntry::Icmp { version, icmp_type, code: number() }
    };
    let transport = |protocol| {
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            PortRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
        };
        ServiceEntry::Transport {
            protocol,
            ports: rest.into_iter().flat_map(|rest| rest.split('+')).map(range).collect(),
            source_ports: Vec::new(),
        }
    };
    match protocol {
        "any" => ServiceEntry::Any,
        "tcp" => transport(TransportProtocol::Tcp),
        "udp" => transport(TransportProtocol::Udp),
        "icmp" => icmp(IcmpVersion::V4),
        "icmpv6" => icmp(IcmpVersion::V6),
        other => panic!("no service {other:?}"),
    }
}

impl World {
    /// A network of these resources.
    pub(crate) fn new(resources: impl IntoIterator<Item = Resource>) -> World {
        let mut world = World { engine: Engine::new() };
        world.put(resources);
        world
    }

    /// Puts resources.
    pub(crate) fn put(&mut self, resources: impl IntoIterator<Item = Resource>) {
        self.apply(Transaction::put(resources));
    }

    /// Deletes resources.
    pub(crate) fn delete<'a>(&mut self, resources: impl IntoIterator<Item = &'a Resource>) {
        self.apply(Transaction::delete(resources.into_iter().map(Resource::key), false));
    }

    /// Deletes some resources and puts others, in one transaction.
    pub(crate) fn replace<'a>(
        &mut self,
        old: impl IntoIterator<Item = &'a Resource>,
        new: impl IntoIterator<Item = Resource>,
    ) {
        let mut transaction = Transaction::put(new);
        let kept: BTreeSet<ObjectKey> = transaction
            .operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Put { resource, .. } => Some(resource.key()),
                Operation::Delete { .. } => None,
            })
            .collect();
        let gone = old.into_iter().map(Resource::key).filter(|key| !kept.contains(key));
        transaction.operations.extend(Transaction::delete(gone, false).operations);
        self.apply(transaction);
    }

    fn apply(&mut self, transaction: Transaction) {
        let revision = self.engine.revision() + 1;
        self.engine.apply(&transaction, revision).unwrap();
    }

    /// What a host is told now.
    pub(crate) fn view(&self, host: &str) -> HostView {
        self.engine.host_view(self.engine.host_id(host).unwrap())
    }

    /// A port's resource.
    pub(crate) fn port(&self, name: &str) -> Resource {
        let key = ObjectKey::new(Kind::LogicalPort, PROJECT, name);
        self.engine.get(&key).unwrap().resource.clone()
    }

    /// The uid that a port has in a host's view.
    pub(crate) fn port_uid(view: &HostView, name: &str) -> spanwire_topology::model::Uid {
        evaluate::ports(view).find(|(_, port)| &*port.name == name).unwrap().0
    }
}

/// The items that differ between two views.
pub(crate) fn changed(old: &HostView, new: &HostView) -> BTreeSet<ItemKey> {
    let keys = old.items.keys().chain(new.items.keys());
    keys.filter(|key| old.items.get(key) != new.items.get(key)).copied().collect()
}

/// The device of a port on its host.
pub(crate) fn device(name: &str) -> String {
    derived_device_name(PROJECT, name)
}
