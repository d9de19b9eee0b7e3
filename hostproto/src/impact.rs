//! What a transaction would do, with what it would cost on the wire, host by host.

use crate::codec::{encode_delta, encode_full, encode_removed};
use crate::limits::PART_BYTES_TARGET;
use crate::wire::BatchPart;
use prost::Message as _;
use spanwire_topology::Engine;
use spanwire_topology::engine::{
    Changes, Forecast, HostId, HostImpact, Impact, ItemChange, ItemChangeKind, ObjectChange,
    Outcome, Refusal,
};
use spanwire_topology::model::{Kind, Revision, Transaction};
use spanwire_topology::view::{Item, ItemDelta, ItemKey};
use std::collections::{BTreeMap, BTreeSet};

/// What a transaction would do. The state is the same afterwards.
pub fn impact(engine: &mut Engine, transaction: &Transaction) -> Result<Impact, Refusal> {
    let Forecast { seen, domain_moves, verdicts } =
        engine.forecast(transaction, |engine, changes| {
            let objects: Vec<ObjectChange> = changes.objects.clone();
            (objects, Costs::default().of_changes(engine, changes))
        })?;
    let (mut objects, costs) = seen;
    objects.sort_by_cached_key(|change| change.object.resource.key());
    let mut hosts: Vec<HostImpact> = Vec::with_capacity(costs.len());
    for mut host in costs.into_values() {
        for key in &host.lost {
            host.cost.removed += engine.item(*key).map_or(0, |item| members(&item.item));
        }
        hosts.push(to_impact(&host));
    }
    hosts.sort_unstable_by(|a, b| a.host.cmp(&b.host));
    Ok(Impact { revision: engine.revision(), objects, hosts, domain_moves, verdicts })
}

fn to_impact(host: &HostCost) -> HostImpact {
    let parts = host.cost.bytes.div_ceil(PART_BYTES_TARGET).max(1);
    // The fields around the updates, with revisions of usual size.
    let head = BatchPart {
        from_revision: 1 << 30,
        to_revision: 1 << 30,
        sequence: 1,
        last: true,
        ..BatchPart::default()
    };
    HostImpact {
        host: host.name.clone(),
        items: host.items,
        members_added: host.cost.added,
        members_removed: host.cost.removed,
        bytes: (host.cost.bytes + parts * head.encoded_len()) as u64,
    }
}

/// What one update costs, and what it does to the members that a host has.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    bytes: usize,
    added: usize,
    removed: usize,
}

/// What a host would be told.
#[derive(Debug, Default)]
struct HostCost {
    name: String,
    items: usize,
    cost: Cost,
    /// Items it would lose, whose members are counted once the state is as it was.
    lost: Vec<ItemKey>,
}

impl HostCost {
    fn add(&mut self, cost: Cost) {
        self.items += 1;
        self.cost.bytes += framed(cost.bytes);
        self.cost.added += cost.added;
        self.cost.removed += cost.removed;
    }
}

/// The bytes of an update in a batch part: tag, length and update.
fn framed(bytes: usize) -> usize {
    1 + prost::encoding::encoded_len_varint(bytes as u64) + bytes
}

/// Works out what hosts would be told. Each item is encoded once, as it would be for real.
#[derive(Default)]
struct Costs {
    fulls: BTreeMap<ItemKey, Cost>,
    hosts: BTreeMap<HostId, HostCost>,
}

impl Costs {
    fn of_changes(mut self, engine: &Engine, changes: &Changes) -> BTreeMap<HostId, HostCost> {
        let mut gained: BTreeSet<(HostId, ItemKey)> = BTreeSet::new();
        for change in &changes.hosts {
            for key in &change.gained {
                gained.insert((change.host, *key));
            }
            for key in &change.lost {
                let host = self.host(engine, change.host);
                host.add(Cost { bytes: encode_removed(*key).len(), ..Cost::default() });
                host.lost.push(*key);
            }
        }
        for change in &changes.objects {
            let key = change.object.resource.key();
            if change.outcome == Outcome::Created
                && key.kind == Kind::Host
                && let Some(host) = engine.host_id(&key.name)
            {
                gained.extend(engine.host_items(host).into_iter().map(|(item, _)| (host, item)));
            }
        }
        for (host, key) in &gained {
            let cost = self.full(engine, *key, changes.revision);
            self.host(engine, *host).add(cost);
        }
        for change in &changes.items {
            if change.kind == ItemChangeKind::Removed {
                continue; // whoever had it lost it
            }
            let mut cost = None;
            for host in engine.subscribers(change.key) {
                if !gained.contains(&(host, change.key)) {
                    let cost = *cost.get_or_insert_with(|| self.update(engine, change, changes));
                    self.host(engine, host).add(cost);
                }
            }
        }
        self.hosts
    }

    fn host(&mut self, engine: &Engine, host: HostId) -> &mut HostCost {
        self.hosts.entry(host).or_insert_with(|| HostCost {
            name: engine.host_name(host).unwrap_or_default().to_owned(),
            ..HostCost::default()
        })
    }

    /// An item as a whole.
    fn full(&mut self, engine: &Engine, key: ItemKey, revision: Revision) -> Cost {
        *self.fulls.entry(key).or_insert_with(|| {
            engine.item(key).map_or(Cost::default(), |item| Cost {
                bytes: encode_full(key, revision, &item.item).len(),
                added: members(&item.item),
                removed: 0,
            })
        })
    }

    /// What a host is sent that has the item already.
    fn update(&mut self, engine: &Engine, change: &ItemChange, changes: &Changes) -> Cost {
        let revision = changes.revision;
        match &change.kind {
            ItemChangeKind::Delta(delta) => {
                let bytes = encode_delta(change.key, change.previous_version, revision, delta);
                let (removed, added) = match delta {
                    ItemDelta::Shard { removed, added } => (removed.len(), added.len()),
                    ItemDelta::Locators { .. } => (0, 0),
                };
                Cost { bytes: bytes.len(), added, removed }
            }
            // The members it had and has again are neither added nor removed.
            ItemChangeKind::Created | ItemChangeKind::Replaced | ItemChangeKind::Removed => {
                Cost { added: 0, removed: 0, ..self.full(engine, change.key, revision) }
            }
        }
    }
}

/// How many members of a group an item brings.
fn members(item: &Item) -> usize {
    match item {
        Item::Shard(addresses) => addresses.len(),
        Item::Blocks(_) | Item::Domain(_) | Item::Port(_) | Item::Policy(_) | Item::Locators(_) => {
            0
        }
    }
}
