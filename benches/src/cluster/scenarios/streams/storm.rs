//! Hosts that all connect at the same moment.

use super::{CONTROLLER, SETTLE, Scene};
use crate::cluster::{ClusterOptions, Fleet};
use crate::measure::Report;
use crate::scenarios::targets::{Target, Targets};
use spanwire_topology::{Resource, Spec};
use std::time::Instant;

const PEAK_MIB: f64 = 500.0;
const PEAK_TO_SETTLED: f64 = 1.5;
const SECONDS: f64 = 5.0;
/// How many there are is known once all are applied: no more than this.
const HOSTS_MAX: usize = 5_000;

/// Measures with the hosts of some resources.
pub(crate) async fn run(
    seed: u64,
    resources: impl Iterator<Item = Resource>,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let mut names = Vec::new();
    let mut ports = 0_usize;
    let counted = resources.inspect(|resource| match &*resource.spec {
        Spec::Host(_) => names.push(resource.metadata.name.clone()),
        Spec::LogicalPort(_) => ports += 1,
        _ => {}
    });
    let scene = Scene::start(counted, HOSTS_MAX, options).await?;
    tokio::time::sleep(SETTLE).await;
    let before = scene.controllers.rss_mib(CONTROLLER);
    scene.controllers.restart_peak_rss(CONTROLLER)?;
    let started = Instant::now();
    let fleet = Fleet::start_all(&names, &scene.controllers.addresses());
    let last = fleet.wait_revision(scene.revision).await?;
    let seconds = last.saturating_duration_since(started).as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let peak = scene.controllers.peak_rss_mib(CONTROLLER);
    let settled = scene.controllers.rss_mib(CONTROLLER);
    let mut report = Report::new("storm", seed);
    report.set("hosts", names.len());
    report.set("ports", ports);
    report.set("connections", fleet.sum(|record| record.connections as u64));
    report.measure("sent_mib", fleet.sum(|record| record.bytes) as f64 / f64::from(1 << 20));
    report.measure("rss_mib_before", before);
    report.measure("settled_rss_mib", settled);
    let mut targets = Targets::default();
    targets.add("seconds", seconds, Target::AtMost(SECONDS));
    targets.add("peak_rss_mib", peak, Target::AtMost(PEAK_MIB));
    targets.add("peak_to_settled", peak / settled.max(1.0), Target::AtMost(PEAK_TO_SETTLED));
    targets.report(&mut report);
    Ok(report)
}
