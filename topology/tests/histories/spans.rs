//! The span of an object is the set of hosts whose view has an item that is made of it.

use crate::snapshot::Snapshot;
use crate::support::{Check, check_same};
use spanwire_oracle::Network;
use spanwire_topology::model::*;
use spanwire_topology::view::{HostView, ItemKey};
use spanwire_topology::{Engine, Kind};
use std::collections::BTreeSet;

/// Compares every span with the views.
pub(crate) fn check_spans(engine: &Engine, after: &Snapshot, network: &Network<'_>) -> Check {
    let look = Look { after, network };
    for key in after.objects.keys() {
        let expected: BTreeSet<&Text> = after
            .hosts
            .iter()
            .filter(|(host, view)| look.has_part_of(key, host, view))
            .map(|(host, _)| host)
            .collect();
        let found = engine.span(key).unwrap_or_default();
        let found: BTreeSet<Text> =
            found.iter().filter_map(|id| engine.host_name(*id).map(Text::from)).collect();
        check_same(&format!("span of {key}"), &found.iter().collect(), &expected)?;
    }
    Ok(())
}

struct Look<'a> {
    after: &'a Snapshot,
    network: &'a Network<'a>,
}

impl Look<'_> {
    fn has_part_of(&self, key: &ObjectKey, host: &Text, view: &HostView) -> bool {
        let uid = self.after.objects[key].uid;
        match &*self.after.objects[key].resource.spec {
            Spec::Host(_) => *key.name == **host || self.located_on(&key.name, view),
            Spec::LogicalSwitch(_) => self.sees(key, view),
            Spec::LogicalRouter(router) => self.sees_router(key, router, view),
            Spec::LogicalPort(port) => {
                let has_vtep = port.host.as_ref().is_some_and(|host| self.has_vtep(host));
                let switch = port.switch.to_key(Kind::LogicalSwitch);
                view.items.contains_key(&ItemKey::Port(uid))
                    || (has_vtep && self.sees(&switch, view))
                    || self.has_as_member(key, &switch, view)
            }
            Spec::Group(_) => {
                let has = |item: &ItemKey| match item {
                    ItemKey::Shard { group, .. } | ItemKey::Blocks(group) => *group == uid,
                    _ => false,
                };
                view.items.keys().any(has) || self.is_applied(key, host)
            }
            Spec::Service(_) => self.after.objects.iter().any(|(_, policy)| {
                policy.resource.spec.references().contains(key)
                    && view.items.contains_key(&ItemKey::Policy(policy.uid))
            }),
            Spec::SecurityPolicy(_) => view.items.contains_key(&ItemKey::Policy(uid)),
        }
    }

    fn domain(&self, switch: &ObjectKey) -> Option<Vni> {
        let mut domains = self.after.domains.iter();
        domains.find(|domain| domain.switches.contains(switch)).map(|domain| domain.vni)
    }

    /// Whether the host has the locators of a switch's domain.
    fn sees(&self, switch: &ObjectKey, view: &HostView) -> bool {
        self.domain(switch).is_some_and(|vni| view.items.contains_key(&ItemKey::Locators(vni)))
    }

    /// A router lies in the domain of a switch that some way of joining leads to.
    fn sees_router(&self, key: &ObjectKey, router: &LogicalRouterSpec, view: &HostView) -> bool {
        let mut routers: BTreeSet<ObjectKey> = BTreeSet::from([key.clone()]);
        let mut switches: BTreeSet<ObjectKey> = BTreeSet::new();
        let mut open = vec![(key.clone(), router.clone())];
        while let Some((key, router)) = open.pop() {
            let own = router.interfaces.iter().map(|i| i.switch.to_key(Kind::LogicalSwitch));
            switches.extend(own);
            for (other, object) in &self.after.objects {
                let Spec::LogicalRouter(spec) = &*object.resource.spec else { continue };
                let joins = |lower: &LogicalRouterSpec, upper: &ObjectKey| {
                    lower.advertise
                        && lower.uplinks.iter().any(|u| u.to_key(Kind::LogicalRouter) == *upper)
                };
                if (joins(&router, other) || joins(spec, &key)) && routers.insert(other.clone()) {
                    open.push((other.clone(), spec.clone()));
                }
            }
        }
        switches.iter().any(|switch| self.sees(switch, view))
    }

    fn has_vtep(&self, host: &Text) -> bool {
        let key = ObjectKey::new(Kind::Host, SYSTEM_PROJECT, host.clone());
        let host = self.after.objects.get(&key).map(|object| &*object.resource.spec);
        matches!(host, Some(Spec::Host(HostSpec { vtep: Some(_) })))
    }

    /// Whether the view has the locators of a domain in which a host with a VTEP has ports.
    fn located_on(&self, host: &Text, view: &HostView) -> bool {
        self.has_vtep(host)
            && self.after.objects.values().any(|object| match &*object.resource.spec {
                Spec::LogicalPort(port) => {
                    port.host.as_ref() == Some(host)
                        && self.sees(&port.switch.to_key(Kind::LogicalSwitch), view)
                }
                _ => false,
            })
    }

    fn has_as_member(&self, port: &ObjectKey, switch: &ObjectKey, view: &HostView) -> bool {
        let Some(domain) = self.domain(switch) else { return false };
        view.items.keys().any(|item| match item {
            ItemKey::Shard { group, domain: other } => {
                let mut groups = self.after.objects.iter().filter(|(_, o)| o.uid == *group);
                *other == domain
                    && groups.any(|(key, _)| {
                        self.network.group_ports(key).is_some_and(|ports| ports.contains(port))
                    })
            }
            _ => false,
        })
    }

    /// Whether a policy is applied to the group, and a port of the host is in it.
    fn is_applied(&self, group: &ObjectKey, host: &Text) -> bool {
        let applied = self.after.objects.values().any(|object| match &*object.resource.spec {
            Spec::SecurityPolicy(policy) => {
                policy.applied_to.iter().any(|g| g.to_key(Kind::Group) == *group)
            }
            _ => false,
        });
        let ports = self.network.group_ports(group).into_iter().flatten();
        let mut specs = ports.map(|port| &*self.after.objects[port].resource.spec);
        applied
            && specs.any(|spec| match spec {
                Spec::LogicalPort(port) => port.host.as_ref() == Some(host),
                _ => false,
            })
    }
}
