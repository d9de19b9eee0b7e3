//! How tasks ask for what only the core does.

use super::{Command, ReplicaStatus};
use crate::limits::{
    ADMIN_REQUEST_BYTES_MAX, PROPOSAL_BYTES_MIN, PROPOSAL_OUTCOME_WAIT, PROPOSAL_ROOM_WAIT,
    PROPOSALS_BYTES_MAX, READ_WAIT,
};
use crate::past::Past;
use crate::peer::{MembersChange, Request};
use crate::shared::{Outcome, Shared};
use crate::state::{RequestId, State, encode_command, wire};
use std::sync::Arc;
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
    /// The leader refuses the request. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// This replica does not take transactions now. Nothing was written.
    #[error("{0}; nothing was changed")]
    NotProposed(String),
    /// The transaction may have been written, or may yet be: look before doing it again. That is so
    /// when the replica that was asked stops, or no leader is found for long, between the write and the
    /// answer. Asking again for the same request does it once.
    #[error(
        "the outcome is unknown: {0}. The transaction may or may not have been applied; read the \
         objects before you try again"
    )]
    Unknown(&'static str),
}

/// What became of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Of a transaction.
    Outcome(Outcome),
    /// Of a change of members: the members that it was about.
    Members(Vec<u64>),
    /// Of a transfer of leadership: who leads.
    Leader(u64),
}

/// The state cannot be said to be current.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "no leader confirmed within {} s that the state here is current: a majority of the replicas may \
     be down or cut off. A stale read shows what this replica has",
    READ_WAIT.as_secs()
)]
pub struct ReadError;

/// Asks the core for what only it does. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CoreHandle {
    commands: SyncSender<Command>,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
    past: Arc<Past>,
}

impl CoreHandle {
    pub(super) fn new(
        commands: SyncSender<Command>,
        shared: Arc<Shared>,
        past: Arc<Past>,
    ) -> CoreHandle {
        let room = Arc::new(Semaphore::new(PROPOSALS_BYTES_MAX / PERMIT_BYTES));
        CoreHandle { commands, room, shared, past }
    }

    /// The state as it was at earlier revisions.
    pub fn past(&self) -> &Arc<Past> {
        &self.past
    }

    /// What is shared with the core.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes a transaction and waits until it is durable and applied here, or recorded as rejected.
    /// One request is applied once, however often it is asked for.
    ///
    /// Waits for room while too much is being written, for a while.
    pub async fn propose(
        &self,
        id: RequestId,
        transaction: wire::Transaction,
    ) -> Result<Outcome, ProposeError> {
        let since = self.shared.standing.borrow().applied_index;
        let command = encode_command(id, since, transaction);
        if command.len() > ADMIN_REQUEST_BYTES_MAX {
            let (bytes, max) = (command.len(), ADMIN_REQUEST_BYTES_MAX);
            return Err(ProposeError::TooLarge { bytes, max });
        }
        let bytes = command.len();
        match self.request(id, Request::Command(command), bytes).await? {
            Answer::Outcome(outcome) => Ok(outcome),
            Answer::Members(_) | Answer::Leader(_) => Err(ProposeError::Unknown(MISMATCH)),
        }
    }

    /// Changes the members of the cluster, and waits until this replica has applied the change.
    /// Returns the members that it was about.
    pub async fn change_members(&self, change: MembersChange) -> Result<Vec<u64>, ProposeError> {
        match self.request(RequestId::random(), Request::Members(change), 0).await? {
            Answer::Members(ids) => Ok(ids),
            Answer::Outcome(_) | Answer::Leader(_) => Err(ProposeError::Unknown(MISMATCH)),
        }
    }

    /// Hands leadership over, and waits until this replica knows that the other one leads.
    pub async fn transfer(&self, to: u64) -> Result<(), ProposeError> {
        self.request(RequestId::random(), Request::Transfer(to), 0).await.map(|_| ())
    }

    /// Lets another replica lead if this one does, whichever is best. Says which one was asked to;
    /// `None` if this one does not lead, or there is none.
    pub async fn hand_over(&self) -> Option<u64> {
        let (reply, asked) = oneshot::channel();
        self.send(Command::HandOver { reply }).ok()?;
        timeout(READ_WAIT, asked).await.ok()?.ok().flatten()
    }

    /// Tells the other replicas how many hosts are served here. They may not hear of it.
    pub(crate) fn tell_load(&self, streams: u32) {
        // The next one says it again.
        let _ = self.send(Command::Load(streams));
    }

    async fn request(
        &self,
        id: RequestId,
        what: Request,
        bytes: usize,
    ) -> Result<Answer, ProposeError> {
        let permits = bytes.max(PROPOSAL_BYTES_MIN).div_ceil(PERMIT_BYTES);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        // Held until the outcome is known: it is what bounds the channel, and memory.
        let room = timeout(PROPOSAL_ROOM_WAIT, self.room.acquire_many(permits)).await;
        let _room = match room {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => return Err(ProposeError::Overloaded),
        };
        let (reply, outcome) = oneshot::channel();
        self.send(Command::Request { id, what, reply })?;
        match timeout(PROPOSAL_OUTCOME_WAIT, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ProposeError::Unknown("the replica stopped")),
            Err(_) => Err(ProposeError::Unknown("no leader had it written in time")),
        }
    }

    /// Waits until the state here includes everything that was acknowledged anywhere before.
    pub async fn wait_current(&self) -> Result<(), ReadError> {
        let (reply, current) = oneshot::channel();
        self.send(Command::Read { reply }).map_err(|_| ReadError)?;
        match timeout(READ_WAIT, current).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReadError),
        }
    }

    /// What the replica says of itself; `None` if it has stopped.
    pub async fn status(&self) -> Option<ReplicaStatus> {
        let (reply, status) = oneshot::channel();
        self.send(Command::Status { reply }).ok()?;
        timeout(READ_WAIT, status).await.ok()?.ok()
    }

    /// The state as it is after some log entry, members and requests included. It has everything that
    /// was acknowledged anywhere before a [`CoreHandle::wait_current`] that has ended.
    ///
    /// # Errors
    /// If the replica has stopped, or is too busy.
    pub async fn state(&self) -> Result<State, ProposeError> {
        let (reply, state) = oneshot::channel();
        self.send(Command::State { reply })?;
        match timeout(READ_WAIT, state).await {
            Ok(Ok(state)) => Ok(state),
            Ok(Err(_)) => Err(ProposeError::NotProposed("the controller is stopping".to_owned())),
            Err(_) => Err(ProposeError::Overloaded),
        }
    }

    fn send(&self, command: Command) -> Result<(), ProposeError> {
        self.commands.try_send(command).map_err(|error| match error {
            // Callers who gave up waiting left theirs in the channel.
            TrySendError::Full(_) => ProposeError::Overloaded,
            TrySendError::Disconnected(_) => {
                ProposeError::NotProposed("the controller is stopping".to_owned())
            }
        })
    }
}

const MISMATCH: &str = "the answer was one to another request";

/// The time, in milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
