//! What an agent says of itself: a file in the state directory, replaced in one step whenever
//! something in it changes. `spanwire lab`, the demo and tests read it; so may anybody.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the file in the state directory.
pub const STATUS_FILE: &str = "status.json";
/// The format of the file.
const FORMAT: u32 = 1;
/// The most rejections and findings that are listed; all are counted.
pub const STATUS_LIST_MAX: usize = 100;

/// What the agent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// It puts the view from the disk into the datapath. No controller was asked yet.
    Restoring,
    /// It has no controller, and tries to reach one.
    Connecting,
    /// It has a controller, and everything that was sent is in force.
    Following,
    /// It puts a step of the view into the datapath.
    Applying,
    /// A controller has refused it; it will ask again.
    Refused,
    /// It was stopped. The datapath still enforces the view.
    Stopped,
}

/// Something of the view that is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRejection {
    /// The item.
    pub item: String,
    /// Why.
    pub reason: String,
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The format of the file.
    pub format: u32,
    /// The name of the host.
    pub host: String,
    /// The driver of the datapath.
    pub datapath: String,
    /// The process.
    pub pid: u32,
    /// What it is doing.
    pub activity: Activity,
    /// The controller that it is connected to, or tries to reach.
    pub controller: Option<String>,
    /// True if a controller has welcomed it.
    pub connected: bool,
    /// The cluster that the view comes from, in hexadecimal.
    pub cluster_id: Option<String>,
    /// The revision in force; 0 if none is.
    pub revision: u64,
    /// When it came into force, in microseconds after 1970; 0 if none is.
    pub applied_at_us: u64,
    /// Items of the view.
    pub items: usize,
    /// How much of the view is not in force.
    pub rejections_total: usize,
    /// The first of it.
    pub rejections: Vec<StatusRejection>,
    /// Differences of the datapath that were put right since the start.
    pub repaired_total: u64,
    /// What the last audit that found something found.
    pub findings: Vec<String>,
    /// What is wrong at present, if anything is.
    pub problem: Option<String>,
}

impl Status {
    pub(crate) fn new(host: &str, datapath: &str) -> Status {
        Status {
            format: FORMAT,
            host: host.to_owned(),
            datapath: datapath.to_owned(),
            pid: std::process::id(),
            activity: Activity::Restoring,
            controller: None,
            connected: false,
            cluster_id: None,
            revision: 0,
            applied_at_us: 0,
            items: 0,
            rejections_total: 0,
            rejections: Vec::new(),
            repaired_total: 0,
            findings: Vec::new(),
            problem: None,
        }
    }

    /// Reads the status of the agent with this state directory.
    ///
    /// # Errors
    ///
    /// Of kind `NotFound` if no agent has run there yet, and of kind `InvalidData` if the file is
    /// of another release.
    pub fn read(state_dir: &Path) -> io::Result<Status> {
        let text = fs::read(state_dir.join(STATUS_FILE))?;
        let status: Status = serde_json::from_slice(&text)?;
        if status.format != FORMAT {
            let found = status.format;
            let problem = format!("the status has format {found}, and {FORMAT} is read here");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(status)
    }

    pub(crate) fn write(&self, state_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        replace(&state_dir.join(STATUS_FILE), &text)
    }
}

/// Replaces a file in one step. Not made durable: after a power cut it says nothing that is true
/// anyway.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, content)?;
    fs::rename(&new, path)
}

/// The time, in microseconds after 1970.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let error = Status::read(directory.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let mut status = Status::new("h1", "record");
        status.rejections.push(StatusRejection { item: "port 7".into(), reason: "no".into() });
        status.write(directory.path()).unwrap();
        assert_eq!(Status::read(directory.path()).unwrap(), status);
        status.format = FORMAT + 1;
        status.write(directory.path()).unwrap();
        let error = Status::read(directory.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
