//! What a transaction may do, and every reason there is to refuse it.

use crate::Resources;
use crate::domains::Domains;
use crate::groups;
use spanwire_topology::engine::{Outcome, Refusal};
use spanwire_topology::model::{
    GroupTerm, LogicalPortSpec, Operation, PORT_ADDRESSES_MAX, SYSTEM_PROJECT,
    TRANSACTION_OPERATIONS_MAX,
};
use spanwire_topology::{Kind, ObjectKey, ObjectRef, Resource, Revision, Spec, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// An object as it must be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The revision at which it was created.
    pub created_revision: Revision,
    /// The revision of its last change.
    pub revision: Revision,
    /// What was applied.
    pub resource: Resource,
}

/// The objects of a network, changed by transactions: what an engine must store.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The revision of the last transaction.
    pub revision: Revision,
    /// The objects.
    pub objects: BTreeMap<ObjectKey, Stored>,
}

impl State {
    /// The resources.
    pub fn resources(&self) -> Resources {
        self.objects.iter().map(|(key, stored)| (key.clone(), stored.resource.clone())).collect()
    }

    /// The state after a transaction, and what it did to the objects that it names or deletes;
    /// or every reason to refuse it.
    pub fn apply(
        &self,
        transaction: &Transaction,
        revision: Revision,
    ) -> Result<(State, BTreeMap<ObjectKey, Outcome>), Vec<Refusal>> {
        let mut refusals = self.preconditions(transaction);
        let after = self.candidate(transaction);
        let (kept, still_used) = self.deletions(transaction, &after);
        refusals.extend(still_used);
        // What stands in the way of a deletion and was not put itself is named by `StillUsed`.
        refusals.extend(problems(&kept).into_iter().filter(|problem| match problem {
            Refusal::DanglingReference { key, .. } => puts(transaction).any(|put| put == *key),
            _ => true,
        }));
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let mut outcomes = BTreeMap::new();
        let mut objects = BTreeMap::new();
        for (key, resource) in &kept {
            let (outcome, stored) = match self.objects.get(key) {
                Some(stored) if stored.resource == *resource => {
                    (Outcome::Unchanged, stored.clone())
                }
                before => {
                    let created_revision = before.map_or(revision, |b| b.created_revision);
                    let stored = Stored { created_revision, revision, resource: resource.clone() };
                    let outcome =
                        if before.is_some() { Outcome::Configured } else { Outcome::Created };
                    (outcome, stored)
                }
            };
            objects.insert(key.clone(), stored);
            if named(transaction).any(|name| name == *key) {
                outcomes.insert(key.clone(), outcome);
            }
        }
        for key in self.objects.keys().filter(|key| !kept.contains_key(*key)) {
            outcomes.insert(key.clone(), Outcome::Deleted);
        }
        Ok((State { revision, objects }, outcomes))
    }

    /// True if what a refusal of this transaction says is so.
    pub fn justifies(&self, transaction: &Transaction, refusal: &Refusal) -> bool {
        let found = match self.apply(transaction, self.revision + 1) {
            Ok(_) => return false,
            Err(found) => found,
        };
        let after = self.candidate(transaction);
        found.iter().any(|reason| match (reason, refusal) {
            (Refusal::Invalid { key: a, .. }, Refusal::Invalid { key: b, .. }) => a == b,
            (Refusal::GroupCycle { .. }, Refusal::GroupCycle { cycle }) => {
                is_group_cycle(&after, cycle)
            }
            (
                Refusal::DuplicateAddress { address, first, second },
                Refusal::DuplicateAddress { address: other, first: a, second: b },
            ) => address == other && ((first, second) == (a, b) || (first, second) == (b, a)),
            (reason, refusal) => reason == refusal,
        })
    }

    /// What is expected of the state before, and is not so.
    fn preconditions(&self, transaction: &Transaction) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if let Some(expected) = transaction.expected_revision
            && expected != self.revision
        {
            refusals.push(Refusal::StateConflict { expected, found: self.revision });
        }
        let operations = transaction.operations.len();
        if operations > TRANSACTION_OPERATIONS_MAX {
            refusals.push(Refusal::TooLarge { operations, max: TRANSACTION_OPERATIONS_MAX });
        }
        let mut seen = BTreeSet::new();
        for operation in &transaction.operations {
            let (key, expected, is_delete) = match operation {
                Operation::Put { resource, expected_revision } => {
                    (resource.key(), *expected_revision, false)
                }
                Operation::Delete { key, expected_revision, .. } => {
                    (key.clone(), *expected_revision, true)
                }
            };
            if !seen.insert(key.clone()) {
                refusals.push(Refusal::NamedTwice { key: key.clone() });
            }
            let found = self.objects.get(&key).map_or(0, |stored| stored.revision);
            if is_delete && found == 0 {
                refusals.push(Refusal::NotFound { key: key.clone() });
            }
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                refusals.push(Refusal::Conflict { key, expected, found });
            }
        }
        refusals
    }

    /// The resources with everything that the transaction puts, before its deletions.
    fn candidate(&self, transaction: &Transaction) -> Resources {
        let mut resources = self.resources();
        for operation in &transaction.operations {
            if let Operation::Put { resource, .. } = operation {
                resources.insert(resource.key(), resource.clone());
            }
        }
        resources
    }

    /// What is left after the deletions, and what must not be deleted. An object that the
    /// transaction puts is never deleted by cascade: if it refers to what is deleted, it is wrong.
    fn deletions(&self, transaction: &Transaction, after: &Resources) -> (Resources, Vec<Refusal>) {
        let put: BTreeSet<ObjectKey> = puts(transaction).collect();
        let free_users = |resources: &Resources, key: &ObjectKey| {
            let mut users = users(resources, key);
            users.retain(|user| !put.contains(user));
            users
        };
        let mut deleted = BTreeSet::new();
        let mut careful = Vec::new();
        for operation in &transaction.operations {
            let Operation::Delete { key, cascade, .. } = operation else { continue };
            let mut open = vec![key.clone()];
            if !cascade {
                careful.push(key);
                deleted.extend(open.pop());
            }
            let mut seen = BTreeSet::new();
            while let Some(key) = open.pop() {
                if seen.insert(key.clone()) {
                    open.extend(free_users(after, &key));
                }
            }
            deleted.extend(seen);
        }
        let mut kept = after.clone();
        kept.retain(|key, _| !deleted.contains(key));
        let refusals = careful
            .into_iter()
            .filter_map(|key| {
                let users = free_users(&kept, key);
                (!users.is_empty()).then(|| Refusal::StillUsed { key: key.clone(), users })
            })
            .collect();
        (kept, refusals)
    }
}

/// Everything that is wrong with a set of resources.
pub fn problems(resources: &Resources) -> Vec<Refusal> {
    let mut problems = Vec::new();
    for (key, resource) in resources {
        if let Err(problem) = check_resource(resource) {
            problems.push(Refusal::Invalid { key: key.clone(), problem });
        }
        for target in resource.spec.references() {
            if !resources.contains_key(&target) {
                problems.push(Refusal::DanglingReference { key: key.clone(), target });
            }
        }
        if let Some(cycle) = group_cycle(resources, key) {
            problems.push(Refusal::GroupCycle { cycle });
        }
    }
    problems.extend(duplicates(resources));
    problems
}

/// The objects that refer to an object, sorted.
pub(crate) fn users(resources: &Resources, key: &ObjectKey) -> Vec<ObjectKey> {
    let users = resources.iter().filter(|(_, user)| user.spec.references().contains(key));
    users.map(|(user, _)| user.clone()).collect()
}

fn puts(transaction: &Transaction) -> impl Iterator<Item = ObjectKey> {
    transaction.operations.iter().filter_map(|operation| match operation {
        Operation::Put { resource, .. } => Some(resource.key()),
        Operation::Delete { .. } => None,
    })
}

fn named(transaction: &Transaction) -> impl Iterator<Item = ObjectKey> {
    transaction.operations.iter().map(|operation| match operation {
        Operation::Put { resource, .. } => resource.key(),
        Operation::Delete { key, .. } => key.clone(),
    })
}

/// The groups that a group names.
fn parts(resources: &Resources, group: &ObjectKey) -> Vec<ObjectKey> {
    match resources.get(group).map(|resource| &*resource.spec) {
        Some(Spec::Group(group)) => group.group_refs().map(|g| g.to_key(Kind::Group)).collect(),
        _ => Vec::new(),
    }
}

/// The shortest way from a group back to itself.
fn group_cycle(resources: &Resources, group: &ObjectKey) -> Option<Vec<ObjectKey>> {
    let mut ways = vec![vec![group.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for part in way.last().map(|last| parts(resources, last)).unwrap_or_default() {
                let mut way = way.clone();
                way.push(part.clone());
                if part == *group {
                    return Some(way);
                }
                if seen.insert(part) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

fn is_group_cycle(resources: &Resources, cycle: &[ObjectKey]) -> bool {
    cycle.len() >= 2
        && cycle.first() == cycle.last()
        && cycle.windows(2).all(|pair| parts(resources, &pair[0]).contains(&pair[1]))
}

/// Every two ports of one domain with the same address.
fn duplicates(resources: &Resources) -> Vec<Refusal> {
    let domains = Domains::new(resources);
    let mut places = BTreeMap::new();
    let mut duplicates = Vec::new();
    for (key, _, port) in groups::ports(resources) {
        let Some(domain) = domains.of_switch(&port.switch.to_key(Kind::LogicalSwitch)) else {
            continue;
        };
        for address in port.addresses.iter().collect::<BTreeSet<_>>() {
            let others: &mut Vec<&ObjectKey> = places.entry((domain, *address)).or_default();
            duplicates.extend(others.iter().map(|first| Refusal::DuplicateAddress {
                address: *address,
                first: (*first).clone(),
                second: key.clone(),
            }));
            others.push(key);
        }
    }
    duplicates
}

/// The rules that a resource can break by itself, beyond those that the types keep.
fn check_resource(resource: &Resource) -> Result<(), String> {
    let metadata = &resource.metadata;
    let kind = resource.spec.kind();
    if kind.is_fleet_wide() && *metadata.project != *SYSTEM_PROJECT {
        return Err(format!("a {kind} belongs to project {SYSTEM_PROJECT}"));
    }
    let fault = match &*resource.spec {
        Spec::LogicalPort(port) => port_fault(port),
        Spec::LogicalRouter(router) => {
            let itself = ObjectRef::new(metadata.project.clone(), metadata.name.clone());
            let switches: BTreeSet<&ObjectRef> =
                router.interfaces.iter().map(|interface| &interface.switch).collect();
            if router.uplinks.contains(&itself) || router.peerings.contains(&itself) {
                Some("it is linked to itself")
            } else if switches.len() < router.interfaces.len() {
                Some("it has two interfaces on one switch")
            } else {
                None
            }
        }
        Spec::Group(group) => {
            let empty = |t: &GroupTerm| matches!(t, GroupTerm::Intersection(g) if g.is_empty());
            group.terms.iter().any(empty).then_some("it has an intersection of no groups")
        }
        _ => None,
    };
    fault.map_or(Ok(()), |fault| Err(fault.to_owned()))
}

fn port_fault(port: &LogicalPortSpec) -> Option<&'static str> {
    let unicast = |address: &IpAddr| {
        let nobody = address.is_unspecified() || address.is_multicast() || address.is_loopback();
        !nobody && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
    };
    if port.addresses.len() > PORT_ADDRESSES_MAX {
        Some("it has too many addresses")
    } else if port.addresses.iter().collect::<BTreeSet<_>>().len() < port.addresses.len() {
        Some("it has an address twice")
    } else if !port.addresses.iter().all(unicast) {
        Some("it has an address that belongs to no endpoint")
    } else {
        None
    }
}
