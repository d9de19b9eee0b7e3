//! Whether a rule matches a packet, and by which of its peers and services.

use super::answer::{MatchedEntry, MatchedPeer, Membership, PeerContent};
use super::decide::Seen;
use crate::engine::api::PacketKind;
use crate::engine::ids::{DomainId, GroupId, PolicyId, PortId};
use crate::engine::state::Engine;
use crate::model::{IcmpVersion, Kind, Peer, Rule, ServiceEntry, ServiceMatch, Spec};
use std::net::IpAddr;

/// The peer of a rule that matches.
pub(super) enum PeerFound<'r> {
    /// The rule has no peers, so that everyone matches.
    Everyone,
    /// This one.
    Peer(&'r Peer, GroupId),
}

/// The service of a rule that matches.
pub(super) enum EntryFound<'r> {
    /// The rule has no services, so that every packet matches.
    Everything,
    /// This one, with the entry.
    Entry(&'r ServiceMatch, &'r ServiceEntry),
}

impl Engine {
    /// The first peer of a rule that matches the other end.
    pub(super) fn matched_peer<'r>(&self, rule: &'r Rule, seen: Seen) -> Option<PeerFound<'r>> {
        if rule.peers.is_empty() {
            return Some(PeerFound::Everyone);
        }
        let domain = self.domain_of(seen.port);
        let whole = rule.needs_protection() && self.domains[domain].spoofable;
        rule.peers.iter().find_map(|peer| {
            let group = GroupId(self.slot(Kind::Group, &peer.group.project, &peer.group.name)?);
            let within = self.groups[group].blocks.contains(seen.other)
                || self.member_with(group, domain, whole, seen.other).is_some();
            (within != peer.negate).then_some(PeerFound::Peer(peer, group))
        })
    }

    /// A member of a group that has an address, in a domain that `domain` sees; or in any, if its
    /// hosts have the whole group.
    fn member_with(
        &self,
        group: GroupId,
        domain: DomainId,
        whole: bool,
        address: IpAddr,
    ) -> Option<PortId> {
        let member = |domain: DomainId| {
            let port = *self.addresses.get(&(domain, address))?;
            self.ports[port].groups.binary_search(&group).is_ok().then_some(port)
        };
        if whole {
            self.groups[group].shards.iter().find_map(|&(domain, _)| member(domain))
        } else {
            self.domains[domain].sees.iter().find_map(|&domain| member(domain))
        }
    }

    /// The first entry of a rule's services that matches the packet.
    pub(super) fn matched_entry<'r>(
        &'r self,
        rule: &'r Rule,
        seen: Seen,
    ) -> Option<EntryFound<'r>> {
        if rule.services.is_empty() {
            return Some(EntryFound::Everything);
        }
        let matches =
            |entry: &&ServiceEntry| entry_matches(entry, seen.other.is_ipv4(), seen.packet);
        rule.services.iter().find_map(|service| {
            let entries = match service {
                ServiceMatch::Entry(entry) => std::slice::from_ref(entry),
                ServiceMatch::Service(reference) => {
                    let slot = self.slot(Kind::Service, &reference.project, &reference.name)?;
                    match &*self.object(Kind::Service, slot).resource.spec {
                        Spec::Service(service) => service.entries.as_slice(),
                        _ => &[],
                    }
                }
            };
            entries.iter().find(matches).map(|entry| EntryFound::Entry(service, entry))
        })
    }

    /// How the other end matched the rule; nothing if everyone does.
    pub(super) fn explain_peer(&self, rule: &Rule, seen: Seen) -> Option<MatchedPeer> {
        let PeerFound::Peer(peer, group) = self.matched_peer(rule, seen)? else {
            return None;
        };
        let object = &self.groups[group].object;
        let domain = self.domain_of(seen.port);
        let content = if peer.negate {
            PeerContent::Absent
        } else {
            self.peer_content(group, domain, seen.other)
        };
        Some(MatchedPeer {
            group: object.resource.key(),
            revision: object.revision,
            negated: peer.negate,
            content,
        })
    }

    /// How an address is in a group. A port in sight says more than a block, and a block more than
    /// a port that is known only because its host has the whole group.
    fn peer_content(&self, group: GroupId, domain: DomainId, address: IpAddr) -> PeerContent {
        if let Some(port) = self.oldest_member_in_sight(group, domain, address) {
            return PeerContent::Port {
                port: self.port_key(port),
                in_sight: true,
                membership: self.explain_membership_of(port, group),
            };
        }
        if self.groups[group].blocks.contains(address) {
            return PeerContent::Block { steps: self.explain_block(group, address) };
        }
        match self.oldest_member_anywhere(group, address) {
            Some(port) => PeerContent::Port {
                port: self.port_key(port),
                in_sight: false,
                membership: self.explain_membership_of(port, group),
            },
            None => PeerContent::Absent,
        }
    }

    fn oldest_member_in_sight(
        &self,
        group: GroupId,
        domain: DomainId,
        address: IpAddr,
    ) -> Option<PortId> {
        self.oldest_member(group, self.domains[domain].sees.iter().copied(), address)
    }

    fn oldest_member_anywhere(&self, group: GroupId, address: IpAddr) -> Option<PortId> {
        let domains = self.groups[group].shards.iter().map(|&(domain, _)| domain);
        self.oldest_member(group, domains, address)
    }

    fn oldest_member(
        &self,
        group: GroupId,
        domains: impl Iterator<Item = DomainId>,
        address: IpAddr,
    ) -> Option<PortId> {
        domains
            .filter_map(|domain| self.addresses.get(&(domain, address)).copied())
            .filter(|&port| self.ports[port].groups.binary_search(&group).is_ok())
            .min_by_key(|&port| self.ports[port].object.uid)
    }

    /// Which entry of its services made a rule match; nothing if the rule has none.
    pub(super) fn explain_entry(&self, rule: &Rule, seen: Seen) -> Option<MatchedEntry> {
        let EntryFound::Entry(service, entry) = self.matched_entry(rule, seen)? else {
            return None;
        };
        let object = match service {
            ServiceMatch::Entry(_) => None,
            ServiceMatch::Service(reference) => self.get(&reference.to_key(Kind::Service)),
        };
        Some(MatchedEntry {
            service: object.map(|object| object.resource.key()),
            revision: object.map_or(0, |object| object.revision),
            entry: entry.clone(),
        })
    }

    /// Why a policy is applied to a port: the first of its groups that has it.
    pub(super) fn explain_applied(&self, policy: PolicyId, port: PortId) -> Option<Membership> {
        let spec = self.policies[policy].spec();
        let group = spec.applied_to.iter().find_map(|group| {
            let group = GroupId(self.slot(Kind::Group, &group.project, &group.name)?);
            self.ports[port].groups.binary_search(&group).is_ok().then_some(group)
        })?;
        Some(self.explain_membership_of(port, group))
    }
}

fn entry_matches(entry: &ServiceEntry, v4: bool, packet: PacketKind) -> bool {
    match (entry, packet) {
        (ServiceEntry::Any, _) => true,
        (
            ServiceEntry::Transport { protocol, ports, source_ports },
            PacketKind::Transport { protocol: carried, source_port, port },
        ) => {
            *protocol == carried
                && (ports.is_empty() || ports.iter().any(|range| range.contains(port)))
                && (source_ports.is_empty()
                    || source_ports.iter().any(|range| range.contains(source_port)))
        }
        (
            ServiceEntry::Icmp { version, icmp_type, code },
            PacketKind::Icmp { icmp_type: carried, code: carried_code },
        ) => {
            (*version == IcmpVersion::V4) == v4
                && icmp_type.is_none_or(|icmp_type| icmp_type == carried)
                && code.is_none_or(|code| code == carried_code)
        }
        _ => false,
    }
}
