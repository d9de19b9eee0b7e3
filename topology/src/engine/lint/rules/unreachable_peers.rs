//! A rule none of whose peers can meet a port that it is applied to: their domains do not see each
//! other.

use super::super::cover::ResolvedRule;
use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::{about_rule, has_ports};
use crate::engine::ids::{DomainId, GroupId, PolicyId};
use crate::engine::state::Engine;

/// The most pairs of domains that are looked at for one rule.
const PAIRS_MAX: usize = 1 << 16;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.policies {
        if !has_ports(engine, id) {
            continue;
        }
        for (position, rule) in scope.rules(engine, id).iter().enumerate() {
            let Some(peers) = peers_with_ports_alone(engine, rule) else { continue };
            if can_meet(engine, id, rule, &peers) {
                continue;
            }
            let others = peers.iter().map(|&group| engine.groups[group].object.resource.key());
            findings.push(about_rule(
                engine,
                id,
                position,
                "unreachable-peers",
                Severity::Warning,
                "matches no one: no path or peering joins the domains of its peers with those of \
                 the ports it is applied to",
                others.collect(),
            ));
        }
    }
}

/// The groups of a rule that matches ports, and neither addresses nor everyone else.
fn peers_with_ports_alone(engine: &Engine, rule: &ResolvedRule) -> Option<Vec<GroupId>> {
    let peers = rule.peers.as_ref()?;
    let alone =
        |&(group, negate): &(GroupId, bool)| !negate && engine.groups[group].blocks.is_empty();
    let some = peers.iter().any(|&(group, _)| !engine.groups[group].shards.is_empty());
    (some && peers.iter().all(alone)).then(|| peers.iter().map(|&(group, _)| group).collect())
}

/// False if it is certain that no port of the policy sees a member of the peers.
fn can_meet(engine: &Engine, policy: PolicyId, rule: &ResolvedRule, peers: &[GroupId]) -> bool {
    let mut theirs: Vec<DomainId> = peers
        .iter()
        .flat_map(|&peer| engine.groups[peer].shards.iter().map(|&(domain, _)| domain))
        .collect();
    theirs.sort_unstable();
    theirs.dedup();
    let mut pairs = 0;
    for &group in &engine.policies[policy].applied_to {
        for &(domain, _) in &engine.groups[group].shards {
            let here = &engine.domains[domain];
            pairs += here.sees.len().min(theirs.len()) + 1;
            // A deny rule has the whole group where addresses can be forged (guarantee G3).
            if pairs > PAIRS_MAX || (rule.protected && here.spoofable) {
                return true;
            }
            let (few, many) = match here.sees.len() < theirs.len() {
                true => (&here.sees, &theirs),
                false => (&theirs, &here.sees),
            };
            if few.iter().any(|domain| many.binary_search(domain).is_ok()) {
                return true;
            }
        }
    }
    false
}
