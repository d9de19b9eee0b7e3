//! Every pair of state and message, and the stories that lead through several.

use super::*;
use crate::PROTOCOL_VERSION;
use crate::codec::{encode_delta, encode_full, encode_removed, key_to_wire};
use crate::staging::apply_updates;
use crate::wire::welcome::Resume;
use bytes::Bytes;
use spanwire_topology::model::{Uid, Vni};
use spanwire_topology::view::{Item, ItemDelta, ItemKey};
use std::net::IpAddr;

pub(super) const HERE: ClusterId = ClusterId([1; 16]);
pub(super) const THERE: ClusterId = ClusterId([2; 16]);

pub(super) fn shard(group: u64) -> ItemKey {
    ItemKey::Shard { group: Uid(group), domain: Vni(1) }
}

pub(super) fn list(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(|last| format!("10.0.0.{last}").parse().unwrap()).collect()
}

pub(super) fn full(group: u64, version: Revision, addresses: &str) -> Bytes {
    encode_full(shard(group), version, &Item::Shard(list(addresses)))
}

pub(super) fn delta(group: u64, base: Revision, version: Revision, added: &str) -> Bytes {
    let delta = ItemDelta::Shard { removed: vec![], added: list(added) };
    encode_delta(shard(group), base, version, &delta)
}

/// Revision 10 with shards 1 and 2 at version 5.
pub(super) fn mk_held() -> HeldView {
    let mut view = HostView::default();
    apply_updates(&mut view, 10, true, &[full(1, 5, "1"), full(2, 5, "2")]).unwrap();
    HeldView { cluster_id: HERE, view: Arc::new(view) }
}

pub(super) fn mk_identity() -> HostIdentity {
    HostIdentity {
        host: "host-01".into(),
        instance: 7,
        starts: 0,
        agent_version: "0.1.0".to_owned(),
        datapath: "record".to_owned(),
    }
}

pub(super) fn welcome(
    cluster_id: ClusterId,
    resume: Resume,
    revision: Revision,
) -> wire::ControllerMessage {
    message(FromController::Welcome(wire::Welcome {
        protocol_version: PROTOCOL_VERSION,
        cluster_id: cluster_id.0.to_vec().into(),
        resume: resume.into(),
        revision,
    }))
}

pub(super) fn message(message: FromController) -> wire::ControllerMessage {
    wire::ControllerMessage { message: Some(message) }
}

/// A part `n` of a batch, and whether it is the last.
pub(super) fn part(
    (from_revision, to_revision): (Revision, Revision),
    (sequence, last): (u32, bool),
    updates: &[Bytes],
) -> wire::BatchPart {
    let (replace, updates) = (false, updates.to_vec());
    wire::BatchPart { from_revision, to_revision, sequence, last, replace, updates, repair: false }
}

pub(super) fn batch(from: Revision, to: Revision, updates: &[Bytes]) -> wire::ControllerMessage {
    message(FromController::Part(part((from, to), (0, true), updates)))
}

pub(super) fn replacement(to: Revision, updates: &[Bytes]) -> wire::ControllerMessage {
    let part = part((0, to), (0, true), updates);
    message(FromController::Part(wire::BatchPart { replace: true, ..part }))
}

/// Commands, in short.
pub(super) fn show(commands: Vec<HostCommand>) -> Vec<String> {
    let show = |command| match command {
        HostCommand::Send(message) => match message.message.unwrap() {
            ToController::Hello(hello) => format!("hello {}", hello.revision),
            ToController::Inventory(inventory) => {
                let more = if inventory.last { "" } else { " ..." };
                format!("inventory of {}{more}", inventory.entries.len())
            }
            ToController::Ack(ack) => format!("ack {} -{}", ack.revision, ack.rejections.len()),
            ToController::Complaint(complaint) => {
                format!("complaint at {}: {}", complaint.revision, complaint.detail)
            }
            ToController::Check(check) => {
                let entries = check.entries.len();
                let more = if check.last { "" } else { " ..." };
                format!("checked {}: {} {entries}{more}", check.revision, check.matches)
            }
            ToController::Ranges(ranges) => {
                let items = ranges.items.iter();
                let count = |item: &wire::ItemRanges| item.digests.len() / 4;
                let items: Vec<String> = items
                    .map(|item| format!("{}:{}", item.key.map_or(0, |key| key.uid), count(item)))
                    .collect();
                let more = if ranges.last { "" } else { " ..." };
                format!("ranges {}{more}", items.join(" "))
            }
            ToController::Drift(drift) => format!("drift {}", drift.repaired_total),
        },
        HostCommand::Apply(change) => {
            assert_eq!(change.view.revision, change.to);
            let changed: Vec<String> = change.changed.iter().map(ToString::to_string).collect();
            let replace = if change.replace { " all" } else { "" };
            format!("apply {}-{}{replace}: {}", change.from, change.to, changed.join(", "))
        }
        HostCommand::Disconnect { reason, detail } => format!("disconnect {reason:?}: {detail}"),
    };
    commands.into_iter().map(show).collect()
}

/// A session that holds [`mk_held`] (or a later one), in each of the states.
pub(super) fn mk_session(state: &str) -> HostSession {
    let mut session = HostSession::new(mk_identity(), Some(mk_held()));
    if state == "disconnected" {
        return session;
    }
    session.process_connected();
    let current = welcome(HERE, Resume::Current, 10);
    match state {
        "awaiting-welcome" => {}
        "following" => drop(session.process_message(current)),
        "staging" => {
            session.process_message(current);
            let first = part((10, 11), (0, false), &[delta(1, 5, 11, "3")]);
            assert_eq!(session.process_message(message(FromController::Part(first))), []);
        }
        "applying" | "hello-due" => {
            session.process_message(current);
            session.process_message(batch(10, 11, &[]));
            if state == "hello-due" {
                session.process_disconnected();
                assert_eq!(session.process_connected(), []);
            }
        }
        "complained" => {
            session.process_message(current);
            session.process_message(batch(9, 11, &[]));
        }
        "refused" => {
            let refused = wire::Refused { reason: 5, detail: "the controller is stopped".into() };
            session.process_message(message(FromController::Refused(refused)));
        }
        other => panic!("no state {other}"),
    }
    session
}

const STATES: [&str; 8] = [
    "disconnected",
    "awaiting-welcome",
    "following",
    "staging",
    "applying",
    "hello-due",
    "complained",
    "refused",
];

#[test]
fn every_pair_of_state_and_message() {
    let early = "disconnect Protocol: the controller sent a batch before its welcome";
    let eager = "disconnect Protocol: the controller sent a batch before the last one was \
                 acknowledged";
    let unasked = "disconnect Protocol: the controller sent a welcome that nothing asked for";
    let staging = "complaint at 10: part 0 of a batch from 10 to 11 came where part 1 of one from \
                   10 to 11 was due";
    for state in STATES {
        let deaf = matches!(state, "disconnected" | "refused");
        let check = |what: &str, message: wire::ControllerMessage, expected: &[&str]| {
            let mut session = mk_session(state);
            let before = session.view().clone();
            let found = show(session.process_message(message));
            let expected = if deaf { &[] } else { expected };
            assert_eq!(found, expected, "{what} in state {state}");
            if !found.iter().any(|command| command.starts_with("apply")) {
                assert_eq!(*session.view(), before, "{what} in state {state} moved the view");
            }
        };
        let asks = matches!(state, "awaiting-welcome" | "complained");
        let after_welcome = |expected| if asks { expected } else { unasked };
        check("current", welcome(HERE, Resume::Current, 10), &[after_welcome("ack 10 -0")]);
        check("later", welcome(HERE, Resume::Current, 12), &[after_welcome("apply 10-12: ")]);
        check(
            "inventory",
            welcome(HERE, Resume::Inventory, 12),
            &[after_welcome("inventory of 2")],
        );
        let snapshot: &[&str] = if asks { &[] } else { &[unasked] };
        check("snapshot", welcome(THERE, Resume::Snapshot, 3), snapshot);
        let after_batch: &[&str] = match state {
            "awaiting-welcome" | "hello-due" => &[early],
            "following" => &["apply 10-11: shard of group 1 in domain 1"],
            "staging" => &[staging],
            "applying" => &[eager],
            _ => &[],
        };
        check("batch", batch(10, 11, &[delta(1, 5, 11, "3")]), after_batch);
        let after_request: &[&str] = match state {
            // Shards of one member have one range.
            "following" => &["ranges "],
            "complained" => &[],
            _ => {
                &["disconnect Protocol: the controller asked for ranges before the last batch was \
                    acknowledged"]
            }
        };
        let request = wire::RangesRequest { keys: vec![key_to_wire(shard(1))] };
        check("ranges", message(FromController::Ranges(request)), after_request);
        let refused = wire::Refused { reason: 3, detail: "by 192.0.2.7".to_owned() };
        let refused = message(FromController::Refused(refused));
        check("refused", refused, &["disconnect Superseded: by 192.0.2.7"]);
        check(
            "nothing",
            wire::ControllerMessage { message: None },
            &["disconnect Protocol: the controller sent a message of a kind that is not known \
               here: it may be newer than this agent"],
        );
    }
}

#[test]
fn every_pair_of_state_and_event() {
    let rejections = || vec![Rejection { key: shard(1), reason: "no room".to_owned() }];
    for state in STATES {
        let check = |what: &str, found: Vec<HostCommand>, expected: &[&str]| {
            assert_eq!(show(found), expected, "{what} in state {state}");
        };
        let connected: &[&str] = match state {
            "applying" | "hello-due" => &[],
            _ => &["hello 10"],
        };
        check("connected", mk_session(state).process_connected(), connected);
        let applied: &[&str] = match state {
            "applying" => &["ack 11 -1"],
            "hello-due" => &["hello 11"],
            _ => &[],
        };
        check("applied", mk_session(state).process_applied(11, rejections()), applied);
        check("applied another", mk_session(state).process_applied(12, rejections()), &[]);
        let rejected: &[&str] = match state {
            "following" | "staging" => &["ack 10 -1"],
            _ => &[],
        };
        check("rejections", mk_session(state).process_rejections(rejections()), rejected);
        check("the same rejections", mk_session(state).process_rejections(vec![]), &[]);
        let drifted: &[&str] = match state {
            "disconnected" | "hello-due" | "refused" => &[],
            _ => &["drift 3"],
        };
        check("drift", mk_session(state).process_drift(vec![], 3), drifted);
        let repaired: &[&str] = match state {
            "following" | "staging" => &["complaint at 10: compare"],
            _ => &[],
        };
        check("repair", mk_session(state).request_repair("compare"), repaired);
    }
}

#[test]
fn a_view_grows_from_nothing() {
    let mut session = HostSession::new(mk_identity(), None);
    assert_eq!(session.phase(), HostPhase::Disconnected);
    assert_eq!(show(session.process_connected()), ["hello 0"]);
    assert_eq!(session.phase(), HostPhase::AwaitingWelcome);
    session.process_message(welcome(HERE, Resume::Snapshot, 10));
    assert_eq!(session.phase(), HostPhase::Following);
    let commands = session.process_message(replacement(10, &[full(1, 5, "1"), full(2, 5, "2")]));
    let [HostCommand::Apply(change)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((change.cluster_id, change.replace, change.updates.len()), (HERE, true, 2));
    assert_eq!(change.changed.len(), 2);
    assert_eq!(session.phase(), HostPhase::Applying);
    assert_eq!(show(session.process_applied(10, vec![])), ["ack 10 -0"]);
    assert_eq!((session.revision(), session.cluster_id()), (10, Some(HERE)));
    assert_eq!(*session.view(), mk_held().view);
    // Deltas, a removal and a new item, in one batch.
    let updates = [delta(1, 5, 12, "3"), encode_removed(shard(2)), full(3, 4, "7")];
    let commands = session.process_message(batch(10, 12, &updates));
    let [HostCommand::Apply(change)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(change.changed, [shard(1), shard(2), shard(3)].into());
    assert_eq!(*change.view.items[&shard(1)].item, Item::Shard(list("1 3")));
    assert_eq!(change.updates, updates);
    assert!(!change.view.items.contains_key(&shard(2)));
}

#[test]
fn the_view_moves_when_the_last_part_is_there_and_not_before() {
    let mut session = mk_session("following");
    let before = session.view().clone();
    let parts = [
        part((10, 12), (0, false), &[delta(1, 5, 11, "3")]),
        part((10, 12), (1, false), &[delta(1, 11, 12, "4"), encode_removed(shard(2))]),
        part((10, 12), (2, true), &[]),
    ];
    for part in &parts[..2] {
        assert_eq!(session.process_message(message(FromController::Part(part.clone()))), []);
        assert_eq!(*session.view(), before);
    }
    // Cut off: nothing happened.
    session.process_disconnected();
    assert_eq!(show(session.process_connected()), ["hello 10"]);
    session.process_message(welcome(HERE, Resume::Current, 10));
    for part in &parts[..2] {
        session.process_message(message(FromController::Part(part.clone())));
    }
    let commands = session.process_message(message(FromController::Part(parts[2].clone())));
    assert_eq!(
        show(commands),
        ["apply 10-12: shard of group 1 in domain 1, shard of group 2 in domain 1"]
    );
    assert_eq!(*session.view().items[&shard(1)].item, Item::Shard(list("1 3 4")));
}

#[test]
fn what_does_not_fit_is_complained_about_and_changes_nothing() {
    let of_two = |second: wire::BatchPart| {
        let first = part((10, 12), (0, false), &[delta(1, 5, 12, "3")]);
        vec![first, second]
    };
    let replace = |part| wire::BatchPart { replace: true, ..part };
    let cases: [(Vec<wire::BatchPart>, &str); 11] = [
        (
            vec![part((9, 12), (0, true), &[])],
            "a batch from revision 9 came where one from 10 was due",
        ),
        (vec![part((10, 9), (0, true), &[])], "a batch leads back to revision 9 from 10"),
        (vec![replace(part((0, 9), (0, true), &[]))], "a batch leads back to revision 9 from 10"),
        (
            vec![replace(part((10, 12), (0, true), &[]))],
            "a batch from revision 10 came where one from 0 was due",
        ),
        (
            vec![part((10, 12), (1, true), &[])],
            "part 1 of a batch from 10 to 12 came where part 0 of one from 10 to 12 was due",
        ),
        (
            of_two(part((10, 12), (2, true), &[])),
            "part 2 of a batch from 10 to 12 came where part 1 of one from 10 to 12 was due",
        ),
        (
            of_two(part((10, 13), (1, true), &[])),
            "part 1 of a batch from 10 to 13 came where part 1 of one from 10 to 12 was due",
        ),
        (
            of_two(replace(part((10, 12), (1, true), &[]))),
            "part 1 of a batch from 10 to 12 came where part 1 of one from 10 to 12 was due",
        ),
        (
            of_two(part((10, 12), (1, true), &[delta(2, 4, 12, "3")])),
            "shard of group 2 in domain 1: a difference from version 4, and version 5 is held",
        ),
        (
            of_two(part((10, 12), (1, true), &[encode_removed(shard(3))])),
            "shard of group 3 in domain 1: it is removed, and not held",
        ),
        (
            of_two(part((10, 12), (1, true), &[Bytes::from_static(b"\xff")])),
            "not the message expected, item update: ",
        ),
    ];
    for (parts, expected) in cases {
        let mut session = mk_session("following");
        let mut commands = Vec::new();
        for part in parts {
            commands.extend(session.process_message(message(FromController::Part(part))));
        }
        let commands = show(commands);
        let expected = format!("complaint at 10: {expected}");
        assert!(commands.len() == 1 && commands[0].starts_with(&expected), "{commands:?}");
        assert_eq!(*session.view(), mk_held().view);
        // The rest of the batch is on its way and means nothing any more.
        assert_eq!(session.process_message(batch(10, 12, &[])), []);
        // The answer is heard.
        session.process_message(welcome(HERE, Resume::Inventory, 12));
        let repair = session.process_message(batch(10, 12, &[full(1, 12, "1 3")]));
        assert_eq!(show(repair), ["apply 10-12: shard of group 1 in domain 1"]);
    }
}

#[test]
fn rejections_are_told_with_the_next_acknowledgement_when_not_at_once() {
    let rejections = vec![Rejection { key: shard(1), reason: "no room".to_owned() }];
    let mut session = mk_session("awaiting-welcome");
    assert_eq!(session.process_rejections(rejections.clone()), []);
    let current = session.process_message(welcome(HERE, Resume::Current, 10));
    assert_eq!(show(current), ["ack 10 -1"]);
    // After a snapshot was announced the controller knows of no revision to speak of.
    let mut session = mk_session("awaiting-welcome");
    session.process_message(welcome(THERE, Resume::Snapshot, 3));
    assert_eq!(session.process_rejections(rejections), []);
}

#[test]
fn a_repair_waits_for_the_datapath() {
    let mut session = mk_session("applying");
    assert_eq!(session.request_repair("compare"), []);
    assert_eq!(
        show(session.process_applied(11, vec![])),
        ["ack 11 -0", "complaint at 11: compare"]
    );
}
