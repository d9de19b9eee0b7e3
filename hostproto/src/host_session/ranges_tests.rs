//! The ranges that a host tells of what it holds.

use super::ranges::tell;
use super::tests::*;
use super::*;
use crate::codec::{encode_full, held_ranges_from_wire, key_to_wire};
use crate::limits::RANGES_KEYS_MAX;
use crate::ranges;
use crate::staging::apply_updates;
use crate::wire::welcome::Resume;
use prost::Message;
use spanwire_topology::view::{Item, ItemKey};
use std::net::{IpAddr, Ipv4Addr};

/// A host that follows, with shards of so many members.
fn mk_following(lengths: &[u32]) -> HostSession {
    let list = |count: u32| -> Vec<IpAddr> {
        (0..count).map(|n| Ipv4Addr::from(0x0a00_0000 + n * 1000).into()).collect()
    };
    let updates = (1..).zip(lengths).map(|(group, count)| {
        let list = list(*count);
        encode_full(shard(group), 5, &Item::Shard(list))
    });
    let mut view = HostView::default();
    apply_updates(&mut view, 10, true, &updates.collect::<Vec<_>>()).unwrap();
    let held = HeldView { cluster_id: HERE, view: Arc::new(view) };
    let mut session = HostSession::new(mk_identity(), Some(held));
    session.process_connected();
    session.process_message(welcome(HERE, Resume::Inventory, 11));
    session
}

fn request(keys: &[ItemKey]) -> wire::ControllerMessage {
    let keys = keys.iter().map(|key| key_to_wire(*key)).collect();
    message(FromController::Ranges(wire::RangesRequest { keys }))
}

#[test]
fn ranges_are_told_of_long_lists_that_are_held() {
    let mut session = mk_following(&[100, 64, 200]);
    let before = session.view().clone();
    let keys: Vec<ItemKey> = (1..=4).map(shard).collect();
    let told = session.process_message(request(&keys));
    assert_eq!(show(told.clone()), ["ranges 1:2 3:4"]);
    assert_eq!(*session.view(), before);
    let HostCommand::Send(told) = &told[0] else { panic!() };
    let Some(ToController::Ranges(told)) = &told.message else { panic!() };
    let wire::ItemRanges { key: _, bounds, digests } = &told.items[1];
    let ranges = held_ranges_from_wire(shard(3), bounds, digests).unwrap();
    assert_eq!(ranges::cut(&before.items[&shard(3)].item), Some(ranges));
    assert_eq!(show(session.process_message(request(&[]))), ["ranges "]);
}

#[test]
fn bad_requests_are_refused() {
    let check = |message: wire::ControllerMessage, expected: &str| {
        let said = show(mk_following(&[100, 100]).process_message(message)).concat();
        assert!(said.starts_with("disconnect Protocol") && said.contains(expected), "{said}");
    };
    check(request(&[shard(2), shard(1)]), "shard of group 1 in domain 1 stands too late, or twice");
    check(request(&[shard(1), shard(1)]), "shard of group 1 in domain 1 stands too late, or twice");
    let keys = vec![wire::ItemKey::default()];
    check(message(FromController::Ranges(wire::RangesRequest { keys })), "type of key is 0");
    let many: Vec<ItemKey> = (0..=RANGES_KEYS_MAX as u64).map(shard).collect();
    check(request(&many), "asks for the ranges of 8193 lists, more than 8192");
}

#[test]
fn ranges_come_in_messages_of_bounded_length_and_stop_in_time() {
    let session = mk_following(&[1000; 30]);
    let keys: Vec<ItemKey> = (0..30).map(shard).collect();
    let of_item = |item: &wire::ItemRanges| item.bounds.len() + item.digests.len();
    let bytes = |messages: &[wire::Ranges]| -> usize {
        messages.iter().flat_map(|told| &told.items).map(of_item).sum()
    };
    let one = tell(session.view(), &keys, usize::MAX, usize::MAX);
    assert_eq!((one.len(), one[0].items.len(), one[0].last), (1, 29, true));
    let each = bytes(&one) / 29;
    let several = tell(session.view(), &keys, 5 * each, usize::MAX);
    assert!(several.len() > 4, "{several:?}");
    for (n, told) in (1..).zip(&several) {
        assert_eq!(told.last, n == several.len());
        assert!(told.encoded_len() < 8 * each);
    }
    let together: Vec<wire::ItemRanges> =
        several.iter().flat_map(|told| &told.items).cloned().collect();
    assert_eq!(together, one[0].items);
    let part = tell(session.view(), &keys, usize::MAX, 10 * each);
    assert_eq!((part.len(), &part[0].items[..], part[0].last), (1, &together[..10], true));
    assert_eq!(tell(session.view(), &keys, 0, 0), [wire::Ranges { items: vec![], last: true }]);
}
