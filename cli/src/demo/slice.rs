//! The network of the demo: a slice of a campus that OVN runs.
//!
//! The whole northbound database is in the binary, and is imported as `spanwire import ovn` does.
//! The slice is what is left when only some hosts and tenants are kept.

use crate::failure::Failure;
use spanwire_lab::{DEFAULT_UNDERLAY, assign_vteps, slice};
use spanwire_topology::Resource;
use spanwire_topology::model::{
    Action, DefaultActions, GroupSpec, GroupTerm, Labels, ObjectRef, ProjectScope, Requirement,
    Rule, SecurityPolicySpec, Selector, Spec,
};
use std::collections::BTreeSet;

/// The campus, as `ovsdb-client -f json dump` printed it: 12 tenants, 24 hosts, 508 ports.
const CAMPUS: &[u8] = include_bytes!("../../../import/tests/data/campus-12-tenants.json");

/// The hosts of the slice.
pub(super) const HOSTS: [&str; 6] =
    ["host-01", "host-04", "host-08", "host-16", "host-17", "host-20"];
/// Two tenants that reach each other through the provider's router.
pub(super) const ROUTED: [&str; 2] = ["t00", "t04"];
/// Two tenants that reach nobody, on the same addresses.
pub(super) const ISOLATED: [&str; 2] = ["t09", "t11"];
/// The label of workloads that nobody may talk to.
pub(super) const QUARANTINE_LABEL: &str = "quarantine";
/// The project of what the demo adds to the campus.
const DEMO_PROJECT: &str = "demo";

/// The slice, ready to be applied.
pub(super) fn campus_slice() -> Result<Vec<Resource>, Failure> {
    let options = spanwire_import::ovn::OvnOptions {
        project_rule: spanwire_import::ovn::ProjectRule::ExternalId("tenant".to_owned()),
        ..spanwire_import::ovn::OvnOptions::default()
    };
    let import = spanwire_import::ovn::import_dump(CAMPUS, &options)
        .map_err(|error| Failure::caused("the campus cannot be imported", &error))?;
    if let Some(row) = import.unsupported.first() {
        return Err(Failure::refused(format!("the campus is not imported whole: {row}")));
    }
    let projects: BTreeSet<&str> = ROUTED.into_iter().chain(ISOLATED).collect();
    let mut slice = slice(&import.resources, &projects, &HOSTS.into_iter().collect());
    slice.extend(quarantine());
    assign_vteps(&mut slice, DEFAULT_UNDERLAY)
        .map_err(|error| Failure::caused("the hosts get no tunnel endpoints", &error))?;
    Ok(slice)
}

/// A group by label across all tenants, and a policy before all others that isolates its members:
/// labelling a workload is enough to cut it off.
fn quarantine() -> Vec<Resource> {
    let requirement = Requirement::In(QUARANTINE_LABEL.into(), vec!["yes".into()]);
    // One requirement with a key and a value that are well formed.
    let selector = Selector::new(vec![requirement]).unwrap_or_default();
    let terms = vec![GroupTerm::Selector { selector, projects: ProjectScope::All }];
    let group = ObjectRef::new(DEMO_PROJECT, "quarantine");
    let drop_all = Rule {
        name: Some("nobody".into()),
        direction: spanwire_topology::model::Direction::Both,
        peers: Vec::new(),
        services: Vec::new(),
        action: Action::Drop,
        log: false,
    };
    let policy = SecurityPolicySpec {
        applied_to: vec![group.clone()],
        tier: 0,
        priority: 0,
        defaults: DefaultActions::default(),
        rules: vec![drop_all],
    };
    let group_spec = Spec::Group(GroupSpec { terms, blocks: Vec::new() });
    vec![
        Resource::new(DEMO_PROJECT, group.name, Labels::new(), group_spec),
        Resource::new(DEMO_PROJECT, "quarantine", Labels::new(), Spec::SecurityPolicy(policy)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::checks::ports;
    use spanwire_topology::{Engine, Transaction};

    #[test]
    fn the_slice_has_what_the_demo_shows() {
        let slice = campus_slice().unwrap();
        let ports = ports(&slice);
        for host in HOSTS {
            assert!(ports.values().any(|port| port.host.as_deref() == Some(host)), "{host}");
        }
        for project in ROUTED.iter().chain(&ISOLATED) {
            assert!(ports.keys().any(|key| &*key.project == *project), "{project}");
        }
        let addresses = |project: &str| -> BTreeSet<_> {
            ports
                .iter()
                .filter(|(key, _)| &*key.project == project)
                .flat_map(|(_, port)| port.addresses.iter().copied())
                .collect()
        };
        assert!(!addresses(ISOLATED[0]).is_disjoint(&addresses(ISOLATED[1])), "equal addresses");
        let across = slice.iter().filter(|resource| match &*resource.spec {
            Spec::Group(group) => {
                let projects: BTreeSet<_> = group
                    .terms
                    .iter()
                    .filter_map(|term| match term {
                        GroupTerm::Port(port) => Some(&port.project),
                        _ => None,
                    })
                    .collect();
                projects.len() > 2
            }
            _ => false,
        });
        assert!(across.count() >= 2, "groups that cut across tenants");
        // Nothing refers to what was cut away.
        Engine::new().apply(&Transaction::put(slice), 1).unwrap();
    }
}
