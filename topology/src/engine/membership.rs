//! Taking ports out of everything they are part of, and putting them back.

use super::ids::{DomainId, GroupId, IdSet, PlacementId, PortId};
use super::journal::{Journal, LocatorChange, ShardChange};
use super::state::{Domain, Engine, Placement, PortsAt, Shard, Term, sorted_insert};
use crate::planted::{self, Bug};
use crate::view::{ItemKey, Locator};
use smallvec::SmallVec;
use std::collections::BTreeSet;

impl Engine {
    /// Takes a port out of its groups' shards, its domain and its placement.
    pub(super) fn detach(&mut self, journal: &mut Journal, id: PortId) {
        if !journal.detached.insert(id) {
            return;
        }
        self.remember_port(journal, id);
        let domain = self.domain_of(id);
        let placement = self.ports[id].host.and_then(|host| self.placement_of(host, domain));
        let groups = std::mem::take(&mut self.ports[id].groups);
        for &group in &groups {
            self.leave_shard(journal, group, domain, id);
            self.count_applied(journal, group, placement, false);
        }
        if let Some(placement) = placement
            && !planted::is(Bug::PlacementKept)
        {
            journal.placements.entry(placement).or_insert(true);
            self.placements[placement].ports -= 1;
        }
        self.change_locators(journal, domain, id, false);
        for address in self.ports[id].spec().addresses.clone() {
            if self.addresses.get(&(domain, address)) == Some(&id) {
                self.addresses.remove(&(domain, address));
            }
        }
        if !self.ports[id].spec().port_security {
            self.domains[domain].unprotected -= 1;
            journal.protection.insert(domain);
        }
    }

    /// Puts a detached port back, with its switch, host, labels and addresses as they are now.
    pub(super) fn attach(&mut self, journal: &mut Journal, id: PortId) {
        let domain = self.domain_of(id);
        self.enter_addresses(journal, domain, id);
        let placement = self.ports[id].host.map(|host| self.make_placement(journal, host, domain));
        if let Some(placement) = placement {
            self.placements[placement].ports += 1;
        }
        let groups = self.groups_for(id);
        for &group in &groups {
            self.join_shard(journal, group, domain, id);
            self.count_applied(journal, group, placement, true);
        }
        self.ports[id].groups = groups;
        self.change_locators(journal, domain, id, true);
        if !self.ports[id].spec().port_security {
            self.domains[domain].unprotected += 1;
            journal.protection.insert(domain);
        }
    }

    /// Notes which port has the addresses of a port. If another has one already, both are noted.
    pub(super) fn enter_addresses(&mut self, journal: &mut Journal, domain: DomainId, id: PortId) {
        let port = &self.ports[id];
        for &address in &port.spec().addresses {
            let other = *self.addresses.entry((domain, address)).or_insert(id);
            if other != id {
                let clash = journal.clashes.entry((domain, address)).or_default();
                clash.insert(self.ports[other].object.resource.key());
                clash.insert(port.object.resource.key());
            }
        }
    }

    /// The groups a port belongs to by its present attributes, sorted. Groups are looked at from
    /// the innermost out, so that each finds what it is made of already decided.
    pub(super) fn groups_for(&self, id: PortId) -> SmallVec<[GroupId; 4]> {
        let port = &self.ports[id];
        let switch = &self.switches[port.switch];
        let mut found: SmallVec<[GroupId; 4]> = SmallVec::new();
        found.extend_from_slice(&self.signatures[port.signature].groups);
        found.extend_from_slice(&switch.groups);
        for &router in &switch.routers {
            found.extend_from_slice(&self.routers[router].groups);
        }
        found.extend_from_slice(&port.named_by);
        found.sort_unstable();
        found.dedup();
        if found.iter().all(|&group| self.groups[group].parents.is_empty()) {
            return found;
        }
        let mut outer: BTreeSet<(u32, GroupId)> = BTreeSet::new();
        for &group in &found {
            outer.extend(self.groups[group].parents.iter().map(|&p| (self.groups[p].depth, p)));
        }
        while let Some((_, group)) = outer.pop_first() {
            if let Err(at) = found.binary_search(&group)
                && self.holds(group, id, &found)
            {
                found.insert(at, group);
                let parents = &self.groups[group].parents;
                outer.extend(parents.iter().map(|&p| (self.groups[p].depth, p)));
            }
        }
        found
    }

    /// True if a group's terms hold for a port that is a member of just `groups` of those further
    /// in (sorted).
    pub(super) fn holds(&self, group: GroupId, id: PortId, groups: &[GroupId]) -> bool {
        let port = &self.ports[id];
        let within = |group: &GroupId| groups.binary_search(group).is_ok();
        self.groups[group].terms.iter().any(|term| match term {
            Term::Selector => self.signatures[port.signature].groups.binary_search(&group).is_ok(),
            Term::Switch(switch) => port.switch == *switch,
            Term::Router(router) => {
                self.switches[port.switch].routers.binary_search(router).is_ok()
            }
            Term::Port(port) => *port == id,
            Term::Group(inner) => within(inner),
            Term::Intersection(inner) => inner.iter().all(within),
            Term::Difference(of, minus) => {
                within(of) && (!minus.iter().any(within) || planted::is(Bug::MinusForgotten))
            }
        })
    }

    /// The ports of a group by its terms, those that are detached left out.
    pub(super) fn evaluate(&self, journal: &Journal, group: GroupId) -> IdSet<PortId> {
        let group = &self.groups[group];
        let mut ports = IdSet::default();
        for term in &group.terms {
            match term {
                Term::Selector => unite(
                    &mut ports,
                    IdSet::union_of(group.signatures.iter().map(|id| &self.signatures[id].ports)),
                ),
                Term::Switch(switch) => ports.union_with(&self.switches[*switch].ports),
                Term::Router(router) => {
                    for &switch in &self.routers[*router].links.switches {
                        ports.union_with(&self.switches[switch].ports);
                    }
                }
                Term::Port(port) => {
                    ports.insert(*port);
                }
                Term::Group(inner) => unite(&mut ports, self.members(*inner)),
                Term::Intersection(inner) => {
                    let mut common: Option<IdSet<PortId>> = None;
                    for &group in inner {
                        let members = self.members(group);
                        match &mut common {
                            None => common = Some(members),
                            Some(common) => common.intersect_with(&members),
                        }
                    }
                    unite(&mut ports, common.unwrap_or_default());
                }
                Term::Difference(of, minus) => {
                    let mut rest = self.members(*of);
                    for &group in minus {
                        rest.subtract(&self.members(group));
                    }
                    unite(&mut ports, rest);
                }
            }
        }
        if !journal.detached.is_empty() {
            ports.subtract(&journal.detached);
        }
        ports
    }

    /// The attached members of a group.
    pub(super) fn members(&self, group: GroupId) -> IdSet<PortId> {
        IdSet::union_of(self.groups[group].shards.iter().map(|&(_, s)| &self.shards[s].members))
    }

    /// Makes an attached port a member of a group.
    pub(super) fn join(&mut self, journal: &mut Journal, group: GroupId, id: PortId) {
        self.remember_port(journal, id);
        let domain = self.domain_of(id);
        let placement = self.ports[id].host.and_then(|host| self.placement_of(host, domain));
        let groups = &mut self.ports[id].groups;
        if let Err(at) = groups.binary_search(&group) {
            groups.insert(at, group);
        }
        self.join_shard(journal, group, domain, id);
        self.count_applied(journal, group, placement, true);
    }

    /// Takes an attached port out of a group.
    pub(super) fn leave(&mut self, journal: &mut Journal, group: GroupId, id: PortId) {
        self.remember_port(journal, id);
        let domain = self.domain_of(id);
        let placement = self.ports[id].host.and_then(|host| self.placement_of(host, domain));
        let groups = &mut self.ports[id].groups;
        if let Ok(at) = groups.binary_search(&group) {
            groups.remove(at);
        }
        self.leave_shard(journal, group, domain, id);
        self.count_applied(journal, group, placement, false);
    }

    fn join_shard(&mut self, journal: &mut Journal, group: GroupId, domain: DomainId, id: PortId) {
        let shard = match self.shard_of(group, domain) {
            Some(shard) => shard,
            None => {
                let shard = self.shards.insert(Shard {
                    group,
                    domain,
                    members: IdSet::default(),
                    subscribers: IdSet::default(),
                    version: 0,
                });
                sorted_insert(&mut self.groups[group].shards, (domain, shard));
                journal.shards.insert(shard, ShardChange::default());
                shard
            }
        };
        let change = self.remember_shard(journal, shard);
        // A new shard is told as a whole.
        if change.existed {
            change.added.extend_from_slice(&self.ports[id].spec().addresses);
        }
        self.shards[shard].members.insert(id);
    }

    fn leave_shard(&mut self, journal: &mut Journal, group: GroupId, domain: DomainId, id: PortId) {
        let Some(shard) = self.shard_of(group, domain) else { return };
        let change = self.remember_shard(journal, shard);
        if change.existed && !planted::is(Bug::RemovalUnsaid) {
            change.removed.extend_from_slice(&self.ports[id].spec().addresses);
        }
        if !planted::is(Bug::ShardNotEmptied) {
            self.shards[shard].members.remove(id);
        }
    }

    /// Keeps a shard's version as it was before the transaction, and returns what it comes to.
    fn remember_shard<'j>(
        &self,
        journal: &'j mut Journal,
        id: super::ids::ShardId,
    ) -> &'j mut ShardChange {
        let Journal { shards, versions, .. } = journal;
        shards.entry(id).or_insert_with(|| {
            versions.entry(self.shard_key(id)).or_insert(self.shards[id].version);
            ShardChange { existed: true, ..ShardChange::default() }
        })
    }

    fn count_applied(
        &mut self,
        journal: &mut Journal,
        group: GroupId,
        placement: Option<PlacementId>,
        more: bool,
    ) {
        let (Some(applied), Some(placement)) = (&mut self.groups[group].applied, placement) else {
            return;
        };
        // Only a port that was counted is taken out again.
        let PortsAt { ports, .. } = applied.ports_at.entry_or_default(placement);
        if more {
            *ports += 1;
        } else {
            *ports -= 1;
        }
        let first_or_last = *ports == u32::from(more);
        if first_or_last {
            journal.spans.push((group, placement));
        }
    }

    fn make_placement(
        &mut self,
        journal: &mut Journal,
        host: super::api::HostId,
        domain: DomainId,
    ) -> PlacementId {
        if let Some(placement) = self.placement_of(host, domain) {
            journal.placements.entry(placement).or_insert(true);
            return placement;
        }
        let placement = self.placements.insert(Placement { host, domain, ports: 0 });
        sorted_insert(&mut self.hosts[host].placements, (domain, placement));
        self.domains[domain].placements.insert(placement);
        journal.placements.insert(placement, false);
        placement
    }

    /// The locators of an attached or about to be attached port.
    pub(super) fn locators_of(&self, id: PortId) -> impl Iterator<Item = Locator> + '_ {
        let port = &self.ports[id];
        let vtep = port.host.and_then(|host| self.hosts[host].spec().vtep);
        let spec = port.spec();
        vtep.into_iter().flat_map(move |vtep| {
            spec.addresses.iter().map(move |&address| Locator { address, mac: spec.mac, vtep })
        })
    }

    fn change_locators(&mut self, journal: &mut Journal, domain: DomainId, id: PortId, more: bool) {
        let Domain { vni, locators_version, .. } = self.domains[domain];
        // A component that had no version yet is new, and its locators are told as a whole.
        if locators_version == 0 {
            return;
        }
        let Journal { locators, versions, .. } = journal;
        let change = locators.entry(domain).or_insert_with(|| {
            versions.entry(ItemKey::Locators(vni)).or_insert(locators_version);
            LocatorChange::default()
        });
        let list = if more { &mut change.added } else { &mut change.removed };
        list.extend(self.locators_of(id));
    }

    /// Keeps a port's content as it was before the transaction.
    pub(super) fn remember_port(&self, journal: &mut Journal, id: PortId) {
        if journal.ports.contains_key(&id) {
            return;
        }
        let port = &self.ports[id];
        journal.versions.entry(ItemKey::Port(port.object.uid)).or_insert(port.version);
        journal.ports.insert(id, Some(self.port_makings(id)));
    }
}

/// Adds a set of ports that nobody else needs: the first one becomes the union without a copy.
fn unite(ports: &mut IdSet<PortId>, more: IdSet<PortId>) {
    if ports.is_empty() {
        *ports = more;
    } else {
        ports.union_with(&more);
    }
}
