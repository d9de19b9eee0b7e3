//! The tail mark: how far the log reached when it was last written, kept beside the database.
//!
//! After a crash the database goes back to its last whole commit. It cannot tell a commit that a
//! crash tore, which was never acknowledged, from one that was complete and has been damaged since;
//! it would quietly drop both. The mark can: it is written after a commit is durable, so a log that
//! ends before its mark has lost something that may have been acknowledged.
//!
//! What it cannot find is damage to the newest commit if that did not change how far the log reaches
//! (a vote, say), or if a power cut took the mark's last write too. A log that was closed since is
//! not concerned: there every page is checked against the commit that is known to be the last.
//!
//! Writing it costs one small write and no sync: a mark that is older than the log does no harm.
//! Only where the log is to become *shorter* (a new leader overwrites what was never committed)
//! must the lower mark be durable before the log is cut.

use super::StoreError;
use super::disk::{Disk, DiskFile};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file.
const TAIL: &str = "tail";
const MARK_BYTES: usize = 20;

/// The file with the mark.
#[derive(Debug)]
pub(super) struct TailMark {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl TailMark {
    /// Makes the mark of an empty log. Its name is durable only after a sync of the disk.
    pub(super) fn create(disk: &dyn Disk) -> Result<TailMark, StoreError> {
        let path = disk.path(TAIL);
        let file = disk.create(TAIL).map_err(|error| io_error("open", &path, error))?;
        let mark = TailMark { path, file };
        mark.set(0, 0)?;
        mark.sync()?;
        Ok(mark)
    }

    /// What a mark says of a log that is not there: nothing, if the log was never finished.
    pub(super) fn left_behind(disk: &dyn Disk) -> Result<Option<(u64, u64)>, StoreError> {
        match TailMark::open(disk).and_then(|mark| mark.get()) {
            Ok(set) => Ok(Some(set)),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the mark of an existing log.
    pub(super) fn open(disk: &dyn Disk) -> Result<TailMark, StoreError> {
        let path = disk.path(TAIL);
        match disk.open(TAIL) {
            Ok(file) => Ok(TailMark { path, file }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::Corrupt {
                what: "the tail mark of the log".to_owned(),
                path,
                problem: "the file is missing".to_owned(),
            }),
            Err(error) => Err(io_error("open", &path, error)),
        }
    }

    /// Index and term of the last entry, as last set.
    pub(super) fn get(&self) -> Result<(u64, u64), StoreError> {
        let mut bytes = [0; MARK_BYTES];
        let whole = match self.file.read_at(0, &mut bytes) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(io_error("read the tail mark", &self.path, error)),
        };
        let (index, term, checksum) = split(&bytes);
        if !whole || checksum != crc32c::crc32c(&bytes[..16]) {
            return Err(StoreError::Corrupt {
                what: "the tail mark of the log".to_owned(),
                path: self.path.clone(),
                problem: "its checksum does not match".to_owned(),
            });
        }
        Ok((index, term))
    }

    /// Sets the mark. Durable only after [`TailMark::sync`].
    pub(super) fn set(&self, index: u64, term: u64) -> Result<(), StoreError> {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        bytes[8..16].copy_from_slice(&term.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..16]);
        bytes[16..].copy_from_slice(&checksum.to_le_bytes());
        self.file
            .write_at(0, &bytes)
            .map_err(|error| io_error("write the tail mark", &self.path, error))
    }

    /// Makes the mark durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync().map_err(|error| io_error("sync the tail mark", &self.path, error))
    }
}

fn split(bytes: &[u8; MARK_BYTES]) -> (u64, u64, u32) {
    let mut index = [0; 8];
    let mut term = [0; 8];
    let mut checksum = [0; 4];
    index.copy_from_slice(&bytes[..8]);
    term.copy_from_slice(&bytes[8..16]);
    checksum.copy_from_slice(&bytes[16..]);
    (u64::from_le_bytes(index), u64::from_le_bytes(term), u32::from_le_bytes(checksum))
}

/// An error of the operating system, with what was tried.
pub(super) fn io_error(
    action: &'static str,
    path: &Path,
    error: impl std::fmt::Display,
) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), problem: error.to_string() }
}
