//! From a transaction to the objects it changes: everything that can be checked without touching
//! the state is checked here.

use super::api::{Object, Refusal};
use super::ids::{GroupId, Map, Set};
use super::state::Engine;
use crate::model::{
    GroupTerm, Kind, Metadata, ObjectKey, Operation, POLICY_SIZE_MAX, PORT_ADDRESSES_MAX, Resource,
    Revision, SERVICE_SIZE_MAX, SYSTEM_PROJECT, ServiceEntry, Spec, TRANSACTION_OPERATIONS_MAX,
    Text, Transaction, Uid,
};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::net::IpAddr;

/// The deepest nesting of groups.
const GROUP_NESTING_MAX: u32 = 32;

/// One object before and after a transaction.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) key: ObjectKey,
    /// Where it stands in the transaction.
    pub(super) place: usize,
    pub(super) old: Option<Object>,
    pub(super) new: Option<Object>,
}

/// What a transaction comes to.
#[derive(Debug, Clone, Default)]
pub(super) struct Preparation {
    /// The objects that change: first those that the transaction names, in its order, then those
    /// that a cascade deletes, sorted by key. Whatever is given out to new objects is given out in
    /// this order, which is the same on every replica.
    pub(super) changes: Vec<Prepared>,
    /// Those that were put and are already so, each with where it stands in the transaction.
    pub(super) unchanged: Vec<(usize, ObjectKey)>,
    /// The new depth of groups whose depth may change.
    pub(super) depths: Map<ObjectKey, u32>,
    /// The depth that those of them had which exist.
    pub(super) depths_before: Map<ObjectKey, u32>,
    /// The last uid given out.
    pub(super) last_uid: u64,
}

/// What a transaction says of one object.
enum Named<'a> {
    Put(&'a Resource),
    Delete(&'a ObjectKey),
    /// Not named, but deleted by a cascade.
    Swept(ObjectKey),
}

impl<'a> Named<'a> {
    fn parts(&self) -> (Kind, &Text, &Text) {
        match self {
            Named::Put(Resource { metadata, spec }) => {
                (spec.kind(), &metadata.project, &metadata.name)
            }
            Named::Delete(ObjectKey { kind, project, name })
            | Named::Swept(ObjectKey { kind, project, name }) => (*kind, project, name),
        }
    }

    fn key(&self) -> ObjectKey {
        let (kind, project, name) = self.parts();
        ObjectKey { kind, project: project.clone(), name: name.clone() }
    }

    fn is(&self, kind: Kind, project: &str, name: &str) -> bool {
        let parts = self.parts();
        parts.0 == kind && **parts.2 == *name && **parts.1 == *project
    }

    fn hash(&self) -> u64 {
        let (kind, project, name) = self.parts();
        hash_of(kind, project, name)
    }

    fn resource(&self) -> Option<&'a Resource> {
        match self {
            Named::Put(resource) => Some(resource),
            Named::Delete(_) | Named::Swept(_) => None,
        }
    }
}

/// Keys are hashed for one transaction, and nothing depends on their order.
fn hash_of(kind: Kind, project: &str, name: &str) -> u64 {
    FixedState::default().hash_one((kind, project, name))
}

/// The state as it would be: what the transaction names, over what there is.
struct Overlay<'a> {
    engine: &'a Engine,
    /// Each with the slot of the object, if it exists.
    named: Vec<(Named<'a>, Option<u32>)>,
    /// Where each stands in `named`, by the hash of its key.
    places: HashTable<usize>,
    deletes: bool,
}

impl<'a> Overlay<'a> {
    fn new(engine: &'a Engine, operations: usize) -> Overlay<'a> {
        Overlay {
            engine,
            named: Vec::with_capacity(operations),
            places: HashTable::with_capacity(operations),
            deletes: false,
        }
    }

    /// Adds what the transaction says of an object; false if it has said something before.
    fn add(&mut self, named: Named<'a>, slot: Option<u32>) -> bool {
        let hash = named.hash();
        let (kind, project, name) = named.parts();
        let is_same = |&place: &usize| self.named[place].0.is(kind, project, name);
        if self.places.find(hash, is_same).is_some() {
            return false;
        }
        let rehash = |&place: &usize| self.named[place].0.hash();
        self.places.insert_unique(hash, self.named.len(), rehash);
        self.deletes |= named.resource().is_none();
        self.named.push((named, slot));
        true
    }

    fn find(&self, kind: Kind, project: &str, name: &str) -> Option<&Named<'a>> {
        let hash = hash_of(kind, project, name);
        let is_same = |&place: &usize| self.named[place].0.is(kind, project, name);
        let place = self.places.find(hash, is_same)?;
        Some(&self.named[*place].0)
    }

    fn find_key(&self, key: &ObjectKey) -> Option<&Named<'a>> {
        self.find(key.kind, &key.project, &key.name)
    }

    fn exists(&self, kind: Kind, project: &str, name: &str) -> bool {
        // Most references are to what there is already, and most transactions delete nothing.
        if !self.deletes && self.engine.slot(kind, project, name).is_some() {
            return true;
        }
        match self.find(kind, project, name) {
            Some(named) => named.resource().is_some(),
            None => self.engine.slot(kind, project, name).is_some(),
        }
    }

    fn check_references(&self, resource: &Resource) -> Result<(), Refusal> {
        let mut dangling = None;
        resource.spec.visit_references(&mut |kind, project, name| {
            if dangling.is_none() && !self.exists(kind, project, name) {
                dangling = Some(ObjectKey::new(kind, project, name));
            }
        });
        match dangling {
            Some(target) => Err(Refusal::DanglingReference { key: resource.key(), target }),
            None => Ok(()),
        }
    }

    fn resource(&self, key: &ObjectKey) -> Option<&Resource> {
        match self.find_key(key) {
            Some(named) => named.resource(),
            None => {
                let slot = self.engine.slot_of(key)?;
                Some(&self.engine.object(key.kind, slot).resource)
            }
        }
    }
}

impl Engine {
    /// Checks a transaction against the state and its own rules.
    pub(super) fn prepare(
        &self,
        transaction: &Transaction,
        revision: Revision,
    ) -> Result<Preparation, Refusal> {
        let operations = transaction.operations.len();
        if operations > TRANSACTION_OPERATIONS_MAX {
            return Err(Refusal::TooLarge { operations, max: TRANSACTION_OPERATIONS_MAX });
        }
        if let Some(expected) = transaction.expected_revision
            && expected != self.revision
        {
            return Err(Refusal::StateConflict { expected, found: self.revision });
        }
        let mut overlay = Overlay::new(self, operations);
        let mut cascades = Vec::new();
        for operation in &transaction.operations {
            self.take_operation(operation, &mut overlay, &mut cascades)?;
        }
        self.cascade(&mut overlay, cascades)?;
        let mut preparation = self.compare(&overlay, revision);
        for change in &preparation.changes {
            if let Some(new) = &change.new {
                check_resource(&new.resource)?;
                overlay.check_references(&new.resource)?;
            }
        }
        // Objects that are put as they are escape the cascade, and may now refer to nothing.
        if overlay.deletes {
            for (_, key) in &preparation.unchanged {
                if let Some(resource) = overlay.resource(key) {
                    overlay.check_references(resource)?;
                }
            }
        }
        let groups = preparation.changes.iter().filter(|change| self.may_change_depth(change));
        preparation.depths =
            self.group_depths(&overlay, groups.map(|change| change.key.clone()).collect())?;
        for key in preparation.depths.keys() {
            if let Some(slot) = self.slot_of(key) {
                let depth = self.groups[GroupId(slot)].depth;
                preparation.depths_before.insert(key.clone(), depth);
            }
        }
        Ok(preparation)
    }

    /// Checks what the objects of a whole state, all of which have their slots, say of one another, as
    /// it is checked for those of a transaction. Returns the depths of the groups that refer to others.
    pub(super) fn check_loaded(&self) -> Result<Map<ObjectKey, u32>, Refusal> {
        let overlay = Overlay::new(self, 0);
        let mut nested = Vec::new();
        // Ports of one switch or host mostly share the texts that name it, and where the texts lie
        // says that they are the same without looking at them.
        let mut known: Set<(Kind, *const u8, *const u8)> = Set::default();
        for Object { resource, .. } in self.objects() {
            let mut is_new = false;
            resource.spec.visit_references(&mut |kind, project, name| {
                is_new |= known.insert((kind, project.as_ptr(), name.as_ptr()));
            });
            if is_new {
                overlay.check_references(resource)?;
            }
            if matches!(&*resource.spec, Spec::Group(spec) if spec.group_refs().next().is_some()) {
                nested.push(resource.key());
            }
        }
        self.group_depths(&overlay, nested)
    }

    fn take_operation<'t>(
        &self,
        operation: &'t Operation,
        overlay: &mut Overlay<'t>,
        cascades: &mut Vec<(&'t ObjectKey, bool)>,
    ) -> Result<(), Refusal> {
        let (named, expected) = match operation {
            Operation::Put { resource, expected_revision } => {
                (Named::Put(resource), expected_revision)
            }
            Operation::Delete { key, cascade, expected_revision } => {
                cascades.push((key, *cascade));
                (Named::Delete(key), expected_revision)
            }
        };
        let (kind, project, name) = named.parts();
        let slot = self.slot(kind, project, name);
        let found = slot.map(|slot| self.object(kind, slot).revision);
        if named.resource().is_none() && found.is_none() {
            return Err(Refusal::NotFound { key: named.key() });
        }
        if let Some(expected) = *expected
            && expected != found.unwrap_or(0)
        {
            let found = found.unwrap_or(0);
            return Err(Refusal::Conflict { key: named.key(), expected, found });
        }
        if overlay.add(named, slot) {
            return Ok(());
        }
        let key = match operation {
            Operation::Put { resource, .. } => resource.key(),
            Operation::Delete { key, .. } => key.clone(),
        };
        Err(Refusal::NamedTwice { key })
    }

    /// Deletes what refers to deleted objects, where that was asked for, and refuses the rest.
    /// Objects that the transaction puts are judged by their new references, elsewhere.
    fn cascade(
        &self,
        overlay: &mut Overlay<'_>,
        deleted: Vec<(&ObjectKey, bool)>,
    ) -> Result<(), Refusal> {
        let mut queue: Vec<ObjectKey> =
            deleted.iter().filter(|(_, cascade)| *cascade).map(|(key, _)| (*key).clone()).collect();
        let mut seen: BTreeSet<ObjectKey> = queue.iter().cloned().collect();
        let mut swept: BTreeSet<ObjectKey> = BTreeSet::new();
        while let Some(key) = queue.pop() {
            for user in self.users(&key) {
                // A cascade also goes on through what is deleted by name and without cascade.
                let is_put = overlay.find_key(&user).is_some_and(|n| n.resource().is_some());
                if !is_put && seen.insert(user.clone()) {
                    if overlay.find_key(&user).is_none() {
                        swept.insert(user.clone());
                    }
                    queue.push(user);
                }
            }
        }
        for key in swept {
            let slot = self.slot_of(&key);
            overlay.add(Named::Swept(key), slot);
        }
        for (key, _) in deleted.into_iter().filter(|(_, cascade)| !cascade) {
            let mut users = self.users(key);
            users.retain(|user| overlay.find_key(user).is_none());
            if !users.is_empty() {
                return Err(Refusal::StillUsed { key: key.clone(), users });
            }
        }
        Ok(())
    }

    fn compare(&self, overlay: &Overlay<'_>, revision: Revision) -> Preparation {
        let mut preparation = Preparation {
            changes: Vec::with_capacity(overlay.named.len()),
            last_uid: self.last_uid,
            ..Preparation::default()
        };
        for (place, (named, slot)) in overlay.named.iter().enumerate() {
            let old = slot.map(|slot| self.object(named.parts().0, slot));
            let new = match (named.resource(), old) {
                (None, _) => None,
                (Some(resource), Some(old)) => {
                    if old.resource == *resource {
                        preparation.unchanged.push((place, named.key()));
                        continue;
                    }
                    Some(Object { resource: resource.clone(), revision, ..*old })
                }
                (Some(resource), None) => {
                    preparation.last_uid += 1;
                    Some(Object {
                        uid: Uid(preparation.last_uid),
                        created_revision: revision,
                        revision,
                        resource: resource.clone(),
                    })
                }
            };
            preparation.changes.push(Prepared { key: named.key(), place, old: old.cloned(), new });
        }
        preparation
    }

    /// True for a group that stays, unless it is as deep as a new one, 0, before and after.
    fn may_change_depth(&self, change: &Prepared) -> bool {
        let Some(Spec::Group(spec)) = change.new.as_ref().map(|new| &*new.resource.spec) else {
            return false;
        };
        let was_deep = change.old.is_some()
            && self.slot_of(&change.key).is_some_and(|slot| self.groups[GroupId(slot)].depth > 0);
        was_deep || spec.group_refs().next().is_some()
    }

    /// The depths of groups that change and of those above them; refuses cycles.
    fn group_depths(
        &self,
        overlay: &Overlay<'_>,
        mut affected: Vec<ObjectKey>,
    ) -> Result<Map<ObjectKey, u32>, Refusal> {
        let mut seen: BTreeSet<ObjectKey> = affected.iter().cloned().collect();
        let mut next = 0;
        while next < affected.len() {
            if let Some(slot) = self.slot_of(&affected[next]) {
                for &parent in &self.groups[GroupId(slot)].parents {
                    let key = self.groups[parent].object.resource.key();
                    if overlay.resource(&key).is_some() && seen.insert(key.clone()) {
                        affected.push(key);
                    }
                }
            }
            next += 1;
        }
        let mut depths = Map::default();
        for key in affected {
            depth(overlay, &key, &seen, &mut Vec::new(), &mut depths)?;
        }
        Ok(depths)
    }
}

/// The depth of a group, by its references; those outside of `affected` have kept theirs.
fn depth(
    overlay: &Overlay<'_>,
    key: &ObjectKey,
    affected: &BTreeSet<ObjectKey>,
    path: &mut Vec<ObjectKey>,
    depths: &mut Map<ObjectKey, u32>,
) -> Result<u32, Refusal> {
    if let Some(&depth) = depths.get(key) {
        return Ok(depth);
    }
    if let Some(at) = path.iter().position(|group| group == key) {
        let mut cycle = path[at..].to_vec();
        cycle.push(key.clone());
        return Err(Refusal::GroupCycle { cycle });
    }
    if !affected.contains(key)
        && let Some(slot) = overlay.engine.slot_of(key)
    {
        return Ok(overlay.engine.groups[GroupId(slot)].depth);
    }
    if path.len() as u32 > GROUP_NESTING_MAX {
        // Either too deep, or a cycle that is longer than the limit: refused both ways.
        return Err(too_deep(&path[0]));
    }
    path.push(key.clone());
    let mut deepest = 0;
    if let Some(Spec::Group(spec)) = overlay.resource(key).map(|resource| &*resource.spec) {
        for child in spec.group_refs() {
            let child = child.to_key(Kind::Group);
            deepest = deepest.max(depth(overlay, &child, affected, path, depths)? + 1);
        }
    }
    path.pop();
    if deepest > GROUP_NESTING_MAX {
        return Err(too_deep(key));
    }
    depths.insert(key.clone(), deepest);
    Ok(deepest)
}

fn too_deep(key: &ObjectKey) -> Refusal {
    Refusal::Invalid {
        key: key.clone(),
        problem: format!(
            "groups are nested more than {GROUP_NESTING_MAX} deep: refer to the inner groups directly"
        ),
    }
}

/// The rules that concern one resource alone.
pub(super) fn check_resource(resource: &Resource) -> Result<(), Refusal> {
    let invalid = |problem: String| Err(Refusal::Invalid { key: resource.key(), problem });
    let Metadata { project, name, .. } = &resource.metadata;
    if resource.spec.kind().is_fleet_wide() && **project != *SYSTEM_PROJECT {
        return invalid(format!(
            "hosts belong to project {SYSTEM_PROJECT:?}, not {project:?}: leave the project out"
        ));
    }
    match &*resource.spec {
        Spec::LogicalPort(port) => {
            if port.addresses.len() > PORT_ADDRESSES_MAX {
                return invalid(format!(
                    "it has {} addresses: the most is {PORT_ADDRESSES_MAX}",
                    port.addresses.len()
                ));
            }
            for (at, &address) in port.addresses.iter().enumerate() {
                if port.addresses[..at].contains(&address) {
                    return invalid(format!("address {address} is listed twice: keep one"));
                }
                if !is_endpoint_address(address) {
                    return invalid(format!(
                        "{address} is not the address of one endpoint: it is unspecified, \
                         multicast, loopback or the broadcast address"
                    ));
                }
            }
        }
        Spec::LogicalRouter(router) => {
            let me = (project, name);
            for other in router.uplinks.iter().chain(&router.peerings) {
                if (&other.project, &other.name) == me {
                    return invalid("it names itself as an uplink or peering".to_owned());
                }
            }
            let mut seen = BTreeSet::new();
            for interface in &router.interfaces {
                if !seen.insert(&interface.switch) {
                    return invalid(format!(
                        "it has two interfaces on switch {}: give one interface all addresses",
                        interface.switch
                    ));
                }
            }
        }
        Spec::Group(group) => {
            for term in &group.terms {
                if matches!(term, GroupTerm::Intersection(groups) if groups.is_empty()) {
                    return invalid("an intersection of no groups: name at least one".to_owned());
                }
            }
        }
        Spec::Service(service) => {
            let size: usize = service.entries.iter().map(ServiceEntry::size).sum();
            if size > SERVICE_SIZE_MAX {
                return invalid(format!(
                    "its entries and ranges of ports are {size}: the most is {SERVICE_SIZE_MAX}; \
                     make several services of it"
                ));
            }
        }
        Spec::SecurityPolicy(policy) => {
            let size = policy.size();
            if size > POLICY_SIZE_MAX {
                return invalid(format!(
                    "its rules, peers and services come to {size} units: the most is \
                     {POLICY_SIZE_MAX}; divide it into several policies"
                ));
            }
        }
        Spec::Host(_) | Spec::LogicalSwitch(_) => {}
    }
    Ok(())
}

/// True if an address can be that of one workload.
fn is_endpoint_address(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}
