//! The tail mark: how far the log reached when it was last written, kept beside the database.
//!
//! A commit is a record of the journal or a transaction of the database. After a crash the log goes
//! back to its last whole commit. It cannot tell a commit that a crash tore, which was never
//! acknowledged, from one that was complete and has been damaged since; it would quietly drop both. The
//! mark can: it is written after a commit is durable and has the commit's number, which the log has
//! too. A log that is behind its mark has lost something that may have been acknowledged.
//!
//! Writing the mark costs one small write, and a sync only where it is needed:
//!
//! * A commit that changed term or vote is done only when its mark is durable: a replica that forgot
//!   a vote could vote twice. Of other commits a power cut may take the mark's last writes. What
//!   then remains is two faults at once: damage to the last commit after a power cut costs that
//!   commit, and is not found.
//! * Where the log is to become *shorter* (a new leader overwrites what was never committed), the
//!   lower mark must be durable before the log is cut. The number stays as it is until the commit.
//!
//! A mark that is older than the log does no harm. Of a log that was closed, every page is checked
//! against the commit that is known to be the last.
//!
//! ```text
//! index of the last entry, 8 bytes    its term, 8    CRC32C of these, 4
//! number of the last commit, 8        CRC32C of it, 4
//! ```
//!
//! Numbers are little-endian. Earlier releases have the first line only, and no number in the
//! database, which counts as 0: so each line has a checksum of its own and holds by itself.

use super::StoreError;
use super::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file.
const TAIL: &str = "tail";
/// Bytes of the entry, with its checksum.
const ENTRY_BYTES: usize = 20;
/// Bytes of the number of the commit, with its checksum.
const COMMIT_BYTES: usize = 12;

/// How far a log reached at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The last entry; 0 in an empty log.
    pub(super) index: u64,
    /// Its term.
    pub(super) term: u64,
    /// How many commits there were.
    pub(super) commits: u64,
}

/// The file with the mark.
#[derive(Debug)]
pub(super) struct TailMark {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// As last written. Held while it is: writes are in the order of what they say.
    mark: Mutex<Mark>,
}

impl TailMark {
    /// Makes the mark of an empty log. Its name is durable only after a sync of the disk.
    pub(super) fn create(disk: &dyn Disk) -> Result<TailMark, StoreError> {
        let path = disk.path(TAIL);
        let file = disk.create(TAIL).map_err(|error| io_error("open", &path, error))?;
        let mark = TailMark { path, file, mark: Mutex::default() };
        mark.change(|mark| *mark = Mark::default())?;
        mark.sync()?;
        Ok(mark)
    }

    /// What a mark says of a log that is not there: nothing, if the log was never finished.
    pub(super) fn left_behind(disk: &dyn Disk) -> Result<Option<Mark>, StoreError> {
        match TailMark::open(disk) {
            Ok(mark) => Ok(Some(mark.get())),
            Err(StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the mark of an existing log.
    pub(super) fn open(disk: &dyn Disk) -> Result<TailMark, StoreError> {
        let path = disk.path(TAIL);
        let corrupt = |problem: &str| StoreError::Corrupt {
            what: "the tail mark of the log".to_owned(),
            path: path.clone(),
            problem: problem.to_owned(),
        };
        let file = match disk.open(TAIL) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(corrupt("the file is missing"));
            }
            Err(error) => return Err(io_error("open", &path, error)),
        };
        let mark = match read(&*file) {
            Ok(Some(mark)) => mark,
            Ok(None) => return Err(corrupt("its checksum does not match")),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(corrupt("the file is too short"));
            }
            Err(error) => return Err(io_error("read the tail mark", &path, error)),
        };
        Ok(TailMark { path, file, mark: Mutex::new(mark) })
    }

    /// The mark, as last set.
    pub(super) fn get(&self) -> Mark {
        *self.mark.lock()
    }

    /// Takes the mark back before the log becomes shorter, and makes that durable.
    pub(super) fn lower(&self, index: u64, term: u64) -> Result<(), StoreError> {
        self.change(|mark| (mark.index, mark.term) = (index, term))?;
        self.sync()
    }

    /// Sets the mark to a commit that is durable, and to the last entry if the commit changed it.
    /// Durable only after [`TailMark::sync`].
    pub(super) fn set(&self, last: Option<(u64, u64)>, commits: u64) -> Result<(), StoreError> {
        self.change(|mark| {
            if let Some((index, term)) = last {
                (mark.index, mark.term) = (index, term);
            }
            // Another thread may have set a later one since.
            mark.commits = mark.commits.max(commits);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Mark)) -> Result<(), StoreError> {
        let mut mark = self.mark.lock();
        change(&mut mark);
        self.file
            .write_at(0, &to_bytes(*mark))
            .map_err(|error| io_error("write the tail mark", &self.path, error))
    }

    /// Makes the mark durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync().map_err(|error| io_error("sync the tail mark", &self.path, error))
    }
}

fn to_bytes(mark: Mark) -> [u8; ENTRY_BYTES + COMMIT_BYTES] {
    let mut bytes = [0; ENTRY_BYTES + COMMIT_BYTES];
    bytes[..8].copy_from_slice(&mark.index.to_le_bytes());
    bytes[8..16].copy_from_slice(&mark.term.to_le_bytes());
    bytes[20..28].copy_from_slice(&mark.commits.to_le_bytes());
    let entry_checksum = crc32c::crc32c(&bytes[..16]);
    let commit_checksum = crc32c::crc32c(&bytes[20..28]);
    bytes[16..20].copy_from_slice(&entry_checksum.to_le_bytes());
    bytes[28..].copy_from_slice(&commit_checksum.to_le_bytes());
    bytes
}

/// Reads a mark of this release or an earlier one; `None` if a checksum does not match.
fn read(file: &dyn DiskFile) -> Result<Option<Mark>, Error> {
    let mut entry = [0; ENTRY_BYTES];
    file.read_at(0, &mut entry)?;
    let mut commit = [0; COMMIT_BYTES];
    if file.len()? > ENTRY_BYTES as u64 {
        file.read_at(ENTRY_BYTES as u64, &mut commit)?;
    }
    let is_whole = |bytes: &[u8]| {
        let (numbers, checksum) = bytes.split_at(bytes.len() - 4);
        crc32c::crc32c(numbers).to_le_bytes() == checksum
    };
    // A power cut while the file of an earlier release gets longer can leave zeros there.
    if !is_whole(&entry) || !(is_whole(&commit) || commit == [0; COMMIT_BYTES]) {
        return Ok(None);
    }
    let number = |bytes: &[u8]| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[..8]);
        u64::from_le_bytes(number)
    };
    let (index, term, commits) = (number(&entry), number(&entry[8..]), number(&commit));
    Ok(Some(Mark { index, term, commits }))
}

/// An error of the operating system, with what was tried.
pub(super) fn io_error(
    action: &'static str,
    path: &Path,
    error: impl std::fmt::Display,
) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), problem: error.to_string() }
}
