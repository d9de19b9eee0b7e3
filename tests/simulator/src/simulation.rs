//! The simulation: the cluster, its hosts, those who use it, and what goes wrong, in one thread.

use crate::admin::{Change, Client, Task, What, to_command, to_transaction};
use crate::checks::{
    Durable, ElectionSafety, ExactlyOnce, Finding, ForwardOnly, LeaderAppendOnly,
    LeaderCompleteness, Linearizability, LogMatching, Operation, Reference, Resume,
    StateMachineSafety, Votes, check_oracle, check_realized, check_slow_hosts, check_view, finding,
};
use crate::faults::Faults;
use crate::host::{SimHost, Stream};
use crate::network::Network;
use crate::replica::{SimReplica, State, TROUBLE, address, limits};
use crate::schedule::{MS, SECOND, Schedule, Time};
use crate::storage::Seen;
use crate::trace::Trace;
use crate::workload::{self, Deed};
use prost::Message as _;
use raft::eraftpb::ConfState;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use spanwire_controller::config::Limits;
use spanwire_controller::consensus::{LogStore as _, Role, StoreError, node};
use spanwire_controller::core::{Answer, CoreError, ProposeError, SnapshotJob};
use spanwire_controller::peer::{MembersChange, PeerMessage, Request};
use spanwire_controller::publisher::process_message;
use spanwire_controller::shared::Membership;
use spanwire_controller::state::{Applied, RequestId, wire as peer_wire};
use spanwire_hostproto::{Hello, HostCommand, wire};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Clients of the admin API.
const CLIENTS: usize = 3;
/// How long after the trouble everything has until it must be as it should.
const HEALING: Time = 60 * SECOND;
/// Messages on their way to a host at one time: what its connection holds.
const WINDOW: usize = 2;
/// Every so many steps of a replica its state is compared with the reference.
const COMPARED_EVERY: u64 = 64;

/// What happens.
pub(crate) enum Event {
    /// A replica's clock has come to its next tick.
    Tick {
        id: u64,
        run: u64,
    },
    /// A message comes to a replica.
    Peer {
        from: u64,
        to: u64,
        bytes: Vec<u8>,
    },
    /// A snapshot is written, unless its replica stopped meanwhile.
    Snapshot {
        id: u64,
        run: u64,
        job: Box<SnapshotJob<crate::storage::WatchedLog>>,
    },
    /// A replica starts.
    Start {
        id: u64,
    },
    /// A host connects, if it is not connected.
    Connect {
        host: usize,
        run: u64,
    },
    /// The first message of a stream comes to a host, or to its replica.
    ToHost {
        host: usize,
        stream: u64,
    },
    ToReplica {
        host: usize,
        stream: u64,
    },
    /// A replica notices that a stream has ended.
    StreamEnds {
        stream: Box<Stream>,
    },
    /// A host's datapath has taken what it was given.
    Applied {
        host: usize,
        run: u64,
    },
    /// A host's agent starts.
    HostStart {
        host: usize,
    },
    /// A client does the next thing.
    Client {
        client: usize,
    },
    /// Somebody changes the members.
    Operator,
    /// Something goes wrong.
    Fault,
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Simulated time.
    pub microseconds: u64,
    /// One number for all that happened.
    pub digest: u64,
    /// Things that happened.
    pub steps: u64,
    /// What was seen, by name: for a look at whether the run had everything in it.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What to simulate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Tell what happens, as it happens.
    pub print: bool,
}

/// A run.
pub(crate) struct Simulation {
    pub(crate) rng: ChaCha8Rng,
    pub(crate) schedule: Schedule<Event>,
    pub(crate) trace: Trace,
    pub(crate) network: Network,
    pub(crate) replicas: BTreeMap<u64, SimReplica>,
    pub(crate) hosts: Vec<SimHost>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) faults: Faults,
    /// True once nothing goes wrong any more.
    pub(crate) is_healed: bool,
    clients: Vec<Client>,
    change: Option<Change>,
    limits: Limits,
    streams: u64,
    reference: Reference,
    /// The members, as of the last entry that was applied anywhere.
    pub(crate) membership: Arc<Membership>,
    membership_index: u64,
    elections: ElectionSafety,
    votes: Votes,
    append_only: LeaderAppendOnly,
    log_matching: LogMatching,
    completeness: LeaderCompleteness,
    state_machine: StateMachineSafety,
    forward_only: ForwardOnly,
    resume: Resume,
    durable: Durable,
    exactly_once: ExactlyOnce,
    linearizability: Linearizability,
}

/// Runs a seed.
///
/// # Errors
/// What was found, and the last things that happened before.
pub fn run(seed: u64, options: Options) -> Result<Report, (Finding, Vec<String>)> {
    let mut simulation = Simulation::new(seed, options);
    // The Raft core breaks off where what it takes for granted does not hold.
    let ran = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    let ran = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(finding("no panic", text.unwrap_or_default()))
    });
    match ran {
        Ok(()) => Ok(simulation.report()),
        Err(finding) => Err((finding, simulation.trace.tail().map(str::to_owned).collect())),
    }
}

impl Simulation {
    fn new(seed: u64, options: Options) -> Simulation {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let hosts: Vec<SimHost> = (0..workload::HOSTS).map(SimHost::new).collect();
        let names = hosts.iter().map(|host| host.name.clone()).collect();
        let limits = limits(&mut rng);
        Simulation {
            faults: Faults::new(&mut rng),
            schedule: Schedule::default(),
            trace: Trace::new(options.print),
            network: Network::default(),
            replicas: BTreeMap::new(),
            hosts,
            counts: BTreeMap::new(),
            is_healed: false,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            change: None,
            limits,
            streams: 0,
            reference: Reference::new(names),
            membership: Arc::default(),
            membership_index: 0,
            elections: ElectionSafety::default(),
            votes: Votes::default(),
            append_only: LeaderAppendOnly::default(),
            log_matching: LogMatching::default(),
            completeness: LeaderCompleteness::default(),
            state_machine: StateMachineSafety::default(),
            forward_only: ForwardOnly::default(),
            resume: Resume::default(),
            durable: Durable::default(),
            exactly_once: ExactlyOnce::default(),
            linearizability: Linearizability::default(),
            rng,
        }
    }

    fn report(&self) -> Report {
        let mut counts = self.counts.clone();
        counts.insert("elections won", self.elections.count() as u64);
        counts.insert("writes acknowledged", self.durable.acknowledged() as u64);
        counts.insert("operations answered", self.linearizability.count());
        counts.insert("states compared", self.exactly_once.compared);
        counts.insert("updates to hosts", self.resume.updates);
        counts.insert("resumes of hosts", self.resume.resumes);
        counts.insert("log entries", self.reference.applied_index());
        Report {
            microseconds: self.schedule.now(),
            digest: self.trace.digest(),
            steps: self.trace.steps(),
            counts,
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.add(self.schedule.now(), what);
    }

    // ---- The course of it ----

    fn run(&mut self) -> Result<(), Finding> {
        self.found()?;
        while self.schedule.now() < TROUBLE {
            self.step()?;
        }
        self.heal()?;
        let until = self.schedule.now() + HEALING;
        while self.what_is_missing().is_some() {
            if self.schedule.now() > until {
                let missing = self.what_is_missing().unwrap_or_default();
                return Err(finding("convergence", missing));
            }
            self.step()?;
        }
        self.durable.check(&self.reference)?;
        check_oracle(self.reference.engine())
    }

    /// One replica begins, as an operator would: the others are added.
    fn found(&mut self) -> Result<(), Finding> {
        self.add_replica(1);
        let opened = self.replicas.get(&1).map(|replica| replica.storage.open());
        let store_failed = |error: StoreError| finding("storage", error.to_string());
        let Some(opened) = opened else { return Err(finding("simulation", "no founder")) };
        let log = opened.map_err(store_failed)?;
        node::bootstrap(&*log, &[1]).map_err(store_failed)?;
        drop(log);
        self.start_replica(1)?;
        let deeds: Vec<Deed> = workload::start().into_iter().map(Deed::Put).collect();
        self.begin_write(0, &deeds);
        for client in 0..CLIENTS {
            self.schedule.put(SECOND + client as u64 * 10 * MS, Event::Client { client });
        }
        for host in 0..self.hosts.len() {
            self.schedule.put(2 * SECOND, Event::Connect { host, run: 0 });
        }
        self.schedule.put(SECOND, Event::Operator);
        self.schedule.put(6 * SECOND, Event::Fault);
        Ok(())
    }

    pub(crate) fn add_replica(&mut self, id: u64) {
        let replica = SimReplica::new(id, self.limits, &mut self.rng);
        self.replicas.insert(id, replica);
    }

    fn step(&mut self) -> Result<(), Finding> {
        let Some(event) = self.schedule.next() else {
            return Err(finding("simulation", "nothing happens any more"));
        };
        self.process(event)?;
        self.poll_clients()?;
        self.poll_change();
        Ok(())
    }

    fn process(&mut self, event: Event) -> Result<(), Finding> {
        match event {
            Event::Tick { id, run } => {
                if self.replicas.get(&id).is_some_and(|r| r.run == run && r.running().is_some()) {
                    self.step_replica(id, |_| ())?;
                    self.put_tick(id);
                }
                Ok(())
            }
            Event::Peer { from, to, bytes } => self.process_peer(from, to, &bytes),
            Event::Snapshot { id, run, job } => self.process_snapshot(id, run, *job),
            Event::Start { id } => match self.replicas.get(&id).map(|replica| &replica.state) {
                Some(State::Down) => self.start_replica(id),
                _ => Ok(()),
            },
            Event::Connect { host, run } => {
                if self.hosts[host].run == run {
                    self.connect(host);
                }
                Ok(())
            }
            Event::ToHost { host, stream } => self.process_to_host(host, stream),
            Event::ToReplica { host, stream } => self.process_to_replica(host, stream),
            Event::StreamEnds { stream } => {
                self.process_stream_end(*stream);
                Ok(())
            }
            Event::Applied { host, run } => self.process_applied(host, run),
            Event::HostStart { host } => {
                if !self.hosts[host].is_up {
                    let instance = self.rng.random();
                    self.hosts[host].start(instance);
                    self.check_host(host)?;
                    self.connect(host);
                }
                Ok(())
            }
            Event::Client { client } => {
                self.process_client(client);
                Ok(())
            }
            Event::Operator => {
                self.process_operator();
                Ok(())
            }
            Event::Fault => self.process_fault(),
        }
    }

    // ---- Replicas ----

    fn put_tick(&mut self, id: u64) {
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
        act: impl FnOnce(&mut crate::replica::Running),
    ) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(()) };
        let clock = replica.clock.now(now);
        let sync_time = replica.storage.sync_time;
        let State::Up(running) = &mut replica.state else { return Ok(()) };
        running.steps += 1;
        running.replica.process_time(clock);
        act(running);
        let ran = running.replica.run_ready();
        let job = if ran.is_ok() { running.replica.take_snapshot_job() } else { None };
        let writes = running.log.take_writes();
        running.busy_until = running.busy_until.max(now) + writes * sync_time;
        let (run, busy_until) = (replica.run, running.busy_until);
        self.check_log(id)?;
        self.send_messages(id)?;
        if let Err(error) = ran {
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

    /// What was written is looked at, whether or not the replica survived it.
    fn check_log(&mut self, id: u64) -> Result<(), Finding> {
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

    fn send_messages(&mut self, id: u64) -> Result<(), Finding> {
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

    fn process_peer(&mut self, from: u64, to: u64, bytes: &[u8]) -> Result<(), Finding> {
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
        let envelope = peer_wire::Envelope::decode(bytes);
        let envelope = envelope.map_err(|error| finding("peer protocol", error.to_string()))?;
        let message = PeerMessage::from_wire(envelope, from, to);
        let message = message.map_err(|error| finding("peer protocol", error.to_string()))?;
        self.step_replica(to, |running| running.replica.process_peer(from, message))
    }

    fn process_snapshot(
        &mut self,
        id: u64,
        run: u64,
        job: SnapshotJob<crate::storage::WatchedLog>,
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
    fn process_stopped(&mut self, id: u64, error: CoreError) -> Result<(), Finding> {
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

    fn check_replica(&mut self, id: u64) -> Result<(), Finding> {
        let Some(replica) = self.replicas.get_mut(&id) else { return Ok(()) };
        let altered = replica.storage.is_altered;
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
    fn process_membership(&mut self, membership: Arc<Membership>) {
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

    // ---- Hosts ----

    /// A host opens a stream to some member.
    fn connect(&mut self, host: usize) {
        if !self.hosts[host].is_up || self.hosts[host].stream.is_some() {
            return;
        }
        let now = self.schedule.now();
        let last = self.hosts[host].last_replica;
        let mut known: Vec<u64> =
            self.membership.ids().into_iter().filter(|id| *id != last).collect();
        if known.is_empty() {
            known.push(last.max(1));
        }
        let id = known[self.rng.random_range(0..known.len())];
        let run = self.hosts[host].run;
        let pause = self.rng.random_range(50..400) * MS;
        self.hosts[host].last_replica = id;
        let blocked = self.network.is_blocked(host_node(host), id);
        let replica = self.replicas.get(&id);
        let Some((replica_run, running)) =
            replica.and_then(|r| Some((r.run, r.running()?))).filter(|_| !blocked)
        else {
            self.schedule.put(now + pause, Event::Connect { host, run });
            return;
        };
        // A replica that has not caught up, or knows of no leader, sends hosts elsewhere.
        if !running.shared.standing.borrow().is_current {
            self.schedule.put(now + pause, Event::Connect { host, run });
            return;
        }
        self.streams += 1;
        let stream = Stream {
            number: self.streams,
            replica: id,
            run: replica_run,
            since: now,
            connection: None,
            to_host: Default::default(),
            to_replica: Default::default(),
            last_to_host: now,
            last_to_replica: now,
        };
        self.hosts[host].stream = Some(stream);
        self.count("host streams");
        let commands = self.hosts[host].session.process_connected();
        self.execute(host, commands);
    }

    fn execute(&mut self, host: usize, commands: Vec<HostCommand>) {
        let now = self.schedule.now();
        for command in commands {
            match command {
                HostCommand::Send(message) => self.send_to_replica(host, message),
                HostCommand::Apply(change) => {
                    self.hosts[host].applying = Some(change);
                    let took = self.rng.random_range(1..30) * MS;
                    let run = self.hosts[host].run;
                    self.schedule.put(now + took, Event::Applied { host, run });
                }
                HostCommand::Disconnect { .. } => self.break_stream(host, now),
            }
        }
    }

    fn send_to_replica(&mut self, host: usize, message: wire::HostMessage) {
        let now = self.schedule.now();
        let delay = self.network.delay(&mut self.rng);
        let Some(stream) = &mut self.hosts[host].stream else { return };
        if self.network.is_blocked(host_node(host), stream.replica) {
            self.break_stream(host, now + delay);
            return;
        }
        stream.to_replica.push_back(message);
        stream.last_to_replica = stream.last_to_replica.max(now + delay);
        let (at, stream) = (stream.last_to_replica, stream.number);
        self.schedule.put(at, Event::ToReplica { host, stream });
    }

    fn process_to_replica(&mut self, host: usize, number: u64) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(stream) = self.hosts[host].stream.as_mut().filter(|s| s.number == number) else {
            return Ok(());
        };
        let (id, run, since) = (stream.replica, stream.run, stream.since);
        let Some(replica) = self.replicas.get(&id).filter(|replica| replica.run == run) else {
            return Ok(());
        };
        let Some(running) = replica.running() else { return Ok(()) };
        let Some(message) = stream.to_replica.pop_front() else { return Ok(()) };
        let shared = running.shared.clone();
        let age = Duration::from_micros(now - since);
        match &stream.connection {
            Some(connection) => process_message(&shared, connection, message, age),
            None => {
                let hello = Hello::from_first_message(message);
                let hello = hello.map_err(|refused| finding("host protocol", refused.detail))?;
                let connected = shared.publisher.connect(&mut shared.state.write(), hello, 0);
                match connected {
                    Ok(connection) => stream.connection = Some(connection),
                    // It was not yet in the state: it tries again.
                    Err(_) => {
                        self.break_stream(host, now);
                        return Ok(());
                    }
                }
            }
        }
        self.serve_hosts(id);
        Ok(())
    }

    /// Sends what a replica has for its hosts, as far as they take it.
    fn serve_hosts(&mut self, id: u64) {
        let now = self.schedule.now();
        let Some(replica) = self.replicas.get(&id) else { return };
        let run = replica.run;
        let Some(shared) = replica.running().map(|running| running.shared.clone()) else { return };
        for host in 0..self.hosts.len() {
            let slowness = self.hosts[host].slowness;
            let Some(stream) = &mut self.hosts[host].stream else { continue };
            let Some(connection) = stream.connection.clone() else { continue };
            if stream.replica != id || stream.run != run {
                continue;
            }
            let age = Duration::from_micros(now - stream.since);
            connection.process_timer(age);
            while stream.to_host.len() < WINDOW
                && !connection.is_ended()
                && connection.has_message(&shared.publisher)
            {
                let message = connection.next_message(&shared.publisher, &shared.state.read(), age);
                let Some(message) = message else { break };
                stream.to_host.push_back(message);
                let delay = self.network.delay(&mut self.rng) + slowness;
                stream.last_to_host = stream.last_to_host.max(now + delay);
                let (at, stream) = (stream.last_to_host, stream.number);
                self.schedule.put(at, Event::ToHost { host, stream });
            }
        }
    }

    fn process_to_host(&mut self, host: usize, number: u64) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(stream) = self.hosts[host].stream.as_mut().filter(|s| s.number == number) else {
            return Ok(());
        };
        let id = stream.replica;
        if self.network.is_blocked(id, host_node(host)) {
            self.break_stream(host, now);
            return Ok(());
        }
        let Some(message) = stream.to_host.pop_front() else { return Ok(()) };
        let complained = self.hosts[host].complained;
        self.resume.check(&message, self.hosts[host].session.view(), complained)?;
        let commands = self.hosts[host].session.process_message(message);
        let complains = commands.iter().any(|command| {
            let HostCommand::Send(message) = command else { return false };
            matches!(message.message, Some(wire::host_message::Message::Complaint(_)))
        });
        if complains {
            self.hosts[host].complained = true;
            self.count("complaints of hosts");
            let name = self.hosts[host].name.clone();
            self.tell(format_args!("{name} complains: {commands:?}"));
        }
        self.execute(host, commands);
        self.serve_hosts(id);
        Ok(())
    }

    fn process_applied(&mut self, host: usize, run: u64) -> Result<(), Finding> {
        if self.hosts[host].run != run {
            return Ok(());
        }
        let Some(change) = self.hosts[host].applying.take() else { return Ok(()) };
        let held = spanwire_hostproto::HeldView {
            cluster_id: change.cluster_id,
            view: change.view.clone(),
        };
        self.hosts[host].disk = Some(held);
        self.hosts[host].enforced = change.view;
        if change.replace {
            self.hosts[host].complained = false;
        }
        self.check_host(host)?;
        let commands = self.hosts[host].session.process_applied(change.to, Vec::new());
        self.execute(host, commands);
        Ok(())
    }

    /// A host has something new in its datapath.
    fn check_host(&mut self, host: usize) -> Result<(), Finding> {
        let SimHost { name, enforced, .. } = &self.hosts[host];
        let (name, enforced) = (name.clone(), enforced.clone());
        self.forward_only.check(&name, enforced.revision)?;
        if enforced.revision > 0 {
            check_view(&self.reference, &name, &enforced)?;
        }
        self.tell(format_args!("{name} enforces revision {}", enforced.revision));
        Ok(())
    }

    /// A stream breaks: the host notices at a time, the replica at another.
    pub(crate) fn break_stream(&mut self, host: usize, at: Time) {
        let Some(stream) = self.hosts[host].stream.take() else { return };
        self.hosts[host].session.process_disconnected();
        let run = self.hosts[host].run;
        let pause = self.rng.random_range(20..600) * MS;
        self.schedule.put(at + pause, Event::Connect { host, run });
        let late = self.rng.random_range(0..2_000) * MS;
        self.schedule.put(at + late, Event::StreamEnds { stream: Box::new(stream) });
    }

    fn process_stream_end(&mut self, stream: Stream) {
        let Some(replica) = self.replicas.get(&stream.replica) else { return };
        let Some(running) = replica.running().filter(|_| replica.run == stream.run) else { return };
        if let Some(connection) = &stream.connection {
            let shared = &running.shared;
            shared.publisher.disconnect(&mut shared.state.write(), connection);
        }
    }

    // ---- Clients ----

    /// Replicas that run.
    pub(crate) fn up(&self) -> Vec<u64> {
        let up = |(id, replica): (&u64, &SimReplica)| replica.running().map(|_| *id);
        self.replicas.iter().filter_map(up).collect()
    }

    fn any_up(&mut self) -> Option<u64> {
        let up = self.up();
        if up.is_empty() { None } else { Some(up[self.rng.random_range(0..up.len())]) }
    }

    fn process_client(&mut self, client: usize) {
        if self.clients[client].task.is_some() {
            return;
        }
        let now = self.schedule.now();
        let Some(id) = self.any_up() else {
            self.schedule.put(now + 100 * MS, Event::Client { client });
            return;
        };
        if self.rng.random_bool(0.7) {
            let deeds = workload::deeds(&mut self.rng);
            self.begin_write(client, &deeds);
            return;
        }
        let run = self.replicas[&id].run;
        let (reply, current) = oneshot::channel();
        if self.rng.random_bool(0.2) {
            self.stale_read(id);
            self.schedule.put(now + 50 * MS, Event::Client { client });
            return;
        }
        let task = Task {
            from: now,
            until: now + 3 * SECOND,
            replica: (id, run),
            what: What::Read { current },
        };
        self.clients[client].task = Some(task);
        self.deferred_step(id, move |running| running.replica.process_read(reply));
    }

    /// A stale read shows a state that the log had, and says which.
    fn stale_read(&mut self, id: u64) {
        self.count("stale reads");
        if let Some(running) = self.replicas.get(&id).and_then(SimReplica::running) {
            let shared = running.shared.clone();
            let engine = shared.state.read();
            let revision = engine.revision();
            if revision <= self.reference.applied_index()
                && let Err(found) = self.exactly_once.check(id, &engine, &self.reference)
            {
                self.faults.found = Some(found);
            }
            drop(engine);
            self.tell(format_args!("replica {id} shows revision {revision}"));
        }
    }

    fn begin_write(&mut self, client: usize, deeds: &[Deed]) {
        let id = RequestId(self.rng.random());
        let transaction = to_transaction(deeds);
        let (_, answer) = oneshot::channel();
        let now = self.schedule.now();
        let what = What::Write { id, transaction, answer, attempts: 0 };
        let task = Task { from: now, until: now, replica: (0, 0), what };
        self.clients[client].task = Some(task);
        self.try_write(client);
    }

    /// Asks some replica for a write, again or for the first time.
    fn try_write(&mut self, client: usize) {
        let now = self.schedule.now();
        let patience = self.rng.random_range(200..6_000) * MS;
        let asked = self.any_up();
        let Some(task) = &mut self.clients[client].task else { return };
        let What::Write { id, transaction, answer, attempts } = &mut task.what else { return };
        task.until = now + patience;
        let Some(replica) = asked else { return };
        let (reply, received) = oneshot::channel();
        *answer = received;
        *attempts += 1;
        let (request, attempt) = (*id, *attempts);
        let transaction = transaction.clone();
        task.replica = (replica, self.replicas[&replica].run);
        self.tell(format_args!("client {client} asks replica {replica} for {request}, {attempt}"));
        if attempt > 1 {
            self.count("writes tried again");
        }
        self.deferred_step(replica, move |running| {
            let since = running.shared.standing.borrow().applied_index;
            let command = to_command(request, since, &transaction);
            running.replica.process_request(request, command, reply);
        });
    }

    /// A step that a client causes. What is found in it is told by the next step.
    fn deferred_step(&mut self, id: u64, act: impl FnOnce(&mut crate::replica::Running)) {
        if let Err(found) = self.step_replica(id, act) {
            self.faults.found.get_or_insert(found);
        }
    }

    fn poll_clients(&mut self) -> Result<(), Finding> {
        if let Some(found) = self.faults.found.take() {
            return Err(found);
        }
        for client in 0..self.clients.len() {
            self.poll_client(client)?;
        }
        Ok(())
    }

    fn poll_client(&mut self, client: usize) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(task) = &mut self.clients[client].task else { return Ok(()) };
        let (from, is_late) = (task.from, now >= task.until);
        let (replica, run) = task.replica;
        let is_gone =
            self.replicas.get(&replica).is_none_or(|r| r.run != run || r.running().is_none());
        match &mut task.what {
            What::Read { current } => match current.try_recv() {
                Ok(()) => {
                    self.clients[client].task = None;
                    let running = self.replicas.get(&replica).and_then(SimReplica::running);
                    if let Some(running) = running {
                        let revision = running.shared.state.read().revision();
                        let operation = Operation { from, to: now, revision, is_write: false };
                        self.linearizability.check(&operation)?;
                        self.tell(format_args!("client {client} reads revision {revision}"));
                    }
                    self.next_task(client);
                }
                Err(_) if is_late || is_gone => {
                    self.clients[client].task = None;
                    self.count("reads without an answer");
                    self.next_task(client);
                }
                Err(_) => {}
            },
            What::Write { id, answer, attempts, .. } => {
                let (id, attempts) = (*id, *attempts);
                match answer.try_recv() {
                    Ok(answer) => self.process_write_answer(client, id, attempts, from, answer)?,
                    Err(_) if is_late || is_gone => {
                        // The outcome is not known. Many ask again; some leave it at that.
                        if self.rng.random_bool(0.9) || self.is_healed {
                            self.try_write(client);
                        } else {
                            self.count("writes left unknown");
                            self.clients[client].task = None;
                            self.next_task(client);
                        }
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn process_write_answer(
        &mut self,
        client: usize,
        id: RequestId,
        attempts: u32,
        from: Time,
        answer: Result<Answer, ProposeError>,
    ) -> Result<(), Finding> {
        let now = self.schedule.now();
        match answer {
            Ok(Answer::Outcome(Ok(applied))) => {
                if let Applied::Before(_) = applied {
                    self.count("writes found applied before");
                }
                let revision = applied.revision();
                self.durable.process_committed(id, revision);
                self.durable.check_one(&id, &self.reference)?;
                let operation = Operation { from, to: now, revision, is_write: true };
                self.linearizability.check(&operation)?;
                self.tell(format_args!("client {client} has {id} as revision {revision}"));
            }
            Ok(Answer::Outcome(Err(rejection))) => {
                self.count("writes rejected");
                self.durable.process_rejected(id);
                self.durable.check_one(&id, &self.reference)?;
                self.tell(format_args!("client {client} is refused {id}: {rejection}"));
            }
            Err(error) => {
                // Of the first attempt this is certain; of a later one, only that it did nothing.
                if attempts == 1 {
                    self.count("writes not applied");
                    self.durable.process_not_applied(id);
                }
                self.tell(format_args!("client {client} gives {id} up: {error}"));
            }
            Ok(other) => return Err(finding("admin API", format!("a write gave {other:?}"))),
        }
        self.clients[client].task = None;
        self.next_task(client);
        Ok(())
    }

    fn next_task(&mut self, client: usize) {
        self.clients[client].done += 1;
        let pause = self.rng.random_range(1..400) * MS;
        self.schedule.put(self.schedule.now() + pause, Event::Client { client });
    }

    // ---- The operator ----

    fn process_operator(&mut self) {
        let pause = if self.membership.ids().len() < 3 { 500 } else { 4_000 };
        let at = self.schedule.now() + self.rng.random_range(100..pause) * MS;
        self.schedule.put(at, Event::Operator);
        if self.change.is_some() {
            return;
        }
        let Some(request) = self.choose_change() else { return };
        let Some(id) = self.any_up() else { return };
        let (reply, answer) = oneshot::channel();
        let change = match &request {
            Request::Members(change) => Some(change.clone()),
            _ => None,
        };
        let until = self.schedule.now() + 5 * SECOND;
        self.change = Some(Change { change, until, answer });
        let name = RequestId(self.rng.random());
        self.tell(format_args!("operator asks replica {id} for {request:?}"));
        self.deferred_step(id, move |running| {
            running.replica.process_request(name, request, reply);
        });
    }

    /// What an operator would do next.
    fn choose_change(&mut self) -> Option<Request> {
        let ConfState { voters, learners, .. } = self.membership.conf_state.clone();
        let members = |change: MembersChange| Some(Request::Members(change));
        let is_broken =
            |id: &u64| matches!(self.replicas.get(id).map(|r| &r.state), Some(State::Broken));
        // Who is broken is replaced.
        if let Some(id) = self.membership.ids().iter().find(|id| is_broken(id)) {
            return members(MembersChange { remove: vec![*id], ..MembersChange::default() });
        }
        let next = address(self.membership.members.next_id);
        let add = |addresses: Vec<String>| MembersChange { add: addresses, ..Default::default() };
        let count = voters.len() + learners.len();
        if count < 3 {
            return members(add(vec![next]));
        }
        if let Some(learner) = learners.first().filter(|_| voters.len() < 3) {
            return members(MembersChange { promote: vec![*learner], ..Default::default() });
        }
        if self.is_healed {
            return None;
        }
        let voter = voters[self.rng.random_range(0..voters.len())];
        match self.rng.random_range(0..12) {
            0..4 => Some(Request::Transfer(voter)),
            4..6 if count < 7 => members(add(vec![next])),
            6..8 if !learners.is_empty() => {
                let promote = learners.clone();
                members(MembersChange { promote, ..Default::default() })
            }
            8 if voters.len() > 3 => {
                members(MembersChange { remove: vec![voter], ..Default::default() })
            }
            9 if !learners.is_empty() => {
                members(MembersChange { remove: vec![learners[0]], ..Default::default() })
            }
            // One goes and another comes in its place, at once.
            10 if !learners.is_empty() => {
                let (promote, remove) = (vec![learners[0]], vec![voter]);
                members(MembersChange { promote, remove, ..Default::default() })
            }
            _ => None,
        }
    }

    fn poll_change(&mut self) {
        let now = self.schedule.now();
        let Some(change) = &mut self.change else { return };
        let told = match change.answer.try_recv() {
            Ok(answer) => format!("{answer:?}"),
            Err(oneshot::error::TryRecvError::Closed) => "nothing: the replica is gone".to_owned(),
            Err(oneshot::error::TryRecvError::Empty) if now >= change.until => "nothing".to_owned(),
            Err(oneshot::error::TryRecvError::Empty) => return,
        };
        self.change = None;
        self.tell(format_args!("operator is told {told}"));
    }

    // ---- The end ----

    /// Nothing goes wrong any more, and what was broken is repaired.
    fn heal(&mut self) -> Result<(), Finding> {
        self.tell(format_args!("healed"));
        self.is_healed = true;
        self.network = Network::default();
        for host in 0..self.hosts.len() {
            self.hosts[host].slowness = 0;
            if !self.hosts[host].is_up {
                self.schedule.put(self.schedule.now(), Event::HostStart { host });
            }
        }
        let ids: Vec<u64> = self.replicas.keys().copied().collect();
        for id in ids {
            let Some(replica) = self.replicas.get_mut(&id) else { continue };
            replica.storage.sync_time = 200;
            if replica.storage.is_failing {
                let is_up = replica.running().is_some();
                replica.storage.kill();
                if is_up {
                    self.stop_replica(id, State::Down);
                }
            }
            if matches!(self.replicas.get(&id).map(|r| &r.state), Some(State::Down)) {
                self.start_replica(id)?;
            }
        }
        Ok(())
    }

    /// What is not yet as it must be in the end.
    fn what_is_missing(&self) -> Option<String> {
        let membership = &self.membership;
        if membership.conf_state.voters.len() < 3 || self.reference.applied_index() == 0 {
            return Some(format!("the cluster has not grown to three: {membership:?}"));
        }
        if !membership.conf_state.voters_outgoing.is_empty() {
            return Some("a change of several members is not complete".to_owned());
        }
        // Fresh writes, by everyone.
        if let Some((client, _)) =
            self.clients.iter().enumerate().find(|(_, c)| {
                c.task.as_ref().is_some_and(|task| task.from < TROUBLE) || c.done == 0
            })
        {
            return Some(format!("client {client} has done nothing since"));
        }
        let mut newest = None;
        for id in membership.ids() {
            let Some(running) = self.replicas.get(&id).and_then(SimReplica::running) else {
                return Some(format!("replica {id} does not run"));
            };
            let standing = running.shared.standing.borrow().clone();
            if !standing.is_current || standing.applied_index != self.reference.applied_index() {
                return Some(format!("replica {id} is behind: {standing:?}"));
            }
            let requests = running.shared.requests.lock().clone();
            let state = (standing.applied_index, requests);
            if newest.get_or_insert(state.clone()) != &state {
                return Some(format!("replica {id} remembers other requests than the first"));
            }
        }
        for host in &self.hosts {
            let expected = self.reference.view_at(&host.name, self.reference.applied_index());
            if expected.is_none_or(|expected| expected.items != host.enforced.items) {
                let revision = host.revision();
                return Some(format!("{} enforces revision {revision}", host.name));
            }
        }
        None
    }
}

/// A host's place in the network.
pub(crate) fn host_node(host: usize) -> u64 {
    1_000_000 + host as u64
}
