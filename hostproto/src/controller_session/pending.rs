//! What changed for a host since its last batch was cut: level-triggered, so that the same item
//! changing a thousand times is one entry.

use spanwire_topology::view::ItemKey;
use std::collections::BTreeMap;

/// How an item of the host differs from what the last batch left it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// The host does not have it and should.
    Fresh,
    /// The host has it as it was.
    Stale,
    /// The host has it and should not.
    Gone,
}

/// The items that differ, and whether anything was heard at all.
#[derive(Debug, Default)]
pub(super) struct PendingItems {
    items: BTreeMap<ItemKey, Pending>,
    /// True if anything happened since the last batch, even if it was undone since. Then the host
    /// must be told the new revision: another replica, less far ahead, could otherwise send it
    /// what was between (guarantee G5).
    touched: bool,
}

impl PendingItems {
    /// The host should have the item from now on.
    pub(super) fn gain(&mut self, key: ItemKey) {
        self.touched = true;
        let now = match self.items.get(&key) {
            Some(Pending::Gone) => Pending::Stale,
            // A change of an item that is gained at the same revision may be told first.
            None | Some(Pending::Fresh | Pending::Stale) => Pending::Fresh,
        };
        self.items.insert(key, now);
    }

    /// The host should not have the item any more.
    pub(super) fn lose(&mut self, key: ItemKey) {
        self.touched = true;
        match self.items.get(&key) {
            Some(Pending::Fresh) => self.items.remove(&key),
            None | Some(Pending::Stale | Pending::Gone) => self.items.insert(key, Pending::Gone),
        };
    }

    /// An item that the host should have has changed.
    pub(super) fn change(&mut self, key: ItemKey) {
        self.touched = true;
        self.items.entry(key).or_insert(Pending::Stale);
    }

    /// True if the host must be sent a batch.
    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    /// How many items differ.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Takes all, sorted by key, and starts anew.
    pub(super) fn take(&mut self) -> BTreeMap<ItemKey, Pending> {
        self.touched = false;
        std::mem::take(&mut self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::Uid;

    #[test]
    fn every_pair_of_state_and_event() {
        use Pending::{Fresh, Gone, Stale};
        type Event = fn(&mut PendingItems, ItemKey);
        const GAIN: Event = PendingItems::gain;
        const LOSE: Event = PendingItems::lose;
        const CHANGE: Event = PendingItems::change;
        let key = ItemKey::Port(Uid(1));
        let cases: [(Option<Pending>, Event, Option<Pending>); 12] = [
            (None, GAIN, Some(Fresh)),
            (None, LOSE, Some(Gone)),
            (None, CHANGE, Some(Stale)),
            (Some(Fresh), GAIN, Some(Fresh)),
            (Some(Fresh), LOSE, None),
            (Some(Fresh), CHANGE, Some(Fresh)),
            (Some(Stale), GAIN, Some(Fresh)),
            (Some(Stale), LOSE, Some(Gone)),
            (Some(Stale), CHANGE, Some(Stale)),
            (Some(Gone), GAIN, Some(Stale)),
            (Some(Gone), LOSE, Some(Gone)),
            (Some(Gone), CHANGE, Some(Gone)),
        ];
        for (n, (before, event, after)) in cases.into_iter().enumerate() {
            let items = before.into_iter().map(|pending| (key, pending)).collect();
            let mut pending = PendingItems { items, touched: false };
            event(&mut pending, key);
            assert!(pending.is_touched());
            assert_eq!(pending.take().get(&key).copied(), after, "case {n}");
            assert!(!pending.is_touched());
        }
    }
}
