//! What the policy says about connections, and how it compares with what was seen.

use crate::failure::Failure;
use spanwire_topology::engine::{Endpoint, PacketKind, Verdict};
use spanwire_topology::model::{
    Kind, LogicalPortSpec, ServiceEntry, ServiceMatch, Spec, TransportProtocol,
};
use spanwire_topology::{Engine, ObjectKey, Resource};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The source port that expectations are made with: no rule of the demo looks at it.
pub(super) const SOURCE_PORT: u16 = 40_000;
/// A TCP port that no rule of the demo names.
const UNNAMED_PORT: u16 = 4444;

/// A TCP connection to be tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    /// Who opens it.
    pub(super) from: ObjectKey,
    /// The address it goes to. Whose that is depends on where it comes from.
    pub(super) address: IpAddr,
    /// The TCP port.
    pub(super) port: u16,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {} port {}", self.from, self.address, self.port)
    }
}

/// What was seen of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Someone accepted the connection, and said who.
    Answered(ObjectKey),
    /// Nobody did.
    Unanswered(String),
}

/// What the policy says about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// This port accepts it.
    Answer(ObjectKey),
    /// It is denied on the way.
    Denied,
    /// Nothing that can be reached has the address.
    Nobody,
}

/// What the policy says, by the engine alone.
pub(super) fn expected(engine: &Engine, attempt: &Attempt) -> Result<Expected, Failure> {
    let packet = PacketKind::Transport {
        protocol: TransportProtocol::Tcp,
        source_port: SOURCE_PORT,
        port: attempt.port,
    };
    let source = Endpoint::Port(attempt.from.clone(), None);
    let mut expected = Expected::Nobody;
    for key in engine.ports_with_address(attempt.address) {
        let destination = Endpoint::Port(key.clone(), Some(attempt.address));
        let verdict = engine
            .verdict(&source, &destination, packet)
            .map_err(|error| Failure::caused(format!("no verdict about {attempt}"), &error))?;
        match verdict {
            Verdict::Unreachable { .. } => {}
            Verdict::DeniedAtSource(_) | Verdict::DeniedAtDestination(..) => {
                expected = Expected::Denied;
            }
            Verdict::Allowed(..) => return Ok(Expected::Answer(key)),
        }
    }
    Ok(expected)
}

/// How the two differ, if they do.
pub(super) fn difference(attempt: &Attempt, expected: &Expected, seen: &Seen) -> Option<String> {
    match (expected, seen) {
        (Expected::Answer(wanted), Seen::Answered(by)) if wanted == by => None,
        (Expected::Denied | Expected::Nobody, Seen::Unanswered(_)) => None,
        (Expected::Answer(wanted), Seen::Answered(by)) => {
            Some(format!("{attempt}: answered by {by}, and it should have been {wanted}"))
        }
        (Expected::Answer(wanted), Seen::Unanswered(why)) => {
            Some(format!("{attempt}: allowed, to {wanted}, and {why}"))
        }
        (Expected::Denied, Seen::Answered(by)) => {
            Some(format!("{attempt}: denied, and {by} answered"))
        }
        (Expected::Nobody, Seen::Answered(by)) => {
            Some(format!("{attempt}: nobody can be reached there, and {by} answered"))
        }
    }
}

/// The ports among the resources, with their specs, sorted.
pub(super) fn ports(resources: &[Resource]) -> BTreeMap<ObjectKey, LogicalPortSpec> {
    resources
        .iter()
        .filter_map(|resource| match &*resource.spec {
            Spec::LogicalPort(port) => Some((resource.key(), port.clone())),
            _ => None,
        })
        .collect()
}

/// The TCP ports at the edges of what rules and services name, and one that none names.
pub(super) fn tcp_ports(resources: &[Resource]) -> BTreeSet<u16> {
    let mut found = BTreeSet::from([UNNAMED_PORT]);
    let mut look = |entry: &ServiceEntry| {
        if let ServiceEntry::Transport { protocol: TransportProtocol::Tcp, ports, .. } = entry {
            found.extend(ports.iter().flat_map(|range| [range.first(), range.last()]));
        }
    };
    for resource in resources {
        match &*resource.spec {
            Spec::Service(service) => service.entries.iter().for_each(&mut look),
            Spec::SecurityPolicy(policy) => {
                for service in policy.rules.iter().flat_map(|rule| &rule.services) {
                    if let ServiceMatch::Entry(entry) = service {
                        look(entry);
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// Attempts from a port of every switch to one of every switch, on each of the TCP ports, in both
/// families where both ends have them. Which port of a switch takes part changes from one attempt
/// to the next, so that all of them do.
pub(super) fn attempts(resources: &[Resource], tcp_ports: &BTreeSet<u16>) -> Vec<Attempt> {
    let mut by_switch: BTreeMap<ObjectKey, Vec<(ObjectKey, LogicalPortSpec)>> = BTreeMap::new();
    for (key, port) in ports(resources).into_iter().filter(|(_, port)| port.host.is_some()) {
        let switch = port.switch.to_key(Kind::LogicalSwitch);
        by_switch.entry(switch).or_default().push((key, port));
    }
    let mut attempts = BTreeSet::new();
    let mut turn = 0;
    for sources in by_switch.values() {
        for destinations in by_switch.values() {
            for &port in tcp_ports {
                let (from, source) = &sources[turn % sources.len()];
                // Another stride, or equal switches would always meet in the same pairs.
                let (_, destination) = &destinations[(turn / 3 + turn) % destinations.len()];
                turn += 1;
                attempts.extend(between(from, source, destination, port));
            }
        }
    }
    attempts.into_iter().collect()
}

/// Attempts between one port and a port of every switch, both ways, on each of the TCP ports.
pub(super) fn attempts_around(
    resources: &[Resource],
    key: &ObjectKey,
    tcp_ports: &BTreeSet<u16>,
) -> Vec<Attempt> {
    let ports = ports(resources);
    let Some(own) = ports.get(key) else { return Vec::new() };
    let mut switches = BTreeSet::new();
    let mut attempts = Vec::new();
    for (other, port) in ports.iter().filter(|(other, port)| *other != key && port.host.is_some()) {
        if switches.insert(&port.switch) {
            for &tcp in tcp_ports {
                attempts.extend(between(key, own, port, tcp));
                attempts.extend(between(other, port, own, tcp));
            }
        }
    }
    attempts
}

/// The attempts from one port to the addresses of another, one a family.
pub(super) fn between(
    from: &ObjectKey,
    source: &LogicalPortSpec,
    destination: &LogicalPortSpec,
    port: u16,
) -> Vec<Attempt> {
    [false, true]
        .into_iter()
        .filter(|v6| source.addresses.iter().any(|address| address.is_ipv6() == *v6))
        .filter_map(|v6| destination.addresses.iter().find(|address| address.is_ipv6() == v6))
        // With equal addresses in isolated tenants, the other's address may be one's own.
        .filter(|address| !source.addresses.contains(address))
        .map(|&address| Attempt { from: from.clone(), address, port })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::LogicalPort, "t", name)
    }

    #[test]
    fn only_what_the_policy_says_passes() {
        let attempt = Attempt { from: key("a"), address: "10.0.0.2".parse().unwrap(), port: 80 };
        let (answer, denied) = (Expected::Answer(key("b")), Expected::Denied);
        let (b, c) = (Seen::Answered(key("b")), Seen::Answered(key("c")));
        let silent = Seen::Unanswered("nobody answered".to_owned());
        assert_eq!(difference(&attempt, &answer, &b), None);
        assert_eq!(difference(&attempt, &denied, &silent), None);
        assert_eq!(difference(&attempt, &Expected::Nobody, &silent), None);
        for (expected, seen) in
            [(&answer, &c), (&answer, &silent), (&denied, &b), (&Expected::Nobody, &c)]
        {
            assert!(difference(&attempt, expected, seen).is_some(), "{expected:?} {seen:?}");
        }
    }
}
