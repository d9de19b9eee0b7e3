//! The state of a lab on disk, from which any process can take it down.
//!
//! What a lab makes is written down before it is made, so that a crash at any moment leaves nothing
//! behind that `down` does not know. Devices need no record of their own: each is in a namespace of
//! the lab, and ends with it.

use crate::error::LabError;
use crate::process::{ProcessRecord, TOKEN_VARIABLE};
use crate::spec::{LabSpec, WorkloadKey, check_lab_name};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where labs are recorded. It is gone after a restart of the machine, as the labs are.
pub const STATE_ROOT: &str = "/run/spanwire/lab";
/// The format of the state file; another one is not read.
const FORMAT: u32 = 1;
const STATE_FILE: &str = "state.json";
const LOCK_FILE: &str = "lock";

/// How far a lab got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabPhase {
    /// It is being made. If nobody works on it, its maker crashed.
    Creating,
    /// It is up.
    Up,
    /// It is being taken down.
    Removing,
}

/// A place of a lab in which programs can run: each is a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Where the underlay's bridge is, and a controller can be reached by all hosts.
    Fabric,
    /// A host.
    Host(String),
    /// A workload.
    Workload(WorkloadKey),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Fabric => f.write_str("fabric"),
            Place::Host(host) => write!(f, "host {host}"),
            Place::Workload(key) => write!(f, "workload {key}"),
        }
    }
}

/// A lab as it is recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabRecord {
    format: u32,
    pub(crate) phase: LabPhase,
    /// Marks the processes of the lab, see [`crate::process`].
    pub(crate) token: String,
    pub(crate) spec: LabSpec,
    /// Namespaces that are the lab's, whether they are there yet or not.
    pub(crate) namespaces: BTreeSet<String>,
    /// Processes by label.
    pub(crate) processes: BTreeMap<String, ProcessRecord>,
}

impl LabRecord {
    /// The record of a lab that is about to be made.
    pub(crate) fn new(spec: LabSpec) -> Result<LabRecord, LabError> {
        const UUID_FILE: &str = "/proc/sys/kernel/random/uuid";
        let token = fs::read_to_string(UUID_FILE)
            .map_err(LabError::io(format!("reading {UUID_FILE}")))?
            .trim()
            .to_owned();
        let mut record = LabRecord {
            format: FORMAT,
            phase: LabPhase::Creating,
            token,
            spec,
            namespaces: BTreeSet::new(),
            processes: BTreeMap::new(),
        };
        record.namespaces = std::iter::once(Place::Fabric)
            .chain(record.spec.hosts.iter().map(|host| Place::Host(host.name.clone())))
            .chain(record.spec.workloads.iter().map(|w| Place::Workload(w.key.clone())))
            .map(|place| record.namespace_name(&place))
            .collect();
        Ok(record)
    }

    /// Reads the record of a lab, whoever works on it at present.
    pub fn read(lab: &str) -> Result<LabRecord, LabError> {
        check_lab_name(lab)?;
        let path = directory(lab).join(STATE_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LabError::NotFound { lab: lab.to_owned(), known: list()? });
            }
            Err(error) => return Err(LabError::io(format!("reading {}", path.display()))(error)),
        };
        let record: LabRecord = serde_json::from_str(&text)
            .map_err(|error| LabError::Record { path: path.clone(), problem: error.to_string() })?;
        if record.format != FORMAT {
            return Err(LabError::Record {
                path,
                problem: format!("its format is {}, and {FORMAT} is read here", record.format),
            });
        }
        Ok(record)
    }

    /// Replaces the file in one step.
    pub(crate) fn write(&self) -> Result<(), LabError> {
        let directory = directory(&self.spec.name);
        let path = directory.join(STATE_FILE);
        let new = directory.join(format!("{STATE_FILE}.new"));
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self).map_err(std::io::Error::other)?)?;
            fs::rename(&new, &path)
        };
        write().map_err(LabError::io(format!("writing {}", path.display())))
    }

    /// What the lab is made of.
    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// How far it got.
    pub fn phase(&self) -> LabPhase {
        self.phase
    }

    /// The processes of the lab, by label.
    pub fn processes(&self) -> &BTreeMap<String, ProcessRecord> {
        &self.processes
    }

    /// True if the process of this label runs.
    pub fn is_running(&self, label: &str) -> bool {
        self.processes.get(label).is_some_and(|process| process.id.is_running())
    }

    /// The file that the output of the process of this label goes to.
    pub fn log_path(&self, label: &str) -> PathBuf {
        directory(&self.spec.name).join(format!("{label}.log"))
    }

    /// The place that a text names: `fabric`, a host, or a workload as `project/name`.
    pub fn find_place(&self, text: &str) -> Result<Place, LabError> {
        let place = match text.split_once('/') {
            Some((project, name)) => Place::Workload(WorkloadKey::new(project, name)),
            None if text == "fabric" && self.spec.host(text).is_none() => Place::Fabric,
            None => Place::Host(text.to_owned()),
        };
        self.check_place(&place).map(|()| place)
    }

    /// The name of the network namespace of a place, for the `ip` program.
    pub fn namespace(&self, place: &Place) -> Result<String, LabError> {
        self.check_place(place).map(|()| self.namespace_name(place))
    }

    /// A command that runs `program` in a place, with nothing else set up: the caller adds
    /// arguments and says where its output goes. Unlike [`crate::Lab::spawn`] it is not recorded; but
    /// it carries the lab's token, so that what still runs when the lab goes down ends with it.
    pub fn command_in(
        &self,
        place: &Place,
        program: impl AsRef<std::ffi::OsStr>,
    ) -> Result<Command, LabError> {
        let namespace = self.namespace(place)?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace]).arg(program);
        command.env(TOKEN_VARIABLE, &self.token);
        Ok(command)
    }

    fn check_place(&self, place: &Place) -> Result<(), LabError> {
        let there = match place {
            Place::Fabric => true,
            Place::Host(host) => self.spec.host(host).is_some(),
            Place::Workload(key) => self.spec.workload(key).is_some(),
        };
        if there {
            return Ok(());
        }
        Err(LabError::NoSuchPlace { lab: self.spec.name.clone(), what: place.to_string() })
    }

    pub(crate) fn namespace_name(&self, place: &Place) -> String {
        let lab = &self.spec.name;
        match place {
            Place::Fabric => format!("spw-{lab}-fabric"),
            Place::Host(host) => format!("spw-{lab}-h-{host}"),
            Place::Workload(key) => {
                // The digits of the derived device name: short, and the same in every lab.
                let device = spanwire_topology::model::derived_device_name(&key.project, &key.name);
                format!("spw-{lab}-w-{}", device.trim_start_matches("spw"))
            }
        }
    }

    /// True if nothing of the lab is left: the machine was restarted, or someone removed it.
    pub(crate) fn is_stale(&self) -> Result<bool, LabError> {
        let there = crate::namespace::names()?;
        Ok(self.namespaces.is_disjoint(&there)
            && !self.processes.values().any(|process| process.id.is_running()))
    }
}

/// The directory of a lab.
pub(crate) fn directory(lab: &str) -> PathBuf {
    Path::new(STATE_ROOT).join(lab)
}

/// The names of all labs of the machine, sorted.
pub fn list() -> Result<Vec<String>, LabError> {
    let entries = match fs::read_dir(STATE_ROOT) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LabError::io(format!("reading {STATE_ROOT}"))(error)),
    };
    let mut labs: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join(STATE_FILE).exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    labs.sort();
    Ok(labs)
}

/// The right to change a lab: one process has it at a time, and loses it when it ends, however
/// that happens.
#[derive(Debug)]
pub(crate) struct LabLock {
    file: File,
}

impl LabLock {
    /// Takes the lock, and makes the directory of the lab for that.
    pub(crate) fn take(lab: &str) -> Result<LabLock, LabError> {
        LabLock::take_in(&directory(lab), lab)
    }

    fn take_in(directory: &Path, lab: &str) -> Result<LabLock, LabError> {
        fs::create_dir_all(directory)
            .map_err(LabError::io(format!("making {}", directory.display())))?;
        let path = directory.join(LOCK_FILE);
        let action = format!("locking {}", path.display());
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(LabError::io(action.clone()))?;
        let busy = || {
            let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            let pid = if pid.is_empty() { "(unknown)".to_owned() } else { pid };
            LabError::Busy { lab: lab.to_owned(), pid }
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy()),
            Err(TryLockError::Error(error)) => return Err(LabError::io(action)(error)),
        }
        // Whoever held it may have removed the lab, and this file, between the two calls.
        let same = |found: fs::Metadata| Ok(found.ino() == file.metadata()?.ino());
        if !fs::metadata(&path).and_then(same).unwrap_or(false) {
            return Err(busy());
        }
        // The pid is for the message above only; nobody is ever killed by it.
        file.set_len(0)
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
            .map_err(LabError::io(action))?;
        Ok(LabLock { file })
    }
}

impl Drop for LabLock {
    fn drop(&mut self) {
        // Closing the file gives the lock back only once nobody else has it open, and a child that
        // another thread has forked has, until it executes its program (flock(2)).
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "giving the lock of a lab back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_given_back_although_a_child_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let lock = LabLock::take_in(directory.path(), "l").unwrap();
        let inherited = lock.file.try_clone().unwrap();
        let again = LabLock::take_in(directory.path(), "l");
        assert!(matches!(again, Err(LabError::Busy { .. })), "{again:?}");
        drop(lock);
        LabLock::take_in(directory.path(), "l").unwrap();
        drop(inherited);
    }
}
