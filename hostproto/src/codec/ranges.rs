//! Ranges of lists on the wire.

use super::error::DecodeError;
use super::{
    decode_addresses, decode_blocks, decode_locators, encode_addresses, encode_blocks,
    encode_locators, key_to_wire,
};
use crate::limits::RANGES_MAX;
use crate::ranges::{Bounds, HeldRanges, RangesDelta};
use crate::wire;
use spanwire_topology::view::{Item, ItemKey};

/// Bytes of the digest of a range.
const DIGEST_BYTES: usize = 4;

/// The ranges of an item that is held, for the wire.
pub fn held_ranges_to_wire(key: ItemKey, held: &HeldRanges) -> wire::ItemRanges {
    let HeldRanges { bounds, digests } = held;
    let bounds = match bounds {
        Bounds::Addresses(bounds) => encode_addresses(bounds),
        Bounds::Blocks(bounds) => encode_blocks(bounds),
    };
    let digests: Vec<u8> = digests.iter().flat_map(|digest| digest.to_le_bytes()).collect();
    wire::ItemRanges { key: Some(key_to_wire(key)), bounds: bounds.into(), digests: digests.into() }
}

/// The ranges of an item that another end holds: bounds in order, and as many digests as it takes.
pub fn held_ranges_from_wire(
    key: ItemKey,
    bounds: &[u8],
    digests: &[u8],
) -> Result<HeldRanges, DecodeError> {
    let (words, rest) = digests.as_chunks::<DIGEST_BYTES>();
    check_count(words.len())?;
    let bounds = match key {
        ItemKey::Shard { .. } | ItemKey::Locators(_) => {
            Bounds::Addresses(decode_addresses("bounds of ranges", bounds)?)
        }
        ItemKey::Blocks(_) => Bounds::Blocks(decode_blocks("bounds of ranges", bounds)?),
        ItemKey::Domain(_) | ItemKey::Port(_) | ItemKey::Policy(_) => return no_list(key),
    };
    let count = match &bounds {
        Bounds::Addresses(bounds) => bounds.len(),
        Bounds::Blocks(bounds) => bounds.len(),
    };
    if words.len() != count + 1 || !rest.is_empty() {
        return Err(DecodeError::Value {
            what: "digests of ranges",
            found: format!("{} bytes for {count} bounds", digests.len()),
            expected: "4 bytes for each bound, and 4 more",
        });
    }
    let digests = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    Ok(HeldRanges { bounds, digests })
}

pub(super) fn delta_to_wire(delta: &RangesDelta) -> wire::PackedRanges {
    let RangesDelta { replaced, members, digest } = delta;
    let members = match members {
        Item::Shard(list) => encode_addresses(list),
        Item::Locators(list) => encode_locators(list),
        Item::Blocks(list) => encode_blocks(list),
        // Members are a list.
        Item::Domain(_) | Item::Port(_) | Item::Policy(_) => Vec::new(),
    };
    wire::PackedRanges { replaced: replaced.clone(), members: members.into(), digest: *digest }
}

pub(super) fn delta_from_wire(
    key: ItemKey,
    packed: wire::PackedRanges,
) -> Result<RangesDelta, DecodeError> {
    const MEMBERS: &str = "members of ranges";
    let wire::PackedRanges { replaced, members, digest } = packed;
    check_count(replaced.len())?;
    if !replaced.is_sorted_by(|a, b| a < b) {
        return Err(DecodeError::Value {
            what: "numbers of ranges",
            found: "not ascending".to_owned(),
            expected: "each once, ascending",
        });
    }
    let members = match key {
        ItemKey::Shard { .. } => Item::Shard(decode_addresses(MEMBERS, &members)?),
        ItemKey::Locators(_) => Item::Locators(decode_locators(MEMBERS, &members)?),
        ItemKey::Blocks(_) => Item::Blocks(decode_blocks(MEMBERS, &members)?),
        ItemKey::Domain(_) | ItemKey::Port(_) | ItemKey::Policy(_) => return no_list(key),
    };
    Ok(RangesDelta { replaced, members, digest })
}

fn check_count(count: usize) -> Result<(), DecodeError> {
    if count > RANGES_MAX {
        let (count, max) = (count as u64, RANGES_MAX as u64);
        return Err(DecodeError::Limit { what: "ranges of a list", count, max });
    }
    Ok(())
}

fn no_list<T>(key: ItemKey) -> Result<T, DecodeError> {
    Err(DecodeError::Value {
        what: "item of ranges",
        found: key.to_string(),
        expected: "a shard, locators or blocks",
    })
}
