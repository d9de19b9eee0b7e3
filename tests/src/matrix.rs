//! Who reaches whom, as the kernel has it and as the oracle has it.

use crate::fleet::workload;
use crate::model::ports;
use spanwire_lab::probe::{Check, Outcome, Probe};
use spanwire_lab::{Lab, WorkloadKey};
use spanwire_oracle::{Network, Resources};
use spanwire_topology::ObjectKey;
use spanwire_topology::engine::{Endpoint, PacketKind, Verdict};
use spanwire_topology::model::TransportProtocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What is tried between each pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trial {
    /// A TCP connection to a port.
    Tcp(u16),
    /// A UDP packet to a port, and its answer.
    Udp(u16),
    /// An echo request, and its answer.
    Ping,
}

impl Trial {
    /// True if what is lost on the way is sent again.
    pub fn is_retransmitted(self) -> bool {
        matches!(self, Trial::Tcp(_))
    }

    fn to_check(self, address: IpAddr) -> Check {
        match self {
            Trial::Tcp(port) => Check::Tcp(SocketAddr::new(address, port)),
            Trial::Udp(port) => Check::Udp(SocketAddr::new(address, port)),
            Trial::Ping => Check::Ping(address),
        }
    }

    fn to_packet(self, address: IpAddr) -> PacketKind {
        // No rule of the campus looks at source ports.
        let transport =
            |protocol, port| PacketKind::Transport { protocol, source_port: 40_000, port };
        match self {
            Trial::Tcp(port) => transport(TransportProtocol::Tcp, port),
            Trial::Udp(port) => transport(TransportProtocol::Udp, port),
            Trial::Ping if address.is_ipv4() => PacketKind::Icmp { icmp_type: 8, code: 0 },
            Trial::Ping => PacketKind::Icmp { icmp_type: 128, code: 0 },
        }
    }
}

/// One thing to try: from a port to an address.
pub type Attempt = (ObjectKey, IpAddr, Trial);

/// What is to become of every attempt: who answers, or nobody.
pub type Expectation = BTreeMap<Attempt, Option<ObjectKey>>;

/// What the oracle says of every ordered pair of bound ports. Where a sender sees no port with an
/// address, nobody answers; so an address that several tenants have is tried once a sender.
pub fn expectation(resources: &Resources, trials: &[Trial]) -> Expectation {
    let network = Network::new(resources);
    let bound: Vec<_> = ports(resources).filter(|(_, port)| port.host.is_some()).collect();
    let mut expected = Expectation::new();
    for (from, source) in &bound {
        for (to, destination) in &bound {
            if from == to {
                continue;
            }
            for &address in &destination.addresses {
                let own = source.addresses.iter().find(|a| a.is_ipv4() == address.is_ipv4());
                let Some(&own) = own.filter(|own| **own != address) else { continue };
                for &trial in trials {
                    let verdict = network.verdict(
                        &Endpoint::Port((*from).clone(), Some(own)),
                        &Endpoint::Port((*to).clone(), Some(address)),
                        trial.to_packet(address),
                    );
                    let verdict = verdict.expect("both ports exist and have these addresses");
                    let answers = matches!(verdict, Verdict::Allowed(..)).then(|| (*to).clone());
                    let entry = expected.entry(((*from).clone(), address, trial)).or_insert(None);
                    *entry = entry.take().or(answers);
                }
            }
        }
    }
    expected
}

/// Tries all of it, and returns what differs: the attempt, what was expected, and what came.
pub fn differences(lab: &Lab, expected: &Expectation, timeout: Duration) -> Vec<String> {
    let (attempts, answers): (Vec<&Attempt>, Vec<&Option<ObjectKey>>) = expected.iter().unzip();
    let outcomes = try_all(lab, &attempts, timeout);
    attempts
        .iter()
        .zip(answers)
        .zip(outcomes)
        .filter(|(((_, _, trial), answer), outcome)| !agrees(*trial, answer.as_ref(), outcome))
        .map(|((attempt, answer), outcome)| describe(attempt, answer.as_ref(), &outcome))
        .collect()
}

/// Tries a list, and returns what became of each.
pub fn try_all(lab: &Lab, attempts: &[&Attempt], timeout: Duration) -> Vec<Outcome> {
    let probes: Vec<Probe> = attempts
        .iter()
        .map(|(from, address, trial)| Probe::new(&workload(from), trial.to_check(*address)))
        .collect();
    lab.probe(&probes, timeout).expect("probes run")
}

/// True if what came is what was expected. Who answers a ping cannot be told; all others say their
/// name. A probe that has failed says nothing about the network, so it never agrees.
pub fn agrees(trial: Trial, expected: Option<&ObjectKey>, outcome: &Outcome) -> bool {
    match (expected.map(workload), outcome) {
        (_, Outcome::Failed(_)) => false,
        (None, outcome) => !outcome.is_connected(),
        (Some(_), Outcome::Connected { by: None }) => trial == Trial::Ping,
        (Some(expected), Outcome::Connected { by: Some(by) }) => expected == *by,
        (Some(_), _) => false,
    }
}

/// A difference in words.
pub fn describe(attempt: &Attempt, expected: Option<&ObjectKey>, outcome: &Outcome) -> String {
    let (from, address, trial) = attempt;
    let expected = expected.map_or("nobody".to_owned(), ToString::to_string);
    format!("{from} -> {address} {trial:?}: expected {expected}, came {outcome:?}")
}

/// The workloads of a lab.
pub fn workloads(lab: &Lab) -> BTreeSet<WorkloadKey> {
    lab.spec().workloads.iter().map(|workload| workload.key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::Kind;

    #[test]
    fn only_the_right_answer_agrees() {
        let port = |name: &str| ObjectKey::new(Kind::LogicalPort, "t", name);
        let by = |name: Option<&str>| Outcome::Connected { by: name.map(|n| workload(&port(n))) };
        let (web, failed) = (port("web"), Outcome::Failed("no reason".to_owned()));
        let cases = [
            (Trial::Tcp(80), Some(&web), by(Some("web")), true),
            (Trial::Tcp(80), Some(&web), by(Some("db")), false),
            (Trial::Tcp(80), Some(&web), by(None), false),
            (Trial::Udp(53), Some(&web), by(None), false),
            (Trial::Ping, Some(&web), by(None), true),
            (Trial::Tcp(80), Some(&web), Outcome::TimedOut, false),
            (Trial::Tcp(80), Some(&web), failed.clone(), false),
            (Trial::Tcp(80), None, failed, false),
            (Trial::Tcp(80), None, Outcome::TimedOut, true),
            (Trial::Tcp(80), None, Outcome::Refused, true),
            (Trial::Tcp(80), None, by(None), false),
            (Trial::Ping, None, by(None), false),
        ];
        for (trial, expected, outcome, agreement) in cases {
            let found = agrees(trial, expected, &outcome);
            assert_eq!(found, agreement, "{trial:?}: {expected:?} and {outcome:?}");
        }
    }
}
