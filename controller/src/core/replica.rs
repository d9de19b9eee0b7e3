//! The driver of one replica: see [`crate::consensus::node`] for what must come before what.
//!
//! No thread, no clock and no network of its own: commands and the time go in, messages go to the
//! [`Transport`], and the [`LogStore`] is written when it must be. So the same code runs in a
//! controller and, with many replicas in one thread, in a simulator.
//!
//! * [`requests`]: transactions, changes of members, transfers and reads.
//! * [`snapshots`]: taken, given, and taken from others.

use super::handle::Answer;
use super::reads::Reads;
use super::snapshotter::Snapshotter;
use super::waiting::WaitingRequests;
use super::{Command, CoreError, Now, ReplicaConfig, ReplicaStatus, Transport};
use crate::consensus::raft_store::has;
use crate::consensus::transfer::{Incoming, Outgoing};
use crate::consensus::{Event, LogStore, Node, NodeConfig, Write};
use crate::limits::{BATCH_BYTES_MAX, BATCH_PROPOSALS_MAX};
use crate::peer::{PeerMessage, Request};
use crate::planted::{self, Bug};
use crate::publisher::Wake;
use crate::shared::{Membership, Outcome, Shared, Standing};
use crate::state::{self, Members, RequestId, Restored, prepare, wire};
use crate::telemetry;
use prost::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeV2, Entry, EntryType, MessageType, Snapshot};
use spanwire_topology::model::Sharing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod requests;
mod snapshots;

/// One replica: node, log and state.
pub struct Replica<S: LogStore> {
    config: ReplicaConfig,
    node: Node<S>,
    store: Arc<S>,
    shared: Arc<Shared>,
    transport: Box<dyn Transport>,
    members: Members,
    snapshotter: Snapshotter,
    waiting: WaitingRequests,
    reads: Reads,
    incoming: Incoming,
    outgoing: Outgoing,
    /// When replicas that were offered a snapshot last asked for a part of it.
    taking_snapshot: BTreeMap<u64, Duration>,
    applied_index: u64,
    /// The commit index that is known to be written.
    written_commit: u64,
    membership: Arc<Membership>,
    /// Leader and term when requests were last tried.
    tried_with: (u64, u64),
    now: Now,
    /// Proposals since the last write, and their bytes.
    batch: (usize, usize),
    /// What the resources of entries have in common.
    sharing: Sharing,
    /// Set when this replica learned that it is no member any more.
    removed: Option<String>,
}

impl<S: LogStore> Replica<S> {
    /// A replica with what its log holds. The state is restored from the snapshot, if there is one;
    /// the rest of the log follows with [`Replica::run_ready`].
    pub fn open(
        config: ReplicaConfig,
        store: Arc<S>,
        shared: Arc<Shared>,
        transport: Box<dyn Transport>,
    ) -> Result<Replica<S>, CoreError> {
        let restored = match store.snapshot()? {
            Some(snapshot) => Some(restore(&shared, &snapshot)?),
            None => None,
        };
        let (applied_index, members) = restored.unwrap_or_default();
        let node_config = NodeConfig {
            id: config.replica_id,
            applied_index,
            tick: config.tick,
            election_ticks: config.election_ticks.clone(),
        };
        let node = Node::new(&node_config, store.clone())?;
        let snapshotter = Snapshotter::new(config.limits, applied_index);
        let reads = Reads::new(config.replica_id, config.instance);
        let mut replica = Replica {
            written_commit: node.committed_index(),
            node,
            store,
            shared,
            transport,
            members,
            snapshotter,
            waiting: WaitingRequests::default(),
            reads,
            incoming: Incoming::new(config.chunk_bytes),
            outgoing: Outgoing::new(config.chunk_bytes),
            config,
            taking_snapshot: BTreeMap::new(),
            applied_index,
            membership: Arc::default(),
            tried_with: (0, 0),
            now: Now::default(),
            batch: (0, 0),
            sharing: Sharing::default(),
            removed: None,
        };
        replica.process_members();
        Ok(replica)
    }

    /// The log, for whoever reads in it beside the replica.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// What the replica shares with those who serve.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The Raft node, to look at.
    pub fn node(&self) -> &Node<S> {
        &self.node
    }

    /// Begins. A replica without others becomes leader at once: there is nobody else to wait for.
    pub fn start(&mut self, now: Now) -> Result<(), CoreError> {
        self.now = now;
        if self.node.is_sole_voter() {
            self.node.process(Event::Campaign)?;
        }
        self.run_ready()
    }

    /// When [`Replica::process_time`] must be called next.
    pub fn next_deadline(&self) -> Duration {
        self.node.next_deadline(self.now.elapsed)
    }

    /// True while more proposals may share the next write.
    pub fn has_room(&self) -> bool {
        let (proposals, bytes) = self.batch;
        proposals < BATCH_PROPOSALS_MAX && bytes < BATCH_BYTES_MAX
    }

    // ---- Events. After them, `run_ready` ----

    /// Takes the passing of time.
    pub fn process_time(&mut self, now: Now) {
        let is_tick = now.elapsed >= self.node.next_deadline(now.elapsed);
        self.now = now;
        self.node.process_time(now.elapsed);
        if !is_tick {
            return;
        }
        let event = self.incoming.process_time(now.elapsed);
        self.process_incoming(event);
        self.outgoing.process_time(now.elapsed);
        self.offer_snapshots_again();
        self.try_requests();
        self.ask_reads();
    }

    /// Takes a command. True if it is the one to stop.
    pub(crate) fn process(&mut self, command: Command) -> bool {
        match command {
            Command::Request { id, what, reply } => {
                let leader = (self.node.leader(), self.node.term());
                let now = self.now.elapsed;
                if self.waiting.insert(id, what.clone(), reply, leader, now) {
                    self.try_request(id, what);
                }
            }
            Command::Read { reply } => {
                self.reads.insert(reply);
                self.ask_reads();
            }
            Command::Status { reply } => {
                // Of no use to a caller who is gone.
                let _ = reply.send(self.status());
            }
            Command::State { reply } => {
                // Of no use to a caller who is gone.
                let _ = reply.send(self.state());
            }
            Command::Peer { from, message, room } => {
                drop(room);
                self.process_peer(from, message);
            }
            Command::Unreachable(id) => self.process_event(Event::Unreachable(id)),
            Command::HandOver { reply } => {
                // Of no use to a caller who is gone.
                let _ = reply.send(self.hand_over());
            }
            Command::Load(streams) => self.tell_load(streams),
            Command::Removed(why) => self.removed = Some(why),
            Command::Stop => return true,
        }
        false
    }

    /// Takes a request of a caller who waits for it: for whoever drives a replica without a thread.
    pub fn process_request(&mut self, id: RequestId, what: Request, reply: super::Reply) {
        self.process(Command::Request { id, what, reply });
    }

    /// Takes a read that waits until the state is current.
    pub fn process_read(&mut self, reply: super::ReadReply) {
        self.process(Command::Read { reply });
    }

    /// Takes a message from another replica.
    pub fn process_peer(&mut self, from: u64, message: PeerMessage) {
        match message {
            PeerMessage::Raft(message) if message.get_msg_type() == MessageType::MsgSnapshot => {
                self.process_offer(message);
            }
            PeerMessage::Raft(message) => self.process_event(Event::Message(message)),
            PeerMessage::SnapshotRequest(request) => self.process_chunk_request(from, request),
            PeerMessage::SnapshotChunk(chunk) => {
                let event = self.incoming.process_chunk(chunk, self.now.elapsed);
                self.process_incoming(event);
            }
            PeerMessage::SnapshotGone(name) => self.incoming.process_gone(name),
            PeerMessage::Forward { id, what } => {
                if let Some(answer) = self.propose(id, &what) {
                    self.transport.send(from, PeerMessage::Answer { id, answer });
                }
            }
            PeerMessage::Answer { id, answer } => self.waiting.process_answer(&id, answer),
            PeerMessage::Load(streams) => {
                self.shared.loads.insert(from, streams, self.now.elapsed);
            }
        }
    }

    /// Tells the others how many hosts are served here.
    pub fn tell_load(&mut self, streams: u32) {
        let own = self.node.id();
        for id in self.membership.ids().into_iter().filter(|id| *id != own) {
            self.transport.send(id, PeerMessage::Load(streams));
        }
    }

    /// Takes the end of a [`SnapshotJob`](super::SnapshotJob).
    pub fn process_snapshot_done(&mut self) {
        self.snapshotter.process_done();
    }

    /// Takes the news, of a replica that knows, that this one is no member any more.
    pub fn process_removed(&mut self, why: String) {
        self.removed = Some(why);
    }

    /// The core leaves what it cannot take as it is, and says so; the sender's core asks again.
    fn process_event(&mut self, event: Event) {
        if let Err(error) = self.node.process(event) {
            telemetry::message_refused(&error);
        }
    }

    // ---- The loop ----

    /// Writes, sends, applies and answers until nothing is left to do.
    ///
    /// # Errors
    /// The replica must stop. Those who wait are not answered: what became of their requests others
    /// will know, or this replica after a restart.
    pub fn run_ready(&mut self) -> Result<(), CoreError> {
        self.check_removed()?;
        while let Some(mut step) = self.node.step() {
            self.send(std::mem::take(&mut step.send));
            let reads = std::mem::take(&mut step.reads);
            if planted::is(Bug::VoteNotPersisted) && step.write.entries.is_empty() {
                step.write.hard_state = None;
            }
            let late = planted::is(Bug::AcknowledgedBeforeSync).then(|| step.write.clone());
            if late.is_none() && !step.write.is_empty() {
                self.write(&step.write)?;
            }
            // From here on, what the step has is durable.
            let written = self.node.process_written(step);
            self.send(written.send);
            if let Some(write) = late.filter(|write| !write.is_empty()) {
                self.write(&write)?;
            }
            if let Some(snapshot) = written.restore {
                self.process_restored(&snapshot)?;
            }
            let (outcomes, wake) = self.apply(&written.apply)?;
            for (context, index) in reads {
                self.reads.process_index(&context, index);
            }
            // Before the answers: whoever gets one finds its revision in the replica's standing.
            self.publish_standing();
            for (id, outcome) in outcomes {
                self.waiting.answer(&id, Ok(Answer::Outcome(outcome)));
            }
            self.reads.process_applied(self.applied_index);
            wake.wake();
            self.process_leader();
        }
        self.publish_standing();
        self.batch = (0, 0);
        // What was to be said as a member is said. The core of a leader that is none any more would break
        // off at the next answer to what it had sent.
        self.check_removed()
    }

    fn check_removed(&mut self) -> Result<(), CoreError> {
        match self.removed.take() {
            Some(why) => Err(CoreError::Removed { replica_id: self.node.id(), why }),
            None => Ok(()),
        }
    }

    fn send(&mut self, messages: Vec<raft::eraftpb::Message>) {
        for message in messages {
            let to = message.to;
            if !self.transport.send(to, PeerMessage::Raft(Box::new(message))) {
                self.process_event(Event::Unreachable(to));
            }
        }
    }

    fn write(&mut self, write: &Write) -> Result<(), CoreError> {
        let started = Instant::now();
        self.store.write(write)?;
        if let Some(hard_state) = write.hard_state {
            self.written_commit = hard_state.commit;
        }
        let metrics = &self.shared.metrics;
        metrics.log_write_seconds.observe(started.elapsed().as_secs_f64());
        if self.batch.0 > 0 {
            metrics.log_batch_transactions.observe(self.batch.0 as f64);
        }
        Ok(())
    }

    /// Applies committed entries in order. Callers may be answered after this, for their entries
    /// are durable and readable now.
    fn apply(&mut self, entries: &[Entry]) -> Result<(Vec<(RequestId, Outcome)>, Wake), CoreError> {
        let mut prepared = Vec::with_capacity(entries.len());
        for entry in entries {
            self.snapshotter.process_entry(entry);
            if entry.get_entry_type() == EntryType::EntryNormal {
                prepared.extend(prepare(entry)?.map(|mut entry| {
                    entry.share(&mut self.sharing);
                    entry
                }));
            } else {
                self.apply_members(entry)?;
            }
        }
        let applied = self.shared.apply(prepared);
        if let Some(last) = entries.last() {
            self.applied_index = last.index;
            self.node.process_applied(last.index);
        }
        Ok(applied)
    }

    /// Applies a change of members.
    fn apply_members(&mut self, entry: &Entry) -> Result<(), CoreError> {
        if self.written_commit < entry.index {
            let hard_state = Some(self.node.hard_state());
            self.write(&Write { hard_state, ..Write::default() })?;
        }
        let conf_state = self.node.apply_members(entry)?;
        let context = members_context(entry)?;
        if let Some(wire::MembersContext { request, members, next_id, ids }) = context {
            let came = members.into_iter().map(|member| (member.id, member.address));
            self.members.addresses.extend(came);
            self.members.next_id = self.members.next_id.max(next_id);
            if let Some(id) = RequestId::from_wire(&request) {
                self.waiting.answer(&id, Ok(Answer::Members(ids)));
            }
        }
        let own = self.node.id();
        if has(&self.membership.conf_state, own) && !has(&conf_state, own) {
            self.removed = Some(format!("replica {own} was removed from the cluster"));
        }
        // Whoever leaves is reached until the change is complete: it may be needed for that.
        self.members.addresses.retain(|id, _| has(&conf_state, *id));
        self.process_members();
        Ok(())
    }

    /// Takes a snapshot from elsewhere that is written: the state becomes that of it.
    fn process_restored(&mut self, snapshot: &Snapshot) -> Result<(), CoreError> {
        let (applied_index, members) = restore(&self.shared, snapshot)?;
        self.applied_index = applied_index;
        // Without entries after it, nobody else would tell the core.
        self.node.process_applied(applied_index);
        self.members = members;
        self.snapshotter.process_restored(applied_index);
        telemetry::snapshot_restored(applied_index);
        self.process_members();
        Ok(())
    }

    /// The members are others than before.
    fn process_members(&mut self) {
        let conf_state = self.node.conf_state();
        let mut others = self.members.addresses.clone();
        others.remove(&self.node.id());
        self.transport.set_members(&others);
        self.membership = Arc::new(Membership { members: self.members.clone(), conf_state });
    }

    /// Who leads may have changed.
    fn process_leader(&mut self) {
        let now = (self.node.leader(), self.node.term());
        if now != self.tried_with {
            self.waiting.process_leader(now.0);
            self.try_requests();
            self.ask_reads();
        }
    }

    fn publish_standing(&self) {
        let leader = self.node.leader();
        let standing = Standing {
            replica_id: self.node.id(),
            role: self.node.role(),
            leader,
            term: self.node.term(),
            applied_index: self.applied_index,
            committed_index: self.node.committed_index(),
            is_current: self.reads.is_caught_up() && leader != 0,
            membership: self.membership.clone(),
        };
        self.shared.standing.send_if_modified(|current| {
            let changed = !current.is_same(&standing);
            *current = standing;
            changed
        });
    }

    /// What a replica says of itself and, if it leads, of the others.
    fn status(&self) -> ReplicaStatus {
        let progress = self.membership.ids().into_iter();
        let progress = progress.filter_map(|id| Some((id, self.node.progress(id)?)));
        ReplicaStatus {
            address: self.config.address.clone(),
            standing: self.shared.standing.borrow().clone(),
            progress: progress.collect(),
            waiting: self.waiting.len(),
            log: self.store.bounds(),
            snapshot_index: self.store.snapshot_metadata().map_or(0, |metadata| metadata.index),
            incoming: self.incoming.progress(),
        }
    }
}

/// The index of a log's very first entry.
const LOG_FIRST: u64 = 1;

/// What a change of members says of them; `None` for the one that ends a change of several.
pub(crate) fn members_context(entry: &Entry) -> Result<Option<wire::MembersContext>, CoreError> {
    let decoded = |problem: String| CoreError::Members { index: entry.index, problem };
    let context = match entry.get_entry_type() {
        EntryType::EntryConfChange => ConfChange::decode(entry.data.as_ref()).map(|c| c.context),
        _ => ConfChangeV2::decode(entry.data.as_ref()).map(|change| change.context),
    };
    let context = context.map_err(|error| decoded(error.to_string()))?;
    if context.is_empty() {
        return Ok(None);
    }
    let context = wire::MembersContext::decode(context.as_ref());
    context.map(Some).map_err(|error| decoded(error.to_string()))
}

/// Puts the state of a snapshot in place of the present one. Hosts that are connected begin anew: what
/// changed in between, nobody has recorded.
fn restore(shared: &Shared, snapshot: &Snapshot) -> Result<(u64, Members), CoreError> {
    let index = snapshot.get_metadata().index;
    let restored = state::restore(&snapshot.data);
    let restored = restored.map_err(|source| CoreError::Restore { index, source })?;
    let Restored { engine, members, requests, applied_index } = restored;
    shared.restore(engine, requests);
    Ok((applied_index, members))
}
