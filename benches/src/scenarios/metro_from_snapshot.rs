//! `metro` from a saved state: the largest network.

use super::loaded::{Loaded, describe};
use super::saved::Saved;
use crate::measure::{
    Pairs, Report, Spent, Stopwatch, Views, peak_rss_mib, restart_peak_rss, rss_mib,
};
use crate::workloads::metro::Metro;

/// Loads it, saves it, forgets it, and loads it from what was saved.
pub(crate) fn run(seed: u64, ports: usize) -> Result<Report, String> {
    let first = Loaded::from_resources(Metro::with_ports(ports, seed).resources())?;
    let (sizes, revision) = (first.sizes, first.engine.revision());
    let expected = Views::list(&first.engine, sizes.hosts);
    let (saved, saving) = Spent::on(|| Saved::of(&first.engine));
    drop(first);
    let (bytes, saved_rss) = (saved.bytes(), rss_mib());
    let restarted = restart_peak_rss();

    let mut watch = Stopwatch::default();
    let engine = watch.time(|| saved.load())?;
    let loading = watch.spent();
    let views = watch.time(|| Views::list(&engine, sizes.hosts));
    let peak = peak_rss_mib();
    if views != expected || engine.revision() != revision {
        return Err(format!(
            "the state that was loaded is not the one that was saved: {views:?}, not {expected:?}"
        ));
    }

    let mut report = Report::new("metro-snapshot", seed);
    describe(&mut report, &sizes, &views);
    report.spent(watch.spent());
    report.measure("load_seconds", loading.wall.as_secs_f64());
    report.measure("load_cpu_seconds", loading.cpu.as_secs_f64());
    report.measure("save_seconds", saving.wall.as_secs_f64());
    report.set("snapshot_bytes", bytes);
    report.bound(watch.spent(), Pairs::of(&engine, sizes.hosts).put_down());
    report.measure("peak_rss_mib", peak);
    // What the saved state takes, with what the allocator kept of the first engine.
    report.measure("saved_rss_mib", saved_rss);
    report.set("peak_is_of_loading_alone", restarted);
    Ok(report)
}
