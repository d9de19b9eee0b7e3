//! States of the past, made again from the log: for questions about how things were.
//!
//! ```text
//!  newest snapshot ──restore──► Engine ──entries up to the revision──► the state as it was
//! ```
//!
//! The same as a replica does when it starts, beside the writer and without its lock. History
//! reaches back to the newest snapshot, or to the beginning while there is none.

use crate::consensus::{LogStore, StoreError};
use crate::limits::{PAST_READ_BYTES, PAST_TRIES_MAX};
use crate::state::{SnapshotError, UnknownCommand, restore};
use crate::telemetry;
use parking_lot::Mutex;
use raft::eraftpb::EntryType;
use spanwire_topology::Engine;
use spanwire_topology::model::Revision;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Why a state of the past cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// History does not reach back so far.
    #[error("revision {asked} is gone: history reaches back to revision {oldest}")]
    OutOfReach {
        /// The revision that was asked for.
        asked: Revision,
        /// The oldest that can be had.
        oldest: Revision,
    },
    /// The log was cut again and again while it was read.
    #[error("the log was cut while it was read: try again")]
    Cut,
    /// The replica has stopped.
    #[error("the controller is stopping")]
    Stopped,
    /// The log cannot be read.
    #[error(transparent)]
    Store(StoreError),
    /// The snapshot is not a state.
    #[error("the snapshot cannot be restored: {0}")]
    Restore(#[from] SnapshotError),
    /// The log holds what this release does not know.
    #[error(transparent)]
    UnknownCommand(#[from] UnknownCommand),
}

impl From<StoreError> for PastError {
    fn from(error: StoreError) -> PastError {
        match error {
            StoreError::Compacted { .. } => PastError::Cut,
            error => PastError::Store(error),
        }
    }
}

/// A state as it was.
#[derive(Debug)]
pub struct PastState {
    /// The revision that was asked for.
    asked: Revision,
    /// The state. Its revision is that of the last transaction up to then.
    pub engine: Engine,
}

/// Makes states of the past, and keeps the last one.
#[derive(Debug)]
pub struct Past {
    /// Weak, because the log belongs to the core: its files are free once that has stopped.
    store: Weak<dyn LogStore>,
    kept: Mutex<Option<Arc<PastState>>>,
    uses: AtomicU64,
}

impl Past {
    /// The past as a log has it.
    pub fn new(store: Weak<dyn LogStore>) -> Past {
        Past { store, kept: Mutex::new(None), uses: AtomicU64::new(0) }
    }

    /// The state at a revision, which the present state must have reached. Blocks while it is made;
    /// who asks for the one that was asked for last has it at once.
    ///
    /// # Errors
    /// [`PastError::OutOfReach`] names the oldest revision that there is.
    pub fn at(&self, revision: Revision) -> Result<Arc<PastState>, PastError> {
        // Held while the state is made: who asks for the same one meanwhile waits for it.
        let mut kept = self.kept.lock();
        self.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(state) = kept.as_ref().filter(|state| state.asked == revision) {
            return Ok(state.clone());
        }
        *kept = None; // two states at one time are enough: the present one and this
        let store = self.store.upgrade().ok_or(PastError::Stopped)?;
        let started = Instant::now();
        let engine = rebuild(&*store, revision)?;
        telemetry::past_state_made(revision, started.elapsed());
        let state = Arc::new(PastState { asked: revision, engine });
        *kept = Some(state.clone());
        Ok(state)
    }

    /// How often a state was asked for so far.
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Gives the memory back unless a state was asked for since [`Past::uses`] gave this.
    pub fn forget_unless_used_since(&self, uses: u64) {
        let mut kept = self.kept.lock();
        if self.uses() == uses {
            *kept = None;
        }
    }
}

fn rebuild(store: &dyn LogStore, revision: Revision) -> Result<Engine, PastError> {
    for _ in 0..PAST_TRIES_MAX {
        match try_rebuild(store, revision) {
            // A newer snapshot was taken in between: begin again with that.
            Err(PastError::Cut) => {}
            result => return result,
        }
    }
    Err(PastError::Cut)
}

fn try_rebuild(store: &dyn LogStore, revision: Revision) -> Result<Engine, PastError> {
    let oldest = store.snapshot_metadata().map_or(0, |metadata| metadata.index);
    if revision < oldest {
        return Err(PastError::OutOfReach { asked: revision, oldest });
    }
    let taken = store.snapshot().map_err(|error| match store.snapshot_metadata() {
        // The file that was to be read has gone for a newer one.
        Some(metadata) if metadata.index != oldest => PastError::Cut,
        _ => error.into(),
    })?;
    let restored = taken.map(|snapshot| restore(&snapshot.data)).transpose()?;
    let mut state = restored.unwrap_or_default();
    if revision < state.applied_index {
        return Err(PastError::OutOfReach { asked: revision, oldest: state.applied_index });
    }
    while state.applied_index < revision {
        let next = state.applied_index + 1;
        let entries = store.entries(next, revision + 1, PAST_READ_BYTES)?;
        // The log can be cut between the look at its bounds and the reading.
        if entries.first().is_none_or(|entry| entry.index != next) {
            return Err(PastError::Cut);
        }
        for entry in &entries {
            if entry.get_entry_type() == EntryType::EntryNormal {
                state.apply_command(entry)?;
            }
            state.applied_index = entry.index;
        }
    }
    Ok(state.engine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{MemoryLog, Write};
    use crate::state::{RequestId, State, encode_command, encode_snapshot, wire};
    use raft::eraftpb::{Entry, Snapshot, SnapshotMetadata};
    use spanwire_adminproto::convert::from_resource;
    use spanwire_topology::model::{HostSpec, Kind, Labels, Resource, Spec};

    fn mk_entry(index: u64) -> Entry {
        let spec = Spec::Host(HostSpec::default());
        let host = Resource::new("system", format!("host-{index}"), Labels::new(), spec);
        let put = wire::operation::Operation::Put(from_resource(&host));
        let transaction = wire::Transaction {
            operations: vec![wire::Operation { operation: Some(put), expected_revision: Some(0) }],
            expected_revision: None,
        };
        // The third entry says what the second has said, and is refused.
        let data = if index == 3 {
            mk_entry(2).data
        } else {
            encode_command(RequestId(u128::from(index).to_be_bytes()), 0, transaction)
        };
        Entry { index, term: 1, data, ..Entry::default() }
    }

    fn hosts(engine: &Engine) -> Vec<String> {
        engine.list(Kind::Host, None, None).map(|h| h.resource.metadata.name.to_string()).collect()
    }

    #[test]
    fn the_past_is_as_it_was_and_ends_at_the_snapshot() {
        let store = Arc::new(MemoryLog::new());
        let mut entries: Vec<Entry> = (1..=5).map(mk_entry).collect();
        entries[0].data = Default::default(); // that of the election
        store.write(&Write { entries, ..Write::default() }).unwrap();
        let weak: Weak<dyn LogStore> = Arc::downgrade(&(store.clone() as Arc<dyn LogStore>));
        let past = Past::new(weak);
        let at = |revision| past.at(revision).map(|s| (s.engine.revision(), hosts(&s.engine)));
        assert_eq!(at(0).unwrap(), (0, vec![]));
        assert_eq!(at(1).unwrap(), (0, vec![]));
        assert_eq!(at(2).unwrap(), (2, vec!["host-2".to_owned()]));
        assert_eq!(at(3).unwrap(), (2, vec!["host-2".to_owned()]), "what was refused stays so");
        assert_eq!(at(5).unwrap().1, ["host-2", "host-4", "host-5"]);
        assert_eq!(at(4).unwrap(), (4, vec!["host-2".to_owned(), "host-4".to_owned()]));

        let state = past.at(4).unwrap();
        assert!(Arc::ptr_eq(&state, &past.at(4).unwrap()), "the last one is kept");
        let uses = past.uses();
        past.forget_unless_used_since(uses - 1);
        assert!(Arc::ptr_eq(&state, &past.at(4).unwrap()), "it was used since");
        let uses = past.uses();
        past.forget_unless_used_since(uses);
        assert!(!Arc::ptr_eq(&state, &past.at(4).unwrap()), "it was not");

        let network = state.engine.export();
        let data = encode_snapshot(&State { network, applied_index: 4, ..State::default() });
        let metadata = SnapshotMetadata { conf_state: None, index: 4, term: 1 };
        store.save_snapshot(&Snapshot { data: data.into(), metadata: Some(metadata) }).unwrap();
        store.compact(4).unwrap();
        assert_eq!(at(5).unwrap().1, ["host-2", "host-4", "host-5"]);
        let error = at(3).unwrap_err();
        let text = error.to_string();
        assert_eq!(text, "revision 3 is gone: history reaches back to revision 4");
        drop(store);
        assert!(matches!(past.at(4), Err(PastError::Stopped)));
    }
}
