//! The resources that workloads are made of, in short.

use spanwire_topology::model::{
    Action, DefaultActions, Direction, GroupSpec, GroupTerm, Labels, LogicalPortSpec, Mac,
    Metadata, Peer, PortAttachment, ProjectScope, Rule, SecurityPolicySpec, Selector, Text,
};
use spanwire_topology::{ObjectRef, Resource, Spec};
use std::net::IpAddr;
use std::sync::Arc;

/// A resource whose parts are shared.
pub(super) fn mk_resource(
    project: &Text,
    name: &Text,
    labels: &Arc<Labels>,
    spec: Spec,
) -> Resource {
    let metadata =
        Metadata { project: project.clone(), name: name.clone(), labels: labels.clone() };
    Resource { metadata, spec: Arc::new(spec) }
}

pub(super) fn mk_ref(project: &Text, name: &Text) -> ObjectRef {
    ObjectRef { project: project.clone(), name: name.clone() }
}

/// A port with one address and the MAC address that follows from it.
pub(super) fn mk_port_spec(switch: ObjectRef, address: IpAddr, host: &Text) -> Spec {
    Spec::LogicalPort(LogicalPortSpec {
        switch,
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: Some(host.clone()),
        attachment: PortAttachment::Derived,
        port_security: true,
    })
}

pub(super) fn mk_group_spec(terms: Vec<GroupTerm>) -> Spec {
    Spec::Group(GroupSpec { terms, blocks: Vec::new() })
}

pub(super) fn mk_selector_spec(selector: Selector, projects: ProjectScope) -> Spec {
    mk_group_spec(vec![GroupTerm::Selector { selector, projects }])
}

/// A policy that isolates a group in both directions and admits a peer, if there is one, in both.
pub(super) fn mk_isolation_spec(applied_to: ObjectRef, peer: Option<ObjectRef>) -> Spec {
    let rules = peer.map(|group| Rule {
        name: None,
        direction: Direction::Both,
        peers: vec![Peer { group, negate: false }],
        services: Vec::new(),
        action: Action::Allow,
        log: false,
    });
    mk_policy_spec(applied_to, true, rules.into_iter().collect())
}

pub(super) fn mk_policy_spec(applied_to: ObjectRef, isolate: bool, rules: Vec<Rule>) -> Spec {
    let default = isolate.then_some(Action::Drop);
    Spec::SecurityPolicy(SecurityPolicySpec {
        applied_to: vec![applied_to],
        tier: SecurityPolicySpec::TIER_DEFAULT,
        priority: SecurityPolicySpec::PRIORITY_DEFAULT,
        defaults: DefaultActions { inbound: default, outbound: default },
        rules,
    })
}

/// A rule that admits a group, in.
pub(super) fn mk_admission(group: ObjectRef) -> Rule {
    Rule {
        name: None,
        direction: Direction::In,
        peers: vec![Peer { group, negate: false }],
        services: Vec::new(),
        action: Action::Allow,
        log: false,
    }
}

/// The label that groups select by.
pub(super) fn mk_app_labels(app: &str) -> Labels {
    std::iter::once(("app".into(), app.into())).collect()
}

/// The project of a tenant.
pub(super) fn mk_tenant_project(tenant: usize) -> Text {
    format!("tenant-{tenant}").into()
}
