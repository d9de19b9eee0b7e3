//! A metropolitan cloud: 1,000,000 ports on 10,000 hosts, 2,000 tenants, 100,000 groups and rules.
//!
//! ```text
//!                  provider ── uplink switch
//!        ┌────────────┴───────┬─ ...          half of the tenants are routed, in one domain
//!   t0 router (advertises)  t2 router
//!     │    │    │    │    │
//!   net-0 ... net-4, 100 ports each           t1 router    t3 router    half are isolated,
//!                                               │ ...        │ ...      on equal addresses
//! ```
//!
//! A tenant has 500 ports whatever the number of tenants, so that networks of different sizes
//! differ in size alone. Ports are on random hosts, which makes a host have ports of about a
//! hundred tenants: the hardest case for whoever sends hosts what matters to them. A network that
//! is compared with smaller ones has each tenant on so many hosts as the smallest of them has.
//!
//! Of each tenant's 50 groups, 39 select by labels; the others are ports of a switch or router,
//! ports by name, nested ones, and CIDR blocks. 63 groups select ports of all tenants, and each
//! tenant admits one of these.

mod groups;
mod policies;
mod ports;

pub(crate) use ports::PortDraft;

use super::fleet::{mk_host_names, mk_hosts};
use super::parts::{mk_ref, mk_resource};
use super::texts::Texts;
use groups::GroupNames;
use ipnet::{IpNet, Ipv4Net};
use spanwire_topology::model::{
    Kind, Labels, LogicalRouterSpec, LogicalSwitchSpec, ObjectKey, RouterInterface, Text,
};
use spanwire_topology::{Resource, Spec};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Ports of a tenant.
pub(crate) const TENANT_PORTS: usize = 500;
/// Ports on a host, on average.
const HOST_PORTS: usize = 100;
/// Ports that can be added to a tenant.
pub(crate) const SPARE_PORTS: usize = 100;
const SWITCHES: usize = 5;
const SWITCH_PORTS: usize = TENANT_PORTS / SWITCHES;
/// The first address of the first routed tenant, and how far apart tenants are: more than their
/// switches take.
const ROUTED_BASE: u32 = 0x0a00_0000;
const ROUTED_STRIDE: u32 = 1024;
/// The first address of every isolated tenant.
const ISOLATED_BASE: u32 = 0xc0a8_0000;
/// Addresses of a switch, and the length of its prefix; the router has the last but one.
const SWITCH_ADDRESSES: u32 = 128;
const SWITCH_PREFIX: u8 = 25;
/// Applications of a tenant, each with a label of its own.
pub(crate) const APPS: usize = 30;
const TIERS: [&str; 3] = ["web", "app", "db"];
const ENVIRONMENTS: [&str; 2] = ["prod", "test"];
const PROVIDER: &str = "provider";

/// The workload, with everything that its resources share.
pub(crate) struct Metro {
    seed: u64,
    tenants: Vec<Text>,
    hosts: Vec<Text>,
    /// How many hosts a tenant's ports are on.
    tenant_hosts: usize,
    /// By application and environment.
    labels: Vec<[Arc<Labels>; 2]>,
    none: Arc<Labels>,
    provider: Text,
    router: Text,
    switches: Vec<Text>,
    ports: Vec<Text>,
    groups: GroupNames,
}

impl Metro {
    /// A network of about this many ports, of at least two tenants, each on any of its hosts.
    pub(crate) fn with_ports(ports: usize, seed: u64) -> Metro {
        Metro::confined(ports, seed, usize::MAX)
    }

    /// The same, with each tenant on at most this many hosts, next to one another.
    pub(crate) fn confined(ports: usize, seed: u64, tenant_hosts: usize) -> Metro {
        let mut metro = Metro::mk(ports, seed);
        metro.tenant_hosts = tenant_hosts.clamp(1, metro.hosts());
        metro
    }

    fn mk(ports: usize, seed: u64) -> Metro {
        let tenants = (ports / TENANT_PORTS).max(2);
        let mut texts = Texts::default();
        let labels = (0..APPS)
            .map(|app| {
                ENVIRONMENTS.map(|environment| {
                    let (name, tier) = (mk_app(app), TIERS[app % TIERS.len()]);
                    texts.labels(&[("app", &name), ("tier", tier), ("env", environment)])
                })
            })
            .collect();
        let mut names = |prefix: &str, count: usize| -> Vec<Text> {
            (0..count).map(|number| texts.text(&format!("{prefix}-{number}"))).collect()
        };
        let (switches, ports) = (names("net", SWITCHES), names("port", TENANT_PORTS + SPARE_PORTS));
        Metro {
            seed,
            tenants: names("tenant", tenants),
            hosts: mk_host_names(tenants * TENANT_PORTS / HOST_PORTS),
            tenant_hosts: 1,
            labels,
            none: Arc::default(),
            provider: PROVIDER.into(),
            router: "router".into(),
            switches,
            ports,
            groups: GroupNames::new(&mut texts),
        }
    }

    pub(crate) fn tenants(&self) -> usize {
        self.tenants.len()
    }

    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// How many hosts a tenant's ports are on.
    pub(crate) fn tenant_hosts(&self) -> usize {
        self.tenant_hosts
    }

    /// A host of a tenant: which of its [`Metro::tenant_hosts`].
    pub(crate) fn host_of(&self, tenant: usize, number: usize) -> usize {
        // Every host is one of as many tenants as any other.
        (tenant * TENANT_PORTS / HOST_PORTS + number % self.tenant_hosts) % self.hosts()
    }

    /// All of it: the fleet, the provider, the groups across tenants, then tenant after tenant.
    pub(crate) fn resources(&self) -> impl Iterator<Item = Resource> {
        let prelude =
            mk_hosts(self.hosts.clone()).chain(self.mk_provider()).chain(self.mk_shared_groups());
        prelude.chain((0..self.tenants()).flat_map(|tenant| self.mk_tenant(tenant)))
    }

    fn mk_provider(&self) -> [Resource; 2] {
        let switch = Spec::LogicalSwitch(LogicalSwitchSpec::default());
        let uplink: Text = "uplink".into();
        let interface =
            RouterInterface { switch: mk_ref(&self.provider, &uplink), addresses: Vec::new() };
        let router = Spec::LogicalRouter(LogicalRouterSpec {
            interfaces: vec![interface],
            ..LogicalRouterSpec::default()
        });
        [
            mk_resource(&self.provider, &uplink, &self.none, switch),
            mk_resource(&self.provider, &self.router, &self.none, router),
        ]
    }

    fn mk_tenant(&self, tenant: usize) -> Vec<Resource> {
        let project = &self.tenants[tenant];
        let mut resources: Vec<Resource> = self
            .switches
            .iter()
            .enumerate()
            .map(|(switch, name)| {
                let first = Ipv4Addr::from(self.first_address(tenant, switch));
                // The prefix is a constant below 33.
                let subnets = Ipv4Net::new(first, SWITCH_PREFIX).into_iter().map(IpNet::V4);
                let spec = LogicalSwitchSpec { subnets: subnets.collect() };
                mk_resource(project, name, &self.none, Spec::LogicalSwitch(spec))
            })
            .collect();
        resources.push(self.mk_router(tenant, self.is_routed(tenant)));
        resources.extend(self.drafts(tenant).map(|draft| self.mk_port(&draft)));
        resources.extend(self.mk_groups(tenant));
        resources.extend(self.mk_policies(tenant));
        resources
    }

    /// True for tenants that are routed through the provider.
    pub(crate) fn is_routed(&self, tenant: usize) -> bool {
        tenant.is_multiple_of(2)
    }

    /// The router of a tenant, with its uplink or with the uplink cut.
    pub(crate) fn mk_router(&self, tenant: usize, linked: bool) -> Resource {
        let project = &self.tenants[tenant];
        let interfaces = self
            .switches
            .iter()
            .enumerate()
            .map(|(switch, name)| {
                let gateway = self.first_address(tenant, switch) + SWITCH_ADDRESSES - 2;
                let addresses = vec![IpAddr::V4(Ipv4Addr::from(gateway))];
                RouterInterface { switch: mk_ref(project, name), addresses }
            })
            .collect();
        let uplinks = linked.then(|| mk_ref(&self.provider, &self.router)).into_iter().collect();
        let spec = LogicalRouterSpec { interfaces, uplinks, ..LogicalRouterSpec::default() };
        mk_resource(project, &self.router, &self.none, Spec::LogicalRouter(spec))
    }

    fn first_address(&self, tenant: usize, switch: usize) -> u32 {
        let base = if self.is_routed(tenant) {
            ROUTED_BASE + ROUTED_STRIDE * (tenant as u32 / 2)
        } else {
            ISOLATED_BASE
        };
        base + SWITCH_ADDRESSES * switch as u32
    }

    /// The key of a port of a tenant, one of those that can be added included.
    pub(crate) fn port_key(&self, tenant: usize, index: usize) -> ObjectKey {
        ObjectKey::new(Kind::LogicalPort, self.tenants[tenant].clone(), self.ports[index].clone())
    }
}

fn mk_app(app: usize) -> String {
    format!("app-{app:02}")
}

#[cfg(test)]
mod tests {
    use super::super::batches::{Sizes, check};
    use super::*;
    use spanwire_topology::{Engine, Transaction};

    #[test]
    fn a_hundredth_of_it() {
        let make = |seed| {
            let metro = Metro::with_ports(10_000, seed);
            metro.resources().collect::<Vec<_>>().into_iter()
        };
        let expected = Sizes {
            hosts: 100,
            switches: 101,
            routers: 21,
            ports: 10_000,
            groups: 20 * 50 + 63,
            policies: 20 * 25,
            rules: 20 * 50,
        };
        assert_eq!(check(make), expected);
    }

    /// Half of the tenants share a domain with the provider, and the others have one each; a cut
    /// uplink makes one more.
    #[test]
    fn half_is_routed_and_a_link_can_be_cut() {
        let metro = Metro::with_ports(3_000, 1);
        let mut engine = Engine::new();
        engine.apply(&Transaction::put(metro.resources()), 1).unwrap();
        let ports = |engine: &Engine| {
            let mut ports: Vec<u64> = engine.domains().iter().map(|domain| domain.ports).collect();
            ports.sort_unstable();
            ports
        };
        assert_eq!(ports(&engine), [500, 500, 500, 1_500]);
        engine.apply(&Transaction::put([metro.mk_router(2, false)]), 2).unwrap();
        assert_eq!(ports(&engine), [500, 500, 500, 500, 1_000]);
        engine.apply(&Transaction::put([metro.mk_router(2, true)]), 3).unwrap();
        assert_eq!(ports(&engine), [500, 500, 500, 1_500]);
    }

    /// Tenants that are confined are on so many hosts, and hosts have so many ports.
    #[test]
    fn confined_tenants_are_on_few_hosts() {
        let metro = Metro::confined(10_000, 1, 20);
        let mut ports = vec![0; metro.hosts()];
        for tenant in 0..metro.tenants() {
            let mut hosts: Vec<usize> = metro.drafts(tenant).map(|draft| draft.host).collect();
            hosts.iter().for_each(|&host| ports[host] += 1);
            hosts.sort_unstable();
            hosts.dedup();
            assert_eq!(hosts.len(), 20, "{tenant}");
        }
        assert!(ports.iter().all(|count| (50..200).contains(count)), "{ports:?}");
    }

    /// No group of a tenant is empty but those of CIDR blocks, and no policy is applied to nothing.
    #[test]
    fn groups_have_members_and_hosts_have_them() {
        let metro = Metro::with_ports(1_000, 1);
        let mut engine = Engine::new();
        engine.apply(&Transaction::put(metro.resources()), 1).unwrap();
        let mut uids: Vec<_> = engine.list(Kind::Group, None, None).map(|g| g.uid).collect();
        for (key, _) in engine.export().versions {
            match key {
                spanwire_topology::view::ItemKey::Shard { group, .. }
                | spanwire_topology::view::ItemKey::Blocks(group) => {
                    uids.retain(|uid| *uid != group);
                }
                _ => {}
            }
        }
        assert_eq!(uids, []);
        for policy in engine.list(Kind::SecurityPolicy, None, None) {
            assert!(!engine.span(&policy.resource.key()).unwrap().is_empty());
        }
    }
}
