//! A rule that never decides, because one that is tried before it matches all that it matches.
//!
//! Certain are three cases, where the earlier rule is applied to all ports of the later one's
//! policy, and covers its direction, peers and services:
//!
//! 1. it stands earlier in the same policy;
//! 2. its policy comes earlier in the same tier;
//! 3. its policy is of an earlier tier, it does not pass, and no rule of that tier does: a packet
//!    that was passed on would get to the later rule after all.

use super::super::cover::{ResolvedRule, covers_group};
use super::super::scope::{Scope, evaluation_order};
use super::super::{Finding, Severity};
use super::{about_rule, has_ports, rule_name};
use crate::engine::ids::PolicyId;
use crate::engine::state::Engine;
use crate::model::Action;

/// The most pairs of rules that are compared for one policy.
const PAIRS_MAX: usize = 4_096;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.policies {
        if !has_ports(engine, id) {
            continue;
        }
        let earlier = policies_before(engine, scope, id);
        let rules = scope.rules(engine, id);
        let mut pairs = 0;
        for (position, rule) in rules.iter().enumerate() {
            if never_matches(rule) {
                continue;
            }
            let Some((by, at)) =
                covering(engine, scope, (id, position), rule, &earlier, &mut pairs)
            else {
                continue;
            };
            let wider = &scope.rules(engine, by)[at];
            findings.push(finding(engine, (id, position, rule), (by, at, wider)));
        }
    }
}

/// Rules that match nothing have findings of their own.
fn never_matches(rule: &ResolvedRule) -> bool {
    rule.entries.as_ref().is_some_and(Vec::is_empty)
        || rule.peers.as_ref().is_some_and(Vec::is_empty)
}

/// The policies tried before one that are applied to all of its ports, first in evaluation first.
pub(super) fn policies_before(engine: &Engine, scope: &Scope, id: PolicyId) -> Vec<PolicyId> {
    let order = evaluation_order(engine, id);
    let mut found = policies_over(engine, scope, id);
    found.retain(|&other| evaluation_order(engine, other) < order);
    found
}

/// The policies applied to all ports of one, itself left out.
pub(super) fn policies_over(engine: &Engine, scope: &Scope, id: PolicyId) -> Vec<PolicyId> {
    let applied_to = &engine.policies[id].applied_to;
    let Some(&first) = applied_to.first() else { return Vec::new() };
    let candidates = scope.policies_on(engine, first);
    let covers = |other: PolicyId| {
        let theirs = &engine.policies[other].applied_to;
        applied_to.iter().all(|&group| {
            theirs.binary_search(&group).is_ok()
                || theirs.iter().any(|&outer| covers_group(engine, outer, group))
        })
    };
    candidates.iter().copied().filter(|&other| other != id && covers(other)).collect()
}

/// The first rule tried before one that covers it.
fn covering(
    engine: &Engine,
    scope: &Scope,
    (id, position): (PolicyId, usize),
    rule: &ResolvedRule,
    earlier: &[PolicyId],
    pairs: &mut usize,
) -> Option<(PolicyId, usize)> {
    let tier = engine.policies[id].spec().tier;
    for &other in earlier.iter().chain([&id]) {
        let other_tier = engine.policies[other].spec().tier;
        if other_tier != tier && !scope.decides_for_later_tiers(engine, other_tier) {
            continue;
        }
        let rules = scope.rules(engine, other);
        let until = if other == id { position } else { rules.len() };
        for (at, wider) in rules[..until].iter().enumerate() {
            *pairs += 1;
            if *pairs > PAIRS_MAX {
                return None;
            }
            if (other_tier == tier || wider.action != Action::Pass) && wider.covers(engine, rule) {
                return Some((other, at));
            }
        }
    }
    None
}

fn finding(
    engine: &Engine,
    (id, position, rule): (PolicyId, usize, &ResolvedRule),
    (by, at, wider): (PolicyId, usize, &ResolvedRule),
) -> Finding {
    let policy = &engine.policies[by];
    let name = rule_name(policy, at);
    let place = match by == id {
        true => format!("{name} of the same policy"),
        false => format!("{name} of {}", policy.object.resource.key()),
    };
    // One more rule that does the same does no harm.
    let (severity, action) = match rule.action == wider.action {
        true => (Severity::Info, format!("does the same, {}", wider.action.as_str())),
        false => (
            Severity::Warning,
            format!("does {} and not {}", wider.action.as_str(), rule.action.as_str()),
        ),
    };
    let message =
        format!("never decides: {place}, which is tried before, matches all of it and {action}");
    let others = if by == id { Vec::new() } else { vec![policy.object.resource.key()] };
    about_rule(engine, id, position, "shadowed-rule", severity, &message, others)
}
