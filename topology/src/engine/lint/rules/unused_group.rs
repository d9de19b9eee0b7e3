//! A group that nothing refers to.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::state::Engine;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.groups {
        let group = &engine.groups[id];
        if group.parents.is_empty() && group.applied_by.is_empty() && group.peer_of.is_empty() {
            let message = "no policy and no other group refers to it";
            let object = group.object.resource.key();
            findings.push(about(object, "unused-group", Severity::Info, message, Vec::new()));
        }
    }
}
