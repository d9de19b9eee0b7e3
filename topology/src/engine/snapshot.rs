//! The whole state as values, and back.
//!
//! Everything derived is derived again on import. Only what history decided is carried along: uids,
//! revisions, the identities of domains, and the versions of items.

use super::api::Object;
use super::journal::Journal;
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
        let mut engine = Engine::new();
        // The same checks as for a transaction: a snapshot is input like any other.
        let refused = |refusal: super::Refusal| SnapshotError(refusal.to_string());
        let depths = engine.check_state(&snapshot.objects).map_err(refused)?;
        let mut uids: Vec<Uid> = snapshot.objects.iter().map(|object| object.uid).collect();
        uids.sort_unstable();
        if uids.windows(2).any(|pair| pair[0] == pair[1])
            || uids.last().is_some_and(|uid| uid.0 > snapshot.last_uid)
        {
            return Err(SnapshotError("two objects have one uid, or one was never given".into()));
        }
        check_vnis(&snapshot.objects, &snapshot.vnis)?;
        let mut identities = Journal::default();
        identities.vnis.extend(snapshot.vnis);
        engine.load_objects(snapshot.objects, &depths, &identities).map_err(refused)?;
        engine.last_uid = snapshot.last_uid;
        for (key, version) in snapshot.versions {
            engine.set_version(key, version);
        }
        engine.revision = snapshot.revision;
        engine.last_vni = snapshot.last_vni;
        engine.release_dead_domains();
        if engine.vnis.len() != engine.domains.iter().count() {
            return Err(SnapshotError("two routing domains have one VNI".into()));
        }
        Ok(engine)
    }
}

/// Each switch and router has a VNI, which is one that is given out; nothing else has.
fn check_vnis(objects: &[Object], vnis: &[(Uid, Vni)]) -> Result<(), SnapshotError> {
    let wrong = |problem: String| Err(SnapshotError(problem));
    let mut nodes: Vec<Uid> = objects
        .iter()
        .filter(|object| {
            matches!(object.resource.spec.kind(), Kind::LogicalSwitch | Kind::LogicalRouter)
        })
        .map(|object| object.uid)
        .collect();
    let mut named: Vec<Uid> = vnis.iter().map(|&(uid, _)| uid).collect();
    nodes.sort_unstable();
    named.sort_unstable();
    if nodes != named {
        return wrong("the switches and routers are not those that have a VNI".to_owned());
    }
    match vnis.iter().find(|(_, vni)| vni.0 == 0 || *vni > Vni::MAX) {
        Some((uid, vni)) => wrong(format!("{vni}, of the object with uid {uid}, is no VNI")),
        None => Ok(()),
    }
}
