//! Ports of a tenant, and what can be changed on one.

use super::super::parts::{mk_port_spec, mk_ref, mk_resource};
use super::{APPS, ENVIRONMENTS, Metro, SPARE_PORTS, SWITCH_PORTS, SWITCHES, TENANT_PORTS};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spanwire_topology::Resource;
use std::net::{IpAddr, Ipv4Addr};

/// A port, by what can be chosen on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PortDraft {
    pub(crate) tenant: usize,
    /// Which port of the tenant: those from [`TENANT_PORTS`] on are not there at first.
    pub(crate) index: usize,
    pub(crate) app: usize,
    /// Which environment, 0 or 1.
    pub(crate) environment: usize,
    pub(crate) host: usize,
    /// Whose address it has: that of the port with this index.
    pub(crate) address_of: usize,
}

impl Metro {
    /// The ports of a tenant. Every tenant's hosts are drawn on their own, from the seed.
    pub(super) fn drafts(&self, tenant: usize) -> impl Iterator<Item = PortDraft> {
        // Far apart for neighbouring tenants and seeds.
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ tenant as u64;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..TENANT_PORTS).map(move |index| PortDraft {
            tenant,
            index,
            app: index % APPS,
            environment: index / APPS % ENVIRONMENTS.len(),
            host: self.host_of(tenant, random.random_range(0..self.tenant_hosts())),
            address_of: index,
        })
    }

    pub(crate) fn mk_port(&self, draft: &PortDraft) -> Resource {
        let PortDraft { tenant, index, app, environment, host, address_of } = *draft;
        let project = &self.tenants[tenant];
        let (switch, _) = place(index);
        let switch = mk_ref(project, &self.switches[switch]);
        let address = IpAddr::V4(self.address(tenant, address_of));
        let spec = mk_port_spec(switch, address, &self.hosts[host]);
        mk_resource(project, &self.ports[index], &self.labels[app][environment], spec)
    }

    /// The change with a number, from 0: a port of one tenant after the other is added, and later on
    /// relabelled and migrated. Each is one.
    pub(crate) fn mk_numbered_change(&self, number: u64) -> Resource {
        let number = number as usize;
        let (tenant, round) = (number % self.tenants(), number / self.tenants());
        let index = TENANT_PORTS + round % SPARE_PORTS;
        let draft = PortDraft {
            tenant,
            index,
            app: round / SPARE_PORTS % APPS,
            environment: 0,
            host: self.host_of(tenant, round),
            address_of: index,
        };
        self.mk_port(&draft)
    }

    fn address(&self, tenant: usize, index: usize) -> Ipv4Addr {
        let (switch, offset) = place(index);
        Ipv4Addr::from(self.first_address(tenant, switch) + 1 + offset as u32)
    }
}

/// The switch of a port, and the place of its address there.
fn place(index: usize) -> (usize, usize) {
    match index.checked_sub(TENANT_PORTS) {
        None => (index / SWITCH_PORTS, index % SWITCH_PORTS),
        Some(spare) => (spare % SWITCHES, SWITCH_PORTS + spare / SWITCHES),
    }
}

// All of them have an address below the router's.
const _: () =
    assert!(SWITCH_PORTS + SPARE_PORTS.div_ceil(SWITCHES) < super::SWITCH_ADDRESSES as usize - 2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn addresses_differ_within_a_tenant_and_between_routed_ones() {
        let metro = Metro::with_ports(3_000, 1);
        let all = |tenant| {
            (0..TENANT_PORTS + SPARE_PORTS)
                .map(|index| metro.address(tenant, index))
                .collect::<HashSet<_>>()
        };
        assert_eq!(all(0).len(), TENANT_PORTS + SPARE_PORTS);
        assert!(all(0).is_disjoint(&all(2)));
        assert_eq!(all(1), all(3));
    }
}
