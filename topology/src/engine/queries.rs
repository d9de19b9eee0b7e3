//! Listings, references, spans.

use super::api::{DomainSummary, HostId, Object, QueryError};
use super::ids::{
    DomainId, GroupId, IdSet, PlacementId, PolicyId, PortId, RouterId, ServiceId, SwitchId,
};
use super::state::Engine;
use crate::model::{Kind, ObjectKey};
use crate::view::ItemKey;
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Engine {
    pub(super) fn list_objects<'a>(
        &'a self,
        kind: Kind,
        project: Option<&str>,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Object> + use<'a> {
        self.names.list(kind, project, after).map(move |slot| self.object(kind, slot))
    }

    pub(super) fn users_of(&self, key: &ObjectKey) -> Vec<ObjectKey> {
        let Some(slot) = self.slot_of(key) else { return Vec::new() };
        let mut users: BTreeSet<ObjectKey> = BTreeSet::new();
        let mut add = |kind: Kind, slot: u32| {
            users.insert(self.object(kind, slot).resource.key());
        };
        match key.kind {
            Kind::Host => {
                let ports = &self.hosts[HostId(slot)].ports;
                ports.iter().for_each(|port| add(Kind::LogicalPort, port.0));
            }
            Kind::LogicalSwitch => {
                let switch = &self.switches[SwitchId(slot)];
                switch.ports.iter().for_each(|port| add(Kind::LogicalPort, port.0));
                switch.routers.iter().for_each(|router| add(Kind::LogicalRouter, router.0));
                switch.groups.iter().for_each(|group| add(Kind::Group, group.0));
            }
            Kind::LogicalRouter => {
                let router = &self.routers[RouterId(slot)];
                for other in
                    router.joined_by.iter().chain(&router.silent_by).chain(&router.peered_by)
                {
                    add(Kind::LogicalRouter, other.0);
                }
                router.groups.iter().for_each(|group| add(Kind::Group, group.0));
            }
            Kind::LogicalPort => {
                let port = &self.ports[PortId(slot)];
                port.named_by.iter().for_each(|group| add(Kind::Group, group.0));
            }
            Kind::Group => {
                let group = &self.groups[GroupId(slot)];
                group.parents.iter().for_each(|group| add(Kind::Group, group.0));
                for policy in group.applied_by.iter().chain(&group.peer_of) {
                    add(Kind::SecurityPolicy, policy.0);
                }
            }
            Kind::Service => {
                let service = &self.services[ServiceId(slot)];
                service.users.iter().for_each(|policy| add(Kind::SecurityPolicy, policy.0));
            }
            Kind::SecurityPolicy => {}
        }
        users.into_iter().collect()
    }

    pub(super) fn span_of(&self, key: &ObjectKey) -> Result<Vec<HostId>, QueryError> {
        let slot = self.slot_of(key).ok_or_else(|| QueryError::NotFound(key.clone()))?;
        let mut hosts = IdSet::default();
        match key.kind {
            Kind::Host => {
                let host = &self.hosts[HostId(slot)];
                hosts.insert(HostId(slot));
                // Its tunnel endpoint stands in the locators of the domains where it has ports.
                if host.spec().vtep.is_some() {
                    for &(domain, _) in &host.placements {
                        self.add_seers(domain, &mut hosts);
                    }
                }
            }
            Kind::LogicalSwitch => self.add_seers(self.switches[SwitchId(slot)].domain, &mut hosts),
            Kind::LogicalRouter => self.add_seers(self.routers[RouterId(slot)].domain, &mut hosts),
            Kind::LogicalPort => {
                let id = PortId(slot);
                let port = &self.ports[id];
                if let Some(host) = port.host {
                    hosts.insert(host);
                    if self.hosts[host].spec().vtep.is_some() {
                        self.add_seers(self.domain_of(id), &mut hosts);
                    }
                }
                for &group in &port.groups {
                    if let Some(shard) = self.shard_of(group, self.domain_of(id)) {
                        hosts.union_with(&self.shards[shard].subscribers);
                    }
                }
            }
            Kind::Group => {
                let group = &self.groups[GroupId(slot)];
                for &(_, shard) in &group.shards {
                    hosts.union_with(&self.shards[shard].subscribers);
                }
                if !group.blocks.is_empty() {
                    self.add_hosts(group.interest.keys(), &mut hosts);
                }
                let applied = group.applied.iter().flat_map(|applied| applied.ports_at.keys());
                self.add_hosts(applied, &mut hosts);
            }
            Kind::Service => {
                for &policy in &self.services[ServiceId(slot)].users {
                    self.add_policy_hosts(policy, &mut hosts);
                }
            }
            Kind::SecurityPolicy => self.add_policy_hosts(PolicyId(slot), &mut hosts),
        }
        Ok(hosts.iter().collect())
    }

    fn add_hosts(&self, placements: impl Iterator<Item = PlacementId>, hosts: &mut IdSet<HostId>) {
        for placement in placements {
            hosts.insert(self.placements[placement].host);
        }
    }

    fn add_seers(&self, domain: DomainId, hosts: &mut IdSet<HostId>) {
        for &other in &self.domains[domain].sees {
            self.add_hosts(self.domains[other].placements.iter(), hosts);
        }
    }

    fn add_policy_hosts(&self, policy: PolicyId, hosts: &mut IdSet<HostId>) {
        let key = ItemKey::Policy(self.policies[policy].object.uid);
        hosts.union_with(&self.subscribers_of(key));
    }

    pub(super) fn find_address(&self, address: IpAddr) -> Vec<ObjectKey> {
        let mut found: Vec<ObjectKey> = self
            .domains
            .iter()
            .filter_map(|(domain, _)| self.addresses.get(&(domain, address)))
            .map(|&port| self.ports[port].object.resource.key())
            .collect();
        found.sort_unstable();
        found
    }

    pub(super) fn domain_summaries(&self) -> Vec<DomainSummary> {
        let mut list: Vec<DomainSummary> = self
            .domains
            .iter()
            .filter(|(_, domain)| !domain.switches.is_empty())
            .map(|(_, domain)| {
                let mut switches: Vec<ObjectKey> = domain
                    .switches
                    .iter()
                    .map(|switch| self.switches[switch].object.resource.key())
                    .collect();
                switches.sort_unstable();
                DomainSummary { vni: domain.vni, switches, ports: domain.ports }
            })
            .collect();
        list.sort_unstable_by_key(|domain| domain.vni);
        list
    }
}
