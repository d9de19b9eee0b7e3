//! The uplink of a tenant's router, cut and healed: 500 ports leave the domain that they share with
//! half of the network, and come back.

use super::change::note_hosts;
use super::loaded::{Loaded, describe};
use crate::measure::{Percentiles, Report, Spent, Views, Walk, peak_rss_mib, ratio, rounded};
use crate::workloads::metro::{Metro, TENANT_PORTS};
use serde_json::{Map, Value};
use spanwire_topology::engine::{Changes, ItemChange, ItemChangeKind};
use spanwire_topology::view::{Item, ItemDelta, ItemKey};
use spanwire_topology::{Engine, Transaction};
use std::net::IpAddr;

/// Measures networks of each size and reports the last, with a list of all.
pub(crate) fn run(
    seed: u64,
    sizes: &[usize],
    tenant_hosts: usize,
    links: usize,
) -> Result<Report, String> {
    let mut rows: Vec<Value> = Vec::new();
    let mut report = Report::new("link", seed);
    for &ports in sizes {
        let metro = Metro::confined(ports, seed, tenant_hosts);
        let mut loaded = Loaded::from_resources(metro.resources())?;
        loaded.watch_all();
        let moved = move_links(&mut loaded, &metro, links)?;
        let views = Views::list(&loaded.engine, loaded.sizes.hosts);
        describe(&mut report, &loaded.sizes, &views);
        report.spent(moved.spent);
        report.bound(moved.spent, moved.walking);
        report.measure("load_seconds", loaded.spent.wall.as_secs_f64());
        report.measure("cut_cpu_us", moved.cut.at(50.0));
        report.measure("heal_cpu_us", moved.heal.at(50.0));
        report.measure("walk_cpu_us", moved.walk.at(50.0));
        rows.push(moved.row(loaded.sizes.ports));
    }
    report.set("links", links);
    report.set("tenant_hosts", tenant_hosts);
    report.set("sizes", rows);
    report.measure("peak_rss_mib", peak_rss_mib());
    Ok(report)
}

/// What the links of one network took. The walk is of one direction.
#[derive(Default)]
struct Moved {
    cut: Percentiles,
    heal: Percentiles,
    walk: Percentiles,
    changed: usize,
    moves: usize,
    spent: Spent,
    walking: Spent,
}

impl Moved {
    fn row(&self, ports: usize) -> Value {
        let mut row = Map::new();
        row.insert("ports".into(), ports.into());
        row.insert("cut_cpu_us".into(), rounded(self.cut.at(50.0)).into());
        row.insert("heal_cpu_us".into(), rounded(self.heal.at(50.0)).into());
        row.insert("walk_cpu_us".into(), rounded(self.walk.at(50.0)).into());
        row.insert("changed_each".into(), (self.changed / self.moves.max(1)).into());
        row.insert("ratio_to_walk".into(), rounded(ratio(self.spent, self.walking)).into());
        Value::Object(row)
    }

    fn add(&mut self, spent: Spent, walk: &Walk) {
        let walking = walk.take();
        self.walk.add(walking.cpu);
        self.walking = self.walking + walking;
        self.spent = self.spent + spent;
        self.changed += walk.len();
        self.moves += 1;
    }
}

/// Cuts and heals the links of some routed tenants, spread over the network.
fn move_links(loaded: &mut Loaded, metro: &Metro, links: usize) -> Result<Moved, String> {
    let routed: Vec<usize> = (0..metro.tenants()).filter(|&t| metro.is_routed(t)).collect();
    let mut moved = Moved::default();
    for link in 0..links {
        let tenant = routed[link * 7 % routed.len()];
        let cut = relink(loaded, metro, tenant, false)?;
        let heal = relink(loaded, metro, tenant, true)?;
        // What one made, the other takes away again.
        let cut_walk = mk_walk(tenant, &cut, &heal.made);
        let heal_walk = mk_walk(tenant, &heal, &cut.made);
        moved.cut.add(cut.spent.cpu);
        moved.heal.add(heal.spent.cpu);
        moved.add(cut.spent, &cut_walk);
        moved.add(heal.spent, &heal_walk);
    }
    Ok(moved)
}

struct Relinked {
    spent: Spent,
    changes: Changes,
    /// The members and locators of items that are new.
    made: Vec<(ItemKey, u32)>,
}

fn relink(
    loaded: &mut Loaded,
    metro: &Metro,
    tenant: usize,
    linked: bool,
) -> Result<Relinked, String> {
    let transaction = Transaction::put([metro.mk_router(tenant, linked)]);
    let engine = &mut loaded.engine;
    let (result, applying) = Spent::on(|| engine.apply(&transaction, loaded.next_revision));
    loaded.next_revision += 1;
    let changes = result.map_err(|refusal| refusal.to_string())?;
    let copy = changes.clone();
    let ((), dropping) = Spent::on(|| drop(changes));
    let is_new = |item: &&ItemChange| item.kind == ItemChangeKind::Created;
    let new = copy.items.iter().filter(is_new);
    let made = new.flat_map(|item| entries(&loaded.engine, item.key)).collect();
    Ok(Relinked { spent: applying + dropping, changes: copy, made })
}

/// The addresses that an item has now, if it is made of addresses.
fn entries(engine: &Engine, key: ItemKey) -> Vec<(ItemKey, u32)> {
    let Some(found) = engine.item(key) else { return Vec::new() };
    match &*found.item {
        Item::Shard(addresses) => addresses.iter().map(|&a| (key, id_of(a))).collect(),
        Item::Locators(locators) => locators.iter().map(|l| (key, id_of(l.address))).collect(),
        _ => Vec::new(),
    }
}

/// The ports of a tenant have neighbouring addresses, so these are as dense as identifiers.
fn id_of(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.into(),
        // The workload has none.
        IpAddr::V6(_) => 0,
    }
}

/// Exactly what changed: the tenant's ports, the members and locators that items lost and gained,
/// those of items that are gone (`unmade`) and new ones included, and the hosts' subscriptions.
fn mk_walk(tenant: usize, relinked: &Relinked, unmade: &[(ItemKey, u32)]) -> Walk {
    let first = (tenant * TENANT_PORTS) as u32;
    let mut walk = Walk {
        ports: (first..first + TENANT_PORTS as u32).collect(),
        gained: relinked.made.clone(),
        lost: unmade.to_vec(),
        ..Walk::default()
    };
    for item in &relinked.changes.items {
        let key = item.key;
        let pairs = |addresses: &[IpAddr]| -> Vec<(ItemKey, u32)> {
            addresses.iter().map(|&address| (key, id_of(address))).collect()
        };
        match &item.kind {
            ItemChangeKind::Delta(ItemDelta::Shard { removed, added }) => {
                walk.lost.extend(pairs(removed));
                walk.gained.extend(pairs(added));
            }
            ItemChangeKind::Delta(ItemDelta::Locators { removed, added }) => {
                walk.lost.extend(pairs(removed));
                walk.gained.extend(added.iter().map(|locator| (key, id_of(locator.address))));
            }
            ItemChangeKind::Created | ItemChangeKind::Removed | ItemChangeKind::Replaced => {}
        }
    }
    note_hosts(&mut walk, &relinked.changes);
    walk
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a cut takes away, healing brings back, and the walk goes over all of it.
    #[test]
    fn a_walk_goes_over_what_changes() {
        let metro = Metro::with_ports(2_000, 1);
        let mut loaded = Loaded::from_resources(metro.resources()).unwrap();
        loaded.watch_all();
        let before = Views::list(&loaded.engine, loaded.sizes.hosts);
        let cut = relink(&mut loaded, &metro, 0, false).unwrap();
        let heal = relink(&mut loaded, &metro, 0, true).unwrap();
        assert_eq!(Views::list(&loaded.engine, loaded.sizes.hosts), before);
        let sorted = |mut list: Vec<(ItemKey, u32)>| {
            list.sort_unstable();
            list
        };
        let there = mk_walk(0, &cut, &heal.made);
        let back = mk_walk(0, &heal, &cut.made);
        assert_eq!(there.ports.len(), 500);
        // Each port is a member of several groups, and each member leaves one shard for another.
        assert!(there.lost.len() > 1_000 && there.lost.len() == there.gained.len());
        assert_eq!(sorted(there.gained), sorted(back.lost));
        assert_eq!(sorted(there.subscribed), sorted(back.unsubscribed));
    }
}
