//! Changes in one tenant while the hosts of many others are connected: only its own hosts are told.

use super::Scene;
use crate::cluster::{ClusterOptions, Host};
use crate::measure::{Percentiles, Report};
use crate::scenarios::targets::{Target, Targets};
use crate::workloads::peered::{ADDED_MAX, Peered};
use std::sync::Arc;
use std::time::Duration;

/// The tenant.
const TENANT: usize = 0;
/// Rounds before those that count.
const WARM_UP: usize = 5;
/// The pause between two changes.
const PAUSE: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_secs(1);
const P50_MS: f64 = 5.0;

/// Measures with so many hosts.
pub(crate) async fn run(
    seed: u64,
    hosts: usize,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let changes = ADDED_MAX as usize;
    let peered = Peered::with_hosts(hosts);
    let mut scene = Scene::start(peered.resources(), hosts, options).await?;
    let fleet = scene.connect(peered.hosts()).await?;
    let (own, others) = fleet.hosts().split_at(peered.tenant_hosts(TENANT).len());
    // The last one sees all tenants.
    let others = &others[..others.len().saturating_sub(1)];
    let applied = |hosts: &[Arc<Host>]| -> usize {
        hosts.iter().map(|host| host.read(|record| record.applied.len())).sum()
    };
    let (own_before, others_before) = (applied(own), applied(others));
    let (mut from_commit, mut from_request) = (Percentiles::default(), Percentiles::default());
    for round in 0..changes {
        tokio::time::sleep(PAUSE).await;
        let change = scene.change(peered.mk_added(TENANT, round as u32)).await?;
        let mut times = Vec::with_capacity(own.len());
        for host in own {
            times.push(host.wait_revision(change.revision).await?);
        }
        let Some(first) = times.iter().min().copied() else { continue };
        if round >= WARM_UP {
            for when in times {
                from_commit.add(when.saturating_duration_since(change.committed(first)));
                from_request.add(when.saturating_duration_since(change.asked));
            }
        }
    }
    // Whoever is told late is told as well.
    tokio::time::sleep(QUIET).await;
    let mut report = Report::new("trickle", seed);
    report.set("hosts", hosts);
    report.set("ports", peered.ports());
    report.set("hosts_of_tenant", own.len());
    report.set("changes", changes);
    report.measure("told_per_change", (applied(own) - own_before) as f64 / changes as f64);
    report.measure("p99_ms", from_commit.at(99.0) / 1e3);
    report.measure("from_request_p50_ms", from_request.at(50.0) / 1e3);
    let mut targets = Targets::default();
    targets.add("p50_ms", from_commit.at(50.0) / 1e3, Target::AtMost(P50_MS));
    let others_told = (applied(others) - others_before) as f64;
    targets.add("others_told", others_told, Target::AtMost(0.0));
    targets.report(&mut report);
    Ok(report)
}
