//! Replicas: what they do, and what is looked at after each step.

use super::{COMPARED_EVERY, Event, Simulation};
use crate::checks::{Finding, check_realized, check_slow_hosts, finding};
use crate::host::Stream;
use crate::replica::{LetGo, Running, SimReplica, State};
use crate::schedule::MS;
use crate::storage::{Seen, WatchedLog};
use prost::Message as _;
use raft::eraftpb::ConfState;
use rand::RngExt as _;
use spanwire_controller::consensus::{LogStore as _, Role, StoreError};
use spanwire_controller::core::{CoreError, SnapshotJob};
use spanwire_controller::peer::PeerMessage;
use spanwire_controller::shared::Membership;
use spanwire_controller::state::wire;
use std::sync::Arc;

impl Simulation {
    pub(super) fn put_tick(&mut self, id: u64) {
        let now = self.schedule.now();
        let Some(replica) = self.replicas.get(&id) else { return };
        let Some(running) = replica.running() else { return };
        let at = replica.clock.when(running.replica.next_deadline()).max(now + 1);
        let run = replica.run;
        self.schedule.put(at.max(running.busy_until), Event::Tick { id, run });
    }

    pub(crate) fn start_replica(&mut self, id: u64) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(()) };
        self.append_only.process_restart(id);
        self.left_behind.process_restart(id);
        match replica.start(now, &mut self.rng) {
            Ok(()) => {
                self.count("replicas started");
                self.tell(format_args!("replica {id} starts"));
                self.step_replica(id, |_| ())?;
                self.put_tick(id);
                Ok(())
            }
            Err(error) => self.process_stopped(id, error),
        }
    }

    /// Lets a replica do something, and all that follows from it.
    pub(crate) fn step_replica(
        &mut self,
        id: u64,
        act: impl FnOnce(&mut Running),
    ) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(()) };
        let clock = replica.clock.now(now);
        let sync_time = replica.storage.sync_time;
        let State::Up(running) = &mut replica.state else { return Ok(()) };
        running.steps += 1;
        let let_go = running.process_time(clock, now, &mut self.rng);
        act(running);
        let ran = running.replica.run_ready();
        let job = if ran.is_ok() { running.replica.take_snapshot_job() } else { None };
        let writes = running.log.take_writes();
        running.busy_until = running.busy_until.max(now) + writes * sync_time;
        let (run, busy_until) = (replica.run, running.busy_until);
        self.tell_let_go(id, let_go);
        self.check_log(id)?;
        self.send_messages(id)?;
        if let Err(error) = ran {
            // Of its own removal it may be the first to know.
            if matches!(error, CoreError::Removed { .. }) {
                self.check_replica(id)?;
            }
            return self.process_stopped(id, error);
        }
        if let Some(job) = job {
            let took = self.rng.random_range(1..500) * MS;
            self.schedule.put(busy_until + took, Event::Snapshot { id, run, job: Box::new(job) });
        }
        self.check_replica(id)?;
        self.serve_hosts(id);
        Ok(())
    }

    fn tell_let_go(&mut self, id: u64, let_go: LetGo) {
        let LetGo { for_balance, without_leader } = let_go;
        let told = [
            ("hosts let go for balance", "has more hosts than others", for_balance),
            ("hosts let go without a leader", "knows of no leader", without_leader),
        ];
        for (what, why, count) in told.into_iter().filter(|(_, _, count)| *count > 0) {
            *self.counts.entry(what).or_default() += count;
            self.tell(format_args!("replica {id} {why} and lets {count} go"));
        }
    }

    /// What was written is looked at, whether or not the replica survived it.
    pub(super) fn check_log(&mut self, id: u64) -> Result<(), Finding> {
        let Some(running) = self.replicas.get(&id).and_then(SimReplica::running) else {
            return Ok(());
        };
        let (role, term) = (running.replica.node().role(), running.replica.node().term());
        for seen in running.log.take_seen() {
            match seen {
                Seen::Entries(entries) => {
                    self.log_matching.check(id, &entries)?;
                    if role == Role::Leader {
                        self.append_only.check(id, term, &entries)?;
                    }
                }
                Seen::HardState(_) | Seen::Restored { .. } => {}
            }
        }
        Ok(())
    }

    pub(super) fn send_messages(&mut self, id: u64) -> Result<(), Finding> {
        let Some(running) = self.replicas.get(&id).and_then(SimReplica::running) else {
            return Ok(());
        };
        let from_time = running.busy_until.max(self.schedule.now());
        for (to, message) in running.outbox.take() {
            if let PeerMessage::Raft(message) = &message {
                self.votes.check(message)?;
            }
            let fate = self.network.fate(id, to, &mut self.rng);
            if fate.is_empty() {
                self.counts.entry("messages lost").and_modify(|n| *n += 1).or_insert(1);
                continue;
            }
            let bytes = message.to_wire().encode_to_vec();
            for delay in fate {
                let bytes = bytes.clone();
                self.schedule.put(from_time + delay, Event::Peer { from: id, to, bytes });
            }
        }
        Ok(())
    }

    pub(super) fn process_peer(&mut self, from: u64, to: u64, bytes: &[u8]) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(replica) = self.replicas.get_mut(&to) else { return Ok(()) };
        let Some(running) = replica.running_mut() else { return Ok(()) };
        if running.busy_until > now {
            let (at, bytes) = (running.busy_until, bytes.to_vec());
            self.schedule.put(at, Event::Peer { from, to, bytes });
            return Ok(());
        }
        // The door of a replica: whoever was removed is told so, and not heard.
        let was_removed = {
            let standing = running.shared.standing.borrow();
            standing.membership.members.was_removed(from)
        };
        if was_removed {
            let why = format!("replica {to} says so");
            return self.step_replica(from, |running| running.replica.process_removed(why));
        }
        let envelope = wire::Envelope::decode(bytes);
        let envelope = envelope.map_err(|error| finding("peer protocol", error.to_string()))?;
        let message = PeerMessage::from_wire(envelope, from, to);
        let message = message.map_err(|error| finding("peer protocol", error.to_string()))?;
        self.step_replica(to, |running| running.replica.process_peer(from, message))
    }

    pub(super) fn process_snapshot(
        &mut self,
        id: u64,
        run: u64,
        job: SnapshotJob<WatchedLog>,
    ) -> Result<(), Finding> {
        let is_running = |replica: &SimReplica| replica.run == run && replica.running().is_some();
        if !self.replicas.get(&id).is_some_and(is_running) {
            return Ok(());
        }
        let index = job.index();
        match job.run() {
            Ok(()) => {
                self.count("snapshots taken");
                self.tell(format_args!("replica {id} has a snapshot of entry {index}"));
                self.step_replica(id, |running| running.replica.process_snapshot_done())
            }
            Err(error) => {
                // The log was replaced by a snapshot from elsewhere meanwhile.
                if matches!(error, StoreError::Compacted { .. } | StoreError::NotCovered { .. }) {
                    return self.step_replica(id, |r| r.replica.process_snapshot_done());
                }
                // In a controller the next write says what is wrong with the disk.
                self.process_stopped(id, CoreError::from(error))
            }
        }
    }

    /// A replica stopped by itself. It must have had a reason.
    pub(super) fn process_stopped(&mut self, id: u64, error: CoreError) -> Result<(), Finding> {
        let text = error.to_string();
        self.tell(format_args!("replica {id} stops: {text}"));
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(()) };
        let is_member = self.membership.ids().contains(&id);
        let altered = replica.storage.is_altered;
        let next = match &error {
            CoreError::Removed { .. } if !is_member => State::Removed,
            CoreError::Store(StoreError::Corrupt { .. }) if altered => State::Broken,
            CoreError::Store(StoreError::Io { .. }) if replica.storage.is_failing => State::Down,
            // A database that finds a page altered while it works on it.
            CoreError::Store(StoreError::Io { .. }) if altered => State::Broken,
            _ => return Err(finding("a replica stops only for a reason", text)),
        };
        let what = match next {
            State::Removed => "replicas removed",
            State::Broken => "replicas broken",
            _ => "replicas stopped by their disk",
        };
        let is_down = matches!(next, State::Down);
        self.stop_replica(id, next);
        self.count(what);
        if is_down {
            let replica = self.replicas.get_mut(&id);
            if let Some(replica) = replica {
                replica.storage.cut_power(&mut self.rng);
            }
            let pause = self.rng.random_range(100..4_000) * MS;
            self.schedule.put(self.schedule.now() + pause, Event::Start { id });
        }
        Ok(())
    }

    /// A replica is gone: nobody who waited for it hears any more.
    pub(crate) fn stop_replica(&mut self, id: u64, next: State) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.state = next;
        }
        let now = self.schedule.now();
        for host in 0..self.hosts.len() {
            let is_there = |stream: &Stream| stream.replica == id;
            if self.hosts[host].stream.as_ref().is_some_and(is_there) {
                let delay = self.network.delay(&mut self.rng);
                self.break_stream(host, now + delay);
            }
        }
    }

    // ---- Checks of a replica after each step ----

    pub(super) fn check_replica(&mut self, id: u64) -> Result<(), Finding> {
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(()) };
        let altered = replica.storage.is_altered;
        let now = self.schedule.now();
        let clock = replica.clock.now(now).elapsed;
        let Some(running) = replica.running_mut() else { return Ok(()) };
        let standing = running.shared.standing.borrow().clone();
        let applied = standing.applied_index;
        let log = running.log.clone();
        let first = log.bounds().first_index;
        let from = running.checked_index.max(first - 1);
        let is_restored = running.checked_index + 1 < first;
        running.checked_index = running.checked_index.max(applied);
        let (steps, shared) = (running.steps, running.shared.clone());
        if from < applied {
            let entries = match log.entries(from + 1, applied + 1, u64::MAX) {
                Ok(entries) => entries,
                Err(StoreError::Corrupt { .. }) if altered => Vec::new(),
                Err(error) => return Err(finding("storage", error.to_string())),
            };
            for entry in &entries {
                self.state_machine.check(id, entry)?;
                if entry.index == self.reference.applied_index() + 1 {
                    self.reference.apply(entry)?;
                }
            }
        }
        if standing.role == Role::Leader {
            self.elections.check(standing.term, id)?;
            // One that was elected and did not know it yet when the next was, needs nothing of that.
            if self.elections.is_newest(standing.term) {
                let committed = self.state_machine.last_before(standing.term);
                let term_of = |index| log.term(index).ok();
                self.completeness.check(id, standing.term, committed, term_of)?;
            }
        }
        if is_restored {
            self.count("snapshots restored");
            self.tell(format_args!("replica {id} is at entry {applied} by a snapshot"));
        }
        if (is_restored || steps % COMPARED_EVERY == 0) && applied <= self.reference.applied_index()
        {
            self.exactly_once.check(id, &shared.state.read(), &self.reference)?;
        }
        if applied > self.membership_index {
            self.membership_index = applied;
            self.process_membership(standing.membership.clone());
        }
        self.left_behind.check(id, &standing, &shared, clock, now)?;
        check_slow_hosts(&shared.publisher, &shared.state.read())?;
        let enforced = |name: &spanwire_topology::model::Text| {
            let host = self.hosts.iter().find(|host| host.name == *name)?;
            Some(host.revision())
        };
        if applied <= self.reference.applied_index() {
            check_realized(id, &shared.publisher, &self.reference, enforced)?;
        }
        Ok(())
    }

    /// The members are others: who was added starts, with an empty disk.
    pub(super) fn process_membership(&mut self, membership: Arc<Membership>) {
        if self.membership == membership {
            return;
        }
        let ConfState { voters, learners, voters_outgoing, .. } = &membership.conf_state;
        let text = format!("voters {voters:?} learners {learners:?} leaving {voters_outgoing:?}");
        self.tell(format_args!("members: {text}"));
        self.count("changes of members");
        if !voters_outgoing.is_empty() {
            self.count("joint configurations");
        }
        let new: Vec<u64> =
            membership.ids().into_iter().filter(|id| !self.replicas.contains_key(id)).collect();
        self.membership = membership;
        for id in new {
            self.add_replica(id);
            let pause = self.rng.random_range(0..500) * MS;
            self.schedule.put(self.schedule.now() + pause, Event::Start { id });
        }
    }
}
