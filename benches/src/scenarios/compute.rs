//! Antrea's published test of its network policy controller: 25,000 namespaces of 4 pods and 3
//! network policies on 1,000 hosts. Pods 1 and 2 carry `app-1=scale-1`, 3 and 4 `app-2=scale-2`;
//! the policies are a default deny, and one each that selects and admits its own label. Both
//! directions are isolated. Every pod has a random IPv4 address and a random host.

use super::engine_run;
use crate::report::Report;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, Labels, LogicalPortSpec,
    LogicalSwitchSpec, Mac, Peer, PortAttachment, ProjectScope, Rule, SecurityPolicySpec, Selector,
};
use spanwire_topology::{ObjectRef, Resource, Spec};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

const HOSTS: usize = 1_000;
const NAMESPACES: usize = 25_000;
/// The flat network that all pods are on.
const NETWORK: &str = "pods";

pub(crate) fn run(seed: u64, scale: f64) -> Result<Report, String> {
    let namespaces = ((NAMESPACES as f64 * scale) as usize).max(1);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut resources = mk_fleet(HOSTS);
    let mut addresses = HashSet::new();
    for namespace in 0..namespaces {
        let project = format!("namespace-{namespace}");
        for pod in 1..=4 {
            let labels = match pod {
                1 | 2 => mk_labels("app-1", "scale-1"),
                _ => mk_labels("app-2", "scale-2"),
            };
            resources.push(mk_pod(
                &project,
                &format!("pod-{pod}"),
                labels,
                &mut random,
                &mut addresses,
            ));
        }
        resources.push(mk_group(&project, "all", ""));
        resources.push(mk_policy(&project, "default-deny", "all", None));
        for (label, value) in [("app-1", "scale-1"), ("app-2", "scale-2")] {
            resources.push(mk_group(&project, value, &format!("{label}={value}")));
            resources.push(mk_policy(&project, value, value, Some(value)));
        }
    }
    engine_run::run("compute", resources)
}

pub(crate) fn mk_fleet(hosts: usize) -> Vec<Resource> {
    let mut fleet: Vec<Resource> = (0..hosts)
        .map(|host| {
            let vtep = IpAddr::V4(Ipv4Addr::from(0xac10_0001 + host as u32));
            let spec = Spec::Host(HostSpec { vtep: Some(vtep) });
            Resource::new("system", mk_host_name(host), Labels::new(), spec)
        })
        .collect();
    let switch = Spec::LogicalSwitch(LogicalSwitchSpec::default());
    fleet.push(Resource::new(NETWORK, NETWORK, Labels::new(), switch));
    fleet
}

fn mk_host_name(host: usize) -> String {
    format!("host-{host:04}")
}

pub(crate) fn mk_labels(key: &str, value: &str) -> Labels {
    [(key.into(), value.into())].into_iter().collect()
}

pub(crate) fn mk_pod(
    project: &str,
    name: &str,
    labels: Labels,
    random: &mut ChaCha8Rng,
    taken: &mut HashSet<u32>,
) -> Resource {
    let address = loop {
        // Within 10.0.0.0/8, so that every draw is the address of an endpoint.
        let draw = 0x0a00_0000 | random.random_range(1..0x00ff_ffff_u32);
        if taken.insert(draw) {
            break IpAddr::V4(Ipv4Addr::from(draw));
        }
    };
    let spec = LogicalPortSpec {
        switch: ObjectRef::new(NETWORK, NETWORK),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: Some(mk_host_name(random.random_range(0..HOSTS)).into()),
        attachment: PortAttachment::Derived,
        port_security: true,
    };
    Resource::new(project, name, labels, Spec::LogicalPort(spec))
}

pub(crate) fn mk_group(project: &str, name: &str, selector: &str) -> Resource {
    // The selectors of the scenarios are constants.
    let selector: Selector = selector.parse().unwrap_or_default();
    let term = GroupTerm::Selector { selector, projects: ProjectScope::Own };
    let spec = GroupSpec { terms: vec![term], blocks: Vec::new() };
    Resource::new(project, name, Labels::new(), Spec::Group(spec))
}

/// A policy that isolates a group in both directions and admits a peer, if there is one, in both.
pub(crate) fn mk_policy(
    project: &str,
    name: &str,
    applied_to: &str,
    peer: Option<&str>,
) -> Resource {
    let rules = peer.map(|peer| Rule {
        name: None,
        direction: Direction::Both,
        peers: vec![Peer { group: ObjectRef::new(project, peer), negate: false }],
        services: Vec::new(),
        action: Action::Allow,
        log: false,
    });
    let spec = SecurityPolicySpec {
        applied_to: vec![ObjectRef::new(project, applied_to)],
        tier: SecurityPolicySpec::TIER_DEFAULT,
        priority: SecurityPolicySpec::PRIORITY_DEFAULT,
        defaults: DefaultActions { inbound: Some(Action::Drop), outbound: Some(Action::Drop) },
        rules: rules.into_iter().collect(),
    };
    Resource::new(project, name, Labels::new(), Spec::SecurityPolicy(spec))
}
