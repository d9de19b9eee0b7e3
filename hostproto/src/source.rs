//! What a session reads from.

use crate::digest;
use crate::log::{ChangeLog, ToldRanges, Updates};
use crate::message::ClusterId;
use bytes::Bytes;
use spanwire_topology::Engine;
use spanwire_topology::engine::HostId;
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;

/// The state of the network as one host's session reads it. All answers of one source stand for
/// one revision; a session is given a source only when every change up to that revision has been
/// told to the session.
pub trait ViewSource {
    /// The revision of the state.
    fn revision(&self) -> Revision;
    /// The cluster.
    fn cluster_id(&self) -> ClusterId;
    /// Keys and versions of the items the host should have, sorted by key.
    fn host_items(&self) -> Vec<(ItemKey, Revision)>;
    /// Version and encoding of an item as a whole; `None` if there is no such item.
    fn full(&mut self, key: ItemKey) -> Option<(Revision, Bytes)>;
    /// What brings an item from its state at revision `held` to the present one: deltas or the
    /// whole, whichever is smaller. `None` if there is no such item.
    fn updates(&mut self, key: ItemKey, held: Revision) -> Option<Updates>;
    /// The digest of an item as a whole ([`digest::content`]); `None` if there is no such item.
    fn content(&mut self, key: ItemKey) -> Option<u64> {
        self.full(key).map(|(_, encoded)| digest::content(&encoded))
    }
    /// True if no deltas lead from the item's state at revision `held` to the present one. A source
    /// that does not know lists by ranges may say that they always do.
    fn is_past_history(&self, _key: ItemKey, _held: Revision) -> bool {
        false
    }
    /// What brings a list from the version `held` to the present one, by the ranges that the host told:
    /// those that differ or the whole, whichever is better. `None` if ranges are of no use here.
    fn updates_by_ranges(
        &mut self,
        _key: ItemKey,
        _held: Revision,
        _told: &ToldRanges,
    ) -> Option<Updates> {
        None
    }
}

/// The source of a host over the engine and the change log.
#[derive(Debug)]
pub struct EngineSource<'a> {
    /// The state.
    pub engine: &'a Engine,
    /// The log, into which every change of `engine` has been recorded.
    pub log: &'a mut ChangeLog,
    /// The host.
    pub host: HostId,
    /// The cluster.
    pub cluster_id: ClusterId,
}

impl ViewSource for EngineSource<'_> {
    fn revision(&self) -> Revision {
        self.engine.revision()
    }

    fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    fn host_items(&self) -> Vec<(ItemKey, Revision)> {
        self.engine.host_items(self.host)
    }

    fn full(&mut self, key: ItemKey) -> Option<(Revision, Bytes)> {
        self.log.full(key, || self.engine.item(key))
    }

    fn updates(&mut self, key: ItemKey, held: Revision) -> Option<Updates> {
        self.log.updates_or_full(key, held, || self.engine.item(key))
    }

    fn content(&mut self, key: ItemKey) -> Option<u64> {
        self.log.content(key, || self.engine.item(key))
    }

    fn is_past_history(&self, key: ItemKey, held: Revision) -> bool {
        !self.log.reaches(key, held)
    }

    fn updates_by_ranges(
        &mut self,
        key: ItemKey,
        held: Revision,
        told: &ToldRanges,
    ) -> Option<Updates> {
        self.log.updates_by_ranges(key, held, told, || self.engine.item(key))
    }
}
