//! A host's copy of its view, kept up to date by changes alone.

use crate::support::{Check, fail};
use spanwire_topology::engine::{Changes, Engine, HostId, ItemChangeKind};
use spanwire_topology::view::{Item, ItemDelta, ItemKey, Locator, VersionedItem};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What a host holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mirror {
    pub(crate) items: BTreeMap<ItemKey, VersionedItem>,
}

impl Mirror {
    /// A copy of the view of a host.
    pub(crate) fn of(engine: &Engine, host: HostId) -> Mirror {
        Mirror { items: engine.host_view(host).items }
    }

    /// Takes part in a change: loses and gains items, and changes those it keeps. Of the engine
    /// it asks only for whole items: those that it gains, and those that are replaced.
    pub(crate) fn follow(&mut self, engine: &Engine, host: HostId, changes: &Changes) -> Check {
        let mine = changes.hosts.iter().find(|change| change.host == host);
        let (gained, lost) =
            mine.map(|change| (&change.gained[..], &change.lost[..])).unwrap_or_default();
        for key in lost {
            if self.items.remove(key).is_none() {
                return fail(format!("it loses {key}, which it does not have"));
            }
        }
        for change in &changes.items {
            let Some(item) = self.items.get_mut(&change.key) else { continue };
            if item.version != change.previous_version {
                return fail(format!(
                    "{} had version {} and not {}",
                    change.key, item.version, change.previous_version
                ));
            }
            let content = match &change.kind {
                ItemChangeKind::Created | ItemChangeKind::Removed => {
                    return fail(format!(
                        "{} is {:?}, and it has it all the same",
                        change.key, change.kind
                    ));
                }
                ItemChangeKind::Replaced => whole(engine, change.key)?.item,
                ItemChangeKind::Delta(delta) => Arc::new(changed(&item.item, delta)?),
            };
            *item = VersionedItem { version: changes.revision, item: content };
        }
        for key in gained {
            if self.items.insert(*key, whole(engine, *key)?).is_some() {
                return fail(format!("it gains {key}, which it has"));
            }
        }
        Ok(())
    }
}

fn whole(
    engine: &Engine,
    key: ItemKey,
) -> Result<VersionedItem, proptest::test_runner::TestCaseError> {
    match engine.item(key) {
        Some(item) => Ok(item),
        None => fail(format!("{key} does not exist")),
    }
}

/// An item after a delta, if the delta is one from this item.
fn changed(item: &Item, delta: &ItemDelta) -> Result<Item, proptest::test_runner::TestCaseError> {
    match (item, delta) {
        (Item::Shard(old), ItemDelta::Shard { removed, added }) => {
            let mut members: BTreeSet<IpAddr> = old.iter().copied().collect();
            sorted(removed)?;
            sorted(added)?;
            for address in removed {
                if !members.remove(address) {
                    return fail(format!("{address} is removed and was not a member"));
                }
            }
            for address in added {
                if !members.insert(*address) || removed.contains(address) {
                    return fail(format!("{address} is added and was a member"));
                }
            }
            not_nothing(removed.len() + added.len())?;
            Ok(Item::Shard(members.into_iter().collect()))
        }
        (Item::Locators(old), ItemDelta::Locators { removed, added }) => {
            let mut places: BTreeMap<IpAddr, Locator> =
                old.iter().map(|locator| (locator.address, locator)).collect();
            sorted(removed)?;
            sorted(&added.iter().map(|locator| locator.address).collect::<Vec<_>>())?;
            for address in removed {
                if places.remove(address).is_none() {
                    return fail(format!("{address} is removed and was nowhere"));
                }
            }
            for locator in added {
                if removed.contains(&locator.address) {
                    return fail(format!("{} is removed and added", locator.address));
                }
                if places.insert(locator.address, *locator) == Some(*locator) {
                    return fail(format!("{} is added and was already there", locator.address));
                }
            }
            not_nothing(removed.len() + added.len())?;
            Ok(Item::Locators(places.into_values().collect()))
        }
        _ => fail(format!("{delta:?} is no change of {item:?}")),
    }
}

fn not_nothing(changes: usize) -> Check {
    if changes == 0 { fail("the delta is empty".to_owned()) } else { Ok(()) }
}

fn sorted(addresses: &[IpAddr]) -> Check {
    if addresses.windows(2).all(|pair| pair[0] < pair[1]) {
        return Ok(());
    }
    fail(format!("a delta is not sorted, or not unique: {addresses:?}"))
}
