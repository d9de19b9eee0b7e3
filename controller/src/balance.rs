//! Which replica serves which hosts: a replica that cannot serve lets all of its hosts go, and one
//! that serves too many lets some go. A host that is let go connects to another replica, and is sent
//! nothing that it has.
//!
//! * [`Balance`]: the decision, without a clock. So the same code runs in a controller and in a
//!   simulator.
//! * [`Loads`]: what the other replicas said of their hosts.
//! * `run`: what runs the decision in a controller.

mod loads;
mod run;

pub use loads::Loads;
pub(crate) use run::run;

use crate::limits::{
    BALANCE_INTERVAL, BALANCE_MORE_HOSTS, BALANCE_STAY, LEADERLESS_WAIT, RELEASE_INTERVAL,
    RELEASE_TIME,
};
use crate::planted::{self, Bug};
use crate::publisher::Connection;
use crate::shared::{Shared, Standing};
use crate::telemetry;
use rand::Rng;
use rand::seq::IndexedRandom as _;
use std::sync::Arc;
use std::time::Duration;

/// A replica may have so many hosts more than the average, in parts of it, besides
/// [`BalanceLimits::more_hosts`].
const MORE_PARTS: u64 = 4;
/// The part of what is too much that goes at a time.
const SURPLUS_PARTS: u64 = 50;

/// When a replica has too many hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceLimits {
    /// So many more than the average are not too many, so that a few hosts never go to and fro.
    pub more_hosts: u64,
    /// How long a host stays before it is let go for the sake of balance.
    pub stay: Duration,
}

impl Default for BalanceLimits {
    fn default() -> BalanceLimits {
        BalanceLimits { more_hosts: BALANCE_MORE_HOSTS, stay: BALANCE_STAY }
    }
}

impl BalanceLimits {
    /// How many hosts to let go now, of `own`, where the others that can serve have `others`.
    pub fn surplus(&self, own: u32, others: &[u32]) -> usize {
        if others.is_empty() {
            return 0;
        }
        let all: u64 = others.iter().copied().map(u64::from).sum::<u64>() + u64::from(own);
        let average = all.div_ceil(others.len() as u64 + 1);
        if u64::from(own) <= average + average / MORE_PARTS + self.more_hosts {
            return 0;
        }
        let go = (u64::from(own) - average).div_ceil(SURPLUS_PARTS);
        usize::try_from(go).unwrap_or(usize::MAX)
    }
}

/// A host that is connected here.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its connection.
    pub connection: Arc<Connection>,
    /// How long it has been connected.
    pub age: Duration,
}

/// What there is to decide from.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Where the replica stands.
    pub standing: &'a Standing,
    /// What the others said of their hosts.
    pub loads: &'a Loads,
    /// The hosts that are connected here.
    pub hosts: &'a [Served],
}

/// What is to be done.
#[derive(Debug, Clone)]
pub enum BalanceCommand {
    /// Tell the other replicas that so many hosts are served here. They may not hear of it.
    TellLoad(u32),
    /// Let a host go: others have fewer.
    LetGo(Arc<Connection>),
    /// Let a host go: this replica, which knows of no leader, cannot know what there is to tell it.
    LetGoLeaderless(Arc<Connection>),
}

impl BalanceCommand {
    /// Does it. `tell_load` tells the others how many hosts are served here.
    pub fn execute(self, shared: &Shared, tell_load: impl FnOnce(u32)) {
        match self {
            BalanceCommand::TellLoad(streams) => tell_load(streams),
            BalanceCommand::LetGo(connection) => {
                connection.process_draining("balance: other replicas have fewer hosts");
            }
            BalanceCommand::LetGoLeaderless(connection) => {
                let replica_id = shared.standing.borrow().replica_id;
                connection.process_behind(&format!("replica {replica_id} knows of no leader"));
            }
        }
    }
}

/// Decides which hosts a replica lets go. Every `now` is the time since the replica started.
#[derive(Debug)]
pub struct Balance {
    limits: BalanceLimits,
    /// When the loads are looked at next.
    next_look: Duration,
    /// Since when no leader is known.
    leaderless_since: Option<Duration>,
    /// Set while hosts are let go for want of a leader.
    release: Option<Release>,
}

#[derive(Debug, Clone, Copy)]
struct Release {
    at_once: usize,
    next: Duration,
}

impl Balance {
    /// A replica that knows of no leader yet.
    pub fn new(limits: BalanceLimits, now: Duration) -> Balance {
        Balance {
            limits,
            next_look: now + BALANCE_INTERVAL,
            leaderless_since: Some(now),
            release: None,
        }
    }

    /// Takes the leader that the replica knows of; 0 if none.
    pub fn process_leader(&mut self, leader: u64, now: Duration) {
        if leader != 0 {
            (self.leaderless_since, self.release) = (None, None);
        } else {
            self.leaderless_since.get_or_insert(now);
        }
    }

    /// When [`Balance::process_time`] must be called next, unless the leader changes before.
    pub fn next_deadline(&self) -> Duration {
        let release = match (self.release, self.leaderless_since) {
            (Some(release), _) => Some(release.next),
            (None, since) => since.map(|since| since + LEADERLESS_WAIT),
        };
        release.map_or(self.next_look, |release| release.min(self.next_look))
    }

    /// Takes the passing of time.
    pub fn process_time(
        &mut self,
        situation: Situation<'_>,
        rng: &mut impl Rng,
        now: Duration,
    ) -> Vec<BalanceCommand> {
        self.process_leader(situation.standing.leader, now);
        let mut commands = Vec::new();
        if now >= self.next_look {
            self.next_look = now + BALANCE_INTERVAL;
            self.level(situation, rng, now, &mut commands);
        }
        if self.leaderless_since.is_some_and(|since| now >= since + LEADERLESS_WAIT)
            && !planted::is(Bug::LeaderlessKeepsHosts)
        {
            self.release(situation, now, &mut commands);
        }
        commands
    }

    /// Lets some hosts go if there are too many here.
    fn level(
        &self,
        situation: Situation<'_>,
        rng: &mut impl Rng,
        now: Duration,
        commands: &mut Vec<BalanceCommand>,
    ) {
        let Situation { standing, loads, hosts } = situation;
        // Whoever cannot serve says nothing: nobody sends it hosts then.
        if !standing.is_current || standing.membership.ids().len() < 2 {
            return;
        }
        let own = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        commands.push(BalanceCommand::TellLoad(own));
        let go = self.limits.surplus(own, &loads.fresh(now));
        let settled: Vec<&Served> =
            hosts.iter().filter(|host| host.age > self.limits.stay).collect();
        let chosen = settled.sample(rng, go);
        commands.extend(chosen.map(|host| BalanceCommand::LetGo(host.connection.clone())));
    }

    /// Lets all hosts go, a few at a time.
    fn release(
        &mut self,
        situation: Situation<'_>,
        now: Duration,
        commands: &mut Vec<BalanceCommand>,
    ) {
        let Situation { standing, hosts, .. } = situation;
        let release = self.release.get_or_insert_with(|| {
            let total = hosts.len();
            if total > 0 {
                telemetry::hosts_released(standing.replica_id, total);
            }
            let groups = RELEASE_TIME.as_millis() / RELEASE_INTERVAL.as_millis();
            let at_once = total.div_ceil(usize::try_from(groups).unwrap_or(1)).max(1);
            Release { at_once, next: now }
        });
        if now < release.next {
            return;
        }
        release.next = now + RELEASE_INTERVAL;
        let rest = hosts.iter().filter(|host| !host.connection.is_refused());
        let chosen = rest.take(release.at_once);
        commands
            .extend(chosen.map(|host| BalanceCommand::LetGoLeaderless(host.connection.clone())));
    }
}

#[cfg(test)]
#[path = "balance/tests.rs"]
mod tests;
