//! A controller with all of `metro` that is killed and started again.

use crate::cluster::{
    ClusterOptions, Controllers, Directory, Numbered, close_loop, save_metro, spanwire,
    wait_welcome, within,
};
use crate::measure::Report;
use crate::scenarios::targets::{Target, Targets};
use crate::workloads::metro::Metro;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first host of the workload.
const HOST: &str = "host-00000";
/// Clients that make changes, and for how long, so that there is something in the log after the snapshot.
const CLIENTS: usize = 10;
const CHANGING: Duration = Duration::from_secs(1);
/// Seconds until a host is served again.
const TARGET: f64 = 8.0;

/// Measures with about so many ports.
pub(crate) async fn run(
    seed: u64,
    ports: usize,
    options: &ClusterOptions,
) -> Result<Report, String> {
    let binary = spanwire(options)?;
    let directory = Directory::make(options)?;
    let metro = Arc::new(Metro::with_ports(ports, seed));
    let (data_dir, sizes, snapshot_bytes) = save_metro(&metro, &directory)?;
    let started = Instant::now();
    let mut controllers = Controllers::found(&binary, &directory, Some(data_dir))?;
    wait_served(&controllers).await?;
    let first = started.elapsed();

    let make = move |number| metro.mk_numbered_change(number);
    let clients = Numbered::clients(CLIENTS, &controllers.addresses(), make);
    let (measured, _) = close_loop(clients, CHANGING).await?;

    controllers.kill(1);
    let started = Instant::now();
    controllers.start(1)?;
    wait_served(&controllers).await?;
    let again = started.elapsed();

    let mut report = Report::new("restart", seed);
    report.set("ports", sizes.ports);
    report.set("hosts", sizes.hosts);
    report.set("groups", sizes.groups);
    report.set("rules", sizes.rules);
    report.measure("snapshot_mib", snapshot_bytes as f64 / f64::from(1 << 20));
    report.set("log_entries_after_it", measured.latencies.count());
    report.measure("seconds", again.as_secs_f64());
    report.measure("cpu_seconds", controllers.cpu().as_secs_f64());
    report.measure("first_start_seconds", first.as_secs_f64());
    report.measure("peak_rss_mib", controllers.peak_rss_mib(1));
    let mut targets = Targets::default();
    targets.add("served_again_seconds", again.as_secs_f64(), Target::AtMost(TARGET));
    targets.report(&mut report);
    Ok(report)
}

async fn wait_served(controllers: &Controllers) -> Result<(), String> {
    within("a host is welcomed", wait_welcome(controllers.address(1), HOST)).await
}
