//! Replicas among themselves: what they say, and how it gets there.
//!
//! * [`message`]: what is said, checked before anything acts on it.
//! * [`client`]: calls to another controller by its address.
//! * [`Links`]: from this replica to the others.
//! * [`PeerService`]: from the others to this replica.
//!
//! ```text
//!  core ─► Links ─┬► raft: mpsc ─► Deliver ──► PeerService of the other ─► its core
//!                 └► bulk: mpsc ─► Deliver ──►      (parts of snapshots, large commands)
//! ```

pub mod client;
mod hosts;
mod lane;
mod links;
pub mod message;
mod server;
mod waiting;

pub use client::{PeerCallError, PeerClients};
pub use links::Links;
pub use message::{
    LeaderAnswer, MembersChange, PEER_VERSION, PeerMessage, PeerMessageError, Request,
};
pub use server::{PEER_METADATA, PeerService, RELEASE, REMOVED};
pub(crate) use waiting::WaitingService;
