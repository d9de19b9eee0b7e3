//! Resuming, from the host's end.

use super::tests::*;
use super::*;
use crate::PROTOCOL_VERSION;
use crate::limits::INVENTORY_MESSAGE_ENTRIES_MAX;
use crate::staging::apply_updates;
use crate::wire::welcome::Resume;
use bytes::Bytes;

#[test]
fn another_cluster_must_begin_with_all_of_it() {
    let mut session = mk_session("awaiting-welcome");
    session.process_message(welcome(THERE, Resume::Snapshot, 3));
    let commands = show(session.process_message(batch(10, 12, &[])));
    assert!(commands[0].contains("must replace the view"), "{commands:?}");
    session.process_message(welcome(THERE, Resume::Snapshot, 3));
    // Smaller revisions are fine there: they are of another history.
    let commands = session.process_message(replacement(3, &[full(1, 2, "1"), full(3, 3, "3")]));
    assert_eq!(
        show(commands),
        ["apply 10-3 all: shard of group 2 in domain 1, shard of group 3 in domain 1"]
    );
    assert_eq!((session.cluster_id(), session.revision()), (Some(THERE), 3));
}

#[test]
fn a_bad_welcome_is_refused() {
    let of = |change: fn(&mut wire::Welcome)| {
        let mut welcome = wire::Welcome {
            protocol_version: PROTOCOL_VERSION,
            cluster_id: HERE.0.to_vec().into(),
            resume: Resume::Current.into(),
            revision: 10,
        };
        change(&mut welcome);
        message(FromController::Welcome(welcome))
    };
    let cases = [
        (of(|welcome| welcome.protocol_version = 9), "disconnect Version: the controller speaks"),
        (of(|welcome| welcome.cluster_id.clear()), "disconnect Protocol: the controller names no"),
        (
            of(|welcome| welcome.cluster_id = vec![1].into()),
            "disconnect Protocol: bad welcome: cluster id is 1 bytes",
        ),
        (of(|welcome| welcome.resume = 9), "disconnect Protocol: the controller resumes in an unk"),
        (of(|welcome| welcome.revision = 9), "disconnect Protocol: the controller resumes from a"),
        (welcome(THERE, Resume::Current, 12), "disconnect Protocol: the controller resumes from a"),
        (welcome(THERE, Resume::Inventory, 12), "disconnect Protocol: the controller resumes from"),
    ];
    for (message, expected) in cases {
        let mut session = mk_session("awaiting-welcome");
        let commands = show(session.process_message(message));
        assert!(commands[0].starts_with(expected), "{commands:?}, not {expected}");
        assert_eq!(session.phase(), HostPhase::Refused);
        assert_eq!(*session.view(), mk_held().view);
    }
}

#[test]
fn what_is_applied_after_a_disconnect_is_what_the_next_hello_speaks_of() {
    let mut session = mk_session("applying");
    session.process_disconnected();
    assert_eq!(session.process_applied(11, vec![]), []);
    assert_eq!(show(session.process_connected()), ["hello 11"]);
}

#[test]
fn a_long_inventory_comes_in_messages_of_bounded_length() {
    let count = INVENTORY_MESSAGE_ENTRIES_MAX as u64 + 1;
    let updates: Vec<Bytes> = (0..count).map(|group| full(group, u64::MAX, "1")).collect();
    let mut view = HostView::default();
    apply_updates(&mut view, u64::MAX, true, &updates).unwrap();
    let held = HeldView { cluster_id: HERE, view: Arc::new(view) };
    let mut session = HostSession::new(mk_identity(), Some(held));
    session.process_connected();
    let commands = session.process_message(welcome(HERE, Resume::Inventory, u64::MAX));
    for command in &commands {
        let HostCommand::Send(message) = command else { panic!("{command:?}") };
        let len = prost::Message::encoded_len(message);
        assert!(len <= crate::limits::HOST_MESSAGE_BYTES_MAX, "{len}");
    }
    assert_eq!(show(commands), ["inventory of 8192 ...", "inventory of 1"]);
}
