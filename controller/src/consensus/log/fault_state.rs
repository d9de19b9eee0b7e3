//! What a [`FaultDisk`] is made of: its files, their names, and the faults that are to come.

use super::fault_disk::{Counters, FaultDisk};
use super::fault_file::FaultFile;
use std::collections::BTreeMap;
use std::io::{self, Error, ErrorKind};

#[derive(Debug, Default)]
pub(super) struct State {
    /// All files, also those that no longer have a name.
    pub(super) files: Vec<FaultFile>,
    pub(super) names: BTreeMap<String, usize>,
    pub(super) durable_names: BTreeMap<String, usize>,
    /// What was done to the names since the last sync, in order.
    pub(super) unsynced: Vec<NameChange>,
    pub(super) names_poisoned: bool,
    /// Room that is left, in bytes; without limit if `None`.
    pub(super) room: Option<u64>,
    pub(super) next_sync_fails: bool,
    pub(super) reads_fail: bool,
    /// Operations until the disk stops.
    pub(super) stops_after: Option<u64>,
    pub(super) is_stopped: bool,
    pub(super) counters: Counters,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Make(String, usize),
    Rename(String, String),
    Remove(String),
}

/// What an operation does, as far as faults are concerned.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Operation {
    Look,
    Read,
    Change,
}

impl State {
    /// Counts an operation, and says whether it may be done.
    pub(super) fn begin(&mut self, operation: Operation) -> io::Result<()> {
        if operation == Operation::Change && !self.is_stopped {
            self.counters.operations += 1;
            if let Some(left) = &mut self.stops_after {
                *left = left.saturating_sub(1);
                self.is_stopped = *left == 0;
            }
        }
        if self.is_stopped {
            return Err(Error::new(FaultDisk::STOPPED, FaultDisk::STOPPED_MESSAGE));
        }
        if operation == Operation::Read && self.reads_fail {
            return Err(io_fault());
        }
        Ok(())
    }

    pub(super) fn begin_sync(&mut self) -> io::Result<bool> {
        self.begin(Operation::Change)?;
        self.counters.syncs += 1;
        Ok(!std::mem::take(&mut self.next_sync_fails))
    }

    pub(super) fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn rename(&mut self, change: NameChange) {
        if let Some(file) = change.apply(&mut self.names)
            && let Some(room) = &mut self.room
        {
            *room += self.files[file].room();
        }
        self.unsynced.push(change);
    }

    /// Forgets files that have no name any more and that nobody has open, but not the numbers of
    /// the others. Only while all names are durable.
    pub(super) fn forget_nameless(&mut self) {
        let mut named = vec![false; self.files.len()];
        for file in self.names.values() {
            named[*file] = true;
        }
        for (file, _) in self.files.iter_mut().zip(named).filter(|(_, is_named)| !is_named) {
            if file.handles == 0 {
                *file = FaultFile::default();
            }
        }
    }
}

impl NameChange {
    /// Gives the file that lost its name by this.
    pub(super) fn apply(&self, names: &mut BTreeMap<String, usize>) -> Option<usize> {
        match self {
            NameChange::Make(name, file) => names.insert(name.clone(), *file),
            NameChange::Rename(from, to) => {
                let file = names.remove(from)?;
                names.insert(to.clone(), file)
            }
            NameChange::Remove(name) => names.remove(name),
        }
    }
}

pub(super) fn io_fault() -> Error {
    Error::other("Input/output error")
}
