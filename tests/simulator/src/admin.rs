//! Those who use the admin API: they write, read, and change who is in the cluster, at any replica, and
//! try again when they hear nothing.

use crate::schedule::Time;
use spanwire_adminproto::convert::{from_key, from_resource};
use spanwire_controller::core::{Answer, ProposeError};
use spanwire_controller::peer::MembersChange;
use spanwire_controller::state::{RequestId, encode_command, wire};
use tokio::sync::oneshot::Receiver;

use crate::workload::Deed;

/// Someone who does one thing at a time.
#[derive(Debug, Default)]
pub struct Client {
    /// What it waits for.
    pub task: Option<Task>,
    /// Counts what it did.
    pub done: u64,
}

/// What a client waits for.
#[derive(Debug)]
pub struct Task {
    /// When it began.
    pub from: Time,
    /// When it gives up on the replica that it asked.
    pub until: Time,
    /// The replica that it asked, and the run of that.
    pub replica: (u64, u64),
    /// What it wants.
    pub what: What,
}

/// What a client wants.
#[derive(Debug)]
pub enum What {
    /// A write.
    Write {
        /// The request, the same at each attempt.
        id: RequestId,
        /// What it asks for.
        transaction: wire::Transaction,
        /// The answer.
        answer: Receiver<Result<Answer, ProposeError>>,
        /// Attempts so far.
        attempts: u32,
    },
    /// A read that must be current.
    Read {
        /// Told when it is.
        current: Receiver<()>,
    },
}

/// A change of the members that somebody waits for.
#[derive(Debug)]
pub struct Change {
    /// The request.
    pub change: Option<MembersChange>,
    /// When it is given up.
    pub until: Time,
    /// The answer.
    pub answer: Receiver<Result<Answer, ProposeError>>,
}

/// A transaction as it stands in the log.
pub fn to_transaction(deeds: &[Deed]) -> wire::Transaction {
    let operations = deeds.iter().map(|deed| {
        let operation = match deed {
            Deed::Put(resource) => wire::operation::Operation::Put(from_resource(resource)),
            Deed::Delete(key) => {
                let deletion = wire::Deletion { key: Some(from_key(key)), cascade: false };
                wire::operation::Operation::Delete(deletion)
            }
        };
        wire::Operation { operation: Some(operation), expected_revision: None }
    });
    wire::Transaction { operations: operations.collect(), expected_revision: None }
}

/// The bytes that a replica is given for a transaction.
pub fn to_command(
    id: RequestId,
    since: u64,
    transaction: &wire::Transaction,
) -> spanwire_controller::peer::Request {
    spanwire_controller::peer::Request::Command(encode_command(id, since, transaction.clone()))
}
