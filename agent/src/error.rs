//! What can go wrong in an agent.

use crate::datapath::DatapathError;
use std::io;
use std::path::PathBuf;

/// Why an agent could not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The datapath cannot be used.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// Another agent connected as this host later.
    #[error(
        "another agent has connected as host {host} ({detail}): this one stops, so that the two do \
         not take the host from each other in turns. Stop the other one, or give each its own \
         host name, and start this one again"
    )]
    Superseded {
        /// The host.
        host: String,
        /// The reason in the controller's words.
        detail: String,
    },
    /// A thread could not be started, or has ended by itself.
    #[error("{what}: {problem}")]
    Thread {
        /// The thread.
        what: &'static str,
        /// What happened.
        problem: String,
    },
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}; create it, or name another one with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("{}: {bytes} bytes are too many: a configuration has {max} at most", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        max: u64,
    },
    /// A line of the file is not as it should be.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A value that was given on the command line, or is given nowhere.
    #[error("{field}: {problem}")]
    Value {
        /// The field, as it is called in the file.
        field: &'static str,
        /// What is wrong and what was expected.
        problem: String,
    },
}

/// Why the view could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent uses the state directory.
    #[error(
        "{} is in use by process {pid}: stop that agent first, or give this one a state directory \
         of its own (state_dir)",
        directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process that uses it, as far as it is known.
        pid: String,
    },
    /// The view in the state directory is another host's.
    #[error(
        "{} holds the view of host {found:?}, and this agent is host {host:?}: give it a state \
         directory of its own (state_dir), or, if the host was renamed, delete that file",
        path.display()
    )]
    OtherHost {
        /// The file.
        path: PathBuf,
        /// The host that it belongs to.
        found: String,
        /// The host that this is.
        host: String,
    },
    /// A file could not be used.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The database refused something that it does not refuse while the disk works.
    #[error("{action} {}: {problem}", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        problem: String,
    },
}
