//! What a host must have.

use crate::Resources;
use crate::canonical::{CanonicalItem, CanonicalKey, CanonicalRule, CanonicalView, DomainName};
use crate::domains::{Component, Domains};
use crate::groups::{self, Content};
use spanwire_topology::model::{
    LogicalPortSpec, Rule, SYSTEM_PROJECT, SecurityPolicySpec, ServiceEntry, ServiceMatch,
};
use spanwire_topology::view::Locator;
use spanwire_topology::{Kind, ObjectKey, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A network, with the answers to the questions that every view asks again: which domains there
/// are, what is in a group, which policies a port has.
pub struct Network<'a> {
    pub(crate) resources: &'a Resources,
    pub(crate) domains: Domains,
    groups: BTreeMap<ObjectKey, Content>,
    policies_of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// The groups that some policy is applied to.
    applied_to: BTreeSet<ObjectKey>,
    /// Domains in which some port has port security off.
    insecure: BTreeSet<Component>,
    /// The addresses of each group's ports, by domain.
    shards: BTreeMap<ObjectKey, BTreeMap<Component, BTreeSet<IpAddr>>>,
    locators: BTreeMap<Component, BTreeMap<IpAddr, Locator>>,
}

impl<'a> Network<'a> {
    /// Works everything out. The resources must be such that [`problems`](crate::problems) finds
    /// none; of others this makes what it can, without failing.
    pub fn new(resources: &'a Resources) -> Network<'a> {
        let domains = Domains::new(resources);
        let groups = groups::contents(resources);
        let mut policies_of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>> = BTreeMap::new();
        let mut applied_to = BTreeSet::new();
        for (key, resource) in resources {
            let Spec::SecurityPolicy(policy) = &*resource.spec else { continue };
            for group in &policy.applied_to {
                applied_to.insert(group.to_key(Kind::Group));
                let Some(content) = groups.get(&group.to_key(Kind::Group)) else { continue };
                for port in &content.ports {
                    policies_of.entry(port.clone()).or_default().insert(key.clone());
                }
            }
        }
        let mut network = Network {
            resources,
            domains,
            groups,
            policies_of,
            applied_to,
            insecure: BTreeSet::new(),
            shards: BTreeMap::new(),
            locators: BTreeMap::new(),
        };
        network.insecure = groups::ports(resources)
            .filter(|(_, _, port)| !port.port_security)
            .filter_map(|(_, _, port)| network.domain_of(port))
            .collect();
        network.shards =
            network.groups.iter().map(|(key, group)| (key.clone(), network.split(group))).collect();
        network.locators = network.locate();
        network
    }

    /// The domains, sorted by name, each with the number of its ports.
    pub fn domain_sizes(&self) -> BTreeMap<DomainName, u64> {
        let size = |domain| {
            let ports = groups::ports(self.resources);
            ports.filter(|(_, _, port)| self.domain_of(port) == Some(domain)).count() as u64
        };
        self.domains.all().map(|d| (self.domains.name(d).clone(), size(d))).collect()
    }

    /// The ports of a group; `None` if there is no such group.
    pub fn group_ports(&self, group: &ObjectKey) -> Option<&BTreeSet<ObjectKey>> {
        self.groups.get(group).map(|content| &content.ports)
    }

    /// The policies applied to a port.
    pub fn policies_of(&self, port: &ObjectKey) -> BTreeSet<ObjectKey> {
        self.policies_of.get(port).cloned().unwrap_or_default()
    }

    /// The groups that a port is in and that a policy is applied to.
    fn applied_groups_of(&self, port: &ObjectKey) -> BTreeSet<ObjectKey> {
        let has_port = |group: &&ObjectKey| {
            self.groups.get(*group).is_some_and(|content| content.ports.contains(port))
        };
        self.applied_to.iter().filter(has_port).cloned().collect()
    }

    /// Everything that a host must have, and nothing else; empty for a host that has no ports.
    pub fn host_view(&self, host: &str) -> CanonicalView {
        let mut view = CanonicalView::new();
        for (key, _, port) in groups::ports(self.resources) {
            if port.host.as_deref() != Some(host) {
                continue;
            }
            let Some(domain) = self.domain_of(port) else { continue };
            self.add_domain(domain, &mut view);
            self.add_port(key, port, domain, &mut view);
            for policy in self.policies_of(key) {
                self.add_policy(&policy, domain, &mut view);
            }
        }
        view
    }

    /// The domain of a port's switch.
    pub(crate) fn domain_of(&self, port: &LogicalPortSpec) -> Option<Component> {
        self.domains.of_switch(&port.switch.to_key(Kind::LogicalSwitch))
    }

    pub(crate) fn policy(&self, key: &ObjectKey) -> Option<&'a SecurityPolicySpec> {
        match self.resources.get(key).map(|resource| &*resource.spec) {
            Some(Spec::SecurityPolicy(policy)) => Some(policy),
            _ => None,
        }
    }

    /// True if an address in the domains that this one sees may be forged.
    fn spoofable(&self, domain: Component) -> bool {
        self.domains.sees(domain).iter().any(|seen| self.insecure.contains(seen))
    }

    /// The domains whose members of its peer groups a rule matches, for a port in `domain`: those
    /// it sees (G1, G2), or all of them where a forged address could profit from one that is
    /// missing (G3).
    fn matched_domains(&self, rule: &Rule, domain: Component) -> BTreeSet<Component> {
        if rule.needs_protection() && self.spoofable(domain) {
            self.domains.all().collect()
        } else {
            self.domains.sees(domain).clone()
        }
    }

    /// True if a rule of a port in `domain` finds this address in a group.
    pub(crate) fn group_has_address(
        &self,
        group: &ObjectKey,
        rule: &Rule,
        domain: Component,
        address: IpAddr,
    ) -> bool {
        let in_blocks = self.groups.get(group).is_some_and(|g| g.blocks.contains(address));
        let in_domain =
            |d: &Component| self.shard(group, *d).is_some_and(|shard| shard.contains(&address));
        in_blocks || self.matched_domains(rule, domain).iter().any(in_domain)
    }

    /// The entries of a rule's services, in order; `None` if the rule names no service.
    pub(crate) fn services(&self, rule: &Rule) -> Option<Vec<ServiceEntry>> {
        if rule.services.is_empty() {
            return None;
        }
        let mut entries = Vec::new();
        for service in &rule.services {
            match service {
                ServiceMatch::Entry(entry) => entries.push(entry.clone()),
                ServiceMatch::Service(service) => {
                    let service = self.resources.get(&service.to_key(Kind::Service));
                    if let Some(Spec::Service(service)) = service.map(|resource| &*resource.spec) {
                        entries.extend(service.entries.iter().cloned());
                    }
                }
            }
        }
        Some(entries)
    }

    fn names(&self, domains: &BTreeSet<Component>) -> BTreeSet<DomainName> {
        domains.iter().map(|domain| self.domains.name(*domain).clone()).collect()
    }

    fn shard(&self, group: &ObjectKey, domain: Component) -> Option<&BTreeSet<IpAddr>> {
        self.shards.get(group)?.get(&domain)
    }

    /// A group's addresses by domain. A port without an address makes a shard all the same.
    fn split(&self, group: &Content) -> BTreeMap<Component, BTreeSet<IpAddr>> {
        let mut shards: BTreeMap<Component, BTreeSet<IpAddr>> = BTreeMap::new();
        for port in &group.ports {
            let Some(Spec::LogicalPort(port)) = self.resources.get(port).map(|r| &*r.spec) else {
                continue;
            };
            let Some(domain) = self.domain_of(port) else { continue };
            shards.entry(domain).or_default().extend(&port.addresses);
        }
        shards
    }

    /// Where every address of every domain is.
    fn locate(&self) -> BTreeMap<Component, BTreeMap<IpAddr, Locator>> {
        let mut locators: BTreeMap<Component, BTreeMap<IpAddr, Locator>> = BTreeMap::new();
        for (_, _, port) in groups::ports(self.resources) {
            let Some(domain) = self.domain_of(port) else { continue };
            let Some(host) = &port.host else { continue };
            let host = ObjectKey::new(Kind::Host, SYSTEM_PROJECT, host.clone());
            let Some(Spec::Host(host)) = self.resources.get(&host).map(|r| &*r.spec) else {
                continue;
            };
            let Some(vtep) = host.vtep else { continue };
            let of_domain = locators.entry(domain).or_default();
            of_domain.extend(
                port.addresses
                    .iter()
                    .map(|&address| (address, Locator { address, mac: port.mac, vtep })),
            );
        }
        locators
    }

    fn add_domain(&self, domain: Component, view: &mut CanonicalView) {
        let name = self.domains.name(domain).clone();
        let sees = self.domains.sees(domain);
        let item = CanonicalItem::Domain {
            sees: self.names(sees),
            reaches: self.names(self.domains.reaches(domain)),
            spoofable: self.spoofable(domain),
        };
        view.insert(CanonicalKey::Domain(name), item);
        for seen in sees {
            let locators = self.locators.get(seen);
            view.insert(
                CanonicalKey::Locators(self.domains.name(*seen).clone()),
                CanonicalItem::Locators(
                    locators.map(|l| l.values().copied().collect()).unwrap_or_default(),
                ),
            );
        }
    }

    fn add_port(
        &self,
        key: &ObjectKey,
        port: &LogicalPortSpec,
        domain: Component,
        view: &mut CanonicalView,
    ) {
        let item = CanonicalItem::Port {
            domain: self.domains.name(domain).clone(),
            mac: port.mac,
            addresses: port
                .addresses
                .iter()
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            attachment: port.attachment.clone(),
            port_security: port.port_security,
            groups: self.applied_groups_of(key),
        };
        view.insert(CanonicalKey::Port(key.clone()), item);
    }

    fn add_policy(&self, key: &ObjectKey, domain: Component, view: &mut CanonicalView) {
        let Some(policy) = self.policy(key) else { return };
        let item = CanonicalItem::Policy {
            applied_to: policy.applied_to.iter().map(|group| group.to_key(Kind::Group)).collect(),
            tier: policy.tier,
            priority: policy.priority,
            defaults: policy.defaults,
            rules: policy.rules.iter().map(|rule| self.rule(rule)).collect(),
        };
        view.insert(CanonicalKey::Policy(key.clone()), item);
        for rule in &policy.rules {
            for peer in &rule.peers {
                self.add_peer(&peer.group.to_key(Kind::Group), rule, domain, view);
            }
        }
    }

    fn add_peer(
        &self,
        group: &ObjectKey,
        rule: &Rule,
        domain: Component,
        view: &mut CanonicalView,
    ) {
        let Some(content) = self.groups.get(group) else { return };
        if !content.blocks.is_empty() {
            view.insert(
                CanonicalKey::Blocks(group.clone()),
                CanonicalItem::Blocks(content.blocks.to_nets()),
            );
        }
        for matched in self.matched_domains(rule, domain) {
            let Some(addresses) = self.shard(group, matched) else { continue };
            view.insert(
                CanonicalKey::Shard {
                    group: group.clone(),
                    domain: self.domains.name(matched).clone(),
                },
                CanonicalItem::Shard(addresses.iter().copied().collect()),
            );
        }
    }

    fn rule(&self, rule: &Rule) -> CanonicalRule {
        let peers: Vec<(ObjectKey, bool)> =
            rule.peers.iter().map(|peer| (peer.group.to_key(Kind::Group), peer.negate)).collect();
        CanonicalRule {
            name: rule.name.clone(),
            direction: rule.direction,
            peers: (!peers.is_empty()).then_some(peers),
            services: self.services(rule),
            action: rule.action,
            log: rule.log,
        }
    }
}
