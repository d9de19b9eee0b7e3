//! Hosts, and the flat network that the `compute` workloads are on.

use super::parts::{mk_port_spec, mk_ref, mk_resource};
use super::texts::Texts;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spanwire_topology::model::{HostSpec, Labels, LogicalSwitchSpec, SYSTEM_PROJECT, Text};
use spanwire_topology::{Resource, Spec};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The first tunnel endpoint.
const FIRST_VTEP: u32 = 0xac10_0001;
/// Pods have addresses in 10.0.0.0/8.
const PODS_BASE: u32 = 0x0a00_0000;
const PODS_BITS: u32 = 24;

/// The names of hosts, shared by everything that is bound to them.
pub(super) fn mk_host_names(hosts: usize) -> Vec<Text> {
    (0..hosts).map(|host| format!("host-{host:05}").into()).collect()
}

pub(super) fn mk_hosts(names: Vec<Text>) -> impl Iterator<Item = Resource> + use<> {
    let (system, labels): (Text, Arc<Labels>) = (SYSTEM_PROJECT.into(), Arc::default());
    names.into_iter().zip(FIRST_VTEP..).map(move |(name, vtep)| {
        let vtep = Some(IpAddr::V4(Ipv4Addr::from(vtep)));
        mk_resource(&system, &name, &labels, Spec::Host(HostSpec { vtep }))
    })
}

/// A fleet with one flat network, and pods on it with a random address and a random host each.
pub(super) struct Flat {
    pub(super) texts: Texts,
    hosts: Vec<Text>,
    network: Text,
    random: ChaCha8Rng,
    /// An odd factor from the seed.
    factor: u32,
    pods: u32,
}

impl Flat {
    pub(super) fn new(seed: u64, hosts: usize) -> Flat {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let factor = random.random::<u32>() | 1;
        let mut texts = Texts::default();
        let network = texts.text("pods");
        Flat { texts, hosts: mk_host_names(hosts), network, random, factor, pods: 0 }
    }

    /// The hosts and the network.
    pub(super) fn mk_prelude(&self) -> impl Iterator<Item = Resource> + use<> {
        let switch = Spec::LogicalSwitch(LogicalSwitchSpec::default());
        let switch = mk_resource(&self.network, &self.network, &Arc::default(), switch);
        mk_hosts(self.hosts.clone()).chain(std::iter::once(switch))
    }

    pub(super) fn mk_pod(&mut self, project: &Text, name: &str, labels: &Arc<Labels>) -> Resource {
        self.pods += 1;
        let address = PODS_BASE | scatter(self.pods, self.factor);
        let host = self.random.random_range(0..self.hosts.len());
        let switch = mk_ref(&self.network, &self.network);
        let address = IpAddr::V4(Ipv4Addr::from(address));
        let spec = mk_port_spec(switch, address, &self.hosts[host]);
        mk_resource(project, &self.texts.text(name), labels, spec)
    }
}

/// A one-to-one map of 24-bit numbers that leaves no order, so that addresses are random and yet
/// different without a list of those taken. 0, and only 0, stays 0.
fn scatter(number: u32, factor: u32) -> u32 {
    const MASK: u32 = (1 << PODS_BITS) - 1;
    let mut x = number & MASK;
    for _ in 0..2 {
        x = x.wrapping_mul(factor) & MASK;
        x ^= x >> (PODS_BITS / 2);
        x = x.wrapping_mul(0x009e_3779) & MASK;
        x ^= x >> (PODS_BITS / 2);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_numbers_differ() {
        for factor in [0x1234_5677, u32::MAX] {
            let mut seen = vec![false; 1 << PODS_BITS];
            for number in 1..1 << PODS_BITS {
                let x = scatter(number, factor) as usize;
                assert!(x != 0 && !seen[x], "{number}");
                seen[x] = true;
            }
        }
    }
}
