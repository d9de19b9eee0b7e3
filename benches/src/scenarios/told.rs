//! What all hosts are told of a network, and what they would be told by a broadcast.

use foldhash::fast::FixedState;
use spanwire_hostproto::codec::encode_full;
use spanwire_topology::Engine;
use spanwire_topology::engine::HostId;
use spanwire_topology::model::Vni;
use spanwire_topology::view::{Item, ItemKey, Locator};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// The domain that a broadcast says everything lies in: it knows of no others.
const EVERYWHERE: Vni = Vni(1);

/// What all hosts are told, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Told {
    pub(super) members: usize,
    pub(super) rules: usize,
    pub(super) bytes: usize,
}

impl Told {
    fn add(&mut self, key: ItemKey, version: u64, item: &Item) {
        self.bytes += encode_full(key, version, item).len();
        match item {
            Item::Shard(addresses) => self.members += addresses.len(),
            Item::Policy(policy) => self.rules += policy.rules.len(),
            Item::Domain(_) | Item::Port(_) | Item::Blocks(_) | Item::Locators(_) => {}
        }
    }

    fn plus(self, other: Told) -> Told {
        Told {
            members: self.members + other.members,
            rules: self.rules + other.rules,
            bytes: self.bytes + other.bytes,
        }
    }

    fn times(self, count: usize) -> Told {
        Told { members: self.members * count, rules: self.rules * count, bytes: self.bytes * count }
    }
}

/// Every host's view, each item encoded once.
pub(super) fn tell(engine: &Engine, hosts: usize) -> Told {
    let mut encoded: HashMap<ItemKey, Told, FixedState> = HashMap::default();
    let mut told = Told::default();
    for host in 0..hosts as u32 {
        for (key, version) in engine.host_items(HostId(host)) {
            let cost = *encoded.entry(key).or_insert_with(|| {
                let mut cost = Told::default();
                if let Some(found) = engine.item(key) {
                    cost.add(key, version, &found.item);
                }
                cost
            });
            told = told.plus(cost);
        }
    }
    told
}

/// The least that a broadcast can do: every host gets every group whole, every policy, every
/// locator in one list, and of the ports its own alone. It has no domains.
pub(super) fn broadcast(engine: &Engine, hosts: usize) -> Told {
    let mut groups: BTreeMap<_, (u64, Vec<IpAddr>)> = BTreeMap::new();
    let (mut locators, mut located) = (Vec::<Locator>::new(), 0);
    let (mut common, mut own) = (Told::default(), Told::default());
    for (key, version) in engine.export().versions {
        let Some(found) = engine.item(key) else { continue };
        match (key, &*found.item) {
            (ItemKey::Shard { group, .. }, Item::Shard(addresses)) => {
                let whole = groups.entry(group).or_default();
                whole.0 = whole.0.max(version);
                whole.1.extend(addresses);
            }
            (_, Item::Locators(list)) => {
                locators.extend(list);
                located = located.max(version);
            }
            (_, Item::Domain(_)) => {}
            (_, item @ Item::Port(_)) => own.add(key, version, item),
            (_, item) => common.add(key, version, item),
        }
    }
    for (group, (version, mut members)) in groups {
        members.sort_unstable();
        members.dedup();
        let key = ItemKey::Shard { group, domain: EVERYWHERE };
        common.add(key, version, &Item::Shard(members));
    }
    // Of two for one address, of different domains, one: the bound is none the higher for that.
    let locators = locators.into_iter().collect();
    common.add(ItemKey::Locators(EVERYWHERE), located, &Item::Locators(locators));
    common.times(hosts).plus(own)
}
