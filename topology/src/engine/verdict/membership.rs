//! How a port, or an address of no port, comes to be in a group: through which nesting, and by
//! which selector, switch, router, name or CIDR block.

use super::answer::{Membership, MembershipStep};
use crate::engine::ids::{GroupId, PortId, RouterId, Set};
use crate::engine::state::Engine;
use crate::model::{GroupTerm, Kind, ObjectKey, ObjectRef, ProjectScope};
use std::net::IpAddr;

/// The most steps that are told of one membership: groups can nest in more ways than anybody reads.
const STEPS_MAX: usize = 64;

/// Follows one member through the groups, from the outside in.
struct Walk {
    steps: Vec<MembershipStep>,
    /// Groups that have been told already.
    told: Set<GroupId>,
}

impl Walk {
    fn new() -> Walk {
        Walk { steps: Vec::new(), told: Set::default() }
    }

    /// True if a group has still to be told.
    fn enters(&mut self, group: GroupId) -> bool {
        self.steps.len() < STEPS_MAX && self.told.insert(group)
    }

    fn push(&mut self, depth: u32, finding: String, objects: Vec<ObjectKey>) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(MembershipStep { depth, finding, objects });
        }
    }
}

impl Engine {
    /// How a port is in a group it is a member of.
    pub(in crate::engine) fn explain_membership_of(
        &self,
        port: PortId,
        group: GroupId,
    ) -> Membership {
        let mut walk = Walk::new();
        self.walk_port(&mut walk, 0, port, group);
        let object = &self.groups[group].object;
        Membership { group: object.resource.key(), revision: object.revision, steps: walk.steps }
    }

    /// How an address is in a group's blocks.
    pub(super) fn explain_block(&self, group: GroupId, address: IpAddr) -> Vec<MembershipStep> {
        let mut walk = Walk::new();
        self.walk_block(&mut walk, 0, address, group);
        walk.steps
    }

    fn group_key(&self, group: GroupId) -> ObjectKey {
        self.groups[group].object.resource.key()
    }

    fn group_of(&self, reference: &ObjectRef) -> Option<GroupId> {
        self.slot(Kind::Group, &reference.project, &reference.name).map(GroupId)
    }

    fn walk_port(&self, walk: &mut Walk, depth: u32, port: PortId, group: GroupId) {
        if !walk.enters(group) {
            return;
        }
        let name = self.group_key(group);
        let groups = &self.ports[port].groups;
        let within = |reference: &ObjectRef| {
            self.group_of(reference).filter(|group| groups.binary_search(group).is_ok())
        };
        for term in &self.groups[group].spec().terms {
            if let Some((finding, objects)) = self.own_term(port, &name, term) {
                return walk.push(depth, finding, objects);
            }
            let Some((finding, inner)) = nested(&name, term, &within) else { continue };
            let objects = inner.iter().map(|&group| self.group_key(group)).collect();
            walk.push(depth, finding, objects);
            return inner
                .into_iter()
                .for_each(|group| self.walk_port(walk, depth + 1, port, group));
        }
    }

    /// What is said of a term that names no other group, if it holds for the port.
    fn own_term(
        &self,
        port: PortId,
        name: &ObjectKey,
        term: &GroupTerm,
    ) -> Option<(String, Vec<ObjectKey>)> {
        let port = &self.ports[port];
        let metadata = &port.object.resource.metadata;
        match term {
            GroupTerm::Selector { selector, projects } => {
                let in_scope = match projects {
                    ProjectScope::Own => metadata.project == name.project,
                    ProjectScope::All => true,
                    ProjectScope::Listed(projects) => projects.contains(&metadata.project),
                };
                if !in_scope || !selector.matches(&metadata.labels) {
                    return None;
                }
                let selector = match selector.to_string() {
                    empty if empty.is_empty() => "that takes every port".to_owned(),
                    text => text,
                };
                Some((format!("its labels match the selector {selector} of {name}"), Vec::new()))
            }
            GroupTerm::Switch(switch) => {
                let key = switch.to_key(Kind::LogicalSwitch);
                let own = self.switches[port.switch].object.resource.key();
                (own == key).then(|| (format!("it is on {key}, which {name} names"), vec![key]))
            }
            GroupTerm::Router(router) => {
                let key = router.to_key(Kind::LogicalRouter);
                let router = RouterId(self.slot_of(&key)?);
                let switch = &self.switches[port.switch];
                switch.routers.binary_search(&router).is_ok().then(|| {
                    let own = switch.object.resource.key();
                    (format!("it is on {own} of {key}, which {name} names"), vec![own, key])
                })
            }
            GroupTerm::Port(named) => {
                let key = named.to_key(Kind::LogicalPort);
                let is_it = key.project == metadata.project && key.name == metadata.name;
                is_it.then(|| (format!("{name} names it"), Vec::new()))
            }
            GroupTerm::Group(_) | GroupTerm::Intersection(_) | GroupTerm::Difference { .. } => None,
        }
    }

    fn walk_block(&self, walk: &mut Walk, depth: u32, address: IpAddr, group: GroupId) {
        if !walk.enters(group) {
            return;
        }
        let name = self.group_key(group);
        let spec = self.groups[group].spec();
        let own = spec.blocks.iter().find(|block| {
            block.cidr().contains(&address)
                && !block.except().iter().any(|net| net.contains(&address))
        });
        if let Some(block) = own {
            let finding = format!("{address} lies in the block {} of {name}", block.cidr());
            return walk.push(depth, finding, Vec::new());
        }
        let within = |reference: &ObjectRef| {
            self.group_of(reference).filter(|&group| self.groups[group].blocks.contains(address))
        };
        for term in &spec.terms {
            let Some((finding, inner)) = nested(&name, term, &within) else { continue };
            let objects = inner.iter().map(|&group| self.group_key(group)).collect();
            walk.push(depth, finding, objects);
            return inner
                .into_iter()
                .for_each(|group| self.walk_block(walk, depth + 1, address, group));
        }
    }
}

/// What is said of a term that names other groups, if it holds, and the groups to go on with.
fn nested(
    name: &ObjectKey,
    term: &GroupTerm,
    within: &dyn Fn(&ObjectRef) -> Option<GroupId>,
) -> Option<(String, Vec<GroupId>)> {
    let list = |groups: &[ObjectRef]| {
        groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    match term {
        GroupTerm::Group(group) => {
            Some((format!("{name} takes it from group {group}"), vec![within(group)?]))
        }
        GroupTerm::Intersection(groups) => {
            let inner = groups.iter().map(within).collect::<Option<Vec<GroupId>>>()?;
            Some((format!("{name} takes what is in all of {}", list(groups)), inner))
        }
        GroupTerm::Difference { of, minus } => {
            let inner = within(of)?;
            if minus.iter().any(|group| within(group).is_some()) {
                return None;
            }
            let without = list(minus);
            Some((
                format!("{name} takes it from group {of}, as it is not in {without}"),
                vec![inner],
            ))
        }
        GroupTerm::Selector { .. }
        | GroupTerm::Switch(_)
        | GroupTerm::Router(_)
        | GroupTerm::Port(_) => None,
    }
}
