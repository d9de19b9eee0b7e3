//! Deltas and full items, encoded once, within bounds.

use bytes::Bytes;
use spanwire_topology::engine::ItemChange;
use spanwire_topology::model::Revision;
use spanwire_topology::view::{ItemKey, VersionedItem};

/// What brings an item from one version to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updates {
    /// The version it leads to.
    pub version: Revision,
    /// Encoded updates, in order. Empty if the version held is the current one.
    pub updates: Vec<Bytes>,
}

/// How much was encoded and is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Deltas encoded since the start.
    pub deltas_encoded: u64,
    /// Full items encoded since the start.
    pub fulls_encoded: u64,
    /// Full items that were taken from the cache.
    pub fulls_reused: u64,
    /// Deltas dropped for lack of room.
    pub deltas_evicted: u64,
    /// Full items dropped for lack of room.
    pub fulls_evicted: u64,
    /// Deltas kept.
    pub deltas: u64,
    /// Bytes of the deltas kept.
    pub delta_bytes: u64,
    /// Full items kept.
    pub fulls: u64,
    /// Bytes of the full items kept.
    pub full_bytes: u64,
}

/// The recent deltas of every item, and a cache of full items, both encoded and bounded. One for
/// all sessions of a replica.
#[derive(Debug)]
pub struct ChangeLog {}

#[allow(unused_variables, clippy::unimplemented)] // bodies follow
impl ChangeLog {
    /// An empty log that keeps at most so many bytes of deltas and of full items.
    pub fn new(delta_bytes_max: usize, full_bytes_max: usize) -> ChangeLog {
        unimplemented!()
    }

    /// Takes a change of an item into the log. Must be called for every change of every item, once,
    /// in the order of revisions, before a session reads the state of that revision.
    pub fn record(&mut self, revision: Revision, change: &ItemChange) {
        unimplemented!()
    }

    /// What brings an item from the version that was current at revision `held` to the current
    /// one, if the log reaches back that far. `held` may be the item's version or any revision up
    /// to its next change.
    pub fn updates_since(&self, key: ItemKey, held: Revision) -> Option<Updates> {
        unimplemented!()
    }

    /// The encoded full item, from the cache, or from `item`, which is asked only if it is not
    /// there. `None` if `item` gives none.
    pub fn full(
        &mut self,
        key: ItemKey,
        item: impl FnOnce() -> Option<VersionedItem>,
    ) -> Option<(Revision, Bytes)> {
        unimplemented!()
    }

    /// How much was encoded and is kept.
    pub fn stats(&self) -> LogStats {
        unimplemented!()
    }
}
