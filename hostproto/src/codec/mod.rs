//! Items, deltas and keys to bytes and back.
//!
//! Every decoder here is total: any bytes give a value or a [`DecodeError`] that says what, where
//! and what was expected. Packed lists have one encoding each, and everything that has an order is
//! checked to be in it, so that what decodes can be trusted to be well formed.

mod addresses;
mod blocks;
mod error;
mod item;
mod key;
mod locators;
mod ranges;
mod varint;

#[cfg(test)]
mod tests;

pub use addresses::{decode_addresses, encode_addresses};
pub use blocks::{decode_blocks, encode_blocks};
pub use error::DecodeError;
pub use key::{key_from_wire, key_to_wire};
pub use locators::{decode_locators, encode_locators};
pub use ranges::{held_ranges_from_wire, held_ranges_to_wire};

use crate::limits::UPDATE_BYTES_MAX;
use crate::ranges::RangesDelta;
use crate::wire;
use bytes::Bytes;
use prost::Message;
use spanwire_topology::model::Revision;
use spanwire_topology::view::{Item, ItemDelta, ItemKey, Locator};
use std::net::IpAddr;

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
    /// The item, a list, by those ranges of another version that differ.
    Ranges {
        /// The version whose ranges they are.
        base_version: Revision,
        /// What differs.
        delta: RangesDelta,
    },
}

/// Encodes an item as a whole: an `ItemUpdate` of the wire.
pub fn encode_full(key: ItemKey, version: Revision, item: &Item) -> Bytes {
    use wire::item_update::Update;
    let update = match item {
        Item::Domain(domain) => Update::Domain(item::domain_to_wire(domain)),
        Item::Port(port) => Update::Port(item::port_to_wire(port)),
        Item::Policy(policy) => Update::Policy(item::policy_to_wire(policy)),
        Item::Blocks(blocks) => Update::Blocks(encode_blocks(blocks).into()),
        Item::Shard(addresses) => Update::Shard(encode_addresses(addresses).into()),
        Item::Locators(locators) => Update::Locators(encode_locators(locators).into()),
    };
    encode(key, 0, version, update)
}

/// Encodes that the host no longer has an item: an `ItemUpdate` of the wire.
pub fn encode_removed(key: ItemKey) -> Bytes {
    encode(key, 0, 0, wire::item_update::Update::Removed(true))
}

/// Encodes a difference: an `ItemUpdate` of the wire.
pub fn encode_delta(
    key: ItemKey,
    base_version: Revision,
    version: Revision,
    delta: &ItemDelta,
) -> Bytes {
    use wire::item_update::Update;
    let packed = |removed: &[IpAddr], added: Vec<u8>| wire::PackedDelta {
        removed: encode_addresses(removed).into(),
        added: added.into(),
    };
    let update = match delta {
        ItemDelta::Shard { removed, added } => {
            Update::ShardDelta(packed(removed, encode_addresses(added)))
        }
        ItemDelta::Locators { removed, added } => {
            let added = added.iter().copied().collect();
            Update::LocatorsDelta(packed(removed, encode_locators(&added)))
        }
    };
    encode(key, base_version, version, update)
}

/// Encodes a list by the ranges that differ: an `ItemUpdate` of the wire.
pub fn encode_ranges(
    key: ItemKey,
    base_version: Revision,
    version: Revision,
    delta: &RangesDelta,
) -> Bytes {
    let update = wire::item_update::Update::Ranges(ranges::delta_to_wire(delta));
    encode(key, base_version, version, update)
}

fn encode(
    key: ItemKey,
    base_version: Revision,
    version: Revision,
    update: wire::item_update::Update,
) -> Bytes {
    let key = Some(key_to_wire(key));
    wire::ItemUpdate { key, version, base_version, update: Some(update) }.encode_to_vec().into()
}

/// Decodes an `ItemUpdate` of the wire. Total: any bytes give an update or an error.
pub fn decode_update(bytes: &[u8]) -> Result<ItemUpdate, DecodeError> {
    if bytes.len() > UPDATE_BYTES_MAX {
        let (count, max) = (bytes.len() as u64, UPDATE_BYTES_MAX as u64);
        return Err(DecodeError::Limit { what: "bytes of an update", count, max });
    }
    let update = wire::ItemUpdate::decode(bytes).map_err(|error| DecodeError::Protobuf {
        what: "item update",
        problem: error.to_string(),
    })?;
    let wire::ItemUpdate { key, version, base_version, update } = update;
    let key = key_from_wire(key.as_ref())?;
    let Some(update) = update else {
        return Err(DecodeError::Missing { what: "content of an update" });
    };
    let change = change_from_wire(key, update, base_version)?;
    check_key(key, &change)?;
    check_versions(version, base_version, &change)?;
    Ok(ItemUpdate { key, version, change })
}

fn change_from_wire(
    key: ItemKey,
    update: wire::item_update::Update,
    base_version: Revision,
) -> Result<Change, DecodeError> {
    use wire::item_update::Update;
    let delta = |delta| Change::Delta { base_version, delta };
    Ok(match update {
        Update::Removed(true) => Change::Removed,
        Update::Removed(false) => {
            return Err(DecodeError::Value {
                what: "removed",
                found: "false".to_owned(),
                expected: "true",
            });
        }
        Update::Domain(domain) => Change::Full(Item::Domain(item::domain_from_wire(domain)?)),
        Update::Port(port) => Change::Full(Item::Port(item::port_from_wire(port)?)),
        Update::Policy(policy) => Change::Full(Item::Policy(item::policy_from_wire(policy)?)),
        Update::Blocks(bytes) => Change::Full(Item::Blocks(decode_blocks("blocks", &bytes)?)),
        Update::Shard(bytes) => Change::Full(Item::Shard(decode_addresses("shard", &bytes)?)),
        Update::Locators(bytes) => {
            Change::Full(Item::Locators(decode_locators("locators", &bytes)?))
        }
        Update::ShardDelta(wire::PackedDelta { removed, added }) => {
            let removed = decode_addresses("addresses removed", &removed)?;
            let added = decode_addresses("addresses added", &added)?;
            check_disjoint(&removed, added.iter().copied())?;
            delta(ItemDelta::Shard { removed, added })
        }
        Update::LocatorsDelta(wire::PackedDelta { removed, added }) => {
            let removed = decode_addresses("addresses removed", &removed)?;
            let added: Vec<Locator> = decode_locators("locators added", &added)?.iter().collect();
            check_disjoint(&removed, added.iter().map(|locator| locator.address))?;
            delta(ItemDelta::Locators { removed, added })
        }
        Update::Ranges(packed) => {
            Change::Ranges { base_version, delta: ranges::delta_from_wire(key, packed)? }
        }
    })
}

fn check_disjoint(
    removed: &[IpAddr],
    added: impl Iterator<Item = IpAddr>,
) -> Result<(), DecodeError> {
    for address in added {
        if removed.binary_search(&address).is_ok() {
            return Err(DecodeError::Value {
                what: "address in a difference",
                found: address.to_string(),
                expected: "each either removed or added",
            });
        }
    }
    Ok(())
}

fn check_key(key: ItemKey, change: &Change) -> Result<(), DecodeError> {
    let fits = match change {
        Change::Removed => true,
        Change::Full(item)
        | Change::Ranges { base_version: _, delta: RangesDelta { members: item, .. } } => matches!(
            (key, item),
            (ItemKey::Domain(_), Item::Domain(_))
                | (ItemKey::Port(_), Item::Port(_))
                | (ItemKey::Policy(_), Item::Policy(_))
                | (ItemKey::Blocks(_), Item::Blocks(_))
                | (ItemKey::Shard { .. }, Item::Shard(_))
                | (ItemKey::Locators(_), Item::Locators(_))
        ),
        Change::Delta { base_version: _, delta } => matches!(
            (key, delta),
            (ItemKey::Shard { .. }, ItemDelta::Shard { .. })
                | (ItemKey::Locators(_), ItemDelta::Locators { .. })
        ),
    };
    if fits {
        return Ok(());
    }
    Err(DecodeError::Value {
        what: "content of an update",
        found: format!("of another type than its key, {key}"),
        expected: "the type of its key",
    })
}

fn check_versions(
    version: Revision,
    base_version: Revision,
    change: &Change,
) -> Result<(), DecodeError> {
    let (fits, expected) = match change {
        Change::Removed => (version == 0 && base_version == 0, "0 from 0 where it is removed"),
        Change::Full(_) => (version > 0 && base_version == 0, "more than 0, from 0"),
        Change::Delta { .. } | Change::Ranges { .. } => {
            (base_version > 0 && version > base_version, "more than that it starts from")
        }
    };
    if fits {
        return Ok(());
    }
    let found = format!("{version} from {base_version}");
    Err(DecodeError::Value { what: "version of an update", found, expected })
}

/// How many addresses, locators or blocks a change holds in memory.
pub(crate) fn addresses_in(change: &Change) -> usize {
    match change {
        Change::Removed => 0,
        Change::Full(item)
        | Change::Ranges { base_version: _, delta: RangesDelta { members: item, .. } } => {
            match item {
                Item::Domain(domain) => domain.sees.len() + domain.reaches.len(),
                Item::Port(port) => port.addresses.len(),
                Item::Policy(_) => 0,
                Item::Blocks(blocks) => blocks.len(),
                Item::Shard(addresses) => addresses.len(),
                Item::Locators(locators) => locators.len(),
            }
        }
        Change::Delta { base_version: _, delta } => match delta {
            ItemDelta::Shard { removed, added } => removed.len() + added.len(),
            ItemDelta::Locators { removed, added } => removed.len() + added.len(),
        },
    }
}
