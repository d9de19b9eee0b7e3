//! From a transaction to the objects it changes: everything that can be checked without touching
//! the state is checked here.

use super::api::{Object, Refusal};
use super::ids::Map;
use super::state::Engine;
use crate::model::{
    GroupTerm, Kind, ObjectKey, Operation, PORT_ADDRESSES_MAX, Resource, Revision, SYSTEM_PROJECT,
    Spec, TRANSACTION_OPERATIONS_MAX, Transaction, Uid,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The deepest nesting of groups.
const GROUP_NESTING_MAX: u32 = 32;

/// One object before and after a transaction.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) key: ObjectKey,
    pub(super) old: Option<Object>,
    pub(super) new: Option<Object>,
}

/// What a transaction comes to.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    /// The objects that change, sorted by key.
    pub(super) changes: Vec<Prepared>,
    /// Those that were put and are already so.
    pub(super) unchanged: Vec<ObjectKey>,
    /// The new depth of groups whose depth may change.
    pub(super) depths: Map<ObjectKey, u32>,
    /// The depth that those of them had which exist.
    pub(super) depths_before: Map<ObjectKey, u32>,
    /// The last uid given out.
    pub(super) last_uid: u64,
}

/// The state as it would be: what the transaction names, over what there is.
struct Overlay<'a> {
    engine: &'a Engine,
    /// `None` is a deletion.
    named: Map<ObjectKey, Option<Resource>>,
}

impl Overlay<'_> {
    fn exists(&self, key: &ObjectKey) -> bool {
        match self.named.get(key) {
            Some(resource) => resource.is_some(),
            None => self.engine.slot_of(key).is_some(),
        }
    }

    fn check_references(&self, key: &ObjectKey, resource: &Resource) -> Result<(), Refusal> {
        match resource.spec.references().into_iter().find(|target| !self.exists(target)) {
            Some(target) => Err(Refusal::DanglingReference { key: key.clone(), target }),
            None => Ok(()),
        }
    }

    fn resource(&self, key: &ObjectKey) -> Option<&Resource> {
        match self.named.get(key) {
            Some(resource) => resource.as_ref(),
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
        self.prepare_all(transaction, revision)
    }

    /// [`Engine::prepare`] for any number of operations.
    pub(super) fn prepare_all(
        &self,
        transaction: &Transaction,
        revision: Revision,
    ) -> Result<Preparation, Refusal> {
        if let Some(expected) = transaction.expected_revision
            && expected != self.revision
        {
            return Err(Refusal::StateConflict { expected, found: self.revision });
        }
        let mut overlay = Overlay { engine: self, named: Map::default() };
        let mut cascades = Vec::new();
        for operation in &transaction.operations {
            self.take_operation(operation, &mut overlay, &mut cascades)?;
        }
        self.cascade(&mut overlay, cascades)?;
        let mut preparation = self.compare(overlay.named.clone(), revision);
        for change in &preparation.changes {
            if let Some(new) = &change.new {
                check_resource(&change.key, &new.resource)?;
                overlay.check_references(&change.key, &new.resource)?;
            }
        }
        // Objects that are put as they are escape the cascade, and may now refer to nothing.
        for key in &preparation.unchanged {
            if let Some(resource) = overlay.resource(key) {
                overlay.check_references(key, resource)?;
            }
        }
        preparation.depths = self.group_depths(&overlay, &preparation.changes)?;
        for key in preparation.depths.keys() {
            if let Some(slot) = self.slot_of(key) {
                let depth = self.groups[super::ids::GroupId(slot)].depth;
                preparation.depths_before.insert(key.clone(), depth);
            }
        }
        Ok(preparation)
    }

    fn take_operation<'t>(
        &self,
        operation: &'t Operation,
        overlay: &mut Overlay<'_>,
        cascades: &mut Vec<(&'t ObjectKey, bool)>,
    ) -> Result<(), Refusal> {
        let (key, expected, resource) = match operation {
            Operation::Put { resource, expected_revision } => {
                (resource.key(), expected_revision, Some(resource.clone()))
            }
            Operation::Delete { key, cascade, expected_revision } => {
                cascades.push((key, *cascade));
                (key.clone(), expected_revision, None)
            }
        };
        let found = self.slot_of(&key).map(|slot| self.object(key.kind, slot).revision);
        if resource.is_none() && found.is_none() {
            return Err(Refusal::NotFound { key });
        }
        if let Some(expected) = *expected
            && expected != found.unwrap_or(0)
        {
            return Err(Refusal::Conflict { key, expected, found: found.unwrap_or(0) });
        }
        if overlay.named.insert(key.clone(), resource).is_some() {
            return Err(Refusal::NamedTwice { key });
        }
        Ok(())
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
        while let Some(key) = queue.pop() {
            for user in self.users(&key) {
                // A cascade also goes on through what is deleted by name and without cascade.
                let is_put = matches!(overlay.named.get(&user), Some(Some(_)));
                if !is_put && seen.insert(user.clone()) {
                    overlay.named.insert(user.clone(), None);
                    queue.push(user);
                }
            }
        }
        for (key, _) in deleted.into_iter().filter(|(_, cascade)| !cascade) {
            let mut users = self.users(key);
            users.retain(|user| !overlay.named.contains_key(user));
            if !users.is_empty() {
                return Err(Refusal::StillUsed { key: key.clone(), users });
            }
        }
        Ok(())
    }

    fn compare(&self, named: Map<ObjectKey, Option<Resource>>, revision: Revision) -> Preparation {
        let mut named: Vec<(ObjectKey, Option<Resource>)> = named.into_iter().collect();
        named.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut preparation = Preparation { last_uid: self.last_uid, ..Preparation::default() };
        for (key, resource) in named {
            let old = self.slot_of(&key).map(|slot| self.object(key.kind, slot).clone());
            let new = match (resource, &old) {
                (None, _) => None,
                (Some(resource), Some(old)) => {
                    if old.resource == resource {
                        preparation.unchanged.push(key);
                        continue;
                    }
                    Some(Object { resource, revision, ..old.clone() })
                }
                (Some(resource), None) => {
                    preparation.last_uid += 1;
                    Some(Object {
                        uid: Uid(preparation.last_uid),
                        created_revision: revision,
                        revision,
                        resource,
                    })
                }
            };
            preparation.changes.push(Prepared { key, old, new });
        }
        preparation
    }

    /// The depths of the groups that change and of those above them; refuses cycles.
    fn group_depths(
        &self,
        overlay: &Overlay<'_>,
        changes: &[Prepared],
    ) -> Result<Map<ObjectKey, u32>, Refusal> {
        let mut affected: Vec<ObjectKey> = changes
            .iter()
            .filter(|change| change.key.kind == Kind::Group && change.new.is_some())
            .map(|change| change.key.clone())
            .collect();
        let mut seen: BTreeSet<ObjectKey> = affected.iter().cloned().collect();
        let mut next = 0;
        while next < affected.len() {
            if let Some(slot) = self.slot_of(&affected[next]) {
                for &parent in &self.groups[super::ids::GroupId(slot)].parents {
                    let key = self.groups[parent].object.resource.key();
                    if overlay.exists(&key) && seen.insert(key.clone()) {
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
        return Ok(overlay.engine.groups[super::ids::GroupId(slot)].depth);
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
fn check_resource(key: &ObjectKey, resource: &Resource) -> Result<(), Refusal> {
    let invalid = |problem: String| Err(Refusal::Invalid { key: key.clone(), problem });
    if key.kind.is_fleet_wide() && &*key.project != SYSTEM_PROJECT {
        return invalid(format!(
            "hosts belong to project {SYSTEM_PROJECT:?}, not {:?}: leave the project out",
            key.project
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
            let mut seen = BTreeSet::new();
            for &address in &port.addresses {
                if !seen.insert(address) {
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
            let me = (&key.project, &key.name);
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
        Spec::Host(_) | Spec::LogicalSwitch(_) | Spec::Service(_) | Spec::SecurityPolicy(_) => {}
    }
    Ok(())
}

/// True if an address can be that of one workload.
fn is_endpoint_address(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}
