//! Which objects a rule looks at, and what rules share while they look.

use super::cover::ResolvedRule;
use super::families::Families;
use crate::engine::ids::{GroupId, Map, PolicyId, PortId, RouterId, ServiceId, Set, SwitchId};
use crate::engine::state::{Engine, Term};
use crate::model::{Action, Kind, ObjectKey};
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

/// The policies of one group, first in evaluation first, that a later one is compared with.
const EARLIER_POLICIES_MAX: usize = 64;
/// A group with more policies than this is not sorted for the sake of one touched policy.
const TOUCHED_POLICIES_MAX: usize = 1_024;
/// Groups further out that are looked at for policies which apply to all ports of one further in.
const OUTER_GROUPS_MAX: usize = 16;

/// The objects to look at, each list in no order that matters.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) switches: Vec<SwitchId>,
    pub(super) routers: Vec<RouterId>,
    pub(super) ports: Vec<PortId>,
    pub(super) groups: Vec<GroupId>,
    pub(super) services: Vec<ServiceId>,
    pub(super) policies: Vec<PolicyId>,
    /// True if the cost must follow what is in the lists, and not the size of the network.
    pub(super) is_touched: bool,
    memo: Memo,
}

/// What one rule worked out and another needs too. The state does not change meanwhile.
#[derive(Default)]
struct Memo {
    families: RefCell<Map<GroupId, Families>>,
    policies: RefCell<Map<GroupId, Rc<Vec<PolicyId>>>>,
    rules: RefCell<Map<PolicyId, Rc<Vec<ResolvedRule>>>>,
    tiers_with_pass: OnceCell<Option<Set<u16>>>,
}

impl Scope {
    /// Some objects, for what a transaction touched.
    pub(super) fn of_objects(engine: &Engine, objects: &BTreeSet<ObjectKey>) -> Scope {
        let mut scope = Scope { is_touched: true, ..Scope::default() };
        for key in objects {
            if let Some(slot) = engine.slot_of(key) {
                scope.add(key.kind, slot);
            }
        }
        scope
    }

    /// Adds an object.
    pub(super) fn add(&mut self, kind: Kind, slot: u32) {
        match kind {
            Kind::Host => {}
            Kind::LogicalSwitch => self.switches.push(SwitchId(slot)),
            Kind::LogicalRouter => self.routers.push(RouterId(slot)),
            Kind::LogicalPort => self.ports.push(PortId(slot)),
            Kind::Group => self.groups.push(GroupId(slot)),
            Kind::Service => self.services.push(ServiceId(slot)),
            Kind::SecurityPolicy => self.policies.push(PolicyId(slot)),
        }
    }

    /// The families of a group's ports, worked out once.
    pub(super) fn families(&self, engine: &Engine, group: GroupId) -> Families {
        if let Some(&families) = self.memo.families.borrow().get(&group) {
            return families;
        }
        let families = Families::of_ports(engine, group);
        self.memo.families.borrow_mut().insert(group, families);
        families
    }

    /// A policy's rules with their references resolved, worked out once.
    pub(super) fn rules(&self, engine: &Engine, policy: PolicyId) -> Rc<Vec<ResolvedRule>> {
        if let Some(rules) = self.memo.rules.borrow().get(&policy) {
            return rules.clone();
        }
        let rules: Vec<ResolvedRule> = engine.policies[policy]
            .spec()
            .rules
            .iter()
            .map(|rule| ResolvedRule::new(engine, rule))
            .collect();
        let rules = Rc::new(rules);
        self.memo.rules.borrow_mut().insert(policy, rules.clone());
        rules
    }

    /// The first policies, in the order of evaluation, that are applied to a group or to one that
    /// holds all of it by name.
    pub(super) fn policies_on(&self, engine: &Engine, group: GroupId) -> Rc<Vec<PolicyId>> {
        if let Some(policies) = self.memo.policies.borrow().get(&group) {
            return policies.clone();
        }
        let mut found: Vec<PolicyId> = Vec::new();
        for group in outer_groups(engine, group) {
            let applied = &engine.groups[group].applied_by;
            if !self.is_touched || applied.len() <= TOUCHED_POLICIES_MAX {
                found.extend_from_slice(applied);
            }
        }
        found.sort_unstable();
        found.dedup();
        found.sort_by(|&a, &b| evaluation_order(engine, a).cmp(&evaluation_order(engine, b)));
        found.truncate(EARLIER_POLICIES_MAX);
        let found = Rc::new(found);
        self.memo.policies.borrow_mut().insert(group, found.clone());
        found
    }

    /// True if no policy of a tier passes packets on to later tiers, as far as is known.
    pub(super) fn decides_for_later_tiers(&self, engine: &Engine, tier: u16) -> bool {
        let tiers = self.memo.tiers_with_pass.get_or_init(|| {
            let known =
                !self.is_touched || engine.policies.iter().nth(TOUCHED_POLICIES_MAX).is_none();
            known.then(|| {
                let passing = engine.policies.iter().filter(|(_, policy)| {
                    policy.spec().rules.iter().any(|rule| rule.action == Action::Pass)
                });
                passing.map(|(_, policy)| policy.spec().tier).collect()
            })
        });
        tiers.as_ref().is_some_and(|tiers| !tiers.contains(&tier))
    }
}

/// What policies are sorted by for evaluation.
pub(super) fn evaluation_order(engine: &Engine, policy: PolicyId) -> (u16, u32, &str, &str) {
    let policy = &engine.policies[policy];
    let metadata = &policy.object.resource.metadata;
    let spec = policy.spec();
    (spec.tier, spec.priority, &metadata.project, &metadata.name)
}

/// A group, and groups that take in all of it by a term of their own.
fn outer_groups(engine: &Engine, group: GroupId) -> Vec<GroupId> {
    let mut found = vec![group];
    let mut at = 0;
    while at < found.len() && found.len() < OUTER_GROUPS_MAX {
        let inner = found[at];
        at += 1;
        for &outer in engine.groups[inner].parents.iter().take(OUTER_GROUPS_MAX) {
            if engine.groups[outer].terms.contains(&Term::Group(inner)) && !found.contains(&outer) {
                found.push(outer);
            }
        }
    }
    found
}
