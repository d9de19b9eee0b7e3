//! The log on disk: a redb database, the tail mark beside it, and the snapshot in a file.
//!
//! ```text
//! DIRECTORY/log.redb                           entries, hard state, members
//! DIRECTORY/tail                               how far the log reached (see tail.rs)
//! DIRECTORY/00000000000000001234.snapshot      the state up to entry 1234 (see snapshot_file.rs)
//! DIRECTORY/log.tmp ...                        what a crash left unfinished
//! ```
//!
//! Opening verifies every page and every record (see tables.rs): what is damaged is reported then,
//! before anything is built on it.
//!
//! What a power cut may leave at any step, and what opening makes of it, is tried on a disk with
//! faults (crash_tests.rs). Used from one thread, the same calls leave the same bytes.

use super::disk::{DirDisk, Disk};
use super::open::{self, DATABASE};
use super::snapshot_file;
use super::tables::{
    COMMITS, COMPACTED, CONF_STATE, HARD_STATE, LOG, META, SNAPSHOT, opened, put, sealed,
};
use super::tail::{Mark, TailMark};
use super::{LogBounds, LogStore, StoreError, Write, check_continues, check_range};
use parking_lot::Mutex;
use prost::Message;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The newest entries are kept in memory up to this size: every entry is read again when it is
/// committed, moments after it was written.
const TAIL_CACHE_BYTES_MAX: usize = 16 << 20;

/// A [`LogStore`] on a [`Disk`].
#[derive(Debug)]
pub struct RedbLog {
    disk: Arc<dyn Disk>,
    database: Database,
    tail: TailMark,
    state: Mutex<State>,
    /// Held by whoever replaces the snapshot or cuts off what it includes. Other writes go on
    /// meanwhile: a large snapshot takes long.
    snapshots: Mutex<()>,
}

/// What readers ask for most. Changed only after the database has it.
#[derive(Debug, Default)]
struct State {
    bounds_compacted: (u64, u64),
    last_index: u64,
    snapshot: Option<SnapshotMetadata>,
    hard_state: HardState,
    /// Counted before the database has it: a number that was given is not given again.
    commits: u64,
    /// The newest entries, in order; the last is the last of the log.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
}

impl RedbLog {
    /// Opens the log in `directory`, or makes an empty one where there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if anything in it is not as it was written, [`StoreError::InUse`] if
    /// another process has it open, [`StoreError::Io`] if the disk refuses.
    pub fn open(directory: &Path) -> Result<RedbLog, StoreError> {
        RedbLog::open_on(Arc::new(DirDisk::new(directory)))
    }

    /// Opens the log on a disk, or makes an empty one where there is none.
    ///
    /// # Errors
    /// As [`RedbLog::open`].
    pub fn open_on(disk: Arc<dyn Disk>) -> Result<RedbLog, StoreError> {
        let (database, tail) = match open::open_existing(&*disk)? {
            Some(opened) => opened,
            None => open::create(&*disk)?,
        };
        let state = Mutex::new(State::default());
        let log = RedbLog { disk, database, tail, state, snapshots: Mutex::new(()) };
        let checked = catch_unwind(AssertUnwindSafe(|| log.check()));
        let state = checked.unwrap_or_else(|_| {
            Err(log.corrupt("the log", "the database broke off while it was read"))
        })?;
        // A vote that is found was perhaps cut off from its mark by a crash, but counts from now on.
        if log.tail.get().commits < state.commits {
            log.tail.set(None, state.commits)?;
        }
        log.tail.sync()?;
        *log.state.lock() = state;
        Ok(log)
    }

    /// Reads every record once.
    fn check(&self) -> Result<State, StoreError> {
        let compacted = self.meta::<SnapshotMetadata>(COMPACTED)?.unwrap_or_default();
        let snapshot = self.meta::<SnapshotMetadata>(SNAPSHOT)?;
        let (hard_state, _) = self.initial_state()?;
        let mut state = State {
            bounds_compacted: (compacted.index, compacted.term),
            last_index: compacted.index,
            snapshot,
            hard_state,
            commits: self.meta(COMMITS)?.unwrap_or_default(),
            ..State::default()
        };
        let transaction = self.database.begin_read().map_err(|e| self.failed("read", e))?;
        let table = transaction.open_table(LOG).map_err(|e| self.failed("read", e))?;
        for record in table.iter().map_err(|e| self.failed("read", e))? {
            let (key, value) = record.map_err(|e| self.failed("read", e))?;
            let entry = self.entry(key.value(), value.value())?;
            if entry.index != state.last_index + 1 {
                let problem = format!("entry {} is missing", state.last_index + 1);
                return Err(self.corrupt("the log", &problem));
            }
            state.last_index = entry.index;
            state.remember(entry);
        }
        self.check_mark(&state)?;
        if let Some(metadata) = &mut state.snapshot {
            let found = snapshot_file::load_metadata(&*self.disk, metadata.index)?;
            if (found.index, found.term) != (metadata.index, metadata.term) {
                let path = self.disk.path(&snapshot_file::file_name(metadata.index));
                return Err(corrupt(&path, "the snapshot", "it is not the one in the log"));
            }
            // A crash can leave a newer snapshot of the same state, with its members in another
            // order.
            *metadata = found;
        } else if state.bounds_compacted.0 > 0 {
            return Err(self.corrupt("the log", "its start is gone and there is no snapshot"));
        }
        Ok(state)
    }

    /// Checks that nothing is gone that had been written.
    fn check_mark(&self, state: &State) -> Result<(), StoreError> {
        let Mark { index, term, commits } = self.tail.get();
        if index > state.last_index {
            let problem = format!(
                "it ends with entry {}, but entry {index} of term {term} had been written",
                state.last_index
            );
            return Err(self.corrupt("the log", &problem));
        }
        if commits > state.commits {
            let problem = format!(
                "it ends with commit {}, but commit {commits} had been written",
                state.commits
            );
            return Err(self.corrupt("the log", &problem));
        }
        Ok(())
    }

    fn meta<M: Message + Default>(&self, key: &'static str) -> Result<Option<M>, StoreError> {
        let transaction = self.database.begin_read().map_err(|e| self.failed("read", e))?;
        let table = transaction.open_table(META).map_err(|e| self.failed("read", e))?;
        let Some(value) = table.get(key).map_err(|e| self.failed("read", e))? else {
            return Ok(None);
        };
        let message = opened(key.as_bytes(), value.value())
            .ok_or_else(|| self.corrupt(key, "its checksum does not match"))?;
        M::decode(message).map(Some).map_err(|error| self.corrupt(key, &error.to_string()))
    }

    /// Checks and decodes the record of an entry.
    fn entry(&self, index: u64, value: &[u8]) -> Result<Entry, StoreError> {
        let what = || format!("log entry {index}");
        let message = opened(&index.to_be_bytes(), value)
            .ok_or_else(|| self.corrupt(&what(), "its checksum does not match"))?;
        let entry =
            Entry::decode(message).map_err(|error| self.corrupt(&what(), &error.to_string()))?;
        if entry.index != index {
            let problem = format!("it calls itself entry {}", entry.index);
            return Err(self.corrupt(&what(), &problem));
        }
        Ok(entry)
    }

    fn path(&self) -> PathBuf {
        self.disk.path(DATABASE)
    }

    fn corrupt(&self, what: &str, problem: &str) -> StoreError {
        corrupt(&self.path(), what, problem)
    }

    fn failed(&self, action: &'static str, error: impl Into<redb::Error>) -> StoreError {
        failed(&self.path(), action, error.into())
    }

    /// Runs `change` as one transaction and makes it durable, then sets the mark: to `last` too, if
    /// that is the last entry since.
    fn commit(
        &self,
        last: Option<(u64, u64)>,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        // From here on no other thread commits.
        let transaction = self.database.begin_write().map_err(|e| self.failed("write", e))?;
        let commits = {
            let mut state = self.state.lock();
            state.commits += 1;
            state.commits
        };
        let count = || -> Result<(), redb::Error> {
            let mut meta = transaction.open_table(META)?;
            meta.insert(COMMITS, sealed(COMMITS.as_bytes(), &commits).as_slice())?;
            Ok(())
        };
        change(&transaction).and_then(|()| count()).map_err(|e| self.failed("write", e))?;
        transaction.commit().map_err(|e| self.failed("write", e))?;
        self.tail.set(last, commits)
    }
}

impl State {
    fn bounds(&self) -> LogBounds {
        LogBounds { first_index: self.bounds_compacted.0 + 1, last_index: self.last_index }
    }

    fn cache_first_index(&self) -> u64 {
        self.cache.front().map_or(u64::MAX, |entry| entry.index)
    }

    fn remember(&mut self, entry: Entry) {
        self.cache_bytes += entry.encoded_len();
        self.cache.push_back(entry);
        while self.cache_bytes > TAIL_CACHE_BYTES_MAX {
            let Some(oldest) = self.cache.pop_front() else { break };
            self.cache_bytes -= oldest.encoded_len();
        }
    }

    fn forget_from(&mut self, index: u64) {
        while self.cache.back().is_some_and(|entry| entry.index >= index) {
            let newest = self.cache.pop_back().unwrap_or_default();
            self.cache_bytes -= newest.encoded_len();
        }
    }

    fn forget_through(&mut self, index: u64) {
        while self.cache.front().is_some_and(|entry| entry.index <= index) {
            let oldest = self.cache.pop_front().unwrap_or_default();
            self.cache_bytes -= oldest.encoded_len();
        }
    }
}

impl LogStore for RedbLog {
    fn initial_state(&self) -> Result<(HardState, ConfState), StoreError> {
        let hard_state = self.meta(HARD_STATE)?.unwrap_or_default();
        let conf_state = self.meta(CONF_STATE)?.unwrap_or_default();
        Ok((hard_state, conf_state))
    }

    fn bounds(&self) -> LogBounds {
        self.state.lock().bounds()
    }

    fn term(&self, index: u64) -> Result<u64, StoreError> {
        let state = self.state.lock();
        if index == state.bounds_compacted.0 {
            return Ok(state.bounds_compacted.1);
        }
        check_range(state.bounds(), index, index + 1)?;
        if let Some(position) = index.checked_sub(state.cache_first_index()) {
            // The cache is contiguous up to the last index, so the position is in it.
            let entry = usize::try_from(position).ok().and_then(|p| state.cache.get(p));
            if let Some(entry) = entry {
                return Ok(entry.term);
            }
        }
        drop(state);
        Ok(self.entries(index, index + 1, u64::MAX)?.first().map_or(0, |entry| entry.term))
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut take = |entry: Entry| {
            bytes += entry.encoded_len() as u64;
            let fits = entries.is_empty() || bytes <= bytes_max;
            if fits {
                entries.push(entry);
            }
            fits
        };
        {
            let state = self.state.lock();
            check_range(state.bounds(), low, high)?;
            if low >= state.cache_first_index() {
                let skip = usize::try_from(low - state.cache_first_index()).unwrap_or(usize::MAX);
                let cached = state.cache.iter().skip(skip).take_while(|e| e.index < high);
                for entry in cached {
                    if !take(entry.clone()) {
                        break;
                    }
                }
                return Ok(entries);
            }
        }
        let transaction = self.database.begin_read().map_err(|e| self.failed("read", e))?;
        let table = transaction.open_table(LOG).map_err(|e| self.failed("read", e))?;
        for record in table.range(low..high).map_err(|e| self.failed("read", e))? {
            let (key, value) = record.map_err(|e| self.failed("read", e))?;
            if !take(self.entry(key.value(), value.value())?) {
                break;
            }
        }
        match entries.first() {
            // Another thread cut the start off since the bounds were looked at.
            first if low < high && first.is_none_or(|entry| entry.index != low) => {
                let first_index = first.map_or(high, |entry| entry.index);
                Err(StoreError::Compacted { index: low, first_index })
            }
            _ => Ok(entries),
        }
    }

    fn write(&self, write: &Write) -> Result<(), StoreError> {
        let _snapshots = write.snapshot.as_ref().map(|_| self.snapshots.lock());
        let metadata = write.snapshot.as_ref().map(|s| s.get_metadata().clone());
        let bounds = match &metadata {
            Some(m) => LogBounds { first_index: m.index + 1, last_index: m.index },
            None => self.bounds(),
        };
        check_continues(bounds, &write.entries)?;
        let replaced_from = write.entries.first().map_or(bounds.last_index + 1, |e| e.index);
        let last = write.entries.last().map(|entry| (entry.index, entry.term));
        let last = last.or(metadata.as_ref().map(|m| (m.index, m.term)));
        if let Some((index, term)) = last
            && index < self.bounds().last_index
        {
            // The log becomes shorter: its mark must not stay ahead of it.
            self.tail.lower(index, term)?;
        }
        if let Some(snapshot) = &write.snapshot {
            snapshot_file::save(&*self.disk, snapshot)?;
        }
        let old = self.state.lock().hard_state;
        let hard_state = write.hard_state.unwrap_or(old);
        self.commit(last, |transaction| put(transaction, replaced_from, write, metadata.as_ref()))?;
        if (hard_state.term, hard_state.vote) != (old.term, old.vote) {
            // Damage that took back a vote must be found, also after a power cut.
            self.tail.sync()?;
        }
        let mut state = self.state.lock();
        state.hard_state = hard_state;
        if let Some(metadata) = metadata {
            state.bounds_compacted = (metadata.index, metadata.term);
            state.last_index = metadata.index;
            state.cache.clear();
            state.cache_bytes = 0;
            snapshot_file::remove_others(&*self.disk, metadata.index);
            state.snapshot = Some(metadata);
        }
        state.forget_from(replaced_from);
        for entry in &write.entries {
            state.remember(entry.clone());
            state.last_index = entry.index;
        }
        Ok(())
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let _snapshots = self.snapshots.lock();
        let metadata = snapshot.get_metadata();
        self.term(metadata.index)?;
        snapshot_file::save(&*self.disk, snapshot)?;
        self.commit(None, |transaction| {
            let mut meta = transaction.open_table(META)?;
            meta.insert(SNAPSHOT, sealed(SNAPSHOT.as_bytes(), metadata).as_slice())?;
            Ok(())
        })?;
        self.state.lock().snapshot = Some(metadata.clone());
        snapshot_file::remove_others(&*self.disk, metadata.index);
        Ok(())
    }

    fn compact(&self, index: u64) -> Result<(), StoreError> {
        let _snapshots = self.snapshots.lock();
        let snapshot_index = self.snapshot_metadata().map_or(0, |metadata| metadata.index);
        if index > snapshot_index {
            return Err(StoreError::NotCovered { index, snapshot_index });
        }
        if index < self.bounds().first_index {
            return Ok(());
        }
        let term = self.term(index)?;
        let compacted = SnapshotMetadata { conf_state: None, index, term };
        self.commit(None, |transaction| {
            transaction.open_table(LOG)?.retain_in(..=index, |_, _| false)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(COMPACTED, sealed(COMPACTED.as_bytes(), &compacted).as_slice())?;
            Ok(())
        })?;
        let mut state = self.state.lock();
        state.bounds_compacted = (index, term);
        state.forget_through(index);
        Ok(())
    }

    fn snapshot_metadata(&self) -> Option<SnapshotMetadata> {
        self.state.lock().snapshot.clone()
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        loop {
            let Some(metadata) = self.snapshot_metadata() else { return Ok(None) };
            match snapshot_file::load(&*self.disk, metadata.index) {
                // Another thread put a newer one in its place before the file was opened.
                Err(_) if self.snapshot_metadata() != Some(metadata) => {}
                loaded => return loaded.map(Some),
            }
        }
    }
}

pub(super) fn corrupt(path: &Path, what: &str, problem: &str) -> StoreError {
    StoreError::Corrupt {
        what: what.to_owned(),
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

/// Tells damage from a disk that refuses.
pub(super) fn failed(path: &Path, action: &'static str, error: redb::Error) -> StoreError {
    let damaged = match &error {
        redb::Error::Io(io) => {
            matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::UpgradeRequired(_) => true,
        _ => false,
    };
    if damaged {
        return corrupt(path, "the log", &error.to_string());
    }
    StoreError::Io { action, path: path.to_owned(), problem: error.to_string() }
}

#[cfg(test)]
#[path = "redb_tests.rs"]
mod tests;
