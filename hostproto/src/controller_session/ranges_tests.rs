//! Answers to the question for ranges. What becomes of good ones, `tests/ranges.rs` shows.

use super::tests::{
    HERE, NOW, Source, ack, complaint, inventory, message, mk_hello, mk_source, sent, shard,
};
use super::*;
use crate::codec::{held_ranges_to_wire, key_to_wire};
use crate::limits::RANGES_BYTES_MAX;
use crate::ranges::{Bounds, HeldRanges};
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr};

/// A session that has asked for the ranges of shards 1 and 2.
fn mk_asking() -> (ControllerSession, Source) {
    let mut source = Source { long: true, ..mk_source() };
    let mut session = ControllerSession::new(mk_hello(Some(HERE), 9, 0), NOW);
    sent(&mut session, &mut source);
    // Shard 2 is 1 version behind, which the source has a delta for: but it says otherwise.
    let held = [(shard(1), 3), (shard(2), 4), (shard(3), 5)];
    session.process_message(inventory(&held, true), NOW);
    assert_eq!(sent(&mut session, &mut source), ["ranges of 1 2"]);
    assert_eq!(session.phase(), SessionPhase::AwaitingRanges);
    (session, source)
}

fn item(group: u64) -> wire::ItemRanges {
    let bounds = Bounds::Addresses(vec![IpAddr::from([10, 0, 0, 9])]);
    held_ranges_to_wire(shard(group), &HeldRanges { bounds, digests: vec![1, 2] })
}

fn ranges(items: Vec<wire::ItemRanges>, last: bool) -> wire::HostMessage {
    message(FromHost::Ranges(wire::Ranges { items, last }))
}

#[test]
fn answers_come_in_one_message_or_in_several() {
    let answers: [&[wire::HostMessage]; 5] = [
        &[ranges(vec![item(1), item(2)], true)],
        &[ranges(vec![item(1)], false), ranges(vec![item(2)], true)],
        &[ranges(vec![item(1)], false), ranges(vec![], false), ranges(vec![item(2)], true)],
        &[ranges(vec![item(2)], true)],
        &[ranges(vec![], true)],
    ];
    for answer in answers {
        let (mut session, mut source) = mk_asking();
        for message in answer {
            assert_eq!(sent(&mut session, &mut source), [""; 0]);
            assert_eq!(session.process_message(message.clone(), NOW), SessionEvent::None);
        }
        // This source has no use for them: the lists go whole, and nothing is asked again.
        let batch = sent(&mut session, &mut source);
        assert_eq!(batch.len(), 1, "{batch:?}");
        assert!(batch[0].starts_with("9-10: 1@5"), "{batch:?}");
        session.process_message(ack(10), NOW);
        assert_eq!(session.phase(), SessionPhase::Idle);
    }
}

#[test]
fn answers_that_break_the_protocol_are_refused() {
    let with = |change: fn(&mut wire::ItemRanges)| {
        let mut item = item(1);
        change(&mut item);
        vec![item]
    };
    let cases: [(Vec<wire::ItemRanges>, &str); 9] = [
        (vec![item(2), item(1)], "the ranges are not sorted: shard of group 1"),
        (vec![item(1), item(1)], "the ranges are not sorted: shard of group 1"),
        (vec![item(3)], "ranges of shard of group 3 in domain 1, which were not asked for"),
        (with(|item| item.key = None), "bad ranges: key is missing"),
        (
            with(|item| {
                item.key = Some(key_to_wire(ItemKey::Locators(spanwire_topology::model::Vni(1))))
            }),
            "which were not asked for",
        ),
        (
            with(|item| item.bounds = Bytes::from_static(&[0])),
            "bad ranges: bounds of ranges: an empty list",
        ),
        (
            with(|item| item.digests = item.digests.slice(..4)),
            "bad ranges: digests of ranges is 4 bytes for 1 bounds",
        ),
        (
            with(|item| item.digests = item.digests.slice(..7)),
            "bad ranges: digests of ranges is 7 bytes for 1 bounds",
        ),
        (
            with(|item| item.digests = vec![0; 4 << 20].into()),
            "bad ranges: ranges of a list: 1048576 is more than",
        ),
    ];
    for (items, expected) in cases {
        let (mut session, mut source) = mk_asking();
        session.process_message(ranges(items, true), NOW);
        let said = sent(&mut session, &mut source).concat();
        assert!(said.starts_with("refused Protocol: ") && said.contains(expected), "{said}");
    }
}

#[test]
fn answers_are_bounded_in_all() {
    // So many shards, with the most ranges that a list may have.
    let count = 8;
    let bounds = (1..crate::limits::RANGES_MAX as u32).map(|n| Ipv4Addr::from(n * 131).into());
    let bounds = Bounds::Addresses(bounds.collect());
    let held = HeldRanges { bounds, digests: vec![0; crate::limits::RANGES_MAX] };
    let told = held_ranges_to_wire(shard(0), &held);
    assert!(count * (told.bounds.len() + told.digests.len()) > RANGES_BYTES_MAX);
    let groups = 1..=count as u64;
    let items = groups.clone().map(|group| (shard(group), 5)).collect();
    let mut source = Source { long: true, items, ..mk_source() };
    let mut session = ControllerSession::new(mk_hello(Some(HERE), 9, 0), NOW);
    sent(&mut session, &mut source);
    let held: Vec<(ItemKey, Revision)> = groups.clone().map(|group| (shard(group), 3)).collect();
    session.process_message(inventory(&held, true), NOW);
    sent(&mut session, &mut source);
    for group in groups {
        let item = wire::ItemRanges { key: Some(key_to_wire(shard(group))), ..told.clone() };
        session.process_message(ranges(vec![item], false), NOW);
    }
    assert_eq!(
        sent(&mut session, &mut source),
        ["refused Protocol: ranges of more than 1048576 bytes"]
    );
}

/// Every other message, and every change, while the host is asked.
#[test]
fn only_ranges_and_complaints_lead_on() {
    let (mut session, mut source) = mk_asking();
    session.process_host_change(&[shard(7)], &[shard(1)]);
    session.process_item_changed(shard(1));
    assert_eq!(session.status().pending, 0, "the batch is cut from what is then");
    assert!(!session.has_message(99));
    assert_eq!(session.realized_revision(10), 0);
    session.process_message(complaint(9), NOW);
    assert_eq!(sent(&mut session, &mut source), ["welcome RESUME_INVENTORY 10"]);
    session.process_message(inventory(&[(shard(1), 3)], true), NOW);
    assert_eq!(sent(&mut session, &mut source), ["ranges of 1"], "no ranges were sent yet");
    for (message, expected) in [
        (ack(10), "an acknowledgement of 10 came while the session was awaiting-ranges"),
        (inventory(&[], true), "an inventory came while the session was awaiting-ranges"),
    ] {
        let (mut session, mut source) = mk_asking();
        session.process_message(message, NOW);
        assert_eq!(sent(&mut session, &mut source), [format!("refused Protocol: {expected}")]);
    }
}
