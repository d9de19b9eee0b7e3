//! One replica of the group: a state machine around `raft::RawNode` that does no I/O.
//!
//! Events and the time go in; what to send, write and apply comes out. The driver owns the order:
//!
//! 1. [`Node::process`] each event; stop when a batch is full.
//! 2. [`Node::step`] says what to do. A leader's messages may be sent at once, while its own disk
//!    still works (Raft dissertation, section 10.2.1).
//! 3. [`LogStore::write`] what the step has, synced. One write for
//!    everything that was proposed since the last one: group commit.
//! 4. Only then [`Node::process_written`]. What it returns depends on the write being durable:
//!    messages of a follower or candidate (an acknowledgement, a vote), a snapshot to restore, and
//!    committed entries to apply, in this order.
//! 5. After applying, [`Node::process_applied`]. Callers are answered after this, so that nothing
//!    is acknowledged that is not durable, and what is acknowledged can be read.
//!
//! A crash between any two of these loses nothing that anybody was told.

use super::log::{LogStore, StoreError, Write};
use super::logger::mk_logger;
use super::raft_store::RaftStore;
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChange, ConfChangeV2, ConfState, Entry, EntryType, HardState, Message, Snapshot,
};
use raft::{Config, ProgressState, RawNode, Ready, SnapshotStatus, StateRole};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Ticks between two heartbeats of a leader.
const HEARTBEAT_TICKS: usize = 2;
/// Ticks without a leader after which a replica tries to become one.
pub const ELECTION_TICKS: Range<usize> = 12..22;
/// Bytes of entries in one message to a follower.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Messages with entries on their way to one follower.
const MESSAGES_IN_FLIGHT_MAX: usize = 64;
/// Bytes of committed entries handed out at once: what replay holds in memory.
const APPLY_BYTES_MAX: u64 = 32 << 20;

/// Ticks without a word of the leader after which a replica knows of none.
const LEADER_SILENCE_TICKS: usize = 2 * ELECTION_TICKS.end;

const _: () = assert!(ELECTION_TICKS.start > 2 * HEARTBEAT_TICKS);

/// What a replica needs to know.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The identity of the replica in the group, from 1.
    pub id: u64,
    /// The last entry that the state machine has applied: what its snapshot includes.
    pub applied_index: u64,
    /// Time between two ticks.
    pub tick: Duration,
    /// Ticks without a leader after which the replica tries to become one: each time another number
    /// of these, none less than the start of [`ELECTION_TICKS`].
    pub election_ticks: Range<usize>,
}

/// What a replica is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It tries to become leader.
    Candidate,
    /// It takes proposals.
    Leader,
}

impl Role {
    /// The name for listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        }
    }
}

/// What happens to a replica.
#[derive(Debug, Clone)]
pub enum Event {
    /// Try to become leader now, without waiting for an election timeout.
    Campaign,
    /// Append a command to the log.
    Propose(Vec<u8>),
    /// Change the members of the group.
    ProposeMembers(ConfChangeV2),
    /// A message from another replica.
    Message(Box<Message>),
    /// Ask up to where the state must reach to be current: the answer is in [`Step::reads`] of some
    /// later step, with this context, or never comes.
    ReadIndex(Vec<u8>),
    /// Hand leadership over.
    Transfer(u64),
    /// A message to a replica found no way.
    Unreachable(u64),
    /// A replica that was offered a snapshot does not take it: offer it one again.
    SnapshotStalled(u64),
}

/// How far another replica is, as its leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProgress {
    /// The last entry that it is known to have.
    pub matched: u64,
    /// True if it was heard of within the last election timeout.
    pub is_active: bool,
    /// True if it is to take a snapshot.
    pub needs_snapshot: bool,
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A proposal to a replica that is not leader.
    #[error("replica {id} is not the leader{}", leader_hint(*leader))]
    NotLeader {
        /// The replica.
        id: u64,
        /// The leader it knows of; 0 if none.
        leader: u64,
    },
    /// The store failed. The replica must stop.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Raft core refused.
    #[error("the Raft core refused: {0}")]
    Raft(#[from] raft::Error),
}

fn leader_hint(leader: u64) -> String {
    match leader {
        0 => ", and knows of none".to_owned(),
        leader => format!(": ask replica {leader}"),
    }
}

/// The first half of a step: what may be sent at once, and what must be written.
#[derive(Debug)]
pub struct Step {
    /// Messages that need not wait for the write.
    pub send: Vec<Message>,
    /// What to make durable, if anything.
    pub write: Write,
    /// Answers to [`Event::ReadIndex`]: contexts, each with the entry that must be applied.
    pub reads: Vec<(Vec<u8>, u64)>,
    ready: Ready,
}

/// The second half of a step: what became possible by the write.
#[derive(Debug, Default)]
pub struct Written {
    /// Messages that vouch for what was written.
    pub send: Vec<Message>,
    /// A snapshot that replaces the state.
    pub restore: Option<Snapshot>,
    /// Committed entries, in order.
    pub apply: Vec<Entry>,
}

/// One replica.
pub struct Node<S: LogStore> {
    raw: RawNode<RaftStore<S>>,
    tick: Duration,
    next_tick: Option<Duration>,
    /// A commit index that was not worth a sync of its own: written with what comes next.
    unwritten: Option<HardState>,
    wants_snapshot: Arc<AtomicBool>,
    /// Ticks since the leader was last heard of.
    silent_ticks: usize,
}

impl<S: LogStore> Node<S> {
    /// A replica with what its store holds. The store must have members: see [`bootstrap`].
    pub fn new(config: &NodeConfig, store: Arc<S>) -> Result<Node<S>, NodeError> {
        let raft_config = Config {
            id: config.id,
            // Also how long a leader goes on that hears from no majority, and how long after a word of
            // the leader nobody votes: one number for all replicas.
            election_tick: ELECTION_TICKS.start,
            min_election_tick: config.election_ticks.start,
            max_election_tick: config.election_ticks.end,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: config.applied_index,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            max_committed_size_per_ready: APPLY_BYTES_MAX,
            // A replica that was cut off does not disturb the group when it comes back.
            pre_vote: true,
            // A leader that lost its followers stops taking proposals it cannot commit.
            check_quorum: true,
            // Entries that wait for the same follower share a message.
            batch_append: true,
            ..Config::default()
        };
        raft_config.validate()?;
        let wants_snapshot = Arc::new(AtomicBool::new(false));
        let store = RaftStore::new(store, wants_snapshot.clone());
        let raw = RawNode::new(&raft_config, store, &mk_logger())?;
        Ok(Node {
            raw,
            tick: config.tick,
            next_tick: None,
            unwritten: None,
            wants_snapshot,
            silent_ticks: 0,
        })
    }

    /// The identity of the replica.
    pub fn id(&self) -> u64 {
        self.raw.raft.id
    }

    /// What the replica is.
    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        }
    }

    /// The leader that the replica knows of; 0 if none. The core of a learner, which cannot become
    /// leader, never gives up on one: after twice the longest election timeout of silence this does.
    pub fn leader(&self) -> u64 {
        match self.raw.raft.leader_id {
            leader if leader == self.id() || self.silent_ticks < LEADER_SILENCE_TICKS => leader,
            _ => 0,
        }
    }

    /// The term of the replica.
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// The newest entry known to be committed.
    pub fn committed_index(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    /// True if the replica alone is a majority.
    pub fn is_sole_voter(&self) -> bool {
        let tracker = self.raw.raft.prs();
        let voters = tracker.conf().voters();
        voters.ids().iter().eq(std::iter::once(self.id()))
    }

    /// The members of the group.
    pub fn conf_state(&self) -> ConfState {
        self.raw.raft.prs().conf().to_conf_state()
    }

    /// True if the replica leads, and its state includes everything that was ever acknowledged: an
    /// entry of its own term is applied (Raft dissertation, section 6.4). Only then are its reads
    /// current.
    pub fn is_current_leader(&self) -> bool {
        self.role() == Role::Leader && self.raw.raft.commit_to_current_term()
    }

    /// Takes an event.
    ///
    /// # Errors
    /// [`NodeError::NotLeader`] for proposals elsewhere; what the Raft core refuses. Neither
    /// changes anything.
    pub fn process(&mut self, event: Event) -> Result<(), NodeError> {
        match event {
            Event::Campaign => Ok(self.raw.campaign()?),
            Event::Propose(data) => {
                self.check_leader()?;
                self.raw.propose(Vec::new(), data).map_err(|error| self.dropped(error))
            }
            Event::ProposeMembers(change) => {
                self.check_leader()?;
                let proposed = self.raw.propose_conf_change(Vec::new(), change);
                proposed.map_err(|error| self.dropped(error))
            }
            Event::Message(message) => {
                let from = message.from;
                match self.raw.step(*message) {
                    // An answer of a replica that is no member any more, or is not known to be one yet.
                    Err(raft::Error::StepPeerNotFound) => {}
                    stepped => stepped?,
                }
                if from == self.raw.raft.leader_id {
                    self.silent_ticks = 0;
                }
                Ok(())
            }
            Event::ReadIndex(context) => {
                self.raw.read_index(context);
                Ok(())
            }
            Event::Transfer(to) => {
                self.check_leader()?;
                self.raw.transfer_leader(to);
                Ok(())
            }
            Event::Unreachable(id) => {
                self.raw.report_unreachable(id);
                Ok(())
            }
            Event::SnapshotStalled(id) => {
                self.raw.report_snapshot(id, SnapshotStatus::Failure);
                Ok(())
            }
        }
    }

    /// How far another replica is, if this one leads and knows it.
    pub fn progress(&self, id: u64) -> Option<PeerProgress> {
        if self.role() != Role::Leader {
            return None;
        }
        let progress = self.raw.raft.prs().get(id)?;
        Some(PeerProgress {
            matched: progress.matched,
            is_active: progress.recent_active || id == self.id(),
            needs_snapshot: progress.state == ProgressState::Snapshot,
        })
    }

    /// True if a change of members is in the log and not applied yet, or half done.
    pub fn is_changing_members(&self) -> bool {
        self.raw.raft.has_pending_conf() || !self.conf_state().voters_outgoing.is_empty()
    }

    /// True while leadership is being handed over.
    pub fn is_transferring(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// True, once, if another replica needs a snapshot newer than the one that is kept.
    pub fn take_wants_snapshot(&mut self) -> bool {
        self.wants_snapshot.swap(false, Ordering::Relaxed)
    }

    /// What the replica must not forget, as it is now.
    pub fn hard_state(&self) -> HardState {
        self.raw.raft.hard_state()
    }

    fn check_leader(&self) -> Result<(), NodeError> {
        match self.role() {
            // Without this check the core would forward the proposal as a message, and nobody
            // would know what became of it.
            Role::Leader => Ok(()),
            _ => Err(NodeError::NotLeader { id: self.id(), leader: self.leader() }),
        }
    }

    fn dropped(&self, error: raft::Error) -> NodeError {
        match error {
            // Leadership is being handed over.
            raft::Error::ProposalDropped => {
                NodeError::NotLeader { id: self.id(), leader: self.raw.raft.leader_id }
            }
            other => NodeError::Raft(other),
        }
    }

    /// When [`Node::process_time`] must be called next.
    pub fn next_deadline(&self, now: Duration) -> Duration {
        self.next_tick.unwrap_or(now)
    }

    /// Takes the passing of time. `now` is the time since any fixed start, on a monotonic clock.
    ///
    /// A replica that was held up, by its disk or because it was stopped, has not listened meanwhile:
    /// that it has heard of no leader means nothing. So what it missed counts as one tick.
    pub fn process_time(&mut self, now: Duration) {
        let next = *self.next_tick.get_or_insert(now + self.tick);
        if next <= now {
            self.raw.tick();
            self.silent_ticks = self.silent_ticks.saturating_add(1);
            let late = now.saturating_sub(next);
            self.next_tick =
                Some(if late < self.tick { next + self.tick } else { now + self.tick });
        }
    }

    /// What is to be done, if anything. The step must be written, and given to
    /// [`Node::process_written`], before anything else is asked of the node.
    pub fn step(&mut self) -> Option<Step> {
        if !self.raw.has_ready() {
            return None;
        }
        let mut ready = self.raw.ready();
        let reads = ready.take_read_states();
        let reads = reads.into_iter().map(|read| (read.request_ctx, read.index)).collect();
        let mut write = Write {
            snapshot: (!ready.snapshot().is_empty()).then(|| ready.snapshot().clone()),
            entries: ready.take_entries(),
            hard_state: ready.hs().copied().or(self.unwritten.take()),
            conf_state: None,
        };
        if !ready.must_sync() {
            // Nothing but the commit index moved, which the log itself proves after a restart.
            self.unwritten = write.hard_state.take();
        }
        Some(Step { send: ready.take_messages(), write, reads, ready })
    }

    /// Goes on after the step's write is durable.
    pub fn process_written(&mut self, step: Step) -> Written {
        let Step { mut ready, write, .. } = step;
        let mut send = ready.take_persisted_messages();
        let mut apply = ready.take_committed_entries();
        let mut light = self.raw.advance_append(ready);
        if light.commit_index().is_some() {
            self.unwritten = Some(self.raw.raft.hard_state());
        }
        send.append(&mut light.take_messages());
        apply.append(&mut light.take_committed_entries());
        Written { send, restore: write.snapshot, apply }
    }

    /// Goes on after entries up to and with `index` are applied.
    pub fn process_applied(&mut self, index: u64) {
        self.raw.advance_apply_to(index);
    }

    /// Takes a committed change of members, and returns the members after it. The entry's index must
    /// be in the written commit index before: a replica that forgot, in a crash, that the change was
    /// committed would go by the old members, and could be elected by a majority of those alone.
    ///
    /// # Errors
    /// If the entry does not decode, or the Raft core refuses it. The replica must stop: it would
    /// differ from the others.
    pub fn apply_members(&mut self, entry: &Entry) -> Result<ConfState, NodeError> {
        let decoded = |error| NodeError::Raft(raft::Error::CodecError(error));
        if entry.get_entry_type() == EntryType::EntryConfChange {
            let mut change = ConfChange::default();
            change.merge_from_bytes(entry.get_data()).map_err(decoded)?;
            Ok(self.raw.apply_conf_change(&change)?)
        } else {
            let mut change = ConfChangeV2::default();
            change.merge_from_bytes(entry.get_data()).map_err(decoded)?;
            Ok(self.raw.apply_conf_change(&change)?)
        }
    }
}

/// Founds a group: writes its first members into an empty store. Every founding member does the
/// same; whoever joins later gets a snapshot instead.
pub fn bootstrap(store: &impl LogStore, voters: &[u64]) -> Result<(), StoreError> {
    let conf_state = ConfState::from((voters.iter().copied(), std::iter::empty()));
    store.write(&Write { conf_state: Some(conf_state), ..Write::default() })
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
