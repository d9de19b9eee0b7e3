//! Tenants that keep to themselves and all see one domain of services: for scenarios of the host stream.
//!
//! A tenant has 20 hosts and on each of them 10 ports (100 in the large one), half of them `app=web` and half `app=db`; its router
//! peers with that of the services. Its policy guards `web`: in from `db`, and in from the monitors, which are
//! ports of the services' domain, all on the last host. So every host has the shard of the monitors, and a monitor that comes or
//! goes is news to every host; a port that comes to a tenant is news to its hosts, and to the last, which
//! sees all tenants.

use super::fleet::{mk_host_names, mk_hosts};
use super::parts::{
    mk_admission, mk_app_labels, mk_policy_spec, mk_port_spec, mk_ref, mk_resource,
    mk_selector_spec, mk_tenant_project,
};
use spanwire_topology::model::{
    LogicalRouterSpec, LogicalSwitchSpec, ProjectScope, RouterInterface, Selector, Text,
};
use spanwire_topology::{ObjectRef, Resource, Spec};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Hosts of a tenant.
pub(crate) const TENANT_HOSTS: usize = 20;
/// Ports on a host, and on one of a large network.
const HOST_PORTS: usize = 10;
const HOST_PORTS_LARGE: usize = 100;
/// Hosts of the large network, which has a million ports.
const HOSTS_LARGE: usize = 10_000;
/// Ports that can be added to a tenant.
pub(crate) const ADDED_MAX: u32 = 50;
/// Monitors that stay, and those of which one is changed at a time.
const MONITORS: u32 = 100;
const CHANGED: u32 = 50;
const SERVICES: &str = "services";
/// Tenants have a network each in 10.0.0.0/8, the services one in 192.168.0.0/16. The least that a network
/// has is a /24.
const TENANTS_BASE: u32 = 0x0a00_0000;
const SERVICES_BASE: u32 = 0xc0a8_0000;
const NETWORK_BITS_MIN: u32 = 8;

/// The workload.
pub(crate) struct Peered {
    hosts: Vec<Text>,
    host_ports: usize,
}

impl Peered {
    pub(crate) fn with_hosts(hosts: usize) -> Peered {
        Peered { hosts: mk_host_names(hosts.max(1)), host_ports: HOST_PORTS }
    }

    /// A network as large as `metro`: 1,000,000 ports on 10,000 hosts.
    pub(crate) fn large() -> Peered {
        Peered { hosts: mk_host_names(HOSTS_LARGE), host_ports: HOST_PORTS_LARGE }
    }

    /// Ports of all tenants.
    pub(crate) fn ports(&self) -> usize {
        self.hosts.len() * self.host_ports
    }

    /// The names of the hosts.
    pub(crate) fn hosts(&self) -> &[Text] {
        &self.hosts
    }

    /// The hosts of a tenant.
    pub(crate) fn tenant_hosts(&self, tenant: usize) -> &[Text] {
        self.hosts.chunks(TENANT_HOSTS).nth(tenant).unwrap_or_default()
    }

    /// All of it.
    pub(crate) fn resources(&self) -> impl Iterator<Item = Resource> {
        let tenants = self.hosts.chunks(TENANT_HOSTS).enumerate();
        let tenants = tenants.flat_map(|(tenant, hosts)| self.mk_tenant(tenant, hosts));
        mk_hosts(self.hosts.clone()).chain(self.mk_services()).chain(tenants)
    }

    fn mk_services(&self) -> Vec<Resource> {
        let project: Text = SERVICES.into();
        let mut resources = mk_network(&project, SERVICES_BASE, NETWORK_BITS_MIN, Vec::new());
        let selector = Selector::from_labels(&mk_app_labels("monitor"));
        let group = mk_selector_spec(selector, ProjectScope::Own);
        resources.push(mk_resource(&project, &"monitors".into(), &Arc::default(), group));
        resources.extend((0..MONITORS).map(|n| self.mk_monitor(n, true)));
        resources
    }

    fn mk_monitor(&self, number: u32, is_member: bool) -> Resource {
        let host = &self.hosts[self.hosts.len() - 1];
        let app = if is_member { "monitor" } else { "idle" };
        let address = address(SERVICES_BASE + 2 + number);
        mk_port(&SERVICES.into(), &format!("monitor-{number}"), address, app, host)
    }

    /// The change of a monitor with a number, from 0, which is news to every host: it comes to be none, or
    /// to be one again.
    pub(crate) fn mk_common(&self, number: u64) -> Resource {
        let changed = (number % u64::from(CHANGED)) as u32;
        self.mk_monitor(changed, !(number / u64::from(CHANGED)).is_multiple_of(2))
    }

    /// The change in a tenant with a number, which is news to its hosts: a port comes to its groups, or
    /// goes. So many first tenants take turns.
    pub(crate) fn mk_change(&self, number: u64, tenants: usize) -> Resource {
        let tenants = tenants as u64;
        let tenant = (number % tenants) as usize;
        let app = if (number / tenants).is_multiple_of(2) { "db" } else { "idle" };
        self.mk_port_added(tenant, 0, app)
    }

    /// One of [`ADDED_MAX`] ports that a tenant has not from the start.
    pub(crate) fn mk_added(&self, tenant: usize, number: u32) -> Resource {
        self.mk_port_added(tenant, number, "db")
    }

    fn mk_port_added(&self, tenant: usize, number: u32, app: &str) -> Resource {
        let last = self.tenant_base(tenant) + 2 + (TENANT_HOSTS * self.host_ports) as u32 + number;
        let host = &self.hosts[tenant * TENANT_HOSTS];
        mk_port(&mk_tenant_project(tenant), &format!("added-{number}"), address(last), app, host)
    }

    fn mk_tenant(&self, tenant: usize, hosts: &[Text]) -> Vec<Resource> {
        let project = mk_tenant_project(tenant);
        let base = self.tenant_base(tenant);
        let none = Arc::default();
        let services = mk_ref(&SERVICES.into(), &"router".into());
        let mut resources = mk_network(&project, base, self.network_bits(), vec![services]);
        for app in ["web", "db"] {
            let selector = Selector::from_labels(&mk_app_labels(app));
            let spec = mk_selector_spec(selector, ProjectScope::Own);
            resources.push(mk_resource(&project, &app.into(), &none, spec));
        }
        let groups = [mk_ref(&project, &"db".into()), mk_ref(&SERVICES.into(), &"monitors".into())];
        let rules = groups.into_iter().map(mk_admission).collect();
        let policy = mk_policy_spec(mk_ref(&project, &"web".into()), true, rules);
        resources.push(mk_resource(&project, &"web".into(), &none, policy));
        for (at, host) in hosts.iter().enumerate() {
            for port in 0..self.host_ports {
                let app = if port.is_multiple_of(2) { "web" } else { "db" };
                let number = at * self.host_ports + port;
                let address = address(base + 2 + number as u32);
                resources.push(mk_port(&project, &format!("{app}-{number}"), address, app, host));
            }
        }
        resources
    }

    /// How many bits of an address a tenant's network has to itself: for its gateway, its ports, and those
    /// that are added.
    fn network_bits(&self) -> u32 {
        let addresses = 3 + TENANT_HOSTS * self.host_ports + ADDED_MAX as usize;
        addresses.next_power_of_two().trailing_zeros().max(NETWORK_BITS_MIN)
    }

    fn tenant_base(&self, tenant: usize) -> u32 {
        TENANTS_BASE + ((tenant as u32) << self.network_bits())
    }
}

/// A switch and its router.
fn mk_network(project: &Text, base: u32, bits: u32, peerings: Vec<ObjectRef>) -> Vec<Resource> {
    let none = Arc::default();
    let subnets =
        format!("{}/{}", Ipv4Addr::from(base), u32::BITS - bits).parse().into_iter().collect();
    let switch = Spec::LogicalSwitch(LogicalSwitchSpec { subnets });
    let gateway = address(base + 1);
    let interface =
        RouterInterface { switch: mk_ref(project, &"net".into()), addresses: vec![gateway] };
    let router = Spec::LogicalRouter(LogicalRouterSpec {
        interfaces: vec![interface],
        peerings,
        ..LogicalRouterSpec::default()
    });
    vec![
        mk_resource(project, &"net".into(), &none, switch),
        mk_resource(project, &"router".into(), &none, router),
    ]
}

fn address(bits: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(bits))
}

fn mk_port(project: &Text, name: &str, address: IpAddr, app: &str, host: &Text) -> Resource {
    let spec = mk_port_spec(mk_ref(project, &"net".into()), address, host);
    mk_resource(project, &name.into(), &Arc::new(mk_app_labels(app)), spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::engine::HostId;
    use spanwire_topology::{Engine, Transaction};
    use std::collections::BTreeSet;

    /// The large network has room for its addresses: a tenant's do not meet those of the next.
    #[test]
    fn networks_are_as_large_as_they_must_be() {
        let small = Peered::with_hosts(50);
        assert_eq!((small.network_bits(), small.ports()), (8, 500));
        let large = Peered::large();
        assert_eq!((large.network_bits(), large.ports()), (12, 1_000_000));
        let last = large.tenant_base(HOSTS_LARGE / TENANT_HOSTS);
        assert!(last < TENANTS_BASE + (1 << 24), "within 10.0.0.0/8");
    }

    /// A common change is news to all hosts, one in a tenant to those of the tenant, and each of a row is
    /// one.
    #[test]
    fn changes_are_news() {
        let peered = Peered::with_hosts(50);
        let mut engine = Engine::new();
        engine.apply(&Transaction::put(peered.resources()), 1).unwrap();
        (0..50).for_each(|host| engine.set_watched(HostId(host), true));
        let mut revision = 1;
        let mut told = |resource: Resource| {
            revision += 1;
            let changes = engine.apply(&Transaction::put([resource]), revision).unwrap();
            let shards = changes.items.iter().flat_map(|item| engine.subscribers(item.key));
            shards.collect::<BTreeSet<_>>().len()
        };
        for number in 0..200 {
            assert_eq!(told(peered.mk_common(number)), 50, "common change {number}");
        }
        let tenants: Vec<usize> = (0..6).map(|number| told(peered.mk_change(number, 3))).collect();
        assert_eq!(tenants, [21, 21, 10, 20, 20, 10]);
    }
}
