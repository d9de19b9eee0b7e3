//! The replicated state machine: committed log entries in, changes of the network out.
//!
//! ```text
//! admin request ─► Command (encoded) ─► log ─► Prepared (decoded, no lock) ─► Engine::apply
//!                                                                               │
//!                                            Committed { revision, changes } ◄──┤
//!                                            Rejected { reason }             ◄──┘
//! ```
//!
//! Applying is total and deterministic: every replica makes the same of an entry, whatever is in
//! it. A transaction that does not fit the state is recorded as rejected, not failed (design
//! decision 12). No clock is read here: what an entry needs of time or chance, the leader put in.

mod command;
mod members;
mod replay;
mod request;
mod snapshot;

pub use command::{Applied, Prepared, Rejection, UnknownCommand, encode_command, prepare, stamp};
pub use members::{FOUNDER, Members, check_address};
pub use request::{End, EndedRequests, Known, REQUESTS_KEPT, RequestId};
pub use snapshot::{Restored, SnapshotError, State, decode_snapshot, encode_snapshot, restore};

/// What the reflection service tells of the peer API.
pub const PEER_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/peer.bin"));

/// What stands in the log and in snapshots: generated from `proto/spanwire/peer/v1`, whose comments
/// document it.
#[allow(missing_docs, unreachable_pub, clippy::all)] // generated
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/spanwire.peer.v1.rs"));
}
