//! Items, deltas and keys to bytes and back.

mod error;

pub use error::DecodeError;

use bytes::Bytes;
use spanwire_topology::model::Revision;
use spanwire_topology::view::{Item, ItemDelta, ItemKey};

/// An update of one item, decoded and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemUpdate {
    /// Which item.
    pub key: ItemKey,
    /// Its version afterwards; 0 if it is removed.
    pub version: Revision,
    /// What happens to it.
    pub change: Change,
}

/// What an update does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The host no longer has the item.
    Removed,
    /// The item as a whole.
    Full(Item),
    /// The item by its difference from another version.
    Delta {
        /// The version that it starts from.
        base_version: Revision,
        /// The difference.
        delta: ItemDelta,
    },
}

/// Encodes an item as a whole: an `ItemUpdate` of the wire.
pub fn encode_full(key: ItemKey, version: Revision, item: &Item) -> Bytes {
    let _ = (key, version, item);
    unimplemented!()
}

/// Encodes that the host no longer has an item: an `ItemUpdate` of the wire.
pub fn encode_removed(key: ItemKey) -> Bytes {
    let _ = key;
    unimplemented!()
}

/// Encodes a difference: an `ItemUpdate` of the wire.
pub fn encode_delta(
    key: ItemKey,
    base_version: Revision,
    version: Revision,
    delta: &ItemDelta,
) -> Bytes {
    let _ = (key, base_version, version, delta);
    unimplemented!()
}

/// Decodes an `ItemUpdate` of the wire. Total: any bytes give an update or an error.
pub fn decode_update(bytes: &[u8]) -> Result<ItemUpdate, DecodeError> {
    let _ = bytes;
    unimplemented!()
}
