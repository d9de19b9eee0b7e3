//! The policies of a tenant: two rules each.

use super::super::parts::{mk_policy_spec, mk_ref, mk_resource};
use super::{APPS, Metro};
use spanwire_topology::model::{
    Action, Direction, Peer, PortRange, Rule, ServiceEntry, ServiceMatch, TransportProtocol,
};
use spanwire_topology::{ObjectRef, Resource};

/// Policies of a tenant, each applied to the application of its number.
const POLICIES: usize = 25;
/// Where the ports of services start.
const SERVICE_PORTS_FIRST: u16 = 8_000;

impl Metro {
    pub(super) fn mk_policies(&self, tenant: usize) -> impl Iterator<Item = Resource> {
        (0..POLICIES).map(move |policy| self.mk_policy(tenant, policy, 0))
    }

    /// A policy of a tenant; with another `edition`, its services are others.
    pub(crate) fn mk_policy(&self, tenant: usize, policy: usize, edition: u16) -> Resource {
        let (names, project) = (&self.groups, &self.tenants[tenant]);
        let app = |app: usize| mk_ref(project, &names.apps[app % APPS].0);
        let own = |name| mk_ref(project, name);
        let inbound = match policy {
            // The one rule that denies: whoever is not of the tenant.
            24 => mk_rule(Direction::In, own(&names.tenant), true, None),
            _ => {
                let peer = match policy % 5 {
                    0 => own(&names.frontend),
                    1 => own(&names.backend),
                    _ => app(policy + 1),
                };
                let service = SERVICE_PORTS_FIRST + policy as u16 + edition;
                mk_rule(Direction::In, peer, false, Some(service))
            }
        };
        let peer = match policy {
            0 => mk_ref(&self.provider, &names.shared[tenant / 2 % names.shared.len()].0),
            1 => own(&names.partners[tenant % names.partners.len()]),
            2 => own(&names.legacy),
            3 => own(&names.bastions),
            4 => own(&names.edge),
            _ => app(policy + 7),
        };
        let outbound = mk_rule(Direction::Out, peer, false, None);
        let isolate = policy.is_multiple_of(2);
        let spec = mk_policy_spec(app(policy), isolate, vec![inbound, outbound]);
        mk_resource(project, &names.apps[policy].0, &self.none, spec)
    }
}

/// A rule that drops if its peer is negated and allows if it is not.
fn mk_rule(direction: Direction, group: ObjectRef, negate: bool, port: Option<u16>) -> Rule {
    let services = port.map(|port| {
        ServiceMatch::Entry(ServiceEntry::Transport {
            protocol: TransportProtocol::Tcp,
            ports: vec![PortRange::single(port)],
            source_ports: Vec::new(),
        })
    });
    Rule {
        name: None,
        direction,
        peers: vec![Peer { group, negate }],
        services: services.into_iter().collect(),
        action: if negate { Action::Drop } else { Action::Allow },
        log: false,
    }
}
