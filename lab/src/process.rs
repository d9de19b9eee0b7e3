//! Processes that run in a lab, and how they are stopped for certain, and nobody else.
//!
//! A process is recorded by its id and the moment it started, so that a process to which the
//! kernel gave the same id later is left alone. Between the start of a process and its record a
//! crash may fall: so each carries the lab's token in its environment from its first instruction,
//! and [`find_marked`] finds it inside the lab's own namespaces.

use crate::error::LabError;
use crate::record::Place;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// The environment variable that carries the token of the lab.
pub(crate) const TOKEN_VARIABLE: &str = "SPANWIRE_LAB_TOKEN";
/// How long a process may take to go after it was killed.
const KILL_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const KILL_POLL: Duration = Duration::from_millis(5);

/// A process that a lab has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Which process.
    pub id: ProcessId,
    /// Where it runs.
    pub place: Place,
    /// What was run.
    pub command: String,
}

/// A process, never mistaken for a later one to which the kernel gave the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number.
    pub pid: u32,
    /// When it started, in clock ticks after the start of the machine.
    pub start_time: u64,
}

impl ProcessId {
    /// The running process of this number; `None` if there is none.
    pub fn of(pid: u32) -> Option<ProcessId> {
        start_time_of(pid).map(|start_time| ProcessId { pid, start_time })
    }

    /// True if the process is there and has not ended.
    pub fn is_running(&self) -> bool {
        start_time_of(self.pid) == Some(self.start_time)
    }

    /// Sends a signal, if the process is still there. Returns whether it was.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool, LabError> {
        if !self.is_running() {
            return Ok(false);
        }
        let pid = i32::try_from(self.pid).map_err(|_| LabError::Io {
            action: format!("sending {signal} to process {}", self.pid),
            source: std::io::ErrorKind::InvalidInput.into(),
        })?;
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::ESRCH) => Ok(false),
            Err(errno) => {
                Err(LabError::io(format!("sending {signal} to process {pid}"))(errno.into()))
            }
        }
    }

    /// Waits until the process is gone. Returns whether it is.
    pub(crate) fn wait_gone(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.is_running() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(KILL_POLL);
        }
        true
    }

    /// Kills the process and waits until it is gone.
    pub(crate) fn kill(&self) -> Result<(), LabError> {
        self.signal(Signal::SIGKILL)?;
        if self.wait_gone(KILL_WAIT_MAX) {
            return Ok(());
        }
        Err(LabError::Io {
            action: format!("waiting for process {} to end", self.pid),
            source: std::io::ErrorKind::TimedOut.into(),
        })
    }
}

/// When a process started; `None` if there is none or it has ended and only waits to be reaped.
fn start_time_of(pid: u32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The start time in a `/proc/PID/stat`: the 22nd field; see proc_pid_stat(5). The second one is
/// the program's name in parentheses, in which anything may stand.
fn parse_stat(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = *fields.first()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// The processes inside the namespaces that carry the token.
pub(crate) fn find_marked(
    token: &str,
    namespaces: &BTreeSet<String>,
) -> Result<Vec<ProcessId>, LabError> {
    let inodes: BTreeSet<u64> = namespaces
        .iter()
        .filter_map(|namespace| fs::metadata(crate::namespace::path_of(namespace)).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let mark = format!("{TOKEN_VARIABLE}={token}");
    let processes = fs::read_dir("/proc").map_err(LabError::io("reading /proc"))?;
    Ok(processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            let id = ProcessId::of(pid)?;
            let namespace = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let marked = environment.split(|byte| *byte == 0).any(|it| it == mark.as_bytes());
            (inodes.contains(&namespace.ino()) && marked).then_some(id)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(stat), Some(4242));
        assert_eq!(parse_stat(&stat.replace(" S ", " Z ")), None);
        for bad in ["", "7 (a", "7 (a) S", "7 (a) S 1 2"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_reused_process_number_is_not_taken_for_the_old_process() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.is_running());
        let earlier = ProcessId { start_time: own.start_time - 1, ..own };
        assert!(!earlier.is_running());
        // Were the start time not compared, this would end the test.
        assert!(!earlier.signal(Signal::SIGKILL).unwrap());
    }
}
