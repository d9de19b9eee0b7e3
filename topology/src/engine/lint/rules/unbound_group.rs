//! A group that policies are applied to, and none of whose ports is bound: no host enforces them.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::state::Engine;

/// The most policies that are named.
const NAMED_MAX: usize = 4;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.groups {
        let group = &engine.groups[id];
        let Some(applied) = &group.applied else { continue };
        if group.applied_by.is_empty() || group.shards.is_empty() {
            continue;
        }
        if applied.ports_at.iter().next().is_none() {
            let policies = group.applied_by.iter().take(NAMED_MAX);
            let others = policies.map(|&policy| engine.policies[policy].object.resource.key());
            findings.push(about(
                group.object.resource.key(),
                "unbound-group",
                Severity::Warning,
                "none of its ports is bound to a host, so no host enforces what is applied to it",
                others.collect(),
            ));
        }
    }
}
