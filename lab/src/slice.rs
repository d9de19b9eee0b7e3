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
    // Groups of a model that no engine has checked may take in each other.
    let mut seen = BTreeSet::new();
    let mut open = vec![group.to_key(Kind::Group)];
    while let Some(key) = open.pop() {
        let Some(resource) = groups.get(&key) else { continue };
        let Spec::Group(spec) = &*resource.spec else { continue };
        if spec.terms.iter().any(|term| !matches!(term, GroupTerm::Group(_))) {
            return true;
        }
        if seen.insert(key) {
            open.extend(spec.group_refs().map(|group| group.to_key(Kind::Group)));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::{
        DefaultActions, GroupSpec, HostSpec, Labels, LogicalPortSpec, LogicalSwitchSpec,
        PortAttachment, SecurityPolicySpec,
    };

    fn resource(project: &str, name: &str, spec: Spec) -> Resource {
        Resource::new(project, name, Labels::new(), spec)
    }

    fn port(project: &str, name: &str, host: &str) -> Resource {
        let spec = LogicalPortSpec {
            switch: ObjectRef::new(project, "sw"),
            mac: "0a:58:0a:00:00:07".parse().unwrap(),
            addresses: ["10.0.0.7".parse().unwrap()].into_iter().collect(),
            host: Some(host.into()),
            attachment: PortAttachment::Derived,
            port_security: true,
        };
        resource(project, name, Spec::LogicalPort(spec))
    }

    fn group(name: &str, terms: Vec<GroupTerm>) -> Resource {
        resource("a", name, Spec::Group(GroupSpec { terms, ..GroupSpec::default() }))
    }

    fn policy(name: &str, applied_to: &str) -> Resource {
        let applied_to = vec![ObjectRef::new("a", applied_to)];
        let spec = SecurityPolicySpec {
            applied_to,
            tier: SecurityPolicySpec::TIER_DEFAULT,
            priority: SecurityPolicySpec::PRIORITY_DEFAULT,
            defaults: DefaultActions::default(),
            rules: Vec::new(),
        };
        resource("a", name, Spec::SecurityPolicy(spec))
    }

    /// Projects a and b, each with a port on h1 and one on h2; groups of ports of both.
    #[test]
    fn what_is_cut_away_is_referred_to_by_nothing() {
        let term = |project, name| GroupTerm::Port(ObjectRef::new(project, name));
        let taken = |name| GroupTerm::Group(ObjectRef::new("a", name));
        let switch = || Spec::LogicalSwitch(LogicalSwitchSpec::default());
        let all = [
            resource("system", "h1", Spec::Host(HostSpec::default())),
            resource("system", "h2", Spec::Host(HostSpec::default())),
            resource("a", "sw", switch()),
            resource("b", "sw", switch()),
            port("a", "one", "h1"),
            port("a", "two", "h2"),
            port("b", "one", "h1"),
            group("mixed", vec![term("a", "one"), term("a", "two"), term("b", "one")]),
            group("gone", vec![term("a", "two")]),
            group("x", vec![taken("y")]),
            group("y", vec![taken("x")]),
            policy("kept", "mixed"),
            policy("cut", "gone"),
            policy("cycle", "x"),
        ];
        let left = slice(&all, &BTreeSet::from(["a"]), &BTreeSet::from(["h1"]));
        let names: Vec<String> = left.iter().map(|it| it.key().to_string()).collect();
        assert_eq!(
            names,
            ["host h1", "switch a/sw", "port a/one", "group a/mixed", "policy a/kept"]
        );
        assert_eq!(*left[3].spec, *group("mixed", vec![term("a", "one")]).spec);
    }
}
