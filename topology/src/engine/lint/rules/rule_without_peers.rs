//! A rule whose peers are all empty: there is no one that it could match.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about_rule;
use crate::engine::ids::GroupId;
use crate::engine::state::Engine;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.policies {
        let rules = scope.rules(engine, id);
        for (position, rule) in rules.iter().enumerate() {
            let Some(peers) = &rule.peers else { continue };
            if !peers.iter().all(|&peer| is_nobody(engine, peer)) {
                continue;
            }
            let groups = peers.iter().map(|&(group, _)| engine.groups[group].object.resource.key());
            findings.push(about_rule(
                engine,
                id,
                position,
                "rule-without-peers",
                Severity::Warning,
                "matches no one: its peers have neither ports nor CIDR blocks",
                groups.collect(),
            ));
        }
    }
}

/// True if a peer matches no address.
fn is_nobody(engine: &Engine, (group, negate): (GroupId, bool)) -> bool {
    let group = &engine.groups[group];
    if negate {
        group.blocks.is_everything()
    } else {
        group.shards.is_empty() && group.blocks.is_empty()
    }
}
