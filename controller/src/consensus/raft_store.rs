//! Lets the Raft core read a [`LogStore`].

use super::log::{LogStore, StoreError};
use raft::eraftpb::{Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, StorageError};
use std::sync::Arc;

/// A shared store as the Raft core reads it. It never writes: see [`super::node`].
#[derive(Debug)]
pub(super) struct RaftStore<S>(pub(super) Arc<S>);

impl<S: LogStore> raft::Storage for RaftStore<S> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let (mut hard_state, conf_state) = self.0.initial_state().map_err(to_raft)?;
        // A commit index is written with whatever is written next, a snapshot at once. What is in a
        // snapshot was applied, and so it was committed.
        let snapshot_index = self.0.snapshot_metadata().map_or(0, |metadata| metadata.index);
        hard_state.commit = hard_state.commit.max(snapshot_index);
        Ok(RaftState { hard_state, conf_state })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        self.0.entries(low, high, bytes_max).map_err(to_raft)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.0.term(index).map_err(to_raft)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.0.bounds().first_index)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.0.bounds().last_index)
    }

    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        match self.0.snapshot().map_err(to_raft)? {
            Some(snapshot) if snapshot.get_metadata().index >= request_index => Ok(snapshot),
            // The next regular snapshot will do: the core asks again.
            _ => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
        }
    }
}

fn to_raft(error: StoreError) -> Error {
    Error::Store(match error {
        StoreError::Compacted { .. } => StorageError::Compacted,
        StoreError::Unavailable { .. } => StorageError::Unavailable,
        other => StorageError::Other(Box::new(other)),
    })
}
