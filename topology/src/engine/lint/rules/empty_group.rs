//! A group that matches nothing.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::state::Engine;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.groups {
        let group = &engine.groups[id];
        if !group.shards.is_empty() || !group.blocks.is_empty() {
            continue;
        }
        let message = match group.terms.is_empty() {
            true => "matches nothing: it has no terms, and no address in its CIDR blocks",
            false => "matches nothing: no port by its terms, and no address by its CIDR blocks",
        };
        let object = group.object.resource.key();
        findings.push(about(object, "empty-group", Severity::Warning, message, Vec::new()));
    }
}
