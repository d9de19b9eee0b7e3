//! A policy that is applied to no port.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::{about, has_ports};
use crate::engine::state::Engine;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.policies {
        let policy = &engine.policies[id];
        if has_ports(engine, id) {
            continue;
        }
        let groups = policy.applied_to.iter();
        let others = groups.map(|&group| engine.groups[group].object.resource.key()).collect();
        let message = match policy.applied_to.is_empty() {
            true => "is applied to nothing: it names no group",
            false => "is applied to nothing: no group that it is applied to has a port",
        };
        let object = policy.object.resource.key();
        findings.push(about(object, "idle-policy", Severity::Warning, message, others));
    }
}
