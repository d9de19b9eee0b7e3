//! The accessors that `raft` calls, which prost does not generate, and the trait it asks for sizes
//! and bytes.
//!
//! A field that holds an unknown number where an enum was expected reads as the enum's first value.
//! For a message type that is `MsgHup`, which `RawNode::step` refuses from outside.

use crate::eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
    Entry, EntryType, HardState, Message, MessageType, Snapshot, SnapshotMetadata,
};
use bytes::Bytes;
use protobuf::ProtobufError;
use std::sync::LazyLock;

macro_rules! message {
    ($($name:ident),* $(,)?) => {$(
        impl protobuf::Message for $name {
            fn compute_size(&self) -> u32 {
                // Messages are far below 4 GiB: the Raft core bounds what it puts into one.
                u32::try_from(prost::Message::encoded_len(self)).unwrap_or(u32::MAX)
            }

            fn write_to_bytes(&self) -> Result<Vec<u8>, ProtobufError> {
                Ok(prost::Message::encode_to_vec(self))
            }

            fn merge_from_bytes(&mut self, bytes: &[u8]) -> Result<(), ProtobufError> {
                prost::Message::merge(self, bytes)
                    .map_err(|error| ProtobufError { problem: error.to_string() })
            }

            fn default_instance() -> &'static $name {
                static DEFAULT: LazyLock<$name> = LazyLock::new($name::default);
                &DEFAULT
            }
        }
    )*};
}

message!(
    ConfChange,
    ConfChangeSingle,
    ConfChangeV2,
    ConfState,
    Entry,
    HardState,
    Message,
    Snapshot,
    SnapshotMetadata,
);

/// Reads an enum field; prost generates the writer.
macro_rules! enumeration {
    ($($message:ident.$field:ident: $type:ident, $get:ident;)*) => {$(
        impl $message {
            /// The value of the field.
            pub fn $get(&self) -> $type {
                self.$field()
            }
        }
    )*};
}

enumeration! {
    Entry.entry_type: EntryType, get_entry_type;
    Message.msg_type: MessageType, get_msg_type;
    ConfChange.change_type: ConfChangeType, get_change_type;
    ConfChangeSingle.change_type: ConfChangeType, get_change_type;
    ConfChangeV2.transition: ConfChangeTransition, get_transition;
}

/// Reads and replaces a number.
macro_rules! number {
    ($($message:ident.$field:ident: $type:ty, $get:ident, $set:ident;)*) => {$(
        impl $message {
            /// The value of the field.
            pub fn $get(&self) -> $type {
                self.$field
            }

            /// Replaces the field.
            pub fn $set(&mut self, value: $type) {
                self.$field = value;
            }
        }
    )*};
}

number! {
    Entry.index: u64, get_index, set_index;
    Entry.term: u64, get_term, set_term;
    SnapshotMetadata.index: u64, get_index, set_index;
    SnapshotMetadata.term: u64, get_term, set_term;
    HardState.term: u64, get_term, set_term;
    HardState.vote: u64, get_vote, set_vote;
    HardState.commit: u64, get_commit, set_commit;
    Message.index: u64, get_index, set_index;
    Message.commit: u64, get_commit, set_commit;
    Message.priority: i64, get_priority, set_priority;
}

/// Reads, replaces, takes and borrows a field held by value.
macro_rules! field {
    ($($message:ident.$field:ident: $type:ty as $read:ty,
       $get:ident, $set:ident, $take:ident, $mut:ident;)*) => {$(
        impl $message {
            /// The value of the field.
            pub fn $get(&self) -> &$read {
                &self.$field
            }

            /// Replaces the field.
            pub fn $set(&mut self, value: $type) {
                self.$field = value;
            }

            /// Takes the value out of the field and leaves it empty.
            pub fn $take(&mut self) -> $type {
                std::mem::take(&mut self.$field)
            }

            /// The field, to change in place.
            pub fn $mut(&mut self) -> &mut $type {
                &mut self.$field
            }
        }
    )*};
}

field! {
    Entry.data: Bytes as [u8], get_data, set_data, take_data, mut_data;
    Entry.context: Bytes as [u8], get_context, set_context, take_context, mut_context;
    Snapshot.data: Bytes as [u8], get_data, set_data, take_data, mut_data;
    Message.entries: Vec<Entry> as [Entry], get_entries, set_entries, take_entries, mut_entries;
    Message.context: Bytes as [u8], get_context, set_context, take_context, mut_context;
    ConfState.voters: Vec<u64> as [u64], get_voters, set_voters, take_voters, mut_voters;
    ConfState.learners: Vec<u64> as [u64], get_learners, set_learners, take_learners, mut_learners;
    ConfState.voters_outgoing: Vec<u64> as [u64],
        get_voters_outgoing, set_voters_outgoing, take_voters_outgoing, mut_voters_outgoing;
    ConfState.learners_next: Vec<u64> as [u64],
        get_learners_next, set_learners_next, take_learners_next, mut_learners_next;
    ConfChange.context: Bytes as [u8], get_context, set_context, take_context, mut_context;
    ConfChangeV2.context: Bytes as [u8], get_context, set_context, take_context, mut_context;
    ConfChangeV2.changes: Vec<ConfChangeSingle> as [ConfChangeSingle],
        get_changes, set_changes, take_changes, mut_changes;
}

/// Reads, replaces, takes and borrows a nested message, which reads as the default if unset.
macro_rules! nested {
    ($($message:ident.$field:ident: $type:ident,
       $get:ident, $set:ident, $take:ident, $mut:ident, $has:ident;)*) => {$(
        impl $message {
            /// The message, or one with all fields unset.
            pub fn $get(&self) -> &$type {
                self.$field
                    .as_ref()
                    .unwrap_or_else(|| <$type as protobuf::Message>::default_instance())
            }

            /// Replaces the message.
            pub fn $set(&mut self, value: $type) {
                self.$field = Some(value);
            }

            /// Takes the message out and leaves it unset.
            pub fn $take(&mut self) -> $type {
                self.$field.take().unwrap_or_default()
            }

            /// The message, to change in place; it is set by this.
            pub fn $mut(&mut self) -> &mut $type {
                self.$field.get_or_insert_default()
            }

            /// True if the message is set.
            pub fn $has(&self) -> bool {
                self.$field.is_some()
            }
        }
    )*};
}

nested! {
    Message.snapshot: Snapshot,
        get_snapshot, set_snapshot, take_snapshot, mut_snapshot, has_snapshot;
    Snapshot.metadata: SnapshotMetadata,
        get_metadata, set_metadata, take_metadata, mut_metadata, has_metadata;
    SnapshotMetadata.conf_state: ConfState,
        get_conf_state, set_conf_state, take_conf_state, mut_conf_state, has_conf_state;
}

impl Snapshot {
    /// True if it stands for no state at all.
    pub fn is_empty(&self) -> bool {
        self.get_metadata().index == 0
    }
}
