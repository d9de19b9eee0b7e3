//! Which replica serves which hosts: a replica that cannot serve lets all of its hosts go, and one
//! that serves too many lets some go. A host that is let go connects to another replica, and is sent
//! nothing that it has.

use crate::core::CoreHandle;
use crate::limits::{
    BALANCE_INTERVAL, BALANCE_STAY, LEADERLESS_WAIT, LOAD_HOLDS, RELEASE_INTERVAL, RELEASE_TIME,
};
use crate::publisher::Connection;
use crate::shared::Shared;
use crate::telemetry;
use parking_lot::Mutex;
use rand::seq::IndexedRandom as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A replica may have so many hosts more than the average, in parts of it ...
const MORE_PARTS: u64 = 4;
/// ... and so many more on top, so that a few hosts never go to and fro.
const MORE_HOSTS: u64 = 8;
/// The part of what is too much that goes at a time.
const SURPLUS_PARTS: u64 = 50;

/// How many hosts the other replicas serve, as they said last.
#[derive(Debug, Default)]
pub struct Loads(Mutex<BTreeMap<u64, (u32, Instant)>>);

impl Loads {
    /// Takes what a replica says.
    pub fn insert(&self, replica: u64, streams: u32) {
        self.0.lock().insert(replica, (streams, Instant::now()));
    }

    /// What a replica said last.
    pub fn of(&self, replica: u64) -> Option<u32> {
        self.0.lock().get(&replica).map(|(streams, _)| *streams)
    }

    /// What the replicas that can serve said last. Those that are silent cannot.
    fn fresh(&self) -> Vec<u32> {
        let mut loads = self.0.lock();
        loads.retain(|_, (_, at)| at.elapsed() < LOAD_HOLDS);
        loads.values().map(|(streams, _)| *streams).collect()
    }
}

/// How many hosts to let go now, of `own`, where the others that can serve have `others`.
fn surplus(own: u32, others: &[u32]) -> usize {
    if others.is_empty() {
        return 0;
    }
    let all: u64 = others.iter().copied().map(u64::from).sum::<u64>() + u64::from(own);
    let average = all.div_ceil(others.len() as u64 + 1);
    if u64::from(own) <= average + average / MORE_PARTS + MORE_HOSTS {
        return 0;
    }
    let go = (u64::from(own) - average).div_ceil(SURPLUS_PARTS);
    usize::try_from(go).unwrap_or(usize::MAX)
}

/// Lets hosts go, as long as the controller serves.
pub(crate) async fn run(core: CoreHandle, draining: CancellationToken) {
    let balance = async {
        loop {
            tokio::time::sleep(BALANCE_INTERVAL).await;
            balance_once(&core);
        }
    };
    let release = async {
        loop {
            wait_leaderless(core.shared()).await;
            release_all(core.shared()).await;
        }
    };
    tokio::select! {
        () = balance => {}
        () = release => {}
        () = draining.cancelled() => {}
    }
}

fn balance_once(core: &CoreHandle) {
    let shared = core.shared();
    let standing = shared.standing.borrow().clone();
    // Whoever cannot serve says nothing: nobody sends it hosts then.
    if !standing.is_current || standing.membership.ids().len() < 2 {
        return;
    }
    let connections = shared.publisher.connections();
    let own = u32::try_from(connections.len()).unwrap_or(u32::MAX);
    core.tell_load(own);
    let go = surplus(own, &shared.loads.fresh());
    let settled: Vec<&Arc<Connection>> =
        connections.iter().filter(|connection| connection.age() > BALANCE_STAY).collect();
    for connection in settled.sample(&mut rand::rng(), go) {
        connection.process_draining("balance: other replicas have fewer hosts");
    }
}

/// Waits until the replica has known of no leader for a while.
async fn wait_leaderless(shared: &Shared) {
    let mut standing = shared.standing.subscribe();
    loop {
        let lost = standing.wait_for(|standing| standing.leader == 0).await.is_ok();
        let found = standing.wait_for(|standing| standing.leader != 0);
        // Without a core nothing changes any more, and the controller stops.
        if !lost || timeout(LEADERLESS_WAIT, found).await.is_err() {
            return;
        }
    }
}

/// Lets all hosts go, a few at a time, until there is a leader.
async fn release_all(shared: &Shared) {
    let replica_id = shared.standing.borrow().replica_id;
    let total = shared.publisher.connections().len();
    if total > 0 {
        telemetry::hosts_released(replica_id, total);
    }
    let groups = RELEASE_TIME.as_millis() / RELEASE_INTERVAL.as_millis();
    let at_once = total.div_ceil(usize::try_from(groups).unwrap_or(1)).max(1);
    while shared.standing.borrow().leader == 0 {
        let detail = format!("replica {replica_id} knows of no leader");
        let connections = shared.publisher.connections();
        let rest = connections.iter().filter(|connection| !connection.is_refused());
        for connection in rest.take(at_once) {
            connection.process_behind(&detail);
        }
        tokio::time::sleep(RELEASE_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_more_than_others_are_no_reason_to_go() {
        assert_eq!(surplus(1000, &[]), 0, "there is nobody else");
        assert_eq!(surplus(100, &[100, 100]), 0);
        assert_eq!(surplus(11, &[0, 0]), 0);
        assert_eq!(surplus(130, &[100, 90]), 0);
        assert_eq!(surplus(0, &[1000, 1000]), 0);
        assert_eq!(surplus(3000, &[0, 0]), 40);
        assert_eq!(surplus(u32::MAX, &[u32::MAX; 6]), 0);
    }

    /// A replica came back without hosts: all of them come to have about the same, without many
    /// being let go at a time.
    #[test]
    fn it_converges_without_a_storm() {
        let mut loads = [6000_u32, 4000, 0];
        let mut moved = 0;
        for tick in 0..300 {
            for index in 0..loads.len() {
                let others: Vec<usize> = (0..loads.len()).filter(|i| *i != index).collect();
                let said: Vec<u32> = others.iter().map(|i| loads[*i]).collect();
                let go = surplus(loads[index], &said);
                assert!(go <= 60, "{go} at once");
                for n in 0..go {
                    loads[index] -= 1;
                    loads[others[(n + tick) % 2]] += 1;
                    moved += 1;
                }
            }
        }
        assert_eq!(loads.iter().sum::<u32>(), 10_000);
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(*most <= 10_000 / 3 * 5 / 4 + 10, "{loads:?}");
        // What two may have more than the average, the third has less.
        assert!(*least >= 1600, "{loads:?}");
        assert!(moved < 10_000, "{moved} moves");
        let before = loads;
        let said = |i: usize| [loads[(i + 1) % 3], loads[(i + 2) % 3]];
        assert!((0..3).all(|i| surplus(before[i], &said(i)) == 0), "it has come to rest");
    }

    #[test]
    fn the_last_word_of_a_replica_counts() {
        let loads = Loads::default();
        loads.insert(2, 5);
        loads.insert(3, 7);
        loads.insert(2, 6);
        assert_eq!(loads.fresh(), [6, 7]);
    }
}
