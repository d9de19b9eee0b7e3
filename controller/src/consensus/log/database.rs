//! The database of a log: reading and writing its tables, with its errors as those of the log.

use super::StoreError;
use super::tables::{COMMITS, LOG, META, opened, sealed};
use prost::Message;
use raft::eraftpb::Entry;
use redb::{Database, ReadTransaction, ReadableDatabase as _, WriteTransaction};
use std::io::ErrorKind;
use std::ops::RangeBounds;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// An open database.
#[derive(Debug)]
pub(super) struct LogDatabase {
    database: Database,
    path: PathBuf,
}

impl LogDatabase {
    /// A database, and what to call it in messages.
    pub(super) fn new(database: Database, path: &Path) -> LogDatabase {
        LogDatabase { database, path: path.to_owned() }
    }

    /// One of the records of the table `meta`.
    pub(super) fn meta<M: Message + Default>(
        &self,
        key: &'static str,
    ) -> Result<Option<M>, StoreError> {
        let transaction = self.begin_read()?;
        let table = transaction.open_table(META).map_err(|e| self.failed("read", e))?;
        let Some(value) = table.get(key).map_err(|e| self.failed("read", e))? else {
            return Ok(None);
        };
        let message = opened(key.as_bytes(), value.value())
            .ok_or_else(|| self.corrupt(key, "its checksum does not match"))?;
        M::decode(message).map(Some).map_err(|error| self.corrupt(key, &error.to_string()))
    }

    /// What is there now, whatever is written meanwhile.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        self.database.begin_read().map_err(|e| self.failed("read", e))
    }

    /// Gives the entries of a range to `take`, in order, until that says no.
    pub(super) fn entries(
        &self,
        transaction: &ReadTransaction,
        range: impl RangeBounds<u64>,
        mut take: impl FnMut(Entry) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let table = transaction.open_table(LOG).map_err(|e| self.failed("read", e))?;
        for record in table.range(range).map_err(|e| self.failed("read", e))? {
            let (key, value) = record.map_err(|e| self.failed("read", e))?;
            if !take(self.entry(key.value(), value.value())?)? {
                break;
            }
        }
        Ok(())
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

    /// Runs `change` as one transaction, with the number of the commit, and makes it durable.
    pub(super) fn commit(
        &self,
        commits: u64,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            change(transaction)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(COMMITS, sealed(COMMITS.as_bytes(), &commits).as_slice())?;
            Ok(())
        })
    }

    /// Runs `change` as one transaction that does not count, and makes it durable.
    pub(super) fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(|e| self.failed("write", e))?;
        change(&transaction).map_err(|e| self.failed("write", e))?;
        transaction.commit().map_err(|e| self.failed("write", e))
    }

    /// What is stored is not what was written.
    pub(super) fn corrupt(&self, what: &str, problem: &str) -> StoreError {
        corrupt(&self.path, what, problem)
    }

    fn failed(&self, action: &'static str, error: impl Into<redb::Error>) -> StoreError {
        failed(&self.path, action, error.into())
    }
}

/// Runs what reads the database at `path`. It checks its pages, but it is not promised that no damage
/// makes it panic.
pub(super) fn read_carefully<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(corrupt(path, "the log", "the database broke off while it was read"))
    })
}

/// What is stored at `path` is not what was written.
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
