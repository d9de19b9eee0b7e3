//! What groups, policies and routers are made of, resolved from names to identifiers.

use super::ids::{GroupId, IdSet, Map, PolicyId, PortId, RouterId, ServiceId, SwitchId};
use super::journal::Journal;
use super::state::{Applied, Engine, Links, Term, sorted_insert, sorted_remove};
use crate::model::{
    AddressBlocks, GroupSpec, GroupTerm, Kind, LogicalRouterSpec, ObjectRef, SecurityPolicySpec,
    ServiceMatch,
};
use crate::planted::{self, Bug};
use crate::view::ItemKey;
use std::collections::BTreeSet;

/// What a policy refers to.
pub(super) struct PolicyLinks {
    pub(super) applied_to: Vec<GroupId>,
    pub(super) peers: Vec<(GroupId, bool)>,
    pub(super) services: Vec<ServiceId>,
}

impl Engine {
    /// The slot that a checked reference leads to.
    fn resolve(&self, kind: Kind, reference: &ObjectRef) -> u32 {
        match self.slot(kind, &reference.project, &reference.name) {
            Some(slot) => slot,
            // `prepare` refuses transactions with dangling references.
            None => unreachable!("{} {reference} was checked to exist", kind.short()),
        }
    }

    // ---- routers ----

    pub(super) fn resolve_links(&self, spec: &LogicalRouterSpec) -> Links {
        let mut switches: Vec<SwitchId> = spec
            .interfaces
            .iter()
            .map(|interface| SwitchId(self.resolve(Kind::LogicalSwitch, &interface.switch)))
            .collect();
        let routers = |list: &[ObjectRef]| {
            let mut ids: Vec<RouterId> =
                list.iter().map(|r| RouterId(self.resolve(Kind::LogicalRouter, r))).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        switches.sort_unstable();
        let uplinks = routers(&spec.uplinks);
        let (joined, silent) = if spec.advertise || planted::is(Bug::SilentJoins) {
            (uplinks, Vec::new())
        } else {
            (Vec::new(), uplinks)
        };
        Links { switches, joined, silent, peers: routers(&spec.peerings) }
    }

    // ---- groups ----

    fn resolve_terms(&self, spec: &GroupSpec) -> Vec<Term> {
        let groups = |list: &[ObjectRef]| {
            list.iter().map(|group| GroupId(self.resolve(Kind::Group, group))).collect::<Vec<_>>()
        };
        spec.terms
            .iter()
            .map(|term| match term {
                GroupTerm::Selector { .. } => Term::Selector,
                GroupTerm::Switch(r) => {
                    Term::Switch(SwitchId(self.resolve(Kind::LogicalSwitch, r)))
                }
                GroupTerm::Router(r) => {
                    Term::Router(RouterId(self.resolve(Kind::LogicalRouter, r)))
                }
                GroupTerm::Port(r) => Term::Port(PortId(self.resolve(Kind::LogicalPort, r))),
                GroupTerm::Group(r) => Term::Group(GroupId(self.resolve(Kind::Group, r))),
                GroupTerm::Intersection(list) => Term::Intersection(groups(list)),
                GroupTerm::Difference { of, minus } => {
                    Term::Difference(GroupId(self.resolve(Kind::Group, of)), groups(minus))
                }
            })
            .collect()
    }

    /// Takes a group's definition out of the indexes; its spec must still be the old one.
    pub(super) fn retract_group(&mut self, id: GroupId) {
        if self.groups[id].terms.is_empty() {
            return;
        }
        self.unindex_selectors(id);
        for term in std::mem::take(&mut self.groups[id].terms) {
            match term {
                Term::Selector => {}
                Term::Switch(switch) => sorted_remove(&mut self.switches[switch].groups, &id),
                Term::Router(router) => sorted_remove(&mut self.routers[router].groups, &id),
                Term::Port(port) => self.ports[port].named_by.retain(|group| *group != id),
                Term::Group(inner) => sorted_remove(&mut self.groups[inner].parents, &id),
                Term::Intersection(list) => {
                    for inner in list {
                        sorted_remove(&mut self.groups[inner].parents, &id);
                    }
                }
                Term::Difference(of, minus) => {
                    for inner in minus.into_iter().chain([of]) {
                        sorted_remove(&mut self.groups[inner].parents, &id);
                    }
                }
            }
        }
    }

    /// Puts a group's definition into the indexes, from its spec.
    pub(super) fn install_group(&mut self, id: GroupId) {
        let terms = self.resolve_terms(self.groups[id].spec());
        for term in &terms {
            match term {
                Term::Selector => {}
                Term::Switch(switch) => sorted_insert(&mut self.switches[*switch].groups, id),
                Term::Router(router) => sorted_insert(&mut self.routers[*router].groups, id),
                Term::Port(port) => {
                    let named_by = &mut self.ports[*port].named_by;
                    if let Err(at) = named_by.binary_search(&id) {
                        named_by.insert(at, id);
                    }
                }
                Term::Group(inner) => sorted_insert(&mut self.groups[*inner].parents, id),
                Term::Intersection(list) => {
                    for inner in list {
                        sorted_insert(&mut self.groups[*inner].parents, id);
                    }
                }
                Term::Difference(of, minus) => {
                    for inner in minus.iter().chain([of]) {
                        sorted_insert(&mut self.groups[*inner].parents, id);
                    }
                }
            }
        }
        self.groups[id].terms = terms;
        self.index_selectors(id);
    }

    /// Brings the members and blocks of redefined groups, and of the groups above them, up to
    /// date for the ports that are attached. Groups further in come first.
    pub(super) fn reevaluate_groups(&mut self, journal: &mut Journal, redefined: &[GroupId]) {
        let mut queue: BTreeSet<(u32, GroupId)> =
            redefined.iter().map(|&id| (self.groups[id].depth, id)).collect();
        let redefined: BTreeSet<GroupId> = redefined.iter().copied().collect();
        let mut candidates: Map<GroupId, IdSet<PortId>> = Map::default();
        while let Some((_, id)) = queue.pop_first() {
            let old = self.members(id);
            let (gone, come) = if redefined.contains(&id) {
                let new = self.evaluate(journal, id);
                let (mut gone, mut come) = (old.clone(), new.clone());
                gone.subtract(&new);
                come.subtract(&old);
                (gone, come)
            } else {
                let (mut gone, mut come) = (IdSet::default(), IdSet::default());
                for port in candidates.remove(&id).unwrap_or_default().iter() {
                    match (old.contains(port), self.holds_now(id, port)) {
                        (true, false) => gone.insert(port),
                        (false, true) => come.insert(port),
                        _ => false,
                    };
                }
                (gone, come)
            };
            for port in gone.iter() {
                self.leave(journal, id, port);
            }
            for port in come.iter() {
                self.join(journal, id, port);
            }
            let blocks_changed = self.update_blocks(journal, id);
            let mut changed = gone;
            changed.union_with(&come);
            for parent in self.groups[id].parents.clone() {
                if !changed.is_empty() || (blocks_changed && !planted::is(Bug::NestedBlocksStale)) {
                    candidates.entry(parent).or_default().union_with(&changed);
                    queue.insert((self.groups[parent].depth, parent));
                }
            }
        }
    }

    /// Computes a group's blocks from its spec and the groups further in. True if they changed.
    pub(super) fn update_blocks(&mut self, journal: &mut Journal, id: GroupId) -> bool {
        let group = &self.groups[id];
        let mut blocks = AddressBlocks::from_cidr_blocks(&group.spec().blocks);
        if planted::is(Bug::ExceptionsIgnored) {
            blocks = AddressBlocks::from_nets(group.spec().blocks.iter().map(|block| block.cidr()));
        }
        for term in &group.terms {
            let part = match term {
                Term::Selector | Term::Switch(_) | Term::Router(_) | Term::Port(_) => continue,
                Term::Group(inner) => self.groups[*inner].blocks.clone(),
                Term::Intersection(list) => list
                    .iter()
                    .map(|inner| self.groups[*inner].blocks.clone())
                    .reduce(|all, next| all.intersection(&next))
                    .unwrap_or_default(),
                Term::Difference(of, minus) => {
                    minus.iter().fold(self.groups[*of].blocks.clone(), |rest, inner| {
                        rest.difference(&self.groups[*inner].blocks)
                    })
                }
            };
            blocks = blocks.union(&part);
        }
        if blocks == group.blocks {
            return false;
        }
        self.remember_blocks(journal, id);
        self.groups[id].blocks = blocks;
        true
    }

    /// Keeps a group's blocks as they were before the transaction.
    pub(super) fn remember_blocks(&self, journal: &mut Journal, id: GroupId) {
        let group = &self.groups[id];
        if !journal.blocks.contains_key(&id) {
            if !group.blocks.is_empty() {
                journal
                    .versions
                    .entry(ItemKey::Blocks(group.object.uid))
                    .or_insert(group.blocks_version);
            }
            journal.blocks.insert(id, group.blocks.clone());
        }
    }

    // ---- policies ----

    pub(super) fn resolve_policy(&self, spec: &SecurityPolicySpec) -> PolicyLinks {
        let mut applied_to: Vec<GroupId> =
            spec.applied_to.iter().map(|g| GroupId(self.resolve(Kind::Group, g))).collect();
        applied_to.sort_unstable();
        applied_to.dedup();
        let mut peers: Vec<(GroupId, bool)> = Vec::new();
        let mut services: Vec<ServiceId> = Vec::new();
        for rule in &spec.rules {
            let protected = rule.needs_protection();
            for peer in &rule.peers {
                let group = GroupId(self.resolve(Kind::Group, &peer.group));
                match peers.binary_search_by_key(&group, |&(group, _)| group) {
                    Ok(at) => peers[at].1 |= protected,
                    Err(at) => peers.insert(at, (group, protected)),
                }
            }
            for service in &rule.services {
                if let ServiceMatch::Service(service) = service {
                    sorted_insert(&mut services, ServiceId(self.resolve(Kind::Service, service)));
                }
            }
        }
        PolicyLinks { applied_to, peers, services }
    }

    /// Keeps a policy's content as it was before the transaction.
    pub(super) fn remember_policy(&self, journal: &mut Journal, id: PolicyId) {
        if journal.policies.contains_key(&id) {
            return;
        }
        let policy = &self.policies[id];
        journal.versions.entry(ItemKey::Policy(policy.object.uid)).or_insert(policy.version);
        journal.policies.insert(id, Some(Box::new(self.policy_item(id))));
    }

    /// Takes a policy out of everything that knows it.
    pub(super) fn retract_policy(&mut self, journal: &mut Journal, id: PolicyId) {
        let applied_to = std::mem::take(&mut self.policies[id].applied_to);
        let peers = std::mem::take(&mut self.policies[id].peers);
        for service in std::mem::take(&mut self.policies[id].services) {
            sorted_remove(&mut self.services[service].users, &id);
        }
        for &(peer, _) in &peers {
            sorted_remove(&mut self.groups[peer].peer_of, &id);
        }
        for &group in &applied_to {
            sorted_remove(&mut self.groups[group].applied_by, &id);
            self.count_peers(journal, group, &peers, false);
        }
        journal.applied_to.entry(id).or_default().extend(applied_to);
    }

    /// Makes a policy known to everything that it refers to.
    pub(super) fn install_policy(
        &mut self,
        journal: &mut Journal,
        id: PolicyId,
        links: PolicyLinks,
    ) {
        for &service in &links.services {
            sorted_insert(&mut self.services[service].users, id);
        }
        for &(peer, _) in &links.peers {
            sorted_insert(&mut self.groups[peer].peer_of, id);
        }
        for &group in &links.applied_to {
            self.make_applied(journal, group);
            sorted_insert(&mut self.groups[group].applied_by, id);
            self.count_peers(journal, group, &links.peers, true);
        }
        journal.applied_to.entry(id).or_default().extend(links.applied_to.iter().copied());
        let policy = &mut self.policies[id];
        policy.applied_to = links.applied_to;
        policy.peers = links.peers;
        policy.services = links.services;
    }

    /// Starts counting where the ports of a group are.
    fn make_applied(&mut self, journal: &mut Journal, group: GroupId) {
        if self.groups[group].applied.is_some() {
            return;
        }
        let mut applied = Applied::default();
        for port in self.members(group).iter() {
            let domain = self.domain_of(port);
            let placement = self.ports[port].host.and_then(|host| self.placement_of(host, domain));
            if let Some(placement) = placement {
                applied.ports_at.entry_or_default(placement).ports += 1;
                journal.spans.push((group, placement));
            }
        }
        self.groups[group].applied = Some(Box::new(applied));
    }

    fn count_peers(
        &mut self,
        journal: &mut Journal,
        group: GroupId,
        peers: &[(GroupId, bool)],
        more: bool,
    ) {
        let Some(applied) = &mut self.groups[group].applied else { return };
        for &(peer, protected) in peers {
            let count = applied.peers.entry_or_default(peer);
            journal.peers.entry((group, peer)).or_insert((count.any > 0, count.protected > 0));
            if more {
                count.any += 1;
                count.protected += u32::from(protected);
            } else if !planted::is(Bug::PeerCountLeaks) {
                count.any -= 1;
                count.protected -= u32::from(protected);
            }
            if count.any == 0 {
                applied.peers.remove(peer);
            }
        }
    }

    /// Keeps the content of every member's item before the policies applied to the group change.
    pub(super) fn remember_members(&self, journal: &mut Journal, group: GroupId) {
        for port in self.members(group).iter() {
            self.remember_port(journal, port);
        }
    }

    /// [`Engine::holds`] for an attached port, by the groups it is in now.
    fn holds_now(&self, group: GroupId, port: PortId) -> bool {
        self.holds(group, port, &self.ports[port].groups)
    }
}
