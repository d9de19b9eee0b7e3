//! What a host costs that is connected and has nothing to do.

use super::{CONTROLLER, SETTLE, Scene};
use crate::cluster::ClusterOptions;
use crate::measure::Report;
use crate::scenarios::targets::{Target, Targets};
use crate::workloads::peered::Peered;
use std::time::Duration;

/// Memory of a connected host in KiB.
const KIB_PER_HOST: f64 = 32.0;
/// How long processor time is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// Measures with so many hosts.
pub(crate) async fn run(
    seed: u64,
    hosts: usize,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let peered = Peered::with_hosts(hosts);
    let scene = Scene::start(peered.resources(), hosts, options).await?;
    tokio::time::sleep(SETTLE).await;
    let before = scene.controllers.rss_mib(CONTROLLER);
    let fleet = scene.connect(peered.hosts()).await?;
    tokio::time::sleep(SETTLE).await;
    let connected = scene.controllers.rss_mib(CONTROLLER);
    let cpu = scene.controllers.cpu();
    tokio::time::sleep(WATCHED).await;
    let cpu = scene.controllers.cpu().saturating_sub(cpu);
    let still = fleet.connected_to(scene.address());
    if still != hosts {
        return Err(format!("of {hosts} hosts only {still} stayed connected"));
    }
    let mut report = Report::new("idle", seed);
    report.set("hosts", hosts);
    report.set("ports", peered.ports());
    report.measure("rss_mib_before", before);
    report.measure("rss_mib", connected);
    let percent = 100.0 * cpu.as_secs_f64() / WATCHED.as_secs_f64();
    report.measure("controller_cpu_percent", percent);
    let mut targets = Targets::default();
    let kib = (connected - before) * 1024.0 / hosts as f64;
    targets.add("kib_per_host", kib, Target::AtMost(KIB_PER_HOST));
    targets.report(&mut report);
    Ok(report)
}
