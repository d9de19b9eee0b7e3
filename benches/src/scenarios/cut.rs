//! What each host is told, against a broadcast of the same network in the same encoding.

use super::loaded::{Loaded, describe};
use super::told::{Told, broadcast, tell};
use crate::measure::{Pairs, Report, Stopwatch, Views, peak_rss_mib, rounded};
use crate::workloads::segments::{self, Layout};
use serde_json::{Value, json};

/// How much more than a broadcast may be sent where there is nothing to prune (guarantee G12).
const FLAT_EXCESS_MAX: f64 = 0.02;

/// Measures each layout and reports the last, with a list of all. An error if the flat network
/// costs more than it may.
pub(crate) fn run(seed: u64) -> Result<Report, String> {
    let mut rows: Vec<Value> = Vec::new();
    let mut report = Report::new("cut", seed);
    for layout in Layout::ALL {
        let loaded = Loaded::from_resources(segments::resources(seed, layout))?;
        let hosts = loaded.sizes.hosts;
        let mut watch = Stopwatch::default();
        let told = watch.time(|| tell(&loaded.engine, hosts));
        let broadcast = broadcast(&loaded.engine, hosts);
        rows.push(mk_row(layout, hosts, &told, &broadcast));
        check(layout, &told, &broadcast)?;
        describe(&mut report, &loaded.sizes, &Views::list(&loaded.engine, hosts));
        let spent = loaded.spent + watch.spent();
        report.spent(spent);
        report.bound(spent, Pairs::of(&loaded.engine, hosts).put_down());
    }
    report.set("layouts", rows);
    report.measure("peak_rss_mib", peak_rss_mib());
    Ok(report)
}

fn mk_row(layout: Layout, hosts: usize, told: &Told, broadcast: &Told) -> Value {
    let each = |sum: usize| rounded(sum as f64 / hosts as f64);
    let of = |part: usize, whole: usize| rounded(100.0 * part as f64 / whole as f64);
    json!({
        "layout": layout.as_str(),
        "members_per_host": each(told.members),
        "members_per_host_broadcast": each(broadcast.members),
        "members_percent": of(told.members, broadcast.members),
        "bytes_per_host": each(told.bytes),
        "bytes_per_host_broadcast": each(broadcast.bytes),
        "bytes_percent": of(told.bytes, broadcast.bytes),
        "rules_per_host": each(told.rules),
        "rules_per_host_broadcast": each(broadcast.rules),
    })
}

fn check(layout: Layout, told: &Told, broadcast: &Told) -> Result<(), String> {
    let excess = told.bytes as f64 / broadcast.bytes as f64 - 1.0;
    if layout == Layout::Flat && excess > FLAT_EXCESS_MAX {
        return Err(format!(
            "on the flat network hosts are sent {} bytes where a broadcast takes {}: {:.2} % more, \
             and guarantee G12 allows {:.0} %",
            told.bytes,
            broadcast.bytes,
            100.0 * excess,
            100.0 * FLAT_EXCESS_MAX
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(layout: Layout) -> (Told, Told) {
        let loaded = Loaded::from_resources(segments::resources(1, layout)).unwrap();
        let hosts = loaded.sizes.hosts;
        (tell(&loaded.engine, hosts), broadcast(&loaded.engine, hosts))
    }

    /// Guarantee G12, the bytes of it: every host needs everything, and nothing is dearer for it.
    #[test]
    fn flat_costs_no_more_than_a_broadcast() {
        let (told, broadcast) = measure(Layout::Flat);
        assert_eq!((told.members, told.rules), (broadcast.members, broadcast.rules));
        assert_eq!((told.members, told.rules), (1_000 * 4_000, 1_000 * segments::RULES));
        assert_eq!(check(Layout::Flat, &told, &broadcast), Ok(()));
        let dearer = Told { bytes: broadcast.bytes / 100 * 103, ..told };
        let problem = check(Layout::Flat, &dearer, &broadcast).unwrap_err();
        assert!(problem.contains("guarantee G12 allows 2 %"), "{problem}");
    }

    /// Four ports of a host are in the groups that the rules are applied to. They lie in four
    /// segments of a hundred, or of three tenants of twenty, and the host has the members of these.
    #[test]
    fn segments_cut_the_members() {
        let (told, broadcast) = measure(Layout::Segmented);
        assert_eq!(told.members * 100, broadcast.members * 4);
        assert!(told.bytes * 3 < broadcast.bytes, "{told:?} {broadcast:?}");
        let (told, broadcast) = measure(Layout::TenantSegmented);
        assert_eq!(told.members * 20, broadcast.members * 3);
        assert!(told.bytes * 2 < broadcast.bytes, "{told:?} {broadcast:?}");
    }
}
