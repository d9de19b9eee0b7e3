//! The core: one thread that owns the Raft node and its log, and is the only one to change the
//! network.
//!
//! * [`Replica`]: the driver around [`Node`](crate::consensus::Node), without a thread.
//! * [`CoreHandle`]: how tasks ask for what only the core does, and wait for what becomes of it.
//!
//! ```text
//!  caller ─► CoreHandle ─► WaitingRequests ─► leader: propose ─► log ─► apply ─► the caller's answer
//!                               │  ▲             ▲
//!                               └──┴── Forward, Answer, from and to other replicas
//! ```

mod error;
mod handle;
mod membership;
mod reads;
mod replica;
mod snapshotter;
mod waiting;

pub use error::CoreError;
pub(crate) use handle::now_ms;
pub use handle::{Answer, CoreHandle, ProposeError, ReadError};
pub use replica::Replica;
pub(crate) use replica::members_context;
pub use snapshotter::SnapshotJob;

use crate::config::Limits;
use crate::consensus::log::LogBounds;
use crate::consensus::node::ELECTION_TICKS;
use crate::consensus::transfer::CHUNK_BYTES;
use crate::consensus::{LogStore, PeerProgress};
use crate::limits::{PEER_MESSAGES_MAX, PROPOSALS_MAX, TICK};
use crate::past::Past;
use crate::peer::{PeerMessage, Request};
use crate::shared::{Shared, Standing};
use crate::state::{RequestId, State};
use crate::telemetry;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

/// Told what became of a request.
pub type Reply = oneshot::Sender<Result<Answer, ProposeError>>;
/// Told when the state is current for a read.
pub type ReadReply = oneshot::Sender<()>;

/// What a replica needs to know.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// The identity of the replica in the cluster, from 1.
    pub replica_id: u64,
    /// Another number for each run of the replica.
    pub instance: u64,
    /// Where others reach it.
    pub address: String,
    /// Bounds on the log.
    pub limits: Limits,
    /// Time between two ticks of the Raft core.
    pub tick: Duration,
    /// See [`NodeConfig`](crate::consensus::NodeConfig).
    pub election_ticks: Range<usize>,
    /// Bytes in one part of a snapshot: the same for all replicas.
    pub chunk_bytes: usize,
}

impl ReplicaConfig {
    /// A replica as it runs outside of tests.
    pub fn new(replica_id: u64, address: String, limits: Limits) -> ReplicaConfig {
        ReplicaConfig {
            replica_id,
            instance: rand::random(),
            address,
            limits,
            tick: TICK,
            election_ticks: ELECTION_TICKS,
            chunk_bytes: CHUNK_BYTES,
        }
    }
}

/// The time, in both of its forms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed start, on a monotonic clock.
    pub elapsed: Duration,
    /// In milliseconds since the epoch, on a clock that may jump: only stamped on what is proposed.
    pub wall_ms: u64,
}

/// How messages get to other replicas.
pub trait Transport: Send {
    /// Sends a message, or drops it. False if it is certain not to arrive. Never waits.
    fn send(&mut self, to: u64, message: PeerMessage) -> bool;

    /// Who the other members are from now on, and where each is reached.
    fn set_members(&mut self, members: &BTreeMap<u64, String>);
}

/// The transport of a replica without others.
#[derive(Debug, Clone, Copy)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn send(&mut self, _: u64, _: PeerMessage) -> bool {
        false
    }

    fn set_members(&mut self, _: &BTreeMap<u64, String>) {}
}

/// What a replica says of itself.
#[derive(Debug, Clone)]
pub struct ReplicaStatus {
    /// Where others reach it.
    pub address: String,
    /// Where it stands.
    pub standing: Standing,
    /// If it leads: how far each member is.
    pub progress: BTreeMap<u64, PeerProgress>,
    /// Requests of callers that wait here.
    pub waiting: usize,
    /// Which entries its log has.
    pub log: LogBounds,
    /// The last entry in its snapshot; 0 without one.
    pub snapshot_index: u64,
    /// The snapshot that it takes from another: the last entry in it, and the bytes that are here.
    pub incoming: Option<(u64, u64)>,
}

/// What the core is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// See to it that a request is done.
    Request {
        /// The request.
        id: RequestId,
        /// What is asked for.
        what: Request,
        /// Who is told what became of it.
        reply: Reply,
    },
    /// Say when the state is current.
    Read {
        /// Who is told.
        reply: ReadReply,
    },
    /// Say how things are.
    Status {
        /// Who is told.
        reply: oneshot::Sender<ReplicaStatus>,
    },
    /// Share the state, as it is after some log entry.
    State {
        /// Who is given it.
        reply: oneshot::Sender<State>,
    },
    /// Take a message from another replica.
    Peer {
        /// That replica.
        from: u64,
        /// What it says.
        message: PeerMessage,
        /// Its place among the messages that wait.
        room: OwnedSemaphorePermit,
    },
    /// Messages to a replica found no way.
    Unreachable(u64),
    /// Hand leadership over, if this replica leads, to whoever is best; say to whom.
    HandOver {
        /// Who is told.
        reply: oneshot::Sender<Option<u64>>,
    },
    /// Tell the others how many hosts are served here.
    Load(u32),
    /// Another replica says that this one is no member any more.
    Removed(String),
    /// Finish what was asked for before, and stop.
    Stop,
}

/// The running core.
#[derive(Debug)]
pub struct Core {
    thread: JoinHandle<Result<(), CoreError>>,
    commands: SyncSender<Command>,
}

/// The capacity of the core's channel: what callers and peers may have in it, and a request to stop.
const COMMANDS_MAX: usize = PROPOSALS_MAX + PEER_MESSAGES_MAX + 1;

/// A channel to a core that is yet to be started.
#[derive(Debug)]
pub struct CoreChannel {
    commands: SyncSender<Command>,
    received: Receiver<Command>,
}

impl CoreChannel {
    /// An empty channel.
    pub fn new() -> CoreChannel {
        let (commands, received) = sync_channel(COMMANDS_MAX);
        CoreChannel { commands, received }
    }

    /// Where messages of other replicas go in.
    pub(crate) fn commands(&self) -> SyncSender<Command> {
        self.commands.clone()
    }
}

impl Default for CoreChannel {
    fn default() -> CoreChannel {
        CoreChannel::new()
    }
}

impl Core {
    /// Starts the thread. `stopped` is cancelled when it ends, for whatever reason, and `held` is
    /// dropped. Whoever cancels `stopped` ends the thread, before its next step.
    pub fn start<S: LogStore>(
        replica: Replica<S>,
        channel: CoreChannel,
        shared: Arc<Shared>,
        stopped: CancellationToken,
        held: impl Send + 'static,
    ) -> std::io::Result<(Core, CoreHandle)> {
        let store: Arc<dyn LogStore> = replica.store().clone();
        let past = Arc::new(Past::new(Arc::downgrade(&store)));
        let CoreChannel { commands, received } = channel;
        let thread = Builder::new().name("spanwire-core".to_owned()).spawn(move || {
            // Held by the thread, so that it is cancelled by a panic as well.
            let _stopped = stopped.clone().drop_guard();
            let _held = held;
            // Goes before them: once the core is known to have stopped, nothing can be asked of it.
            let received = received;
            run(replica, &received, &stopped).inspect_err(|error| telemetry::core_stopped(error))
        })?;
        let handle = CoreHandle::new(commands.clone(), shared, past);
        Ok((Core { thread, commands }, handle))
    }

    /// Finishes what was asked for, and stops. Blocks until then.
    ///
    /// # Errors
    /// Why the core had stopped by itself.
    pub fn stop(self) -> Result<(), CoreError> {
        // A thread that is gone has stopped already.
        let _ = self.commands.send(Command::Stop);
        self.thread.join().unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(CoreError::Panic(text.unwrap_or_else(|| "no message".to_owned())))
        })
    }
}

fn run<S: LogStore>(
    mut replica: Replica<S>,
    commands: &Receiver<Command>,
    stopped: &CancellationToken,
) -> Result<(), CoreError> {
    let shared = replica.shared().clone();
    let now = || Now { elapsed: shared.elapsed(), wall_ms: now_ms() };
    let mut snapshot: Option<JoinHandle<()>> = None;
    replica.start(now())?;
    loop {
        let wait = replica.next_deadline().saturating_sub(shared.elapsed());
        let mut stop = stopped.is_cancelled();
        match commands.recv_timeout(wait) {
            Ok(command) => {
                stop |= replica.process(command);
                // Whatever else has come meanwhile shares the sync.
                while !stop && replica.has_room() {
                    let Ok(command) = commands.try_recv() else { break };
                    stop |= replica.process(command);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => stop = true,
        }
        replica.process_time(now());
        replica.run_ready()?;
        if let Some(thread) = snapshot.take_if(|thread| thread.is_finished()) {
            let _ = thread.join();
            replica.process_snapshot_done();
        }
        if let Some(job) = replica.take_snapshot_job() {
            match spawn_snapshot(job, replica.shared().clone()) {
                Ok(thread) => snapshot = Some(thread),
                Err(error) => {
                    telemetry::snapshot_failed(&error);
                    replica.process_snapshot_done();
                }
            }
        }
        if stop {
            if let Some(thread) = snapshot {
                let _ = thread.join();
            }
            return Ok(());
        }
    }
}

/// Writes a snapshot on a thread of its own.
fn spawn_snapshot<S: LogStore>(
    job: SnapshotJob<S>,
    shared: Arc<Shared>,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new().name("spanwire-snapshot".to_owned()).spawn(move || {
        let index = job.index();
        match job.run() {
            Ok(()) => {
                shared.metrics.snapshots.inc();
                telemetry::snapshot_taken(index);
            }
            // The log is whole without it. If the disk is at fault, the next write says so.
            Err(error) => telemetry::snapshot_failed(&error),
        }
    })
}
