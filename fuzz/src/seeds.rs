//! The seeds of every target, made by the encoders themselves and of small documents.

use crate::replica::{FROM_TO, RECORD_NUMBER};
use crate::sessions::actions;
use crate::{WORLD, join, older_world, world};
use prost::Message;
use raft::eraftpb::{ConfState, Entry, HardState, MessageType};
use spanwire_adminproto::backup;
use spanwire_adminproto::convert::from_resource;
use spanwire_adminproto::wire::{BackupHeader, BackupPart};
use spanwire_controller::consensus::Write;
use spanwire_controller::consensus::log::journal_record;
use spanwire_controller::consensus::transfer::{Chunk, ChunkRequest, SnapshotName};
use spanwire_controller::peer::{LeaderAnswer, MembersChange, PeerMessage, Request};
use spanwire_controller::state::{
    Members, RequestId, State, encode_command, encode_snapshot, wire,
};
use spanwire_hostproto::codec::{encode_delta, encode_full, encode_ranges, encode_removed};
use spanwire_hostproto::controller_session::SessionPhase;
use spanwire_hostproto::message::Hello;
use spanwire_hostproto::ranges;
use spanwire_hostproto::{
    ChangeLog, ClusterId, ControllerSession, EngineSource, HeldView, HostCommand, HostIdentity,
    HostSession,
};
use spanwire_topology::view::{Item, ItemDelta};
use spanwire_topology::{Engine, Kind};
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Matches as ACLs have them, one seed each.
const MATCHES: [&str; 8] = [
    "outport == @pg_web && ip4.src == $pg_app_ip4 && tcp.dst == {80, 443}",
    "inport == \"web-0\" && ip6.dst == {fd00::/64, fd01::1} && udp.dst >= 7000 && udp.dst <= 7010",
    "outport == @pg && icmp4 && icmp4.type == 8 && icmp4.code == 0",
    "inport == @pg && (arp || ip)",
    "outport == @pg && !(ip4.src == $as_office || ip4.src == 10.0.0.0/8) && ip4",
    "ip && sctp.src == 1..5",
    "outport == {@a, @b, \"c\"} && ip4.src != 10.1.2.3",
    "inport == @pg && ip4 && 100 < tcp.dst < 200",
];

/// The match of the one ACL of the dump.
const ACL_MATCH: &str = "outport == @pg && ip4.src == $pg_ip4 && tcp.dst == 80";

/// Kubernetes objects.
const PODS: &str = r#"{"apiVersion":"v1","kind":"List","items":[
{"kind":"Node","metadata":{"name":"n1"},
 "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}},
{"kind":"Namespace","metadata":{"name":"shop","labels":{"team":"a"}}},
{"kind":"Pod","metadata":{"name":"web","namespace":"shop","labels":{"app":"web"}},
 "spec":{"nodeName":"n1","containers":[{"name":"c","ports":[{"name":"http","containerPort":80}]}]},
 "status":{"phase":"Running","podIP":"10.1.0.1","podIPs":[{"ip":"10.1.0.1"},{"ip":"fd00::1"}]}},
{"kind":"NetworkPolicy","metadata":{"name":"p","namespace":"shop"},
 "spec":{"podSelector":{"matchLabels":{"app":"web"}},"policyTypes":["Ingress","Egress"],
 "ingress":[{"from":[{"namespaceSelector":{},"podSelector":{"matchExpressions":
 [{"key":"app","operator":"In","values":["a","b"]}]}},
 {"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],
 "ports":[{"protocol":"TCP","port":"http"},{"protocol":"UDP","port":53,"endPort":60}]}],
 "egress":[{}]}}]}"#;

/// Writes the seeds, a directory a target.
pub fn write_all(directory: &Path) -> io::Result<()> {
    let (to_host, to_controller) = conversations();
    let seeds: [(&str, Vec<Vec<u8>>); 10] = [
        ("manifest", manifests()),
        ("ovn_dump", dumps()),
        ("ovn_match", MATCHES.iter().map(|text| text.as_bytes().to_vec()).collect()),
        ("kubernetes", vec![PODS.as_bytes().to_vec()]),
        ("host_update", updates()),
        ("host_session", to_host),
        ("controller_session", to_controller),
        ("sessions", courses()),
        ("peer", peers()),
        ("state", states()),
    ];
    seeds.iter().try_for_each(|(target, seeds)| write(&directory.join(target), seeds))
}

fn write(directory: &Path, seeds: &[Vec<u8>]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (n, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("seed-{n:02}")), seed)?;
    }
    Ok(())
}

/// The world as one file, each of its documents, and a list in JSON.
fn manifests() -> Vec<Vec<u8>> {
    let mut seeds = vec![WORLD.as_bytes().to_vec()];
    seeds.extend(WORLD.split("---\n").map(|document| document.as_bytes().to_vec()));
    seeds.push(br#"{"kind":"List","items":[{"kind":"Host","metadata":{"name":"h"}}]}"#.to_vec());
    seeds
}

/// A northbound database of a switch with two ports, a port group and an ACL, table by table as
/// `ovsdb-client -f json dump` prints it.
fn dumps() -> Vec<Vec<u8>> {
    let id = |n: u32| format!(r#"["uuid","00000000-0000-4000-8000-{n:012}"]"#);
    let table = |name: &str, headings: &str, rows: &[String]| {
        format!(
            "{{\"caption\":\"{name} table\",\"data\":[{}],\"headings\":[{headings}]}}\n",
            rows.join(",")
        )
    };
    let empty = r#"["set",[]]"#;
    let map = |key: &str, value: &str| format!(r#"["map",[["{key}","{value}"]]]"#);
    let none = r#"["map",[]]"#;
    let mut dump = table(
        "Logical_Switch",
        r#""_uuid","acls","external_ids","name","other_config","ports""#,
        &[format!(r#"[{},{empty},{none},"web",{none},["set",[{},{}]]]"#, id(1), id(2), id(3))],
    );
    let port = |n: u32, address: &str| {
        let both = format!("0a:00:00:00:00:{n:02} {address}");
        format!(
            r#"[{},"{both}",{},"p{n}",{},["set",["{both}"]],"",{empty}]"#,
            id(n),
            map("tenant", "t0"),
            map("requested-chassis", "host-01"),
        )
    };
    dump += &table(
        "Logical_Switch_Port",
        r#""_uuid","addresses","external_ids","name","options","port_security","type","enabled""#,
        &[port(2, "10.0.0.2"), port(3, "10.0.0.3")],
    );
    dump += &table(
        "Port_Group",
        r#""_uuid","acls","external_ids","name","ports""#,
        &[format!(r#"[{},{},{none},"pg",["set",[{},{}]]]"#, id(4), id(5), id(2), id(3))],
    );
    dump += &table(
        "ACL",
        r#""_uuid","action","direction","external_ids","log","match","name","priority""#,
        &[format!(
            r#"[{},"allow-related","to-lport",{none},false,"{ACL_MATCH}",{empty},1000]"#,
            id(5)
        )],
    );
    vec![dump.into_bytes()]
}

/// Every item of the world, whole; some removed; differences; and ranges.
fn updates() -> Vec<Vec<u8>> {
    let engine = world();
    let mut seeds = Vec::new();
    for host in ["host-01", "host-02"].iter().filter_map(|host| engine.host_id(host)) {
        for (key, item) in engine.host_view(host).items {
            seeds.push(encode_full(key, item.version, &item.item).to_vec());
            seeds.push(encode_removed(key).to_vec());
            // All of them, as to a host of which each differs.
            let ranges = ranges::cut(&item.item).map(|mut held| {
                held.digests.iter_mut().for_each(|digest| *digest ^= 1);
                held
            });
            if let Some(delta) = ranges.and_then(|held| ranges::difference(&held, &item.item)) {
                seeds.push(encode_ranges(key, 4, item.version, &delta).to_vec());
            }
            let delta = match &*item.item {
                Item::Shard(added) => {
                    ItemDelta::Shard { removed: Vec::new(), added: added.clone() }
                }
                Item::Locators(added) => {
                    ItemDelta::Locators { removed: Vec::new(), added: added.iter().collect() }
                }
                _ => continue,
            };
            seeds.push(encode_delta(key, 4, item.version, &delta).to_vec());
        }
    }
    seeds
}

/// What a controller and a host say, message by message.
#[derive(Default)]
struct Conversation {
    to_host: Vec<Vec<u8>>,
    to_controller: Vec<Vec<u8>>,
    /// What the host holds in the end.
    held: Option<HeldView>,
}

/// What a controller of this network and a host that holds this say to each other from hello to
/// acknowledgement.
fn conversation(engine: &Engine, held: Option<HeldView>) -> Conversation {
    let mut log = ChangeLog::new(1 << 20, 1 << 20);
    let mut conversation = Conversation::default();
    let Some(host) = engine.host_id("host-01") else { return conversation };
    let identity = HostIdentity {
        host: "host-01".into(),
        instance: 1,
        starts: 0,
        agent_version: "0".to_owned(),
        datapath: "record".to_owned(),
    };
    let cluster_id = ClusterId([7; 16]);
    let mut agent = HostSession::new(identity, held);
    let mut commands: VecDeque<HostCommand> = agent.process_connected().into();
    let mut controller: Option<ControllerSession> = None;
    while let Some(command) = commands.pop_front() {
        match command {
            HostCommand::Send(message) => {
                conversation.to_controller.push(message.encode_to_vec());
                match &mut controller {
                    None => {
                        let hello = Hello::from_first_message(message).expect("a hello of ours");
                        controller = Some(ControllerSession::new(hello, Duration::ZERO));
                    }
                    Some(session) => drop(session.process_message(message, Duration::ZERO)),
                }
            }
            HostCommand::Apply(change) => {
                commands.extend(agent.process_applied(change.to, Vec::new()));
            }
            HostCommand::Disconnect { detail, .. } => panic!("refused: {detail}"),
        }
        let Some(session) = &mut controller else { continue };
        // Once, when all else was said.
        if session.phase() == SessionPhase::Idle && session.status().checks == 0 {
            let _ = session.request_check();
        }
        let mut source = EngineSource { engine, log: &mut log, host, cluster_id };
        while let Some(message) = session.next_message(&mut source, Duration::ZERO) {
            conversation.to_host.push(message.encode_to_vec());
            commands.extend(agent.process_message(message));
        }
    }
    conversation.held = Some(HeldView { cluster_id, view: agent.view().clone() });
    conversation
}

/// Messages to a host that holds nothing, and to one that comes back; and those to the controller.
fn conversations() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let first = conversation(&world(), None);
    let before = conversation(&older_world(), None);
    let back = conversation(&world(), before.held);
    // A host that is fuzzed holds nothing at first. It takes the older network, and then what it would
    // be sent when it comes back, but for another welcome.
    let resumed: Vec<Vec<u8>> =
        before.to_host.into_iter().chain(back.to_host.into_iter().skip(1)).collect();
    let to_host = vec![join(&first.to_host), join(&resumed)];
    let to_controller = vec![join(&first.to_controller), join(&back.to_controller)];
    (to_host, to_controller)
}

/// What happens to a host and its controller, and two messages that nobody sent.
fn courses() -> Vec<Vec<u8>> {
    use actions::*;
    let exchange = [TO_CONTROLLER, TO_HOST, APPLIED, TO_CONTROLLER, TO_HOST, APPLIED];
    let begin = [&[CONNECT][..], &exchange, &exchange].concat();
    let courses: [&[u8]; 5] = [
        &[CHECK, TO_HOST, TO_CONTROLLER],
        &[CHANGE, 0, CHANGE, 65, CHANGE, 130, TO_HOST, BREAK, CHANGE, 73, CONNECT],
        &[CHANGE, 1, TO_HOST, RESTART_AGENT, RESTART_REPLICA, CHANGE, 129, CONNECT],
        &[REPAIR, TO_CONTROLLER, CHECK, CHANGE, 2, TO_HOST, TIME, 9],
        &[CHECK, CHANGE, 2, TO_HOST, TO_CONTROLLER, CHECK, TO_HOST],
    ];
    let mut seeds: Vec<Vec<u8>> =
        courses.iter().map(|course| [&begin[..], course, &exchange].concat()).collect();
    let Conversation { to_host, to_controller, .. } = conversation(&world(), None);
    for (action, messages) in [(FORGE_TO_HOST, to_host), (FORGE_TO_CONTROLLER, to_controller)] {
        let forged = messages.iter().filter_map(|message| {
            let length = u8::try_from(message.len()).ok()?;
            Some([&begin[..], &[action, length], message, &exchange].concat())
        });
        seeds.extend(forged);
    }
    seeds
}

/// A byte that chooses a reader, and what it is to read.
fn chosen(reader: u8, bytes: &[u8]) -> Vec<u8> {
    [&[reader][..], bytes].concat()
}

/// Messages of each kind, a record of a journal and its parts, and commands.
fn peers() -> Vec<Vec<u8>> {
    let name = SnapshotName { index: 7, term: 3 };
    let id = RequestId([5; 16]);
    let (from, to) = FROM_TO;
    let change = MembersChange {
        add: vec!["192.0.2.1:6690".to_owned()],
        promote: vec![2],
        remove: vec![3],
        force: true,
    };
    let operation = |resource| wire::Operation {
        operation: Some(wire::operation::Operation::Put(from_resource(&resource))),
        expected_revision: Some(3),
    };
    let engine = world();
    let objects = Kind::ALL.iter().flat_map(|kind| {
        let objects = engine.list(*kind, None, None).map(|object| object.resource.clone());
        objects.collect::<Vec<_>>()
    });
    let transaction =
        wire::Transaction { operations: objects.map(operation).collect(), expected_revision: None };
    let command = encode_command(id, 4, transaction);
    let entry = Entry { index: 8, term: 3, data: command.clone(), ..Entry::default() };
    let append = raft::eraftpb::Message {
        msg_type: MessageType::MsgAppend as i32,
        from,
        to,
        term: 3,
        log_term: 3,
        index: 7,
        commit: 7,
        entries: vec![entry.clone()],
        ..Default::default()
    };
    let chunk = Chunk {
        name,
        total: 4,
        total_checksum: crc32c::crc32c(b"data"),
        offset: 0,
        data: bytes::Bytes::from_static(b"data"),
        checksum: crc32c::crc32c(b"data"),
    };
    let messages = [
        PeerMessage::Raft(Box::new(append)),
        PeerMessage::SnapshotRequest(ChunkRequest { name, offset: 4 }),
        PeerMessage::SnapshotChunk(chunk),
        PeerMessage::SnapshotGone(name),
        PeerMessage::Forward { id, what: Request::Command(command.clone()) },
        PeerMessage::Forward { id, what: Request::Members(change) },
        PeerMessage::Forward { id, what: Request::Transfer(3) },
        PeerMessage::Answer { id, answer: LeaderAnswer::Refused("no".to_owned()) },
        PeerMessage::Answer { id, answer: LeaderAnswer::Already(vec![4]) },
        PeerMessage::Load(7),
    ];
    let envelopes = messages.iter().map(|message| message.to_wire().encode_to_vec());
    let mut seeds: Vec<Vec<u8>> = envelopes.map(|bytes| chosen(0, &bytes)).collect();
    let write = Write {
        snapshot: None,
        entries: vec![entry],
        hard_state: Some(HardState { term: 3, vote: 1, commit: 7 }),
        conf_state: Some(ConfState::from(([1, 2], [3]))),
    };
    let mut record = Vec::new();
    journal_record::encode(RECORD_NUMBER, &write, &mut record);
    let parts = journal_record::find(&record, 0).map(|found| found.parts.to_vec());
    seeds.push(chosen(1, &record));
    seeds.extend(parts.map(|parts| chosen(1, &parts)));
    seeds.push(chosen(2, &command));
    seeds
}

/// The world as a snapshot, and that as a backup: the file, and its parts.
fn states() -> Vec<Vec<u8>> {
    let engine = world();
    let state = State {
        network: engine.export(),
        members: Members { addresses: [(1, "192.0.2.1:6690".to_owned())].into(), next_id: 2 },
        applied_index: engine.revision() + 2,
        ..State::default()
    };
    let snapshot = encode_snapshot(&state);
    let header = BackupHeader {
        revision: engine.revision(),
        index: state.applied_index,
        term: 3,
        ..BackupHeader::default()
    };
    let parts: Vec<BackupPart> = backup::to_parts(header, snapshot.clone()).collect();
    let mut file = backup::Writer::new(Vec::new()).expect("a vector can be written to");
    for part in &parts {
        file.write(part).expect("a vector can be written to");
    }
    let parts: Vec<Vec<u8>> = parts.iter().map(Message::encode_to_vec).collect();
    vec![chosen(0, &snapshot), chosen(1, &file.into_inner()), chosen(2, &join(&parts))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_hostproto::wire::controller_message::Message as ToHost;
    use spanwire_hostproto::wire::host_message::Message as ToController;
    use spanwire_hostproto::wire::{ControllerMessage, HostMessage};
    use spanwire_hostproto::{Change, decode_update};

    #[test]
    fn the_host_that_comes_back_is_sent_ranges() {
        let before = conversation(&older_world(), None);
        let back = conversation(&world(), before.held);
        let told = back
            .to_controller
            .iter()
            .filter_map(|bytes| HostMessage::decode(&**bytes).expect("a message of ours").message);
        assert_eq!(told.filter(|message| matches!(message, ToController::Ranges(_))).count(), 1);
        let sent = back.to_host.iter().filter_map(|bytes| {
            ControllerMessage::decode(&**bytes).expect("a message of ours").message
        });
        let parts = sent.filter_map(|message| match message {
            ToHost::Part(part) => Some(part),
            _ => None,
        });
        let updates = parts.flat_map(|part| part.updates);
        let changes = updates.map(|bytes| decode_update(&bytes).expect("an update of ours").change);
        assert!(changes.into_iter().any(|change| matches!(change, Change::Ranges { .. })));
    }
}
