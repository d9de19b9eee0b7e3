//! Commands: admin requests into log entries, and log entries into transactions.

use super::wire;
use super::{REQUESTS_KEPT, RequestId};
use crate::history::Transition;
use bytes::Bytes;
use prost::Message;
use raft::eraftpb::Entry;
use spanwire_adminproto::convert::{self, ConvertError};
use spanwire_topology::engine::Refusal;
use spanwire_topology::model::{Operation, Revision, Sharing, Transaction};
use std::sync::Arc;
use tonic::Status;

/// Why a transaction that reached the log was not applied. Recorded as its outcome: every replica
/// comes to the same.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Rejection {
    /// It conflicts with the state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An earlier attempt of the same request was refused.
    #[error(
        "an earlier attempt of this request was refused, by log entry {0}: nothing was changed"
    )]
    Before(u64),
    /// It was tried before, so long ago that what became of it then is forgotten.
    #[error(
        "the outcome is unknown: this request was tried before, and {REQUESTS_KEPT} others were \
         applied since. Read the objects before you ask again, as a new request"
    )]
    Forgotten,
    /// It is not well formed. The leader checks that before it proposes, so this is the word of a
    /// release whose checks were others.
    #[error("the transaction is malformed: {0}")]
    Malformed(String),
}

impl Rejection {
    /// The rejection as an answer to whoever asked for the transaction.
    pub fn to_status(&self) -> Status {
        match self {
            Rejection::Refused(refusal) => convert::refusal_status(refusal),
            Rejection::Before(_) => Status::failed_precondition(self.to_string()),
            Rejection::Forgotten => Status::unavailable(self.to_string()),
            Rejection::Malformed(problem) => Status::invalid_argument(problem.clone()),
        }
    }
}

/// How a transaction came to be applied.
#[derive(Debug, Clone)]
pub enum Applied {
    /// By this entry.
    Now(Arc<Transition>),
    /// By an earlier entry of the same request, which was tried again: as this revision.
    Before(Revision),
}

impl Applied {
    /// The revision of the transaction.
    pub fn revision(&self) -> Revision {
        match self {
            Applied::Now(transition) => transition.revision,
            Applied::Before(revision) => *revision,
        }
    }
}

/// A log entry, ready to be applied.
#[derive(Debug)]
pub struct Prepared {
    /// The index of the entry: the revision of the transaction.
    pub index: u64,
    /// Milliseconds since the epoch when the leader proposed it.
    pub proposed_at_ms: u64,
    /// The request: finds the caller who waits for it. `None` in the entries of early releases.
    pub request: Option<RequestId>,
    /// The last entry that was applied where the request first came in.
    pub since: Revision,
    /// What it changes, or why it cannot be applied.
    pub transaction: Result<Transaction, Rejection>,
}

impl Prepared {
    /// Puts texts and labels that earlier entries brought in place of equal ones of this one.
    pub fn share(&mut self, sharing: &mut Sharing) {
        let operations = self.transaction.iter_mut().flat_map(|t| &mut t.operations);
        for operation in operations {
            if let Operation::Put { resource, .. } = operation {
                sharing.share(resource);
            }
        }
    }
}

/// An entry that this release cannot make sense of. The replica must stop: skipping it would make
/// it differ from replicas that can.
#[derive(Debug, thiserror::Error)]
#[error(
    "log entry {index} holds no command that this release knows ({problem}): run the release that \
     wrote it, or a later one"
)]
pub struct UnknownCommand {
    /// The entry.
    pub index: u64,
    /// What was found.
    pub problem: String,
}

/// The bytes of a command, without the time at which it is proposed: see [`stamp`].
pub fn encode_command(id: RequestId, since: Revision, transaction: wire::Transaction) -> Bytes {
    let command = Some(wire::command::Command::Transaction(transaction));
    let request = id.0.to_vec();
    wire::Command { proposed_at_ms: 0, command, request, since }.encode_to_vec().into()
}

/// The bytes of a command for the log: the leader adds the time, in milliseconds since the epoch.
pub fn stamp(command: &[u8], proposed_at_ms: u64) -> Vec<u8> {
    // Fields of a message may stand in any order, so that encodings of its parts make one of it.
    let time = wire::Command { proposed_at_ms, ..wire::Command::default() };
    let mut stamped = Vec::with_capacity(command.len() + time.encoded_len());
    stamped.extend_from_slice(command);
    // Encoding into a growing vector does not fail.
    let _ = time.encode(&mut stamped);
    stamped
}

/// Decodes and checks a normal entry, without the state. `None` for the empty entry that a new
/// leader appends: it moves the log on and changes nothing.
pub fn prepare(entry: &Entry) -> Result<Option<Prepared>, UnknownCommand> {
    if entry.data.is_empty() {
        return Ok(None);
    }
    let index = entry.index;
    let unknown = |problem: String| UnknownCommand { index, problem };
    let command =
        wire::Command::decode(entry.data.as_ref()).map_err(|error| unknown(error.to_string()))?;
    let wire::Command { proposed_at_ms, command, request, since } = command;
    let request = match request.as_slice() {
        [] => None,
        bytes => {
            let id = RequestId::from_wire(bytes);
            Some(id.ok_or_else(|| unknown("its request is not 16 bytes".to_owned()))?)
        }
    };
    let transaction = match command {
        Some(wire::command::Command::Transaction(transaction)) => to_transaction(&transaction),
        None => return Err(unknown("its kind is not set".to_owned())),
    };
    let transaction = transaction.map_err(|error| Rejection::Malformed(error.to_string()));
    Ok(Some(Prepared { index, proposed_at_ms, request, since, transaction }))
}

fn to_transaction(transaction: &wire::Transaction) -> Result<Transaction, Malformed> {
    let wire::Transaction { operations, expected_revision } = transaction;
    let operations = operations.iter().map(to_operation).collect::<Result<_, _>>()?;
    Ok(Transaction { operations, expected_revision: *expected_revision })
}

#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error("an operation is empty")]
    Empty,
}

fn to_operation(operation: &wire::Operation) -> Result<Operation, Malformed> {
    let wire::Operation { operation, expected_revision } = operation;
    let expected_revision = *expected_revision;
    match operation {
        Some(wire::operation::Operation::Put(resource)) => {
            let resource = convert::to_resource(resource)?;
            Ok(Operation::Put { resource, expected_revision })
        }
        Some(wire::operation::Operation::Delete(wire::Deletion { key: Some(key), cascade })) => {
            let key = convert::to_key(key)?;
            Ok(Operation::Delete { key, cascade: *cascade, expected_revision })
        }
        Some(wire::operation::Operation::Delete(wire::Deletion { key: None, .. })) | None => {
            Err(Malformed::Empty)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_adminproto::wire as admin;

    fn mk_key(kind: &str, name: &str) -> admin::ObjectKey {
        admin::ObjectKey { kind: kind.to_owned(), project: String::new(), name: name.to_owned() }
    }

    fn mk_host(name: &str) -> admin::Resource {
        admin::Resource {
            key: Some(mk_key("Host", name)),
            spec: Some(admin::resource::Spec::Host(admin::HostSpec { vtep: "192.0.2.1".into() })),
            ..admin::Resource::default()
        }
    }

    fn mk_transaction() -> wire::Transaction {
        let put = wire::operation::Operation::Put(mk_host("host-1"));
        let delete = wire::operation::Operation::Delete(wire::Deletion {
            key: Some(mk_key("Group", "web")),
            cascade: true,
        });
        wire::Transaction {
            operations: vec![
                wire::Operation { operation: Some(put), expected_revision: Some(0) },
                wire::Operation { operation: Some(delete), expected_revision: None },
            ],
            expected_revision: Some(7),
        }
    }

    fn mk_entry(data: Vec<u8>) -> Entry {
        Entry { index: 42, term: 1, data: data.into(), ..Entry::default() }
    }

    #[test]
    fn a_command_survives_the_log() {
        let command = encode_command(RequestId([9; 16]), 41, mk_transaction());
        let entry = mk_entry(stamp(&command, 1_700_000_000_000));
        let prepared = prepare(&entry).unwrap().unwrap();
        assert_eq!((prepared.index, prepared.since), (42, 41));
        assert_eq!(prepared.request, Some(RequestId([9; 16])));
        assert_eq!(prepared.proposed_at_ms, 1_700_000_000_000);
        let transaction = prepared.transaction.unwrap();
        assert_eq!(transaction.expected_revision, Some(7));
        assert_eq!(transaction.operations.len(), 2);
        let Operation::Put { resource, expected_revision } = &transaction.operations[0] else {
            panic!("{:?}", transaction.operations[0]);
        };
        assert_eq!(resource.key().to_string(), "host host-1");
        assert_eq!(*expected_revision, Some(0));
        let Operation::Delete { key, cascade, .. } = &transaction.operations[1] else {
            panic!("{:?}", transaction.operations[1]);
        };
        assert_eq!((key.to_string().as_str(), *cascade), ("group default/web", true));
    }

    #[test]
    fn an_entry_of_an_early_release_has_no_request() {
        let bytes = encode_command(RequestId([9; 16]), 0, mk_transaction());
        let command = wire::Command::decode(bytes).unwrap();
        let mut bytes = wire::Command { request: Vec::new(), ..command }.encode_to_vec();
        // Field 2, of eight bytes, as those releases wrote it.
        bytes.extend_from_slice(&[0x11, 1, 2, 3, 4, 5, 6, 7, 8]);
        let prepared = prepare(&mk_entry(bytes)).unwrap().unwrap();
        assert_eq!(prepared.request, None);
        assert_eq!(prepared.transaction.unwrap().operations.len(), 2);
    }

    #[test]
    fn an_election_changes_nothing() {
        assert!(prepare(&mk_entry(Vec::new())).unwrap().is_none());
    }

    #[test]
    fn a_malformed_transaction_is_a_recorded_rejection() {
        let mut transaction = mk_transaction();
        transaction.operations[1].operation = None;
        let entry = mk_entry(encode_command(RequestId([1; 16]), 0, transaction).to_vec());
        let rejection = prepare(&entry).unwrap().unwrap().transaction.unwrap_err();
        assert_eq!(rejection.to_string(), "the transaction is malformed: an operation is empty");
        assert_eq!(rejection.to_status().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn an_unknown_command_stops_the_replica() {
        for data in [vec![0xff; 7], wire::Command::default().encode_to_vec(), vec![0x08, 0x01]] {
            if data.is_empty() {
                continue; // an empty entry is that of an election
            }
            let error = prepare(&mk_entry(data)).unwrap_err().to_string();
            assert!(error.contains("log entry 42 holds no command that this release knows"));
        }
    }
}
