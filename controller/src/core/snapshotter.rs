//! When a snapshot is taken. It is written beside the writer, which goes on.

use crate::config::Limits;
use crate::consensus::{LogStore, StoreError};
use crate::limits::LOG_ENTRIES_FIRST;
use crate::planted::{self, Bug};
use crate::state::{State, encode_snapshot};
use raft::eraftpb::{ConfState, Entry, Snapshot, SnapshotMetadata};
use std::sync::Arc;

/// Decides when the log has grown enough.
#[derive(Debug)]
pub(super) struct Snapshotter {
    limits: Limits,
    /// The last entry in the newest snapshot, or in the one that is being written.
    snapshot_index: u64,
    log_bytes: u64,
    is_running: bool,
    /// Another replica waits for a snapshot.
    is_wanted: bool,
}

/// A snapshot to be written: anywhere but where the replica is driven, which must not wait for it.
/// Its end is told to the replica.
#[derive(Debug)]
pub struct SnapshotJob<S> {
    pub(super) store: Arc<S>,
    pub(super) state: State,
    pub(super) conf_state: ConfState,
    /// Up to where the log may be cut afterwards.
    pub(super) compact_to: u64,
}

impl<S: LogStore> SnapshotJob<S> {
    /// The last log entry in the snapshot.
    pub fn index(&self) -> u64 {
        self.state.applied_index
    }

    /// Writes the snapshot, and cuts the log behind it.
    ///
    /// # Errors
    /// If the disk refuses. The log is whole without the snapshot; if the disk is at fault, the next
    /// write to the log says so.
    pub fn run(self) -> Result<(), StoreError> {
        let SnapshotJob { store, state, conf_state, compact_to } = self;
        let index = state.applied_index;
        let term = store.term(index)?;
        let conf_state = if planted::is(Bug::SnapshotWithoutMembership) {
            store.initial_state()?.1
        } else {
            conf_state
        };
        let metadata = SnapshotMetadata { conf_state: Some(conf_state), index, term };
        let data = encode_snapshot(&state);
        store.save_snapshot(&Snapshot { data: data.into(), metadata: Some(metadata) })?;
        store.compact(compact_to)
    }
}

impl Snapshotter {
    pub(super) fn new(limits: Limits, snapshot_index: u64) -> Snapshotter {
        Snapshotter { limits, snapshot_index, log_bytes: 0, is_running: false, is_wanted: false }
    }

    /// Takes an entry that is being applied.
    pub(super) fn process_entry(&mut self, entry: &Entry) {
        self.log_bytes += entry.data.len() as u64;
    }

    /// Another replica needs a snapshot of the present state.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// The state was replaced by a snapshot from elsewhere.
    pub(super) fn process_restored(&mut self, index: u64) {
        self.snapshot_index = index;
        self.log_bytes = 0;
    }

    /// A snapshot was written, or could not be.
    pub(super) fn process_done(&mut self) {
        self.is_running = false;
    }

    /// True if a snapshot is to be taken now.
    pub(super) fn is_due(&self, applied_index: u64) -> bool {
        let entries = applied_index.saturating_sub(self.snapshot_index);
        let has_grown = entries >= self.limits.snapshot_entries
            || self.log_bytes >= self.limits.snapshot_log_bytes;
        !self.is_running && entries > 0 && (has_grown || self.is_wanted)
    }

    /// A snapshot is about to be written. Returns up to where the log may be cut then: `needed` is the
    /// oldest entry after which another replica needs all.
    pub(super) fn begin(&mut self, applied_index: u64, needed: Option<u64>) -> u64 {
        self.is_running = true;
        self.is_wanted = false;
        self.snapshot_index = applied_index;
        self.log_bytes = 0;
        let kept = applied_index.saturating_sub(self.limits.log_entries_kept);
        // The very first entries go at once: see `membership`.
        kept.max(LOG_ENTRIES_FIRST).min(needed.unwrap_or(u64::MAX)).min(applied_index)
    }
}
