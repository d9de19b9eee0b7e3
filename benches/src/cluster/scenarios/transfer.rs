//! A replica that is added to a controller with all of `metro`, while changes go on.

use crate::cluster::{
    ClusterOptions, Controllers, Directory, Numbered, latencies, open_loop, save_metro, spanwire,
};
use crate::measure::{Report, rounded};
use crate::workloads::metro::Metro;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes a second, and the clients that make them.
const CHANGES: f64 = 1_000.0;
const CLIENTS: usize = 50;
/// Seconds that are looked at before and after, at scale 1.
const AROUND: f64 = 10.0;

/// Measures with about so many ports.
pub(crate) async fn run(
    seed: u64,
    ports: usize,
    scale: f64,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let binary = spanwire(options)?;
    let directory = Directory::make(options)?;
    let metro = Arc::new(Metro::with_ports(ports, seed));
    let (data_dir, sizes, snapshot_bytes) = save_metro(&metro, &directory)?;
    let mut controllers = Controllers::found(&binary, &directory, Some(data_dir))?;
    controllers.leader().await?;

    let make = move |number| metro.mk_numbered_change(number);
    let clients = Numbered::clients(CLIENTS, &controllers.addresses(), make);
    let around = Duration::from_secs_f64((AROUND * scale).max(1.0));
    let going_on = open_loop(clients, CHANGES);
    // The clients connect.
    tokio::time::sleep(around / 5).await;
    let begin = Instant::now();
    tokio::time::sleep(around).await;
    let added = Instant::now();
    let id = controllers.add().await?;
    let learns = added.elapsed();
    controllers.promote(id).await?;
    let votes = added.elapsed();
    let promoted = Instant::now();
    tokio::time::sleep(around).await;
    let end = Instant::now();
    let samples = going_on.finish().await?;

    let phases = [("before", begin, added), ("during", added, promoted), ("after", promoted, end)];
    let mut rows: Vec<Value> = Vec::new();
    for (name, from, to) in phases {
        let times = latencies(&samples, from, to);
        let seconds = to.saturating_duration_since(from).as_secs_f64().max(1e-9);
        rows.push(json!({
            "phase": name,
            "seconds": rounded(seconds),
            "changes_per_second": (times.count() as f64 / seconds).round(),
            "commit_p50_ms": rounded(times.at(50.0) / 1e3),
            "commit_p99_ms": rounded(times.at(99.0) / 1e3),
            "commit_longest_ms": rounded(times.at(100.0) / 1e3),
        }));
    }
    let mut report = Report::new("transfer", seed);
    report.set("ports", sizes.ports);
    report.set("hosts", sizes.hosts);
    report.set("groups", sizes.groups);
    report.set("rules", sizes.rules);
    report.measure("snapshot_mib", snapshot_bytes as f64 / f64::from(1 << 20));
    report.measure("added_seconds", learns.as_secs_f64());
    report.measure("seconds", votes.as_secs_f64());
    report.measure("peak_rss_mib", controllers.peak_rss_mib(1));
    report.measure("peak_rss_mib_of_new", controllers.peak_rss_mib(id));
    report.set("phases", rows);
    Ok(report)
}
