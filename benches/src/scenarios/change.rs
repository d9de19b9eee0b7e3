//! One port at a time: added, relabelled, migrated, re-addressed, removed, each in a transaction of
//! its own, on networks of several sizes that differ in the number of tenants and hosts alone: each
//! tenant has as many ports, on as many hosts.

use super::loaded::{Loaded, describe};
use crate::measure::{Percentiles, Report, Spent, Views, Walk, peak_rss_mib, ratio, rounded};
use crate::workloads::metro::{APPS, Metro, PortDraft, SPARE_PORTS, TENANT_PORTS};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};
use spanwire_topology::Transaction;
use spanwire_topology::engine::{Changes, ItemChangeKind};
use spanwire_topology::view::{ItemDelta, ItemKey};

/// What happens to a port, in order.
pub(crate) const STEPS: [&str; 5] = ["added", "relabelled", "migrated", "readdressed", "removed"];
/// How far the spare port is whose address a port is given: on the same switch, and never one of
/// the ports that come and go.
const SAME_SWITCH: usize = 50;

/// Measures networks of each size and reports the last, with a list of all.
pub(crate) fn run(
    seed: u64,
    sizes: &[usize],
    tenant_hosts: usize,
    operations: usize,
) -> Result<Report, String> {
    let mut rows: Vec<Value> = Vec::new();
    let mut report = Report::new("change", seed);
    let mut medians: Vec<f64> = Vec::new();
    for &ports in sizes {
        let metro = Metro::confined(ports, seed, tenant_hosts);
        let mut loaded = Loaded::from_resources(metro.resources())?;
        loaded.watch_all();
        let changed = change_ports(&mut loaded, &metro, seed, operations)?;
        let views = Views::list(&loaded.engine, loaded.sizes.hosts);
        describe(&mut report, &loaded.sizes, &views);
        report.spent(changed.spent);
        let bound = changed.walk.take();
        report.bound(changed.spent, bound);
        report.measure("load_seconds", loaded.spent.wall.as_secs_f64());
        report.measure("median_us", changed.all.at(50.0));
        report.measure("p99_us", changed.all.at(99.0));
        report.measure("cpu_median_us", changed.all_cpu.at(50.0));
        report.measure("cpu_p99_us", changed.all_cpu.at(99.0));
        medians.push(changed.all_cpu.at(50.0));
        rows.push(changed.row(loaded.sizes.ports, ratio(changed.spent, bound)));
    }
    report.set("operations_each", operations);
    report.set("tenant_hosts", tenant_hosts);
    if let (Some(smallest), Some(largest)) = (medians.first(), medians.last()) {
        report.measure("cpu_median_largest_to_smallest", largest / smallest.max(1e-9));
    }
    report.set("sizes", rows);
    report.measure("peak_rss_mib", peak_rss_mib());
    Ok(report)
}

/// What the changes of one network took.
#[derive(Default)]
struct Changed {
    steps: [(Percentiles, Percentiles); STEPS.len()],
    all: Percentiles,
    all_cpu: Percentiles,
    spent: Spent,
    walk: Walk,
}

impl Changed {
    fn row(&self, ports: usize, ratio: f64) -> Value {
        let mut row = Map::new();
        row.insert("ports".into(), ports.into());
        row.insert("ratio_to_lower_bound".into(), rounded(ratio).into());
        for (step, (wall, cpu)) in STEPS.iter().zip(&self.steps) {
            row.insert(format!("{step}_us"), rounded(wall.at(50.0)).into());
            row.insert(format!("{step}_p99_us"), rounded(wall.at(99.0)).into());
            row.insert(format!("{step}_cpu_us"), rounded(cpu.at(50.0)).into());
        }
        Value::Object(row)
    }
}

fn change_ports(
    loaded: &mut Loaded,
    metro: &Metro,
    seed: u64,
    operations: usize,
) -> Result<Changed, String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut changed = Changed::default();
    for operation in 0..operations {
        let (draft, steps) = mk_steps(metro, &mut random, operation);
        let id = (draft.tenant * (TENANT_PORTS + SPARE_PORTS) + draft.index) as u32;
        for (transaction, step) in steps.iter().zip(&mut changed.steps) {
            let engine = &mut loaded.engine;
            let (result, applying) = Spent::on(|| engine.apply(transaction, loaded.next_revision));
            loaded.next_revision += 1;
            let changes = result.map_err(|refusal| refusal.to_string())?;
            note(&mut changed.walk, &changes, id);
            let ((), dropping) = Spent::on(|| drop(changes));
            let spent = applying + dropping;
            step.0.add(spent.wall);
            step.1.add(spent.cpu);
            changed.all.add(spent.wall);
            changed.all_cpu.add(spent.cpu);
            changed.spent = changed.spent + spent;
        }
    }
    Ok(changed)
}

/// The transactions of one port's life, on a random tenant and random hosts.
pub(crate) fn mk_steps(
    metro: &Metro,
    random: &mut ChaCha8Rng,
    number: usize,
) -> (PortDraft, [Transaction; STEPS.len()]) {
    let index = TENANT_PORTS + number % (SPARE_PORTS - SAME_SWITCH);
    let tenant = random.random_range(0..metro.tenants());
    let (first, hosts) = (random.random_range(0..metro.tenant_hosts()), metro.tenant_hosts());
    let second = first + random.random_range(1..hosts.max(2));
    let added = PortDraft {
        tenant,
        index,
        app: random.random_range(0..APPS),
        environment: random.random_range(0..2),
        host: metro.host_of(tenant, first),
        address_of: index,
    };
    let relabelled = PortDraft { app: (added.app + random.random_range(1..APPS)) % APPS, ..added };
    let migrated = PortDraft { host: metro.host_of(tenant, second), ..relabelled };
    let readdressed = PortDraft { address_of: index + SAME_SWITCH, ..migrated };
    let put = |draft: &PortDraft| Transaction::put([metro.mk_port(draft)]);
    let removed = Transaction::delete([metro.port_key(tenant, index)], false);
    let [first, second, third, fourth] = [&added, &relabelled, &migrated, &readdressed].map(put);
    (added, [first, second, third, fourth, removed])
}

/// Adds what a change of one port changed.
fn note(walk: &mut Walk, changes: &Changes, id: u32) {
    walk.ports.push(id);
    for item in &changes.items {
        let (lost, gained) = match &item.kind {
            ItemChangeKind::Created => (0, 1),
            ItemChangeKind::Removed => (1, 0),
            ItemChangeKind::Replaced => (1, 1),
            ItemChangeKind::Delta(ItemDelta::Shard { removed, added }) => {
                (removed.len(), added.len())
            }
            ItemChangeKind::Delta(ItemDelta::Locators { removed, added }) => {
                (removed.len(), added.len())
            }
        };
        walk.lost.extend(std::iter::repeat_n((item.key, id), lost));
        walk.gained.extend(std::iter::repeat_n((item.key, id), gained));
    }
    note_hosts(walk, changes);
}

/// Adds the subscriptions that a change changed.
pub(super) fn note_hosts(walk: &mut Walk, changes: &Changes) {
    for change in &changes.hosts {
        let pair = |key: &ItemKey| (*key, change.host.0);
        walk.unsubscribed.extend(change.lost.iter().map(pair));
        walk.subscribed.extend(change.gained.iter().map(pair));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run leaves the network as it found it, and every step of it changes something.
    #[test]
    fn ports_come_change_and_go() {
        let metro = Metro::with_ports(2_000, 1);
        let mut loaded = Loaded::from_resources(metro.resources()).unwrap();
        loaded.watch_all();
        let before = Views::list(&loaded.engine, loaded.sizes.hosts);
        let changed = change_ports(&mut loaded, &metro, 1, 200).unwrap();
        assert_eq!(Views::list(&loaded.engine, loaded.sizes.hosts), before);
        assert_eq!(loaded.engine.revision() + 1, loaded.next_revision);
        assert!(changed.steps.iter().all(|(wall, cpu)| wall.count() == 200 && cpu.count() == 200));
        assert_eq!(changed.walk.ports.len(), 1_000);
        assert!(!changed.walk.subscribed.is_empty());
        assert_eq!(changed.walk.subscribed.len(), changed.walk.unsubscribed.len());
    }
}
