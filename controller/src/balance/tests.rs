use super::*;
use crate::config::Limits;
use crate::data_dir::Identity;
use crate::metrics::Metrics;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use spanwire_hostproto::{ClusterId, Hello};
use spanwire_topology::model::{HostSpec, Labels, Resource, SYSTEM_PROJECT, Spec, Transaction};

const LIMITS: BalanceLimits = BalanceLimits { more_hosts: 8, stay: Duration::from_secs(30) };

#[test]
fn a_few_more_than_others_are_no_reason_to_go() {
    assert_eq!(LIMITS.surplus(1000, &[]), 0, "there is nobody else");
    assert_eq!(LIMITS.surplus(100, &[100, 100]), 0);
    assert_eq!(LIMITS.surplus(11, &[0, 0]), 0);
    assert_eq!(LIMITS.surplus(130, &[100, 90]), 0);
    assert_eq!(LIMITS.surplus(0, &[1000, 1000]), 0);
    assert_eq!(LIMITS.surplus(3000, &[0, 0]), 40);
    assert_eq!(LIMITS.surplus(u32::MAX, &[u32::MAX; 6]), 0);
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
            let go = LIMITS.surplus(loads[index], &said);
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
    assert!((0..3).all(|i| LIMITS.surplus(before[i], &said(i)) == 0), "it has come to rest");
}

/// A replica with so many hosts, all of which connected when it started.
fn mk_shared(hosts: usize) -> Shared {
    let identity = Identity { cluster_id: ClusterId([7; 16]), replica_id: 3 };
    let shared = Shared::new(identity, &Limits::default(), Metrics::new().0);
    let name = |n: usize| format!("host-{n}");
    let mk_host = |n| {
        let spec = Spec::Host(HostSpec { vtep: None });
        Resource::new(SYSTEM_PROJECT, name(n), Labels::new(), spec)
    };
    let mut engine = shared.state.write();
    engine.apply(&Transaction::put((0..hosts).map(mk_host)), 1).unwrap();
    for n in 0..hosts {
        let hello = Hello {
            host: name(n).into(),
            instance: 1,
            attempt: 0,
            cluster_id: None,
            revision: 0,
            digest: 0,
            agent_version: String::new(),
            datapath: String::new(),
            check_version: 0,
            ranges_version: 0,
        };
        shared.publisher.connect(&mut engine, hello, 0).unwrap();
    }
    drop(engine);
    shared
}

/// Runs the decision at each of its deadlines up to a time. Returns when it first let a host go, and
/// how many it let go at most at one time.
fn run_until(
    balance: &mut Balance,
    shared: &Shared,
    leader: u64,
    until: Duration,
) -> (Option<Duration>, usize) {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut first, mut most) = (None, 0);
    while balance.next_deadline() <= until {
        let now = balance.next_deadline();
        let standing = Standing { leader, ..shared.standing.borrow().clone() };
        let connections = shared.publisher.connections().into_iter();
        let hosts: Vec<Served> =
            connections.map(|connection| Served { connection, age: now }).collect();
        let situation = Situation { standing: &standing, loads: &shared.loads, hosts: &hosts };
        let commands = balance.process_time(situation, &mut rng, now);
        if !commands.is_empty() {
            first.get_or_insert(now);
        }
        most = most.max(commands.len());
        for command in commands {
            command.execute(shared, |_| panic!("nothing is told without a leader"));
        }
    }
    (first, most)
}

fn refused(shared: &Shared) -> usize {
    shared.publisher.connections().iter().filter(|connection| connection.is_refused()).count()
}

#[test]
fn without_a_leader_all_go_a_few_at_a_time() {
    let shared = mk_shared(60);
    let start = Duration::from_secs(100);
    let mut balance = Balance::new(LIMITS, start);
    let (first, most) = run_until(&mut balance, &shared, 0, start + LEADERLESS_WAIT + RELEASE_TIME);
    assert_eq!((first, most), (Some(start + LEADERLESS_WAIT), 3));
    assert_eq!(refused(&shared), 60);
}

#[test]
fn a_leader_that_is_found_in_time_ends_it() {
    let shared = mk_shared(60);
    let mut balance = Balance::new(LIMITS, Duration::ZERO);
    let found = LEADERLESS_WAIT - Duration::from_millis(1);
    assert_eq!(run_until(&mut balance, &shared, 0, found), (None, 0));
    balance.process_leader(2, found);
    // It is lost again: the time counts anew.
    balance.process_leader(0, found);
    assert_eq!(run_until(&mut balance, &shared, 0, 2 * found), (None, 0));
    let (first, _) = run_until(&mut balance, &shared, 0, found + LEADERLESS_WAIT);
    assert_eq!(first, Some(found + LEADERLESS_WAIT));
    let gone = refused(&shared);
    assert!(gone > 0);
    let (more, _) = run_until(&mut balance, &shared, 2, found + 3 * LEADERLESS_WAIT);
    assert_eq!((more, refused(&shared)), (None, gone), "there is a leader again");
}
