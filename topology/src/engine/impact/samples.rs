//! The ends and packets that are tried, chosen from what a transaction touches.
//!
//! The subjects are ports that the transaction touches: by name, by a policy applied to them, by a
//! group that they join or leave, by a switch or router they are on. Each is paired with a few
//! members of the groups that its policies name, with a few ports whose policies name a group that it
//! is in, with its neighbours on the switch, and with ports in the domains that its own sees. What is
//! asked for are the first entries of the services of these policies, and a packet that none names.

use crate::engine::api::{Changes, ItemChangeKind, PacketKind};
use crate::engine::ids::{GroupId, PolicyId, PortId, RouterId, ServiceId, SwitchId};
use crate::engine::lint::entries_of;
use crate::engine::state::Engine;
use crate::model::{IcmpVersion, Kind, ObjectKey, ServiceEntry, TransportProtocol};
use crate::view::{ItemDelta, ItemKey};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most subjects.
const SUBJECTS_MAX: usize = 64;
/// The most pairs of ends.
const PAIRS_MAX: usize = 2_000;
/// The most packets that are tried for each pair.
const PACKETS_MAX: usize = 8;

/// Of each object that the transaction names, this many ports are subjects.
const SUBJECTS_EACH: usize = 8;
/// Members of one group that a subject is paired with.
const MEMBERS_EACH: usize = 2;
/// Ports that are looked at to choose the first few of them by name.
const LOOKED_AT: usize = 256;
/// Policies, groups and domains that are followed from one object.
const FOLLOWED: usize = 8;
/// The source port of packets whose service does not ask for one.
const SOURCE_PORT: u16 = 49_152;
/// Ports that few services name, one of which is tried.
const UNNAMED_PORTS: [u16; 4] = [9, 4_242, 47_808, 65_000];

/// One end of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Port(ObjectKey),
    Outside(IpAddr),
}

/// What is tried.
#[derive(Debug, Default)]
pub(super) struct Samples {
    subjects: BTreeSet<ObjectKey>,
    pub(super) pairs: BTreeSet<(End, End)>,
    entries: Vec<ServiceEntry>,
    /// Something was left out.
    pub(super) is_cut: bool,
}

impl Samples {
    /// Adds what some objects give reason to try, as the state stands.
    pub(super) fn add_objects(&mut self, engine: &Engine, keys: &[ObjectKey]) {
        for key in keys {
            if self.subjects.len() >= SUBJECTS_MAX || self.pairs.len() >= PAIRS_MAX {
                self.is_cut = true;
                return;
            }
            if let Some(slot) = engine.slot_of(key) {
                self.add_object(engine, key.kind, slot);
            }
        }
    }

    fn add_object(&mut self, engine: &Engine, kind: Kind, slot: u32) {
        match kind {
            Kind::Host => {}
            Kind::LogicalPort => self.add_subject(engine, PortId(slot)),
            Kind::LogicalSwitch => self.add_switch(engine, SwitchId(slot)),
            Kind::LogicalRouter => {
                let links = &engine.routers[RouterId(slot)].links;
                let switches = &links.switches;
                self.is_cut |= switches.len() > FOLLOWED;
                for &switch in switches.iter().take(FOLLOWED) {
                    self.add_switch(engine, switch);
                }
            }
            Kind::Group => self.add_group(engine, GroupId(slot)),
            Kind::Service => {
                let users = &engine.services[ServiceId(slot)].users;
                self.is_cut |= users.len() > FOLLOWED;
                for &policy in users.iter().take(FOLLOWED) {
                    self.add_policy(engine, policy);
                }
            }
            Kind::SecurityPolicy => self.add_policy(engine, PolicyId(slot)),
        }
    }

    /// The members that shards gained and lost: those that a redefined group holds, and no longer
    /// holds.
    pub(super) fn add_changed_members(&mut self, engine: &Engine, changes: &Changes) {
        for change in &changes.items {
            let ItemKey::Shard { domain, .. } = change.key else { continue };
            let ItemChangeKind::Delta(ItemDelta::Shard { removed, added }) = &change.kind else {
                continue;
            };
            let Some(&domain) = engine.vnis.get(&domain) else { continue };
            self.is_cut |= removed.len().max(added.len()) > SUBJECTS_EACH;
            for list in [removed, added] {
                for &address in list.iter().take(SUBJECTS_EACH) {
                    if let Some(&port) = engine.addresses.get(&(domain, address)) {
                        self.add_subject(engine, port);
                    }
                }
            }
        }
    }

    fn add_switch(&mut self, engine: &Engine, switch: SwitchId) {
        let ports = &engine.switches[switch].ports;
        self.is_cut |= ports.len() > SUBJECTS_EACH as u64;
        for port in first(engine, ports.iter(), SUBJECTS_EACH) {
            self.add_subject(engine, port);
        }
    }

    /// The members of a group, and of the groups that it is part of.
    fn add_group(&mut self, engine: &Engine, id: GroupId) {
        let mut groups = vec![id];
        self.is_cut |= engine.groups[id].parents.len() > FOLLOWED;
        groups.extend(engine.groups[id].parents.iter().take(FOLLOWED));
        for group in groups {
            let members = members(engine, group, SUBJECTS_EACH);
            self.is_cut |= members.len() == SUBJECTS_EACH;
            for port in members {
                self.add_subject(engine, port);
            }
            let state = &engine.groups[group];
            self.is_cut |= state.applied_by.len() + state.peer_of.len() > FOLLOWED;
            for &policy in state.applied_by.iter().chain(&state.peer_of).take(FOLLOWED) {
                self.add_policy(engine, policy);
            }
        }
    }

    /// The ports that a policy is applied to, with members of its peers.
    fn add_policy(&mut self, engine: &Engine, id: PolicyId) {
        self.add_entries(engine, id);
        let policy = &engine.policies[id];
        self.is_cut |= policy.applied_to.len() > FOLLOWED || policy.peers.len() > FOLLOWED;
        for &group in policy.applied_to.iter().take(FOLLOWED) {
            let members = members(engine, group, SUBJECTS_EACH);
            self.is_cut |= members.len() == SUBJECTS_EACH;
            for port in members {
                self.add_subject(engine, port);
                self.add_peers(engine, port, id);
            }
        }
    }

    /// The packets that a policy's rules name.
    fn add_entries(&mut self, engine: &Engine, id: PolicyId) {
        for rule in &engine.policies[id].spec().rules {
            for entry in rule.services.iter().flat_map(|service| entries_of(engine, service)) {
                if self.entries.len() >= PACKETS_MAX {
                    self.is_cut |= !self.entries.contains(entry);
                    return;
                }
                if !self.entries.contains(entry) {
                    self.entries.push(entry.clone());
                }
            }
        }
    }

    fn add_subject(&mut self, engine: &Engine, port: PortId) {
        let key = engine.ports[port].object.resource.key();
        if self.subjects.len() >= SUBJECTS_MAX {
            self.is_cut |= !self.subjects.contains(&key);
            return;
        }
        self.subjects.insert(key);
        for policy in engine.policies_of(port).into_iter().take(FOLLOWED) {
            self.add_entries(engine, policy);
            self.add_peers(engine, port, policy);
        }
        for &group in engine.ports[port].groups.iter().take(FOLLOWED) {
            for &policy in engine.groups[group].peer_of.iter().take(FOLLOWED) {
                self.add_entries(engine, policy);
                for &applied in engine.policies[policy].applied_to.iter().take(FOLLOWED) {
                    for other in members(engine, applied, MEMBERS_EACH) {
                        self.add_pair(engine, port, other);
                    }
                }
            }
        }
        let domain = &engine.domains[engine.domain_of(port)];
        let seen = domain.sees.iter().take(FOLLOWED).flat_map(|&seen| {
            let switches = engine.domains[seen].switches.iter().take(FOLLOWED);
            switches.flat_map(|switch| engine.switches[switch].ports.iter().take(1))
        });
        let mates = engine.switches[engine.ports[port].switch].ports.iter().take(MEMBERS_EACH + 1);
        for other in seen.chain(mates) {
            self.add_pair(engine, port, other);
        }
    }

    /// Members of a policy's peers, and an address of each peer that has blocks.
    fn add_peers(&mut self, engine: &Engine, port: PortId, policy: PolicyId) {
        for &(peer, _) in engine.policies[policy].peers.iter().take(FOLLOWED) {
            for other in members(engine, peer, MEMBERS_EACH) {
                self.add_pair(engine, port, other);
            }
            let blocks = &engine.groups[peer].spec().blocks;
            if let Some(block) = blocks.first() {
                let key = engine.ports[port].object.resource.key();
                self.insert(End::Port(key), End::Outside(block.cidr().network()));
            }
        }
    }

    fn add_pair(&mut self, engine: &Engine, one: PortId, two: PortId) {
        if one != two {
            let end = |port: PortId| End::Port(engine.ports[port].object.resource.key());
            self.insert(end(one), end(two));
        }
    }

    /// Both ways.
    fn insert(&mut self, one: End, two: End) {
        for pair in [(one.clone(), two.clone()), (two, one)] {
            if self.pairs.len() < PAIRS_MAX {
                self.pairs.insert(pair);
            } else {
                self.is_cut |= !self.pairs.contains(&pair);
            }
        }
    }

    /// The packets to try: one of each entry, and one that no entry names.
    pub(super) fn packets(&self) -> Vec<PacketKind> {
        let mut packets: Vec<PacketKind> = Vec::new();
        let unnamed = UNNAMED_PORTS.into_iter().find(|port| !self.names(*port));
        let any = unnamed.map(|port| PacketKind::Transport {
            protocol: TransportProtocol::Tcp,
            source_port: SOURCE_PORT,
            port,
        });
        for packet in self.entries.iter().filter_map(packet).chain(any) {
            if !packets.contains(&packet) {
                packets.push(packet);
            }
        }
        packets
    }

    fn names(&self, port: u16) -> bool {
        self.entries.iter().any(|entry| match entry {
            ServiceEntry::Transport { protocol: TransportProtocol::Tcp, ports, .. } => {
                ports.iter().any(|range| range.contains(port))
            }
            _ => false,
        })
    }
}

/// A packet that an entry matches; nothing for one that matches all.
fn packet(entry: &ServiceEntry) -> Option<PacketKind> {
    Some(match entry {
        ServiceEntry::Any => return None,
        ServiceEntry::Transport { protocol, ports, source_ports } => PacketKind::Transport {
            protocol: *protocol,
            source_port: source_ports.first().map_or(SOURCE_PORT, |range| range.first()),
            port: ports.first().map_or(UNNAMED_PORTS[0], |range| range.first()),
        },
        ServiceEntry::Icmp { version, icmp_type, code } => PacketKind::Icmp {
            // Echo request: RFC 792 and RFC 4443, section 4.1.
            icmp_type: icmp_type.unwrap_or(match version {
                IcmpVersion::V4 => 8,
                IcmpVersion::V6 => 128,
            }),
            code: code.unwrap_or(0),
        },
    })
}

/// The first few members of a group by name, of those that are looked at.
fn members(engine: &Engine, group: GroupId, count: usize) -> Vec<PortId> {
    let shards = engine.groups[group].shards.iter();
    first(engine, shards.flat_map(|&(_, shard)| engine.shards[shard].members.iter()), count)
}

fn first(engine: &Engine, ports: impl Iterator<Item = PortId>, count: usize) -> Vec<PortId> {
    let mut found: Vec<PortId> = ports.take(LOOKED_AT).collect();
    found.sort_by_cached_key(|&port| engine.ports[port].object.resource.key());
    found.truncate(count);
    found
}
