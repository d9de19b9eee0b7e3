//! Where a replica keeps what it must never forget: log entries, hard state, members, snapshot.
//!
//! [`LogStore`] is the contract. [`MemoryLog`] fulfils it for tests and simulations,
//! [`RedbLog`] on a [`Disk`]: a directory ([`DirDisk`]), or one with faults in memory
//! ([`FaultDisk`]). [`conformance`] is the suite that all pass.

mod database;
mod disk;
mod fault_disk;
mod fault_file;
mod fault_state;
mod journal;
mod memory;
mod open;
mod redb;
mod snapshot_file;
mod state;
mod tables;
mod tail;
mod verify;

pub mod conformance;
pub mod journal_record;

#[cfg(test)]
mod crash_model;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fault_disk_tests;

pub use disk::{DirDisk, Disk, DiskFile};
pub use fault_disk::{Counters, FaultDisk, Flipped};
pub use memory::MemoryLog;
pub use redb::RedbLog;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use std::path::PathBuf;

/// What the log holds: entries from `first_index` to `last_index`. It is empty if
/// `first_index == last_index + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// The index of the first entry that is still there.
    pub first_index: u64,
    /// The index of the last entry, or of the last one that was compacted away.
    pub last_index: u64,
}

/// What to make durable, all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Write {
    /// A snapshot received from the leader. It replaces the log and the members.
    pub snapshot: Option<Snapshot>,
    /// Entries with successive indices. They replace what is at and after the first of them.
    pub entries: Vec<Entry>,
    /// Term, vote and commit index.
    pub hard_state: Option<HardState>,
    /// Members of the group.
    pub conf_state: Option<ConfState>,
}

impl Write {
    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Write::default()
    }
}

/// Durable storage of one replica.
///
/// Every function that writes returns only once what it wrote survives a power cut: whoever calls
/// it may then tell others. Reads may come from any thread at any time and see whole writes.
pub trait LogStore: Send + Sync + 'static {
    /// Term, vote, commit index and members, as last written.
    fn initial_state(&self) -> Result<(HardState, ConfState), StoreError>;

    /// Which entries there are.
    fn bounds(&self) -> LogBounds;

    /// The term of an entry, from the one before `first_index` to `last_index`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] and [`StoreError::Unavailable`] if the index is outside.
    fn term(&self, index: u64) -> Result<u64, StoreError>;

    /// The entries from `low` up to and without `high`, cut off before their encoded sizes exceed
    /// `bytes_max`, but at least one.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] and [`StoreError::Unavailable`] if an index is outside.
    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, StoreError>;

    /// Makes a write durable.
    ///
    /// # Errors
    /// [`StoreError::Gap`] if the entries do not continue the log. After an
    /// [`StoreError::Io`] nothing is known of what was written: the replica must stop.
    fn write(&self, write: &Write) -> Result<(), StoreError>;

    /// Keeps a snapshot of the state at an index that the log has, in place of the one before. The
    /// log stays as it is until [`LogStore::compact`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the index is not in the log.
    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// Forgets the entries up to and with `index`.
    ///
    /// # Errors
    /// [`StoreError::NotCovered`] if no snapshot includes them.
    fn compact(&self, index: u64) -> Result<(), StoreError>;

    /// What the kept snapshot stands for; without the snapshot itself.
    fn snapshot_metadata(&self) -> Option<SnapshotMetadata>;

    /// The kept snapshot.
    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError>;
}

/// Why a store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is stored is not what was written.
    #[error(
        "{what} in {} is damaged: {problem}. The disk or a program altered the file. Keep it for \
         examination. In a cluster, remove this replica (spanwire cluster remove), start it on an \
         empty directory with --join and add it anew; alone, restore a backup (spanwire cluster \
         restore)",
        path.display()
    )]
    Corrupt {
        /// Which record or file.
        what: String,
        /// Where it is stored.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The disk refused.
    #[error("could not {action} {}: {problem}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system or the database said.
        problem: String,
    },
    /// Another process has the file open.
    #[error(
        "{} is in use by another process: only one controller may use a data directory",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The entry was compacted away.
    #[error("log entry {index} was compacted away: the first is {first_index}")]
    Compacted {
        /// The entry that was asked for.
        index: u64,
        /// The first that there is.
        first_index: u64,
    },
    /// The entry is not there yet.
    #[error("log entry {index} is not there: the last is {last_index}")]
    Unavailable {
        /// The entry that was asked for.
        index: u64,
        /// The last that there is.
        last_index: u64,
    },
    /// Entries that do not continue the log, or each other.
    #[error("log entry {index} does not continue the log, which needs {expected} next")]
    Gap {
        /// The entry.
        index: u64,
        /// The index that would fit.
        expected: u64,
    },
    /// An attempt to forget entries that no snapshot includes.
    #[error("the log cannot be compacted to {index}: the snapshot reaches only {snapshot_index}")]
    NotCovered {
        /// Up to where.
        index: u64,
        /// The last entry that the snapshot includes; 0 without one.
        snapshot_index: u64,
    },
}

/// Checks that entries follow one another and the log, before anything is written.
fn check_continues(bounds: LogBounds, entries: &[Entry]) -> Result<(), StoreError> {
    let Some(first) = entries.first() else { return Ok(()) };
    if first.index < bounds.first_index {
        let first_index = bounds.first_index;
        return Err(StoreError::Compacted { index: first.index, first_index });
    }
    if first.index > bounds.last_index + 1 {
        return Err(StoreError::Gap { index: first.index, expected: bounds.last_index + 1 });
    }
    for pair in entries.windows(2) {
        if pair[1].index != pair[0].index + 1 {
            return Err(StoreError::Gap { index: pair[1].index, expected: pair[0].index + 1 });
        }
    }
    Ok(())
}

/// Checks that `low..high` lies within the log.
fn check_range(bounds: LogBounds, low: u64, high: u64) -> Result<(), StoreError> {
    if low < bounds.first_index {
        return Err(StoreError::Compacted { index: low, first_index: bounds.first_index });
    }
    if high > bounds.last_index + 1 {
        return Err(StoreError::Unavailable { index: high - 1, last_index: bounds.last_index });
    }
    Ok(())
}
