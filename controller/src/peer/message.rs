//! What one replica says to another, and its form on the wire.

use crate::consensus::transfer::{Chunk, ChunkRequest, SnapshotName};
use crate::state::{RequestId, check_address, wire};
use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::{self, MessageType};
use wire::envelope::Message as OnWire;

/// The version of the peer protocol that is spoken here.
pub const PEER_VERSION: u32 = 1;
/// Members that one change may name.
const CHANGE_MEMBERS_MAX: usize = 64;
/// The longest text of an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 4096;

/// What one replica says to another.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerMessage {
    /// The Raft cores' own.
    Raft(Box<eraftpb::Message>),
    /// Asks for a part of a snapshot.
    SnapshotRequest(ChunkRequest),
    /// A part of a snapshot.
    SnapshotChunk(Chunk),
    /// The snapshot that was asked for is not there any more.
    SnapshotGone(SnapshotName),
    /// A request for the leader.
    Forward {
        /// The request.
        id: RequestId,
        /// What is asked for.
        what: Request,
    },
    /// Of the leader, to a request that does not go into the log.
    Answer {
        /// The request.
        id: RequestId,
        /// What is said to it.
        answer: LeaderAnswer,
    },
    /// How many hosts have a stream from the sender.
    Load(u32),
}

/// What a replica asks of the leader.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Append a command to the log: bytes from
    /// [`encode_command`](crate::state::encode_command).
    Command(Bytes),
    /// Change the members of the cluster.
    Members(MembersChange),
    /// Hand leadership over to this replica.
    Transfer(u64),
}

/// Members that come, change and go, all at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembersChange {
    /// Addresses of new replicas. They begin as learners.
    pub add: Vec<String>,
    /// Learners that become voters.
    pub promote: Vec<u64>,
    /// Members that leave.
    pub remove: Vec<u64>,
    /// Do it even if the cluster may not be able to write any more afterwards.
    pub force: bool,
}

/// What the leader says to a request that does not go into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderAnswer {
    /// It is refused, for this reason.
    Refused(String),
    /// It cannot be taken now, for this reason: try again.
    Later(String),
    /// Nothing was to be done: this is already so. The members it is about.
    Already(Vec<u64>),
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message of another replica makes no sense: {0}")]
pub struct PeerMessageError(pub String);

fn bad(problem: impl Into<String>) -> PeerMessageError {
    PeerMessageError(problem.into())
}

/// What a message counts for, beside what in it is large.
const MESSAGE_BYTES_MIN: usize = 256;

impl PeerMessage {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let large = match self {
            PeerMessage::Raft(message) => message.encoded_len(),
            PeerMessage::SnapshotChunk(chunk) => chunk.data.len(),
            PeerMessage::Forward { what: Request::Command(bytes), .. } => bytes.len(),
            PeerMessage::Forward { .. }
            | PeerMessage::SnapshotRequest(_)
            | PeerMessage::SnapshotGone(_)
            | PeerMessage::Answer { .. }
            | PeerMessage::Load(_) => 0,
        };
        MESSAGE_BYTES_MIN + large
    }

    /// The message on the wire.
    pub fn to_wire(&self) -> wire::Envelope {
        let message = match self {
            PeerMessage::Raft(message) => OnWire::Raft(message.encode_to_vec().into()),
            PeerMessage::SnapshotRequest(ChunkRequest { name, offset }) => {
                let name = Some(from_name(*name));
                OnWire::SnapshotRequest(wire::SnapshotRequest { name, offset: *offset })
            }
            PeerMessage::SnapshotChunk(chunk) => OnWire::SnapshotChunk(wire::SnapshotChunk {
                name: Some(from_name(chunk.name)),
                total: chunk.total,
                total_checksum: chunk.total_checksum,
                offset: chunk.offset,
                data: chunk.data.clone(),
                checksum: chunk.checksum,
            }),
            PeerMessage::SnapshotGone(name) => {
                OnWire::SnapshotGone(wire::SnapshotGone { name: Some(from_name(*name)) })
            }
            PeerMessage::Forward { id, what } => OnWire::Forward(wire::Forward {
                request: id.0.to_vec().into(),
                what: Some(match what {
                    Request::Command(bytes) => wire::forward::What::Command(bytes.clone()),
                    Request::Members(change) => wire::forward::What::Members(change.to_wire()),
                    Request::Transfer(to) => wire::forward::What::Transfer(*to),
                }),
            }),
            PeerMessage::Answer { id, answer } => OnWire::Answer(wire::Answer {
                request: id.0.to_vec(),
                what: Some(match answer {
                    LeaderAnswer::Refused(why) => wire::answer::What::Refused(why.clone()),
                    LeaderAnswer::Later(why) => wire::answer::What::Later(why.clone()),
                    LeaderAnswer::Already(ids) => {
                        wire::answer::What::Already(wire::MemberIds { ids: ids.clone() })
                    }
                }),
            }),
            PeerMessage::Load(streams) => OnWire::Load(wire::Load { streams: *streams }),
        };
        wire::Envelope { message: Some(message) }
    }

    /// The message that `from` sent to `to`.
    ///
    /// # Errors
    /// If it is not whole, or says of itself that it goes from or to another.
    pub fn from_wire(
        envelope: wire::Envelope,
        from: u64,
        to: u64,
    ) -> Result<PeerMessage, PeerMessageError> {
        match envelope.message {
            Some(OnWire::Raft(bytes)) => {
                let message = eraftpb::Message::decode(bytes);
                let message = message.map_err(|error| bad(format!("its Raft part: {error}")))?;
                check_raft(&message, from, to)?;
                Ok(PeerMessage::Raft(Box::new(message)))
            }
            Some(OnWire::SnapshotRequest(wire::SnapshotRequest { name, offset })) => {
                let name = to_name(name)?;
                Ok(PeerMessage::SnapshotRequest(ChunkRequest { name, offset }))
            }
            Some(OnWire::SnapshotChunk(chunk)) => {
                let wire::SnapshotChunk { name, total, total_checksum, offset, data, checksum } =
                    chunk;
                let name = to_name(name)?;
                let chunk = Chunk { name, total, total_checksum, offset, data, checksum };
                Ok(PeerMessage::SnapshotChunk(chunk))
            }
            Some(OnWire::SnapshotGone(wire::SnapshotGone { name })) => {
                Ok(PeerMessage::SnapshotGone(to_name(name)?))
            }
            Some(OnWire::Forward(wire::Forward { request, what })) => {
                let id = to_request(&request)?;
                let what = match what {
                    Some(wire::forward::What::Command(bytes)) if bytes.is_empty() => {
                        return Err(bad("a command without bytes"));
                    }
                    Some(wire::forward::What::Command(bytes)) => Request::Command(bytes),
                    Some(wire::forward::What::Members(change)) => {
                        Request::Members(MembersChange::from_wire(change)?)
                    }
                    Some(wire::forward::What::Transfer(to)) => Request::Transfer(to),
                    None => return Err(bad("a request of an unknown kind")),
                };
                Ok(PeerMessage::Forward { id, what })
            }
            Some(OnWire::Answer(wire::Answer { request, what })) => {
                let id = to_request(&request)?;
                let cut =
                    |text: String| text[..text.floor_char_boundary(ANSWER_BYTES_MAX)].to_owned();
                let answer = match what {
                    Some(wire::answer::What::Refused(why)) => LeaderAnswer::Refused(cut(why)),
                    Some(wire::answer::What::Later(why)) => LeaderAnswer::Later(cut(why)),
                    Some(wire::answer::What::Already(ids)) => LeaderAnswer::Already(ids.ids),
                    None => return Err(bad("an answer of an unknown kind")),
                };
                Ok(PeerMessage::Answer { id, answer })
            }
            Some(OnWire::Load(wire::Load { streams })) => Ok(PeerMessage::Load(streams)),
            Some(OnWire::Hello(_)) => Err(bad("a second hello on one stream")),
            None => Err(bad("it is of an unknown kind: its sender may be of a later release")),
        }
    }
}

impl MembersChange {
    /// The change on the wire.
    pub fn to_wire(&self) -> wire::MembersChange {
        let MembersChange { add, promote, remove, force } = self.clone();
        wire::MembersChange { add, promote, remove, force }
    }

    /// The change that was asked for.
    ///
    /// # Errors
    /// If it names nobody, too many, or one twice, or an address is none.
    pub fn from_wire(change: wire::MembersChange) -> Result<MembersChange, PeerMessageError> {
        let wire::MembersChange { add, promote, remove, force } = change;
        let count = add.len() + promote.len() + remove.len();
        if count == 0 || count > CHANGE_MEMBERS_MAX {
            return Err(bad(format!(
                "a change names {count} members: expected 1 to {CHANGE_MEMBERS_MAX}"
            )));
        }
        add.iter().try_for_each(|address| check_address(address)).map_err(bad)?;
        let mut ids: Vec<u64> = promote.iter().chain(&remove).copied().collect();
        ids.sort_unstable();
        let mut addresses: Vec<&String> = add.iter().collect();
        addresses.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1])
            || addresses.windows(2).any(|pair| pair[0] == pair[1])
        {
            return Err(bad("a change names a member twice"));
        }
        if ids.first() == Some(&0) {
            return Err(bad("a change names replica 0: the first is 1"));
        }
        Ok(MembersChange { add, promote, remove, force })
    }
}

fn to_request(bytes: &[u8]) -> Result<RequestId, PeerMessageError> {
    RequestId::from_wire(bytes).ok_or_else(|| bad("a request is not 16 bytes"))
}

fn from_name(SnapshotName { index, term }: SnapshotName) -> wire::SnapshotName {
    wire::SnapshotName { index, term }
}

fn to_name(name: Option<wire::SnapshotName>) -> Result<SnapshotName, PeerMessageError> {
    let name = name.ok_or_else(|| bad("a snapshot has no name"))?;
    Ok(SnapshotName { index: name.index, term: name.term })
}

/// Checks what the Raft core takes for granted, and breaks off without.
fn check_raft(message: &eraftpb::Message, from: u64, to: u64) -> Result<(), PeerMessageError> {
    // A question that comes to a follower goes on to the leader, in the name of who asked.
    let is_passed_on = message.msg_type == MessageType::MsgReadIndex as i32;
    if message.to != to || (message.from != from && !is_passed_on) {
        return Err(bad(format!(
            "it says that it goes from replica {} to {}, and came from {from} to {to}",
            message.from, message.to
        )));
    }
    let kind = MessageType::try_from(message.msg_type)
        .map_err(|_| bad(format!("an unknown kind of Raft message, {}", message.msg_type)))?;
    match kind {
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => {
            return Err(bad(format!("{kind:?} stays within a replica")));
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if message.entries.len() != 1 => {
            return Err(bad("a read without its context"));
        }
        MessageType::MsgSnapshot
            if message.snapshot.as_ref().is_none_or(|s| s.get_metadata().index == 0) =>
        {
            return Err(bad("a snapshot without an index"));
        }
        MessageType::MsgAppend => {
            let expected = (message.index..).skip(1);
            if message.entries.iter().zip(expected).any(|(entry, index)| entry.index != index) {
                return Err(bad("its log entries do not follow each other"));
            }
        }
        _ => {}
    }
    for entry in &message.entries {
        if eraftpb::EntryType::try_from(entry.entry_type).is_err() {
            return Err(bad(format!("log entry {} is of an unknown kind", entry.index)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(message: &PeerMessage) -> Result<PeerMessage, PeerMessageError> {
        let bytes = message.to_wire().encode_to_vec();
        let envelope = wire::Envelope::decode(bytes.as_slice()).unwrap();
        PeerMessage::from_wire(envelope, 1, 2)
    }

    fn mk_raft(kind: MessageType) -> eraftpb::Message {
        eraftpb::Message { msg_type: kind as i32, from: 1, to: 2, ..eraftpb::Message::default() }
    }

    #[test]
    fn messages_come_back() {
        let name = SnapshotName { index: 7, term: 3 };
        let id = RequestId([5; 16]);
        let change = MembersChange {
            add: vec!["a:1".into()],
            promote: vec![2],
            remove: vec![3],
            force: true,
        };
        let chunk = Chunk {
            name,
            total: 9,
            total_checksum: 1,
            offset: 4,
            data: Bytes::from_static(b"data"),
            checksum: 2,
        };
        let messages = [
            PeerMessage::Raft(Box::new(mk_raft(MessageType::MsgHeartbeat))),
            PeerMessage::SnapshotRequest(ChunkRequest { name, offset: 4 }),
            PeerMessage::SnapshotChunk(chunk),
            PeerMessage::SnapshotGone(name),
            PeerMessage::Forward { id, what: Request::Command(Bytes::from_static(b"x")) },
            PeerMessage::Forward { id, what: Request::Members(change) },
            PeerMessage::Forward { id, what: Request::Transfer(3) },
            PeerMessage::Answer { id, answer: LeaderAnswer::Refused("no".into()) },
            PeerMessage::Answer { id, answer: LeaderAnswer::Later("wait".into()) },
            PeerMessage::Answer { id, answer: LeaderAnswer::Already(vec![4]) },
            PeerMessage::Load(7),
        ];
        for message in messages {
            assert_eq!(back(&message).as_ref(), Ok(&message));
        }
    }

    #[test]
    fn what_would_break_the_core_is_refused() {
        type Change = fn(&mut eraftpb::Message);
        let cases: [(MessageType, Change, &str); 9] = [
            (MessageType::MsgHeartbeat, |m| m.from = 3, "from replica 3 to 2"),
            (MessageType::MsgHeartbeat, |m| m.to = 3, "from replica 1 to 3"),
            (MessageType::MsgHeartbeat, |m| m.msg_type = 99, "unknown kind of Raft message, 99"),
            (MessageType::MsgHup, |_| {}, "MsgHup stays within a replica"),
            (MessageType::MsgPropose, |_| {}, "MsgPropose stays within a replica"),
            (MessageType::MsgReadIndex, |_| {}, "a read without its context"),
            (MessageType::MsgSnapshot, |_| {}, "a snapshot without an index"),
            (
                MessageType::MsgAppend,
                |m| m.entries = vec![eraftpb::Entry { index: 2, ..Default::default() }],
                "do not follow each other",
            ),
            (
                MessageType::MsgAppend,
                |m| {
                    let entry = eraftpb::Entry { index: 1, entry_type: 9, ..Default::default() };
                    m.entries = vec![entry];
                },
                "log entry 1 is of an unknown kind",
            ),
        ];
        for (kind, change, expected) in cases {
            let mut message = mk_raft(kind);
            change(&mut message);
            let error = back(&PeerMessage::Raft(Box::new(message))).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
    }

    #[test]
    fn changes_of_members_are_checked() {
        let change = |add: &[&str], promote: &[u64], remove: &[u64]| {
            let change = wire::MembersChange {
                add: add.iter().map(|a| (*a).to_owned()).collect(),
                promote: promote.to_vec(),
                remove: remove.to_vec(),
                force: false,
            };
            MembersChange::from_wire(change).map_err(|error| error.to_string())
        };
        assert!(change(&["a:1", "b:1"], &[2], &[3]).is_ok());
        for (result, expected) in [
            (change(&[], &[], &[]), "names 0 members"),
            (change(&[], &[], &[1; 65]), "names 65 members"),
            (change(&["a"], &[], &[]), "has no port"),
            (change(&["a:1", "a:1"], &[], &[]), "twice"),
            (change(&[], &[2], &[2]), "twice"),
            (change(&[], &[0], &[]), "replica 0"),
        ] {
            let error = result.unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_decoder(
            position in 0_usize..200,
            flips in proptest::collection::vec(proptest::num::u8::ANY, 1..8),
        ) {
            let mut raft = mk_raft(MessageType::MsgAppend);
            raft.entries = vec![eraftpb::Entry { index: 1, term: 1, ..Default::default() }];
            let change = MembersChange { add: vec!["a:1".into()], ..MembersChange::default() };
            let what = Request::Members(change);
            let forward = PeerMessage::Forward { id: RequestId([5; 16]), what };
            for message in [PeerMessage::Raft(Box::new(raft)), forward] {
                let mut bytes = message.to_wire().encode_to_vec();
                for (n, flip) in flips.iter().enumerate() {
                    let at = (position + n * 7) % bytes.len();
                    bytes[at] ^= flip;
                }
                if let Ok(envelope) = wire::Envelope::decode(bytes.as_slice())
                    && let Ok(message) = PeerMessage::from_wire(envelope, 1, 2)
                {
                    // What is taken comes back as it was taken.
                    proptest::prop_assert_eq!(back(&message), Ok(message));
                }
            }
        }
    }
}
