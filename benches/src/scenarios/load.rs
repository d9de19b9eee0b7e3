//! From the empty engine to every host's view.

use super::loaded::{Loaded, describe};
use crate::measure::{Pairs, Report, Stopwatch, Views, peak_rss_mib};
use spanwire_topology::Resource;

/// Applies the resources, lists every host's items, and reports.
pub(crate) fn run(
    scenario: &str,
    seed: u64,
    resources: impl Iterator<Item = Resource>,
) -> Result<Report, String> {
    let loaded = Loaded::from_resources(resources)?;
    let mut watch = Stopwatch::default();
    let views = watch.time(|| Views::list(&loaded.engine, loaded.sizes.hosts));
    // Before anything is made for the lower bound.
    let peak = peak_rss_mib();
    let spent = loaded.spent + watch.spent();

    let mut report = Report::new(scenario, seed);
    describe(&mut report, &loaded.sizes, &views);
    report.spent(spent);
    report.measure("load_seconds", loaded.spent.wall.as_secs_f64());
    report.measure("load_cpu_seconds", loaded.spent.cpu.as_secs_f64());
    report.measure("views_seconds", watch.spent().wall.as_secs_f64());
    let pairs = Pairs::of(&loaded.engine, loaded.sizes.hosts);
    report.set("memberships", pairs.memberships());
    report.bound(spent, pairs.put_down());
    report.measure("peak_rss_mib", peak);
    Ok(report)
}
