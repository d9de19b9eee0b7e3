//! A part of a model that is small enough for a lab.

use spanwire_topology::model::{GroupTerm, Kind, ObjectRef, Spec};
use spanwire_topology::{ObjectKey, Resource};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is left of a model when only some tenants' ports on some hosts are kept: of the groups, the
/// members that are kept; of the policies, those that apply to one of them. Sorted by key, and
/// nothing in it refers to what was cut away.
pub fn slice(all: &[Resource], projects: &BTreeSet<&str>, hosts: &BTreeSet<&str>) -> Vec<Resource> {
    let by_key: BTreeMap<ObjectKey, &Resource> = all.iter().map(|r| (r.key(), r)).collect();
    let mut kept: BTreeMap<ObjectKey, Resource> = BTreeMap::new();
    for (key, resource) in &by_key {
        let chosen = match &*resource.spec {
            Spec::Host(_) => hosts.contains(&*key.name),
            Spec::LogicalPort(port) => {
                projects.contains(&*key.project)
                    && port.host.as_ref().is_some_and(|host| hosts.contains(&**host))
            }
            Spec::LogicalSwitch(_) | Spec::LogicalRouter(_) => projects.contains(&*key.project),
            // Those that what is kept needs are taken below.
            Spec::Group(_) | Spec::Service(_) | Spec::SecurityPolicy(_) => false,
        };
        if chosen {
            kept.insert(key.clone(), (*resource).clone());
        }
    }
    let is_kept: BTreeSet<ObjectKey> =
        kept.keys().filter(|key| key.kind == Kind::LogicalPort).cloned().collect();
    let groups: BTreeMap<&ObjectKey, Resource> = by_key
        .iter()
        .filter(|(key, _)| key.kind == Kind::Group)
        .map(|(key, group)| (key, without_ports(group, &is_kept)))
        .collect();
    for (key, resource) in &by_key {
        if let Spec::SecurityPolicy(policy) = &*resource.spec
            && policy.applied_to.iter().any(|group| has_ports(&groups, group))
        {
            kept.insert(key.clone(), (*resource).clone());
        }
    }
    take_references(&by_key, &groups, &mut kept);
    kept.into_values().collect()
}

/// Takes whatever the resources refer to, and what that refers to: groups as they are without the
/// ports that are gone, all else as it was.
fn take_references(
    by_key: &BTreeMap<ObjectKey, &Resource>,
    groups: &BTreeMap<&ObjectKey, Resource>,
    kept: &mut BTreeMap<ObjectKey, Resource>,
) {
    let mut open: Vec<ObjectKey> = kept.values().flat_map(|r| r.spec.references()).collect();
    while let Some(key) = open.pop() {
        if kept.contains_key(&key) {
            continue;
        }
        let resource = groups.get(&key).or_else(|| by_key.get(&key).copied());
        if let Some(resource) = resource {
            open.extend(resource.spec.references());
            kept.insert(key, resource.clone());
        }
    }
}

/// A group without the ports that are not kept.
fn without_ports(group: &Resource, kept: &BTreeSet<ObjectKey>) -> Resource {
    let mut group = group.clone();
    if let Spec::Group(spec) = &*group.spec {
        let mut spec = spec.clone();
        spec.terms.retain(|term| match term {
            GroupTerm::Port(port) => kept.contains(&port.to_key(Kind::LogicalPort)),
            _ => true,
        });
        group.spec = Arc::new(Spec::Group(spec));
    }
    group
}

/// True if the group, or one that it takes in, has a term left.
fn has_ports(groups: &BTreeMap<&ObjectKey, Resource>, group: &ObjectRef) -> bool {
    let Some(resource) = groups.get(&group.to_key(Kind::Group)) else { return false };
    let Spec::Group(spec) = &*resource.spec else { return false };
    spec.terms.iter().any(|term| !matches!(term, GroupTerm::Group(_)))
        || spec.group_refs().any(|group| has_ports(groups, group))
}
