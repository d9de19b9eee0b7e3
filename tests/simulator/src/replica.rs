//! A replica with its disk and its clock.

use crate::schedule::{MS, SECOND, Time};
use crate::storage::{Storage, WatchedLog};
use parking_lot::Mutex;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use spanwire_controller::balance::{Balance, BalanceCommand, BalanceLimits, Served, Situation};
use spanwire_controller::config::Limits;
use spanwire_controller::core::{CoreError, Now, Replica, ReplicaConfig, Transport};
use spanwire_controller::data_dir::Identity;
use spanwire_controller::host_checks::HostChecks;
use spanwire_controller::limits::TICK;
use spanwire_controller::metrics::Metrics;
use spanwire_controller::peer::PeerMessage;
use spanwire_controller::publisher::Connection;
use spanwire_controller::shared::Shared;
use spanwire_hostproto::ClusterId;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

/// The cluster of the simulation.
pub const CLUSTER: ClusterId = ClusterId([7; 16]);
/// Bytes in one part of a snapshot: few, so that there are several.
const CHUNK_BYTES: usize = 1024;
/// Where clocks begin.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// What a replica has sent and the network has not taken yet.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Mutex<Vec<(u64, PeerMessage)>>>);

impl Outbox {
    /// What was sent since the last call.
    pub fn take(&self) -> Vec<(u64, PeerMessage)> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Transport for Outbox {
    fn send(&mut self, to: u64, message: PeerMessage) -> bool {
        self.0.lock().push((to, message));
        true
    }

    fn set_members(&mut self, _: &BTreeMap<u64, String>) {}
}

/// A clock that goes too fast or too slow, and whose date jumps.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Its seconds in a thousand real ones.
    rate: u64,
    wall_offset_ms: i64,
    started: Time,
}

impl Clock {
    fn new(rng: &mut ChaCha8Rng) -> Clock {
        let wall_offset_ms = rng.random_range(-60_000..60_000);
        Clock { rate: rng.random_range(900..=1100), wall_offset_ms, started: 0 }
    }

    /// The date jumps.
    pub fn jump(&mut self, rng: &mut ChaCha8Rng) {
        self.wall_offset_ms = rng.random_range(-86_400_000..86_400_000);
    }

    /// What the clock shows.
    pub fn now(&self, at: Time) -> Now {
        let elapsed = Duration::from_micros((at - self.started) * self.rate / 1000);
        let wall = EPOCH_MS as i64 + (at / 1000) as i64 + self.wall_offset_ms;
        Now { elapsed, wall_ms: u64::try_from(wall).unwrap_or_default() }
    }

    /// When the clock will show this time.
    pub fn when(&self, elapsed: Duration) -> Time {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX / 2000);
        self.started + micros * 1000 / self.rate + 1
    }
}

/// A replica that runs.
pub struct Running {
    /// The replica itself.
    pub replica: Replica<WatchedLog>,
    /// Its log.
    pub log: Arc<WatchedLog>,
    /// What it shares with those who serve.
    pub shared: Arc<Shared>,
    /// Which hosts it lets go.
    pub balance: Balance,
    /// When it has its hosts checked.
    pub host_checks: HostChecks,
    /// What it has sent.
    pub outbox: Outbox,
    /// The last entry that was checked to be applied as elsewhere.
    pub checked_index: u64,
    /// It is at its disk until then.
    pub busy_until: Time,
    /// Steps since it started.
    pub steps: u64,
}

/// How many hosts a replica lets go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LetGo {
    /// Others have fewer.
    pub for_balance: u64,
    /// It knows of no leader.
    pub without_leader: u64,
}

impl Running {
    /// Takes the passing of time, by the replica's clock and by the simulation's. Returns how many
    /// hosts are let go.
    pub fn process_time(&mut self, clock: Now, now: Time, rng: &mut ChaCha8Rng) -> LetGo {
        self.replica.process_time(clock);
        let standing = self.shared.standing.borrow().clone();
        if clock.elapsed >= self.host_checks.next_deadline() {
            self.host_checks.process_time(&self.shared.publisher, clock.elapsed);
        }
        self.balance.process_leader(standing.leader, clock.elapsed);
        if clock.elapsed < self.balance.next_deadline() {
            return LetGo::default();
        }
        let connections = self.shared.publisher.connections().into_iter();
        let hosts: Vec<Served> = connections
            .map(|connection| Served { age: age(&connection, now), connection })
            .collect();
        let situation = Situation { standing: &standing, loads: &self.shared.loads, hosts: &hosts };
        let commands = self.balance.process_time(situation, rng, clock.elapsed);
        let mut let_go = LetGo::default();
        for command in commands {
            match &command {
                BalanceCommand::TellLoad(_) => {}
                BalanceCommand::LetGo(_) => let_go.for_balance += 1,
                BalanceCommand::LetGoLeaderless(_) => let_go.without_leader += 1,
            }
            command.execute(&self.shared, |streams| self.replica.tell_load(streams));
        }
        let_go
    }
}

/// How long a host has been connected.
pub fn age(connection: &Connection, now: Time) -> Duration {
    let since = connection.connected_since_ms() * MS;
    Duration::from_micros(now.saturating_sub(since))
}

/// What became of a replica.
pub enum State {
    /// It runs.
    Up(Box<Running>),
    /// It does not run.
    Down,
    /// It found its disk damaged and will not run again.
    Broken,
    /// It was removed from the cluster.
    Removed,
}

/// A replica.
pub struct SimReplica {
    /// Its identity.
    pub id: u64,
    /// Its disk.
    pub storage: Storage,
    /// Its clock.
    pub clock: Clock,
    /// Whether it runs.
    pub state: State,
    /// Counts its runs: what was meant for an earlier one does not reach it.
    pub run: u64,
    limits: Limits,
    election_ticks: usize,
}

impl SimReplica {
    /// A replica that does not run yet.
    pub fn new(id: u64, limits: Limits, rng: &mut ChaCha8Rng) -> SimReplica {
        SimReplica {
            id,
            storage: Storage::new(),
            clock: Clock::new(rng),
            state: State::Down,
            run: 0,
            limits,
            election_ticks: 12 + usize::try_from(id % 8).unwrap_or_default(),
        }
    }

    /// Starts it with what is on its disk.
    ///
    /// # Errors
    /// What it says of its disk.
    pub fn start(&mut self, at: Time, rng: &mut ChaCha8Rng) -> Result<(), CoreError> {
        let log = self.storage.open()?;
        self.run += 1;
        self.clock.started = at;
        let identity = Identity { cluster_id: CLUSTER, replica_id: self.id };
        let shared = Arc::new(Shared::new(identity, &self.limits, Metrics::new().0));
        let outbox = Outbox::default();
        // Who would be first, changes from run to run; two that would be first at once change it again.
        let ticks = self.election_ticks + rng.random_range(0..3);
        let config = ReplicaConfig {
            replica_id: self.id,
            instance: rng.random(),
            address: address(self.id),
            limits: self.limits,
            tick: TICK,
            election_ticks: ticks..ticks + 1,
            chunk_bytes: CHUNK_BYTES,
        };
        let transport = Box::new(outbox.clone());
        let mut replica = Replica::open(config, log.clone(), shared.clone(), transport)?;
        let checked_index = log.snapshot_index();
        let clock = self.clock.now(at);
        replica.start(clock)?;
        self.state = State::Up(Box::new(Running {
            replica,
            log,
            shared,
            balance: Balance::new(BALANCE, clock.elapsed),
            host_checks: HostChecks::new(CHECK_SECONDS, clock.elapsed),
            outbox,
            checked_index,
            busy_until: at,
            steps: 0,
        }));
        Ok(())
    }

    /// The replica, if it runs.
    pub fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Up(running) => Some(running),
            _ => None,
        }
    }

    /// The replica, if it runs.
    pub fn running_mut(&mut self) -> Option<&mut Running> {
        match &mut self.state {
            State::Up(running) => Some(running),
            _ => None,
        }
    }
}

/// Where a replica is reached.
pub fn address(id: u64) -> String {
    format!("replica-{id}:6690")
}

/// Limits small enough that a minute has all of it: snapshots, logs that are cut, histories that end.
pub fn limits(rng: &mut ChaCha8Rng) -> Limits {
    let snapshot_entries = rng.random_range(8..150);
    Limits {
        change_log_bytes: rng.random_range(0..40_000),
        item_cache_bytes: rng.random_range(0..40_000),
        history_changes: 1_000,
        snapshot_entries,
        snapshot_log_bytes: 1 << 20,
        log_entries_kept: rng.random_range(0..snapshot_entries),
    }
}

/// As few more hosts than the average are too many that a handful of them shows it.
pub const BALANCE: BalanceLimits = BalanceLimits { more_hosts: 1, stay: Duration::from_secs(3) };

/// Each host is checked so often.
const CHECK_SECONDS: NonZeroU64 = NonZeroU64::new(10).unwrap();

/// How long a run of the simulation lasts, before it is healed.
pub const TROUBLE: Time = 60 * SECOND;
