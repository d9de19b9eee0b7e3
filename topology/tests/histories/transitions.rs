//! Which kinds of change the histories met, seen from outside: the state before and after.

use crate::snapshot::Snapshot;
use spanwire_topology::Kind;
use spanwire_topology::model::*;
use std::collections::{BTreeMap, BTreeSet};

/// Every kind of change that the engine must follow, and what must be among the states.
const KINDS: [&str; 16] = [
    "domains merged",
    "a domain split",
    "peerings changed",
    "a router started or stopped advertising",
    "a switch went from one router to another",
    "the terms of a group changed",
    "the groups of a policy changed",
    "a host was removed with ports on it",
    "a host was renamed with ports on it",
    "labels, addresses, host and switch of a port changed at once",
    "eight objects or more changed at once",
    "isolated domains share an address",
    "a port is bound to no host",
    "a group is made of nothing",
    "a difference is taken from a difference",
    "a port with several addresses",
];

/// How often each was met.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Transitions([u64; KINDS.len()]);

impl Transitions {
    /// Counts one step.
    pub(crate) fn count(&mut self, before: &Snapshot, after: &Snapshot) {
        let met: [bool; KINDS.len()] = [
            moved(before, after, true),
            moved(before, after, false),
            any_pair(before, after, router, |old, new| old.peerings != new.peerings),
            any_pair(before, after, router, |old, new| old.advertise != new.advertise),
            switch_changed_router(before, after),
            any_pair(before, after, group, |old, new| old.terms != new.terms),
            any_pair(before, after, policy, |old, new| old.applied_to != new.applied_to),
            gone_hosts(before, after).any(|host| ports(before).any(|(_, p)| is_on(p, host))),
            renamed_host(before, after),
            port_changed_whole(before, after),
            changed_objects(before, after) >= 8,
            shared_address(after),
            ports(after).any(|(_, port)| port.host.is_none()),
            specs(after, group).any(|(_, group)| group.terms.is_empty() && group.blocks.is_empty()),
            nested_difference(after),
            ports(after).any(|(_, port)| port.addresses.len() > 1),
        ];
        for (counter, met) in self.0.iter_mut().zip(met) {
            *counter += u64::from(met);
        }
    }

    /// Adds what another history met.
    pub(crate) fn add(&mut self, other: Transitions) {
        for (counter, more) in self.0.iter_mut().zip(other.0) {
            *counter += more;
        }
    }

    /// Panics if a kind was met too rarely for the histories to show anything about it.
    pub(crate) fn check(&self) {
        // Random seeds must not fail by chance: the rarest kind is met 15 times on average.
        const LEAST: u64 = 3;
        for (kind, count) in KINDS.iter().zip(self.0) {
            assert!(count >= LEAST, "{kind}: {count} times, at least {LEAST}: {self:?}");
        }
    }
}

// ---- readings of a state ----

fn specs<'a, T: 'a>(
    state: &'a Snapshot,
    of: impl Fn(&'a Spec) -> Option<&'a T> + 'a,
) -> impl Iterator<Item = (&'a ObjectKey, &'a T)> {
    let objects = state.objects.iter();
    objects.filter_map(move |(key, object)| Some((key, of(&object.resource.spec)?)))
}

fn router(spec: &Spec) -> Option<&LogicalRouterSpec> {
    if let Spec::LogicalRouter(router) = spec { Some(router) } else { None }
}

fn group(spec: &Spec) -> Option<&GroupSpec> {
    if let Spec::Group(group) = spec { Some(group) } else { None }
}

fn policy(spec: &Spec) -> Option<&SecurityPolicySpec> {
    if let Spec::SecurityPolicy(policy) = spec { Some(policy) } else { None }
}

fn port(spec: &Spec) -> Option<&LogicalPortSpec> {
    if let Spec::LogicalPort(port) = spec { Some(port) } else { None }
}

fn ports(state: &Snapshot) -> impl Iterator<Item = (&ObjectKey, &LogicalPortSpec)> {
    specs(state, port)
}

fn is_on(port: &LogicalPortSpec, host: &Text) -> bool {
    port.host.as_ref() == Some(host)
}

/// True if some object that was there before and is there after differs in a certain way.
fn any_pair<'a, T: 'a>(
    before: &'a Snapshot,
    after: &'a Snapshot,
    of: impl Fn(&'a Spec) -> Option<&'a T> + Copy + 'a,
    differ: impl Fn(&T, &T) -> bool,
) -> bool {
    let after: BTreeMap<&ObjectKey, &T> = specs(after, of).collect();
    specs(before, of).any(|(key, old)| after.get(key).is_some_and(|new| differ(old, new)))
}

// ---- the kinds that take more than one object ----

/// The switches that have a routing domain, with it.
fn domains(state: &Snapshot) -> BTreeMap<&ObjectKey, Vni> {
    let domains = state.domains.iter();
    domains.flat_map(|domain| domain.switches.iter().map(|switch| (switch, domain.vni))).collect()
}

/// True if two switches that stayed came to one domain, or came apart.
fn moved(before: &Snapshot, after: &Snapshot, together: bool) -> bool {
    let (before, after) = (domains(before), domains(after));
    let stayed: Vec<(Vni, Vni)> =
        before.iter().filter_map(|(switch, old)| Some((*old, *after.get(switch)?))).collect();
    stayed.iter().enumerate().any(|(n, one)| {
        stayed[..n].iter().any(|two| match together {
            true => one.0 != two.0 && one.1 == two.1,
            false => one.0 == two.0 && one.1 != two.1,
        })
    })
}

fn switch_changed_router(before: &Snapshot, after: &Snapshot) -> bool {
    let links = |state| -> BTreeSet<(ObjectKey, ObjectRef)> {
        let links = specs(state, router).flat_map(|(key, router)| {
            router.interfaces.iter().map(|interface| (key.clone(), interface.switch.clone()))
        });
        links.collect()
    };
    let (before, after) = (links(before), links(after));
    let gained: BTreeSet<&ObjectRef> = after.difference(&before).map(|(_, s)| s).collect();
    before.difference(&after).any(|(_, switch)| gained.contains(switch))
}

fn gone_hosts<'a>(before: &'a Snapshot, after: &'a Snapshot) -> impl Iterator<Item = &'a Text> {
    before.hosts.keys().filter(|host| !after.hosts.contains_key(*host))
}

/// A host is gone, and a port that was on it is on one that is new.
fn renamed_host(before: &Snapshot, after: &Snapshot) -> bool {
    let now: BTreeMap<&ObjectKey, &LogicalPortSpec> = ports(after).collect();
    gone_hosts(before, after).any(|old| {
        ports(before).filter(|(_, port)| is_on(port, old)).any(|(key, _)| {
            let host = now.get(key).and_then(|port| port.host.as_ref());
            host.is_some_and(|host| !before.hosts.contains_key(host))
        })
    })
}

fn port_changed_whole(before: &Snapshot, after: &Snapshot) -> bool {
    let after_ports: BTreeMap<&ObjectKey, &LogicalPortSpec> = ports(after).collect();
    ports(before).any(|(key, old)| {
        let labels = |state: &Snapshot| state.objects[key].resource.metadata.labels.clone();
        after_ports.get(key).is_some_and(|new| {
            old.switch != new.switch
                && old.host != new.host
                && old.addresses != new.addresses
                && labels(before) != labels(after)
        })
    })
}

fn changed_objects(before: &Snapshot, after: &Snapshot) -> usize {
    let keys: BTreeSet<&ObjectKey> = before.objects.keys().chain(after.objects.keys()).collect();
    keys.iter().filter(|key| before.objects.get(*key) != after.objects.get(*key)).count()
}

fn shared_address(state: &Snapshot) -> bool {
    let domains = domains(state);
    let mut bearers: BTreeMap<_, BTreeSet<Vni>> = BTreeMap::new();
    for (_, port) in ports(state) {
        if let Some(domain) = domains.get(&port.switch.to_key(Kind::LogicalSwitch)) {
            for address in &port.addresses {
                bearers.entry(address).or_default().insert(*domain);
            }
        }
    }
    bearers.values().any(|domains| domains.len() > 1)
}

fn nested_difference(state: &Snapshot) -> bool {
    let groups: BTreeMap<ObjectKey, &GroupSpec> =
        specs(state, group).map(|(key, group)| (key.clone(), group)).collect();
    let takes = |group: &GroupSpec| {
        group.terms.iter().any(|term| matches!(term, GroupTerm::Difference { .. }))
    };
    groups.values().flat_map(|group| &group.terms).any(|term| match term {
        GroupTerm::Difference { of, minus } => minus
            .iter()
            .chain([of])
            .any(|inner| groups.get(&inner.to_key(Kind::Group)).is_some_and(|inner| takes(inner))),
        _ => false,
    })
}
