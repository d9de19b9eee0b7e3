//! The journal: what was written since the database was, in a file that is only appended to.
//!
//! A transaction of the database costs about ten writes to its file and the processor time of as many
//! pages; a record of the journal (journal_record.rs) costs one write. So a write goes into the journal,
//! and when that is full, it goes into the database with all that the journal has, in one transaction.
//! Then the journal begins anew, in the same file: where a file has been written before, a sync need
//! not make its length or its place on the disk durable.
//!
//! Records have the numbers of their commits, each one more than the one before, and the database has
//! the number of its last. So what the journal says can be told without a header:
//!
//! * Records up to the number of the database are what an earlier use of the file left.
//! * Then come those that are to be added. The first that has another number, or is no record, ends
//!   them: a crash tore what it wrote last, or an earlier use left it.
//! * Nothing with a later number may follow. If it does, what is before it was damaged: of two records
//!   the first was durable before the second was written.
//!
//! Damage to the very last record looks like a crash. The tail mark tells them apart (tail.rs).

use super::disk::{Disk, DiskFile};
use super::journal_record::{self as record, ALIGNMENT, HEADER_BYTES};
use super::tail::io_error;
use super::{StoreError, Write};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

/// The name of the file.
pub(super) const JOURNAL: &str = "journal";
/// Bytes of records before they go into the database. Its transaction keeps other writes waiting, so
/// there must not be too much for it; few bytes make it worth less.
pub(super) const JOURNAL_BYTES_MAX: usize = 4 << 20;
/// The file grows by this much, with zeros.
const GROWTH_BYTES: usize = 256 << 10;
/// A longer file is not ours: it is not read into memory.
const FILE_BYTES_MAX: u64 = (JOURNAL_BYTES_MAX + GROWTH_BYTES) as u64;

/// The file with the records.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes_max: usize,
    /// Where the next record goes.
    end: usize,
    /// The length of the file.
    length: usize,
    /// The record that is being written: kept for its memory.
    buffer: Vec<u8>,
    /// Something failed, of which it is not known whether it is durable. Later writes would go by
    /// what a restart may not find.
    has_failed: bool,
}

impl Journal {
    /// Makes an empty journal, or leaves what is there. Its name is durable only after a sync of the
    /// disk.
    pub(super) fn create(disk: &dyn Disk) -> Result<(), StoreError> {
        let made = disk.create(JOURNAL);
        made.map(drop).map_err(|error| io_error("open", &disk.path(JOURNAL), error))
    }

    /// True if there is a journal that was ever written to.
    pub(super) fn is_left_behind(disk: &dyn Disk) -> Result<bool, StoreError> {
        match disk.open(JOURNAL).and_then(|file| file.len()) {
            Ok(length) => Ok(length > 0),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error("open", &disk.path(JOURNAL), error)),
        }
    }

    /// Opens the journal of an existing log. It takes up to `bytes_max` bytes of records. Before
    /// anything is appended, it must be read.
    pub(super) fn open(disk: &dyn Disk, bytes_max: usize) -> Result<Journal, StoreError> {
        let path = disk.path(JOURNAL);
        let file = match disk.open(JOURNAL) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let what = "the journal of the log".to_owned();
                let problem = "the file is missing".to_owned();
                return Err(StoreError::Corrupt { what, path, problem });
            }
            Err(error) => return Err(io_error("open", &path, error)),
        };
        let (end, length, buffer) = (0, 0, Vec::new());
        Ok(Journal { path, file, bytes_max, end, length, buffer, has_failed: false })
    }

    /// What was written after commit `commits`, with the numbers of the commits; `marked` is the last
    /// that is known to have been written.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if any of it is damaged.
    pub(super) fn read(
        &mut self,
        commits: u64,
        marked: u64,
    ) -> Result<Vec<(u64, Write)>, StoreError> {
        // What a process wrote that was killed before it could sync it counts from now on.
        self.file.sync().map_err(|error| io_error("sync", &self.path, error))?;
        let bytes = self.content()?;
        let (mut writes, mut at, mut last) = (Vec::new(), 0, None);
        while let Some(record) = record::find(&bytes, at)
            && last.is_none_or(|last| record.number == last + 1)
        {
            if record.number > commits {
                let write = record::decode(record.parts).map_err(|problem| {
                    self.corrupt(&format!("commit {} at byte {at}: {problem}", record.number))
                })?;
                writes.push((record.number, write));
            }
            (at, last) = (record.end, Some(record.number));
        }
        if let Some((first, _)) = writes.first()
            && *first > commits + 1
        {
            let problem =
                format!("it begins with commit {first}, but the database ends with {commits}");
            return Err(self.corrupt(&problem));
        }
        let expected = last.unwrap_or_default().max(commits) + 1;
        if let Some((found, place)) = later(&bytes, at, expected) {
            let problem = format!(
                "commit {expected} should be at byte {at}, but only commit {found} is there, at \
                 byte {place}"
            );
            return Err(self.corrupt(&problem));
        }
        if expected <= marked && record::number(&bytes, at) == Some(expected) {
            let problem = format!("the checksum of commit {expected} at byte {at} does not match");
            return Err(self.corrupt(&problem));
        }
        self.end = if writes.is_empty() { 0 } else { at };
        Ok(writes)
    }

    fn content(&mut self) -> Result<Vec<u8>, StoreError> {
        let refused = |error| io_error("read", &self.path, error);
        let length = self.file.len().map_err(refused)?;
        if length > FILE_BYTES_MAX {
            return Err(self.corrupt(&format!("it has {length} bytes, more than any journal")));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_at(0, &mut bytes).map_err(refused)?;
        self.length = bytes.len();
        Ok(bytes)
    }

    /// True if there is room for the record of a write.
    pub(super) fn has_room(&self, write: &Write) -> bool {
        self.end + record::length(write) <= self.bytes_max
    }

    /// Makes a write without a snapshot durable, for which there must be room. `number` is that of
    /// the commit.
    pub(super) fn append(&mut self, number: u64, write: &Write) -> Result<(), StoreError> {
        self.begin()?;
        record::encode(number, write, &mut self.buffer);
        let end = self.end + self.buffer.len();
        if end > self.length {
            self.length = end.next_multiple_of(GROWTH_BYTES);
            self.buffer.resize(self.length - self.end, 0);
        }
        let written = self.file.write_at(self.end as u64, &self.buffer);
        written.map_err(|error| io_error("write", &self.path, error))?;
        self.file.sync().map_err(|error| io_error("sync", &self.path, error))?;
        self.end = end;
        self.has_failed = false;
        Ok(())
    }

    /// Begins a write, here or to the database. Until it has ended well, there is no other.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        if self.has_failed {
            let problem = "an earlier write failed";
            return Err(io_error("write", &self.path, problem));
        }
        self.has_failed = true;
        Ok(())
    }

    /// Begins anew: the database has everything.
    pub(super) fn restart(&mut self) {
        self.end = 0;
        self.has_failed = false;
    }

    fn corrupt(&self, problem: &str) -> StoreError {
        StoreError::Corrupt {
            what: "the journal of the log".to_owned(),
            path: self.path.clone(),
            problem: problem.to_owned(),
        }
    }
}

/// The first record at or after `at` that is `expected` or comes after it: its number and place.
fn later(bytes: &[u8], at: usize, expected: u64) -> Option<(u64, usize)> {
    // No file has room for more.
    let numbers = expected..=expected.saturating_add((bytes.len() / HEADER_BYTES) as u64);
    (at..bytes.len()).step_by(ALIGNMENT).find_map(|place| {
        record::number(bytes, place).filter(|number| numbers.contains(number))?;
        record::find(bytes, place).map(|record| (record.number, place))
    })
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
