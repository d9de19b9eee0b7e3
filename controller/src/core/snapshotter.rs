//! When a snapshot is taken, and how: beside the writer, so that it goes on.

use crate::config::Limits;
use crate::consensus::{LogStore, StoreError};
use crate::shared::Shared;
use crate::state::encode_snapshot;
use crate::telemetry;
use raft::eraftpb::{Entry, Snapshot, SnapshotMetadata};
use spanwire_topology::engine;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// Takes snapshots when the log has grown, and cuts the log behind them.
pub(super) struct Snapshotter<S> {
    store: Arc<S>,
    shared: Arc<Shared>,
    limits: Limits,
    /// The last entry in the newest snapshot, or in the one that is being written.
    snapshot_index: u64,
    log_bytes: u64,
    running: Option<JoinHandle<()>>,
}

impl<S: LogStore> Snapshotter<S> {
    pub(super) fn new(
        store: Arc<S>,
        shared: Arc<Shared>,
        limits: Limits,
        snapshot_index: u64,
    ) -> Snapshotter<S> {
        Snapshotter { store, shared, limits, snapshot_index, log_bytes: 0, running: None }
    }

    /// Takes an entry that is being applied.
    pub(super) fn process_entry(&mut self, entry: &Entry) {
        self.log_bytes += entry.data.len() as u64;
    }

    /// Takes a snapshot if the log has grown enough since the last one. Called between two steps of
    /// the replica: the state is that of `applied_index`.
    pub(super) fn process_applied(&mut self, applied_index: u64) {
        let entries = applied_index.saturating_sub(self.snapshot_index);
        let is_due = entries >= self.limits.snapshot_entries
            || self.log_bytes >= self.limits.snapshot_log_bytes;
        let is_running = self.running.as_ref().is_some_and(|thread| !thread.is_finished());
        if !is_due || is_running {
            return;
        }
        // Sharing the objects is quick; encoding and writing them is not, and happens beside.
        let state = self.shared.state.read().export();
        let (store, shared) = (self.store.clone(), self.shared.clone());
        let keep = self.limits.log_entries_kept;
        let thread = Builder::new().name("spanwire-snapshot".to_owned()).spawn(move || {
            match save(&*store, &state, applied_index, keep) {
                Ok(()) => {
                    shared.metrics.snapshots.inc();
                    telemetry::snapshot_taken(applied_index);
                }
                // The log is whole without it. If the disk is at fault, the next write says so.
                Err(error) => telemetry::snapshot_failed(&error),
            }
        });
        match thread {
            Ok(thread) => {
                self.running = Some(thread);
                self.snapshot_index = applied_index;
                self.log_bytes = 0;
            }
            Err(error) => telemetry::snapshot_failed(&error),
        }
    }

    /// Waits for a snapshot that is being written.
    pub(super) fn finish(self) {
        if let Some(thread) = self.running {
            let _ = thread.join();
        }
    }
}

fn save(
    store: &impl LogStore,
    state: &engine::Snapshot,
    applied_index: u64,
    keep: u64,
) -> Result<(), StoreError> {
    let (_, conf_state) = store.initial_state()?;
    let term = store.term(applied_index)?;
    let metadata = SnapshotMetadata { conf_state: Some(conf_state), index: applied_index, term };
    let data = encode_snapshot(state, applied_index);
    store.save_snapshot(&Snapshot { data: data.into(), metadata: Some(metadata) })?;
    store.compact(applied_index.saturating_sub(keep))
}
