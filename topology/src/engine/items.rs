//! What each item says, and who has it, as the state stands.

use super::api::HostId;
use super::ids::{DomainId, GroupId, IdSet, PlacementId, PolicyId, PortId, ShardId};
use super::journal::PortMakings;
use super::state::{Engine, Interest, Watched};
use crate::model::{Kind, LogicalPortSpec, Revision, ServiceMatch, Spec, Uid};
use crate::planted::{self, Bug};
use crate::view::{
    HostView, Item, ItemKey, Locator, Locators, PeerItem, PolicyItem, PortItem, RuleItem,
    VersionedItem,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// What an item key leads to.
enum Found {
    Domain(DomainId),
    Port(PortId),
    Policy(PolicyId),
    Blocks(GroupId),
    Shard(ShardId),
    Locators(DomainId),
}

impl Engine {
    // ---- contents ----

    pub(super) fn port_item(&self, id: PortId) -> PortItem {
        let port = &self.ports[id];
        let spec = port.spec();
        let metadata = &port.object.resource.metadata;
        let mut addresses: Vec<IpAddr> = spec.addresses.to_vec();
        addresses.sort_unstable();
        PortItem {
            project: metadata.project.clone(),
            name: metadata.name.clone(),
            domain: self.domains[self.domain_of(id)].vni,
            mac: spec.mac,
            addresses,
            attachment: spec.attachment.clone(),
            port_security: spec.port_security,
            groups: self.applied_groups(id),
        }
    }

    /// The groups that a port is in and that a policy is applied to, sorted.
    fn applied_groups(&self, id: PortId) -> Vec<Uid> {
        let groups = self.ports[id].groups.iter();
        self.uids_of(groups.filter(|&&group| !self.groups[group].applied_by.is_empty()))
    }

    /// What the item of a port is made of, as it is now.
    pub(super) fn port_makings(&self, id: PortId) -> PortMakings {
        let port = &self.ports[id];
        PortMakings {
            spec: port.object.resource.spec.clone(),
            domain: self.domains[self.domain_of(id)].vni,
            groups: self.applied_groups(id),
            host: port.host,
        }
    }

    /// True if the item of a port is what it was when it was made of this. Names do not change.
    pub(super) fn is_made_of(&self, id: PortId, old: &PortMakings) -> bool {
        let same_spec = || match (&*old.spec, self.ports[id].spec()) {
            (Spec::LogicalPort(old), new) => {
                let sorted = |spec: &LogicalPortSpec| {
                    let mut addresses = spec.addresses.clone();
                    addresses.sort_unstable();
                    addresses
                };
                (old.mac, &old.attachment, old.port_security, sorted(old))
                    == (new.mac, &new.attachment, new.port_security, sorted(new))
            }
            _ => false,
        };
        old.domain == self.domains[self.domain_of(id)].vni
            && old.groups == self.applied_groups(id)
            && (Arc::ptr_eq(&old.spec, &self.ports[id].object.resource.spec) || same_spec())
    }

    /// The uids of groups, sorted.
    fn uids_of<'a>(&self, groups: impl Iterator<Item = &'a GroupId>) -> Vec<Uid> {
        let mut uids: Vec<Uid> = groups.map(|&group| self.groups[group].object.uid).collect();
        uids.sort_unstable();
        uids
    }

    /// The policies applied to a port.
    pub(super) fn policies_of(&self, id: PortId) -> BTreeSet<PolicyId> {
        self.ports[id]
            .groups
            .iter()
            .flat_map(|&group| self.groups[group].applied_by.iter().copied())
            .collect()
    }

    pub(super) fn policy_item(&self, id: PolicyId) -> PolicyItem {
        let policy = &self.policies[id];
        let spec = policy.spec();
        let metadata = &policy.object.resource.metadata;
        let uid_of = |kind, reference: &crate::model::ObjectRef| {
            self.slot(kind, &reference.project, &reference.name)
                .map(|slot| self.object(kind, slot).uid)
        };
        let rules = spec
            .rules
            .iter()
            .map(|rule| RuleItem {
                name: rule.name.clone(),
                direction: rule.direction,
                peers: (!rule.peers.is_empty()).then(|| {
                    rule.peers
                        .iter()
                        .filter_map(|peer| {
                            let group = uid_of(Kind::Group, &peer.group)?;
                            Some(PeerItem { group, negate: peer.negate })
                        })
                        .collect()
                }),
                services: (!rule.services.is_empty())
                    .then(|| rule.services.iter().flat_map(|s| self.entries(s)).collect()),
                action: rule.action,
                log: rule.log,
            })
            .collect();
        PolicyItem {
            project: metadata.project.clone(),
            name: metadata.name.clone(),
            applied_to: self.uids_of(policy.applied_to.iter()),
            tier: spec.tier,
            priority: spec.priority,
            defaults: spec.defaults,
            rules,
        }
    }

    fn entries(&self, service: &ServiceMatch) -> Vec<crate::model::ServiceEntry> {
        match service {
            ServiceMatch::Entry(entry) => vec![entry.clone()],
            ServiceMatch::Service(reference) => {
                match self.slot(Kind::Service, &reference.project, &reference.name) {
                    Some(slot) => match &*self.object(Kind::Service, slot).resource.spec {
                        Spec::Service(service) => service.entries.clone(),
                        _ => Vec::new(),
                    },
                    None => Vec::new(),
                }
            }
        }
    }

    pub(super) fn shard_addresses(&self, id: ShardId) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.shards[id]
            .members
            .iter()
            .flat_map(|port| self.ports[port].spec().addresses.iter().copied())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    fn locator_list(&self, id: DomainId) -> Locators {
        let mut list: Vec<Locator> =
            self.ports_of(id).iter().flat_map(|port| self.locators_of(port)).collect();
        list.sort_unstable();
        let count = list.len();
        let locators: Locators = list.into_iter().collect();
        debug_assert_eq!(locators.len(), count, "an address is there twice in a domain");
        locators
    }

    fn find(&self, key: ItemKey) -> Option<Found> {
        let object = |uid: Uid, kind: Kind| match self.uids.get(uid) {
            Some((found, slot)) if found == kind => Some(slot),
            _ => None,
        };
        Some(match key {
            ItemKey::Domain(vni) => Found::Domain(self.live_domain(vni)?),
            ItemKey::Locators(vni) => Found::Locators(self.live_domain(vni)?),
            ItemKey::Port(uid) => Found::Port(PortId(object(uid, Kind::LogicalPort)?)),
            ItemKey::Policy(uid) => Found::Policy(PolicyId(object(uid, Kind::SecurityPolicy)?)),
            ItemKey::Blocks(uid) => {
                let group = GroupId(object(uid, Kind::Group)?);
                if self.groups[group].blocks.is_empty() {
                    return None;
                }
                Found::Blocks(group)
            }
            ItemKey::Shard { group, domain } => {
                let group = GroupId(object(group, Kind::Group)?);
                Found::Shard(self.shard_of(group, *self.vnis.get(&domain)?)?)
            }
        })
    }

    /// A domain in the sense of the model: a component with a switch.
    fn live_domain(&self, vni: crate::model::Vni) -> Option<DomainId> {
        let id = *self.vnis.get(&vni)?;
        (!self.domains[id].switches.is_empty()).then_some(id)
    }

    pub(super) fn find_item(&self, key: ItemKey) -> Option<VersionedItem> {
        let (version, item) = match self.find(key)? {
            Found::Domain(id) => (self.domains[id].version, Item::Domain(self.domain_item(id))),
            Found::Port(id) => (self.ports[id].version, Item::Port(self.port_item(id))),
            Found::Policy(id) => (self.policies[id].version, Item::Policy(self.policy_item(id))),
            Found::Blocks(id) => {
                let group = &self.groups[id];
                (group.blocks_version, Item::Blocks(group.blocks.to_nets()))
            }
            Found::Shard(id) => (self.shards[id].version, Item::Shard(self.shard_addresses(id))),
            Found::Locators(id) => {
                (self.domains[id].locators_version, Item::Locators(self.locator_list(id)))
            }
        };
        Some(VersionedItem { version, item: Arc::new(item) })
    }

    // ---- who has them ----

    /// The placements in a domain, each with the applied groups that its ports are in, sorted. Costs
    /// what the ports of the domain do, however many others their hosts have.
    pub(super) fn applied_in(&self, domain: DomainId) -> Vec<(PlacementId, Vec<GroupId>)> {
        let mut pairs: Vec<(HostId, GroupId)> = Vec::new();
        for switch in self.domains[domain].switches.iter() {
            for port in self.switches[switch].ports.iter() {
                let port = &self.ports[port];
                let Some(host) = port.host else { continue };
                let applied = port.groups.iter().filter(|&&g| self.groups[g].applied.is_some());
                pairs.extend(applied.map(|&group| (host, group)));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        pairs
            .chunk_by(|a, b| a.0 == b.0)
            .filter_map(|pairs| {
                let placement = self.placement_of(pairs[0].0, domain)?;
                Some((placement, pairs.iter().map(|&(_, group)| group).collect()))
            })
            .collect()
    }

    /// True if a placement with this interest in a group needs its shard in a domain.
    pub(super) fn covers(
        &self,
        placement: PlacementId,
        interest: Interest,
        domain: DomainId,
    ) -> bool {
        let here = &self.domains[self.placements[placement].domain];
        interest.any > 0
            && (here.sees.binary_search(&domain).is_ok()
                || (interest.protected > 0 && here.spoofable && !planted::is(Bug::DenialPruned)))
    }

    /// True if a host needs a shard.
    pub(super) fn wants_shard(&self, host: HostId, shard: ShardId) -> bool {
        let shard = &self.shards[shard];
        let interest = &self.groups[shard.group].interest;
        self.hosts[host].placements.iter().any(|&(_, placement)| {
            interest
                .get(placement)
                .is_some_and(|&interest| self.covers(placement, interest, shard.domain))
        })
    }

    /// True if a host needs the blocks of a group, as long as there are any.
    pub(super) fn wants_blocks(&self, host: HostId, group: GroupId) -> bool {
        let group = &self.groups[group];
        !group.blocks.is_empty()
            && self.hosts[host]
                .placements
                .iter()
                .any(|&(_, placement)| group.interest.get(placement).is_some_and(|i| i.any > 0))
    }

    /// True if a policy is applied to a port of a host.
    pub(super) fn wants_policy(&self, host: HostId, policy: PolicyId) -> bool {
        self.policies[policy].applied_to.iter().any(|&group| {
            self.groups[group].applied.as_ref().is_some_and(|applied| {
                self.hosts[host]
                    .placements
                    .iter()
                    .any(|&(_, placement)| applied.ports_at.contains_key(placement))
            })
        })
    }

    /// The domains that a host's domains see.
    pub(super) fn seen_by(&self, host: HostId) -> IdSet<DomainId> {
        let mut seen = IdSet::default();
        for &(domain, _) in &self.hosts[host].placements {
            for &other in &self.domains[domain].sees {
                seen.insert(other);
            }
        }
        seen
    }

    /// The applied groups on a host, sorted.
    fn applied_on(&self, host: HostId) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = self.hosts[host]
            .ports
            .iter()
            .flat_map(|port| self.ports[port].groups.iter().copied())
            .filter(|&group| self.groups[group].applied.is_some())
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The policies applied to any of some groups, sorted.
    fn policies_for(&self, groups: &[GroupId]) -> Vec<PolicyId> {
        let mut policies = Vec::new();
        for &group in groups {
            policies.extend_from_slice(&self.groups[group].applied_by);
        }
        sort_lists(&mut policies, groups.len());
        policies
    }

    /// The peers of the policies applied to any of some groups, sorted.
    pub(super) fn peers_of(&self, groups: &[GroupId]) -> Vec<GroupId> {
        let mut peers = Vec::new();
        for applied in groups.iter().filter_map(|&group| self.groups[group].applied.as_ref()) {
            peers.extend(applied.peers.keys());
        }
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// What a host has of what is kept for watched hosts only.
    pub(super) fn fill_watched(&self, host: HostId, watched: &mut Watched) {
        let applied = self.applied_on(host);
        watched.locators = self.seen_by(host);
        watched.policies = self.policies_for(&applied).into_iter().collect();
        watched.blocks = self.peers_with_blocks(&applied).collect();
    }

    fn peers_with_blocks(&self, applied: &[GroupId]) -> impl Iterator<Item = GroupId> {
        self.peers_of(applied).into_iter().filter(|&peer| !self.groups[peer].blocks.is_empty())
    }

    /// Keys and versions, sorted. They are collected in the order of the keys' types, and within
    /// a type mostly in that of the uids, so that the sort at the end has little to do.
    pub(super) fn items_of(&self, host: HostId) -> Vec<(ItemKey, Revision)> {
        let mut items = Vec::new();
        let Some(state) = self.hosts.get(host) else { return items };
        let applied = self.applied_on(host);
        let policies = self.policies_for(&applied);
        items.reserve(state.ports.len() as usize + policies.len());
        for &(domain, _) in &state.placements {
            let domain = &self.domains[domain];
            items.push((ItemKey::Domain(domain.vni), domain.version));
        }
        for port in state.ports.iter() {
            let port = &self.ports[port];
            items.push((ItemKey::Port(port.object.uid), port.version));
        }
        for policy in policies {
            let policy = &self.policies[policy];
            items.push((ItemKey::Policy(policy.object.uid), policy.version));
        }
        for group in self.peers_with_blocks(&applied) {
            let group = &self.groups[group];
            items.push((ItemKey::Blocks(group.object.uid), group.blocks_version));
        }
        let seen = self.seen_by(host);
        for shard in self.shards_of(host, &applied, &seen) {
            items.push((self.shard_key(shard), self.shards[shard].version));
        }
        for domain in seen.iter() {
            let domain = &self.domains[domain];
            items.push((ItemKey::Locators(domain.vni), domain.locators_version));
        }
        items.sort_unstable();
        items
    }

    /// The shards a host subscribes to, by its applied groups and the domains it sees; sorted by
    /// group and without duplicates.
    fn shards_of(&self, host: HostId, applied: &[GroupId], seen: &IdSet<DomainId>) -> Vec<ShardId> {
        let mut found = Vec::new();
        for peer in self.peers_of(applied) {
            let shards = &self.groups[peer].shards;
            let protected = self.hosts[host].placements.iter().any(|&(domain, placement)| {
                self.domains[domain].spoofable
                    && self.groups[peer].interest.get(placement).is_some_and(|i| i.protected > 0)
            });
            let has = |shard: &ShardId| self.shards[*shard].subscribers.contains(host);
            if protected || (shards.len() as u64) < seen.len() {
                found.extend(shards.iter().map(|&(_, shard)| shard).filter(has));
            } else {
                found.extend(
                    seen.iter().filter_map(|domain| self.shard_of(peer, domain)).filter(has),
                );
            }
        }
        found
    }

    pub(super) fn view_of(&self, host: HostId) -> HostView {
        let items = self
            .items_of(host)
            .into_iter()
            .filter_map(|(key, _)| Some((key, self.find_item(key)?)))
            .collect();
        HostView { revision: self.revision, items }
    }

    pub(super) fn host_has(&self, host: HostId, key: ItemKey) -> bool {
        if self.hosts.get(host).is_none() {
            return false;
        }
        match self.find(key) {
            None => false,
            Some(Found::Domain(id)) => self.placement_of(host, id).is_some(),
            Some(Found::Port(id)) => self.ports[id].host == Some(host),
            Some(Found::Policy(id)) => self.wants_policy(host, id),
            Some(Found::Blocks(id)) => self.wants_blocks(host, id),
            Some(Found::Shard(id)) => self.shards[id].subscribers.contains(host),
            Some(Found::Locators(id)) => self.seen_by(host).contains(id),
        }
    }

    pub(super) fn subscribers_of(&self, key: ItemKey) -> IdSet<HostId> {
        let mut hosts = IdSet::default();
        let mut add = |placements: &mut dyn Iterator<Item = PlacementId>| {
            for placement in placements {
                hosts.insert(self.placements[placement].host);
            }
        };
        match self.find(key) {
            None => {}
            Some(Found::Domain(id)) => add(&mut self.domains[id].placements.iter()),
            Some(Found::Port(id)) => {
                if let Some(host) = self.ports[id].host {
                    hosts.insert(host);
                }
            }
            Some(Found::Policy(id)) => {
                for &group in &self.policies[id].applied_to {
                    if let Some(applied) = &self.groups[group].applied {
                        add(&mut applied.ports_at.keys());
                    }
                }
            }
            Some(Found::Blocks(id)) => {
                let interest = &self.groups[id].interest;
                add(&mut interest.iter().filter(|(_, i)| i.any > 0).map(|(p, _)| p));
            }
            Some(Found::Shard(id)) => hosts = self.shards[id].subscribers.clone(),
            Some(Found::Locators(id)) => {
                for &domain in &self.domains[id].sees {
                    add(&mut self.domains[domain].placements.iter());
                }
            }
        }
        hosts
    }
}

/// Sorts what was put together from some sorted lists, and drops duplicates.
fn sort_lists<T: Ord>(list: &mut Vec<T>, lists: usize) {
    if lists > 1 {
        list.sort_unstable();
        list.dedup();
    }
}
