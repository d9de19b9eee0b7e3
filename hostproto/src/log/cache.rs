//! Encoded full items within a bound; the least recently used are dropped first.
//!
//! Most items are small, so that the bound counts what it takes to keep them as well.

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;
use std::collections::BTreeMap;

/// What an item takes besides its bytes: its places in both tables, and what counts who shares it.
pub(super) const ENTRY_BYTES: usize = 192;

/// What an item of so many bytes counts for.
fn weight(bytes: &Bytes) -> usize {
    bytes.len() + ENTRY_BYTES
}

#[derive(Debug)]
struct Entry {
    version: Revision,
    bytes: Bytes,
    /// Its place in `by_use`.
    used: u64,
}

#[derive(Debug)]
pub(super) struct FullCache {
    entries: HashMap<ItemKey, Entry, FixedState>,
    /// Keys in the order of their last use.
    by_use: BTreeMap<u64, ItemKey>,
    /// Counts uses.
    clock: u64,
    bytes: usize,
    bytes_max: usize,
}

impl FullCache {
    pub(super) fn new(bytes_max: usize) -> FullCache {
        FullCache {
            entries: HashMap::default(),
            by_use: BTreeMap::new(),
            clock: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Forgets all items.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_use.clear();
        self.bytes = 0;
    }

    /// The item, which has now been used.
    pub(super) fn get(&mut self, key: ItemKey) -> Option<(Revision, Bytes)> {
        let entry = self.entries.get_mut(&key)?;
        self.by_use.remove(&entry.used);
        self.clock += 1;
        entry.used = self.clock;
        self.by_use.insert(entry.used, key);
        Some((entry.version, entry.bytes.clone()))
    }

    /// The length of the item, which is not a use.
    pub(super) fn len_of(&self, key: ItemKey) -> Option<usize> {
        self.entries.get(&key).map(|entry| entry.bytes.len())
    }

    /// Keeps an item, and returns how many others had to go. An item larger than the whole cache
    /// is not kept.
    pub(super) fn insert(&mut self, key: ItemKey, version: Revision, bytes: Bytes) -> u64 {
        self.forget(key);
        if weight(&bytes) > self.bytes_max {
            return 0;
        }
        self.clock += 1;
        self.bytes += weight(&bytes);
        self.by_use.insert(self.clock, key);
        self.entries.insert(key, Entry { version, bytes, used: self.clock });
        let mut evicted = 0;
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.by_use.first_key_value() else { break };
            self.forget(*oldest);
            evicted += 1;
        }
        evicted
    }

    pub(super) fn forget(&mut self, key: ItemKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.by_use.remove(&entry.used);
            self.bytes -= weight(&entry.bytes);
        }
    }

    /// How many items there are, and what they count for.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}
