//! How tasks ask for transactions.

use super::Command;
use crate::limits::{
    ADMIN_REQUEST_BYTES_MAX, PROPOSAL_BYTES_MIN, PROPOSAL_OUTCOME_WAIT, PROPOSAL_ROOM_WAIT,
    PROPOSALS_BYTES_MAX,
};
use crate::past::Past;
use crate::shared::{Outcome, Shared};
use crate::state::{encode_command, wire};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Permits are KiB.
const PERMIT_BYTES: usize = 1024;

/// Why there is no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// The transaction is too large for the log.
    #[error("the transaction has {bytes} bytes, and the most is {max}: split it")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// Too many others wait. Nothing was written: try again later.
    #[error("too many transactions are waiting to be written; nothing was changed, try again")]
    Overloaded,
    /// This replica does not take transactions now. Nothing was written.
    #[error("{0}; nothing was changed")]
    NotProposed(String),
    /// The transaction may have been written, or may yet be: look before doing it again. That is so
    /// when a replica stops, loses its leadership, or its disk does not answer, between the write
    /// and the answer.
    #[error(
        "the outcome is unknown: {0}. The transaction may or may not have been applied; read the \
         objects before you try again"
    )]
    Unknown(&'static str),
}

/// Asks the core for transactions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CoreHandle {
    commands: SyncSender<Command>,
    room: Arc<Semaphore>,
    request_ids: Arc<AtomicU64>,
    shared: Arc<Shared>,
    past: Arc<Past>,
}

impl CoreHandle {
    pub(super) fn new(
        commands: SyncSender<Command>,
        shared: Arc<Shared>,
        past: Arc<Past>,
    ) -> CoreHandle {
        CoreHandle {
            commands,
            room: Arc::new(Semaphore::new(PROPOSALS_BYTES_MAX / PERMIT_BYTES)),
            // Requests of an earlier run are in the log as well: a random start keeps apart.
            request_ids: Arc::new(AtomicU64::new(rand::random())),
            shared,
            past,
        }
    }

    /// The state as it was at earlier revisions.
    pub fn past(&self) -> &Arc<Past> {
        &self.past
    }

    /// What is shared with the core.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes a transaction and waits until it is durable and applied, or recorded as rejected.
    ///
    /// Waits for room while too much is being written, for a while.
    pub async fn propose(&self, transaction: wire::Transaction) -> Result<Outcome, ProposeError> {
        let request_id = self.request_ids.fetch_add(1, Ordering::Relaxed);
        let entry = encode_command(now_ms(), request_id, transaction);
        if entry.len() > ADMIN_REQUEST_BYTES_MAX {
            let (bytes, max) = (entry.len(), ADMIN_REQUEST_BYTES_MAX);
            return Err(ProposeError::TooLarge { bytes, max });
        }
        let permits = entry.len().max(PROPOSAL_BYTES_MIN).div_ceil(PERMIT_BYTES);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        // Held until the outcome is known: it is what bounds the channel, and memory.
        let room = timeout(PROPOSAL_ROOM_WAIT, self.room.acquire_many(permits)).await;
        let _room = match room {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => return Err(ProposeError::Overloaded),
        };
        let (reply, outcome) = oneshot::channel();
        let command = Command::Propose { request_id, entry, reply };
        match self.commands.try_send(command) {
            Ok(()) => {}
            // Callers who gave up waiting left their transactions in the channel.
            Err(TrySendError::Full(_)) => return Err(ProposeError::Overloaded),
            Err(TrySendError::Disconnected(_)) => {
                let stopped = "the controller is stopping".to_owned();
                return Err(ProposeError::NotProposed(stopped));
            }
        }
        match timeout(PROPOSAL_OUTCOME_WAIT, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ProposeError::Unknown("the replica stopped or lost its leadership")),
            Err(_) => Err(ProposeError::Unknown("the log did not answer in time")),
        }
    }
}

/// The time, in milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
