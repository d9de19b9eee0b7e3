//! The simulation: the cluster, its hosts, those who use it, and what goes wrong, in one thread.

use crate::admin::{Change, Client};
use crate::checks::{
    Durable, ElectionSafety, ExactlyOnce, Finding, ForwardOnly, LeaderAppendOnly,
    LeaderCompleteness, LeftBehind, Linearizability, LogMatching, Reference, Resume,
    StateMachineSafety, Votes, check_oracle, finding,
};
use crate::faults::Faults;
use crate::host::{SimHost, Stream};
use crate::network::Network;
use crate::replica::{SimReplica, State, TROUBLE, limits};
use crate::schedule::{MS, SECOND, Schedule, Time};
use crate::trace::Trace;
use crate::workload::{self, Deed};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use spanwire_controller::config::Limits;
use spanwire_controller::consensus::{StoreError, node};
use spanwire_controller::core::SnapshotJob;
use spanwire_controller::shared::Membership;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

mod clients;
mod healing;
mod hosts;
mod operator;
mod replicas;

/// Clients of the admin API.
const CLIENTS: usize = 3;
/// How long after the trouble everything has until it must be as it should.
const HEALING: Time = 60 * SECOND;
/// Views that are altered once everything is healed: nothing but a check notices.
const ALTERED_AT_END: usize = 2;
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
    /// A view is altered, after all else was healed.
    AlterView,
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
    /// Views that are yet to be altered, so that they are seen to be repaired.
    unaltered: usize,
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
    left_behind: LeftBehind,
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
            unaltered: ALTERED_AT_END,
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
            left_behind: LeftBehind::default(),
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
        self.begin_write(0, &deeds)?;
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
        let Some(event) = self.schedule.take() else {
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
                    self.hosts[host].start();
                    self.check_host(host)?;
                    self.connect(host);
                }
                Ok(())
            }
            Event::Client { client } => self.process_client(client),
            Event::Operator => self.process_operator(),
            Event::Fault => self.process_fault(),
            Event::AlterView => {
                if self.alter_view() {
                    self.unaltered -= 1;
                }
                if self.unaltered > 0 {
                    self.schedule.put(self.schedule.now() + 100 * MS, Event::AlterView);
                }
                Ok(())
            }
        }
    }
}

/// A host's place in the network.
pub(crate) fn host_node(host: usize) -> u64 {
    1_000_000 + host as u64
}
