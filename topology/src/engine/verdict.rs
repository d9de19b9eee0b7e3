//! Whether a packet is delivered.
//!
//! The procedure is that of [`crate::model::policy`](crate::model::SecurityPolicySpec): outbound
//! rules at the source, then inbound rules at the destination, tier by tier. Peers are compared by
//! address with what the host of the port holds, as its datapath does.

use super::api::{Decision, Endpoint, PacketKind, QueryError, Verdict};
use super::ids::{DomainId, GroupId, PortId};
use super::state::Engine;
use crate::model::{
    Action, IcmpVersion, Kind, ObjectKey, Peer, Rule, ServiceEntry, ServiceMatch, Spec,
};
use crate::planted::{self, Bug};
use std::net::IpAddr;

/// One end of the packet, resolved.
struct End {
    port: Option<PortId>,
    address: IpAddr,
}

impl Engine {
    pub(super) fn judge(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        packet: PacketKind,
    ) -> Result<Verdict, QueryError> {
        let (source, destination) = self.resolve_ends(source, destination)?;
        if let Some(reason) = self.obstacle(&source, &destination) {
            return Ok(Verdict::Unreachable { reason });
        }
        let out = match source.port {
            Some(port) => self.decide(port, false, destination.address, packet),
            None => Decision::NoneApplies,
        };
        if !out.is_allowed() {
            return Ok(Verdict::DeniedAtSource(out));
        }
        let into = match destination.port {
            Some(port) => self.decide(port, true, source.address, packet),
            None => Decision::NoneApplies,
        };
        if into.is_allowed() {
            Ok(Verdict::Allowed(out, into))
        } else {
            Ok(Verdict::DeniedAtDestination(out, into))
        }
    }

    fn resolve_ends(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
    ) -> Result<(End, End), QueryError> {
        let one = self.candidates(source)?;
        let two = self.candidates(destination)?;
        let pair = one
            .1
            .iter()
            .find_map(|&a| two.1.iter().find(|b| a.is_ipv4() == b.is_ipv4()).map(|&b| (a, b)));
        match pair {
            Some((a, b)) => Ok((End { port: one.0, address: a }, End { port: two.0, address: b })),
            None => Err(QueryError::Addresses(
                "the two ends have no address family in common: name addresses of one family"
                    .to_owned(),
            )),
        }
    }

    fn candidates(&self, end: &Endpoint) -> Result<(Option<PortId>, Vec<IpAddr>), QueryError> {
        match end {
            Endpoint::Outside(address) => Ok((None, vec![*address])),
            Endpoint::Port(key, address) => {
                let slot = self
                    .slot_of(key)
                    .filter(|_| key.kind == Kind::LogicalPort)
                    .ok_or_else(|| QueryError::NotFound(key.clone()))?;
                let port = &self.ports[PortId(slot)];
                let own = &port.spec().addresses;
                match address {
                    Some(address) if !own.contains(address) => {
                        Err(QueryError::Addresses(format!("{address} is not an address of {key}")))
                    }
                    Some(address) => Ok((Some(PortId(slot)), vec![*address])),
                    None => Ok((Some(PortId(slot)), own.to_vec())),
                }
            }
        }
    }

    /// Why nothing can be delivered, whatever the rules say.
    fn obstacle(&self, source: &End, destination: &End) -> Option<String> {
        for port in [source.port, destination.port].into_iter().flatten() {
            if self.ports[port].host.is_none() {
                let key = self.ports[port].object.resource.key();
                return Some(format!("{key} is not bound to a host"));
            }
        }
        let (from, to) = (self.domain_of(source.port?), self.domain_of(destination.port?));
        let reaches = &self.domains[from].reaches;
        if reaches.binary_search(&to).is_ok() {
            return None;
        }
        let (from, to) = (self.domains[from].vni, self.domains[to].vni);
        Some(format!("no path leads from domain {from} to domain {to}"))
    }

    /// What a port's policies decide about a packet to it (`inbound`) or from it.
    fn decide(&self, port: PortId, inbound: bool, other: IpAddr, packet: PacketKind) -> Decision {
        let mut policies: Vec<(&super::state::Policy, ObjectKey)> = self
            .policies_of(port)
            .into_iter()
            .map(|id| (&self.policies[id], self.policies[id].object.resource.key()))
            .collect();
        policies.sort_unstable_by_key(|(policy, key)| {
            let spec = policy.spec();
            (spec.tier, spec.priority, key.project.clone(), key.name.clone())
        });
        let domain = self.domain_of(port);
        for tier in policies.chunk_by(|a, b| a.0.spec().tier == b.0.spec().tier) {
            let matched = tier.iter().find_map(|(policy, key)| {
                let rules = &policy.spec().rules;
                let index = rules
                    .iter()
                    .position(|rule| self.rule_matches(rule, domain, inbound, other, packet))?;
                Some((key, index, &rules[index]))
            });
            match matched {
                Some((_, _, rule))
                    if rule.action == Action::Pass && !planted::is(Bug::PassAllows) =>
                {
                    continue;
                }
                Some((key, index, rule)) => {
                    return Decision::Rule {
                        policy: key.clone(),
                        index,
                        name: rule.name.clone(),
                        action: rule.action,
                    };
                }
                None => {}
            }
            let default = tier.iter().find_map(|(policy, key)| {
                let defaults = policy.spec().defaults;
                let action = if inbound { defaults.inbound } else { defaults.outbound };
                action.map(|action| (key, action))
            });
            match default {
                Some((_, Action::Pass)) | None => {}
                Some((key, action)) => {
                    return Decision::Default { policy: key.clone(), action };
                }
            }
        }
        Decision::NoneApplies
    }

    fn rule_matches(
        &self,
        rule: &Rule,
        domain: DomainId,
        inbound: bool,
        other: IpAddr,
        packet: PacketKind,
    ) -> bool {
        let direction = if inbound { rule.direction.is_in() } else { rule.direction.is_out() };
        direction
            && (rule.services.is_empty()
                || rule.services.iter().any(|s| self.service_matches(s, other.is_ipv4(), packet)))
            && (rule.peers.is_empty()
                || rule.peers.iter().any(|peer| self.peer_matches(rule, peer, domain, other)))
    }

    fn peer_matches(&self, rule: &Rule, peer: &Peer, domain: DomainId, address: IpAddr) -> bool {
        let Some(slot) = self.slot(Kind::Group, &peer.group.project, &peer.group.name) else {
            return false;
        };
        let id = GroupId(slot);
        let whole = rule.needs_protection() && self.domains[domain].spoofable;
        let member = |domain: DomainId| {
            self.addresses
                .get(&(domain, address))
                .is_some_and(|&port| self.ports[port].groups.binary_search(&id).is_ok())
        };
        let within = self.groups[id].blocks.contains(address)
            || if whole {
                self.groups[id].shards.iter().any(|&(domain, _)| member(domain))
            } else {
                self.domains[domain].sees.iter().any(|&domain| member(domain))
            };
        within != peer.negate
    }

    fn service_matches(&self, service: &ServiceMatch, v4: bool, packet: PacketKind) -> bool {
        match service {
            ServiceMatch::Entry(entry) => entry_matches(entry, v4, packet),
            ServiceMatch::Service(reference) => {
                let slot = self.slot(Kind::Service, &reference.project, &reference.name);
                match slot.map(|slot| &*self.object(Kind::Service, slot).resource.spec) {
                    Some(Spec::Service(service)) => {
                        service.entries.iter().any(|entry| entry_matches(entry, v4, packet))
                    }
                    _ => false,
                }
            }
        }
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
