//! A disk in memory that fails as disks do, for tests and simulations.
//!
//! What programs read is kept apart from what a power cut would leave ([`FaultDisk::crash`]):
//!
//! * a write or a change of length is durable after a sync of its file. Until then each of them is
//!   kept, lost or torn at a boundary of sectors on its own, in no order;
//! * a name that was made, changed or removed is durable after a sync of the disk. Until then a
//!   power cut undoes some of the last of these changes, and keeps those before;
//! * a sync that fails loses what it was to write, and no later sync of that file succeeds.
//!
//! Nothing here depends on a clock or on chance: whatever is drawn comes from the caller's
//! generator, and the same calls with the same seed leave the same bytes.

use super::disk::{Disk, DiskFile};
use super::fault_file::{FaultFile, Survival};
use super::fault_state::{NameChange, Operation, State, io_fault};
use parking_lot::Mutex;
use rand::{Rng, RngExt as _};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A [`Disk`] with faults. Clones are the same disk.
#[derive(Clone)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
}

/// How much was asked of a disk since it was made, power cuts included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes to files.
    pub writes: u64,
    /// Syncs of files, and of the disk for its names.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
    /// All that [`FaultDisk::stop_after`] counts.
    pub operations: u64,
}

/// A bit that was altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flipped {
    /// The file.
    pub name: String,
    /// The byte in it.
    pub offset: u64,
}

impl Default for FaultDisk {
    fn default() -> FaultDisk {
        FaultDisk::new()
    }
}

impl fmt::Debug for FaultDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The files may have megabytes.
        let state = self.state.lock();
        let names: Vec<_> = state.names.keys().collect();
        f.debug_struct("FaultDisk").field("names", &names).finish_non_exhaustive()
    }
}

impl FaultDisk {
    /// The kind of every error after [`FaultDisk::stop_after`], and of a disk that was replaced by
    /// [`FaultDisk::crash`] or [`FaultDisk::kill`]. Nothing else gives this kind.
    pub const STOPPED: ErrorKind = ErrorKind::NotConnected;
    /// What such an error says: databases give away no more than that.
    pub const STOPPED_MESSAGE: &str = "the disk has stopped";

    /// An empty disk without faults.
    pub fn new() -> FaultDisk {
        FaultDisk::with(State::default())
    }

    fn with(state: State) -> FaultDisk {
        FaultDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk after a power cut. This one has stopped: whoever still holds it is a process that
    /// is dead. Faults other than damage and a full disk have gone.
    pub fn crash(&self, rng: &mut impl Rng) -> FaultDisk {
        let old = self.replace();
        let survival = match rng.random_range(0..6) {
            0 => Survival::None,
            1 => Survival::All,
            n => Survival::Percent(20 * (n - 1)),
        };
        let kept = match survival {
            Survival::None => 0,
            Survival::All => old.unsynced.len(),
            Survival::Percent(_) => rng.random_range(0..=old.unsynced.len()),
        };
        let mut names = old.durable_names;
        for change in old.unsynced.into_iter().take(kept) {
            change.apply(&mut names);
        }
        let files = old.files.into_iter().map(|file| file.crash(survival, rng)).collect();
        let durable_names = names.clone();
        let (room, counters) = (old.room, old.counters);
        let mut state = State { files, names, durable_names, room, counters, ..State::default() };
        state.forget_nameless();
        FaultDisk::with(state)
    }

    /// The disk after the death of the process that used it, with the power still on: everything is
    /// as it was, what was not synced still is not, and locks have gone. This one has stopped.
    pub fn kill(&self) -> FaultDisk {
        let mut old = self.replace();
        old.files = old.files.into_iter().map(FaultFile::closed).collect();
        (old.is_stopped, old.stops_after) = (false, None);
        FaultDisk::with(old)
    }

    /// Takes the state away and leaves a stopped disk.
    fn replace(&self) -> State {
        let mut state = self.state.lock();
        let counters = state.counters;
        std::mem::replace(&mut *state, State { is_stopped: true, counters, ..State::default() })
    }

    /// From now on files can take `bytes_left` more bytes, in blocks of 4096. Beyond it writes fail
    /// with [`StorageFull`](std::io::ErrorKind::StorageFull). Room that files give back counts.
    pub fn fill(&self, bytes_left: u64) {
        self.state.lock().room = Some(bytes_left);
    }

    /// Ends [`FaultDisk::fill`].
    pub fn free(&self) {
        self.state.lock().room = None;
    }

    /// Makes the next sync fail, of a file or of the disk. What it was to make durable is lost at
    /// the next power cut, and later syncs of the same file (or of the disk) fail too until then.
    pub fn fail_next_sync(&self) {
        self.state.lock().next_sync_fails = true;
    }

    /// Makes reads of files fail.
    pub fn fail_reads(&self) {
        self.state.lock().reads_fail = true;
    }

    /// Ends [`FaultDisk::fail_reads`], and takes back a [`FaultDisk::fail_next_sync`] that did not
    /// come to pass.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        (state.reads_fail, state.next_sync_fails) = (false, false);
    }

    /// Stops the disk: of the operations from now on (writes, changes of length, syncs, and names
    /// made, changed or removed) the first `operations - 1` succeed. The next, and whatever comes
    /// after it, reads included, fails with [`FaultDisk::STOPPED`].
    pub fn stop_after(&self, operations: u64) {
        self.state.lock().stops_after = Some(operations);
    }

    /// True if the disk has stopped.
    pub fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }

    /// Alters one bit of what is durable, in a byte that is not zero, so that it is likely to
    /// matter: in the file called `name`, or in any file, the large ones more often. `None` if there
    /// is no such byte.
    pub fn flip_bit(&self, name: Option<&str>, rng: &mut impl Rng) -> Option<Flipped> {
        let mut state = self.state.lock();
        let candidates: Vec<(String, usize, usize)> = state
            .names
            .iter()
            .filter(|(candidate, _)| name.is_none_or(|name| name == candidate.as_str()))
            .map(|(name, file)| (name.clone(), *file, state.files[*file].nonzero()))
            .collect();
        let total: usize = candidates.iter().map(|(_, _, nonzero)| nonzero).sum();
        if total == 0 {
            return None;
        }
        let mut n = rng.random_range(0..total);
        let bit = rng.random_range(0..8);
        for (name, file, nonzero) in candidates {
            if n < nonzero {
                let offset = state.files[file].flip(n, bit)?;
                return Some(Flipped { name, offset });
            }
            n -= nonzero;
        }
        None
    }

    /// How much was asked of the disk so far.
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// What programs read of all files, by name. Two disks are the same if these are.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.lock();
        let files = state.names.iter();
        files.map(|(name, file)| (name.clone(), state.files[*file].content().to_vec())).collect()
    }

    /// A disk with these files, all durable.
    pub fn with_contents(contents: BTreeMap<String, Vec<u8>>) -> FaultDisk {
        let mut state = State::default();
        for (name, content) in contents {
            state.names.insert(name, state.files.len());
            state.files.push(FaultFile::with_content(content));
        }
        state.durable_names = state.names.clone();
        FaultDisk::with(state)
    }

    fn handle(&self, file: usize) -> Arc<dyn DiskFile> {
        if let Some(file) = self.state.lock().files.get_mut(file) {
            file.handles += 1;
        }
        Arc::new(Handle { disk: self.clone(), file, has_lock: AtomicBool::new(false) })
    }
}

impl Disk for FaultDisk {
    fn path(&self, name: &str) -> PathBuf {
        Path::new("/fault-disk").join(name)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        let mut state = self.state.lock();
        state.begin(Operation::Look)?;
        Ok(state.names.contains_key(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = {
            let mut state = self.state.lock();
            state.begin(Operation::Look)?;
            state.find(name)?
        };
        Ok(self.handle(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if self.exists(name)? {
            return self.open(name);
        }
        let mut state = self.state.lock();
        state.begin(Operation::Change)?;
        let file = state.files.len();
        state.files.push(FaultFile::default());
        state.rename(NameChange::Make(name.to_owned(), file));
        drop(state);
        Ok(self.handle(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::Change)?;
        state.find(from)?;
        state.rename(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::Change)?;
        state.find(name)?;
        state.rename(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.begin(Operation::Look)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.begin_sync()? {
            state.names_poisoned = true;
            state.unsynced.clear();
        }
        if state.names_poisoned {
            return Err(io_fault());
        }
        state.durable_names = state.names.clone();
        state.unsynced.clear();
        state.forget_nameless();
        Ok(())
    }
}

/// An open file.
struct Handle {
    disk: FaultDisk,
    file: usize,
    has_lock: AtomicBool,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Handle {
    fn with<T>(
        &self,
        operation: Operation,
        function: impl FnOnce(&mut State, usize) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        state.begin(operation)?;
        function(&mut state, self.file)
    }
}

impl DiskFile for Handle {
    fn len(&self) -> io::Result<u64> {
        self.with(Operation::Look, |state, file| Ok(state.files[file].len()))
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.with(Operation::Read, |state, file| state.files[file].read_at(at, bytes))
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(Operation::Change, |state, file| {
            state.counters.writes += 1;
            let needed = state.files[file].room_for(at, bytes.len());
            if state.room.is_some_and(|room| room < needed) {
                return Err(Error::new(ErrorKind::StorageFull, "No space left on device"));
            }
            state.files[file].write_at(at, bytes)?;
            state.counters.bytes += bytes.len() as u64;
            if let Some(room) = &mut state.room {
                *room -= needed;
            }
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(Operation::Change, |state, file| {
            let before = state.files[file].room();
            state.files[file].set_len(length)?;
            let after = state.files[file].room();
            if let Some(room) = &mut state.room {
                *room += before - after;
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if !state.begin_sync()? {
            state.files[self.file].poison();
        }
        if state.files[self.file].sync() { Ok(()) } else { Err(io_fault()) }
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.with(Operation::Look, |state, file| {
            if self.has_lock.load(Ordering::Relaxed) {
                return Ok(true);
            }
            let is_free = !std::mem::replace(&mut state.files[file].is_locked, true);
            self.has_lock.store(is_free, Ordering::Relaxed);
            Ok(is_free)
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A disk that was replaced has no files.
        if let Some(file) = self.disk.state.lock().files.get_mut(self.file) {
            file.handles -= 1;
            if self.has_lock.load(Ordering::Relaxed) {
                file.is_locked = false;
            }
        }
    }
}
