//! The tail mark: how far the log reached when it was last written, kept beside the database.
//!
//! After a crash the database goes back to its last whole commit. It cannot tell a commit that a
//! crash tore, which was never acknowledged, from one that was complete and has been damaged since;
//! it would quietly drop both. The mark can: it is written after a commit is durable, so a log that
//! ends before its mark has lost something that may have been acknowledged.
//!
//! Writing it costs one small write and no sync: a mark that is older than the log does no harm.
//! Only where the log is to become *shorter* (a new leader overwrites what was never committed)
//! must the lower mark be durable before the log is cut.

use super::StoreError;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MARK_BYTES: usize = 20;

/// The file with the mark.
#[derive(Debug)]
pub(super) struct TailMark {
    path: PathBuf,
    file: File,
}

impl TailMark {
    /// Makes the mark of an empty log.
    pub(super) fn create(path: &Path) -> Result<TailMark, StoreError> {
        let mark = TailMark::open_file(path, true)?;
        mark.set(0, 0)?;
        mark.sync()?;
        Ok(mark)
    }

    /// Opens the mark of an existing log.
    pub(super) fn open(path: &Path) -> Result<TailMark, StoreError> {
        TailMark::open_file(path, false)
    }

    fn open_file(path: &Path, create: bool) -> Result<TailMark, StoreError> {
        let opened = OpenOptions::new().read(true).write(true).create(create).open(path);
        match opened {
            Ok(file) => Ok(TailMark { path: path.to_owned(), file }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::Corrupt {
                    what: "the tail mark of the log".to_owned(),
                    path: path.to_owned(),
                    problem: "the file is missing".to_owned(),
                })
            }
            Err(error) => Err(io_error("open", path, error)),
        }
    }

    /// Index and term of the last entry, as last set.
    pub(super) fn get(&self) -> Result<(u64, u64), StoreError> {
        let mut bytes = [0; MARK_BYTES];
        let read = self.file.read_exact_at(&mut bytes, 0);
        let (index, term, checksum) = split(&bytes);
        if read.is_err() || checksum != crc32c::crc32c(&bytes[..16]) {
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
            .write_all_at(&bytes, 0)
            .map_err(|error| io_error("write the tail mark", &self.path, error))
    }

    /// Makes the mark durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_all().map_err(|error| io_error("sync the tail mark", &self.path, error))
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
