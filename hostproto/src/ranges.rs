//! Long lists by ranges: what differs of a list past history, without the rest of it (guarantee G7).
//!
//! The end that holds an old version of a list cuts its sorted members into ranges, and tells where
//! each begins and a digest of what is in it. The other end divides its own members at the same
//! bounds, wherever they now lie, and sends the members of the ranges that differ. So what is added
//! or gone moves no other range, as it would if ranges were counted.
//!
//! ```text
//!   held      a b c │ d e f │ g h i          told: bounds d, g; three digests
//!   wanted    a b c │ d f   │ g h i k        ranges 1 and 2 differ: d f, g h i k
//! ```
//!
//! A range has a digest of 32 bits, for it is most of what is told. That two different ranges have the
//! same happens once in 2³² differing ranges, and does no harm: with the members goes a digest of 64
//! bits of the whole list as it should be afterwards, and a list that is not that one is refused.

use crate::codec::{encode_addresses, encode_blocks, encode_locators};
use crate::digest;
use crate::limits::{ADDRESSES_MAX, RANGE_BYTES, RANGE_MEMBERS, RANGES_MAX};
use ipnet::IpNet;
use spanwire_topology::view::{Item, Locator};
use std::fmt::Display;
use std::net::IpAddr;

/// The version of what is told of ranges: of how lists are packed, and how the bytes are made into
/// digests. It grows with every change of either.
pub const RANGES_VERSION: u32 = 1;

/// The ranges of a list that an end holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRanges {
    /// Where they begin.
    pub bounds: Bounds,
    /// A digest of the members of each: one more than there are bounds.
    pub digests: Vec<u32>,
}

/// The first member of each range but the first one, sorted. The first range begins before all members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounds {
    /// Of a shard, or of locators.
    Addresses(Vec<IpAddr>),
    /// Of blocks.
    Blocks(Vec<IpNet>),
}

/// A list by what differs from the ranges of another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangesDelta {
    /// The ranges that are replaced, by number, ascending.
    pub replaced: Vec<u32>,
    /// All members that lie in them now, as a list.
    pub members: Item,
    /// The digest of the whole list as it is afterwards.
    pub digest: u64,
}

/// How many members a list has; `None` if the item is no list.
pub fn members_in(item: &Item) -> Option<usize> {
    match item {
        Item::Shard(list) => Some(list.len()),
        Item::Locators(list) => Some(list.len()),
        Item::Blocks(list) => Some(list.len()),
        Item::Domain(_) | Item::Port(_) | Item::Policy(_) => None,
    }
}

/// The ranges of an item that is held. `None` if it is no list, or has but one range.
pub fn cut(item: &Item) -> Option<HeldRanges> {
    match item {
        Item::Shard(list) => cut_list(list, Bounds::Addresses),
        Item::Locators(list) => cut_list(&list.iter().collect::<Vec<_>>(), Bounds::Addresses),
        Item::Blocks(list) => cut_list(list, Bounds::Blocks),
        Item::Domain(_) | Item::Port(_) | Item::Policy(_) => None,
    }
}

/// What differs between the ranges that another end holds and an item. `None` if they are no ranges
/// of such an item.
pub fn difference(held: &HeldRanges, item: &Item) -> Option<RangesDelta> {
    let HeldRanges { bounds, digests } = held;
    match (bounds, item) {
        (Bounds::Addresses(bounds), Item::Shard(list)) => {
            difference_of(bounds, digests, list, Item::Shard)
        }
        (Bounds::Addresses(bounds), Item::Locators(list)) => {
            let list: Vec<Locator> = list.iter().collect();
            difference_of(bounds, digests, &list, |list| Item::Locators(list.into_iter().collect()))
        }
        (Bounds::Blocks(bounds), Item::Blocks(list)) => {
            difference_of(bounds, digests, list, Item::Blocks)
        }
        (Bounds::Addresses(_) | Bounds::Blocks(_), _) => None,
    }
}

/// The item that is held with what differs put into its ranges.
///
/// # Errors
/// Why it does not fit what is held, or does not lead to the list that was meant.
pub fn apply(held: &Item, delta: &RangesDelta) -> Result<Item, String> {
    let RangesDelta { replaced, members, digest } = delta;
    match (held, members) {
        (Item::Shard(held), Item::Shard(members)) => {
            apply_to(held, replaced, members, *digest).map(Item::Shard)
        }
        (Item::Locators(held), Item::Locators(members)) => {
            let [held, members]: [Vec<Locator>; 2] =
                [held, members].map(|list| list.iter().collect());
            let list = apply_to(&held, replaced, &members, *digest)?;
            Ok(Item::Locators(list.into_iter().collect()))
        }
        (Item::Blocks(held), Item::Blocks(members)) => {
            apply_to(held, replaced, members, *digest).map(Item::Blocks)
        }
        _ => Err("ranges of another type than what is held".to_owned()),
    }
}

/// What the lists have in common: sorted members, packed.
trait Member: Copy + Eq {
    /// What members are sorted by.
    type Bound: Copy + Ord + Display;
    fn bound(&self) -> Self::Bound;
    fn pack(list: &[Self]) -> Vec<u8>;
    /// True if two members that follow each other cannot both be in a list.
    fn excludes(&self, next: &Self) -> bool {
        self.bound() >= next.bound()
    }
}

impl Member for IpAddr {
    type Bound = IpAddr;
    fn bound(&self) -> IpAddr {
        *self
    }
    fn pack(list: &[IpAddr]) -> Vec<u8> {
        encode_addresses(list)
    }
}

impl Member for Locator {
    type Bound = IpAddr;
    fn bound(&self) -> IpAddr {
        self.address
    }
    fn pack(list: &[Locator]) -> Vec<u8> {
        encode_locators(&list.iter().copied().collect())
    }
}

impl Member for IpNet {
    type Bound = IpNet;
    fn bound(&self) -> IpNet {
        *self
    }
    fn pack(list: &[IpNet]) -> Vec<u8> {
        encode_blocks(list)
    }
    fn excludes(&self, next: &IpNet) -> bool {
        self >= next || self.contains(next)
    }
}

/// How many members a range has, of so many that are packed into so many bytes. Ranges are not
/// short of bytes either: a list that packs well is cheaper to send than to tell the ranges of.
fn members_per_range(count: usize, packed_bytes: usize) -> usize {
    let by_bytes = (count * RANGE_BYTES).div_ceil(packed_bytes.max(1));
    RANGE_MEMBERS.max(by_bytes).max(count.div_ceil(RANGES_MAX))
}

/// The bounds of a list that is held: the same whenever they are asked for.
fn bounds_of<M: Member>(list: &[M]) -> Vec<M::Bound> {
    let size = members_per_range(list.len(), M::pack(list).len());
    list.chunks(size).skip(1).filter_map(|range| Some(range.first()?.bound())).collect()
}

/// The members of each range; where the bounds are sorted, one after the other, they are all there.
fn ranges<'a, M: Member>(list: &'a [M], bounds: &'a [M::Bound]) -> impl Iterator<Item = &'a [M]> {
    let mut rest = list;
    bounds.iter().map(Some).chain([None]).map(move |end| {
        let count = end.map_or(rest.len(), |end| rest.partition_point(|m| m.bound() < *end));
        let (range, behind) = rest.split_at(count);
        rest = behind;
        range
    })
}

/// The digest of a range: the half of that of its packed members.
fn digest_of<M: Member>(range: &[M]) -> u32 {
    (digest::content(&M::pack(range)) >> 32) as u32
}

fn cut_list<M: Member>(list: &[M], to_bounds: fn(Vec<M::Bound>) -> Bounds) -> Option<HeldRanges> {
    let bounds = bounds_of(list);
    if bounds.is_empty() {
        return None;
    }
    let digests = ranges(list, &bounds).map(digest_of).collect();
    Some(HeldRanges { bounds: to_bounds(bounds), digests })
}

fn difference_of<M: Member>(
    bounds: &[M::Bound],
    digests: &[u32],
    list: &[M],
    to_item: fn(Vec<M>) -> Item,
) -> Option<RangesDelta> {
    if digests.len() != bounds.len() + 1 || digests.len() > RANGES_MAX {
        return None;
    }
    let (mut replaced, mut members) = (Vec::new(), Vec::new());
    for ((number, range), held) in (0..).zip(ranges(list, bounds)).zip(digests) {
        if digest_of(range) != *held {
            replaced.push(number);
            members.extend_from_slice(range);
        }
    }
    let digest = digest::content(&M::pack(list));
    Some(RangesDelta { replaced, members: to_item(members), digest })
}

fn apply_to<M: Member>(
    held: &[M],
    replaced: &[u32],
    members: &[M],
    digest: u64,
) -> Result<Vec<M>, String> {
    let bounds = bounds_of(held);
    let mut list = Vec::with_capacity(held.len() + members.len());
    let mut replaced = replaced.iter().peekable();
    let mut left = members;
    for ((number, range), end) in
        (0..).zip(ranges(held, &bounds)).zip(bounds.iter().map(Some).chain([None]))
    {
        if replaced.next_if(|replaced| **replaced == number).is_none() {
            list.extend_from_slice(range);
            continue;
        }
        let count = end.map_or(left.len(), |end| left.partition_point(|m| m.bound() < *end));
        let (of_range, behind) = left.split_at(count);
        list.extend_from_slice(of_range);
        left = behind;
    }
    if let Some(number) = replaced.next() {
        let count = bounds.len() + 1;
        return Err(format!(
            "range {number} is replaced, and the {count} held are numbered from 0"
        ));
    }
    if let Some(member) = left.first() {
        return Err(format!("{} lies in no range that is replaced", member.bound()));
    }
    if list.len() > ADDRESSES_MAX {
        return Err(format!("ranges lead to {} members, more than {ADDRESSES_MAX}", list.len()));
    }
    // A member that lies before the range it was sent for has come behind one that is kept.
    if let Some(pair) = list.windows(2).find(|pair| pair[0].excludes(&pair[1])) {
        let (first, second) = (pair[0].bound(), pair[1].bound());
        return Err(format!("ranges lead to {second} behind {first}"));
    }
    if digest::content(&M::pack(&list)) != digest {
        return Err("ranges lead to another list than the one that was meant".to_owned());
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
