//! The end of a transaction: what changed, net, and whom it matters to.
//!
//! Interest spreads along a chain, and only what changed at one link is looked at in the next:
//!
//! ```text
//!  visibility of domains ──────────────────────────────┐
//!  peers of applied groups ─► interest of a placement ─┼─► subscriptions of hosts
//!  ports of applied groups ─►  in a group              │
//!  shards that come and go ────────────────────────────┘
//! ```
//!
//! The last link is decided afresh for each candidate, from the state alone, so it cannot drift.

use super::api::{Changes, HostChange, HostId, ItemChange, ItemChangeKind};
use super::ids::{DomainId, GroupId, Map, PlacementId, PolicyId, Set, ShardId};
use super::journal::{Journal, cancel};
use super::state::{Engine, Interest, sorted_remove};
use crate::model::{Kind, Revision};
use crate::planted::{self, Bug};
use crate::view::{ItemDelta, ItemKey, Locator};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Gained and lost items of watched hosts.
type HostItems = BTreeMap<HostId, (Vec<ItemKey>, Vec<ItemKey>)>;
/// Interests that changed, with what they were, sorted.
type OldInterests = Vec<((GroupId, PlacementId), Interest)>;

/// A shard that a host may have to gain or lose because of one of its placements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    shard: ShardId,
    placement: PlacementId,
}

impl Engine {
    /// Works out the net changes. Placements, shards and roles that are no longer needed go; slots
    /// of objects, and versions, are left to the caller.
    pub(super) fn settle(&mut self, journal: &mut Journal, revision: Revision) -> Changes {
        let before = self.update_visibility(journal);
        let mut policies: BTreeSet<(HostId, PolicyId)> = BTreeSet::new();
        self.collect_touched_policies(journal, &mut policies);
        let interests = self.update_interests(journal, &mut policies);
        let mut hosts = HostItems::new();

        let mut items = Vec::new();
        self.settle_subscriptions(journal, &before, &interests, &mut hosts);
        // A state that is loaded has nobody to tell, and nothing in it is on its way out.
        if !journal.is_load {
            self.report_shards(journal, &mut items, &mut hosts);
            self.settle_blocks(journal, &interests, &mut items, &mut hosts);
            self.settle_policies(journal, policies, &mut items, &mut hosts);
            self.settle_ports(journal, &mut items, &mut hosts);
            self.settle_locators(journal, &mut items);
            self.settle_domains(journal, &before, &mut items, &mut hosts);
        }
        self.drop_unused(journal);

        // Runs that are sorted already, for the most part: this merges them.
        items.sort_by_key(|change| change.key);
        let hosts_deleted = journal
            .freed
            .iter()
            .filter(|(kind, _)| *kind == Kind::Host)
            .map(|&(_, slot)| {
                let host = HostId(slot);
                (host, self.hosts[host].object.resource.metadata.name.clone())
            })
            .collect();
        let hosts = hosts
            .into_iter()
            .map(|(host, (mut gained, mut lost))| {
                cancel(&mut lost, &mut gained);
                HostChange { host, gained, lost }
            })
            .filter(|change| !change.gained.is_empty() || !change.lost.is_empty())
            .collect();
        Changes { revision, objects: Vec::new(), items, hosts, hosts_deleted }
    }

    fn is_watched(&self, host: HostId) -> bool {
        self.hosts[host].watched.is_some()
    }

    // ---- interest ----

    /// Touched policies concern the hosts of the groups they were or are applied to.
    fn collect_touched_policies(
        &self,
        journal: &Journal,
        policies: &mut BTreeSet<(HostId, PolicyId)>,
    ) {
        for (&policy, groups) in &journal.applied_to {
            for &group in groups {
                let Some(applied) = &self.groups[group].applied else { continue };
                for placement in applied.counted_at() {
                    let host = self.placements[placement].host;
                    if self.is_watched(host) {
                        policies.insert((host, policy));
                    }
                }
            }
        }
    }

    /// Brings the interest of placements up to date. Changes are collected group by group, so that
    /// what belongs to one group is in the processor's caches while it is needed.
    fn update_interests(
        &mut self,
        journal: &mut Journal,
        policies: &mut BTreeSet<(HostId, PolicyId)>,
    ) -> OldInterests {
        let mut old = OldInterests::new();
        // Peers that came and went, at the placements that were counted before.
        for (&(group, peer), &(had_any, had_protected)) in &journal.peers {
            let Some(applied) = &self.groups[group].applied else { continue };
            let now = applied.peers.get(peer).copied().unwrap_or_default();
            let any = i64::from(now.any > 0) - i64::from(had_any);
            let protected = i64::from(now.protected > 0) - i64::from(had_protected);
            if any == 0 && protected == 0 || planted::is(Bug::InterestStale) {
                continue;
            }
            let counted: Vec<PlacementId> = applied.counted_at().collect();
            for placement in counted {
                self.change_interest(peer, placement, any, protected, &mut old);
            }
        }
        // Placements that came and went, with the peers as they are now.
        journal.spans.sort_unstable();
        journal.spans.dedup();
        for spans in journal.spans.chunk_by(|a, b| a.0 == b.0) {
            self.update_spans(spans[0].0, spans, &mut old, policies);
        }
        // The first of several for one placement is how it was before the transaction.
        old.sort_by_key(|&(at, _)| at);
        old.dedup_by_key(|(at, _)| *at);
        old
    }

    /// Counts the placements at which an applied group has its first ports, and no longer counts
    /// those that its last ports have left.
    fn update_spans(
        &mut self,
        group: GroupId,
        spans: &[(GroupId, PlacementId)],
        old: &mut OldInterests,
        policies: &mut BTreeSet<(HostId, PolicyId)>,
    ) {
        let Some(applied) = &mut self.groups[group].applied else { return };
        let mut flips: Vec<(PlacementId, bool)> = Vec::with_capacity(spans.len());
        for &(_, placement) in spans {
            let at = applied.ports_at.entry_or_default(placement);
            let now = at.ports > 0;
            if now != at.counted {
                at.counted = now;
                flips.push((placement, now));
            }
            if !now {
                applied.ports_at.remove(placement);
            }
        }
        let peers: Vec<(GroupId, bool)> =
            applied.peers.iter().map(|(peer, count)| (peer, count.protected > 0)).collect();
        for (peer, protected) in peers {
            for &(placement, now) in &flips {
                let sign = if now { 1 } else { -1 };
                let protected = sign * i64::from(protected);
                self.change_interest(peer, placement, sign, protected, old);
            }
        }
        for &(placement, _) in &flips {
            let host = self.placements[placement].host;
            if self.is_watched(host) {
                policies.extend(self.groups[group].applied_by.iter().map(|&policy| (host, policy)));
            }
        }
    }

    fn change_interest(
        &mut self,
        group: GroupId,
        placement: PlacementId,
        any: i64,
        protected: i64,
        old: &mut OldInterests,
    ) {
        let interests = &mut self.groups[group].interest;
        let interest = interests.entry_or_default(placement);
        old.push(((group, placement), *interest));
        // Each count is the number of applied groups there, which add and subtract only their own.
        interest.any = (i64::from(interest.any) + any) as u32;
        interest.protected = (i64::from(interest.protected) + protected) as u32;
        if interest.any == 0 {
            interests.remove(placement);
        }
    }

    // ---- shards ----

    fn settle_subscriptions(
        &mut self,
        journal: &Journal,
        before: &Map<DomainId, (Vec<DomainId>, bool)>,
        interests: &OldInterests,
        hosts: &mut HostItems,
    ) {
        let mut candidates: Vec<Candidate> = Vec::new();
        for &((group, placement), old) in interests {
            self.candidates_of_interest(group, placement, old, before, &mut candidates);
        }
        // Of a state that is loaded every interest is new, and looked at as such.
        for (&domain, (saw, was_spoofable)) in before.iter().filter(|_| !journal.is_load) {
            self.candidates_of_domain(journal, domain, saw, *was_spoofable, &mut candidates);
        }
        for (&id, change) in &journal.shards {
            if !change.existed && !self.shards[id].members.is_empty() {
                let shard = &self.shards[id];
                for (placement, &interest) in self.groups[shard.group].interest.iter() {
                    if self.covers(placement, interest, shard.domain) {
                        candidates.push(Candidate { shard: id, placement });
                    }
                }
            }
        }
        // One shard after the other, so that each is in the caches while it is looked at.
        candidates.sort_unstable();
        candidates.dedup();
        for candidate in candidates {
            self.settle_candidate(candidate, hosts);
        }
    }

    /// Decides whether a host has a shard, because of one of its placements. If the placement needs
    /// the shard, so does the host. If not, the other placements of the host matter only if it has
    /// the shard: a placement that has come to need it is a candidate of its own.
    fn settle_candidate(&mut self, candidate: Candidate, hosts: &mut HostItems) {
        let Candidate { shard: id, placement } = candidate;
        let shard = &self.shards[id];
        if shard.members.is_empty() {
            return;
        }
        let host = self.placements[placement].host;
        let interest = self.groups[shard.group].interest.get(placement);
        let wanted = match interest {
            Some(&interest) if self.covers(placement, interest, shard.domain) => true,
            _ if !shard.subscribers.contains(host) => return,
            _ => self.wants_shard(host, id),
        };
        let subscribers = &mut self.shards[id].subscribers;
        let changed = if wanted { subscribers.insert(host) } else { subscribers.remove(host) };
        if changed && self.is_watched(host) {
            let (gained, lost) = hosts.entry(host).or_default();
            let key = self.shard_key(id);
            if wanted { gained.push(key) } else { lost.push(key) }
        }
    }

    pub(super) fn shard_key(&self, id: ShardId) -> ItemKey {
        let shard = &self.shards[id];
        ItemKey::Shard {
            group: self.groups[shard.group].object.uid,
            domain: self.domains[shard.domain].vni,
        }
    }

    /// Shards that a placement may need, or may have needed, by a changed interest.
    fn candidates_of_interest(
        &self,
        group: GroupId,
        placement: PlacementId,
        old: Interest,
        before: &Map<DomainId, (Vec<DomainId>, bool)>,
        candidates: &mut Vec<Candidate>,
    ) {
        let now = self.groups[group].interest.get(placement).copied().unwrap_or_default();
        if (old.any > 0) == (now.any > 0) && (old.protected > 0) == (now.protected > 0) {
            return;
        }
        let Some(state) = self.placements.get(placement) else { return };
        let here = &self.domains[state.domain];
        let mk_candidate = |shard| Candidate { shard, placement };
        let (saw, was_spoofable) = match before.get(&state.domain) {
            Some((saw, was_spoofable)) => (&saw[..], *was_spoofable),
            None => (&here.sees[..], here.spoofable),
        };
        let shards = &self.groups[group].shards;
        let whole = (old.protected > 0 || now.protected > 0) && (was_spoofable || here.spoofable);
        if whole || shards.len() <= saw.len() + here.sees.len() {
            candidates.extend(shards.iter().map(|&(_, shard)| mk_candidate(shard)));
        } else {
            let domains = saw.iter().chain(&here.sees);
            let seen = domains.filter_map(|&domain| self.shard_of(group, domain));
            candidates.extend(seen.map(mk_candidate));
        }
    }

    /// Shards that the placements of a domain may need, or may have needed, by what it sees. New
    /// placements are left out: each of their interests is new, and looked at as such.
    fn candidates_of_domain(
        &self,
        journal: &Journal,
        domain: DomainId,
        saw: &[DomainId],
        was_spoofable: bool,
        candidates: &mut Vec<Candidate>,
    ) {
        let here = &self.domains[domain];
        let flipped = was_spoofable != here.spoofable;
        let mut differ: Vec<DomainId> = saw.to_vec();
        let mut sees = here.sees.clone();
        cancel(&mut differ, &mut sees);
        differ.append(&mut sees);
        if differ.is_empty() && !flipped {
            return;
        }
        for (placement, applied) in self.applied_in(domain) {
            if journal.placements.get(&placement) == Some(&false) {
                continue;
            }
            let mk_candidate = |shard| Candidate { shard, placement };
            for peer in self.peers_of(&applied) {
                let group = &self.groups[peer];
                let protected = group.interest.get(placement).is_some_and(|i| i.protected > 0);
                if flipped && protected {
                    candidates.extend(group.shards.iter().map(|&(_, s)| mk_candidate(s)));
                } else {
                    let shards = differ.iter().filter_map(|&domain| self.shard_of(peer, domain));
                    candidates.extend(shards.map(mk_candidate));
                }
            }
        }
    }

    /// Reports the members that shards gained and lost, and drops shards without members.
    fn report_shards(
        &mut self,
        journal: &mut Journal,
        items: &mut Vec<ItemChange>,
        hosts: &mut HostItems,
    ) {
        let mut touched: Vec<ShardId> = journal.shards.keys().copied().collect();
        touched.sort_unstable();
        for id in touched {
            let key = self.shard_key(id);
            let Some(change) = journal.shards.get_mut(&id) else { continue };
            let previous_version = journal.versions.get(&key).copied().unwrap_or(0);
            let (existed, empty) = (change.existed, self.shards[id].members.is_empty());
            let kind = match (existed, empty) {
                (true, false) => {
                    let mut removed = std::mem::take(&mut change.removed);
                    let mut added = std::mem::take(&mut change.added);
                    cancel(&mut removed, &mut added);
                    removed.dedup();
                    added.dedup();
                    if removed.is_empty() && added.is_empty() {
                        continue;
                    }
                    ItemChangeKind::Delta(ItemDelta::Shard { removed, added })
                }
                (false, false) => ItemChangeKind::Created,
                (_, true) => {
                    self.drop_shard(id, key, hosts);
                    if !existed {
                        continue;
                    }
                    ItemChangeKind::Removed
                }
            };
            items.push(ItemChange { key, previous_version, kind });
        }
    }

    fn drop_shard(&mut self, id: ShardId, key: ItemKey, hosts: &mut HostItems) {
        let Some(shard) = self.shards.remove(id) else { return };
        for host in shard.subscribers.iter() {
            if self.is_watched(host) && !planted::is(Bug::LossUnsaid) {
                hosts.entry(host).or_default().1.push(key);
            }
        }
        let shards = &mut self.groups[shard.group].shards;
        if let Ok(at) = shards.binary_search_by_key(&shard.domain, |&(domain, _)| domain) {
            shards.remove(at);
        }
    }

    // ---- blocks ----

    fn settle_blocks(
        &mut self,
        journal: &Journal,
        interests: &OldInterests,
        items: &mut Vec<ItemChange>,
        hosts: &mut HostItems,
    ) {
        let mut candidates: BTreeSet<(GroupId, HostId)> = BTreeSet::new();
        for &((group, placement), _) in interests {
            if !self.groups[group].blocks.is_empty() || journal.blocks.contains_key(&group) {
                candidates.insert((group, self.placements[placement].host));
            }
        }
        for (&id, old) in &journal.blocks {
            let group = &self.groups[id];
            let kind = match (old.is_empty(), group.blocks.is_empty()) {
                _ if *old == group.blocks => continue,
                (true, _) => ItemChangeKind::Created,
                (false, true) => ItemChangeKind::Removed,
                (false, false) => ItemChangeKind::Replaced,
            };
            let key = ItemKey::Blocks(group.object.uid);
            let previous_version = journal.versions.get(&key).copied().unwrap_or(0);
            items.push(ItemChange { key, previous_version, kind });
            candidates.extend(
                group.interest.keys().map(|placement| (id, self.placements[placement].host)),
            );
        }
        for (group, host) in candidates {
            let wanted = self.wants_blocks(host, group);
            let key = ItemKey::Blocks(self.groups[group].object.uid);
            let Some(watched) = &mut self.hosts[host].watched else { continue };
            let changed =
                if wanted { watched.blocks.insert(group) } else { watched.blocks.remove(group) };
            if changed {
                let (gained, lost) = hosts.entry(host).or_default();
                if wanted { gained.push(key) } else { lost.push(key) }
            }
        }
    }

    // ---- policies ----

    fn settle_policies(
        &mut self,
        journal: &Journal,
        candidates: BTreeSet<(HostId, PolicyId)>,
        items: &mut Vec<ItemChange>,
        hosts: &mut HostItems,
    ) {
        for (host, policy) in candidates {
            let wanted = self.wants_policy(host, policy);
            let key = ItemKey::Policy(self.policies[policy].object.uid);
            let Some(watched) = &mut self.hosts[host].watched else { continue };
            let changed = if wanted {
                watched.policies.insert(policy)
            } else {
                watched.policies.remove(policy)
            };
            if changed {
                let (gained, lost) = hosts.entry(host).or_default();
                if wanted { gained.push(key) } else { lost.push(key) }
            }
        }
        let gone: Set<u32> = journal
            .freed
            .iter()
            .filter(|(kind, _)| *kind == Kind::SecurityPolicy)
            .map(|&(_, slot)| slot)
            .collect();
        for (&id, old) in in_order(&journal.policies) {
            let key = ItemKey::Policy(self.policies[id].object.uid);
            let kind = match (old, gone.contains(&id.0)) {
                (None, true) => continue,
                (None, false) => ItemChangeKind::Created,
                (Some(_), true) => ItemChangeKind::Removed,
                (Some(old), false) if **old == self.policy_item(id) => continue,
                (Some(_), false) => ItemChangeKind::Replaced,
            };
            let previous_version = journal.versions.get(&key).copied().unwrap_or(0);
            items.push(ItemChange { key, previous_version, kind });
        }
    }

    // ---- ports ----

    fn settle_ports(&self, journal: &Journal, items: &mut Vec<ItemChange>, hosts: &mut HostItems) {
        for (&id, old) in in_order(&journal.ports) {
            let key = ItemKey::Port(self.ports[id].object.uid);
            let gone = self.is_gone(id);
            let kind = match (old, gone) {
                (None, true) => continue,
                (None, false) => Some(ItemChangeKind::Created),
                (Some(_), true) => Some(ItemChangeKind::Removed),
                (Some(old), false) => {
                    (!self.is_made_of(id, old)).then_some(ItemChangeKind::Replaced)
                }
            };
            if let Some(kind) = kind {
                let previous_version = journal.versions.get(&key).copied().unwrap_or(0);
                items.push(ItemChange { key, previous_version, kind });
            }
            let old_host = old.as_ref().and_then(|old| old.host);
            let new_host = if gone { None } else { self.ports[id].host };
            if old_host == new_host {
                continue;
            }
            if let Some(host) = old_host.filter(|&host| self.is_watched(host)) {
                hosts.entry(host).or_default().1.push(key);
            }
            if let Some(host) = new_host.filter(|&host| self.is_watched(host)) {
                hosts.entry(host).or_default().0.push(key);
            }
        }
    }

    // ---- domains ----

    fn settle_domains(
        &mut self,
        journal: &mut Journal,
        before: &Map<DomainId, (Vec<DomainId>, bool)>,
        items: &mut Vec<ItemChange>,
        hosts: &mut HostItems,
    ) {
        for (&id, old) in &journal.domains {
            let domain = &self.domains[id];
            let exists = !domain.switches.is_empty();
            let kind = match (old, exists) {
                (None, false) => continue,
                (None, true) => ItemChangeKind::Created,
                (Some(_), false) => ItemChangeKind::Removed,
                (Some(old), true) if *old == self.domain_item(id) => continue,
                (Some(_), true) => ItemChangeKind::Replaced,
            };
            let key = ItemKey::Domain(domain.vni);
            let previous_version = journal.versions.get(&key).copied().unwrap_or(0);
            items.push(ItemChange { key, previous_version, kind });
        }
        let mut affected: BTreeSet<HostId> = BTreeSet::new();
        let mut placements: Vec<(PlacementId, bool)> =
            journal.placements.iter().map(|(&id, &existed)| (id, existed)).collect();
        placements.sort_unstable();
        for (id, existed) in placements {
            let placement = &self.placements[id];
            let (host, domain, exists) = (placement.host, placement.domain, placement.ports > 0);
            if !exists {
                self.placements.remove(id);
                self.domains[domain].placements.remove(id);
                sorted_remove(&mut self.hosts[host].placements, &(domain, id));
            }
            if existed != exists && self.is_watched(host) {
                let key = ItemKey::Domain(self.domains[domain].vni);
                let (gained, lost) = hosts.entry(host).or_default();
                if exists { gained.push(key) } else { lost.push(key) }
            }
            affected.insert(host);
        }
        for &domain in before.keys() {
            affected
                .extend(self.domains[domain].placements.iter().map(|p| self.placements[p].host));
        }
        for host in affected {
            if !self.is_watched(host) {
                continue;
            }
            let now = self.seen_by(host);
            let Some(watched) = &mut self.hosts[host].watched else { continue };
            let old = std::mem::replace(&mut watched.locators, now.clone());
            let key = |id: DomainId| ItemKey::Locators(self.domains[id].vni);
            let (gained, lost) = hosts.entry(host).or_default();
            gained.extend(now.iter().filter(|&id| !old.contains(id)).map(key));
            lost.extend(old.iter().filter(|&id| !now.contains(id)).map(key));
        }
    }

    // ---- locators ----

    fn settle_locators(&self, journal: &mut Journal, items: &mut Vec<ItemChange>) {
        let mut touched: Vec<DomainId> =
            journal.locators.keys().chain(journal.domains.keys()).copied().collect();
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            let domain = &self.domains[id];
            let (existed, exists) = (domain.locators_version > 0, !domain.switches.is_empty());
            let kind = match (existed, exists) {
                (false, false) => continue,
                (false, true) => ItemChangeKind::Created,
                (true, false) => ItemChangeKind::Removed,
                (true, true) => {
                    let Some(change) = journal.locators.get_mut(&id) else { continue };
                    match locators_delta(&mut change.removed, &mut change.added) {
                        None => continue,
                        Some(delta) => ItemChangeKind::Delta(delta),
                    }
                }
            };
            let previous_version = if existed { domain.locators_version } else { 0 };
            let key = ItemKey::Locators(domain.vni);
            items.push(ItemChange { key, previous_version, kind });
        }
    }

    // ---- what is left over ----

    /// Roles that no policy gives any more.
    fn drop_unused(&mut self, journal: &Journal) {
        for &group in journal.applied_to.values().flatten() {
            if self.groups[group].applied_by.is_empty() {
                self.groups[group].applied = None;
            }
        }
    }

    /// The items that a transaction touched, by the identities as they are now.
    pub(super) fn touched_items(&self, journal: &Journal) -> Vec<ItemKey> {
        let mut keys: Vec<ItemKey> = Vec::new();
        keys.extend(journal.ports.keys().map(|&id| ItemKey::Port(self.ports[id].object.uid)));
        keys.extend(
            journal.policies.keys().map(|&id| ItemKey::Policy(self.policies[id].object.uid)),
        );
        keys.extend(journal.blocks.keys().map(|&id| ItemKey::Blocks(self.groups[id].object.uid)));
        let vni = |id: &DomainId| Some(self.domains.get(*id)?.vni);
        keys.extend(journal.domains.keys().filter_map(vni).map(ItemKey::Domain));
        let located = journal.domains.keys().chain(journal.locators.keys());
        keys.extend(located.filter_map(vni).map(ItemKey::Locators));
        keys.extend(
            journal
                .shards
                .keys()
                .filter(|&&id| self.shards.get(id).is_some())
                .map(|&id| self.shard_key(id)),
        );
        keys
    }
}

/// The entries of a table sorted by identifier. New objects have identifiers in the order of their
/// uids, so what is made of these is mostly sorted by item key.
fn in_order<I: Ord, T>(table: &Map<I, T>) -> Vec<(&I, &T)> {
    let mut entries: Vec<(&I, &T)> = table.iter().collect();
    entries.sort_unstable_by_key(|(id, _)| *id);
    entries
}

/// The net difference; an address that moved is only among the added.
fn locators_delta(removed: &mut Vec<Locator>, added: &mut Vec<Locator>) -> Option<ItemDelta> {
    cancel(removed, added);
    if removed.is_empty() && added.is_empty() {
        return None;
    }
    let added = std::mem::take(added);
    let mut removed: Vec<IpAddr> = removed.drain(..).map(|locator| locator.address).collect();
    removed.dedup();
    removed.retain(|address| added.binary_search_by_key(address, |l| l.address).is_err());
    Some(ItemDelta::Locators { removed, added })
}
