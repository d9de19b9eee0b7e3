//! Checks of the contents that are held, and repairs, from the host's end.

use super::tests::*;
use super::*;
use crate::check::Found;
use crate::codec::encode_removed;
use crate::digest;
use crate::staging::apply_updates;
use spanwire_topology::view::ItemKey;
use std::collections::BTreeSet;

fn check(revision: Revision, digest: u64) -> wire::ControllerMessage {
    message(FromController::Check(wire::Check { revision, digest }))
}

/// The digest of what is held, as a controller takes it.
fn contents() -> u64 {
    digest::contents([full(1, 5, "1"), full(2, 5, "2")].map(|item| digest::content(&item)))
}

#[test]
fn a_check_compares_contents() {
    let mut session = mk_session("following");
    assert_eq!(show(session.process_message(check(10, contents()))), ["checked 10: true 0"]);
    assert_eq!(show(session.process_message(check(10, 7))), ["checked 10: false 2"]);
    assert_eq!(session.phase(), HostPhase::Following);
    // Of another revision nothing can be said.
    let answer = show(session.process_message(check(9, contents())));
    assert_eq!(answer, ["complaint at 10: a check of revision 9, and 10 is held"]);
    // What was on its way when the host complained.
    assert_eq!(session.process_message(check(10, contents())), []);
    for state in ["awaiting-welcome", "staging", "applying"] {
        let answer = show(mk_session(state).process_message(check(10, contents())));
        assert!(
            answer[0].starts_with("disconnect Protocol: the controller sent a check"),
            "{state}"
        );
    }
}

#[test]
fn an_empty_view_is_checked_too() {
    let mut session = mk_session("following");
    session.process_message(batch(10, 11, &[encode_removed(shard(1)), encode_removed(shard(2))]));
    session.process_applied(11, vec![]);
    assert_eq!(
        show(session.process_message(check(11, digest::contents([])))),
        ["checked 11: true 0"]
    );
    assert_eq!(show(session.process_message(check(11, 7))), ["checked 11: false 0"]);
}

#[test]
fn a_repair_tells_the_members_that_were_wrong() {
    let mut session = mk_session("following");
    // Shard 1 had .1 and should have .2; shard 2 should not be there, and shard 3 should. The version of
    // a shard that is held may be wrong as well.
    let updates = [full(1, 4, "2"), encode_removed(shard(2)), full(3, 5, "3")];
    let repair = wire::BatchPart { repair: true, ..part((10, 10), (0, true), &updates) };
    let mut commands = session.process_message(message(FromController::Part(repair.clone())));
    let Some(HostCommand::Apply(change)) = commands.pop() else { panic!("no step") };
    assert_eq!(change.changed, BTreeSet::from([shard(1), shard(2), shard(3)]));
    let found: Vec<(ItemKey, Found)> =
        change.repaired.iter().map(|difference| (difference.key, difference.found)).collect();
    let expected =
        [(shard(1), Found::Differs), (shard(2), Found::Extra), (shard(3), Found::Missing)];
    assert_eq!(found, expected);
    // What is stored may be wrong too: it is replaced by what the step carries.
    assert!(change.replace);
    let mut stored = HostView::default();
    apply_updates(&mut stored, change.to, true, &change.updates).unwrap();
    assert_eq!(stored, *change.view);
    let [HostCommand::Send(ack)] = &session.process_applied(10, vec![])[..] else {
        panic!("no acknowledgement");
    };
    let Some(ToController::Ack(ack)) = &ack.message else { panic!("{ack:?}") };
    let [repaired] = &ack.repaired[..] else { panic!("{ack:?}") };
    assert_eq!(
        (&*repaired.extra, &*repaired.missing),
        (&["10.0.0.1".to_owned()][..], &["10.0.0.2".to_owned()][..])
    );
    // It is told once.
    session.process_message(batch(10, 11, &[]));
    let commands = session.process_applied(11, vec![]);
    let [HostCommand::Send(ack)] = &commands[..] else { panic!("{commands:?}") };
    let Some(ToController::Ack(ack)) = &ack.message else { panic!("{ack:?}") };
    assert_eq!(ack.repaired, []);
}

#[test]
fn a_repair_that_does_not_fit_changes_nothing() {
    let repair = |part| message(FromController::Part(wire::BatchPart { repair: true, ..part }));
    let cases = [
        (repair(part((9, 10), (0, true), &[])), "a batch from revision 9"),
        (repair(part((10, 10), (0, true), &[full(1, 11, "2")])), "newer than the batch"),
        (
            repair(wire::BatchPart { replace: true, ..part((0, 10), (0, true), &[]) }),
            "both repairs the view and replaces it",
        ),
    ];
    for (message, expected) in cases {
        let mut session = mk_session("following");
        let answer = show(session.process_message(message));
        assert!(answer[0].starts_with("complaint") && answer[0].contains(expected), "{answer:?}");
        assert_eq!(**session.view(), *mk_held().view);
    }
    // A part that is none, within a repair.
    let mut session = mk_session("following");
    session.process_message(repair(part((10, 10), (0, false), &[full(1, 5, "2")])));
    let next = message(FromController::Part(part((10, 10), (1, true), &[])));
    assert!(show(session.process_message(next))[0].starts_with("complaint"));
}
