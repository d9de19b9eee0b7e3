use super::*;
use crate::codec::{Change, decode_update};
use crate::staging::apply_updates;
use proptest::prelude::*;
use spanwire_topology::model::{Uid, Vni};
use spanwire_topology::view::{HostView, Item, ItemDelta};
use std::net::IpAddr;
use std::sync::Arc;

fn shard(group: u64) -> ItemKey {
    ItemKey::Shard { group: Uid(group), domain: Vni(1) }
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 + number).into())
}

fn mk_delta(key: ItemKey, previous_version: Revision, added: u32) -> ItemChange {
    let delta = ItemDelta::Shard { removed: vec![], added: vec![address(added)] };
    ItemChange { key, previous_version, kind: ItemChangeKind::Delta(delta) }
}

fn mk_whole(key: ItemKey, previous_version: Revision, kind: ItemChangeKind) -> ItemChange {
    ItemChange { key, previous_version, kind }
}

/// The versions that updates lead over.
fn versions(log: &ChangeLog, key: ItemKey, held: Revision) -> Option<Vec<(Revision, Revision)>> {
    let updates = log.updates_since(key, held)?;
    let versions: Vec<_> = updates
        .updates
        .iter()
        .map(|update| match decode_update(update).unwrap() {
            crate::ItemUpdate { change: Change::Delta { base_version, .. }, version, .. } => {
                (base_version, version)
            }
            other => panic!("{other:?} in a log of deltas"),
        })
        .collect();
    assert!(versions.last().is_none_or(|(_, last)| *last == updates.version));
    Some(versions)
}

#[test]
fn chains_reach_back_to_their_first_base() {
    let mut log = ChangeLog::default();
    log.record(10, &mk_whole(shard(1), 0, ItemChangeKind::Created));
    assert_eq!(versions(&log, shard(1), 10), None);
    log.record(20, &mk_delta(shard(1), 10, 1));
    log.record(25, &mk_delta(shard(2), 3, 1));
    log.record(30, &mk_delta(shard(1), 20, 2));
    let cases = [
        (9, None),
        (10, Some(vec![(10, 20), (20, 30)])),
        (15, Some(vec![(10, 20), (20, 30)])),
        (20, Some(vec![(20, 30)])),
        (29, Some(vec![(20, 30)])),
        (30, Some(vec![])),
        (99, Some(vec![])),
    ];
    for (held, expected) in cases {
        assert_eq!(versions(&log, shard(1), held), expected, "from {held}");
    }
    log.record(40, &mk_whole(shard(1), 30, ItemChangeKind::Replaced));
    assert_eq!(versions(&log, shard(1), 30), None);
    log.record(50, &mk_delta(shard(1), 40, 3));
    assert_eq!(versions(&log, shard(1), 30), None);
    assert_eq!(versions(&log, shard(1), 45), Some(vec![(40, 50)]));
    log.record(60, &mk_whole(shard(1), 50, ItemChangeKind::Removed));
    log.record(70, &mk_whole(shard(1), 0, ItemChangeKind::Created));
    log.record(80, &mk_delta(shard(1), 70, 4));
    assert_eq!(versions(&log, shard(1), 50), None);
    assert_eq!(versions(&log, shard(2), 3), Some(vec![(3, 25)]));
}

#[test]
fn a_change_that_was_not_recorded_ends_the_chain() {
    let mut log = ChangeLog::default();
    log.record(20, &mk_delta(shard(1), 10, 1));
    log.record(40, &mk_delta(shard(1), 30, 2));
    assert_eq!(versions(&log, shard(1), 20), None);
    assert_eq!(versions(&log, shard(1), 30), Some(vec![(30, 40)]));
    assert_eq!(log.stats().deltas, 1);
}

#[test]
fn the_oldest_deltas_go_first() {
    let one = encode_delta(
        shard(1),
        1,
        2,
        &ItemDelta::Shard { removed: vec![], added: vec![address(1)] },
    );
    let mut log = ChangeLog::new(4 * one.len(), 0);
    for revision in 2..=7 {
        log.record(revision, &mk_delta(shard(revision % 2), revision.saturating_sub(2), 1));
    }
    // 2 and 3 are gone; 4 to 7 are there.
    assert_eq!(versions(&log, shard(0), 1), None);
    assert_eq!(versions(&log, shard(0), 2), Some(vec![(2, 4), (4, 6)]));
    assert_eq!(versions(&log, shard(1), 3), Some(vec![(3, 5), (5, 7)]));
    let stats = log.stats();
    assert_eq!((stats.deltas_encoded, stats.deltas_evicted, stats.deltas), (6, 2, 4));
    assert!(stats.delta_bytes <= 4 * one.len() as u64);
}

#[test]
fn one_item_keeps_so_many_deltas_and_no_more() {
    let mut log = ChangeLog::default();
    let last = LOG_DELTAS_PER_ITEM_MAX as u64 + 10;
    for revision in 2..=last {
        log.record(revision, &mk_delta(shard(1), revision - 1, revision as u32));
    }
    assert_eq!(log.stats().deltas as usize, LOG_DELTAS_PER_ITEM_MAX);
    assert_eq!(versions(&log, shard(1), 2), None);
    assert_eq!(versions(&log, shard(1), last - 1), Some(vec![(last - 1, last)]));
}

#[test]
fn the_queue_of_ages_does_not_outgrow_the_deltas() {
    let mut log = ChangeLog::default();
    for round in 0..5000 {
        log.record(3 * round + 2, &mk_delta(shard(1), 3 * round + 1, 1));
        log.record(3 * round + 3, &mk_whole(shard(1), 3 * round + 2, ItemChangeKind::Replaced));
    }
    assert_eq!(log.stats().deltas, 0);
    assert!(log.order.len() <= 1025, "{}", log.order.len());
}

#[test]
fn full_items_are_encoded_once() {
    let item = |version| {
        let item = Arc::new(Item::Shard(vec![address(1)]));
        Some(VersionedItem { version, item })
    };
    let mut log = ChangeLog::default();
    let first = log.full(shard(1), || item(5)).unwrap();
    for _ in 0..3 {
        let again = log.full(shard(1), || panic!("it is in the cache")).unwrap();
        assert_eq!(again, first);
        assert_eq!(again.1.as_ptr(), first.1.as_ptr(), "the bytes are shared");
    }
    assert_eq!((log.stats().fulls_encoded, log.stats().fulls_reused), (1, 3));
    log.record(6, &mk_delta(shard(1), 5, 9));
    assert_eq!(log.full(shard(1), || item(6)).unwrap().0, 6);
    assert_eq!(log.stats().fulls_encoded, 2);
    assert_eq!(log.full(shard(2), || None), None);
}

#[test]
fn what_only_one_host_has_is_not_kept() {
    // What the item says does not matter here, only what it is of.
    let item = || Some(VersionedItem { version: 5, item: Arc::new(Item::Shard(Vec::new())) });
    let mut log = ChangeLog::default();
    assert!(log.full(ItemKey::Port(Uid(1)), item).is_some());
    assert!(log.full(ItemKey::Policy(Uid(1)), item).is_some());
    assert_eq!((log.stats().fulls_encoded, log.stats().fulls), (2, 1));
}

#[test]
fn the_least_used_full_items_go_first() {
    let item = || {
        let item = Arc::new(Item::Shard(vec![address(1)]));
        Some(VersionedItem { version: 1, item })
    };
    let one = log_entry_len() + cache::ENTRY_BYTES;
    let mut log = ChangeLog::new(0, 2 * one);
    log.full(shard(1), item);
    log.full(shard(2), item);
    log.full(shard(1), item);
    log.full(shard(3), item);
    assert!(log.cache.len_of(shard(1)).is_some());
    assert!(log.cache.len_of(shard(2)).is_none());
    assert!(log.cache.len_of(shard(3)).is_some());
    let stats = log.stats();
    assert_eq!((stats.fulls, stats.fulls_evicted, stats.full_bytes), (2, 1, 2 * one as u64));
    let mut none = ChangeLog::new(0, 1);
    assert!(none.full(shard(1), item).is_some());
    assert_eq!(none.stats().fulls, 0);
}

#[test]
fn the_whole_is_sent_where_it_is_smaller_than_the_differences() {
    let mut log = ChangeLog::default();
    for revision in 2..=300 {
        log.record(revision, &mk_delta(shard(1), revision - 1, revision as u32));
    }
    let item = || {
        let item = Arc::new(Item::Shard((2..=300).map(address).collect()));
        Some(VersionedItem { version: 300, item })
    };
    let few = log.updates_or_full(shard(1), 295, || panic!("five are not compared")).unwrap();
    assert_eq!(few.updates.len(), 5);
    let many = log.updates_or_full(shard(1), 1, item).unwrap();
    assert_eq!((many.version, many.updates.len()), (300, 1));
    let held = log.updates_or_full(shard(1), 300, item).unwrap();
    assert_eq!(held.updates, Vec::<Bytes>::new());
    let unknown = log.updates_or_full(shard(2), 300, item).unwrap();
    assert_eq!(unknown.updates, Vec::<Bytes>::new(), "nothing changed since");
    let unknown = log.updates_or_full(shard(2), 299, item).unwrap();
    assert_eq!(unknown.updates.len(), 1);
    assert_eq!(log.updates_or_full(shard(3), 1, || None), None);
}

fn log_entry_len() -> usize {
    encode_full(shard(1), 1, &Item::Shard(vec![address(1)])).len()
}

proptest! {
    /// Whatever the log hands out leads from what was current at a revision to what is current.
    #[test]
    fn updates_lead_to_the_present(
        steps in prop::collection::vec((0u64..3, 0u32..8, 0u8..10), 1..60),
        room in 0usize..600,
    ) {
        let mut log = ChangeLog::new(room, 0);
        let mut now = HostView::default();
        let mut past = vec![now.clone()];
        for (n, (group, number, kind)) in steps.into_iter().enumerate() {
            let (key, revision) = (shard(group), n as u64 + 1);
            let change = mk_step(&mut now, key, revision, number, kind);
            log.record(revision, &change);
            now.revision = revision;
            past.push(now.clone());
            prop_assert!(log.stats().delta_bytes <= room as u64);
        }
        for then in past {
            for group in 0..3 {
                let key = shard(group);
                let Some(updates) = log.updates_since(key, then.revision) else { continue };
                if !then.items.contains_key(&key) {
                    // A host that did not have it gets it whole; the log is not asked.
                    continue;
                }
                let mut view = then.clone();
                apply_updates(&mut view, now.revision, false, &updates.updates).unwrap();
                prop_assert_eq!(view.items.get(&key), now.items.get(&key));
            }
        }
    }
}

/// One change of a shard, in the state and as the engine would report it.
fn mk_step(
    now: &mut HostView,
    key: ItemKey,
    revision: Revision,
    number: u32,
    kind: u8,
) -> ItemChange {
    let before = now.items.get(&key).cloned();
    let previous_version = before.as_ref().map_or(0, |item| item.version);
    let mut addresses = match before.as_ref().map(|item| &*item.item) {
        Some(Item::Shard(addresses)) => addresses.clone(),
        _ => Vec::new(),
    };
    let address = address(number);
    let at = addresses.binary_search(&address);
    let kind = match (before.is_some(), kind) {
        (false, _) => ItemChangeKind::Created,
        (true, 0) => ItemChangeKind::Removed,
        (true, 1) => ItemChangeKind::Replaced,
        (true, _) => ItemChangeKind::Delta(match at {
            Ok(_) => ItemDelta::Shard { removed: vec![address], added: vec![] },
            Err(_) => ItemDelta::Shard { removed: vec![], added: vec![address] },
        }),
    };
    match at {
        Ok(at) => drop(addresses.remove(at)),
        Err(at) => addresses.insert(at, address),
    }
    if kind == ItemChangeKind::Removed {
        now.items.remove(&key);
    } else {
        let item = Arc::new(Item::Shard(addresses));
        now.items.insert(key, VersionedItem { version: revision, item });
    }
    ItemChange { key, previous_version, kind }
}
