//! Replicas among themselves: what they say, and how it gets there.
//!
//! * [`message`]: what is said, checked before anything acts on it.

pub mod message;

pub use message::{
    LeaderAnswer, MembersChange, PEER_VERSION, PeerMessage, PeerMessageError, Request,
};
