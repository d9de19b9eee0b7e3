//! One change that every host is told, next to plain TCP, to a broadcast of the same by the same protocol,
//! and to watches of etcd.

use super::{Scene, reached};
use crate::cluster::{
    Broadcast, ClusterOptions, Directory, Etcd, Fleet, OnEvent, PutClient, RawFanOut, Watchers,
    Write as _, allow_sockets,
};
use crate::measure::{Percentiles, Report};
use crate::scenarios::targets::{Target, Targets};
use crate::workloads::peered::Peered;
use std::time::{Duration, Instant};

/// Rounds before those that count.
const WARM_UP: usize = 3;
/// Rounds in which watchers of etcd acknowledge: each is thousands of writes.
const ACKNOWLEDGED_ROUNDS: usize = 10;
/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(100);
/// What HTTP/2 and gRPC put before a message (RFC 9113, section 4.1; one DATA frame).
const FRAME_BYTES: u64 = 9 + 5;
const RATIO_TO_RAW: f64 = 2.5;
const RATIO_TO_ETCD: f64 = 3.0;
/// Guarantee G12: what is told to everyone is told no later than by who chooses nothing.
const RATIO_TO_BROADCAST: f64 = 1.0;
/// Seconds for up to so many hosts, and for more.
const FEW_HOSTS: usize = 3_000;
const SECONDS_FEW: f64 = 0.1;
const SECONDS_MANY: f64 = 0.4;
const KEY: &str = "shard";

/// Measures with so many hosts.
pub(crate) async fn run(
    seed: u64,
    hosts: usize,
    rounds: usize,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let told = measure_spanwire(hosts, rounds, options).await?;
    let bytes = (told.bytes_per_host + FRAME_BYTES) as usize;
    let raw = measure_raw(hosts, bytes, rounds, options).await?;
    let broadcast = measure_broadcast(hosts, rounds, options).await?;
    let etcd = match Etcd::version() {
        Some(_) => {
            let watched = measure_etcd(hosts, bytes, rounds, OnEvent::Nothing, options).await?;
            let rounds = rounds.min(ACKNOWLEDGED_ROUNDS);
            let on_event = OnEvent::Acknowledge;
            Some((watched, measure_etcd(hosts, bytes, rounds, on_event, options).await?))
        }
        None => None,
    };

    let seconds = told.from_commit.at(50.0) / 1e6;
    let mut report = Report::new("fanout", seed);
    report.set("hosts", hosts);
    report.set("ports", Peered::with_hosts(hosts).ports());
    report.set("rounds", rounds);
    report.set("bytes_per_host", told.bytes_per_host);
    report.measure("seconds_p90", told.from_commit.at(90.0) / 1e6);
    report.measure("from_request_seconds", told.from_request.at(50.0) / 1e6);
    report.measure("controller_cpu_us_per_host", told.cpu_us_per_host);
    report.measure("raw_seconds", raw.at(50.0) / 1e6);
    let mut targets = Targets::default();
    let most = if hosts <= FEW_HOSTS { SECONDS_FEW } else { SECONDS_MANY };
    targets.add("seconds", seconds, Target::AtMost(most));
    targets.add(
        "ratio_to_raw",
        seconds * 1e6 / raw.at(50.0).max(1.0),
        Target::AtMost(RATIO_TO_RAW),
    );
    report.measure("broadcast_seconds", broadcast.times.at(50.0) / 1e6);
    report.set("broadcast_bytes_per_host", broadcast.bytes_per_host);
    targets.add(
        "ratio_to_broadcast",
        seconds * 1e6 / broadcast.times.at(50.0).max(1.0),
        Target::AtMost(RATIO_TO_BROADCAST),
    );
    if let Some((watched, acknowledged)) = etcd {
        report.measure("etcd_seconds", watched.at(50.0) / 1e6);
        report.measure("etcd_acknowledged_seconds", acknowledged.at(50.0) / 1e6);
        let ratio = |etcd: &Percentiles| etcd.at(50.0) / (seconds * 1e6).max(1.0);
        targets.add("ratio_to_etcd", ratio(&watched), Target::AtLeast(RATIO_TO_ETCD));
        let acknowledged = ratio(&acknowledged);
        targets.add("ratio_to_etcd_acknowledged", acknowledged, Target::AtLeast(RATIO_TO_ETCD));
    }
    targets.report(&mut report);
    Ok(report)
}

/// What a change took until all hosts had it and had said so.
struct Told {
    from_commit: Percentiles,
    from_request: Percentiles,
    bytes_per_host: u64,
    cpu_us_per_host: f64,
}

async fn measure_spanwire(
    hosts: usize,
    rounds: usize,
    options: &ClusterOptions,
) -> Result<Told, String> {
    let peered = Peered::with_hosts(hosts);
    let mut scene = Scene::start(peered.resources(), hosts, options).await?;
    let fleet = scene.connect(peered.hosts()).await?;
    let (mut from_commit, mut from_request) = (Percentiles::default(), Percentiles::default());
    let (mut bytes, mut cpu) = (0, Duration::ZERO);
    for round in 0..WARM_UP + rounds {
        tokio::time::sleep(PAUSE).await;
        if round == WARM_UP {
            bytes = fleet.sum(|record| record.bytes);
            cpu = scene.controllers.cpu();
        }
        let change = scene.change(peered.mk_common(round as u64)).await?;
        fleet.wait_revision(change.revision).await?;
        let (first, last) =
            reached(fleet.hosts(), change.revision).ok_or("a host lost what it had")?;
        if round >= WARM_UP {
            from_commit.add(last.saturating_duration_since(change.committed(first)));
            from_request.add(last.saturating_duration_since(change.asked));
        }
    }
    let told = (hosts * rounds) as u64;
    let cpu = scene.controllers.cpu().saturating_sub(cpu);
    Ok(Told {
        from_commit,
        from_request,
        bytes_per_host: (fleet.sum(|record| record.bytes) - bytes) / told.max(1),
        cpu_us_per_host: cpu.as_secs_f64() * 1e6 / told.max(1) as f64,
    })
}

/// What a broadcast took, from when it was asked for to the last host.
struct Sent {
    times: Percentiles,
    bytes_per_host: u64,
}

async fn measure_broadcast(
    hosts: usize,
    rounds: usize,
    options: &ClusterOptions,
) -> Result<Sent, String> {
    let peered = Peered::with_hosts(hosts);
    let directory = Directory::make(options)?;
    let mut broadcast = Broadcast::start(directory.path()).await?;
    let address = [broadcast.address()];
    let fleet = Fleet::start(peered.hosts(), &address, broadcast.revision()).await?;
    let (mut times, mut bytes) = (Percentiles::default(), 0);
    for round in 0..WARM_UP + rounds {
        tokio::time::sleep(PAUSE).await;
        if round == WARM_UP {
            bytes = fleet.sum(|record| record.bytes);
        }
        let asked = Instant::now();
        let revision = broadcast.change().await?;
        fleet.wait_revision(revision).await?;
        let (_, last) = reached(fleet.hosts(), revision).ok_or("a host lost what it had")?;
        if round >= WARM_UP {
            times.add(last.saturating_duration_since(asked));
        }
    }
    let told = (hosts * rounds) as u64;
    let bytes_per_host = (fleet.sum(|record| record.bytes) - bytes) / told.max(1);
    Ok(Sent { times, bytes_per_host })
}

async fn measure_raw(
    hosts: usize,
    bytes: usize,
    rounds: usize,
    options: &ClusterOptions,
) -> Result<Percentiles, String> {
    allow_sockets(hosts)?;
    let directory = Directory::make(options)?;
    let mut raw = RawFanOut::connect(directory.path(), hosts, bytes).await?;
    let mut times = Percentiles::default();
    for round in 0..WARM_UP + rounds {
        tokio::time::sleep(PAUSE).await;
        let took = raw.round().await?;
        if round >= WARM_UP {
            times.add(took);
        }
    }
    Ok(times)
}

/// From the answer of a put, or the first event if that comes earlier, to the last event, or its
/// acknowledgement.
async fn measure_etcd(
    hosts: usize,
    bytes: usize,
    rounds: usize,
    on_event: OnEvent,
    options: &ClusterOptions,
) -> Result<Percentiles, String> {
    let directory = Directory::make(options)?;
    let mut etcd = Etcd::of(1, &directory).await?;
    let address = etcd.leader().await?;
    let mut watchers = Watchers::connect(address, KEY, hosts, on_event).await?;
    let make = move |number: u64| {
        let mut value = vec![7; bytes];
        value.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
        value
    };
    let mut client = PutClient::connect(address, KEY.to_owned(), make).await?;
    let mut times = Percentiles::default();
    for round in 0..WARM_UP + rounds {
        tokio::time::sleep(PAUSE).await;
        let put = async {
            client.write().await?;
            Ok::<Instant, String>(Instant::now())
        };
        let (answered, seen) = tokio::join!(put, watchers.wait_all());
        let (first, last) = seen?;
        if round >= WARM_UP {
            times.add(last.saturating_duration_since(answered?.min(first)));
        }
    }
    Ok(times)
}
