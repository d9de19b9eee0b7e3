//! Updates by ranges, shared by the hosts that tell the same.

use super::*;
use crate::codec::{Change, decode_update, held_ranges_to_wire};
use crate::limits::RANGES_CACHE_PER_ITEM_MAX;
use spanwire_topology::model::{Uid, Vni};
use spanwire_topology::view::Item;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const KEY: ItemKey = ItemKey::Shard { group: Uid(1), domain: Vni(1) };

/// 1000 addresses, all but those from `gone` on.
fn mk_item(version: Revision, gone: usize) -> VersionedItem {
    let addresses = (0..1000_u32).filter(|n| !(gone..gone + 5).contains(&(*n as usize)));
    let addresses = addresses.map(|n| IpAddr::V4(Ipv4Addr::from(0x0a14_0000 + n * 131)));
    VersionedItem { version, item: Arc::new(Item::Shard(addresses.collect())) }
}

fn told(held: &VersionedItem) -> ToldRanges {
    let ranges = held_ranges_to_wire(KEY, &ranges::cut(&held.item).unwrap());
    ToldRanges { bounds: ranges.bounds, digests: ranges.digests }
}

fn counts(log: &ChangeLog) -> (u64, u64) {
    (log.stats().ranges_encoded, log.stats().ranges_reused)
}

#[test]
fn hosts_that_were_away_equally_share_the_work() {
    let mut log = ChangeLog::default();
    let (held, now) = (mk_item(3, 100), mk_item(9, 200));
    let first = log.updates_by_ranges(KEY, 3, &told(&held), || Some(now.clone())).unwrap();
    assert_eq!((first.version, first.updates.len()), (9, 1));
    let update = decode_update(&first.updates[0]).unwrap();
    let Change::Ranges { base_version: 3, delta } = update.change else { panic!("{update:?}") };
    assert_eq!(ranges::apply(&held.item, &delta).as_ref(), Ok(&*now.item));
    let again = log.updates_by_ranges(KEY, 3, &told(&held), || panic!("asked again")).unwrap();
    assert_eq!(again.updates[0].as_ptr(), first.updates[0].as_ptr(), "not the same bytes");
    assert_eq!(counts(&log), (1, 1));
    // Another version held, or other ranges told of the same, is another update.
    let other = log.updates_by_ranges(KEY, 4, &told(&held), || Some(now.clone())).unwrap();
    assert_ne!(other, first);
    let other = told(&mk_item(3, 300));
    assert_ne!(log.updates_by_ranges(KEY, 3, &other, || Some(now.clone())).unwrap(), first);
    assert_eq!(counts(&log), (3, 1));
    // The item changes: nothing of this leads to it.
    let kind = ItemChangeKind::Replaced;
    log.record(12, &ItemChange { key: KEY, previous_version: 9, kind });
    let later = mk_item(12, 400);
    let update = log.updates_by_ranges(KEY, 3, &told(&held), || Some(later)).unwrap();
    assert_eq!((update.version, counts(&log)), (12, (4, 1)));
}

#[test]
fn what_most_ranges_differ_of_is_sent_whole() {
    let mut log = ChangeLog::default();
    let now = mk_item(9, 100);
    let elsewhere = (0..1000_u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x0a14_0001 + n * 131)));
    let item = Arc::new(Item::Shard(elsewhere.collect()));
    let held = VersionedItem { version: 3, item };
    let updates = log.updates_by_ranges(KEY, 3, &told(&held), || Some(now.clone())).unwrap();
    assert_eq!(updates.updates, [encode_full(KEY, 9, &now.item)]);
}

#[test]
fn ranges_that_are_of_no_use_give_nothing() {
    let mut log = ChangeLog::default();
    let (held, now) = (mk_item(3, 100), mk_item(9, 200));
    let good = told(&held);
    let mut get = |key, version, told: &ToldRanges, item: Option<VersionedItem>| {
        log.updates_by_ranges(key, version, told, || item)
    };
    assert_eq!(get(KEY, 3, &good, None), None, "no such item");
    assert_eq!(get(KEY, 9, &good, Some(now.clone())), None, "not older");
    assert_eq!(get(KEY, 10, &good, Some(now.clone())), None, "newer");
    let short = ToldRanges { digests: good.digests.slice(..4), ..good.clone() };
    assert_eq!(get(KEY, 3, &short, Some(now.clone())), None, "digests are missing");
    assert_eq!(get(ItemKey::Blocks(Uid(1)), 3, &good, Some(now)), None, "of another type");
}

#[test]
fn what_is_kept_is_bounded() {
    let (held, now) = (mk_item(3, 100), mk_item(9, 200));
    let updates = Updates { version: 9, updates: vec![encode_full(KEY, 9, &now.item)] };
    let mut cache = RangedCache::new(100_000);
    let insert = |cache: &mut RangedCache, key, version| {
        cache.insert(key, version, told(&held), updates.clone());
        cache.get(key, version, &told(&held)).is_some()
    };
    for version in 0..2 * RANGES_CACHE_PER_ITEM_MAX as u64 {
        assert!(insert(&mut cache, KEY, version));
    }
    assert!(cache.get(KEY, 0, &told(&held)).is_none(), "the oldest of an item goes first");
    for group in 0..1000 {
        assert!(insert(&mut cache, ItemKey::Shard { group: Uid(group), domain: Vni(7) }, 3));
        assert!(cache.bytes <= cache.bytes_max);
    }
    let kept = cache.entries.values().flatten().count();
    assert!(kept > 10, "{kept}");
    cache.forget(ItemKey::Shard { group: Uid(999), domain: Vni(7) });
    assert_eq!(cache.entries.values().flatten().count(), kept - 1);
    cache.clear();
    assert_eq!(cache.bytes, 0);
    // One that is larger than all there is room for.
    assert!(!insert(&mut RangedCache::new(100), KEY, 3));
}
