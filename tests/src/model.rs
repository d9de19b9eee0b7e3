//! A slice of a real network, and changes to it.

use spanwire_import::ovn::{self, OvnOptions, ProjectRule};
use spanwire_lab::{DEFAULT_UNDERLAY, assign_vteps, slice};
use spanwire_oracle::Resources;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, GroupSpec, GroupTerm, Kind, Labels, LogicalPortSpec,
    LogicalRouterSpec, ObjectRef, ProjectScope, Rule, SecurityPolicySpec, Spec,
};
use spanwire_topology::{ObjectKey, Resource};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The hosts of the slice.
pub const HOSTS: [&str; 6] = ["host-01", "host-04", "host-08", "host-16", "host-17", "host-20"];
/// Two tenants that reach each other through the provider's router, one of them with IPv6 too, and
/// two that reach nobody, on equal addresses.
pub const PROJECTS: [&str; 4] = ["t00", "t04", "t09", "t11"];

/// The slice of the campus dump, with a group by label across all tenants and a policy before all
/// others that isolates its members.
pub fn campus_slice() -> Resources {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/data/campus-12-tenants.json");
    let options = OvnOptions {
        project_rule: ProjectRule::ExternalId("tenant".to_owned()),
        ..OvnOptions::default()
    };
    let import = ovn::import_file(&path, &options).expect("the campus imports");
    // The kernel's table of neighbours is one for all namespaces and holds 1,024 by default: half
    // of the ports are enough for every kind of pair, and leave room for their neighbours.
    let mut ports = 0;
    let some: Vec<Resource> = import
        .resources
        .into_iter()
        .filter(|resource| {
            ports += usize::from(resource.spec.kind() == Kind::LogicalPort);
            resource.spec.kind() != Kind::LogicalPort || ports % 2 == 0
        })
        .collect();
    let mut resources =
        slice(&some, &PROJECTS.into_iter().collect(), &HOSTS.into_iter().collect::<BTreeSet<_>>());
    resources.extend(mk_quarantine());
    assign_vteps(&mut resources, DEFAULT_UNDERLAY).expect("the underlay has room");
    resources.into_iter().map(|resource| (resource.key(), resource)).collect()
}

fn mk_quarantine() -> [Resource; 2] {
    let selector = "quarantine=yes".parse().expect("a well-formed selector");
    let terms = vec![GroupTerm::Selector { selector, projects: ProjectScope::All }];
    let group = Spec::Group(GroupSpec { terms, blocks: Vec::new() });
    let nobody = Rule {
        name: None,
        direction: Direction::Both,
        peers: Vec::new(),
        services: Vec::new(),
        action: Action::Reject,
        log: false,
    };
    let policy = Spec::SecurityPolicy(SecurityPolicySpec {
        applied_to: vec![ObjectRef::new("operations", "quarantine")],
        tier: 0,
        priority: 0,
        defaults: DefaultActions::default(),
        rules: vec![nobody],
    });
    [
        Resource::new("operations", "quarantine", Labels::new(), group),
        Resource::new("operations", "quarantine", Labels::new(), policy),
    ]
}

/// The ports of a model.
pub fn ports(resources: &Resources) -> impl Iterator<Item = (&ObjectKey, &LogicalPortSpec)> {
    resources.iter().filter_map(|(key, resource)| match &*resource.spec {
        Spec::LogicalPort(port) => Some((key, port)),
        _ => None,
    })
}

/// A port with one more label.
pub fn with_label(resource: &Resource, key: &str, value: &str) -> Resource {
    let mut resource = resource.clone();
    let mut labels = Labels::clone(&resource.metadata.labels);
    labels.insert(key.into(), value.into());
    resource.metadata.labels = Arc::new(labels);
    resource
}

/// A port bound to another host.
pub fn with_host(resource: &Resource, host: &str) -> Resource {
    let mut resource = resource.clone();
    if let Spec::LogicalPort(port) = &*resource.spec {
        let port = LogicalPortSpec { host: Some(host.into()), ..port.clone() };
        resource.spec = Arc::new(Spec::LogicalPort(port));
    }
    resource
}

/// A router with other uplinks.
pub fn with_uplinks(resource: &Resource, uplinks: Vec<ObjectRef>) -> Resource {
    let mut resource = resource.clone();
    if let Spec::LogicalRouter(router) = &*resource.spec {
        let router = LogicalRouterSpec { uplinks, ..router.clone() };
        resource.spec = Arc::new(Spec::LogicalRouter(router));
    }
    resource
}

/// The uplinks of a router.
pub fn uplinks(resource: &Resource) -> Vec<ObjectRef> {
    match &*resource.spec {
        Spec::LogicalRouter(router) => router.uplinks.clone(),
        _ => Vec::new(),
    }
}

/// The router of a project that has an uplink.
pub fn linked_router<'a>(resources: &'a Resources, project: &str) -> &'a Resource {
    resources
        .iter()
        .filter(|(key, _)| key.kind == Kind::LogicalRouter && &*key.project == project)
        .map(|(_, resource)| resource)
        .find(|resource| !uplinks(resource).is_empty())
        .expect("a routed tenant has a router with an uplink")
}
