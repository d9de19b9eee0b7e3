//! All ports of a state at once.
//!
//! A transaction takes one port after the other, and each of them reaches into some ten sets. Here each
//! set is made once, of all that it holds, and what ports with the same labels on the same switch have
//! in common is found out once. The result is the same, and that is tested.

use super::super::api::HostId;
use super::super::ids::{
    DomainId, GroupId, IdSet, Map, PlacementId, PortId, SignatureId, SwitchId,
};
use super::super::journal::Journal;
use super::super::state::{Engine, Placement, PortsAt, Shard};
use super::deal::Hands;
use crate::model::{Kind, Labels, Metadata, SYSTEM_PROJECT};
use smallvec::SmallVec;
use std::sync::Arc;

/// Where a port is.
#[derive(Debug, Clone, Copy)]
struct Place {
    switch: SwitchId,
    domain: DomainId,
    host: Option<HostId>,
    signature: SignatureId,
}

impl Engine {
    /// Makes all ports part of what they belong to. Domains, groups and policies are complete but for
    /// their ports, and every port has its slot, with none left free.
    pub(super) fn populate(&mut self, journal: &mut Journal) {
        let places = self.find_places();
        self.plug_all(&places);
        self.addresses
            .reserve(self.ports.iter().map(|(_, port)| port.spec().addresses.len()).sum());
        for (id, place) in by_id(&places) {
            self.enter_addresses(journal, place.domain, id);
        }
        let placements = self.place_all(&places);
        self.find_groups(&places);
        self.make_shards(journal, &places, &placements);
    }

    /// Finds each port's switch, host and signature by their names.
    fn find_places(&mut self) -> Vec<Place> {
        // Ports mostly share the texts that name their switch and host, and their labels. Where those
        // lie says that they are the same without looking at them: no port loses its own meanwhile.
        let mut switches: Map<(*const u8, *const u8), SwitchId> = Map::default();
        let mut hosts: Map<*const u8, Option<HostId>> = Map::default();
        let mut signatures: Map<(*const u8, *const Labels), SignatureId> = Map::default();
        let mut places = Vec::with_capacity(self.ports.bound() as usize);
        for index in 0..self.ports.bound() {
            let port = &self.ports[PortId(index)];
            let spec = port.spec();
            let (project, name) = (&spec.switch.project, &spec.switch.name);
            let switch = *switches.entry((project.as_ptr(), name.as_ptr())).or_insert_with(|| {
                match self.slot(Kind::LogicalSwitch, project, name) {
                    Some(slot) => SwitchId(slot),
                    None => unreachable!("`check_loaded` refuses references to nothing"),
                }
            });
            let host = spec.host.as_ref().and_then(|host| {
                *hosts
                    .entry(host.as_ptr())
                    .or_insert_with(|| self.slot(Kind::Host, SYSTEM_PROJECT, host).map(HostId))
            });
            let Metadata { project, labels, .. } = &port.object.resource.metadata;
            let key = (project.as_ptr(), Arc::as_ptr(labels));
            let signature = match signatures.get(&key) {
                Some(&known) => known,
                None => {
                    let found = self.signature_of(PortId(index));
                    signatures.insert(key, found);
                    found
                }
            };
            let domain = self.switches[switch].domain;
            places.push(Place { switch, domain, host, signature });
        }
        places
    }

    fn plug_all(&mut self, places: &[Place]) {
        for (id, place) in by_id(places) {
            // Ports with equal labels share one copy of them.
            let labels = self.signatures[place.signature].labels.clone();
            let port = &mut self.ports[id];
            port.object.resource.metadata.labels = labels;
            port.switch = place.switch;
            port.host = place.host;
            port.signature = place.signature;
            let is_unprotected = !port.spec().port_security;
            // Whether a domain is spoofable is found out with what it sees, which is new for all.
            let domain = &mut self.domains[place.domain];
            domain.ports += 1;
            domain.unprotected += u32::from(is_unprotected);
        }
        let bound = || by_id(places).filter(|(_, place)| place.host.is_some());
        self.macs.reserve(bound().count());
        for (id, place) in bound() {
            self.macs.insert(place.switch, self.ports[id].spec().mac, id);
        }
        let by_switch = || by_id(places).map(|(id, place)| (place.switch, id.0));
        for (switch, ports) in Hands::deal(self.switches.bound(), by_switch).iter() {
            self.switches[switch].ports = IdSet::from_sorted(ports);
        }
        let by_host = || by_id(places).filter_map(|(id, place)| Some((place.host?, id.0)));
        for (host, ports) in Hands::deal(self.hosts.bound(), by_host).iter() {
            self.hosts[host].ports = IdSet::from_sorted(ports);
        }
        let by_signature = || by_id(places).map(|(id, place)| (place.signature, id.0));
        for (signature, ports) in Hands::deal(self.signatures.bound(), by_signature).iter() {
            self.signatures[signature].ports = IdSet::from_sorted(ports);
        }
    }

    /// Makes the placements. Returns that of each port.
    fn place_all(&mut self, places: &[Place]) -> Vec<Option<PlacementId>> {
        let mut placements = vec![None; places.len()];
        let by_host = || by_id(places).filter_map(|(id, place)| Some((place.host?, id.0)));
        let mut ports: Vec<(DomainId, u32)> = Vec::new();
        for (host, hand) in Hands::deal(self.hosts.bound(), by_host).iter() {
            ports.clear();
            ports.extend(hand.iter().map(|&port| (places[port as usize].domain, port)));
            ports.sort_unstable();
            for ports in ports.chunk_by(|a, b| a.0 == b.0) {
                let (domain, count) = (ports[0].0, ports.len() as u32);
                let id = self.placements.insert(Placement { host, domain, ports: count });
                self.hosts[host].placements.push((domain, id));
                for &(_, port) in ports {
                    placements[port as usize] = Some(id);
                }
            }
        }
        let by_domain = || self.placements.iter().map(|(id, placement)| (placement.domain, id.0));
        for (domain, ids) in Hands::deal(self.domains.bound(), by_domain).iter() {
            self.domains[domain].placements = IdSet::from_sorted(ids);
        }
        placements
    }

    /// Finds the groups of each port.
    fn find_groups(&mut self, places: &[Place]) {
        let mut known: Map<(SignatureId, SwitchId), SmallVec<[GroupId; 4]>> = Map::default();
        for (id, place) in by_id(places) {
            let groups = match self.ports[id].named_by.is_empty() {
                true => known
                    .entry((place.signature, place.switch))
                    .or_insert_with(|| self.groups_for(id))
                    .clone(),
                false => self.groups_for(id),
            };
            self.ports[id].groups = groups;
        }
    }

    /// Makes the shards of all groups, and counts the ports of those that policies are applied to.
    fn make_shards(
        &mut self,
        journal: &mut Journal,
        places: &[Place],
        placements: &[Option<PlacementId>],
    ) {
        let memberships = || {
            let ports = self.ports.iter();
            ports.flat_map(|(id, port)| port.groups.iter().map(move |&group| (group, id.0)))
        };
        let members: Hands<GroupId, u32> = Hands::deal(self.groups.bound(), memberships);
        let mut ports: Vec<(DomainId, u32)> = Vec::new();
        let mut ids: Vec<u32> = Vec::new();
        let mut occupied: Vec<PlacementId> = Vec::new();
        for (group, hand) in members.iter() {
            ports.clear();
            ports.extend(hand.iter().map(|&port| (places[port as usize].domain, port)));
            // Mostly sorted already, which a stable sort is quick to find.
            ports.sort();
            for ports in ports.chunk_by(|a, b| a.0 == b.0) {
                let domain = ports[0].0;
                ids.clear();
                ids.extend(ports.iter().map(|&(_, port)| port));
                let shard = self.shards.insert(Shard {
                    group,
                    domain,
                    members: IdSet::from_sorted(&ids),
                    subscribers: IdSet::default(),
                    version: 0,
                });
                self.groups[group].shards.push((domain, shard));
            }
            let Some(applied) = &mut self.groups[group].applied else { continue };
            occupied.clear();
            occupied.extend(hand.iter().filter_map(|&port| placements[port as usize]));
            occupied.sort_unstable();
            for same in occupied.chunk_by(|a, b| a == b) {
                let at = PortsAt { ports: same.len() as u32, counted: false };
                *applied.ports_at.entry_or_default(same[0]) = at;
                journal.spans.push((group, same[0]));
            }
        }
    }
}

fn by_id(places: &[Place]) -> impl Iterator<Item = (PortId, &Place)> {
    places.iter().enumerate().map(|(index, place)| (PortId(index as u32), place))
}
