//! Network policies to security policies.

use super::groups::{Groups, Pods};
use super::objects::{Cluster, NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule};
use super::translate::{Port, port_label};
use crate::output::Output;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, Kind, Labels, ObjectRef, Peer, PortRange, Requirement, Rule,
    SecurityPolicySpec, ServiceEntry, ServiceMatch, Spec, Text, TransportProtocol,
};
use std::collections::{BTreeMap, BTreeSet};

const KIND: &str = "NetworkPolicy";

/// A port by name in one rule.
type NamedPort = (TransportProtocol, String);

struct Translator<'a> {
    out: &'a mut Output,
    groups: &'a mut Groups,
    ports: &'a [Port],
    namespace: Text,
    /// Namespace and name, for messages.
    row: String,
    /// Rules for the pods in which a named port has a number: those of its own policy.
    by_number: BTreeMap<(NamedPort, u16), Vec<Rule>>,
}

/// Makes security policies of all network policies.
pub(super) fn translate(out: &mut Output, cluster: &Cluster, ports: &[Port], groups: &mut Groups) {
    note_namespaces(out, cluster, ports);
    for ((namespace, name), policy) in &cluster.policies {
        let mut translator = Translator {
            out,
            groups,
            ports,
            namespace: namespace.as_str().into(),
            row: format!("{namespace}/{name}"),
            by_number: BTreeMap::new(),
        };
        translator.policy(name, policy);
    }
}

/// Selectors on namespaces that nothing is known of see their name alone.
fn note_namespaces(out: &mut Output, cluster: &Cluster, ports: &[Port]) {
    let used: BTreeSet<&str> = ports.iter().map(|port| &*port.namespace).collect();
    for namespace in used.into_iter().filter(|used| !cluster.namespaces.contains_key(*used)) {
        let text = "is not among the objects: only its name is known, not its labels";
        out.note("Namespace", namespace, text);
    }
}

fn rule(direction: Direction, peers: Vec<Peer>, services: Vec<ServiceEntry>) -> Rule {
    Rule {
        name: None,
        direction,
        peers,
        services: services.into_iter().map(ServiceMatch::Entry).collect(),
        action: Action::Allow,
        log: false,
    }
}

fn entry(protocol: TransportProtocol, ports: Option<(u16, u16)>) -> ServiceEntry {
    let ports = ports.and_then(|(first, last)| PortRange::new(first, last));
    ServiceEntry::Transport {
        protocol,
        ports: ports.into_iter().collect(),
        source_ports: Vec::new(),
    }
}

impl Translator<'_> {
    fn policy(&mut self, name: &str, policy: &NetworkPolicy) {
        let selected =
            Pods { namespace: Some(self.namespace.clone()), selector: policy.pods.clone() };
        let mut rules = Vec::new();
        for found in policy.ingress.iter().flatten() {
            self.ingress(found, &selected, &mut rules);
        }
        for (n, found) in policy.egress.iter().flatten().enumerate() {
            self.egress(n, found, &mut rules);
        }
        let drop = |rules: &Option<_>| rules.is_some().then_some(Action::Drop);
        let defaults =
            DefaultActions { inbound: drop(&policy.ingress), outbound: drop(&policy.egress) };
        self.write(name, &selected, defaults, rules);
        for (((protocol, port), number), rules) in std::mem::take(&mut self.by_number) {
            let name = format!("{name}.{}-{port}-{number}", protocol.as_str());
            let pods = selected.and(has_number(protocol, &port, number));
            self.write(&name, &pods, DefaultActions::default(), rules);
        }
    }

    fn write(&mut self, name: &str, applied: &Pods, defaults: DefaultActions, rules: Vec<Rule>) {
        let applied = self.groups.pods(self.out, applied);
        let name = self.out.take_name(Kind::SecurityPolicy, &self.namespace, name, KIND);
        let spec = Spec::SecurityPolicy(SecurityPolicySpec {
            applied_to: vec![applied],
            tier: SecurityPolicySpec::TIER_DEFAULT,
            priority: SecurityPolicySpec::PRIORITY_DEFAULT,
            defaults,
            rules,
        });
        self.out.resource(&self.namespace, &name, Labels::new(), spec);
    }

    /// The peers of a rule; empty means everyone, as in the rule.
    fn peers(&mut self, rule: &PolicyRule) -> Vec<Peer> {
        let mut groups: BTreeSet<ObjectRef> = BTreeSet::new();
        for peer in &rule.peers {
            groups.insert(match (peer, Pods::of_peer(peer, &self.namespace)) {
                (_, Some(pods)) => self.groups.pods(self.out, &pods),
                (PolicyPeer::Block(block), None) => self.groups.block(self.out, block),
                (PolicyPeer::Pods { .. }, None) => continue,
            });
        }
        groups.into_iter().map(|group| Peer { group, negate: false }).collect()
    }

    /// The ports of a rule by number. `None` if it has only named ones, and so no rule of its own.
    fn numbered(&self, rule: &PolicyRule) -> Option<Vec<ServiceEntry>> {
        let entries: BTreeSet<ServiceEntry> = rule
            .ports
            .iter()
            .filter_map(|port| match port {
                PolicyPort::Numbers(protocol, ports) => Some(entry(*protocol, *ports)),
                PolicyPort::Named(..) => None,
            })
            .collect();
        let is_own = rule.ports.is_empty() || !entries.is_empty();
        is_own.then(|| entries.into_iter().collect())
    }

    fn named(rule: &PolicyRule) -> BTreeSet<NamedPort> {
        let named = rule.ports.iter().filter_map(|port| match port {
            PolicyPort::Named(protocol, name) => Some((*protocol, name.clone())),
            PolicyPort::Numbers(..) => None,
        });
        named.collect()
    }

    /// The numbers that a named port has among some pods, sorted.
    fn numbers(&self, pods: &Pods, port: &NamedPort) -> BTreeSet<u16> {
        let among = self.ports.iter().filter(|p| pods.contains(&p.namespace, &p.labels));
        among.filter_map(|found| found.named_ports.get(port).copied()).collect()
    }

    fn ingress(&mut self, found: &PolicyRule, selected: &Pods, rules: &mut Vec<Rule>) {
        let peers = self.peers(found);
        if let Some(entries) = self.numbered(found) {
            rules.push(rule(Direction::In, peers.clone(), entries));
        }
        for port in Self::named(found) {
            for number in self.numbers(selected, &port) {
                let entry = entry(port.0, Some((number, number)));
                let rule = rule(Direction::In, peers.clone(), vec![entry]);
                self.by_number.entry((port.clone(), number)).or_default().push(rule);
            }
        }
    }

    fn egress(&mut self, n: usize, found: &PolicyRule, rules: &mut Vec<Rule>) {
        if let Some(entries) = self.numbered(found) {
            let peers = self.peers(found);
            rules.push(rule(Direction::Out, peers, entries));
        }
        for port in Self::named(found) {
            let mut peers: Vec<Pods> = Vec::new();
            for peer in &found.peers {
                match Pods::of_peer(peer, &self.namespace) {
                    Some(pods) => peers.push(pods),
                    None => {
                        let what = format!("spec.egress[{n}]: port {:?} in an ipBlock", port.1);
                        let why = "what is outside of the cluster has no port names: the block is \
                                   left out for this port";
                        self.out.unsupported(KIND, &self.row, what, why);
                    }
                }
            }
            if found.peers.is_empty() {
                peers.push(Pods::everywhere([]));
            }
            let mut by_number: BTreeMap<u16, BTreeSet<ObjectRef>> = BTreeMap::new();
            for pods in &peers {
                for number in self.numbers(pods, &port) {
                    let pods = pods.and(has_number(port.0, &port.1, number));
                    let group = self.groups.pods(self.out, &pods);
                    by_number.entry(number).or_default().insert(group);
                }
            }
            for (number, groups) in by_number {
                let peers = groups.into_iter().map(|group| Peer { group, negate: false });
                let entry = entry(port.0, Some((number, number)));
                rules.push(rule(Direction::Out, peers.collect(), vec![entry]));
            }
        }
    }
}

fn has_number(protocol: TransportProtocol, port: &str, number: u16) -> Requirement {
    let key: Text = port_label(protocol, port).into();
    Requirement::In(key, vec![number.to_string().into()])
}
