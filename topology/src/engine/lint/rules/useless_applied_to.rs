//! A policy applied to a group of CIDR blocks: policies are applied to ports, and blocks have none.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::state::Engine;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.policies {
        let policy = &engine.policies[id];
        for &group in &policy.applied_to {
            let group = &engine.groups[group];
            if !group.shards.is_empty() || group.blocks.is_empty() {
                continue;
            }
            let applied = group.object.resource.key();
            let message = format!(
                "is applied to {applied}, which has CIDR blocks and no ports: blocks do not count \
                 there"
            );
            let object = policy.object.resource.key();
            let rule = "useless-applied-to";
            findings.push(about(object, rule, Severity::Warning, message, vec![applied]));
        }
    }
}
