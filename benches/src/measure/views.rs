//! What hosts have: every host's view, listed and counted.

use foldhash::fast::FixedState;
use spanwire_topology::Engine;
use spanwire_topology::engine::HostId;
use spanwire_topology::view::ItemKey;
use std::collections::HashSet;

/// Counts of a complete listing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Views {
    /// Pairs of host and item.
    pub(crate) items: u64,
    /// Pairs of host and shard.
    pub(crate) subscriptions: u64,
    /// Shards that at least one host has.
    pub(crate) shards: usize,
}

impl Views {
    /// Lists the items of the hosts with identifiers below `hosts`: the fleet comes first in every
    /// workload, so that these are all of them.
    pub(crate) fn list(engine: &Engine, hosts: usize) -> Views {
        let mut views = Views::default();
        let mut shards: HashSet<ItemKey, FixedState> = HashSet::default();
        for host in 0..hosts as u32 {
            for (key, _) in engine.host_items(HostId(host)) {
                views.items += 1;
                if matches!(key, ItemKey::Shard { .. }) {
                    views.subscriptions += 1;
                    shards.insert(key);
                }
            }
        }
        views.shards = shards.len();
        views
    }
}
