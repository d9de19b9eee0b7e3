//! Many changes a second, each news to the hosts of one tenant.

use super::super::targets::{Target, Targets};
use super::Scene;
use crate::cluster::{ClusterOptions, Numbered, Writer, open_loop};
use crate::measure::{Percentiles, Report};
use crate::workloads::peered::{HOST_PORTS, Peered, TENANT_HOSTS};
use std::sync::Arc;
use std::time::Duration;

/// Clients that make the changes.
const CLIENTS: usize = 50;
const P99_MS: f64 = 250.0;
/// Of the rate that was asked for.
const KEPT_UP: f64 = 0.98;

/// Measures with so many hosts, for so many seconds.
pub(crate) async fn run(
    seed: u64,
    hosts: usize,
    rate: f64,
    seconds: f64,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let peered = Arc::new(Peered::with_hosts(hosts));
    let scene = Scene::start(peered.resources(), hosts, options).await?;
    let fleet = scene.connect(&peered).await?;
    let applied = || fleet.sum(|record| record.applied.len() as u64);
    let (before, cpu) = (applied(), scene.controllers.cpu());
    let next = Arc::default();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let peered = peered.clone();
        clients.push(Numbered {
            writer: Writer::new(scene.controllers.addresses()),
            next: Arc::clone(&next),
            make: move |number| peered.mk_change(number),
        });
    }
    let going_on = open_loop(clients, rate);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let samples = going_on.finish().await?;
    // The tenants take turns, so that the last changes of all are news to all hosts; which tenant a
    // revision belongs to is seen from who was told.
    let cpu_at_end = scene.controllers.cpu();
    let mut lags = Percentiles::default();
    let mut told: Vec<(u64, std::time::Instant)> = Vec::new();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for host in fleet.hosts() {
        host.read(|record| told.extend(record.applied.iter().copied()));
    }
    let mut acknowledged: Vec<_> =
        samples.iter().map(|sample| (sample.revision, sample.acknowledged)).collect();
    acknowledged.sort_unstable();
    for (revision, when) in told {
        // A batch has all up to its revision: the change that it was cut for is at least as old.
        let at = acknowledged.partition_point(|(other, _)| *other < revision);
        if let Some((other, committed)) = acknowledged.get(at)
            && *other == revision
        {
            lags.add(when.saturating_duration_since(*committed));
        }
    }
    let delivered = applied() - before;
    let mut report = Report::new("churn", seed);
    report.set("hosts", hosts);
    report.set("ports", hosts * HOST_PORTS);
    report.measure("asked_per_second", rate);
    report.set("hosts_per_change", TENANT_HOSTS);
    report.set("batches_applied", delivered);
    report.measure("p50_ms", lags.at(50.0) / 1e3);
    let cpu = cpu_at_end.saturating_sub(cpu);
    report.measure("controller_cpu_seconds", cpu.as_secs_f64());
    report.measure("cpu_us_per_batch", cpu.as_secs_f64() * 1e6 / delivered.max(1) as f64);
    let mut targets = Targets::default();
    let kept = samples.len() as f64 / seconds;
    targets.add("changes_per_second", kept, Target::AtLeast(rate * KEPT_UP));
    targets.add("p99_ms", lags.at(99.0) / 1e3, Target::AtMost(P99_MS));
    targets.report(&mut report);
    Ok(report)
}
