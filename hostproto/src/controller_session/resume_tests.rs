//! Resuming, from the controller's end.

use super::tests::{
    HERE, NOW, ack, complaint, inventory, message, mk_hello, mk_session, mk_source, sent, shard,
};
use super::*;
use crate::digest::digest;
use crate::limits::{CATCH_UP_WAIT, INVENTORY_ENTRIES_MAX};

#[test]
fn a_host_that_has_everything_is_sent_nothing() {
    let mut source = mk_source();
    let hello = mk_hello(Some(HERE), 7, digest(source.host_items()));
    let mut session = ControllerSession::new(hello, NOW);
    assert_eq!(sent(&mut session, &mut source), ["welcome RESUME_CURRENT 10"]);
    assert!(session.status().sent_bytes < 50);
    session.process_message(ack(10), NOW);
    assert_eq!(session.realized_revision(10), 10);
    source.revision = 11;
    source.items.insert(shard(1), 11);
    session.process_item_changed(shard(1));
    assert_eq!(sent(&mut session, &mut source), ["10-11: 1@10>11"]);
}

#[test]
fn an_inventory_is_answered_with_what_differs() {
    let mut source = mk_source();
    let mut session = ControllerSession::new(mk_hello(Some(HERE), 9, 0), NOW);
    assert_eq!(sent(&mut session, &mut source), ["welcome RESUME_INVENTORY 10"]);
    // 0 is gone, 1 is older by one version, 2 is older by more, 3 is right, 4 and 5 are missing.
    source.items.extend([(shard(4), 5), (shard(5), 6)]);
    session.process_message(inventory(&[(shard(0), 3), (shard(1), 4)], false), NOW);
    // A change while the inventory comes in is covered: the difference is cut from what is then.
    source.revision = 11;
    session.process_item_changed(shard(5));
    session.process_message(inventory(&[(shard(2), 3), (shard(3), 5)], true), NOW);
    assert_eq!(sent(&mut session, &mut source), ["9-11: -0 1@4>5 2@5 4@5 5@6"]);
}

#[test]
fn a_bad_inventory_is_refused() {
    let cases: [(Vec<(ItemKey, Revision)>, &str); 2] = [
        (
            vec![(shard(2), 1), (shard(1), 1)],
            "refused Protocol: the inventory is not sorted: shard of group 1 in domain 1 stands \
             too late, or twice",
        ),
        (
            vec![(shard(1), 1), (shard(1), 1)],
            "refused Protocol: the inventory is not sorted: shard of group 1 in domain 1 stands \
             too late, or twice",
        ),
    ];
    for (entries, expected) in cases {
        let (mut session, mut source) = mk_session("awaiting-inventory");
        session.process_message(inventory(&entries[..1], false), NOW);
        session.process_message(inventory(&entries[1..], true), NOW);
        assert_eq!(sent(&mut session, &mut source), [expected]);
    }
    let (mut session, mut source) = mk_session("awaiting-inventory");
    let entry = wire::InventoryEntry { key: None, version: 1 };
    let bad = wire::Inventory { entries: vec![entry], last: true };
    session.process_message(message(FromHost::Inventory(bad)), NOW);
    assert_eq!(
        sent(&mut session, &mut source),
        ["refused Protocol: bad inventory: key is missing"]
    );
    let (mut session, mut source) = mk_session("awaiting-inventory");
    let chunk = INVENTORY_ENTRIES_MAX as u64 / 4 + 1;
    for n in 0..4 {
        let entries: Vec<_> = (n * chunk..(n + 1) * chunk).map(|uid| (shard(uid), 1)).collect();
        session.process_message(inventory(&entries, false), NOW);
    }
    assert_eq!(
        sent(&mut session, &mut source),
        ["refused Protocol: an inventory of more than 2097152 items"]
    );
}

#[test]
fn complaints_are_answered_more_and_more_thoroughly() {
    let (mut session, mut source) = mk_session("awaiting-ack");
    let event = session.process_message(complaint(10), NOW);
    assert_eq!(event, SessionEvent::Complained { detail: "it does not fit".to_owned() });
    assert_eq!(sent(&mut session, &mut source), ["welcome RESUME_INVENTORY 11"]);
    session.process_message(inventory(&[(shard(1), 10), (shard(2), 5), (shard(3), 5)], true), NOW);
    // By version a delta would do, but a delta may be what did not fit.
    assert_eq!(sent(&mut session, &mut source), ["10-11: 1@11"]);
    session.process_message(complaint(10), NOW);
    let whole = ["welcome RESUME_SNAPSHOT 11", "0-11 all: 1@11 2@5 3@5"];
    assert_eq!(sent(&mut session, &mut source), whole);
    session.process_message(complaint(10), NOW);
    assert_eq!(sent(&mut session, &mut source), whole);
    session.process_message(complaint(10), NOW);
    assert_eq!(
        sent(&mut session, &mut source),
        ["refused Protocol: 4 complaints in a row, the last: it does not fit"]
    );
    assert_eq!(session.status().complaints, 4);
}

#[test]
fn an_acknowledgement_ends_the_row_of_complaints() {
    let (mut session, mut source) = mk_session("awaiting-ack");
    for _ in 0..10 {
        session.process_message(complaint(10), NOW);
        assert_eq!(sent(&mut session, &mut source), ["welcome RESUME_INVENTORY 11"]);
        session.process_message(inventory(&[(shard(1), 11)], true), NOW);
        sent(&mut session, &mut source);
        session.process_message(ack(11), NOW);
        assert_eq!(session.phase(), SessionPhase::Idle);
    }
}

#[test]
fn a_replica_that_is_behind_waits_and_then_gives_up() {
    let (mut session, mut source) = mk_session("behind");
    assert!(!session.has_message(10));
    assert_eq!(session.next_deadline(), Some(NOW + CATCH_UP_WAIT));
    session.process_timer(NOW);
    assert!(!session.has_message(10));
    // It catches up.
    source.revision = 11;
    assert_eq!(sent(&mut session, &mut source), ["welcome RESUME_CURRENT 11"]);
    assert_eq!(session.next_deadline(), None);
    session.process_timer(NOW + 2 * CATCH_UP_WAIT);
    assert!(!session.has_message(11));
    // It does not.
    let (mut session, mut source) = mk_session("behind");
    session.process_timer(NOW + CATCH_UP_WAIT);
    assert_eq!(
        sent(&mut session, &mut source),
        ["refused Behind: this replica has not caught up with revision 11, which the host holds: \
          connect to another"]
    );
}
