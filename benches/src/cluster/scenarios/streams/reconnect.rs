//! Hosts that have what they need lose their controller, and it comes back.

use super::{CONTROLLER, Scene};
use crate::cluster::{ClusterOptions, within};
use crate::measure::Report;
use crate::scenarios::targets::{Target, Targets};
use crate::workloads::peered::Peered;
use std::time::{Duration, Instant};

/// The pause between two looks at the hosts.
const LOOK_WAIT: Duration = Duration::from_millis(20);
/// How long hosts have been connected before: as long as agents take for stable.
const STABLE: Duration = Duration::from_secs(12);
/// How long what comes after the welcome may take to come.
const QUIET: Duration = Duration::from_secs(3);
const SECONDS: f64 = 60.0;
const BYTES_PER_HOST: f64 = 100.0;

/// Measures with so many hosts.
pub(crate) async fn run(
    seed: u64,
    hosts: usize,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let peered = Peered::with_hosts(hosts);
    let mut scene = Scene::start(peered.resources(), hosts, options).await?;
    let fleet = scene.connect(peered.hosts()).await?;
    tokio::time::sleep(STABLE).await;
    let bytes = fleet.sum(|record| record.bytes);
    let updates = fleet.sum(|record| record.update_bytes);
    let connections = fleet.sum(|record| record.connections as u64);
    let killed = Instant::now();
    scene.controllers.kill(CONTROLLER);
    scene.controllers.start(CONTROLLER)?;
    scene.controllers.leader().await?;
    let serves = killed.elapsed();
    let address = scene.address();
    within("all hosts are connected again", async {
        let welcomed = || fleet.sum(|record| record.connections as u64) - connections;
        while welcomed() < hosts as u64 || fleet.connected_to(address) < hosts {
            tokio::time::sleep(LOOK_WAIT).await;
        }
    })
    .await?;
    let seconds = killed.elapsed();
    // What else they are sent.
    tokio::time::sleep(QUIET).await;
    let cpu = scene.controllers.cpu();
    let per_host = |sum: u64| sum as f64 / hosts as f64;
    let mut report = Report::new("reconnect", seed);
    report.set("hosts", hosts);
    report.set("ports", peered.ports());
    report.measure("serves_again_seconds", serves.as_secs_f64());
    report.measure("controller_cpu_seconds", cpu.as_secs_f64());
    let mut targets = Targets::default();
    targets.add("seconds", seconds.as_secs_f64(), Target::AtMost(SECONDS));
    let sent = per_host(fleet.sum(|record| record.bytes) - bytes);
    targets.add("bytes_per_host", sent, Target::AtMost(BYTES_PER_HOST));
    let again = (fleet.sum(|record| record.update_bytes) - updates) as f64;
    targets.add("bytes_resent", again, Target::AtMost(0.0));
    targets.report(&mut report);
    Ok(report)
}
