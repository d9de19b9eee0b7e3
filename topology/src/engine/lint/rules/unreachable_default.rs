//! A default that never decides, because every packet is decided before it.
//!
//! Certain are three cases, where the other policy is applied to all ports of the one with the
//! default: the other has a default for the direction and comes earlier in the tier; the other, or
//! the policy itself, has a rule in the tier that matches every packet of the direction; or such a
//! rule of an earlier tier, which passes nothing on.

use super::super::scope::{Scope, evaluation_order};
use super::super::{Finding, Severity};
use super::shadowed_rule::policies_over;
use super::{about, has_ports, rule_name};
use crate::engine::ids::PolicyId;
use crate::engine::state::Engine;
use crate::model::{Action, DefaultActions};

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.policies {
        let DefaultActions { inbound, outbound } = engine.policies[id].spec().defaults;
        if (inbound.is_none() && outbound.is_none()) || !has_ports(engine, id) {
            continue;
        }
        let mut over = policies_over(engine, scope, id);
        over.push(id);
        for (direction, action) in [(true, inbound), (false, outbound)] {
            let Some(action) = action else { continue };
            let Some((by, reason)) =
                over.iter().find_map(|&by| decides(engine, scope, id, by, direction))
            else {
                continue;
            };
            let policy = engine.policies[by].object.resource.key();
            let message = format!(
                "its default {} for packets {} never decides: {reason} of {} decides before it",
                action.as_str(),
                if direction { "to its ports" } else { "from its ports" },
                if by == id { "its own".to_owned() } else { policy.to_string() },
            );
            let others = if by == id { Vec::new() } else { vec![policy] };
            let object = engine.policies[id].object.resource.key();
            let rule = "unreachable-default";
            findings.push(about(object, rule, Severity::Warning, message, others));
        }
    }
}

/// What of one policy decides every packet before the default of another comes to it.
fn decides(
    engine: &Engine,
    scope: &Scope,
    id: PolicyId,
    by: PolicyId,
    inbound: bool,
) -> Option<(PolicyId, String)> {
    let (own, other) = (&engine.policies[id], &engine.policies[by]);
    let (tier, other_tier) = (own.spec().tier, other.spec().tier);
    if other_tier > tier
        || (other_tier < tier && !scope.decides_for_later_tiers(engine, other_tier))
    {
        return None;
    }
    let rules = scope.rules(engine, by);
    let rule = rules.iter().position(|rule| {
        rule.matches_all(inbound) && (other_tier == tier || rule.action != Action::Pass)
    });
    if let Some(at) = rule {
        return Some((by, rule_name(other, at)));
    }
    let defaults = other.spec().defaults;
    let default = if inbound { defaults.inbound } else { defaults.outbound };
    let is_earlier = evaluation_order(engine, by) < evaluation_order(engine, id);
    (is_earlier && other_tier == tier && default.is_some()).then(|| (by, "the default".to_owned()))
}
