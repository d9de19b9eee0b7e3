//! The small messages, checked.

use crate::codec::DecodeError;
use crate::wire;
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::ItemKey;
use std::fmt;

/// The identity of a cluster: random, made when the cluster is made or restored from a backup, so
/// that revisions of two histories are never taken for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a host says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The name of the host.
    pub host: Text,
    /// Random, new for each run of the agent: tells a reconnect from a second agent.
    pub instance: u64,
    /// The cluster the held view came from; `None` if none is held.
    pub cluster_id: Option<ClusterId>,
    /// The revision held; 0 if none.
    pub revision: Revision,
    /// Digest of the keys and versions held.
    pub digest: u64,
    /// Version of the agent.
    pub agent_version: String,
    /// Name of the datapath driver.
    pub datapath: String,
}

impl Hello {
    /// Takes the first message of a stream. The error is what to send before the stream is closed:
    /// the message is no hello, speaks another version, or has bad values.
    pub fn from_first_message(message: wire::HostMessage) -> Result<Hello, wire::Refused> {
        let _ = message;
        unimplemented!()
    }
}

/// Something of the view that the datapath could not apply.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// The item.
    pub key: ItemKey,
    /// Why, for the operator.
    pub reason: String,
}

/// What a host reports of its drift: the datapath differed from the view and was put right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drift {
    /// What was found, for the operator.
    pub findings: Vec<String>,
    /// All repairs since the agent started.
    pub repaired_total: u64,
}

/// A refusal, which ends the stream.
pub fn refused(reason: wire::refused::Reason, detail: impl Into<String>) -> wire::Refused {
    let _ = (reason, detail.into());
    unimplemented!()
}

/// A key from the wire.
pub fn key_from_wire(key: Option<&wire::ItemKey>) -> Result<ItemKey, DecodeError> {
    let _ = key;
    unimplemented!()
}
