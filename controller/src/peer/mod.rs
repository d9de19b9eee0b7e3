//! Replicas among themselves: what they say, and how it gets there.
//!
//! * [`message`]: what is said, checked before anything acts on it.
//! * [`client`]: calls to another controller by its address.

pub mod client;
pub mod message;

pub use client::{PeerCallError, PeerClients};
pub use message::{
    LeaderAnswer, MembersChange, PEER_VERSION, PeerMessage, PeerMessageError, Request,
};
