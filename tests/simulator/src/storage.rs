//! The disk of a replica: the real log on a simulated disk, and an eye on what is written to it.

use crate::schedule::Time;
use parking_lot::Mutex;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use rand::Rng;
use spanwire_controller::consensus::log::LogBounds;
use spanwire_controller::consensus::{FaultDisk, LogStore, RedbLog, StoreError, Write};
use std::sync::Arc;

/// What was written to a log, or found in it when it was opened.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Entries.
    Entries(Vec<Entry>),
    /// Term, vote and commit index.
    HardState(HardState),
    /// A snapshot of another replica, which replaces the log.
    Restored {
        /// The last entry in it.
        index: u64,
    },
}

/// A [`LogStore`] that tells what is written to it.
#[derive(Debug)]
pub struct WatchedLog {
    log: RedbLog,
    seen: Mutex<Vec<Seen>>,
    writes: Mutex<u64>,
}

impl WatchedLog {
    fn new(log: RedbLog) -> Result<WatchedLog, StoreError> {
        let LogBounds { first_index, last_index } = log.bounds();
        let entries = log.entries(first_index, last_index + 1, u64::MAX)?;
        let (hard_state, _) = log.initial_state()?;
        let seen = vec![
            Seen::Restored { index: first_index - 1 },
            Seen::Entries(entries),
            Seen::HardState(hard_state),
        ];
        Ok(WatchedLog { log, seen: Mutex::new(seen), writes: Mutex::new(0) })
    }

    /// The last entry in the snapshot that is kept.
    pub fn snapshot_index(&self) -> u64 {
        self.log.snapshot_metadata().map_or(0, |metadata| metadata.index)
    }

    /// What was seen since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock())
    }

    /// Synced writes since the last call.
    pub fn take_writes(&self) -> u64 {
        std::mem::take(&mut self.writes.lock())
    }
}

impl LogStore for WatchedLog {
    fn initial_state(&self) -> Result<(HardState, ConfState), StoreError> {
        self.log.initial_state()
    }

    fn bounds(&self) -> LogBounds {
        self.log.bounds()
    }

    fn term(&self, index: u64) -> Result<u64, StoreError> {
        self.log.term(index)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, StoreError> {
        self.log.entries(low, high, bytes_max)
    }

    fn write(&self, write: &Write) -> Result<(), StoreError> {
        self.log.write(write)?;
        *self.writes.lock() += 1;
        let mut seen = self.seen.lock();
        if let Some(snapshot) = &write.snapshot {
            seen.push(Seen::Restored { index: snapshot.get_metadata().index });
        }
        if !write.entries.is_empty() {
            seen.push(Seen::Entries(write.entries.clone()));
        }
        seen.extend(write.hard_state.map(Seen::HardState));
        Ok(())
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.log.save_snapshot(snapshot)
    }

    fn compact(&self, index: u64) -> Result<(), StoreError> {
        self.log.compact(index)
    }

    fn snapshot_metadata(&self) -> Option<SnapshotMetadata> {
        self.log.snapshot_metadata()
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.log.snapshot()
    }
}

/// The disk of a replica.
#[derive(Debug)]
pub struct Storage {
    disk: Arc<FaultDisk>,
    /// A write takes this long, in the present mood of the disk.
    pub sync_time: Time,
    /// Bytes were altered: the replica may find its log damaged from now on.
    pub is_altered: bool,
    /// The disk refuses, or loses power in the middle of a write: the replica stops by it.
    pub is_failing: bool,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage::new()
    }
}

impl Storage {
    /// An empty disk.
    pub fn new() -> Storage {
        Storage {
            disk: Arc::new(FaultDisk::new()),
            sync_time: 200,
            is_altered: false,
            is_failing: false,
        }
    }

    /// Opens the log.
    ///
    /// # Errors
    /// What the log says of the disk.
    pub fn open(&self) -> Result<Arc<WatchedLog>, StoreError> {
        Ok(Arc::new(WatchedLog::new(RedbLog::open_on(self.disk.clone())?)?))
    }

    /// The power goes off, and on again: what was not synced may be there, or not, or in part.
    pub fn cut_power(&mut self, rng: &mut impl Rng) {
        self.disk = Arc::new(self.disk.crash(rng));
        self.disk.free();
        self.is_failing = false;
    }

    /// The process is killed; the machine goes on, and with it what the process had written.
    pub fn kill(&mut self) {
        self.disk = Arc::new(self.disk.kill());
        self.disk.free();
        self.is_failing = false;
    }

    /// The power will go off after so many operations.
    pub fn stop_after(&mut self, operations: u64) {
        self.is_failing = true;
        self.disk.stop_after(operations);
    }

    /// There is room for so many bytes yet.
    pub fn fill(&mut self, bytes_left: u64) {
        self.is_failing = true;
        self.disk.fill(bytes_left);
    }

    /// A bit flips in what is stored. Returns in which file, and where.
    pub fn alter(&mut self, rng: &mut impl Rng) -> Option<String> {
        self.is_altered = true;
        self.disk.flip_bit(None, rng).map(|flipped| format!("{flipped:?}"))
    }
}
