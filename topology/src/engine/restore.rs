//! A whole state into an empty engine.
//!
//! The steps are those of a transaction, without what a transaction keeps to be undone and to tell
//! hosts of: what comes out is the same state, and that is tested.

use super::api::{Object, Refusal};
use super::apply::duplicate_address;
use super::ids::{GroupId, Map, PolicyId, PortId, RouterId};
use super::journal::Journal;
use super::state::Engine;
use crate::model::{Kind, ObjectKey};

impl Engine {
    /// Takes the objects of a checked state. `depths` are those of nested groups; `identities` has
    /// the VNIs of switches and routers.
    pub(super) fn load_objects(
        &mut self,
        objects: Vec<Object>,
        depths: &Map<ObjectKey, u32>,
        identities: &Journal,
    ) -> Result<(), Refusal> {
        let mut journal = Journal { is_load: true, ..Journal::default() };
        let mut slots: [Vec<u32>; Kind::ALL.len()] = Default::default();
        self.uids.reserve(objects.len());
        for object in objects {
            let (kind, slot) = self.load_object(object);
            slots[kind as usize].push(slot);
            if matches!(kind, Kind::LogicalSwitch | Kind::LogicalRouter) {
                self.enter(&mut journal, kind, slot);
            }
        }
        let of_kind = |kind: Kind| slots[kind as usize].iter().copied();
        for id in of_kind(Kind::LogicalRouter).map(RouterId) {
            let links = self.resolve_links(self.routers[id].spec());
            self.relink(&mut journal, id, links);
        }
        self.load_groups(&mut journal, of_kind(Kind::Group).map(GroupId).collect(), depths);
        for id in of_kind(Kind::SecurityPolicy).map(PolicyId) {
            let links = self.resolve_policy(self.policies[id].spec());
            self.install_policy(&mut journal, id, links);
        }
        // Last, so that a port finds all that it becomes part of, and is looked at once.
        for id in of_kind(Kind::LogicalPort).map(PortId) {
            self.plug(id);
            self.attach(&mut journal, id);
        }
        self.restore_vnis(&journal, identities);
        self.settle(&mut journal, 0);
        duplicate_address(&journal).map_or(Ok(()), Err)
    }

    fn load_object(&mut self, mut object: Object) -> (Kind, u32) {
        let kind = object.resource.spec.kind();
        let uid = object.uid;
        let name = object.resource.metadata.name.clone();
        let project = self.names.share(&object.resource.metadata.project);
        object.resource.metadata.project = project.clone();
        let slot = self.occupy(kind, object);
        self.names.insert(kind, &project, &name, slot);
        self.uids.insert(uid, (kind, slot));
        (kind, slot)
    }

    /// Defines the groups, those further in before those that refer to them. None has ports yet.
    fn load_groups(
        &mut self,
        journal: &mut Journal,
        mut groups: Vec<GroupId>,
        depths: &Map<ObjectKey, u32>,
    ) {
        for (key, &depth) in depths {
            if let Some(slot) = self.slot_of(key) {
                self.groups[GroupId(slot)].depth = depth;
            }
        }
        groups.sort_by_key(|&id| self.groups[id].depth);
        for id in groups {
            self.install_group(id);
            self.update_blocks(journal, id);
        }
    }
}
