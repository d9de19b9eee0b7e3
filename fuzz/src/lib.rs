//! The fuzz targets, as functions of bytes. Each says what it checks besides "does not panic".

pub mod replica;
pub mod seeds;
pub mod sessions;

pub use replica::{peer, state};
pub use sessions::sessions;

use bytes::Bytes;
use prost::Message;
use spanwire_hostproto::codec::{encode_delta, encode_full, encode_ranges, encode_removed};
use spanwire_hostproto::frames::FrameReader;
use spanwire_hostproto::message::Hello;
use spanwire_hostproto::{
    Change, ChangeLog, ClusterId, ControllerSession, EngineSource, HostCommand, HostIdentity,
    HostSession, decode_update, wire,
};
use spanwire_import::kubernetes::{self, KubernetesOptions};
use spanwire_import::ovn::{self, OvnOptions};
use spanwire_topology::model::{CidrBlock, Kind, Spec};
use spanwire_topology::{Engine, Transaction};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// The project of documents that name none.
const PROJECT: &str = "default";
/// The most messages of one input that a session is given.
const MESSAGES_MAX: usize = 64;
/// The most messages that a session may answer at once: parts of this little world's only batch.
const ANSWERS_MAX: usize = 1000;

/// Blocks of a group of the little network: so many that what differs of them is told by ranges.
const BLOCKS: u32 = 400;
const BLOCKS_PREFIX_LEN: u8 = 27;

/// A little network with everything in it: the seeds are made of it, and sessions serve it.
pub const WORLD: &str = include_str!("world.yaml");

/// Resource documents: what is read can be written, and read again as the same.
pub fn manifest(data: &[u8]) {
    for name in ["input.yaml", "input.json"] {
        let Ok(documents) = spanwire_manifest::read_bytes(name, data, PROJECT) else { continue };
        for document in documents {
            let text = spanwire_manifest::write_yaml(&document.resource);
            let again = spanwire_manifest::read_str("again.yaml", &text, PROJECT)
                .unwrap_or_else(|errors| panic!("{errors:?} in\n{text}"));
            assert_eq!(again.len(), 1);
            assert_eq!(again[0].resource, document.resource, "in\n{text}");
        }
    }
}

/// A northbound database: what comes out has no name twice, and the engine takes or refuses it.
pub fn ovn_dump(data: &[u8]) {
    if let Ok(import) = ovn::import_dump(data, &OvnOptions::default()) {
        apply(import.resources);
    }
}

/// A match: what parses can be brought into normal form, or is refused.
pub fn ovn_match(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(expression) = ovn::expr::parse(text)
    {
        // Too complex is an answer; anything but an answer is not.
        let _normal = ovn::expr::normalize(&expression);
    }
}

/// Kubernetes objects, as a northbound database.
pub fn kubernetes(data: &[u8]) {
    let documents = [("input.yaml".to_owned(), data.to_vec())];
    if let Ok(import) = kubernetes::import_documents(&documents, &KubernetesOptions::default()) {
        apply(import.resources);
    }
}

fn apply(resources: Vec<spanwire_topology::Resource>) {
    if let Err(spanwire_topology::Refusal::NamedTwice { key }) =
        Engine::new().apply(&Transaction::put(resources), 1)
    {
        panic!("{key} was imported twice");
    }
}

/// One update: what decodes can be encoded, and decodes to the same.
pub fn host_update(data: &[u8]) {
    let Ok(update) = decode_update(data) else { return };
    let encoded = match &update.change {
        Change::Removed => encode_removed(update.key),
        Change::Full(item) => encode_full(update.key, update.version, item),
        Change::Delta { base_version, delta } => {
            encode_delta(update.key, *base_version, update.version, delta)
        }
        Change::Ranges { base_version, delta } => {
            encode_ranges(update.key, *base_version, update.version, delta)
        }
    };
    let again = decode_update(&encoded).unwrap_or_else(|error| panic!("{error}: {update:?}"));
    assert_eq!(again, update);
}

/// Messages from a controller: the host's view never goes back (guarantee G5) within a cluster.
pub fn host_session(data: &[u8]) {
    let identity = HostIdentity {
        host: "host-01".into(),
        instance: 1,
        starts: 0,
        agent_version: "0".to_owned(),
        datapath: "record".to_owned(),
    };
    let mut session = HostSession::new(identity, None);
    let mut commands = session.process_connected();
    for bytes in split(data) {
        let Ok(message) = wire::ControllerMessage::decode(bytes) else { continue };
        let (revision, cluster) = (session.revision(), session.cluster_id());
        commands.extend(session.process_message(message));
        for command in std::mem::take(&mut commands) {
            if let HostCommand::Apply(change) = command {
                if cluster == Some(change.cluster_id) {
                    assert!(change.to >= revision, "from {revision} back to {}", change.to);
                }
                commands.extend(session.process_applied(change.to, Vec::new()));
            }
        }
    }
}

/// What a connection brings: it is read as the same messages, whatever pieces it comes in.
fn frames(data: &[u8], piece: usize) {
    const MAX: usize = 1024;
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut messages) = (FrameReader::new(MAX), Vec::new());
        for piece in pieces {
            reader.push(Bytes::copy_from_slice(piece));
            loop {
                match reader.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Err(error)),
                }
            }
        }
        (messages, Ok(reader.is_empty()))
    };
    let whole = read(&mut std::iter::once(data));
    assert!(whole.0.iter().all(|message| message.len() <= MAX));
    assert_eq!(whole, read(&mut data.chunks(piece)));
}

/// Messages from a host: the controller answers each with a bounded number of messages.
pub fn controller_session(data: &[u8]) {
    if let Some((first, rest)) = data.split_first() {
        frames(rest, 1 + usize::from(*first));
    }
    let mut messages = split(data);
    let Some(first) = messages.next() else { return };
    let Ok(first) = wire::HostMessage::decode(first) else { return };
    let Ok(hello) = Hello::from_first_message(first) else { return };
    let engine = world();
    let Some(host) = engine.host_id("host-01") else { return };
    let mut log = ChangeLog::new(1 << 20, 1 << 20);
    let mut session = ControllerSession::new(hello, Duration::ZERO);
    let mut now = Duration::ZERO;
    loop {
        let cluster_id = ClusterId([7; 16]);
        let mut source = EngineSource { engine: &engine, log: &mut log, host, cluster_id };
        let mut answers = 0;
        while session.next_message(&mut source, now).is_some() {
            answers += 1;
            assert!(answers < ANSWERS_MAX, "the session does not stop talking");
        }
        now += Duration::from_secs(1);
        session.process_timer(now);
        let Some(bytes) = messages.next() else { return };
        if session.is_ended() {
            return;
        }
        if let Ok(message) = wire::HostMessage::decode(bytes) {
            session.process_message(message, now);
            // A host that cannot be checked, or is refused, is not.
            let _ = session.request_check();
        }
    }
}

/// The engine with [`WORLD`] in it.
pub fn world() -> Engine {
    let mut engine = older_world();
    change_blocks(&mut engine, 6, BLOCKS - 1);
    engine
}

/// The little network as it was one block earlier.
pub fn older_world() -> Engine {
    let documents = spanwire_manifest::read_str("world.yaml", WORLD, PROJECT)
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut engine = Engine::new();
    let put = Transaction::put(documents.into_iter().map(|document| document.resource));
    engine.apply(&put, 4).unwrap_or_else(|refusal| panic!("{refusal}"));
    change_blocks(&mut engine, 5, BLOCKS);
    engine
}

/// Gives the group of clients so many more blocks than the document says.
fn change_blocks(engine: &mut Engine, revision: u64, count: u32) {
    let mut clients = engine
        .list(Kind::Group, None, None)
        .find(|object| &*object.resource.metadata.name == "clients")
        .map(|object| object.resource.clone())
        .unwrap_or_else(|| panic!("no clients in the world"));
    if let Spec::Group(group) = Arc::make_mut(&mut clients.spec) {
        group.blocks.retain(|block| block.cidr().prefix_len() != BLOCKS_PREFIX_LEN);
        for number in 0..count {
            let network = Ipv4Addr::from(0xc633_0000 + number * 6000);
            let cidr = format!("{network}/{BLOCKS_PREFIX_LEN}").parse().ok();
            group.blocks.extend(cidr.and_then(|cidr| CidrBlock::new(cidr, Vec::new()).ok()));
        }
    }
    let put = Transaction::put([clients]);
    engine.apply(&put, revision).unwrap_or_else(|refusal| panic!("{refusal}"));
}

/// The messages of an input: each behind its length, two bytes, most significant first. The last
/// may be cut short.
fn split(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        Some(message)
    })
    .take(MESSAGES_MAX)
}

/// The opposite of what the session targets do with an input: for seeds.
pub fn join(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut data = Vec::new();
    for message in messages {
        if let Ok(length) = u16::try_from(message.len()) {
            data.extend(length.to_be_bytes());
            data.extend(message);
        }
    }
    data
}
