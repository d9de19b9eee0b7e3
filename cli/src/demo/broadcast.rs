//! What a controller would send that knows groups and hosts, and no topology.

use spanwire_hostproto::codec::encode_full;
use spanwire_topology::Engine;
use spanwire_topology::engine::HostId;
use spanwire_topology::model::Kind;
use spanwire_topology::view::{HostView, Item, ItemKey, VersionedItem};
use std::collections::BTreeMap;

/// How much a host is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Members of groups.
    pub(super) members: usize,
    /// Locators.
    pub(super) locators: usize,
    /// Bytes, encoded as on the wire.
    pub(super) bytes: usize,
}

impl Load {
    fn add(&mut self, key: ItemKey, item: &VersionedItem) {
        match &*item.item {
            Item::Shard(addresses) => self.members += addresses.len(),
            Item::Locators(locators) => self.locators += locators.len(),
            Item::Domain(_) | Item::Port(_) | Item::Policy(_) | Item::Blocks(_) => {}
        }
        self.bytes += encode_full(key, item.version, &item.item).len();
    }

    /// What a view amounts to.
    pub(super) fn of(view: &HostView) -> Load {
        let mut load = Load::default();
        view.items.iter().for_each(|(key, item)| load.add(*key, item));
        load
    }
}

/// What a broadcast would send to each host, in the same encoding: everything that any host needs
/// and every member of every group that a rule names, but of the ports only the host's own.
pub(super) fn broadcast(engine: &Engine, hosts: &[(String, HostId)]) -> BTreeMap<String, Load> {
    let views: Vec<(&String, HostView)> =
        hosts.iter().map(|(name, id)| (name, engine.host_view(*id))).collect();
    let mut common: BTreeMap<ItemKey, VersionedItem> = BTreeMap::new();
    for (_, view) in &views {
        let shared = view.items.iter().filter(|(key, _)| !matches!(key, ItemKey::Port(_)));
        common.extend(shared.map(|(key, item)| (*key, item.clone())));
    }
    // Members in domains that no host sees are in no view; a broadcast does not know that.
    for domain in engine.domains() {
        let groups = engine.list(Kind::Group, None, None).map(|group| group.uid);
        for key in groups.map(|group| ItemKey::Shard { group, domain: domain.vni }) {
            if let Some(item) = engine.item(key) {
                common.insert(key, item);
            }
        }
    }
    let mut shared = Load::default();
    common.iter().for_each(|(key, item)| shared.add(*key, item));
    views
        .into_iter()
        .map(|(name, view)| {
            let mut load = shared;
            let own = view.items.iter().filter(|(key, _)| matches!(key, ItemKey::Port(_)));
            own.for_each(|(key, item)| load.add(*key, item));
            (name.clone(), load)
        })
        .collect()
}
