//! What the policies of one port decide about one packet.

use super::answer::{Decider, HostDecision};
use crate::engine::api::{Decision, PacketKind};
use crate::engine::ids::{PolicyId, PortId};
use crate::engine::state::{Engine, Policy};
use crate::model::{Action, Rule};
use crate::planted::{self, Bug};
use std::net::IpAddr;

/// A packet as the host of one end sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The port at this end.
    pub(super) port: PortId,
    /// The packet goes to the port, and does not come from it.
    pub(super) inbound: bool,
    /// The address of the other end.
    pub(super) other: IpAddr,
    pub(super) packet: PacketKind,
}

/// The part of a policy that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A rule, by its position.
    Rule(usize),
    /// The default for the direction.
    Default,
}

/// A part of a policy that matches a packet, with what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) policy: PolicyId,
    pub(super) part: Part,
    pub(super) action: Action,
}

impl Found {
    fn is(&self, other: Option<(PolicyId, Part)>) -> bool {
        other == Some((self.policy, self.part))
    }
}

impl Seen {
    fn is_judged_by(&self, rule: &Rule) -> bool {
        if self.inbound { rule.direction.is_in() } else { rule.direction.is_out() }
    }
}

impl Engine {
    /// What decides, as if the part `without` of some policy were not there; nothing if no tier
    /// does. What is passed over with `pass` on the way is shown to `passed`.
    pub(super) fn decide(
        &self,
        seen: Seen,
        without: Option<(PolicyId, Part)>,
        passed: &mut dyn FnMut(Found),
    ) -> Option<Found> {
        let policies = self.ordered_policies(seen.port);
        for tier in policies.chunk_by(|a, b| a.1.spec().tier == b.1.spec().tier) {
            let found = self
                .first_rule(tier, seen, without)
                .or_else(|| first_default(tier, seen.inbound, without));
            match found {
                None => {}
                Some(found) if found.action == Action::Pass && !planted::is(Bug::PassAllows) => {
                    passed(found);
                }
                Some(found) => return Some(found),
            }
        }
        None
    }

    /// The policies applied to a port, in the order in which they judge.
    fn ordered_policies(&self, port: PortId) -> Vec<(PolicyId, &Policy)> {
        let mut policies: Vec<(PolicyId, &Policy)> =
            self.policies_of(port).into_iter().map(|id| (id, &self.policies[id])).collect();
        let order = |policy: &Policy| {
            let (spec, metadata) = (policy.spec(), &policy.object.resource.metadata);
            (spec.tier, spec.priority, metadata.project.clone(), metadata.name.clone())
        };
        policies.sort_by_cached_key(|(_, policy)| order(policy));
        policies
    }

    fn first_rule(
        &self,
        tier: &[(PolicyId, &Policy)],
        seen: Seen,
        without: Option<(PolicyId, Part)>,
    ) -> Option<Found> {
        tier.iter().find_map(|&(policy, state)| {
            let rules = state.spec().rules.iter().enumerate();
            rules
                .map(|(index, rule)| {
                    (rule, Found { policy, part: Part::Rule(index), action: rule.action })
                })
                .find(|(rule, found)| !found.is(without) && self.rule_matches(rule, seen))
                .map(|(_, found)| found)
        })
    }

    fn rule_matches(&self, rule: &Rule, seen: Seen) -> bool {
        seen.is_judged_by(rule)
            && self.matched_entry(rule, seen).is_some()
            && self.matched_peer(rule, seen).is_some()
    }

    /// What was found, as it is told.
    pub(super) fn decision(&self, found: Option<Found>) -> Decision {
        let Some(Found { policy, part, action }) = found else {
            return Decision::NoneApplies;
        };
        let state = &self.policies[policy];
        let policy = state.object.resource.key();
        match part {
            Part::Rule(index) => {
                let name = state.spec().rules.get(index).and_then(|rule| rule.name.clone());
                Decision::Rule { policy, index, name, action }
            }
            Part::Default => Decision::Default { policy, action },
        }
    }

    /// What is decided at one host, and how that came about.
    pub(super) fn explain_decision(&self, seen: Seen) -> HostDecision {
        let mut passed = Vec::new();
        let found = self.decide(seen, None, &mut |found| passed.push(found));
        let next = found.map(|found| {
            let without = Some((found.policy, found.part));
            let next = self.decide(seen, without, &mut |_| {});
            self.explain_found(next, seen)
        });
        HostDecision {
            decided: self.explain_found(found, seen),
            passed: passed.into_iter().map(|found| self.explain_found(Some(found), seen)).collect(),
            next,
        }
    }

    fn explain_found(&self, found: Option<Found>, seen: Seen) -> Decider {
        let decision = self.decision(found);
        let Some(Found { policy, part, action: _ }) = found else {
            return Decider { decision, ..Decider::default() };
        };
        let state = &self.policies[policy];
        let rule = match part {
            Part::Rule(index) => state.spec().rules.get(index),
            Part::Default => None,
        };
        Decider {
            decision,
            revision: state.object.revision,
            tier: state.spec().tier,
            priority: state.spec().priority,
            applied: self.explain_applied(policy, seen.port),
            peer: rule.and_then(|rule| self.explain_peer(rule, seen)),
            entry: rule.and_then(|rule| self.explain_entry(rule, seen)),
        }
    }
}

fn first_default(
    tier: &[(PolicyId, &Policy)],
    inbound: bool,
    without: Option<(PolicyId, Part)>,
) -> Option<Found> {
    tier.iter().find_map(|&(policy, state)| {
        let defaults = state.spec().defaults;
        let action = if inbound { defaults.inbound? } else { defaults.outbound? };
        let found = Found { policy, part: Part::Default, action };
        (!found.is(without)).then_some(found)
    })
}
