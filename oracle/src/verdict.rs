//! What becomes of the first packet of a connection.
//!
//! The outbound rules at the source's host judge first, then the inbound rules at the
//! destination's. Peers are matched by address against what the host holds, because that is all
//! that a datapath can do.

use crate::domains::Component;
use crate::hosts::Network;
use spanwire_topology::engine::{Decision, Endpoint, PacketKind, QueryError, Verdict};
use spanwire_topology::model::{
    Action, DefaultActions, IcmpVersion, LogicalPortSpec, PortRange, Rule, SecurityPolicySpec,
    ServiceEntry,
};
use spanwire_topology::{Kind, ObjectKey, Spec};
use std::net::IpAddr;

/// A packet as one end of it sees it.
struct Seen<'a> {
    /// The port at this end.
    port: &'a ObjectKey,
    /// The domain of that port.
    domain: Component,
    /// The address at the other end.
    remote: IpAddr,
    /// True at the destination.
    inbound: bool,
    packet: PacketKind,
}

/// A port at one end of a packet, with its domain if the port is bound to a host.
struct End<'a> {
    key: &'a ObjectKey,
    port: &'a LogicalPortSpec,
}

impl Network<'_> {
    /// Whether the first packet of a connection is delivered, and why.
    pub fn verdict(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        packet: PacketKind,
    ) -> Result<Verdict, QueryError> {
        let from = self.end(source)?;
        let to = self.end(destination)?;
        let (source, destination) = addresses(source, &from, destination, &to)?;
        for end in from.iter().chain(&to) {
            if end.port.host.is_none() {
                return Ok(unreachable(format!("{} is not bound to a host", end.key)));
            }
        }
        let domain = |end: &Option<End<'_>>| end.as_ref().and_then(|e| self.domain_of(e.port));
        if let (Some(sender), Some(receiver)) = (domain(&from), domain(&to))
            && !self.domains.reaches(sender).contains(&receiver)
        {
            let [a, b] = [sender, receiver].map(|d| self.domains.name(d));
            return Ok(unreachable(format!("nothing is delivered from {a:?} to {b:?}")));
        }
        let decide = |end: &Option<End<'_>>, remote, inbound| match (end, domain(end)) {
            (Some(end), Some(domain)) => {
                self.decide(&Seen { port: end.key, domain, remote, inbound, packet })
            }
            _ => Decision::NoneApplies,
        };
        let at_source = decide(&from, destination, false);
        if !at_source.is_allowed() {
            return Ok(Verdict::DeniedAtSource(at_source));
        }
        let at_destination = decide(&to, source, true);
        Ok(if at_destination.is_allowed() {
            Verdict::Allowed(at_source, at_destination)
        } else {
            Verdict::DeniedAtDestination(at_source, at_destination)
        })
    }

    /// What the policies of a port decide about a packet to it (`inbound`) or from it, whose other
    /// end has the address `remote`; nothing if there is no such port.
    pub fn decision(
        &self,
        port: &ObjectKey,
        inbound: bool,
        remote: IpAddr,
        packet: PacketKind,
    ) -> Option<Decision> {
        let endpoint = Endpoint::Port(port.clone(), None);
        let end = self.end(&endpoint).ok()??;
        let domain = self.domain_of(end.port)?;
        Some(self.decide(&Seen { port: end.key, domain, remote, inbound, packet }))
    }

    fn end<'n>(&'n self, endpoint: &'n Endpoint) -> Result<Option<End<'n>>, QueryError> {
        let Endpoint::Port(key, _) = endpoint else { return Ok(None) };
        match self.resources.get(key).map(|resource| &*resource.spec) {
            Some(Spec::LogicalPort(port)) => Ok(Some(End { key, port })),
            _ => Err(QueryError::NotFound(key.clone())),
        }
    }

    /// Goes through the tiers, as the documentation of policies says.
    fn decide(&self, seen: &Seen<'_>) -> Decision {
        let mut policies: Vec<(ObjectKey, &SecurityPolicySpec)> = self
            .policies_of(seen.port)
            .into_iter()
            .filter_map(|key| Some((key.clone(), self.policy(&key)?)))
            .collect();
        policies
            .sort_by_key(|(key, p)| (p.tier, p.priority, key.project.clone(), key.name.clone()));
        for tier in policies.chunk_by(|(_, a), (_, b)| a.tier == b.tier) {
            let decision =
                self.first_rule(tier, seen).or_else(|| first_default(tier, seen.inbound));
            if let Some(decision) = decision
                && !is_pass(&decision)
            {
                return decision;
            }
        }
        Decision::NoneApplies
    }

    fn first_rule(
        &self,
        tier: &[(ObjectKey, &SecurityPolicySpec)],
        seen: &Seen<'_>,
    ) -> Option<Decision> {
        for (key, policy) in tier {
            for (index, rule) in policy.rules.iter().enumerate() {
                if self.rule_matches(rule, seen) {
                    let (name, action) = (rule.name.clone(), rule.action);
                    return Some(Decision::Rule { policy: key.clone(), index, name, action });
                }
            }
        }
        None
    }

    fn rule_matches(&self, rule: &Rule, seen: &Seen<'_>) -> bool {
        let direction = if seen.inbound { rule.direction.is_in() } else { rule.direction.is_out() };
        let peer = rule.peers.is_empty()
            || rule.peers.iter().any(|peer| {
                let group = peer.group.to_key(Kind::Group);
                let found = self.group_has_address(&group, rule, seen.domain, seen.remote);
                found != peer.negate
            });
        let service = self.services(rule).is_none_or(|entries| {
            entries.iter().any(|entry| entry_matches(entry, seen.packet, seen.remote))
        });
        direction && peer && service
    }
}

fn unreachable(reason: String) -> Verdict {
    Verdict::Unreachable { reason }
}

fn is_pass(decision: &Decision) -> bool {
    matches!(
        decision,
        Decision::Rule { action: Action::Pass, .. }
            | Decision::Default { action: Action::Pass, .. }
    )
}

fn first_default(tier: &[(ObjectKey, &SecurityPolicySpec)], inbound: bool) -> Option<Decision> {
    tier.iter().find_map(|(key, policy)| {
        let DefaultActions { inbound: to, outbound: from } = policy.defaults;
        let action = if inbound { to? } else { from? };
        Some(Decision::Default { policy: key.clone(), action })
    })
}

fn entry_matches(entry: &ServiceEntry, packet: PacketKind, address: IpAddr) -> bool {
    let any_has = |ranges: &[PortRange], port: u16| {
        ranges.is_empty() || ranges.iter().any(|range| range.contains(port))
    };
    match (entry, packet) {
        (ServiceEntry::Any, _) => true,
        (
            ServiceEntry::Transport { protocol, ports, source_ports },
            PacketKind::Transport { protocol: carried, source_port, port },
        ) => *protocol == carried && any_has(ports, port) && any_has(source_ports, source_port),
        (
            ServiceEntry::Icmp { version, icmp_type: wanted_type, code: wanted_code },
            PacketKind::Icmp { icmp_type, code },
        ) => {
            (*version == IcmpVersion::V4) == address.is_ipv4()
                && wanted_type.is_none_or(|wanted| wanted == icmp_type)
                && wanted_code.is_none_or(|wanted| wanted == code)
        }
        _ => false,
    }
}

/// The addresses of a packet: those named, or the first of a family that both ends have.
fn addresses(
    source: &Endpoint,
    from: &Option<End<'_>>,
    destination: &Endpoint,
    to: &Option<End<'_>>,
) -> Result<(IpAddr, IpAddr), QueryError> {
    let candidates = |endpoint: &Endpoint, end: &Option<End<'_>>| match (endpoint, end) {
        (Endpoint::Outside(address), _) => Ok(vec![*address]),
        (Endpoint::Port(key, Some(address)), Some(end)) => {
            if !end.port.addresses.contains(address) {
                return Err(QueryError::Addresses(format!("{address} is not of {key}")));
            }
            Ok(vec![*address])
        }
        (Endpoint::Port(..), end) => {
            Ok(end.iter().flat_map(|end| end.port.addresses.iter().copied()).collect())
        }
    };
    let (sources, destinations) = (candidates(source, from)?, candidates(destination, to)?);
    for a in &sources {
        if let Some(b) = destinations.iter().find(|b| a.is_ipv4() == b.is_ipv4()) {
            return Ok((*a, *b));
        }
    }
    Err(QueryError::Addresses("the two ends have no family of addresses in common".to_owned()))
}
