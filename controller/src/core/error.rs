//! Why the core stopped.

use crate::consensus::{NodeError, StoreError};
use crate::state::{SnapshotError, UnknownCommand};

/// Why the core stopped. Nothing more is written; what was acknowledged is in the log.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The log cannot be read or written.
    #[error(transparent)]
    Store(StoreError),
    /// The Raft core refused to go on.
    #[error(transparent)]
    Node(NodeError),
    /// The log holds what this release does not know.
    #[error(transparent)]
    UnknownCommand(#[from] UnknownCommand),
    /// The snapshot is not a state.
    #[error("the snapshot at log entry {index} cannot be restored: {source}")]
    Restore {
        /// The last log entry in the snapshot.
        index: u64,
        /// Why.
        source: SnapshotError,
    },
    /// A change of members cannot be read.
    #[error(
        "log entry {index} changes the members in a way that this release does not know ({problem}): \
         run the release that wrote it, or a later one"
    )]
    Members {
        /// The entry.
        index: u64,
        /// What was found.
        problem: String,
    },
    /// The replica was removed from the cluster.
    #[error(
        "replica {replica_id} is no member of its cluster any more ({why}). To let this controller \
         serve again, empty its data directory, start it with --join, and add it"
    )]
    Removed {
        /// The replica.
        replica_id: u64,
        /// Who said so.
        why: String,
    },
    /// A defect.
    #[error("the core broke off: {0}. This is a defect: please report it with the log")]
    Panic(String),
}

impl From<StoreError> for CoreError {
    fn from(error: StoreError) -> CoreError {
        CoreError::Store(error)
    }
}

impl From<NodeError> for CoreError {
    fn from(error: NodeError) -> CoreError {
        match error {
            NodeError::Store(error) => CoreError::Store(error),
            other => CoreError::Node(other),
        }
    }
}
