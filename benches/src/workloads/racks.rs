//! Tenants on few hosts each, and one group of addresses that all hosts know: for scenarios with many
//! hosts whose views are small, so that what is measured is not how long a view takes to be sent.
//!
//! A tenant has 30 hosts (a rack), and on each a port with `app=web` and one with `app=db`. Its policy guards
//! `web`: in from `db`, and in from the blocks of `monitors`, which all tenants share. A change
//! relabels one port of one tenant, in and out of `db`: the hosts of a rack are told. A common change
//! replaces the blocks: all hosts are told.

use super::fleet::{mk_host_names, mk_hosts};
use super::parts::{
    mk_admission, mk_app_labels, mk_group_spec, mk_policy_spec, mk_port_spec, mk_ref, mk_resource,
    mk_selector_spec, mk_tenant_project,
};
use spanwire_topology::model::{
    CidrBlock, GroupSpec, LogicalSwitchSpec, ProjectScope, Selector, Text,
};
use spanwire_topology::{Resource, Spec};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Hosts of a tenant.
const RACK_HOSTS: usize = 30;
/// The addresses of every tenant: 10.0.0.0/24.
const SUBNET: [u8; 3] = [10, 0, 0];
/// The last byte of the address of the port that is relabelled.
const CHANGED: u8 = 254;
/// The addresses of monitors: 192.0.2.0/24, one at a time.
const MONITORS: [u8; 3] = [192, 0, 2];
const SHARED: &str = "shared";

// Two ports a host and one more have an address each.
const _: () = assert!(2 * RACK_HOSTS < CHANGED as usize);

/// The workload.
pub(crate) struct Racks {
    hosts: Vec<Text>,
}

impl Racks {
    pub(crate) fn with_hosts(hosts: usize) -> Racks {
        Racks { hosts: mk_host_names(hosts.max(1)) }
    }

    /// The names of the hosts.
    pub(crate) fn hosts(&self) -> &[Text] {
        &self.hosts
    }

    pub(crate) fn tenants(&self) -> usize {
        self.hosts.len().div_ceil(RACK_HOSTS)
    }

    /// All of it.
    pub(crate) fn resources(&self) -> impl Iterator<Item = Resource> {
        let common = std::iter::once(self.mk_common(0));
        let racks = self.hosts.chunks(RACK_HOSTS).enumerate();
        let racks = racks.flat_map(|(tenant, hosts)| self.mk_tenant(tenant, hosts));
        mk_hosts(self.hosts.clone()).chain(common).chain(racks)
    }

    fn mk_tenant(&self, tenant: usize, hosts: &[Text]) -> Vec<Resource> {
        let project = mk_tenant_project(tenant);
        let none = Arc::default();
        let subnet = format!("{}/24", Ipv4Addr::new(SUBNET[0], SUBNET[1], SUBNET[2], 0));
        let subnets = subnet.parse().into_iter().collect();
        let switch = Spec::LogicalSwitch(LogicalSwitchSpec { subnets });
        let mut resources = vec![mk_resource(&project, &"net".into(), &none, switch)];
        for app in ["web", "db"] {
            let selector = Selector::from_labels(&mk_app_labels(app));
            let spec = mk_selector_spec(selector, ProjectScope::Own);
            resources.push(mk_resource(&project, &app.into(), &none, spec));
        }
        let groups = [mk_ref(&project, &"db".into()), mk_ref(&SHARED.into(), &"monitors".into())];
        let policy = mk_policy_spec(
            mk_ref(&project, &"web".into()),
            true,
            groups.into_iter().map(mk_admission).collect(),
        );
        resources.push(mk_resource(&project, &"web".into(), &none, policy));
        for (number, host) in hosts.iter().enumerate() {
            for (offset, app) in ["web", "db"].into_iter().enumerate() {
                let last = u8::try_from(2 * number + offset + 1).unwrap_or(CHANGED);
                resources.push(mk_port(&project, &format!("{app}-{number}"), last, app, host));
            }
        }
        resources.push(mk_port(&project, "changed", CHANGED, "idle", &hosts[0]));
        resources
    }

    /// The change with a number, from 0: each is one.
    pub(crate) fn mk_change(&self, number: u64) -> Resource {
        let tenants = self.tenants() as u64;
        let tenant = (number % tenants) as usize;
        let app = if (number / tenants).is_multiple_of(2) { "db" } else { "idle" };
        let host = &self.hosts[tenant * RACK_HOSTS];
        mk_port(&mk_tenant_project(tenant), "changed", CHANGED, app, host)
    }

    /// The common change with a number: one is another than the one before.
    pub(crate) fn mk_common(&self, number: u64) -> Resource {
        let [a, b, c] = MONITORS;
        let address = IpAddr::V4(Ipv4Addr::new(a, b, c, (number % 250) as u8));
        let blocks = CidrBlock::new(address.into(), Vec::new()).into_iter().collect();
        let spec = match mk_group_spec(Vec::new()) {
            Spec::Group(group) => Spec::Group(GroupSpec { blocks, ..group }),
            other => other,
        };
        mk_resource(&SHARED.into(), &"monitors".into(), &Arc::default(), spec)
    }
}

fn mk_port(project: &Text, name: &str, last: u8, app: &str, host: &Text) -> Resource {
    let [a, b, c] = SUBNET;
    let address = IpAddr::V4(Ipv4Addr::new(a, b, c, last));
    let spec = mk_port_spec(mk_ref(project, &"net".into()), address, host);
    mk_resource(project, &name.into(), &Arc::new(mk_app_labels(app)), spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::engine::HostId;
    use spanwire_topology::{Engine, Transaction};

    /// A change is news to one rack, a common one to all hosts, and each of a row is one.
    #[test]
    fn changes_are_news() {
        let racks = Racks::with_hosts(70);
        assert_eq!(racks.tenants(), 3);
        let mut engine = Engine::new();
        engine.apply(&Transaction::put(racks.resources()), 1).unwrap();
        (0..70).for_each(|host| engine.set_watched(HostId(host), true));
        let mut told = |resource: Resource, revision: u64| {
            let changes = engine.apply(&Transaction::put([resource]), revision).unwrap();
            let hosts = changes.items.iter().flat_map(|item| engine.subscribers(item.key));
            hosts.collect::<std::collections::BTreeSet<_>>().len()
        };
        let racks_told: Vec<usize> =
            (0..6).map(|number| told(racks.mk_change(number), number + 2)).collect();
        assert_eq!(racks_told, [30, 30, 10, 30, 30, 10]);
        assert_eq!(told(racks.mk_common(1), 8), 70);
        assert_eq!(told(racks.mk_common(2), 9), 70);
    }
}
