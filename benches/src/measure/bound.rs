//! Lower bounds: the pairs that a result consists of, put into plain bitmaps that are found by
//! hash, and nothing else.

use super::stopwatch::Spent;
use foldhash::fast::FixedState;
use roaring::RoaringBitmap;
use spanwire_topology::Engine;
use spanwire_topology::engine::HostId;
use spanwire_topology::view::{Item, ItemKey};
use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;

type Bitmaps = HashMap<ItemKey, RoaringBitmap, FixedState>;

/// The memberships and subscriptions of a state: each member of each shard, and each host that has
/// a shard. Whoever computes them has to put down at least these.
pub(crate) struct Pairs {
    members: Vec<(ItemKey, u32)>,
    subscribers: Vec<(ItemKey, u32)>,
}

impl Pairs {
    /// The pairs of a state with hosts below `hosts`.
    pub(crate) fn of(engine: &Engine, hosts: usize) -> Pairs {
        let mut pairs = Pairs { members: Vec::new(), subscribers: Vec::new() };
        let mut dense: HashMap<IpAddr, u32, FixedState> = HashMap::default();
        for (key, _) in engine.export().versions {
            if !matches!(key, ItemKey::Shard { .. }) {
                continue;
            }
            for address in addresses(engine, key) {
                // Dense ids, as an engine would have them: spread ones cost more.
                let next = dense.len() as u32;
                pairs.members.push((key, *dense.entry(address).or_insert(next)));
            }
        }
        for host in 0..hosts as u32 {
            let keys = engine.host_items(HostId(host)).into_iter().map(|(key, _)| key);
            let shards = keys.filter(|key| matches!(key, ItemKey::Shard { .. }));
            pairs.subscribers.extend(shards.map(|key| (key, host)));
        }
        pairs
    }

    /// How many memberships there are.
    pub(crate) fn memberships(&self) -> usize {
        self.members.len()
    }

    /// Puts them all down, once.
    pub(crate) fn put_down(&self) -> Spent {
        let (bitmaps, spent) = Spent::on(|| {
            let (mut members, mut subscribers) = (Bitmaps::default(), Bitmaps::default());
            for &(key, port) in &self.members {
                members.entry(key).or_default().insert(port);
            }
            for &(key, host) in &self.subscribers {
                subscribers.entry(key).or_default().insert(host);
            }
            (members, subscribers)
        });
        black_box(bitmaps);
        spent
    }
}

/// Exactly the ports, members and subscriptions that a change changes.
#[derive(Default)]
pub(crate) struct Walk {
    /// Ports that move.
    pub(crate) ports: Vec<u32>,
    /// Members that shards lose and gain.
    pub(crate) lost: Vec<(ItemKey, u32)>,
    pub(crate) gained: Vec<(ItemKey, u32)>,
    /// Hosts that shards and other items lose and gain.
    pub(crate) unsubscribed: Vec<(ItemKey, u32)>,
    pub(crate) subscribed: Vec<(ItemKey, u32)>,
}

impl Walk {
    /// Ports, members and subscriptions in all.
    pub(crate) fn len(&self) -> usize {
        let lists = [&self.lost, &self.gained, &self.unsubscribed, &self.subscribed];
        self.ports.len() + lists.iter().map(|list| list.len()).sum::<usize>()
    }

    /// Walks over them, once: what leaves is taken out of plain bitmaps, what comes is put in.
    pub(crate) fn take(&self) -> Spent {
        let mut bitmaps = Bitmaps::default();
        for &(key, id) in self.lost.iter().chain(&self.unsubscribed) {
            bitmaps.entry(key).or_default().insert(id);
        }
        let mut domains = vec![0_u32; self.ports.iter().max().map_or(0, |max| *max as usize + 1)];
        let ((), spent) = Spent::on(|| {
            for &port in &self.ports {
                domains[port as usize] = 1;
            }
            for (key, id) in self.lost.iter().chain(&self.unsubscribed) {
                if let Some(bitmap) = bitmaps.get_mut(key) {
                    bitmap.remove(*id);
                }
            }
            for &(key, id) in self.gained.iter().chain(&self.subscribed) {
                bitmaps.entry(key).or_default().insert(id);
            }
        });
        black_box((bitmaps, domains));
        spent
    }
}

/// The addresses that a shard has now; none if it is no shard, or not there.
pub(crate) fn addresses(engine: &Engine, key: ItemKey) -> Vec<IpAddr> {
    match engine.item(key).as_ref().map(|found| &*found.item) {
        Some(Item::Shard(addresses)) => addresses.clone(),
        _ => Vec::new(),
    }
}
