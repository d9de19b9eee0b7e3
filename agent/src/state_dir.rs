//! The directory in which an agent keeps what it needs to go on: one agent at a time has it, and it
//! says which agent that is.

use crate::error::StoreError;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "agent.lock";
const STARTS_FILE: &str = "agent.starts";

/// The right to use a state directory.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    lock: File,
}

/// Which agent this is, and how often it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Starts {
    /// Random, made with the first start.
    pub(crate) instance: u64,
    /// Starts in this directory, this one included.
    pub(crate) count: u32,
}

impl StateDir {
    /// Makes the directory if need be, and takes it for this process.
    pub(crate) fn take(path: &Path) -> Result<StateDir, StoreError> {
        fs::create_dir_all(path).map_err(failed("could not make", path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed("could not open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&lock_path).unwrap_or_default().trim().to_owned();
                let pid = if pid.is_empty() { "(unknown)".to_owned() } else { pid };
                return Err(StoreError::InUse { directory: path.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed("could not lock", &lock_path)(source));
            }
        }
        // For the message above only.
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(failed("could not write", &lock_path))?;
        Ok(StateDir { path: path.to_owned(), lock })
    }

    /// Where the directory is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Counts a start. After `Ok` the count survives a power cut: were it forgotten, controllers
    /// could take what an earlier run said for newer than what this one says.
    ///
    /// A file that does not hold what it should makes this another instance, as an empty directory
    /// would: of two instances, the one that connects last wins.
    pub(crate) fn count_start(&self) -> Result<Starts, StoreError> {
        let path = self.path.join(STARTS_FILE);
        let before = match fs::read(&path) {
            Ok(text) => Starts::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(failed("could not read", &path)(source)),
        };
        let before = before.unwrap_or_else(|| Starts { instance: rand::random(), count: 0 });
        let starts = match before.count.checked_add(1) {
            Some(count) => Starts { count, ..before },
            None => Starts { instance: rand::random(), count: 1 },
        };
        self.replace_durably(&path, starts.to_text().as_bytes())
            .map_err(failed("could not write", &path))?;
        Ok(starts)
    }

    fn replace_durably(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.path)?.sync_all()
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // Closing the file gives the lock back only once nobody else has it open, and a child that
        // another thread has forked has, until it executes its program (flock(2)).
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(directory = %self.path.display(), %error, "giving the lock back");
        }
    }
}

impl Starts {
    fn to_text(self) -> String {
        format!("{:016x} {}\n", self.instance, self.count)
    }

    fn parse(text: &[u8]) -> Option<Starts> {
        let text = std::str::from_utf8(text).ok()?;
        let (instance, count) = text.strip_suffix('\n')?.split_once(' ')?;
        let instance = u64::from_str_radix(instance, 16).ok()?;
        Some(Starts { instance, count: count.parse().ok()? })
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_given_back_although_a_child_has_the_file_open() {
        let root = tempfile::tempdir().unwrap();
        let directory = StateDir::take(root.path()).unwrap();
        let inherited = directory.lock.try_clone().unwrap();
        assert!(matches!(StateDir::take(root.path()), Err(StoreError::InUse { .. })));
        drop(directory);
        StateDir::take(root.path()).unwrap();
        drop(inherited);
    }

    #[test]
    fn starts_are_counted_and_damage_makes_another_instance() {
        let root = tempfile::tempdir().unwrap();
        let directory = StateDir::take(root.path()).unwrap();
        let first = directory.count_start().unwrap();
        assert_eq!(first.count, 1);
        drop(directory);
        let directory = StateDir::take(root.path()).unwrap();
        assert_eq!(directory.count_start().unwrap(), Starts { count: 2, ..first });
        let path = root.path().join(STARTS_FILE);
        for damaged in ["", "nonsense\n", "00 1", "00 -1\n", "00 4294967296\n", "\u{ff} 1\n"] {
            fs::write(&path, damaged).unwrap();
            let other = directory.count_start().unwrap();
            assert_eq!(other.count, 1, "{damaged:?}");
            assert_ne!(other.instance, first.instance);
        }
        fs::write(&path, format!("07 {}\n", u32::MAX)).unwrap();
        let other = directory.count_start().unwrap();
        assert_eq!(other.count, 1);
        assert_ne!(other.instance, 7);
    }
}
