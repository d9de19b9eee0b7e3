//! Making a resource fit the network it is put into, so that most transactions are valid.
//!
//! Without this, one missing object would take with it everything that refers to it, and the
//! networks of the histories would dwindle to nothing worth checking.

use crate::universe::{count, key, reference};
use spanwire_oracle::Resources;
use spanwire_topology::model::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The resource with references to what there is: others are left out, or where one is needed,
/// replaced by the next there is. Does not look for equal addresses.
pub(crate) fn repaired(resource: Resource, now: &Resources) -> Resource {
    let mut spec = (*resource.spec).clone();
    let me = resource.key();
    let there = |kind, r: &ObjectRef| now.contains_key(&r.to_key(kind));
    match &mut spec {
        Spec::LogicalRouter(router) => {
            let mut seen = BTreeSet::new();
            router.interfaces.retain(|interface| {
                there(Kind::LogicalSwitch, &interface.switch)
                    && seen.insert(interface.switch.clone())
            });
            for list in [&mut router.uplinks, &mut router.peerings] {
                list.retain(|other| {
                    let other = other.to_key(Kind::LogicalRouter);
                    other != me && now.contains_key(&other)
                });
            }
        }
        Spec::LogicalPort(port) => {
            port.switch = next_there(Kind::LogicalSwitch, &port.switch, now);
            let host = port.host.as_ref().map(|host| ObjectRef::new(SYSTEM_PROJECT, host.clone()));
            port.host = host
                .map(|host| next_there(Kind::Host, &host, now))
                .filter(|host| there(Kind::Host, host))
                .map(|host| host.name);
        }
        Spec::Group(group) => {
            let fits = |r: &ObjectRef| {
                let part = r.to_key(Kind::Group);
                now.contains_key(&part) && !holds(now, &part, &me, &mut BTreeSet::new())
            };
            group.terms.retain_mut(|term| match term {
                GroupTerm::Selector { .. } => true,
                GroupTerm::Switch(switch) => there(Kind::LogicalSwitch, switch),
                GroupTerm::Router(router) => there(Kind::LogicalRouter, router),
                GroupTerm::Port(port) => there(Kind::LogicalPort, port),
                GroupTerm::Group(group) => fits(group),
                GroupTerm::Intersection(groups) => {
                    groups.retain(|group| fits(group));
                    !groups.is_empty()
                }
                GroupTerm::Difference { of, minus } => {
                    minus.retain(|group| fits(group));
                    fits(of)
                }
            });
        }
        Spec::SecurityPolicy(policy) => {
            policy.applied_to.retain(|group| there(Kind::Group, group));
            for rule in &mut policy.rules {
                rule.peers.retain(|peer| there(Kind::Group, &peer.group));
                rule.services.retain(|service| match service {
                    ServiceMatch::Service(service) => there(Kind::Service, service),
                    ServiceMatch::Entry(_) => true,
                });
            }
        }
        Spec::Host(_) | Spec::LogicalSwitch(_) | Spec::Service(_) => {}
    }
    Resource { spec: Arc::new(spec), ..resource }
}

/// This object, or the next by number that there is; itself if there is none.
fn next_there(kind: Kind, wanted: &ObjectRef, now: &Resources) -> ObjectRef {
    let numbers = 0..count(kind);
    let at = numbers.clone().find(|number| reference(kind, *number) == *wanted).unwrap_or(0);
    let mut others = numbers.map(|offset| (at + offset) % count(kind));
    let found = others.find(|number| now.contains_key(&key(kind, *number)));
    found.map_or_else(|| wanted.clone(), |number| reference(kind, number))
}

/// Whether a group is, or holds, another.
fn holds(
    now: &Resources,
    group: &ObjectKey,
    other: &ObjectKey,
    seen: &mut BTreeSet<ObjectKey>,
) -> bool {
    if group == other {
        return true;
    }
    if !seen.insert(group.clone()) {
        return false;
    }
    let parts = now.get(group).map(|resource| resource.spec.references()).unwrap_or_default();
    let mut groups = parts.iter().filter(|part| part.kind == Kind::Group);
    groups.any(|part| holds(now, part, other, seen))
}
