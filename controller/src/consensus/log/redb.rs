//! The log on disk: a journal, a redb database behind it, the tail mark, and the snapshot in a file.
//!
//! ```text
//! DIRECTORY/log.redb                           entries, hard state, members (see tables.rs)
//! DIRECTORY/journal                            what was written since (see journal.rs)
//! DIRECTORY/tail                               how far the log reached (see tail.rs)
//! DIRECTORY/00000000000000001234.snapshot      the state up to entry 1234 (see snapshot_file.rs)
//! DIRECTORY/log.tmp ...                        what a crash left unfinished
//! ```
//!
//! A write goes into the journal. What does not fit there, a snapshot that replaces the log, and a cut
//! of the log go into the database, in one transaction with all that the journal has.
//!
//! Opening verifies every page and every record (see verify.rs): what is damaged is reported then,
//! before anything is built on it.
//!
//! What a power cut may leave at any step, and what opening makes of it, is tried on a disk with
//! faults (crash_tests.rs). Used from one thread, the same calls leave the same bytes.

use super::database::{LogDatabase, read_carefully};
use super::disk::{DirDisk, Disk};
use super::journal::{JOURNAL_BYTES_MAX, Journal};
use super::open::{self, DATABASE, Opened};
use super::snapshot_file;
use super::state::State;
use super::tables::{COMPACTED, LOG, META, SNAPSHOT, put, sealed};
use super::tail::TailMark;
use super::verify::verify;
use super::{LogBounds, LogStore, StoreError, Write, check_continues, check_range};
use parking_lot::Mutex;
use prost::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use redb::WriteTransaction;
use std::path::Path;
use std::sync::Arc;

/// A [`LogStore`] on a [`Disk`].
#[derive(Debug)]
pub struct RedbLog {
    disk: Arc<dyn Disk>,
    database: LogDatabase,
    tail: TailMark,
    /// Held by whoever replaces the snapshot or cuts off what it includes. Other writes go on
    /// meanwhile: a large snapshot takes long.
    snapshots: Mutex<()>,
    /// Held by whoever writes, to the journal or to the database, until `state` says so too.
    journal: Mutex<Journal>,
    state: Mutex<State>,
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
        RedbLog::open_with(disk, JOURNAL_BYTES_MAX)
    }

    /// Opens a log whose journal has up to `journal_bytes_max` bytes of records.
    pub(super) fn open_with(
        disk: Arc<dyn Disk>,
        journal_bytes_max: usize,
    ) -> Result<RedbLog, StoreError> {
        let Opened { database, tail, mut journal } =
            match open::open_existing(&*disk, journal_bytes_max)? {
                Some(opened) => opened,
                None => open::create(&*disk, journal_bytes_max)?,
            };
        let state = read_carefully(&disk.path(DATABASE), || {
            verify(&*disk, &database, &mut journal, tail.get())
        })?;
        // A vote that is found was perhaps cut off from its mark by a crash, but counts from now on.
        if tail.get().commits < state.commits {
            tail.set(None, state.commits)?;
        }
        tail.sync()?;
        let (journal, state) = (Mutex::new(journal), Mutex::new(state));
        Ok(RedbLog { disk, database, tail, snapshots: Mutex::new(()), journal, state })
    }

    /// Makes a write durable that fits into the journal, then sets the mark: to `last` too, if that
    /// is the last entry since. False if the write does not fit.
    fn append(
        &self,
        journal: &mut Journal,
        last: Option<(u64, u64)>,
        write: &Write,
    ) -> Result<bool, StoreError> {
        if write.snapshot.is_some() || !journal.has_room(write) {
            return Ok(false);
        }
        let commits = self.state.lock().next_commit();
        journal.append(commits, write)?;
        self.tail.set(last, commits)?;
        Ok(true)
    }

    /// Makes all that the journal has, and `change`, durable in the database, then sets the mark: to
    /// `last` too, if that is the last entry since.
    fn commit(
        &self,
        journal: &mut Journal,
        last: Option<(u64, u64)>,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        journal.begin()?;
        let (commits, unsaved) = {
            let mut state = self.state.lock();
            (state.next_commit(), state.unsaved())
        };
        self.database.commit(commits, |transaction| {
            let replaced_from = unsaved.entries.first().map_or(u64::MAX, |entry| entry.index);
            put(transaction, replaced_from, &unsaved, None)?;
            change(transaction)
        })?;
        self.tail.set(last, commits)?;
        self.state.lock().process_saved();
        journal.restart();
        Ok(())
    }
}

impl LogStore for RedbLog {
    fn initial_state(&self) -> Result<(HardState, ConfState), StoreError> {
        let state = self.state.lock();
        Ok((state.hard_state, state.conf_state.clone()))
    }

    fn bounds(&self) -> LogBounds {
        self.state.lock().bounds()
    }

    fn term(&self, index: u64) -> Result<u64, StoreError> {
        let state = self.state.lock();
        if index == state.compacted.0 {
            return Ok(state.compacted.1);
        }
        check_range(state.bounds(), index, index + 1)?;
        if index >= state.cache_first_index()
            && let Some(entry) = state.cached(index).next()
        {
            return Ok(entry.term);
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
                let _ = state.cached(low).take_while(|e| e.index < high).all(|e| take(e.clone()));
                return Ok(entries);
            }
        }
        // Older entries are in the database only. Nobody writes until it is clear what is where.
        let (transaction, newer_from, newer) = {
            let _journal = self.journal.lock();
            let state = self.state.lock();
            check_range(state.bounds(), low, high)?;
            let newer_from = state.cache_first_index().min(high);
            let newer: Vec<Entry> =
                state.cached(newer_from).take_while(|e| e.index < high).cloned().collect();
            (self.database.begin_read()?, newer_from, newer)
        };
        let (mut next, mut has_room) = (low, true);
        self.database.entries(&transaction, low..newer_from, |entry| {
            if entry.index != next {
                return Err(self.database.corrupt("the log", &format!("entry {next} is missing")));
            }
            next += 1;
            has_room = take(entry);
            Ok(has_room)
        })?;
        if has_room {
            let _ = newer.into_iter().all(take);
        }
        Ok(entries)
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
        let mut journal = self.journal.lock();
        let old = self.state.lock().hard_state;
        let hard_state = write.hard_state.unwrap_or(old);
        let is_journaled = self.append(&mut journal, last, write)?;
        if !is_journaled {
            self.commit(&mut journal, last, |transaction| {
                put(transaction, replaced_from, write, metadata.as_ref())
            })?;
        }
        if (hard_state.term, hard_state.vote) != (old.term, old.vote) {
            // Damage that took back a vote must be found, also after a power cut.
            self.tail.sync()?;
        }
        let mut state = self.state.lock();
        if let Some(metadata) = metadata {
            state.restore(&metadata);
            snapshot_file::remove_others(&*self.disk, metadata.index);
        }
        state.apply(write, !is_journaled);
        Ok(())
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let _snapshots = self.snapshots.lock();
        let metadata = snapshot.get_metadata();
        self.term(metadata.index)?;
        snapshot_file::save(&*self.disk, snapshot)?;
        self.commit(&mut self.journal.lock(), None, |transaction| {
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
        let mut journal = self.journal.lock();
        self.commit(&mut journal, None, |transaction| {
            transaction.open_table(LOG)?.retain_in(..=index, |_, _| false)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(COMPACTED, sealed(COMPACTED.as_bytes(), &compacted).as_slice())?;
            Ok(())
        })?;
        self.state.lock().compact(index, term);
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

#[cfg(test)]
#[path = "redb_tests.rs"]
mod tests;
