//! Replicas among themselves: what they say, and how it gets there.
//!
//! * [`message`]: what is said, checked before anything acts on it.
//! * [`Links`]: from this replica to the others.
//! * [`PeerService`]: from the others to this replica.
//!
//! ```text
//!  core ─► Links ─┬► raft: mpsc ─► Deliver ──► PeerService of the other ─► its core
//!                 └► bulk: mpsc ─► Deliver ──►      (parts of snapshots, large commands)
//! ```

mod hosts;
mod lane;
mod links;
pub mod message;
mod server;
mod waiting;

pub use links::Links;
pub use message::{
    LeaderAnswer, MembersChange, PEER_VERSION, PeerMessage, PeerMessageError, Request,
};
pub use server::{PEER_METADATA, PeerService, RELEASE, REMOVED};
pub(crate) use waiting::WaitingService;
