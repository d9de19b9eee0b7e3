//! Updates onto a view, whole or not at all.
//!
//! Updates are decoded and checked against the view one by one, as they arrive, and kept aside. The
//! view itself is touched only when all of them are there and fit, by steps that cannot fail.

use crate::check::{Difference, Found, Members};
use crate::codec::{Change, DecodeError, ItemUpdate, addresses_in, decode_update, encode_full};
use crate::limits::{BATCH_ADDRESSES_MAX, BATCH_BYTES_MAX, BATCH_UPDATES_MAX, DIFFERENCES_MAX};
use crate::ranges;
use bytes::Bytes;
use spanwire_topology::model::Revision;
use spanwire_topology::view::{
    HostView, Item, ItemDelta, ItemKey, Locator, Locators, VersionedItem,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Why updates do not lead from a view to another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// An update does not decode, or breaks a limit.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// An update does not fit the view.
    #[error("{key}: {problem}")]
    DoesNotFit {
        /// The item.
        key: ItemKey,
        /// What is wrong.
        problem: String,
    },
}

/// Applies encoded updates to a view: whole, or not at all. For an agent that reads its store.
/// Returns the items that changed.
pub fn apply_updates<'a>(
    view: &mut HostView,
    to: Revision,
    replace: bool,
    updates: impl IntoIterator<Item = &'a Bytes>,
) -> Result<BTreeSet<ItemKey>, StageError> {
    let mut staging = Staging::new(to, replace);
    for update in updates {
        staging.stage(view, update)?;
    }
    Ok(staging.commit(view))
}

/// Updates that were checked against a view and are not yet applied to it.
#[derive(Debug)]
pub struct Staging {
    to: Revision,
    replace: bool,
    /// Whether items may have versions that are not newer than those held.
    repair: bool,
    /// The items as they will be; `None` for those that will be gone.
    items: BTreeMap<ItemKey, Option<VersionedItem>>,
    updates: usize,
    bytes: usize,
    addresses: usize,
}

impl Staging {
    /// Nothing staged, for a view at the revision `to`. With `replace`, what is not staged will be
    /// gone.
    pub fn new(to: Revision, replace: bool) -> Staging {
        Staging {
            to,
            replace,
            repair: false,
            items: BTreeMap::new(),
            updates: 0,
            bytes: 0,
            addresses: 0,
        }
    }

    /// Nothing staged, for a batch that repairs what a check found: the versions held may be wrong, as
    /// everything else.
    pub fn of_repair(to: Revision) -> Staging {
        Staging { repair: true, ..Staging::new(to, false) }
    }

    /// How what is staged differs from what is held: the first [`DIFFERENCES_MAX`] items.
    pub fn differences(&self, held: &HostView) -> Vec<Difference> {
        let items = self.items.iter();
        let differences = items.filter_map(|(key, wanted)| {
            let (found, members) = match (held.items.get(key), wanted) {
                (Some(held), Some(wanted)) if held == wanted => return None,
                (Some(held), Some(wanted)) => (Found::Differs, Members::compare(held, wanted)),
                (Some(_), None) => (Found::Extra, Members::default()),
                (None, Some(_)) => (Found::Missing, Members::default()),
                (None, None) => return None,
            };
            Some(Difference { key: *key, found, members })
        });
        differences.take(DIFFERENCES_MAX).collect()
    }

    /// Checks an encoded update against the view and what is already staged, and keeps it. After an
    /// error the staging is of no use; the view is as it was.
    ///
    /// Returns the item as a whole if it came by ranges: how lists are cut is between the two ends of
    /// a stream, and a store outlives both.
    pub fn stage(&mut self, held: &HostView, update: &[u8]) -> Result<Option<Bytes>, StageError> {
        self.bytes += update.len();
        self.updates += 1;
        check_limit("bytes of a batch", self.bytes, BATCH_BYTES_MAX)?;
        check_limit("updates of a batch", self.updates, BATCH_UPDATES_MAX)?;
        let update = decode_update(update)?;
        self.addresses += addresses_in(&update.change);
        check_limit("addresses of a batch", self.addresses, BATCH_ADDRESSES_MAX)?;
        let key = update.key;
        let is_by_ranges = matches!(update.change, Change::Ranges { .. });
        self.stage_update(held, update)
            .map_err(|problem| StageError::DoesNotFit { key, problem })?;
        let staged = self.items.get(&key).filter(|_| is_by_ranges).and_then(Option::as_ref);
        Ok(staged.map(|VersionedItem { version, item }| encode_full(key, *version, item)))
    }

    /// Applies what is staged, and returns the items that are new, changed or gone.
    pub fn commit(self, view: &mut HostView) -> BTreeSet<ItemKey> {
        view.revision = self.to;
        if self.replace {
            return self.commit_whole(view);
        }
        let mut changed = BTreeSet::new();
        for (key, item) in self.items {
            changed.insert(key);
            match item {
                Some(item) => view.items.insert(key, item),
                None => view.items.remove(&key),
            };
        }
        changed
    }

    fn commit_whole(self, view: &mut HostView) -> BTreeSet<ItemKey> {
        let items = self.items.into_iter().filter_map(|(key, item)| Some((key, item?)));
        let before = std::mem::replace(&mut view.items, items.collect());
        let gone = before.keys().filter(|key| !view.items.contains_key(key));
        // By content: the versions of another cluster mean nothing here.
        let changed = view
            .items
            .iter()
            .filter(|(key, now)| before.get(key).is_none_or(|then| then.item != now.item))
            .map(|(key, _)| key);
        gone.chain(changed).copied().collect()
    }

    fn stage_update(&mut self, held: &HostView, update: ItemUpdate) -> Result<(), String> {
        let ItemUpdate { key, version, change } = update;
        if version > self.to {
            return Err(format!("its version {version} is newer than the batch, {}", self.to));
        }
        let item = match change {
            Change::Removed => {
                self.check_first(key)?;
                if self.replace || !held.items.contains_key(&key) {
                    return Err("it is removed, and not held".to_owned());
                }
                None
            }
            Change::Full(item) => {
                self.check_first(key)?;
                let held = held.items.get(&key).filter(|_| !self.replace && !self.repair);
                if let Some(held) = held.filter(|held| held.version > version) {
                    return Err(format!("version {} is held, and {version} sent", held.version));
                }
                Some(VersionedItem { version, item: Arc::new(item) })
            }
            Change::Delta { base_version, delta } => {
                Some(self.stage_delta(held, key, base_version, version, delta)?)
            }
            Change::Ranges { base_version, delta } => {
                self.check_first(key)?;
                let held = held.items.get(&key).filter(|_| !self.replace);
                let base = check_base(held, base_version)?;
                let item = ranges::apply(&base.item, &delta)?;
                Some(VersionedItem { version, item: Arc::new(item) })
            }
        };
        self.items.insert(key, item);
        Ok(())
    }

    /// Only differences may follow another update of the same item.
    fn check_first(&self, key: ItemKey) -> Result<(), String> {
        if self.items.contains_key(&key) {
            return Err("it is in the batch twice".to_owned());
        }
        Ok(())
    }

    fn stage_delta(
        &mut self,
        held: &HostView,
        key: ItemKey,
        base_version: Revision,
        version: Revision,
        delta: ItemDelta,
    ) -> Result<VersionedItem, String> {
        let base = match self.items.remove(&key) {
            Some(staged) => staged,
            None => held.items.get(&key).filter(|_| !self.replace).cloned(),
        };
        let base = check_base(base.as_ref(), base_version)?;
        let item = match (&*base.item, delta) {
            (Item::Shard(held), ItemDelta::Shard { removed, added }) => {
                Item::Shard(apply_to_shard(held, &removed, &added)?)
            }
            (Item::Locators(held), ItemDelta::Locators { removed, added }) => {
                Item::Locators(apply_to_locators(held, &removed, &added)?)
            }
            (
                Item::Domain(_)
                | Item::Port(_)
                | Item::Policy(_)
                | Item::Blocks(_)
                | Item::Shard(_)
                | Item::Locators(_),
                ItemDelta::Shard { .. } | ItemDelta::Locators { .. },
            ) => return Err("a difference of another type than what is held".to_owned()),
        };
        Ok(VersionedItem { version, item: Arc::new(item) })
    }
}

/// What a difference starts from, which must be held.
fn check_base(
    base: Option<&VersionedItem>,
    base_version: Revision,
) -> Result<&VersionedItem, String> {
    match base {
        Some(base) if base.version == base_version => Ok(base),
        Some(base) => Err(format!(
            "a difference from version {base_version}, and version {} is held",
            base.version
        )),
        None => Err(format!("a difference from version {base_version}, and none is held")),
    }
}

fn check_limit(what: &'static str, count: usize, max: usize) -> Result<(), DecodeError> {
    if count > max {
        return Err(DecodeError::Limit { what, count: count as u64, max: max as u64 });
    }
    Ok(())
}

/// Applies a difference to the sorted addresses of a shard. What is between two changes is copied as
/// it is: of a thousand members one changes.
pub fn apply_to_shard(
    mut held: &[IpAddr],
    mut removed: &[IpAddr],
    mut added: &[IpAddr],
) -> Result<Vec<IpAddr>, String> {
    let mut list = Vec::with_capacity(held.len() + added.len());
    while let Some(address) = removed.first().into_iter().chain(added.first()).min() {
        list.extend_from_slice(take_before(&mut held, address));
        // First what is removed: it may be added again.
        if let Some(rest) = without_first(removed, address) {
            removed = rest;
            held = without_first(held, address)
                .ok_or_else(|| format!("{address} is removed, and not there"))?;
        }
        if let Some(rest) = without_first(added, address) {
            added = rest;
            if held.first() == Some(address) {
                return Err(format!("{address} is added, and already there"));
            }
            list.push(*address);
        }
    }
    list.extend_from_slice(held);
    Ok(list)
}

/// What follows the first of a list, if that is a certain address.
fn without_first<'a>(list: &'a [IpAddr], address: &IpAddr) -> Option<&'a [IpAddr]> {
    list.split_first().filter(|(first, _)| *first == address).map(|(_, rest)| rest)
}

/// Takes what is before an address from the front of a sorted list. Looks twice as far each time, so that
/// many changes cost no more than going over the list.
fn take_before<'a>(list: &mut &'a [IpAddr], address: &IpAddr) -> &'a [IpAddr] {
    let mut end = 1;
    while list.get(end).is_some_and(|passed| passed < address) {
        end *= 2;
    }
    let begin = end / 2;
    let within = &list[begin.min(list.len())..list.len().min(end + 1)];
    let count = begin + within.partition_point(|passed| passed < address);
    let (before, rest) = list.split_at(count);
    *list = rest;
    before
}

/// Applies a difference to the locators of a domain. `added` is sorted by address.
pub fn apply_to_locators(
    held: &Locators,
    removed: &[IpAddr],
    added: &[Locator],
) -> Result<Locators, String> {
    changed_locators(held.iter(), removed, added).collect()
}

/// What is held, without what is removed, all of which must be held, and with what is added, also in the
/// place of what is held for the same address. All three are sorted.
fn changed_locators(
    held: impl Iterator<Item = Locator>,
    removed: &[IpAddr],
    added: &[Locator],
) -> impl Iterator<Item = Result<Locator, String>> {
    let mut held = held.peekable();
    let mut removed = removed.iter().peekable();
    let mut added = added.iter().copied().peekable();
    std::iter::from_fn(move || {
        while let Some(kept) = held.peek().map(|held| held.address) {
            if removed.next_if(|removed| **removed == kept).is_none() {
                break;
            }
            held.next();
        }
        let next = held.peek().map(|held| held.address);
        // Everything before the next that is kept is looked at already.
        if let Some(absent) = removed.next_if(|removed| next.is_none_or(|next| **removed < next)) {
            return Some(Err(format!("{absent} is removed, and not there")));
        }
        match added.next_if(|added| next.is_none_or(|next| added.address <= next)) {
            Some(new) => {
                if Some(new.address) == next {
                    held.next();
                }
                Some(Ok(new))
            }
            None => held.next().map(Ok),
        }
    })
}

#[cfg(test)]
mod tests;
