//! Updates by ranges, kept for hosts that hold the same and tell the same of it.

use super::Updates;
use crate::limits::RANGES_CACHE_PER_ITEM_MAX;
use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;

/// The ranges of a list, as a host told them: packed, which is how sessions keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldRanges {
    /// Where they begin.
    pub bounds: Bytes,
    /// Their digests.
    pub digests: Bytes,
}

impl ToldRanges {
    /// What they take.
    pub fn bytes(&self) -> usize {
        self.bounds.len() + self.digests.len()
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    held: Revision,
    told: ToldRanges,
    updates: Updates,
}

impl Entry {
    fn bytes(&self) -> usize {
        let updates = self.updates.updates.iter().map(Bytes::len);
        self.told.bytes() + updates.sum::<usize>() + size_of::<Entry>()
    }
}

/// Updates to the present versions, by what they were asked for: compared in full, as hosts choose it.
#[derive(Debug)]
pub(super) struct RangedCache {
    pub(super) entries: HashMap<ItemKey, Vec<Entry>, FixedState>,
    pub(super) bytes: usize,
    pub(super) bytes_max: usize,
}

impl RangedCache {
    pub(super) fn new(bytes_max: usize) -> RangedCache {
        RangedCache { entries: HashMap::default(), bytes: 0, bytes_max }
    }

    pub(super) fn clear(&mut self) {
        self.entries = HashMap::default();
        self.bytes = 0;
    }

    /// The item has changed: what leads to its old version is of no use.
    pub(super) fn forget(&mut self, key: ItemKey) {
        if self.bytes > 0 {
            let entries = self.entries.remove(&key);
            self.bytes -= entries.iter().flatten().map(Entry::bytes).sum::<usize>();
        }
    }

    pub(super) fn get(&self, key: ItemKey, held: Revision, told: &ToldRanges) -> Option<Updates> {
        let mut entries = self.entries.get(&key)?.iter();
        let entry = entries.find(|entry| entry.held == held && entry.told == *told)?;
        Some(entry.updates.clone())
    }

    /// Keeps an update. Without room everything is dropped first: hosts that come back together come
    /// for the same, and soon.
    pub(super) fn insert(
        &mut self,
        key: ItemKey,
        held: Revision,
        told: ToldRanges,
        updates: Updates,
    ) {
        let entry = Entry { held, told, updates };
        let bytes = entry.bytes();
        if bytes > self.bytes_max {
            return;
        }
        if self.bytes + bytes > self.bytes_max {
            self.clear();
        }
        self.bytes += bytes;
        let entries = self.entries.entry(key).or_default();
        if entries.len() >= RANGES_CACHE_PER_ITEM_MAX {
            self.bytes -= entries.remove(0).bytes();
        }
        entries.push(entry);
    }
}
