//! Deltas and full items, encoded once, within bounds.

mod cache;
mod ranged;

use crate::codec::{encode_delta, encode_full, encode_ranges, held_ranges_from_wire};
use crate::digest;
use crate::limits::{
    CACHE_BYTES_MAX_DEFAULT, CONTENTS_MAX, LOG_BYTES_MAX_DEFAULT, LOG_DELTAS_PER_ITEM_MAX,
    RANGES_CACHE_BYTES_MAX, RANGES_PERCENT_MAX,
};
use crate::ranges;
use bytes::Bytes;
use cache::FullCache;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ranged::RangedCache;
pub use ranged::ToldRanges;
use spanwire_topology::engine::{ItemChange, ItemChangeKind};
use spanwire_topology::model::Revision;
use spanwire_topology::view::{ItemKey, VersionedItem};
use std::collections::VecDeque;

/// Deltas of so few bytes are sent without a look at how long the whole item would be.
const DELTA_BYTES_UNCOMPARED: usize = 4096;

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
    /// What the full items kept count for: their bytes, and what it takes to keep each.
    pub full_bytes: u64,
    /// Updates by ranges encoded since the start.
    pub ranges_encoded: u64,
    /// Updates by ranges that were encoded for an earlier host.
    pub ranges_reused: u64,
}

/// One recent change of an item.
#[derive(Debug)]
struct Delta {
    base_version: Revision,
    version: Revision,
    update: Bytes,
}

/// The recent deltas of every item, and caches of full items and of lists by ranges, all encoded and
/// bounded. One for all sessions of a replica.
///
/// The deltas of an item are a chain: each starts from the version that the one before leads to,
/// and the last leads to the current version. A change that is no delta ends the chain, and the
/// oldest are dropped when there is no room; so a chain is always whole from some version on.
#[derive(Debug)]
pub struct ChangeLog {
    chains: HashMap<ItemKey, VecDeque<Delta>, FixedState>,
    /// Keys and versions of all deltas in the order in which they came; also of some that are gone.
    order: VecDeque<(ItemKey, Revision)>,
    cache: FullCache,
    /// Digests of the present items, of those that hosts were checked by.
    contents: HashMap<ItemKey, u64, FixedState>,
    /// What brings hosts from old versions of the present items, by ranges.
    ranged: RangedCache,
    delta_bytes_max: usize,
    stats: LogStats,
}

impl Default for ChangeLog {
    fn default() -> ChangeLog {
        ChangeLog::new(LOG_BYTES_MAX_DEFAULT, CACHE_BYTES_MAX_DEFAULT)
    }
}

impl ChangeLog {
    /// An empty log that keeps at most so many bytes of deltas and of full items.
    pub fn new(delta_bytes_max: usize, full_bytes_max: usize) -> ChangeLog {
        ChangeLog {
            chains: HashMap::default(),
            order: VecDeque::new(),
            cache: FullCache::new(full_bytes_max),
            contents: HashMap::default(),
            ranged: RangedCache::new(RANGES_CACHE_BYTES_MAX),
            delta_bytes_max,
            stats: LogStats::default(),
        }
    }

    /// Forgets all items, and how they changed: the state was replaced by another, and how the two
    /// differ nobody has said.
    pub fn reset(&mut self) {
        self.chains.clear();
        self.order.clear();
        self.cache.clear();
        self.contents.clear();
        self.ranged.clear();
        self.stats.delta_bytes = 0;
        self.stats.deltas = 0;
    }

    /// Takes a change of an item into the log. Must be called for every change of every item, once,
    /// in the order of revisions, before a session reads the state of that revision.
    pub fn record(&mut self, revision: Revision, change: &ItemChange) {
        let ItemChange { key, previous_version, kind } = change;
        self.cache.forget(*key);
        if !self.contents.is_empty() {
            self.contents.remove(key);
        }
        self.ranged.forget(*key);
        match kind {
            ItemChangeKind::Created | ItemChangeKind::Replaced | ItemChangeKind::Removed => {
                self.drop_chain(*key);
            }
            ItemChangeKind::Delta(delta) => {
                let update = encode_delta(*key, *previous_version, revision, delta);
                self.stats.deltas_encoded += 1;
                self.push(
                    *key,
                    Delta { base_version: *previous_version, version: revision, update },
                );
            }
        }
        self.make_room();
    }

    /// What brings an item from the version that was current at revision `held` to the current
    /// one, if the log reaches back that far. `held` may be the item's version or any revision up
    /// to its next change.
    pub fn updates_since(&self, key: ItemKey, held: Revision) -> Option<Updates> {
        let chain = self.chains.get(&key)?;
        let version = chain.back()?.version;
        let first = first_since(chain, held)?;
        let updates = chain.iter().skip(first).map(|delta| delta.update.clone()).collect();
        Some(Updates { version, updates })
    }

    /// True if the log has the deltas that lead from the version that was current at revision `held`
    /// to the present one.
    pub fn reaches(&self, key: ItemKey, held: Revision) -> bool {
        self.chains.get(&key).is_some_and(|chain| first_since(chain, held).is_some())
    }

    /// What brings a list from the version `held` to the present one, by the ranges that the host told
    /// of what it holds: those that differ, or the whole where most do. Hosts that were away equally
    /// tell the same, and share the work and the bytes. `item` is asked only if its content is needed.
    /// `None` if it gives none, or if the ranges are none of such an item, or of a later version.
    pub fn updates_by_ranges(
        &mut self,
        key: ItemKey,
        held: Revision,
        told: &ToldRanges,
        item: impl FnOnce() -> Option<VersionedItem>,
    ) -> Option<Updates> {
        if let Some(updates) = self.ranged.get(key, held, told) {
            self.stats.ranges_reused += 1;
            return Some(updates);
        }
        let VersionedItem { version, item } = item().filter(|item| item.version > held)?;
        let (_, full) = self.full(key, || Some(VersionedItem { version, item: item.clone() }))?;
        let ranges = held_ranges_from_wire(key, &told.bounds, &told.digests).ok()?;
        let delta = ranges::difference(&ranges, &item)?;
        let by_ranges = encode_ranges(key, held, version, &delta);
        self.stats.ranges_encoded += 1;
        let is_worth_it = by_ranges.len() * 100 <= full.len() * RANGES_PERCENT_MAX;
        let updates = vec![if is_worth_it { by_ranges } else { full }];
        let updates = Updates { version, updates };
        self.ranged.insert(key, held, told.clone(), updates.clone());
        Some(updates)
    }

    /// The encoded full item, from the cache, or from `item`, which is asked only if it is not
    /// there. What only one host can have is not kept. `None` if `item` gives none.
    pub fn full(
        &mut self,
        key: ItemKey,
        item: impl FnOnce() -> Option<VersionedItem>,
    ) -> Option<(Revision, Bytes)> {
        if let Some(full) = self.cache.get(key) {
            self.stats.fulls_reused += 1;
            return Some(full);
        }
        let VersionedItem { version, item } = item()?;
        let full = encode_full(key, version, &item);
        self.stats.fulls_encoded += 1;
        // One host has a port, and asks for it once: it would only take the place of what many ask for.
        if !matches!(key, ItemKey::Port(_)) {
            self.stats.fulls_evicted += self.cache.insert(key, version, full.clone());
        }
        Some((version, full))
    }

    /// The digest of the present item, kept until it changes: one for all hosts that are checked.
    /// `item` is asked only if it is not known. `None` if `item` gives none.
    pub fn content(
        &mut self,
        key: ItemKey,
        item: impl FnOnce() -> Option<VersionedItem>,
    ) -> Option<u64> {
        if let Some(content) = self.contents.get(&key) {
            return Some(*content);
        }
        // Not by way of the cache: it is for what hosts are sent, and a check of many would empty it.
        let VersionedItem { version, item } = item()?;
        let content = digest::content(&encode_full(key, version, &item));
        if self.contents.len() >= CONTENTS_MAX {
            self.contents.clear();
        }
        self.contents.insert(key, content);
        Some(content)
    }

    /// What brings an item from its state at revision `held` to the present one: deltas or the
    /// whole, whichever is smaller. `item` gives the present item, and is asked only if its encoded
    /// form is needed and not in the cache. `None` if it gives none.
    pub fn updates_or_full(
        &mut self,
        key: ItemKey,
        held: Revision,
        item: impl FnOnce() -> Option<VersionedItem>,
    ) -> Option<Updates> {
        let deltas = self.updates_since(key, held);
        if let Some(deltas) = deltas {
            let delta_bytes: usize = deltas.updates.iter().map(Bytes::len).sum();
            let full_bytes = match self.cache.len_of(key) {
                Some(len) => len,
                None if delta_bytes <= DELTA_BYTES_UNCOMPARED => return Some(deltas),
                None => self.full(key, item)?.1.len(),
            };
            if delta_bytes <= full_bytes {
                return Some(deltas);
            }
            // It is in the cache by now, or larger than the whole cache.
            return match self.cache.get(key) {
                Some((version, full)) => {
                    self.stats.fulls_reused += 1;
                    Some(Updates { version, updates: vec![full] })
                }
                None => Some(deltas),
            };
        }
        let (version, full) = self.full(key, item)?;
        let updates = if version > held { vec![full] } else { Vec::new() };
        Some(Updates { version, updates })
    }

    /// How much was encoded and is kept.
    pub fn stats(&self) -> LogStats {
        let (fulls, full_bytes) = self.cache.size();
        LogStats { fulls: fulls as u64, full_bytes: full_bytes as u64, ..self.stats }
    }

    fn push(&mut self, key: ItemKey, delta: Delta) {
        let chain = self.chains.entry(key).or_default();
        // A gap means that a change was not recorded: what came before is of no use.
        let follows = chain.back().is_none_or(|last| last.version == delta.base_version);
        if !follows {
            self.drop_chain(key);
        }
        self.order.push_back((key, delta.version));
        self.stats.deltas += 1;
        self.stats.delta_bytes += delta.update.len() as u64;
        let chain = self.chains.entry(key).or_default();
        chain.push_back(delta);
        if chain.len() > LOG_DELTAS_PER_ITEM_MAX {
            self.drop_oldest(key);
            self.stats.deltas_evicted += 1;
        }
    }

    /// Drops the oldest delta of an item.
    fn drop_oldest(&mut self, key: ItemKey) {
        let Some(chain) = self.chains.get_mut(&key) else { return };
        if let Some(delta) = chain.pop_front() {
            self.stats.deltas -= 1;
            self.stats.delta_bytes -= delta.update.len() as u64;
        }
        if chain.is_empty() {
            self.chains.remove(&key);
        }
    }

    fn drop_chain(&mut self, key: ItemKey) {
        for delta in self.chains.remove(&key).into_iter().flatten() {
            self.stats.deltas -= 1;
            self.stats.delta_bytes -= delta.update.len() as u64;
        }
    }

    /// Drops the oldest deltas of all until the rest is within the bound.
    fn make_room(&mut self) {
        while self.stats.delta_bytes > self.delta_bytes_max as u64 {
            let Some((key, version)) = self.order.pop_front() else { break };
            if self.is_oldest(key, version) {
                self.drop_oldest(key);
                self.stats.deltas_evicted += 1;
            }
        }
        // Entries of deltas that are gone cost as much as a delta; they may double the queue and
        // no more.
        const SLACK: u64 = 1024;
        if self.order.len() as u64 > 2 * self.stats.deltas + SLACK {
            let chains = &self.chains;
            self.order.retain(|(key, version)| {
                chains
                    .get(key)
                    .and_then(|chain| chain.front())
                    .is_some_and(|d| d.version <= *version)
            });
        }
    }

    fn is_oldest(&self, key: ItemKey, version: Revision) -> bool {
        let oldest = self.chains.get(&key).and_then(|chain| chain.front());
        oldest.is_some_and(|delta| delta.version == version)
    }
}

/// Where a chain goes on from the version that was current at a revision; `None` if it does not reach
/// back so far.
fn first_since(chain: &VecDeque<Delta>, held: Revision) -> Option<usize> {
    // Nothing changed between the base of the first delta behind `held` and that delta: if the
    // base is not behind `held` too, it is the version that was current at `held`.
    let first = chain.partition_point(|delta| delta.version <= held);
    if chain.get(first).is_some_and(|delta| delta.base_version > held) {
        return None;
    }
    Some(first)
}

#[cfg(test)]
mod ranged_tests;
#[cfg(test)]
mod tests;
