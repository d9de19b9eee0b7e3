//! What readers of a log ask for most, in memory: all but the older entries.

use super::{LogBounds, Write};
use prost::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};
use std::collections::VecDeque;

/// The newest entries are kept in memory up to this size: every entry is read again when it is
/// committed, moments after it was written. Those that only the journal has are kept in any case.
const TAIL_CACHE_BYTES_MAX: usize = 16 << 20;

/// Changed only after it is durable.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Index and term of the last entry that was compacted away.
    pub(super) compacted: (u64, u64),
    pub(super) last_index: u64,
    pub(super) snapshot: Option<SnapshotMetadata>,
    pub(super) hard_state: HardState,
    pub(super) conf_state: ConfState,
    /// Counted before it is durable: a number that was given is not given again.
    pub(super) commits: u64,
    /// The database has the entries before this one only; all of them if `None`.
    pub(super) unsaved_from: Option<u64>,
    /// The newest entries, in order; the last is the last of the log.
    pub(super) cache: VecDeque<Entry>,
    pub(super) cache_bytes: usize,
}

impl State {
    pub(super) fn bounds(&self) -> LogBounds {
        LogBounds { first_index: self.compacted.0 + 1, last_index: self.last_index }
    }

    /// Gives the next commit its number.
    pub(super) fn next_commit(&mut self) -> u64 {
        self.commits += 1;
        self.commits
    }

    /// The first entry in memory. Those after it are, too.
    pub(super) fn cache_first_index(&self) -> u64 {
        self.cache.front().map_or(u64::MAX, |entry| entry.index)
    }

    /// The entries from `low` on that are in memory.
    pub(super) fn cached(&self, low: u64) -> impl Iterator<Item = &Entry> {
        let skip = low.saturating_sub(self.cache_first_index());
        self.cache.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// Adds an entry to the log.
    pub(super) fn remember(&mut self, entry: Entry) {
        self.last_index = entry.index;
        self.cache_bytes += entry.encoded_len();
        self.cache.push_back(entry);
        self.evict();
    }

    fn evict(&mut self) {
        let unsaved_from = self.unsaved_from.unwrap_or(u64::MAX);
        while self.cache_bytes > TAIL_CACHE_BYTES_MAX && self.cache_first_index() < unsaved_from {
            let oldest = self.cache.pop_front().unwrap_or_default();
            self.cache_bytes -= oldest.encoded_len();
        }
    }

    /// Takes a write without its snapshot. With `is_saved` the database has it, too.
    pub(super) fn apply(&mut self, write: &Write, is_saved: bool) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(conf_state) = &write.conf_state {
            self.conf_state = conf_state.clone();
        }
        let Some(first) = write.entries.first() else { return };
        while self.cache.back().is_some_and(|entry| entry.index >= first.index) {
            let newest = self.cache.pop_back().unwrap_or_default();
            self.cache_bytes -= newest.encoded_len();
        }
        if !is_saved {
            self.unsaved_from = Some(self.unsaved_from.unwrap_or(u64::MAX).min(first.index));
        }
        for entry in &write.entries {
            self.remember(entry.clone());
        }
    }

    /// Takes a snapshot that replaces the log.
    pub(super) fn restore(&mut self, metadata: &SnapshotMetadata) {
        self.compacted = (metadata.index, metadata.term);
        self.last_index = metadata.index;
        self.conf_state = metadata.get_conf_state().clone();
        self.snapshot = Some(metadata.clone());
        self.cache.clear();
        self.cache_bytes = 0;
    }

    /// Forgets the entries up to and with `index`.
    pub(super) fn compact(&mut self, index: u64, term: u64) {
        self.compacted = (index, term);
        while self.cache.front().is_some_and(|entry| entry.index <= index) {
            let oldest = self.cache.pop_front().unwrap_or_default();
            self.cache_bytes -= oldest.encoded_len();
        }
    }

    /// What the database may not have.
    pub(super) fn unsaved(&self) -> Write {
        let entries = self.unsaved_from.map(|from| self.cached(from).cloned().collect());
        Write {
            snapshot: None,
            entries: entries.unwrap_or_default(),
            hard_state: Some(self.hard_state),
            conf_state: Some(self.conf_state.clone()),
        }
    }

    /// The database has everything.
    pub(super) fn process_saved(&mut self) {
        self.unsaved_from = None;
        self.evict();
    }
}
