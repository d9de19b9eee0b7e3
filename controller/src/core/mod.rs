//! The core: one thread that owns the Raft node and its log, and is the only one to change the
//! network.
//!
//! * [`Replica`]: the driver loop around [`Node`](crate::consensus::Node), without a thread.
//! * [`CoreHandle`]: how tasks ask for transactions, and wait for what becomes of them.

mod handle;
mod replica;
mod snapshotter;

pub(crate) use handle::now_ms;
pub use handle::{CoreHandle, ProposeError};
pub use replica::{CoreError, Replica};

use crate::consensus::LogStore;
use crate::limits::PROPOSALS_MAX;
use crate::past::Past;
use crate::shared::{Outcome, Shared};
use crate::telemetry;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// What the core is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Write a transaction.
    Propose {
        /// Finds the caller when the entry is applied.
        request_id: u64,
        /// The encoded command.
        entry: Vec<u8>,
        /// Who is told what became of it. Dropped if that is not known.
        reply: oneshot::Sender<Result<Outcome, ProposeError>>,
    },
    /// Finish what was asked for before, and stop.
    Stop,
}

/// The running core.
#[derive(Debug)]
pub struct Core {
    thread: JoinHandle<Result<(), CoreError>>,
    commands: std::sync::mpsc::SyncSender<Command>,
}

impl Core {
    /// Starts the thread. `stopped` is cancelled when it ends, for whatever reason, and `held` is
    /// dropped.
    pub fn start<S: LogStore>(
        replica: Replica<S>,
        shared: Arc<Shared>,
        stopped: CancellationToken,
        held: impl Send + 'static,
    ) -> std::io::Result<(Core, CoreHandle)> {
        let store: Arc<dyn LogStore> = replica.store().clone();
        let past = Arc::new(Past::new(Arc::downgrade(&store)));
        // One more than callers may have in it, for the request to stop.
        let (commands, received) = sync_channel(PROPOSALS_MAX + 1);
        let thread = Builder::new().name("spanwire-core".to_owned()).spawn(move || {
            // Held by the thread, so that it is cancelled by a panic as well.
            let _stopped = stopped.drop_guard();
            let _held = held;
            // Goes before them: once the core is known to have stopped, nothing can be asked of it.
            let received = received;
            run(replica, &received).inspect_err(|error| telemetry::core_stopped(error))
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
) -> Result<(), CoreError> {
    let started = Instant::now();
    replica.start()?;
    loop {
        let deadline = replica.next_deadline(started.elapsed());
        let wait = deadline.saturating_sub(started.elapsed());
        let mut stop = false;
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
        replica.process_time(started.elapsed());
        replica.run_ready()?;
        if stop {
            replica.finish();
            return Ok(());
        }
    }
}
