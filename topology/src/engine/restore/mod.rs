//! A whole state into an empty engine.
//!
//! The steps are those of a transaction, without what a transaction keeps to be undone and to tell
//! hosts of, and with all ports put where they belong in one go: what comes out is the same state, and
//! that is tested.

mod deal;
mod ports;

use super::api::{Object, Refusal};
use super::apply::duplicate_address;
use super::ids::{GroupId, Map, PolicyId, RouterId};
use super::journal::Journal;
use super::prepare::check_resource;
use super::snapshot::{SnapshotEnd, SnapshotError};
use super::state::Engine;
use crate::model::{Kind, ObjectKey};

/// A state that is being loaded, some objects after the other: whoever decodes them need not have them all
/// before the first is taken. They may come in any order.
#[derive(Debug)]
pub struct Loading {
    engine: Engine,
    journal: Journal,
    slots: [Vec<u32>; Kind::ALL.len()],
    /// The largest uid so far, and whether two objects have one.
    last_uid: u64,
    has_uid_twice: bool,
}

impl Default for Loading {
    fn default() -> Loading {
        Loading {
            engine: Engine::new(),
            journal: Journal { is_load: true, ..Journal::default() },
            slots: Default::default(),
            last_uid: 0,
            has_uid_twice: false,
        }
    }
}

impl Loading {
    /// Takes more objects.
    ///
    /// # Errors
    /// If one of them alone is not valid, or there is one of its name. Then the state is of no use.
    pub fn take(&mut self, objects: impl IntoIterator<Item = Object>) -> Result<(), Refusal> {
        objects.into_iter().try_for_each(|object| self.take_object(object))
    }

    fn take_object(&mut self, mut object: Object) -> Result<(), Refusal> {
        check_resource(&object.resource)?;
        let engine = &mut self.engine;
        let kind = object.resource.spec.kind();
        let (uid, name) = (object.uid, object.resource.metadata.name.clone());
        let project = engine.names.share(&object.resource.metadata.project);
        object.resource.metadata.project = project.clone();
        let slot = engine.occupy(kind, object);
        let (_, is_new) = engine.names.insert(kind, &project, &name, slot);
        if !is_new {
            return Err(Refusal::NamedTwice { key: ObjectKey { kind, project, name } });
        }
        self.last_uid = self.last_uid.max(uid.0);
        self.has_uid_twice |= engine.uids.insert(uid, (kind, slot)).is_some();
        self.slots[kind as usize].push(slot);
        if matches!(kind, Kind::LogicalSwitch | Kind::LogicalRouter) {
            engine.enter(&mut self.journal, kind, slot);
        }
        Ok(())
    }

    /// The engine with all objects that were taken, in the state that the rest of a snapshot says. Its
    /// projections are, byte for byte, those of the engine the snapshot was taken of.
    ///
    /// # Errors
    /// If that contradicts the objects, or they contradict one another.
    pub fn finish(self, end: SnapshotEnd) -> Result<Engine, SnapshotError> {
        if self.has_uid_twice || self.last_uid > end.last_uid {
            return Err(SnapshotError("two objects have one uid, or one was never given".into()));
        }
        end.check_vnis(&self.engine)?;
        let mut identities = Journal::default();
        identities.vnis.extend(end.vnis.iter().copied());
        let engine = self.link(&identities);
        end.complete(engine.map_err(|refusal| SnapshotError(refusal.to_string()))?)
    }

    /// Brings the objects together. `identities` has the VNIs of switches and routers.
    pub(super) fn link(self, identities: &Journal) -> Result<Engine, Refusal> {
        let Loading { mut engine, mut journal, slots, .. } = self;
        // The same checks as for a transaction: a state is input like any other.
        let depths = engine.check_loaded()?;
        engine.link_objects(&mut journal, &slots, &depths, identities)?;
        Ok(engine)
    }
}

impl Engine {
    fn link_objects(
        &mut self,
        journal: &mut Journal,
        slots: &[Vec<u32>; Kind::ALL.len()],
        depths: &Map<ObjectKey, u32>,
        identities: &Journal,
    ) -> Result<(), Refusal> {
        let of_kind = |kind: Kind| slots[kind as usize].iter().copied();
        for id in of_kind(Kind::LogicalRouter).map(RouterId) {
            let links = self.resolve_links(self.routers[id].spec());
            self.relink(journal, id, links);
        }
        self.load_groups(journal, of_kind(Kind::Group).map(GroupId).collect(), depths);
        for id in of_kind(Kind::SecurityPolicy).map(PolicyId) {
            let links = self.resolve_policy(self.policies[id].spec());
            self.install_policy(journal, id, links);
        }
        // Last, so that a port finds all that it becomes part of, and is looked at once.
        self.populate(journal);
        self.restore_vnis(journal, identities);
        self.settle(journal, 0);
        duplicate_address(journal).map_or(Ok(()), Err)
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
