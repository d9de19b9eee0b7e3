//! Checks of the contents that a host holds, from the controller's end.

use super::tests::{NOW, Source, ack, complaint, message, mk_session, sent, shard};
use super::*;
use crate::check::{CheckReport, Found, Members};
use crate::limits::{DIFFERENCES_MAX, INVENTORY_ENTRIES_MAX};

/// The host's answer: the groups of the shards it holds, and whether each is right.
fn result(source: &mut Source, held: &[(u64, bool)], last: bool) -> wire::HostMessage {
    let entries = held.iter().map(|(group, is_right)| wire::CheckEntry {
        key: Some(crate::codec::key_to_wire(shard(*group))),
        digest: source.content(shard(*group)).unwrap_or_default() ^ u64::from(!is_right),
    });
    let entries = entries.collect();
    message(FromHost::Check(wire::CheckResult { revision: 10, matches: false, entries, last }))
}

fn matches() -> wire::CheckResult {
    wire::CheckResult { revision: 10, matches: true, entries: vec![], last: true }
}

/// A session that has sent a check.
fn mk_checking() -> (ControllerSession, Source) {
    let (mut session, mut source) = mk_session("idle");
    assert_eq!(session.request_check(), Ok(1));
    assert_eq!(sent(&mut session, &mut source), ["check 10"]);
    assert_eq!(session.phase(), SessionPhase::AwaitingCheck);
    (session, source)
}

fn found(report: &CheckReport) -> Vec<(ItemKey, Found)> {
    report.differences.iter().map(|difference| (difference.key, difference.found)).collect()
}

#[test]
fn a_host_that_is_right_is_sent_nothing() {
    let (mut session, mut source) = mk_checking();
    assert_eq!(session.realized_revision(10), 10);
    let event = session.process_message(message(FromHost::Check(matches())), NOW);
    let report = CheckReport { number: 1, revision: 10, items: 3, ..CheckReport::default() };
    assert_eq!(event, SessionEvent::Checked(report.clone()));
    assert_eq!(session.phase(), SessionPhase::Idle);
    assert_eq!(sent(&mut session, &mut source), [""; 0]);
    let status = session.status();
    assert_eq!((status.checks, status.checks_repaired, status.last_check), (1, 0, Some(report)));
}

#[test]
fn what_differs_is_sent_whole_and_told() {
    let (mut session, mut source) = mk_checking();
    // 1 is wrong, 3 is missing, 4 is extra; in two messages.
    let event = session.process_message(result(&mut source, &[(1, false)], false), NOW);
    assert_eq!(event, SessionEvent::None);
    session.process_message(result(&mut source, &[(2, true), (4, true)], true), NOW);
    assert_eq!(sent(&mut session, &mut source), ["10-10 repair: 1@5 3@5 -4"]);
    let members =
        Members { extra: vec!["10.0.0.9".to_owned()], extra_count: 1, ..Members::default() };
    let repaired = vec![members.to_wire(shard(1)), members.to_wire(shard(2))];
    let ack = wire::Ack { revision: 10, repaired, ..Default::default() };
    let SessionEvent::Checked(report) = session.process_message(message(FromHost::Ack(ack)), NOW)
    else {
        panic!("no report");
    };
    let expected =
        [(shard(1), Found::Differs), (shard(3), Found::Missing), (shard(4), Found::Extra)];
    assert_eq!(found(&report), expected);
    // What the host says of an item that was right is of no interest.
    assert_eq!(report.differences[0].members, members);
    assert_eq!((report.repaired_at, report.items, report.problem), (10, 3, None));
    assert_eq!(session.status().checks_repaired, 3);
}

#[test]
fn what_changes_meanwhile_is_sent_and_is_no_difference() {
    for after_the_answer in [false, true] {
        let (mut session, mut source) = mk_checking();
        let answer = result(&mut source, &[(1, false), (2, true), (3, true)], true);
        if after_the_answer {
            session.process_message(answer.clone(), NOW);
        }
        source.revision = 11;
        source.items.insert(shard(2), 11);
        session.process_item_changed(shard(2));
        assert_eq!(session.realized_revision(11), 10);
        if !after_the_answer {
            // Not before the answer: both must speak of one revision.
            assert_eq!(sent(&mut session, &mut source), [""; 0]);
            session.process_message(answer, NOW);
        }
        assert_eq!(sent(&mut session, &mut source), ["10-11 repair: 1@5 2@11"]);
        let SessionEvent::Checked(report) = session.process_message(ack(11), NOW) else {
            panic!("no report");
        };
        assert_eq!(found(&report), [(shard(1), Found::Differs)]);
        assert_eq!(session.realized_revision(11), 11);
    }
}

#[test]
fn changes_go_before_a_check_and_requests_are_one() {
    let (mut session, mut source) = mk_session("idle");
    assert_eq!((session.request_check(), session.request_check()), (Ok(1), Ok(1)));
    source.revision = 11;
    source.items.insert(shard(2), 11);
    session.process_item_changed(shard(2));
    let first = sent(&mut session, &mut source);
    assert!(first.len() == 1 && first[0].starts_with("10-11: 2@"), "{first:?}");
    session.process_message(ack(11), NOW);
    assert_eq!(sent(&mut session, &mut source), ["check 11"]);
    // One that is asked for now begins after the one that is under way.
    assert_eq!(session.request_check(), Ok(2));
    let right = wire::CheckResult { revision: 11, ..matches() };
    session.process_message(message(FromHost::Check(right)), NOW);
    assert_eq!(sent(&mut session, &mut source), ["check 11"]);
}

#[test]
fn a_complaint_ends_a_check() {
    let (mut session, mut source) = mk_checking();
    session.process_message(complaint(10), NOW);
    let report = session.last_check().unwrap();
    let problem = "the host complained: it does not fit".to_owned();
    assert_eq!((report.number, report.problem.clone()), (1, Some(problem)));
    assert_eq!(
        sent(&mut session, &mut source),
        ["welcome RESUME_INVENTORY 10"],
        "it is not asked again by itself"
    );
    assert_eq!(session.status().checks, 0);
}

#[test]
fn answers_that_break_the_protocol_are_refused() {
    let check = |result| message(FromHost::Check(result));
    let many = vec![Members::default().to_wire(shard(1)); DIFFERENCES_MAX + 1];
    let entry = |key| wire::CheckEntry { key, digest: 0 };
    let huge = vec![entry(Some(crate::codec::key_to_wire(shard(1)))); INVENTORY_ENTRIES_MAX + 1];
    let (_, mut source) = mk_checking();
    let cases = [
        (
            check(wire::CheckResult { revision: 9, ..matches() }),
            "of revision 9, and 10 was checked",
        ),
        (check(wire::CheckResult { last: false, ..matches() }), "both that all is right and"),
        (
            check(wire::CheckResult { matches: false, entries: vec![entry(None)], ..matches() }),
            "bad check result: key is missing",
        ),
        (
            check(wire::CheckResult { matches: false, entries: huge, ..matches() }),
            "a check of more than",
        ),
        (result(&mut source, &[(2, true), (1, true)], true), "is not sorted: shard of group 1"),
        (result(&mut source, &[(1, true), (1, true)], true), "is not sorted: shard of group 1"),
        (ack(11), "an acknowledgement of 11 came while the session was awaiting-check"),
        (
            message(FromHost::Ack(wire::Ack {
                revision: 10,
                repaired: vec![Members::default().to_wire(shard(1))],
                ..Default::default()
            })),
            "tells of repairs, and none were sent",
        ),
        (
            message(FromHost::Ack(wire::Ack {
                revision: 10,
                repaired: many,
                ..Default::default()
            })),
            "repairs of an acknowledgement: 101 is more than the limit",
        ),
    ];
    for (message, expected) in cases {
        let (mut session, _) = mk_checking();
        let event = session.process_message(message, NOW);
        let SessionEvent::Refused { detail } = event else { panic!("{expected}: {event:?}") };
        assert!(detail.contains(expected), "{detail}");
    }
    // Nobody asked.
    let (mut session, _) = mk_session("idle");
    let event = session.process_message(check(matches()), NOW);
    let detail = "the result of a check came while the session was idle".to_owned();
    assert_eq!(event, SessionEvent::Refused { detail });
    assert!(session.request_check().unwrap_err().contains("is being disconnected"));
}

#[test]
fn what_the_datapath_refuses_may_change_while_a_check_is_under_way() {
    let (mut session, mut source) = mk_checking();
    assert_eq!(session.process_message(ack(10), NOW), SessionEvent::Acknowledged { revision: 10 });
    assert_eq!(session.phase(), SessionPhase::AwaitingCheck);
    session.process_message(result(&mut source, &[(1, false), (2, true), (3, true)], true), NOW);
    session.process_message(ack(10), NOW);
    assert_eq!(sent(&mut session, &mut source), ["10-10 repair: 1@5"]);
}

#[test]
fn an_agent_that_cannot_be_checked_is_not() {
    let hello = Hello { check_version: 0, ..super::tests::mk_hello(None, 0, 0) };
    let mut session = ControllerSession::new(hello, NOW);
    let error = session.request_check().unwrap_err();
    assert!(error.contains("release 0.1.0") && error.contains("install matching"), "{error}");
    assert!(!session.checks.is_due());
}

/// What is too large to be sent is not missed.
#[test]
fn what_is_withheld_is_no_difference() {
    let (mut session, mut source) = mk_session("idle");
    source.huge = Some(shard(2));
    source.revision = 11;
    source.items.insert(shard(2), 11);
    session.process_item_changed(shard(2));
    assert_eq!(sent(&mut session, &mut source), ["10-11: -2"]);
    session.process_message(ack(11), NOW);
    session.request_check().unwrap();
    assert_eq!(sent(&mut session, &mut source), ["check 11"]);
    let answer = result(&mut source, &[(1, true), (3, false)], true);
    let Some(FromHost::Check(answer)) = answer.message else { panic!("no result") };
    session.process_message(
        message(FromHost::Check(wire::CheckResult { revision: 11, ..answer })),
        NOW,
    );
    assert_eq!(sent(&mut session, &mut source), ["11-11 repair: 3@5"]);
    session.process_message(ack(11), NOW);
    let report = session.last_check().unwrap();
    assert_eq!((found(report), report.items), (vec![(shard(3), Found::Differs)], 2));
    assert_eq!(session.status().rejections.len(), 1);
}
