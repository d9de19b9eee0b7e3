//! From resources to every host's view, measured next to its lower bound.

use crate::memory::peak_rss_mib;
use crate::report::Report;
use roaring::RoaringBitmap;
use spanwire_topology::engine::HostId;
use spanwire_topology::model::{Kind, Spec};
use spanwire_topology::view::ItemKey;
use spanwire_topology::{Engine, Resource, Transaction};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::time::Instant;

/// Counts of a run, taken while every host's items are listed.
#[derive(Default)]
struct Counts {
    subscriptions: u64,
    items: u64,
}

/// Applies the resources in transactions as large as they may be, lists every host's items, and
/// reports.
pub(crate) fn run(scenario: &str, resources: Vec<Resource>) -> Result<Report, String> {
    let count = |kind| resources.iter().filter(|r| r.spec.kind() == kind).count();
    let rules: usize = resources
        .iter()
        .map(|resource| match &*resource.spec {
            Spec::SecurityPolicy(policy) => policy.rules.len(),
            _ => 0,
        })
        .sum();
    let mut report = Report::new(scenario);
    let hosts = count(Kind::Host);
    report.set("hosts", hosts);
    report.set("ports", count(Kind::LogicalPort));
    report.set("groups", count(Kind::Group));
    report.set("policies", count(Kind::SecurityPolicy));
    report.set("rules", rules);

    let mut transactions = Vec::new();
    let mut rest = resources.into_iter().peekable();
    while rest.peek().is_some() {
        let part: Vec<Resource> = rest.by_ref().take(10_000).collect();
        transactions.push(Transaction::put(part));
    }
    let rss_of_input = peak_rss_mib();

    let start = Instant::now();
    let mut engine = Engine::new();
    for (index, transaction) in transactions.into_iter().enumerate() {
        engine.apply(&transaction, index as u64 + 1).map_err(|refusal| refusal.to_string())?;
    }
    let loaded = start.elapsed().as_secs_f64();
    let mut counts = Counts::default();
    let mut shards: BTreeMap<ItemKey, u64> = BTreeMap::new();
    for host in 0..hosts as u32 {
        for (key, _) in engine.host_items(HostId(host)) {
            counts.items += 1;
            if matches!(key, ItemKey::Shard { .. }) {
                counts.subscriptions += 1;
                *shards.entry(key).or_insert(0) += 1;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let bound = lower_bound(&engine, hosts);

    report.set("shards", shards.len());
    report.set("subscriptions", counts.subscriptions);
    report.set("items", counts.items);
    report.measure("load_seconds", loaded);
    report.measure("seconds", seconds);
    report.measure("lower_bound_seconds", bound);
    report.measure("ratio_to_lower_bound", seconds / bound);
    report.measure("peak_rss_mib", peak_rss_mib());
    report.measure("input_rss_mib", rss_of_input);
    Ok(report)
}

/// The least that has to happen: every port enters the bitmap of each of its groups, and every
/// host that of each shard it subscribes to, found by hash. The memberships and subscriptions are
/// those that the run found, so what is timed is the insertions alone.
fn lower_bound(engine: &Engine, hosts: usize) -> f64 {
    let mut pairs: Vec<(ItemKey, u32)> = Vec::new();
    for host in 0..hosts as u32 {
        let items = engine.host_items(HostId(host)).into_iter().map(|(key, _)| key);
        pairs.extend(
            items.filter(|key| matches!(key, ItemKey::Shard { .. })).map(|key| (key, host)),
        );
    }
    let ports = engine.list(Kind::LogicalPort, None, None).count() as u32;
    let start = Instant::now();
    let mut members: HashMap<u32, RoaringBitmap> = HashMap::new();
    for port in 0..ports {
        members.entry(port / 4).or_default().insert(port);
        members.entry(u32::MAX - port / 2).or_default().insert(port);
    }
    let mut subscribers: HashMap<ItemKey, RoaringBitmap> = HashMap::new();
    for (key, host) in pairs {
        subscribers.entry(key).or_default().insert(host);
    }
    black_box((members, subscribers));
    start.elapsed().as_secs_f64()
}
