//! Lets the Raft core read a [`LogStore`].

use super::log::{LogStore, StoreError};
use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, StorageError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared store as the Raft core reads it. It never writes: see [`super::node`].
#[derive(Debug)]
pub(super) struct RaftStore<S> {
    store: Arc<S>,
    /// Set when a replica needs a snapshot, and the one that is kept will not do.
    wants_snapshot: Arc<AtomicBool>,
}

impl<S> RaftStore<S> {
    pub(super) fn new(store: Arc<S>, wants_snapshot: Arc<AtomicBool>) -> RaftStore<S> {
        RaftStore { store, wants_snapshot }
    }
}

impl<S: LogStore> raft::Storage for RaftStore<S> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let (mut hard_state, founders) = self.store.initial_state().map_err(to_raft)?;
        let snapshot = self.store.snapshot_metadata();
        // A commit index is written with whatever is written next, a snapshot at once. What is in a
        // snapshot was applied, and so it was committed.
        let snapshot_index = snapshot.as_ref().map_or(0, |metadata| metadata.index);
        hard_state.commit = hard_state.commit.max(snapshot_index);
        // The log is applied again from the snapshot on, changes of members included: the members to
        // begin with are those of the snapshot.
        let conf_state = snapshot.map_or(founders, |metadata| metadata.get_conf_state().clone());
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
        self.store.entries(low, high, bytes_max).map_err(to_raft)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.store.term(index).map_err(to_raft)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.store.bounds().first_index)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.store.bounds().last_index)
    }

    /// An offer of the snapshot, without its data: see [`super::transfer`].
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        match self.store.snapshot_metadata() {
            // A replica that is no member in a snapshot would not take it.
            Some(metadata)
                if metadata.index >= request_index && has(metadata.get_conf_state(), to) =>
            {
                Ok(Snapshot { data: Default::default(), metadata: Some(metadata) })
            }
            _ => {
                self.wants_snapshot.store(true, Ordering::Relaxed);
                // The core asks again.
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

/// True if a replica is a member of any kind.
pub(crate) fn has(members: &ConfState, id: u64) -> bool {
    let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave: _ } = members;
    [voters, learners, voters_outgoing, learners_next].iter().any(|ids| ids.contains(&id))
}

fn to_raft(error: StoreError) -> Error {
    Error::Store(match error {
        StoreError::Compacted { .. } => StorageError::Compacted,
        StoreError::Unavailable { .. } => StorageError::Unavailable,
        other => StorageError::Other(Box::new(other)),
    })
}
