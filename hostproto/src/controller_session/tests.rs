//! Every pair of state and event, and the stories that lead through several.

use super::batch::to_parts;
use super::*;
use crate::codec::{Change, ItemUpdate, decode_update, encode_delta, encode_full, key_to_wire};
use crate::digest::{CHECK_VERSION, digest};
use crate::log::Updates;
use crate::ranges::RANGES_VERSION;
use bytes::Bytes;
use spanwire_topology::model::{Uid, Vni};
use spanwire_topology::view::{Item, ItemDelta};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) const HERE: ClusterId = ClusterId([1; 16]);
pub(super) const NOW: Duration = Duration::from_secs(100);

/// Shards of one address; deltas reach back one version.
pub(super) struct Source {
    pub(super) revision: Revision,
    pub(super) items: BTreeMap<ItemKey, Revision>,
    /// What encodes to more than a stream carries.
    pub(super) huge: Option<ItemKey>,
    /// Whether shards are of many addresses, and changed past history.
    pub(super) long: bool,
}

fn address() -> IpAddr {
    IpAddr::from([10, 0, 0, 1])
}

impl ViewSource for Source {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn cluster_id(&self) -> ClusterId {
        HERE
    }
    fn host_items(&self) -> Vec<(ItemKey, Revision)> {
        self.items.iter().map(|(key, version)| (*key, *version)).collect()
    }
    fn full(&mut self, key: ItemKey) -> Option<(Revision, Bytes)> {
        let version = *self.items.get(&key)?;
        if self.huge == Some(key) {
            return Some((version, vec![0; crate::limits::UPDATE_BYTES_MAX + 1].into()));
        }
        let addresses = if self.long {
            (0..1000_u32).map(|n| std::net::Ipv4Addr::from(n * 1000).into()).collect()
        } else {
            vec![address()]
        };
        Some((version, encode_full(key, version, &Item::Shard(addresses))))
    }
    fn updates(&mut self, key: ItemKey, held: Revision) -> Option<Updates> {
        let version = *self.items.get(&key)?;
        let updates = if held >= version {
            vec![]
        } else if held + 1 == version && self.huge != Some(key) {
            let delta = ItemDelta::Shard { removed: vec![], added: vec![address()] };
            vec![encode_delta(key, held, version, &delta)]
        } else {
            vec![self.full(key)?.1]
        };
        Some(Updates { version, updates })
    }
    fn is_past_history(&self, _: ItemKey, _: Revision) -> bool {
        self.long
    }
}

pub(super) fn shard(group: u64) -> ItemKey {
    ItemKey::Shard { group: Uid(group), domain: Vni(1) }
}

/// Revision 10: shards 1, 2 and 3 at version 5.
pub(super) fn mk_source() -> Source {
    let items = (1..=3).map(|group| (shard(group), 5)).collect();
    Source { revision: 10, items, huge: None, long: false }
}

pub(super) fn mk_hello(cluster_id: Option<ClusterId>, revision: Revision, digest: u64) -> Hello {
    Hello {
        host: "host-01".into(),
        instance: 7,
        attempt: 0,
        cluster_id,
        revision,
        digest,
        agent_version: "0.1.0".to_owned(),
        datapath: "record".to_owned(),
        check_version: CHECK_VERSION,
        ranges_version: RANGES_VERSION,
    }
}

pub(super) fn message(message: FromHost) -> wire::HostMessage {
    wire::HostMessage { message: Some(message) }
}

pub(super) fn ack(revision: Revision) -> wire::HostMessage {
    message(FromHost::Ack(wire::Ack { revision, ..Default::default() }))
}

pub(super) fn complaint(revision: Revision) -> wire::HostMessage {
    let detail = "it does not fit".to_owned();
    message(FromHost::Complaint(wire::Complaint { reason: 1, detail, revision }))
}

pub(super) fn inventory(entries: &[(ItemKey, Revision)], last: bool) -> wire::HostMessage {
    let entries = entries.iter().map(|(key, version)| wire::InventoryEntry {
        key: Some(key_to_wire(*key)),
        version: *version,
    });
    message(FromHost::Inventory(wire::Inventory { entries: entries.collect(), last }))
}

fn drift() -> wire::HostMessage {
    let findings = vec!["table inet spanwire was gone".to_owned()];
    message(FromHost::Drift(wire::DriftReport { findings, repaired_total: 3 }))
}

/// All that the session has to say now, in short.
pub(super) fn sent(session: &mut ControllerSession, source: &mut Source) -> Vec<String> {
    let mut sent = Vec::new();
    while session.has_message(source.revision) {
        let Some(message) = session.next_message(source, NOW) else { break };
        sent.push(match message.message.unwrap() {
            ToHost::Welcome(welcome) => {
                format!("welcome {} {}", welcome.resume().as_str_name(), welcome.revision)
            }
            ToHost::Refused(refused) => {
                format!("refused {:?}: {}", refused.reason(), refused.detail)
            }
            ToHost::Ranges(request) => {
                let keys = request.keys.iter().map(|key| key.uid.to_string());
                format!("ranges of {}", keys.collect::<Vec<_>>().join(" "))
            }
            ToHost::Check(check) => format!("check {}", check.revision),
            ToHost::Part(part) => {
                let updates: Vec<String> = part.updates.iter().map(|bytes| show(bytes)).collect();
                let replace = if part.replace { " all" } else { "" };
                let replace = if part.repair { " repair" } else { replace };
                let more = if part.last { "" } else { " ..." };
                let (from, to) = (part.from_revision, part.to_revision);
                format!("{from}-{to}{replace}: {}{more}", updates.join(" "))
            }
        });
    }
    sent
}

fn show(update: &[u8]) -> String {
    let ItemUpdate { key, version, change } = decode_update(update).unwrap();
    let ItemKey::Shard { group, .. } = key else { panic!("{key}") };
    match change {
        Change::Removed => format!("-{group}"),
        Change::Full(_) => format!("{group}@{version}"),
        Change::Delta { base_version, .. } => format!("{group}@{base_version}>{version}"),
        Change::Ranges { base_version, delta } => {
            format!("{group}@{base_version}>{version} ranges {:?}", delta.replaced)
        }
    }
}

/// A session in each of the states, with the source it got there with.
pub(super) fn mk_session(phase: &str) -> (ControllerSession, Source) {
    let mut source = mk_source();
    let right = digest(source.host_items());
    let mut session = match phase {
        "resuming" | "awaiting-inventory" | "cutting" => {
            ControllerSession::new(mk_hello(Some(HERE), 9, 0), NOW)
        }
        "behind" => ControllerSession::new(mk_hello(Some(HERE), 11, right), NOW),
        "awaiting-first-ack" => ControllerSession::new(mk_hello(Some(HERE), 9, right), NOW),
        _ => ControllerSession::new(mk_hello(None, 0, 0), NOW),
    };
    match phase {
        "resuming" => {}
        "behind" => assert_eq!(session.next_message(&mut source, NOW), None),
        "awaiting-inventory" | "cutting" | "awaiting-first-ack" => {
            session.next_message(&mut source, NOW).unwrap();
            if phase == "cutting" {
                session.process_message(inventory(&[(shard(1), 5)], true), NOW);
            }
        }
        _ => {
            sent(&mut session, &mut source);
            session.process_message(ack(10), NOW);
            if phase != "idle" {
                source.revision = 11;
                source.items.insert(shard(1), 11);
                session.process_item_changed(shard(1));
            }
            match phase {
                "idle" | "pending" => {}
                "sending" => {
                    let parts = to_parts(10, 11, false, vec![]);
                    session.state = State::Sending { parts, to: 11 };
                }
                "awaiting-ack" => drop(sent(&mut session, &mut source)),
                "refusing" => session.process_draining("the controller is stopped"),
                "ended" => {
                    session.process_draining("the controller is stopped");
                    sent(&mut session, &mut source);
                }
                other => panic!("no state {other}"),
            }
        }
    }
    (session, source)
}

const STATES: [&str; 11] = [
    "resuming",
    "behind",
    "awaiting-inventory",
    "cutting",
    "awaiting-first-ack",
    "idle",
    "pending",
    "sending",
    "awaiting-ack",
    "refusing",
    "ended",
];

/// What a message does in each of the states: the phase it leads to, or what the host is told.
#[test]
fn every_pair_of_state_and_message() {
    let wrong_state = |what: &str, phase: &str| {
        format!("refused Protocol: {what} came while the session was {phase}")
    };
    let entries = [(shard(1), 5), (shard(2), 4)];
    for state in STATES {
        let phase = mk_session(state).0.phase().as_str();
        let quiet = matches!(state, "refusing" | "ended");
        let check = |what: &str, message: wire::HostMessage, expected: String| {
            let (mut session, mut source) = mk_session(state);
            let event = session.process_message(message, NOW);
            let found = match &event {
                SessionEvent::Refused { .. } => sent(&mut session, &mut source).remove(0),
                _ => session.phase().as_str().to_owned(),
            };
            let expected = if quiet { phase.to_owned() } else { expected };
            assert_eq!(found, expected, "{what} in state {state}");
            if quiet {
                assert_eq!(event, SessionEvent::None, "{what} in state {state}");
            }
        };
        check(
            "hello",
            message(FromHost::Hello(mk_hello(None, 0, 0).to_wire())),
            "refused Protocol: a second hello on one stream".to_owned(),
        );
        check(
            "nothing",
            wire::HostMessage { message: None },
            "refused Protocol: a message of a kind that is not known here".to_owned(),
        );
        check("drift", drift(), phase.to_owned());
        check("complaint", complaint(9), "resuming".to_owned());
        let after_inventory = match state {
            "awaiting-inventory" => "sending".to_owned(),
            _ => wrong_state("an inventory", phase),
        };
        check("inventory", inventory(&entries, true), after_inventory);
        let ranges = message(FromHost::Ranges(wire::Ranges::default()));
        check("ranges", ranges, wrong_state("ranges", phase));
        let after_ack = |revision: Revision| match (state, revision) {
            ("awaiting-first-ack", 10) | ("awaiting-ack", 11) => "idle".to_owned(),
            ("idle" | "pending" | "sending" | "awaiting-ack", 10) => phase.to_owned(),
            ("awaiting-first-ack", _) => {
                format!("refused Protocol: revision {revision} is acknowledged, and 10 was sent")
            }
            ("awaiting-ack", _) => {
                format!("refused Protocol: revision {revision} is acknowledged, and 11 was sent")
            }
            _ => wrong_state(&format!("an acknowledgement of {revision}"), phase),
        };
        for revision in [0, 9, 10, 11, 12] {
            check("ack", ack(revision), after_ack(revision));
        }
    }
}

#[test]
fn every_pair_of_state_and_change() {
    for state in STATES {
        let tracks =
            matches!(state, "awaiting-first-ack" | "idle" | "pending" | "sending" | "awaiting-ack");
        let (mut session, _) = mk_session(state);
        let before = session.status().pending;
        session.process_host_change(&[shard(7)], &[shard(8)]);
        session.process_item_changed(shard(9));
        let more = if tracks { 3 } else { 0 };
        assert_eq!(session.status().pending, before + more, "state {state}");
    }
}

#[test]
fn every_pair_of_state_and_end() {
    for state in STATES {
        let (mut session, mut source) = mk_session(state);
        session.process_superseded("another agent connected from 192.0.2.7");
        session.process_deleted();
        let expected: &[&str] = match state {
            "ended" => &[],
            "refusing" => &["refused Draining: the controller is stopped"],
            _ => &["refused Superseded: another agent connected from 192.0.2.7"],
        };
        assert_eq!(sent(&mut session, &mut source), expected, "state {state}");
        assert!(session.is_ended() && !session.has_message(99), "state {state}");
        assert_eq!(session.next_message(&mut source, NOW), None);
    }
}

#[test]
fn a_host_without_a_view_gets_all_of_it_and_then_what_changes() {
    let mut source = mk_source();
    let mut session = ControllerSession::new(mk_hello(None, 0, 0), NOW);
    let expected = ["welcome RESUME_SNAPSHOT 10", "0-10 all: 1@5 2@5 3@5"];
    assert_eq!(sent(&mut session, &mut source), expected);
    assert_eq!(session.realized_revision(10), 0);
    // While the batch is under way everything waits for the next one.
    source.revision = 13;
    source.items = [(shard(1), 11), (shard(3), 13), (shard(4), 12)].into();
    session.process_item_changed(shard(1));
    session.process_host_change(&[shard(4)], &[shard(2)]);
    session.process_item_changed(shard(3));
    assert!(!session.has_message(13));
    assert_eq!(session.process_message(ack(10), NOW), SessionEvent::Acknowledged { revision: 10 });
    assert_eq!(session.realized_revision(13), 10);
    // Shard 1 by its delta, which reaches back to 10; shard 3 whole.
    assert_eq!(sent(&mut session, &mut source), ["10-13: 1@10>11 -2 3@13 4@12"]);
    session.process_message(ack(13), NOW);
    assert_eq!(session.realized_revision(13), 13);
    // What follows does not concern the host: nothing to say, and it counts as being there.
    source.revision = 20;
    assert!(!session.has_message(20));
    assert_eq!(session.next_message(&mut source, NOW), None);
    assert_eq!(session.realized_revision(20), 20);
    let status = session.status();
    assert_eq!((status.acked_revision, status.sent_revision), (13, 13));
    assert_eq!((status.sent_batches, status.sent_updates), (2, 7));
}

#[test]
fn what_came_and_went_still_moves_the_revision() {
    let (mut session, mut source) = mk_session("idle");
    source.revision = 12;
    session.process_host_change(&[shard(4)], &[]);
    session.process_host_change(&[], &[shard(4)]);
    assert_eq!(session.realized_revision(12), 10);
    assert_eq!(sent(&mut session, &mut source), ["10-12: "]);
    session.process_message(ack(12), NOW);
    // Lost and gained again, unchanged: the host still has it.
    source.revision = 14;
    session.process_host_change(&[], &[shard(1)]);
    session.process_host_change(&[shard(1)], &[]);
    assert_eq!(sent(&mut session, &mut source), ["12-14: "]);
}

#[test]
fn rejections_and_drift_are_kept_for_the_operator() {
    let (mut session, _) = mk_session("idle");
    let rejection = |uid, reason: &str| wire::Rejection {
        key: Some(key_to_wire(ItemKey::Port(Uid(uid)))),
        reason: reason.to_owned(),
    };
    let rejections = vec![rejection(2, "no such device"), rejection(1, "too long")];
    let refusing =
        wire::Ack { revision: 10, rejections, rejections_omitted: 3, ..Default::default() };
    session.process_message(message(FromHost::Ack(refusing)), NOW);
    let event = session.process_message(drift(), NOW);
    assert!(matches!(event, SessionEvent::Drifted(Drift { repaired_total: 3, .. })));
    let status = session.status();
    let keys: Vec<ItemKey> = status.rejections.iter().map(|rejection| rejection.key).collect();
    assert_eq!(keys, [ItemKey::Port(Uid(1)), ItemKey::Port(Uid(2))]);
    assert_eq!(status.rejections_omitted, 3);
    assert_eq!(status.drift.repaired_total, 3);
    session.process_message(ack(10), NOW);
    assert_eq!(session.status().rejections, []);
    let bad = wire::Rejection { key: None, reason: String::new() };
    let bad = wire::Ack { revision: 10, rejections: vec![bad], ..Default::default() };
    let event = session.process_message(message(FromHost::Ack(bad)), NOW);
    let detail = "bad acknowledgement: key is missing".to_owned();
    assert_eq!(event, SessionEvent::Refused { detail });
}

#[test]
fn an_item_too_large_is_left_out_and_said_to_be() {
    let mut source = mk_source();
    source.huge = Some(shard(2));
    let mut session = ControllerSession::new(mk_hello(None, 0, 0), NOW);
    let expected = ["welcome RESUME_SNAPSHOT 10", "0-10 all: 1@5 3@5"];
    assert_eq!(sent(&mut session, &mut source), expected);
    session.process_message(ack(10), NOW);
    let status = session.status();
    assert_eq!(status.rejections[0].key, shard(2));
    assert!(status.rejections[0].reason.contains("the most is"), "{:?}", status.rejections);
    // It shrinks: the host never had it, so it gets all of it.
    source.huge = None;
    source.revision = 11;
    source.items.insert(shard(2), 11);
    session.process_item_changed(shard(2));
    assert_eq!(sent(&mut session, &mut source), ["10-11: 2@11"]);
    session.process_message(ack(11), NOW);
    assert_eq!(session.status().rejections, []);
    // It grows again: what the host has of it is no longer true.
    source.huge = Some(shard(2));
    source.revision = 12;
    source.items.insert(shard(2), 12);
    session.process_item_changed(shard(2));
    assert_eq!(sent(&mut session, &mut source), ["11-12: -2"]);
    session.process_message(ack(12), NOW);
    // And goes: the host has nothing to remove.
    source.revision = 13;
    source.items.remove(&shard(2));
    session.process_host_change(&[], &[shard(2)]);
    assert_eq!(sent(&mut session, &mut source), ["12-13: "]);
}
