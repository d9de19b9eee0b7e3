//! Raft message types on prost 0.14, with the interface that the `raft` crate expects of
//! `raft-proto` 0.7. See README.md for why this is not the published crate.
//!
//! * [`eraftpb`]: the types, generated from `proto/eraftpb.proto`.
//! * [`ConfChangeI`] and the functions beside it: configuration changes in either of their forms.
//! * [`conf_state_eq`]: whether two descriptions of a group mean the same members.

mod accessors;
mod conf_change;
mod conf_state;

pub use conf_change::{ConfChangeI, new_conf_change_single};
pub use conf_state::conf_state_eq;

/// The message types, generated from `proto/eraftpb.proto`, whose comments document them.
#[allow(missing_docs, unreachable_pub, clippy::all)] // generated
pub mod eraftpb {
    include!(concat!(env!("OUT_DIR"), "/eraftpb.rs"));
}

/// All message types at once.
pub mod prelude {
    pub use crate::eraftpb::{
        ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2,
        ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot, SnapshotMetadata,
    };
}
