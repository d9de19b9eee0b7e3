//! Where a log keeps its files: one directory of named files.
//!
//! [`Disk`] has what the log needs of a file system and no more, so that a simulator can put a
//! disk with faults ([`FaultDisk`](super::FaultDisk)) under the very code that runs on a real one
//! ([`DirDisk`]). The promises are those of POSIX: a write is durable after [`DiskFile::sync`], and
//! a file's *name* (made, changed or removed) after [`Disk::sync`]. Before that a power cut may keep
//! or lose it.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Error, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One directory of files.
///
/// # Errors
/// All functions give the error of the operating system; its kind is
/// [`NotFound`](std::io::ErrorKind::NotFound) for a name that is not there.
pub trait Disk: Send + Sync + Debug + 'static {
    /// What to call a file in messages.
    fn path(&self, name: &str) -> PathBuf;

    /// True if there is a file of this name.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file, after making an empty one if there is none. What is in it stays.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in place of the file that had it. At no moment, and after no
    /// power cut, is there neither.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, sorted. Names that are not UTF-8 are not the log's and left out.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes all names durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. It stays open, and the same file, if its name is changed or removed.
///
/// # Errors
/// All functions give the error of the operating system.
#[allow(clippy::len_without_is_empty)] // nobody asks
pub trait DiskFile: Send + Sync + Debug + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `bytes` from the file, starting at byte `at`. Where the file ends before, the error is
    /// [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof).
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes`, starting at byte `at`. The file grows as needed.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file off, or extends it with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable.
    fn sync(&self) -> io::Result<()>;

    /// Takes the file for this opening of it, until it is dropped. False if another has it. The lock
    /// is advisory: it is known only to those who ask for it.
    fn try_lock(&self) -> io::Result<bool>;
}

/// A real directory.
#[derive(Debug)]
pub struct DirDisk {
    directory: PathBuf,
}

impl DirDisk {
    /// The files in `directory`, which need not be there before it is used.
    pub fn new(directory: &Path) -> DirDisk {
        DirDisk { directory: directory.to_owned() }
    }
}

impl Disk for DirDisk {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.path(name).try_exists()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(DirFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        Ok(Arc::new(DirFile(options.open(self.path(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

#[derive(Debug)]
struct DirFile(File);

impl DiskFile for DirFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        // Times of change need not be durable; a length that is needed to read the data is.
        self.0.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            // A file system without locks is used without them.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Reads or writes a file from its start to its end.
#[derive(Debug)]
pub(super) struct Cursor {
    file: Arc<dyn DiskFile>,
    at: u64,
    length: u64,
}

impl Cursor {
    /// At the start of a file.
    pub(super) fn new(file: Arc<dyn DiskFile>) -> io::Result<Cursor> {
        let length = file.len()?;
        Ok(Cursor { file, at: 0, length })
    }

    /// The file.
    pub(super) fn into_file(self) -> Arc<dyn DiskFile> {
        self.file
    }
}

impl Read for Cursor {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = bytes.len().min(left);
        self.file.read_at(self.at, &mut bytes[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Cursor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// redb's view of a file. It is asked for no locks: whoever opened the file took one.
#[derive(Debug)]
pub(super) struct Backend(pub(super) Arc<dyn DiskFile>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> Result<u64, Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.0.write_at(offset, data)
    }
}
