//! A cluster of real processes with fifty agents, under load, while one thing after the other goes
//! wrong: nothing that was acknowledged is lost, nothing is done twice, no read goes back, and when it
//! is over everything converges.
//!
//! `SPANWIRE_CHAOS_SECONDS` sets for how long (110 otherwise; each kind of fault comes once at least),
//! `SPANWIRE_SEED` where the randomness starts (random otherwise), `SPANWIRE_CHAOS_FAULTS` names the
//! only kinds, with commas between them.

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spanwire_tests::cluster::faults::{Fault, Victims};
use spanwire_tests::cluster::load::{self, Record, Shared};
use spanwire_tests::cluster::member::all_addresses;
use spanwire_tests::cluster::network::{HUB, inside};
use spanwire_tests::cluster::place::{Place, lacking};
use spanwire_tests::cluster::{Cluster, WAIT, end};
use spanwire_tests::process::AgentProcess;
use spanwire_tests::{binary, step_aside, wait_for};
use spanwire_topology::Revision;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WRITERS: u32 = 3;
/// Ports that only the end writes.
const LAST_PORTS: u32 = 1000;
const SECONDS: u64 = 110;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The kinds of faults of this run.
fn kinds() -> Vec<Fault> {
    let Ok(named) = std::env::var("SPANWIRE_CHAOS_FAULTS") else { return Fault::ALL.to_vec() };
    let named: Vec<&str> = named.split(',').collect();
    let kinds: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| named.contains(&format!("{fault:?}").as_str()))
        .collect();
    assert_eq!(kinds.len(), named.len(), "the kinds of faults are {:?}", Fault::ALL);
    kinds
}

/// Ends the load, also if the test fails.
struct StopLoad<'a>(&'a Shared);

impl Drop for StopLoad<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        // The watch would wait for ever; if it is known which revision is the last, that stays.
        let _ = self.0.last.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
    }
}

#[test]
fn nothing_acknowledged_is_lost_whatever_goes_wrong() {
    if let Some(reason) = lacking() {
        return step_aside("chaos", &reason);
    }
    let seconds = setting("SPANWIRE_CHAOS_SECONDS").unwrap_or(SECONDS);
    let seed = setting("SPANWIRE_SEED").unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
    println!("chaos: {seconds} s, SPANWIRE_SEED={seed}");
    // Built before there is no network.
    binary::spanwire();
    let place = Place::make();
    inside(HUB, || run(&place, Duration::from_secs(seconds), seed));
}

/// All of it, inside the hub.
fn run(place: &Place, time: Duration, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut cluster = Cluster::up(place);
    let shared = Shared::default();
    *shared.addresses.lock() = cluster.addresses();
    let address = cluster.members[0].address().to_owned();
    let first = wait_for("the base", WAIT, || {
        cluster.clients.apply(&address, load::base()).map_err(|status| status.to_string())
    });
    let controllers = all_addresses();
    let agents: Vec<AgentProcess> = (0..load::HOSTS)
        .map(|index| AgentProcess::start(&load::host_name(index), &controllers, place.directory()))
        .collect();
    let mut victims = Victims { cluster, agents, place, shared: &shared };

    let begun = Instant::now();
    let (records, seen, last) = std::thread::scope(|scope| {
        let stop = StopLoad(&shared);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let shared = &shared;
                scope.spawn(move || inside(HUB, || load::write(shared, writer, seed)))
            })
            .collect();
        let reader = scope.spawn(|| inside(HUB, || load::read(&shared, seed ^ 1)));
        let watch = scope.spawn(|| inside(HUB, || load::follow(&shared, first, seed ^ 2)));

        let is_checking = || {
            !reader.is_finished()
                && !watch.is_finished()
                && !writers.iter().any(std::thread::ScopedJoinHandle::is_finished)
        };
        let happened = suffer(&mut victims, &mut random, time, begun, &is_checking);
        println!("{happened:?}");

        victims.cluster.wait_healthy();
        shared.stop.store(true, Ordering::Relaxed);
        let records: Vec<Record> = writers.into_iter().map(join).collect();
        join(reader);
        let last = write_last(&mut victims.cluster, &mut random);
        shared.last.store(last, Ordering::SeqCst);
        let seen = join(watch);
        drop(stop);
        (records, seen, last)
    });
    report(&shared);

    println!("{:7.1} s  the end", begun.elapsed().as_secs_f64());
    end::check_state(&mut victims.cluster, &records);
    end::check_once(&records, &seen);
    println!("{:7.1} s  the state is right", begun.elapsed().as_secs_f64());
    end::check_agents(&mut victims.cluster, &mut victims.agents, last);
    println!("{:7.1} s  the agents are right", begun.elapsed().as_secs_f64());
    let hosts = end::check_balance(&mut victims.cluster);
    end::check_status(&mut victims.cluster);
    println!("hosts of the controllers: {hosts:?}; gaps of the watch: {:?}", seen.gaps);
    let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
    assert!(
        acknowledged > 100 && shared.reads.load(Ordering::Relaxed) > 100,
        "the load was too small to show anything"
    );
}

/// One fault after the other: each kind once in random order, then any, until the time is up or one of
/// the load's checks has failed. Returns how often each came.
fn suffer(
    victims: &mut Victims<'_>,
    random: &mut ChaCha8Rng,
    time: Duration,
    begun: Instant,
    is_checking: &dyn Fn() -> bool,
) -> BTreeMap<Fault, u32> {
    let kinds = kinds();
    let mut first = kinds.clone();
    first.shuffle(random);
    let mut first = VecDeque::from(first);
    let mut happened = BTreeMap::new();
    while is_checking() {
        let fault = match first.pop_front() {
            Some(fault) => fault,
            None if begun.elapsed() >= time => break,
            None => kinds.choose(random).copied().expect("there are kinds"),
        };
        let at = begun.elapsed().as_secs_f64();
        println!("{at:7.1} s  {fault:?}");
        let detail = victims.suffer(fault, random);
        let took = begun.elapsed().as_secs_f64() - at;
        println!("{:7.1} s  {fault:?}: {detail} (took {took:.1} s)", begun.elapsed().as_secs_f64());
        *happened.entry(fault).or_default() += 1;
        std::thread::sleep(Duration::from_millis(random.random_range(500..2500)));
    }
    happened
}

/// A write through each controller.
fn write_last(cluster: &mut Cluster, random: &mut ChaCha8Rng) -> Revision {
    let mut last = 0;
    for (index, address) in (0..).zip(cluster.addresses()) {
        let port = load::port(LAST_PORTS + index, &format!("last-{index}"), random);
        last = wait_for("a fresh write", WAIT, || {
            let applied = cluster.clients.apply(&address, vec![port.clone()]);
            applied.map_err(|status| format!("{address}: {status}"))
        });
    }
    last
}

fn report(shared: &Shared) {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "writes: {} acknowledged, {} attempts unknown, {} not applied, {} retried, {} found done; \
         longest stall {} ms",
        of(&shared.acknowledged),
        of(&shared.unknown),
        of(&shared.not_applied),
        of(&shared.retried),
        of(&shared.repeated),
        of(&shared.longest_stall_ms),
    );
    println!("reads: {} answered, {} not", of(&shared.reads), of(&shared.reads_unanswered));
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
