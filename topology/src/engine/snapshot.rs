//! The whole state as values, and back.
//!
//! Everything derived is derived again on import. Only what history decided is carried along: uids,
//! revisions, the identities of domains, and the versions of items.

use super::api::Object;
use super::restore::Loading;
use super::state::Engine;
use crate::model::{Kind, Revision, Uid, Vni};
use crate::view::ItemKey;

/// The state of an engine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The revision of the last transaction.
    pub revision: Revision,
    /// The last uid given out.
    pub last_uid: u64,
    /// The last VNI given out.
    pub last_vni: u32,
    /// All objects, sorted by key.
    pub objects: Vec<Object>,
    /// The VNI of the domain of each switch and router, sorted by uid.
    pub vnis: Vec<(Uid, Vni)>,
    /// The versions of all items, sorted by key.
    pub versions: Vec<(ItemKey, Revision)>,
}

/// A snapshot that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot contradicts itself: {0}")]
pub struct SnapshotError(pub String);

impl Engine {
    /// The state as values.
    pub fn export(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            revision: self.revision,
            last_uid: self.last_uid,
            last_vni: self.last_vni,
            ..Snapshot::default()
        };
        for kind in Kind::ALL {
            snapshot.objects.extend(self.list(kind, None, None).cloned());
        }
        snapshot.objects.sort_by_cached_key(|object| object.resource.key());
        let vnis = &mut snapshot.vnis;
        vnis.extend(self.switches.iter().map(|(_, s)| (s.object.uid, self.domains[s.domain].vni)));
        vnis.extend(self.routers.iter().map(|(_, r)| (r.object.uid, self.domains[r.domain].vni)));
        vnis.sort_unstable();
        snapshot.versions = self.versions();
        snapshot
    }

    pub(super) fn versions(&self) -> Vec<(ItemKey, Revision)> {
        let mut versions: Vec<(ItemKey, Revision)> = Vec::new();
        versions.extend(self.ports.iter().map(|(_, p)| (ItemKey::Port(p.object.uid), p.version)));
        versions
            .extend(self.policies.iter().map(|(_, p)| (ItemKey::Policy(p.object.uid), p.version)));
        for (_, group) in self.groups.iter().filter(|(_, group)| !group.blocks.is_empty()) {
            versions.push((ItemKey::Blocks(group.object.uid), group.blocks_version));
        }
        for (_, domain) in self.domains.iter().filter(|(_, domain)| !domain.switches.is_empty()) {
            versions.push((ItemKey::Domain(domain.vni), domain.version));
            versions.push((ItemKey::Locators(domain.vni), domain.locators_version));
        }
        for (_, shard) in self.shards.iter() {
            let group = self.groups[shard.group].object.uid;
            let domain = self.domains[shard.domain].vni;
            versions.push((ItemKey::Shard { group, domain }, shard.version));
        }
        versions.sort_unstable();
        versions
    }

    /// An engine in the state of a snapshot. Its projections are, byte for byte, those of the
    /// engine the snapshot was taken of.
    pub fn import(snapshot: Snapshot) -> Result<Engine, SnapshotError> {
        let Snapshot { revision, last_uid, last_vni, objects, vnis, versions } = snapshot;
        let mut loading = Loading::default();
        loading.take(objects).map_err(|refusal| SnapshotError(refusal.to_string()))?;
        loading.finish(SnapshotEnd { revision, last_uid, last_vni, vnis, versions })
    }
}

/// What a [`Snapshot`] has besides its objects.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SnapshotEnd {
    /// The revision of the last transaction.
    pub revision: Revision,
    /// The last uid given out.
    pub last_uid: u64,
    /// The last VNI given out.
    pub last_vni: u32,
    /// The VNI of the domain of each switch and router.
    pub vnis: Vec<(Uid, Vni)>,
    /// The versions of all items.
    pub versions: Vec<(ItemKey, Revision)>,
}

impl SnapshotEnd {
    /// Each switch and router has a VNI, which is one that is given out; nothing else has.
    pub(super) fn check_vnis(&self, engine: &Engine) -> Result<(), SnapshotError> {
        let wrong = |problem: String| Err(SnapshotError(problem));
        let switches = engine.switches.iter().map(|(_, switch)| switch.object.uid);
        let routers = engine.routers.iter().map(|(_, router)| router.object.uid);
        let mut nodes: Vec<Uid> = switches.chain(routers).collect();
        let mut named: Vec<Uid> = self.vnis.iter().map(|&(uid, _)| uid).collect();
        nodes.sort_unstable();
        named.sort_unstable();
        if nodes != named {
            return wrong("the switches and routers are not those that have a VNI".to_owned());
        }
        match self.vnis.iter().find(|(_, vni)| vni.0 == 0 || *vni > Vni::MAX) {
            Some((uid, vni)) => wrong(format!("{vni}, of the object with uid {uid}, is no VNI")),
            None => Ok(()),
        }
    }

    /// Gives an engine with the objects what history decided.
    pub(super) fn complete(self, mut engine: Engine) -> Result<Engine, SnapshotError> {
        engine.last_uid = self.last_uid;
        for (key, version) in self.versions {
            engine.set_version(key, version);
        }
        engine.revision = self.revision;
        engine.last_vni = self.last_vni;
        engine.release_dead_domains();
        if engine.vnis.len() != engine.domains.iter().count() {
            return Err(SnapshotError("two routing domains have one VNI".into()));
        }
        Ok(engine)
    }
}
