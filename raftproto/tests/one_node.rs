//! The published `raft` crate runs on these types: messages survive the wire, and a group of one
//! elects itself and commits what is proposed.

use protobuf::Message as _;
use raft::eraftpb::{
    ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot, SnapshotMetadata,
};
use raft::storage::MemStorage;
use raft::{Config, RawNode};
use std::error::Error;

/// A message with every kind of field in it.
fn mk_message() -> Message {
    Message {
        msg_type: MessageType::MsgAppend as i32,
        to: 2,
        from: 1,
        term: 7,
        log_term: 6,
        index: 41,
        entries: vec![Entry {
            entry_type: EntryType::EntryConfChangeV2 as i32,
            term: 7,
            index: 42,
            data: vec![1, 2, 3].into(),
            context: vec![9].into(),
            sync_log: false,
        }],
        commit: 40,
        commit_term: 6,
        snapshot: Some(Snapshot {
            data: vec![0; 100].into(),
            metadata: Some(SnapshotMetadata {
                conf_state: Some(ConfState::from(([1, 2, 3], [4]))),
                index: 40,
                term: 6,
            }),
        }),
        reject: true,
        reject_hint: 39,
        context: vec![5].into(),
        priority: -1,
        ..Message::default()
    }
}

#[test]
fn messages_survive_the_wire() {
    let message = mk_message();
    let bytes = message.write_to_bytes().unwrap();
    assert_eq!(bytes.len(), message.compute_size() as usize);
    let mut read = Message::default();
    read.merge_from_bytes(&bytes).unwrap();
    assert_eq!(read, message);
    assert_eq!(read.get_snapshot().get_metadata().get_conf_state().get_voters(), [1, 2, 3]);
}

#[test]
fn the_bytes_are_those_of_the_published_crate() {
    // Field numbers are an interface: a log written today is read by every later release.
    let state = HardState { term: 3, vote: 1, commit: 300 };
    assert_eq!(state.write_to_bytes().unwrap(), [0x08, 3, 0x10, 1, 0x18, 0xac, 0x02]);
    let entry = Entry { term: 3, index: 4, data: vec![0xee].into(), ..Entry::default() };
    assert_eq!(entry.write_to_bytes().unwrap(), [0x10, 3, 0x18, 4, 0x22, 1, 0xee]);
}

#[test]
fn truncated_bytes_are_an_error() {
    let bytes = mk_message().write_to_bytes().unwrap();
    let mut read = Message::default();
    let error = read.merge_from_bytes(&bytes[..bytes.len() - 1]).unwrap_err();
    assert!(!error.to_string().is_empty());
}

#[test]
fn a_group_of_one_commits_what_is_proposed() -> Result<(), Box<dyn Error>> {
    let store = MemStorage::new_with_conf_state(ConfState::from(([1], [])));
    let config = Config { id: 1, pre_vote: true, check_quorum: true, ..Config::default() };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut node = RawNode::new(&config, store.clone(), &logger)?;
    node.campaign()?;
    let mut committed = Vec::new();
    for round in 0..6 {
        if round == 3 {
            node.propose(Vec::new(), b"hello".to_vec())?;
        }
        while node.has_ready() {
            let mut ready = node.ready();
            store.wl().append(ready.entries())?;
            if let Some(state) = ready.hs() {
                store.wl().set_hardstate(*state);
            }
            committed.extend(ready.take_committed_entries());
            let mut light = node.advance(ready);
            committed.extend(light.take_committed_entries());
            node.advance_apply();
        }
    }
    let data: Vec<&[u8]> = committed.iter().map(|entry| entry.get_data()).collect();
    assert_eq!(data, [b"".as_slice(), b"hello".as_slice()], "an election's entry, then ours");
    Ok(())
}
