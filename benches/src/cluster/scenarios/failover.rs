//! A leader that is killed, and one that hands over, with hosts connected and changes going on.

use crate::cluster::{
    ClusterOptions, Controllers, Directory, Fleet, Numbered, OpenLoop, Writer, close_loop,
    open_loop, spanwire,
};
use crate::measure::{Percentiles, Report, rounded};
use crate::scenarios::targets::{Target, Targets};
use crate::workloads::racks::Racks;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

const MEMBERS: u64 = 3;
/// Changes a second that go on all the time.
const CHANGES: f64 = 10.0;
/// How long everything runs undisturbed before something happens.
const SETTLE: Duration = Duration::from_secs(3);
/// How long clients write around a transfer, before and after.
const AROUND_TRANSFER: Duration = Duration::from_secs(1);
/// Seconds after which writes shall be possible, and all hosts current, again; and those that a write may
/// take when leadership is handed over.
const WRITES_TARGET: f64 = 1.5;
const LAST_HOST_TARGET: f64 = 3.0;
const TRANSFER_TARGET: f64 = 0.1;

/// Kills and transfers so many times, with so many hosts.
pub(crate) async fn run(
    seed: u64,
    hosts: usize,
    rounds: usize,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let binary = spanwire(options)?;
    let directory = Directory::make(options)?;
    let mut controllers = Controllers::of(MEMBERS, &binary, &directory).await?;
    let racks = Arc::new(Racks::with_hosts(hosts));
    let leader = controllers.leader().await?;
    let revision = Writer::new(vec![controllers.address(leader)]).apply(racks.resources()).await?;
    let mut scene = Scene { controllers, racks, revision, changes: Arc::default(), commons: 0 };
    let going_on = scene.start_changes();
    let (mut kills, mut transfers) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        kills.push(scene.kill().await?);
    }
    // They stay connected: hosts of a leader that hands over are not concerned.
    let fleet = scene.connect().await?;
    for _ in 0..rounds {
        transfers.push(scene.transfer().await?);
    }
    drop(fleet);
    let changes = going_on.finish().await?.len();

    let mut report = Report::new("failover", seed);
    report.set("members", MEMBERS);
    report.set("hosts", hosts);
    report.set("changes", changes);
    report.set("kills", kills.iter().map(Killed::to_row).collect::<Vec<Value>>());
    report.set("transfers", transfers.iter().map(Transferred::to_row).collect::<Vec<Value>>());
    let worst = |of: &dyn Fn(&Killed) -> f64| kills.iter().map(of).fold(0.0, f64::max);
    let mut targets = Targets::default();
    targets.add("writes_again_seconds", worst(&|k| k.writes), Target::AtMost(WRITES_TARGET));
    targets.add("last_host_seconds", worst(&|k| k.last_host), Target::AtMost(LAST_HOST_TARGET));
    targets.add("bytes_resent", worst(&|k| k.resent as f64), Target::AtMost(0.0));
    targets.add("interruptions", worst(&|k| k.interruptions as f64), Target::AtMost(0.0));
    let longest = transfers.iter().map(|t| t.longest).fold(0.0, f64::max);
    targets.add("transfer_seconds", longest, Target::AtMost(TRANSFER_TARGET));
    targets.report(&mut report);
    Ok(report)
}

/// Everything that runs.
struct Scene {
    controllers: Controllers,
    racks: Arc<Racks>,
    /// The newest revision that all hosts are known to be told.
    revision: u64,
    /// Changes made so far, and common ones.
    changes: Arc<AtomicU64>,
    commons: u64,
}

/// What a kill took.
struct Killed {
    /// Seconds until all hosts were connected before, and those that were connected to it.
    connect: f64,
    hosts: usize,
    /// Seconds until a write was acknowledged that was made after the kill.
    writes: f64,
    /// Seconds until the last host had that write.
    last_host: f64,
    /// Bytes that hosts were sent meanwhile, and those that brought nothing.
    bytes: u64,
    resent: u64,
    /// Items that datapaths lost meanwhile: the network keeps all of them.
    interruptions: u64,
}

impl Killed {
    fn to_row(&self) -> Value {
        json!({
            "connect_seconds": rounded(self.connect),
            "hosts_of_it": self.hosts,
            "writes_again_seconds": rounded(self.writes),
            "last_host_seconds": rounded(self.last_host),
            "bytes": self.bytes,
            "bytes_resent": self.resent,
            "interruptions": self.interruptions,
        })
    }
}

/// What a transfer took.
struct Transferred {
    /// Seconds until it was known to be done.
    call: f64,
    /// The longest that a write took while it was done, and the median of those before and after.
    longest: f64,
    median: f64,
}

impl Transferred {
    fn to_row(&self) -> Value {
        json!({
            "call_seconds": rounded(self.call),
            "longest_write_seconds": rounded(self.longest),
            "median_write_seconds": rounded(self.median),
        })
    }
}

impl Scene {
    /// Changes that go on until they are stopped.
    fn start_changes(&self) -> OpenLoop {
        open_loop(vec![self.mk_writer()], CHANGES)
    }

    fn mk_writer(
        &self,
    ) -> Numbered<impl Fn(u64) -> spanwire_topology::Resource + Send + 'static + use<>> {
        let racks = self.racks.clone();
        Numbered {
            writer: Writer::new(self.controllers.addresses()),
            next: self.changes.clone(),
            make: move |number| racks.mk_change(number),
        }
    }

    /// Connects hosts anew, as many to each controller.
    async fn connect(&self) -> Result<Fleet, String> {
        Fleet::start(self.racks.hosts(), &self.controllers.addresses(), self.revision).await
    }

    /// Kills the leader, and starts it again when all hosts are current without it. The hosts are new: how
    /// long one waits that was refused shortly before is another question.
    async fn kill(&mut self) -> Result<Killed, String> {
        let connecting = Instant::now();
        let fleet = self.connect().await?;
        let connect = connecting.elapsed().as_secs_f64();
        tokio::time::sleep(SETTLE).await;
        let leader = self.controllers.leader().await?;
        let hosts = fleet.connected_to(self.controllers.address(leader));
        let bytes = fleet.sum(|record| record.bytes);
        let resent = fleet.sum(|record| record.resent_bytes);
        let lost = fleet.sum(|record| record.lost_items);
        let killed = Instant::now();
        self.controllers.kill(leader);
        self.commons += 1;
        let mut writer = Writer::new(self.controllers.addresses());
        let revision = writer.apply([self.racks.mk_common(self.commons)]).await?;
        let writes = killed.elapsed().as_secs_f64();
        let last = fleet.wait_revision(revision).await?;
        self.revision = revision;
        let figures = Killed {
            connect,
            hosts,
            writes,
            last_host: last.saturating_duration_since(killed).as_secs_f64(),
            bytes: fleet.sum(|record| record.bytes) - bytes,
            resent: fleet.sum(|record| record.resent_bytes) - resent,
            interruptions: fleet.sum(|record| record.lost_items) - lost,
        };
        self.controllers.start(leader)?;
        self.controllers.leader().await?;
        Ok(figures)
    }

    /// Has the leader hand over to another while a client writes as fast as it is answered.
    async fn transfer(&mut self) -> Result<Transferred, String> {
        tokio::time::sleep(SETTLE).await;
        let leader = self.controllers.leader().await?;
        let ids = self.controllers.ids();
        let to = ids.into_iter().find(|id| *id != leader).ok_or("there is nobody else")?;
        let call = async {
            tokio::time::sleep(AROUND_TRANSFER).await;
            let started = Instant::now();
            self.controllers.transfer(leader, to).await?;
            Ok::<f64, String>(started.elapsed().as_secs_f64())
        };
        let writing = close_loop(vec![self.mk_writer()], 2 * AROUND_TRANSFER);
        let (call, written) = tokio::join!(call, writing);
        let latencies: Percentiles = written?.0.latencies;
        Ok(Transferred {
            call: call?,
            longest: latencies.at(100.0) / 1e6,
            median: latencies.at(50.0) / 1e6,
        })
    }
}
