//! The driver loop of one replica: see [`crate::consensus::node`] for what must come before what.

use super::Command;
use super::handle::ProposeError;
use super::snapshotter::Snapshotter;
use crate::config::Limits;
use crate::consensus::{Event, LogStore, Node, NodeConfig, NodeError, Role, StoreError, Write};
use crate::limits::{BATCH_BYTES_MAX, BATCH_PROPOSALS_MAX, TICK};
use crate::shared::{Outcome, Shared, Standing};
use crate::state::{self, SnapshotError, UnknownCommand, prepare};
use raft::eraftpb::{Entry, EntryType, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Why the core stopped. Nothing more is written; what was acknowledged is in the log.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The log cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Raft core refused to go on.
    #[error(transparent)]
    Node(#[from] NodeError),
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
    /// The group has members that this release cannot reach.
    #[error("the log names the voters {voters:?}: this release runs groups of one replica only")]
    NotAlone {
        /// The members.
        voters: Vec<u64>,
    },
    /// A defect.
    #[error("the core broke off: {0}. This is a defect: please report it with the log")]
    Panic(String),
}

type Reply = oneshot::Sender<Result<Outcome, ProposeError>>;

/// One replica: node, log and state.
pub struct Replica<S: LogStore> {
    node: Node<S>,
    store: Arc<S>,
    shared: Arc<Shared>,
    snapshotter: Snapshotter<S>,
    /// Callers who wait for a transaction, by request.
    waiting: HashMap<u64, Reply>,
    applied_index: u64,
    /// Proposals since the last write, and their bytes.
    batch: (usize, usize),
}

impl<S: LogStore> Replica<S> {
    /// A replica with what its log holds. The state is restored from the snapshot, if there is one;
    /// the rest of the log follows in [`Replica::start`].
    pub fn open(
        replica_id: u64,
        store: Arc<S>,
        shared: Arc<Shared>,
        limits: Limits,
    ) -> Result<Replica<S>, CoreError> {
        let applied_index = match store.snapshot()? {
            Some(snapshot) => restore(&shared, &snapshot)?,
            None => 0,
        };
        let config = NodeConfig { id: replica_id, applied_index, tick: TICK };
        let node = Node::new(&config, store.clone())?;
        if !node.is_sole_voter() {
            return Err(CoreError::NotAlone { voters: node.conf_state().voters });
        }
        let snapshotter = Snapshotter::new(store.clone(), shared.clone(), limits, applied_index);
        Ok(Replica {
            node,
            store,
            shared,
            snapshotter,
            waiting: HashMap::new(),
            applied_index,
            batch: (0, 0),
        })
    }

    /// The log, for whoever reads in it beside the replica.
    pub(super) fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// Becomes leader and applies the log. There is nobody else to wait for.
    pub fn start(&mut self) -> Result<(), CoreError> {
        self.node.process(Event::Campaign)?;
        self.run_ready()
    }

    /// When [`Replica::process_time`] must be called next.
    pub fn next_deadline(&self, now: Duration) -> Duration {
        self.node.next_deadline(now)
    }

    /// Takes the passing of time.
    pub fn process_time(&mut self, now: Duration) {
        self.node.process_time(now);
    }

    /// True while more proposals may share the next write.
    pub fn has_room(&self) -> bool {
        let (proposals, bytes) = self.batch;
        proposals < BATCH_PROPOSALS_MAX && bytes < BATCH_BYTES_MAX
    }

    /// Takes a command. True if it is the one to stop.
    pub(crate) fn process(&mut self, command: Command) -> bool {
        match command {
            Command::Propose { request_id, entry, reply } => {
                self.batch.0 += 1;
                self.batch.1 += entry.len();
                match self.node.process(Event::Propose(entry)) {
                    Ok(()) => drop(self.waiting.insert(request_id, reply)),
                    Err(error) => {
                        let not_proposed = ProposeError::NotProposed(error.to_string());
                        let _ = reply.send(Err(not_proposed));
                    }
                }
                false
            }
            Command::Stop => true,
        }
    }

    /// Writes, applies and answers until nothing is left to do.
    ///
    /// # Errors
    /// The replica must stop. Those who wait are not answered: what became of their transactions
    /// will be known after a restart.
    pub fn run_ready(&mut self) -> Result<(), CoreError> {
        while let Some(step) = self.node.step() {
            // Messages would be sent here and after the write. A group of one has none.
            if !step.write.is_empty() {
                self.write(&step.write)?;
            }
            // From here on, what the step has is durable.
            let written = self.node.process_written(step);
            if let Some(snapshot) = written.restore {
                self.applied_index = restore(&self.shared, &snapshot)?;
            }
            let outcomes = self.apply(&written.apply)?;
            // Before the answers: whoever gets one finds its revision in the replica's standing.
            self.publish_standing();
            self.answer(outcomes);
            if self.node.role() != Role::Leader {
                // Another leader may yet commit or overwrite what was proposed here.
                self.waiting.clear();
            }
        }
        self.batch = (0, 0);
        self.snapshotter.process_applied(self.applied_index);
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<(), CoreError> {
        let started = Instant::now();
        self.store.write(write)?;
        let metrics = &self.shared.metrics;
        metrics.log_write_seconds.observe(started.elapsed().as_secs_f64());
        if self.batch.0 > 0 {
            metrics.log_batch_transactions.observe(self.batch.0 as f64);
        }
        Ok(())
    }

    /// Applies committed entries in order. Callers may be answered after this, for their entries
    /// are durable and readable now.
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<(u64, Outcome)>, CoreError> {
        let mut prepared = Vec::with_capacity(entries.len());
        for entry in entries {
            self.snapshotter.process_entry(entry);
            if entry.get_entry_type() == EntryType::EntryNormal {
                prepared.extend(prepare(entry)?);
            } else {
                let conf_state = Some(self.node.apply_members(entry)?);
                self.store.write(&Write { conf_state, ..Write::default() })?;
            }
        }
        let outcomes = self.shared.apply(prepared);
        if let Some(last) = entries.last() {
            self.applied_index = last.index;
            self.node.process_applied(last.index);
        }
        Ok(outcomes)
    }

    fn answer(&mut self, outcomes: Vec<(u64, Outcome)>) {
        for (request_id, outcome) in outcomes {
            if let Some(reply) = self.waiting.remove(&request_id) {
                // A caller who gave up is gone; the transaction stands.
                let _ = reply.send(Ok(outcome));
            }
        }
    }

    fn publish_standing(&self) {
        let standing = Standing {
            replica_id: self.node.id(),
            role: self.node.role(),
            leader: self.node.leader(),
            term: self.node.term(),
            applied_index: self.applied_index,
            is_current: self.node.is_current_leader()
                && self.applied_index >= self.node.committed_index(),
        };
        self.shared.standing.send_if_modified(|current| {
            let changed = *current != standing;
            *current = standing;
            changed
        });
    }

    /// Ends what runs beside.
    pub fn finish(self) {
        self.snapshotter.finish();
    }
}

/// Puts the state of a snapshot in place of the present one.
fn restore(shared: &Shared, snapshot: &Snapshot) -> Result<u64, CoreError> {
    let index = snapshot.get_metadata().index;
    let restored = state::restore(&snapshot.data);
    let (engine, applied_index) =
        restored.map_err(|source| CoreError::Restore { index, source })?;
    let revision = engine.revision();
    let mut state = shared.state.write();
    *state = engine;
    shared.history.reset(revision);
    shared.publisher.reset(revision);
    drop(state);
    shared.revision.send_replace(revision);
    Ok(applied_index)
}
