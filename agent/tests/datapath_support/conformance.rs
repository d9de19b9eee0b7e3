//! What every datapath driver must do: the cases of [`super::cases`], run on a harness.

use super::cases::{Expectation, base, cases};
use super::probe::{Outcome, PATIENCE, Sent};
use super::world::World;
use spanwire_agent::datapath::evaluate::{Destination, Packet, Payload, Verdict};
use spanwire_agent::datapath::record::RecordDatapath;
use spanwire_agent::datapath::{Datapath, evaluate};
use spanwire_topology::Resource;
use spanwire_topology::model::{Direction, TransportProtocol};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A driver on each of two hosts, and workloads behind them.
pub(crate) trait Harness {
    /// Brings both hosts to what the world says.
    fn apply(&mut self, world: &World);

    /// Lets a workload send something, and says what becomes of it. With `source`, it forges its
    /// address.
    fn send(
        &mut self,
        from: &str,
        source: Option<IpAddr>,
        to: IpAddr,
        sent: Sent,
        patience: Duration,
    ) -> Outcome;
}

/// Runs every case on a harness.
///
/// # Panics
///
/// At the first case that does not hold, naming it.
pub(crate) fn check_conformance(harness: &mut dyn Harness) {
    let mut world = World::new(base());
    let mut previous: Vec<Resource> = Vec::new();
    let originals: BTreeMap<_, _> = base().into_iter().map(|r| (r.key(), r)).collect();
    for case in cases() {
        // What the last case changed of the base is changed back, what it added goes.
        let (changed, added): (Vec<_>, Vec<_>) =
            previous.iter().partition(|resource| originals.contains_key(&resource.key()));
        let mut put: BTreeMap<_, _> = changed
            .iter()
            .map(|resource| (resource.key(), originals[&resource.key()].clone()))
            .collect();
        put.extend(case.put.iter().map(|resource| (resource.key(), resource.clone())));
        world.replace(added, put.into_values());
        harness.apply(&world);
        for expectation in &case.expectations {
            let Expectation { from, source, to, sent, outcome } = expectation;
            let expected = outcome.to_outcome();
            let source = source.map(|source| source.parse().unwrap());
            let mut got = Outcome::Silence;
            for patience in PATIENCE {
                got = harness.send(from, source, to.parse().unwrap(), *sent, patience);
                if got != Outcome::Silence || expected == Outcome::Silence {
                    break;
                }
            }
            assert_eq!(
                got, expected,
                "case {:?}: {from} sends {sent:?} to {to} (source {source:?})",
                case.name
            );
        }
        previous = case.put;
    }
}

// -- The record driver, asked what would happen.

/// Two record drivers.
#[derive(Default)]
pub(crate) struct RecordHarness {
    hosts: BTreeMap<&'static str, RecordDatapath>,
}

impl Harness for RecordHarness {
    fn apply(&mut self, world: &World) {
        for host in ["a", "b"] {
            let driver = self.hosts.entry(host).or_default();
            assert!(driver.apply(&world.view(host), None).unwrap().is_empty());
        }
    }

    fn send(
        &mut self,
        from: &str,
        source: Option<IpAddr>,
        to: IpAddr,
        sent: Sent,
        _patience: Duration,
    ) -> Outcome {
        let host_of = |name: &str| {
            ["a", "b"].into_iter().find(|host| {
                evaluate::ports(&self.hosts[host].view()).any(|(_, port)| &*port.name == name)
            })
        };
        let sender_host = &self.hosts[host_of(from).unwrap()];
        let uid = World::port_uid(&sender_host.view(), from);
        let own = evaluate::port(&sender_host.view(), uid).unwrap().addresses.clone();
        let source = source
            .or_else(|| own.into_iter().find(|address| address.is_ipv4() == to.is_ipv4()))
            .unwrap();
        let packet = Packet { source, destination: to, payload: payload(sent, to) };
        if !sender_host.admits_source(uid, source).unwrap() {
            return Outcome::Silence;
        }
        let outcome = |verdict| match verdict {
            Verdict::Allow => None,
            Verdict::Drop => Some(Outcome::Silence),
            Verdict::Reject => Some(Outcome::Refused),
        };
        let destination = sender_host.route(uid, to).unwrap();
        if destination == Destination::Unreachable {
            return Outcome::NoRoute;
        }
        let out = sender_host.judge(uid, Direction::Out, &packet).unwrap();
        if let Some(outcome) = outcome(out.verdict) {
            return outcome;
        }
        let (receiver_host, receiver) = match destination {
            Destination::Local(receiver) => (sender_host, receiver),
            Destination::Remote { domain, locator } => {
                let host = match locator.vtep.to_string().as_str() {
                    "172.30.0.1" => &self.hosts["a"],
                    _ => &self.hosts["b"],
                };
                let receiver = evaluate::ports(&host.view())
                    .find(|(_, port)| port.domain == domain && port.addresses.contains(&to))
                    .map(|(uid, _)| uid)
                    .unwrap();
                (host, receiver)
            }
            Destination::Unreachable => unreachable!(),
        };
        let inbound = receiver_host.judge(receiver, Direction::In, &packet).unwrap();
        if let Some(outcome) = outcome(inbound.verdict) {
            return outcome;
        }
        match sent {
            Sent::Ping | Sent::Timestamp => Outcome::Answered("kernel".to_owned()),
            Sent::Tcp(_) | Sent::Udp(_) => {
                let view = receiver_host.view();
                Outcome::Answered(evaluate::port(&view, receiver).unwrap().name.to_string())
            }
        }
    }
}

fn payload(sent: Sent, to: IpAddr) -> Payload {
    let transport = |protocol, destination_port| Payload::Transport {
        protocol,
        source_port: 40_000,
        destination_port,
    };
    match sent {
        Sent::Tcp(port) => transport(TransportProtocol::Tcp, port),
        Sent::Udp(port) => transport(TransportProtocol::Udp, port),
        Sent::Ping => Payload::Icmp { icmp_type: if to.is_ipv4() { 8 } else { 128 }, code: 0 },
        Sent::Timestamp => Payload::Icmp { icmp_type: 13, code: 0 },
    }
}
