//! What a transaction may give reason for findings on: the objects it names, and those next to them
//! that it can make empty, useless or wrong.

use crate::engine::ids::{GroupId, PolicyId, PortId, RouterId, ServiceId, SwitchId};
use crate::engine::state::Engine;
use crate::model::{Kind, ObjectKey};
use std::collections::BTreeSet;

/// The most objects next to one object that are looked at for its sake.
const NEXT_OBJECTS_MAX: usize = 64;

impl Engine {
    /// The objects, and those next to them as the state stands: to be asked before a transaction
    /// and after it, because a port that leaves a group is next to it only before.
    pub fn lint_neighbours<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a ObjectKey>,
    ) -> BTreeSet<ObjectKey> {
        let mut found = BTreeSet::new();
        for key in objects {
            if let Some(slot) = self.slot_of(key) {
                found.extend(self.next_to(key.kind, slot));
                found.insert(key.clone());
            }
        }
        found
    }

    fn next_to(&self, kind: Kind, slot: u32) -> Vec<ObjectKey> {
        let groups = |list: &[GroupId]| -> Vec<ObjectKey> {
            let list = list.iter().take(NEXT_OBJECTS_MAX);
            list.map(|&id| self.groups[id].object.resource.key()).collect()
        };
        let policies = |list: &[PolicyId]| -> Vec<ObjectKey> {
            let list = list.iter().take(NEXT_OBJECTS_MAX);
            list.map(|&id| self.policies[id].object.resource.key()).collect()
        };
        let routers = |list: &[RouterId]| -> Vec<ObjectKey> {
            let list = list.iter().take(NEXT_OBJECTS_MAX);
            list.map(|&id| self.routers[id].object.resource.key()).collect()
        };
        match kind {
            Kind::Host => Vec::new(),
            Kind::LogicalSwitch => {
                let switch = &self.switches[SwitchId(slot)];
                let ports = switch.ports.iter().take(NEXT_OBJECTS_MAX);
                ports
                    .map(|port| self.ports[port].object.resource.key())
                    .chain(routers(&switch.routers))
                    .collect()
            }
            Kind::LogicalRouter => {
                let router = &self.routers[RouterId(slot)];
                let links = &router.links;
                [
                    &links.joined,
                    &links.silent,
                    &links.peers,
                    &router.joined_by,
                    &router.silent_by,
                    &router.peered_by,
                ]
                .into_iter()
                .flat_map(|list| routers(list))
                .collect()
            }
            Kind::LogicalPort => {
                let port = &self.ports[PortId(slot)];
                let switch = self.switches[port.switch].object.resource.key();
                std::iter::once(switch).chain(groups(&port.groups)).collect()
            }
            Kind::Group => {
                let group = &self.groups[GroupId(slot)];
                let mut found = policies(&group.applied_by);
                found.extend(policies(&group.peer_of));
                found.extend(groups(&group.parents));
                found
            }
            Kind::Service => policies(&self.services[ServiceId(slot)].users),
            Kind::SecurityPolicy => {
                let policy = &self.policies[PolicyId(slot)];
                groups(&policy.applied_to)
            }
        }
    }
}
