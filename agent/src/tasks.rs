//! The tasks and threads of an agent, and the channels between them.
//!
//! ```text
//!                    StreamEvent (4)                      Job (4)
//!  ┌────────────┐ ──────────────────► ┌───────────┐ ──────────────────► ┌──────────────┐
//!  │ connection │                     │  session  │                     │    worker    │
//!  │   (task)   │ ◄────────────────── │  (task)   │ ◄────────────────── │   (thread)   │
//!  └────────────┘   HostMessage (16)  └───────────┘   WorkerEvent (4)   └──────────────┘
//!        │ gRPC                          │     │                          │         │
//!    controller                    status.json spanwire-agent.prom    view.redb  datapath
//! ```
//!
//! There is one session, one worker, and at most one connection at a time. The session is the only
//! one that knows the protocol, and never waits for one of the others: jobs are given one of each
//! kind at a time, so their channel is never full; messages that do not fit theirs stay in the
//! session's outbox, of at most [`OUTBOX_MAX`], beyond which the connection is given up. A
//! connection that is read faster than the session takes events waits, and the controller with it.

use crate::connection::Connection;
use crate::datapath::Datapath;
use crate::error::AgentError;
use crate::events::{Job, StreamEvent, WorkerEvent};
use crate::store::Store;
use crate::worker::Worker;
use spanwire_hostproto::limits::{INVENTORY_ENTRIES_MAX, INVENTORY_MESSAGE_ENTRIES_MAX};
use spanwire_hostproto::wire::HostMessage;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;

/// Messages of a controller, and the like, that wait for the session.
const STREAM_EVENTS_MAX: usize = 4;
/// Jobs that wait for the worker.
const JOBS_MAX: usize = 4;
/// What the worker has done and the session has not seen yet.
const WORKER_EVENTS_MAX: usize = 4;
/// Messages that wait for the connection.
const MESSAGES_MAX: usize = 16;
/// Messages that wait in the session for room among those.
pub(crate) const OUTBOX_MAX: usize = 1024;
/// How long the worker may take for the step that it is at when the agent stops.
const WORKER_STOP_MAX: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const WORKER_STOP_POLL: Duration = Duration::from_millis(5);

// One job of each kind; and an inventory, which is sent at once, fits the outbox.
const _: () = {
    assert!(JOBS_MAX >= 4);
    assert!(INVENTORY_ENTRIES_MAX.div_ceil(INVENTORY_MESSAGE_ENTRIES_MAX) < OUTBOX_MAX);
};

/// The worker, as the session sees it.
pub(crate) struct WorkerHandle {
    pub(crate) jobs_tx: Sender<Job>,
    pub(crate) events_rx: Receiver<WorkerEvent>,
    thread: JoinHandle<()>,
}

/// Starts the thread that keeps the view and puts it into the datapath.
pub(crate) fn spawn_worker(
    store: Store,
    datapath: Box<dyn Datapath>,
) -> Result<WorkerHandle, AgentError> {
    let (jobs_tx, jobs_rx) = channel(JOBS_MAX);
    let (events_tx, events_rx) = channel(WORKER_EVENTS_MAX);
    let worker = Worker::new(store, datapath);
    let thread = std::thread::Builder::new()
        .name("datapath".to_owned())
        .spawn(move || worker.run(jobs_rx, &events_tx))
        .map_err(|error| AgentError::Thread { what: "datapath", problem: error.to_string() })?;
    Ok(WorkerHandle { jobs_tx, events_rx, thread })
}

impl WorkerHandle {
    /// Lets the worker finish what it is at, and waits for it, but not for ever.
    pub(crate) async fn stop(self) -> Result<(), AgentError> {
        let WorkerHandle { jobs_tx, events_rx, thread } = self;
        // Without anyone to give it jobs or to listen to it, it ends.
        drop((jobs_tx, events_rx));
        let deadline = Instant::now() + WORKER_STOP_MAX;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                let problem = format!("did not finish within {} s", WORKER_STOP_MAX.as_secs());
                return Err(AgentError::Thread { what: "datapath", problem });
            }
            tokio::time::sleep(WORKER_STOP_POLL).await;
        }
        thread.join().map_err(|_| AgentError::Thread {
            what: "datapath",
            problem: "panicked: see its message above".to_owned(),
        })
    }
}

/// The connection, as the session sees it. It ends when this is dropped.
pub(crate) struct ConnectionHandle {
    pub(crate) number: u64,
    pub(crate) endpoint: String,
    pub(crate) messages_tx: Sender<HostMessage>,
    task: AbortHandle,
}

/// Starts a connection to a controller.
pub(crate) fn spawn_connection(
    number: u64,
    endpoint: String,
    timeout: Duration,
    events_tx: Sender<StreamEvent>,
) -> ConnectionHandle {
    let (messages_tx, messages_rx) = channel(MESSAGES_MAX);
    let connection =
        Connection { number, endpoint: endpoint.clone(), timeout, messages_rx, events_tx };
    let task = tokio::spawn(connection.run()).abort_handle();
    ConnectionHandle { number, endpoint, messages_tx, task }
}

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The channel for the events of all connections, one after another.
pub(crate) fn mk_stream_events() -> (Sender<StreamEvent>, Receiver<StreamEvent>) {
    channel(STREAM_EVENTS_MAX)
}
