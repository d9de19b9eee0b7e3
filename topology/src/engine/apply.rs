//! How a transaction is applied.
//!
//! 1. [`prepare`](Engine::prepare) checks everything that can be checked without changing anything.
//! 2. Every port that the transaction touches is taken out of its groups, domain and placement.
//! 3. The tables are changed: hosts, switches, routers and with them the domains, ports, groups,
//!    services, policies. Ports whose domain changes are taken out on the way.
//! 4. The ports are put back, by their new attributes.
//! 5. [`settle`](Engine::settle) works out the net changes and who they matter to.
//!
//! Two ports with one address in one domain show in step 4 only. Then the transaction is undone by
//! applying its inverse through the same steps, and restoring the identities that step 3 gave out.

use super::api::{Changes, HostId, Object, ObjectChange, Outcome, Refusal};
use super::domains::Node;
use super::ids::{
    DomainId, GroupId, IdSet, Map, PolicyId, PortId, RouterId, ServiceId, Set, SignatureId,
    SmallMap, SwitchId,
};
use super::journal::Journal;
use super::prepare::{Preparation, Prepared};
use super::state::{Engine, Group, Host, Policy, Port, Router, Service, Switch, Watched};
use crate::model::{
    AddressBlocks, Kind, ObjectKey, Revision, SYSTEM_PROJECT, Spec, Transaction, Vni,
};
use crate::planted::{self, Bug};
use crate::view::ItemKey;
use smallvec::SmallVec;
use std::sync::Arc;

impl Engine {
    pub(super) fn apply_transaction(
        &mut self,
        transaction: &Transaction,
        revision: Revision,
    ) -> Result<Changes, Refusal> {
        let preparation = self.prepare(transaction, revision)?;
        let (mut changes, journal) = self.execute(&preparation, revision, None)?;
        changes.objects = object_changes(self, preparation);
        self.commit(&changes);
        self.release(&journal.freed, &journal.dead_domains);
        self.revision = revision;
        Ok(changes)
    }

    pub(super) fn try_transaction<R>(
        &mut self,
        transaction: &Transaction,
        look: impl FnOnce(&Engine, Changes, &Journal) -> R,
    ) -> Result<R, Refusal> {
        let preparation = self.prepare(transaction, self.revision + 1)?;
        // Whom it would concern is asked for all hosts, not only for those that are served.
        let unwatched = self.watch_concerned(&preparation)?;
        let marks = (self.last_uid, self.last_vni);
        let result = self.execute(&preparation, self.revision + 1, None);
        let result = result.map(|(mut changes, journal)| {
            changes.objects = object_changes(self, preparation.clone());
            let seen = look(self, changes, &journal);
            self.undo(&preparation, journal, marks);
            seen
        });
        for &host in &unwatched {
            self.hosts[host].watched = None;
        }
        result
    }

    /// Steps 2 to 5. Leaves the state changed but versions and freed slots untouched; if two
    /// ports clash, leaves everything as it was. The changes do not list the objects yet.
    pub(super) fn execute(
        &mut self,
        preparation: &Preparation,
        revision: Revision,
        undone: Option<&Journal>,
    ) -> Result<(Changes, Journal), Refusal> {
        let marks = (self.last_uid, self.last_vni);
        let mut journal = Journal::default();
        if let Some(undone) = undone {
            // A port that clashed is not found by its address, unless it is put back once more.
            for port in undone.detached.iter() {
                if !self.is_gone(port) {
                    self.detach(&mut journal, port);
                }
            }
        }
        let mut slots: Vec<Option<u32>> =
            preparation.changes.iter().map(|change| self.slot_of(&change.key)).collect();
        self.detach_touched(&mut journal, &preparation.changes, &slots);
        self.change_tables(&mut journal, preparation, &mut slots);
        let detached: Vec<PortId> = journal.detached.iter().collect();
        for port in detached {
            if !self.is_gone(port) {
                self.attach(&mut journal, port);
            }
        }
        if let Some(undone) = undone {
            self.restore_vnis(&journal, undone);
        }
        self.last_uid = preparation.last_uid;
        let changes = self.settle(&mut journal, revision);
        if let Some(refusal) = duplicate_address(&journal) {
            self.undo(preparation, journal, marks);
            return Err(refusal);
        }
        Ok((changes, journal))
    }

    /// Applies the inverse and restores identities and versions.
    pub(super) fn undo(&mut self, preparation: &Preparation, journal: Journal, marks: (u64, u32)) {
        let inverse = Preparation {
            changes: preparation
                .changes
                .iter()
                .map(|change| Prepared {
                    key: change.key.clone(),
                    place: change.place,
                    old: change.new.clone(),
                    new: change.old.clone(),
                })
                .collect(),
            depths: preparation.depths_before.clone(),
            last_uid: marks.0,
            ..Preparation::default()
        };
        // What the transaction deleted still has its slots, and is revived in them: host ids stay.
        let Ok((_, back)) = self.execute(&inverse, self.revision, Some(&journal)) else {
            unreachable!("the inverse leads back to a state that was valid, so it cannot clash")
        };
        self.restore_versions(&back, &journal);
        self.release(&back.freed, &back.dead_domains);
        self.release(&[], &journal.dead_domains);
        (self.last_uid, self.last_vni) = marks;
    }

    // ---- step 2 ----

    fn detach_touched(
        &mut self,
        journal: &mut Journal,
        changes: &[Prepared],
        slots: &[Option<u32>],
    ) {
        for (change, slot) in changes.iter().zip(slots) {
            let (Some(old), Some(slot)) = (&change.old, *slot) else { continue };
            match change.key.kind {
                Kind::LogicalPort => self.detach(journal, PortId(slot)),
                Kind::Host if planted::is(Bug::VtepStale) => {}
                Kind::Service if planted::is(Bug::ServiceStale) => {}
                Kind::Host => {
                    if change.new.as_ref().is_some_and(|new| new.resource.spec != old.resource.spec)
                    {
                        for port in self.hosts[HostId(slot)].ports.clone().iter() {
                            self.detach(journal, port);
                        }
                    }
                }
                Kind::LogicalRouter => self.detach_routed(journal, RouterId(slot), change),
                Kind::Service => {
                    for policy in self.services[ServiceId(slot)].users.clone() {
                        self.remember_policy(journal, policy);
                    }
                }
                Kind::SecurityPolicy => {
                    self.remember_policy(journal, PolicyId(slot));
                }
                Kind::LogicalSwitch | Kind::Group => {}
            }
        }
    }

    /// Groups may hold the ports of a router: those of switches that it leaves or joins move.
    fn detach_routed(&mut self, journal: &mut Journal, id: RouterId, change: &Prepared) {
        if self.routers[id].groups.is_empty() || planted::is(Bug::RouterGroupStale) {
            return;
        }
        let old = self.routers[id].links.switches.clone();
        let mut moved = old.clone();
        if let Some(new) = &change.new
            && let Spec::LogicalRouter(spec) = &*new.resource.spec
        {
            for interface in &spec.interfaces {
                let key = interface.switch.to_key(Kind::LogicalSwitch);
                // A switch of the same transaction has no ports yet that could be members.
                if let Some(slot) = self.slot_of(&key) {
                    let switch = SwitchId(slot);
                    match moved.iter().position(|s| *s == switch) {
                        Some(at) => {
                            moved.swap_remove(at);
                        }
                        None => moved.push(switch),
                    }
                }
            }
        }
        for switch in moved {
            for port in self.switches[switch].ports.clone().iter() {
                self.detach(journal, port);
            }
        }
    }

    // ---- step 3 ----

    /// `slots` are those of the changes; new objects get theirs here.
    fn change_tables(
        &mut self,
        journal: &mut Journal,
        preparation: &Preparation,
        slots: &mut [Option<u32>],
    ) {
        let changes = &preparation.changes;
        // Names first, so that references resolve whatever the order; then each kind, what others
        // are made of before the others.
        let mut gone: Vec<(Kind, u32)> = Vec::new();
        for (change, slot) in changes.iter().zip(slots.iter_mut()) {
            match (*slot, &change.new) {
                (Some(slot), None) => gone.push((change.key.kind, slot)),
                (None, Some(object)) => *slot = Some(self.create(journal, &change.key, object)),
                _ => {}
            }
        }
        let slots = &*slots;
        let groups: Vec<GroupId> = changes
            .iter()
            .zip(slots)
            .filter(|(change, _)| change.key.kind == Kind::Group)
            .filter_map(|(_, slot)| slot.map(GroupId))
            .collect();
        for &group in &groups {
            // While its spec is still the old one.
            self.retract_group(group);
        }
        for (change, slot) in changes.iter().zip(slots) {
            if let (Some(slot), Some(new)) = (*slot, &change.new) {
                self.replace_object(change.key.kind, slot, new);
            }
        }
        self.change_routers(journal, changes, slots);
        self.change_ports(changes, slots);
        self.change_groups(journal, preparation, &groups);
        self.change_policies(journal, changes, slots);
        self.drop_gone(journal, changes, slots);
        journal.freed = gone;
    }

    /// Gives a new object a slot and a name. An object that comes back has its old slot still.
    fn create(&mut self, journal: &mut Journal, key: &ObjectKey, object: &Object) -> u32 {
        let slot = match self.uids.get(object.uid) {
            Some((_, slot)) => slot,
            None => self.occupy(key.kind, object.clone()),
        };
        self.enter(journal, key.kind, slot);
        let project = self.names.insert(key.kind, &key.project, &key.name, slot).0.clone();
        self.object_mut(key.kind, slot).resource.metadata.project = project;
        self.uids.insert(object.uid, (key.kind, slot));
        slot
    }

    /// Makes a new object, or one that comes back, known to the transaction.
    pub(super) fn enter(&mut self, journal: &mut Journal, kind: Kind, slot: u32) {
        match kind {
            Kind::LogicalSwitch => self.settle_node(journal, Node::Switch(SwitchId(slot))),
            Kind::LogicalRouter => self.settle_node(journal, Node::Router(RouterId(slot))),
            Kind::LogicalPort => {
                journal.ports.insert(PortId(slot), None);
                journal.detached.insert(PortId(slot));
            }
            Kind::SecurityPolicy => {
                journal.policies.insert(PolicyId(slot), None);
            }
            Kind::Host | Kind::Group | Kind::Service => {}
        }
    }

    /// Puts an object into a slot that is free.
    pub(super) fn occupy(&mut self, kind: Kind, object: Object) -> u32 {
        match kind {
            Kind::Host => {
                self.hosts
                    .insert(Host {
                        object,
                        ports: IdSet::default(),
                        placements: Vec::new(),
                        watched: None,
                    })
                    .0
            }
            Kind::LogicalSwitch => {
                let id = self.switches.insert(Switch {
                    object,
                    domain: DomainId(u32::MAX),
                    ports: IdSet::default(),
                    routers: Vec::new(),
                    groups: Vec::new(),
                });
                id.0
            }
            Kind::LogicalRouter => {
                let id = self.routers.insert(Router {
                    object,
                    domain: DomainId(u32::MAX),
                    links: Default::default(),
                    joined_by: Vec::new(),
                    silent_by: Vec::new(),
                    peered_by: Vec::new(),
                    groups: Vec::new(),
                });
                id.0
            }
            Kind::LogicalPort => {
                let id = self.ports.insert(Port {
                    object,
                    switch: SwitchId(u32::MAX),
                    host: None,
                    signature: SignatureId(u32::MAX),
                    named_by: SmallVec::new(),
                    groups: SmallVec::new(),
                    version: 0,
                });
                id.0
            }
            Kind::Group => {
                self.groups
                    .insert(Group {
                        object,
                        terms: Vec::new(),
                        depth: 0,
                        parents: Vec::new(),
                        signatures: IdSet::default(),
                        blocks: AddressBlocks::default(),
                        blocks_version: 0,
                        shards: Vec::new(),
                        applied_by: Vec::new(),
                        peer_of: Vec::new(),
                        applied: None,
                        interest: SmallMap::default(),
                    })
                    .0
            }
            Kind::Service => self.services.insert(Service { object, users: Vec::new() }).0,
            Kind::SecurityPolicy => {
                let id = self.policies.insert(Policy {
                    object,
                    applied_to: Vec::new(),
                    peers: Vec::new(),
                    services: Vec::new(),
                    version: 0,
                });
                id.0
            }
        }
    }

    /// Gives an object the state it shall have; one that was just created has it already.
    fn replace_object(&mut self, kind: Kind, slot: u32, new: &Object) {
        let object = self.object_mut(kind, slot);
        if !Arc::ptr_eq(&object.resource.spec, &new.resource.spec)
            || object.revision != new.revision
            || object.resource.metadata.labels != new.resource.metadata.labels
        {
            let project = object.resource.metadata.project.clone();
            *object = new.clone();
            // Equal, and shared with the other objects of the project.
            object.resource.metadata.project = project;
        }
    }

    fn change_routers(
        &mut self,
        journal: &mut Journal,
        changes: &[Prepared],
        slots: &[Option<u32>],
    ) {
        for (change, slot) in changes.iter().zip(slots) {
            if let (Kind::LogicalRouter, Some(slot)) = (change.key.kind, *slot) {
                let id = RouterId(slot);
                let links = match &change.new {
                    Some(_) => self.resolve_links(self.routers[id].spec()),
                    None => Default::default(),
                };
                self.relink(journal, id, links);
            }
        }
    }

    fn change_ports(&mut self, changes: &[Prepared], slots: &[Option<u32>]) {
        for (change, slot) in changes.iter().zip(slots) {
            let (Kind::LogicalPort, Some(slot)) = (change.key.kind, *slot) else { continue };
            let id = PortId(slot);
            if let Some(old) = &change.old {
                self.unplug(id, old);
            }
            if change.new.is_some() {
                self.plug(id);
            }
        }
    }

    /// Takes a detached port, which was `old`, out of the tables of its switch, host and signature.
    fn unplug(&mut self, id: PortId, old: &Object) {
        let port = &self.ports[id];
        let (switch, host, signature) = (port.switch, port.host, port.signature);
        self.switches[switch].ports.remove(id);
        let domain = self.switches[switch].domain;
        self.domains[domain].ports -= 1;
        if let Some(host) = host {
            self.hosts[host].ports.remove(id);
            if let Spec::LogicalPort(spec) = &*old.resource.spec {
                self.macs.remove(switch, spec.mac, id);
            }
        }
        if !planted::is(Bug::SignatureStale) {
            self.leave_signature(signature, id);
        }
    }

    /// Enters a detached port into the tables of its switch, host and signature, by its spec.
    fn plug(&mut self, id: PortId) {
        let resource = &self.ports[id].object.resource;
        let Spec::LogicalPort(spec) = &*resource.spec else { return };
        let slot = self.slot(Kind::LogicalSwitch, &spec.switch.project, &spec.switch.name);
        // `prepare` refuses transactions with dangling references.
        let Some(switch) = slot.map(SwitchId) else { unreachable!("the switch was checked") };
        let host = spec
            .host
            .as_ref()
            .and_then(|host| self.slot(Kind::Host, SYSTEM_PROJECT, host))
            .map(HostId);
        let mac = spec.mac;
        let signature = self.signature_of(id);
        self.signatures[signature].ports.insert(id);
        // Ports with equal labels share one copy of them.
        let labels = self.signatures[signature].labels.clone();
        let port = &mut self.ports[id];
        port.object.resource.metadata.labels = labels;
        port.switch = switch;
        port.host = host;
        port.signature = signature;
        self.switches[switch].ports.insert(id);
        let domain = self.switches[switch].domain;
        self.domains[domain].ports += 1;
        if let Some(host) = host {
            self.hosts[host].ports.insert(id);
            self.macs.insert(switch, mac, id);
        }
    }

    fn change_groups(
        &mut self,
        journal: &mut Journal,
        preparation: &Preparation,
        groups: &[GroupId],
    ) {
        for (key, &depth) in &preparation.depths {
            if let Some(slot) = self.slot_of(key) {
                self.groups[GroupId(slot)].depth = depth;
            }
        }
        let going: Set<GroupId> = preparation
            .changes
            .iter()
            .filter(|change| change.key.kind == Kind::Group && change.new.is_none())
            .filter_map(|change| self.slot_of(&change.key).map(GroupId))
            .collect();
        for &id in groups {
            if !going.contains(&id) {
                self.install_group(id);
            }
        }
        for &id in groups {
            if going.contains(&id) {
                self.clear_group(journal, id);
            }
        }
        let staying: Vec<GroupId> =
            groups.iter().filter(|id| !going.contains(*id)).copied().collect();
        self.reevaluate_groups(journal, &staying);
    }

    /// Empties a group that is going. Nothing refers to it any more.
    fn clear_group(&mut self, journal: &mut Journal, id: GroupId) {
        for port in self.members(id).iter() {
            self.leave(journal, id, port);
        }
        self.remember_blocks(journal, id);
        self.groups[id].blocks = AddressBlocks::default();
    }

    fn change_policies(
        &mut self,
        journal: &mut Journal,
        changes: &[Prepared],
        slots: &[Option<u32>],
    ) {
        for (change, slot) in changes.iter().zip(slots) {
            let (Kind::SecurityPolicy, Some(slot)) = (change.key.kind, *slot) else { continue };
            let id = PolicyId(slot);
            let links = change.new.as_ref().map(|_| self.resolve_policy(self.policies[id].spec()));
            // Whether a policy is applied to a group is part of its ports' items: keep those before
            // the first one comes or the last one goes.
            let old = &self.policies[id].applied_to;
            let new = links.as_ref().map_or(&[][..], |links| &links.applied_to);
            let flips: Vec<GroupId> = old
                .iter()
                .filter(|group| self.groups[**group].applied_by.len() == 1 && !new.contains(group))
                .chain(new.iter().filter(|group| self.groups[**group].applied_by.is_empty()))
                .copied()
                .collect();
            for group in flips {
                self.remember_members(journal, group);
            }
            self.retract_policy(journal, id);
            if let Some(links) = links {
                self.install_policy(journal, id, links);
            }
        }
    }

    /// Takes the names of what is gone, and its switches and routers out of their domains.
    fn drop_gone(&mut self, journal: &mut Journal, changes: &[Prepared], slots: &[Option<u32>]) {
        for (change, slot) in changes.iter().zip(slots) {
            let (Some(slot), None) = (*slot, &change.new) else { continue };
            match change.key.kind {
                Kind::LogicalSwitch => self.exit_domain(journal, Node::Switch(SwitchId(slot))),
                Kind::LogicalRouter => self.exit_domain(journal, Node::Router(RouterId(slot))),
                _ => {}
            }
            self.names.remove(change.key.kind, &change.key.project, &change.key.name);
        }
    }

    /// True for a port that is deleted and only keeps its slot until the end of the transaction.
    pub(super) fn is_gone(&self, id: PortId) -> bool {
        let port = &self.ports[id];
        // A deleted port is unplugged, and a plugged one is in its switch's table.
        port.switch.0 == u32::MAX || !self.switches[port.switch].ports.contains(id)
    }

    // ---- the end ----

    /// Gives changed items the revision as their version.
    fn commit(&mut self, changes: &Changes) {
        for change in &changes.items {
            let version = match change.kind {
                super::api::ItemChangeKind::Delta(_) if planted::is(Bug::VersionKept) => continue,
                super::api::ItemChangeKind::Removed => 0,
                _ => changes.revision,
            };
            self.set_version(change.key, version);
        }
    }

    pub(super) fn set_version(&mut self, key: ItemKey, version: Revision) {
        match key {
            ItemKey::Domain(vni) => {
                if let Some(&id) = self.vnis.get(&vni) {
                    self.domains[id].version = version;
                }
            }
            ItemKey::Locators(vni) => {
                if let Some(&id) = self.vnis.get(&vni) {
                    self.domains[id].locators_version = version;
                }
            }
            ItemKey::Port(uid) => {
                if let Some((Kind::LogicalPort, slot)) = self.uids.get(uid) {
                    self.ports[PortId(slot)].version = version;
                }
            }
            ItemKey::Policy(uid) => {
                if let Some((Kind::SecurityPolicy, slot)) = self.uids.get(uid) {
                    self.policies[PolicyId(slot)].version = version;
                }
            }
            ItemKey::Blocks(uid) => {
                if let Some((Kind::Group, slot)) = self.uids.get(uid) {
                    self.groups[GroupId(slot)].blocks_version = version;
                }
            }
            ItemKey::Shard { group, domain } => {
                if let (Some((Kind::Group, slot)), Some(&domain)) =
                    (self.uids.get(group), self.vnis.get(&domain))
                    && let Some(shard) = self.shard_of(GroupId(slot), domain)
                {
                    self.shards[shard].version = version;
                }
            }
        }
    }

    /// Frees what a transaction left behind.
    fn release(&mut self, freed: &[(Kind, u32)], dead_domains: &[DomainId]) {
        for &(kind, slot) in freed {
            let uid = self.object(kind, slot).uid;
            self.uids.remove(uid);
            match kind {
                Kind::Host => drop(self.hosts.remove(HostId(slot))),
                Kind::LogicalSwitch => drop(self.switches.remove(SwitchId(slot))),
                Kind::LogicalRouter => drop(self.routers.remove(RouterId(slot))),
                Kind::LogicalPort => drop(self.ports.remove(PortId(slot))),
                Kind::Group => drop(self.groups.remove(GroupId(slot))),
                Kind::Service => drop(self.services.remove(ServiceId(slot))),
                Kind::SecurityPolicy => drop(self.policies.remove(PolicyId(slot))),
            }
        }
        for &id in dead_domains {
            let dead =
                self.domains.get(id).is_some_and(|d| d.switches.is_empty() && d.routers.is_empty());
            if dead
                && let Some(domain) = self.domains.remove(id)
                && self.vnis.get(&domain.vni) == Some(&id)
            {
                self.vnis.remove(&domain.vni);
            }
        }
    }

    /// Frees the components that are left empty while a snapshot is imported.
    pub(super) fn release_dead_domains(&mut self) {
        let dead: Vec<DomainId> = self
            .domains
            .iter()
            .filter(|(_, domain)| domain.switches.is_empty() && domain.routers.is_empty())
            .map(|(id, _)| id)
            .collect();
        self.release(&[], &dead);
    }

    pub(super) fn watch(&mut self, host: HostId) {
        let mut watched = Watched::default();
        self.fill_watched(host, &mut watched);
        self.hosts[host].watched = Some(Box::new(watched));
    }

    // ---- undoing ----

    /// Gives components the identities they had before the transaction that is being undone.
    pub(super) fn restore_vnis(&mut self, back: &Journal, forward: &Journal) {
        let mut wanted: Map<DomainId, Vni> = Map::default();
        let mut collect = |engine: &Engine, uid, vni| {
            let Some((kind, slot)) = engine.uids.get(uid) else { return };
            if engine.slot_of(&engine.object(kind, slot).resource.key()) != Some(slot) {
                return; // It is leaving, and its component with it.
            }
            let domain = match kind {
                Kind::LogicalSwitch => engine.switches[SwitchId(slot)].domain,
                Kind::LogicalRouter => engine.routers[RouterId(slot)].domain,
                _ => return,
            };
            wanted.insert(domain, vni);
        };
        for (&uid, &vni) in &forward.vnis {
            collect(self, uid, vni);
        }
        for (&uid, &vni) in &back.vnis {
            // A node that only the way back moved had the same VNI before the transaction.
            if !forward.vnis.contains_key(&uid) {
                collect(self, uid, vni);
            }
        }
        for (&domain, &vni) in &wanted {
            let now = self.domains[domain].vni;
            if self.vnis.get(&now) == Some(&domain) {
                self.vnis.remove(&now);
            }
            self.domains[domain].vni = vni;
        }
        for (&domain, &vni) in &wanted {
            self.vnis.insert(vni, domain);
        }
    }

    /// Gives the items that the transaction or the way back touched the versions they had.
    fn restore_versions(&mut self, back: &Journal, forward: &Journal) {
        if planted::is(Bug::UndoForgetful) {
            return;
        }
        for key in self.touched_items(back) {
            if !forward.versions.contains_key(&key) {
                self.set_version(key, back.versions.get(&key).copied().unwrap_or(0));
            }
        }
        // Not all of these need be touched on the way back: a part of a domain that was split off
        // can stay as it is and get the identity of the whole again.
        for (&key, &version) in &forward.versions {
            self.set_version(key, version);
        }
    }
}

/// The refusal of two ports with one address. Of several, the first by address and names: dense
/// identifiers differ from replica to replica, and may not show in an outcome.
pub(super) fn duplicate_address(journal: &Journal) -> Option<Refusal> {
    let named = journal.clashes.iter().filter_map(|((_, address), ports)| {
        let mut ports = ports.iter();
        Some((*address, ports.next()?, ports.next()?))
    });
    let (address, first, second) = named.min()?;
    Some(Refusal::DuplicateAddress { address, first: first.clone(), second: second.clone() })
}

fn object_changes(engine: &Engine, preparation: Preparation) -> Vec<ObjectChange> {
    let Preparation { changes, unchanged, .. } = preparation;
    let mut list: Vec<(usize, ObjectChange)> = Vec::with_capacity(changes.len() + unchanged.len());
    for Prepared { place, old, new, .. } in changes {
        let (outcome, object) = match (old, new) {
            (None, Some(new)) => (Outcome::Created, new),
            (Some(_), Some(new)) => (Outcome::Configured, new),
            (Some(old), None) => (Outcome::Deleted, old),
            (None, None) => continue,
        };
        list.push((place, ObjectChange { outcome, object }));
    }
    for (place, key) in unchanged {
        if let Some(slot) = engine.slot_of(&key) {
            let object = engine.object(key.kind, slot).clone();
            list.push((place, ObjectChange { outcome: Outcome::Unchanged, object }));
        }
    }
    // In the transaction's order already, apart from those just added.
    list.sort_by_key(|(place, _)| *place);
    list.into_iter().map(|(_, change)| change).collect()
}
