//! Batches: cut from a source at one moment, and divided into parts.

use super::pending::Pending;
use super::ranges::Difference;
use crate::check::Found;
use crate::codec::encode_removed;
use crate::limits::{PART_BYTES_TARGET, PART_UPDATES_MAX, UPDATE_BYTES_MAX};
use crate::log::ToldRanges;
use crate::message::Rejection;
use crate::source::ViewSource;
use crate::wire;
use bytes::Bytes;
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

/// Items that are too large to be sent, which the host therefore does not have, and why.
pub(super) type Withheld = BTreeMap<ItemKey, Rejection>;

/// Collects the updates of a batch.
#[derive(Debug)]
pub(super) struct BatchCutter<'a, S> {
    source: &'a mut S,
    withheld: &'a mut Withheld,
    updates: Vec<Bytes>,
}

impl<'a, S: ViewSource> BatchCutter<'a, S> {
    pub(super) fn new(source: &'a mut S, withheld: &'a mut Withheld) -> BatchCutter<'a, S> {
        BatchCutter { source, withheld, updates: Vec::new() }
    }

    /// The whole view.
    pub(super) fn cut_whole(mut self) -> Vec<Bytes> {
        self.withheld.clear();
        for (key, _) in self.source.host_items() {
            self.add_full(key, false);
        }
        self.updates
    }

    /// What differs between the view and an inventory: by ranges where the host told them, by deltas
    /// where they may be used, or else whole.
    pub(super) fn cut_difference(mut self, difference: &Difference) -> Vec<Bytes> {
        let Difference { held, from: _, deltas, ask: _, told } = difference;
        self.withheld.clear();
        let wanted = self.source.host_items();
        let (mut held, mut wanted) = (held.iter().peekable(), wanted.iter().peekable());
        loop {
            let order = match (held.peek(), wanted.peek()) {
                (Some((held, _)), Some((wanted, _))) => held.cmp(wanted),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return self.updates,
            };
            let of_held = held.next_if(|_| order != Ordering::Greater).copied();
            let of_wanted = wanted.next_if(|_| order != Ordering::Less).copied();
            match (of_held, of_wanted) {
                (Some((key, _)), None) => self.updates.push(encode_removed(key)),
                (Some((key, held)), Some((_, wanted))) if held != wanted => {
                    if let Some(told) = told.get(&key) {
                        self.add_by_ranges(key, held, told);
                    } else if *deltas && held < wanted {
                        self.add_updates(key, held);
                    } else {
                        self.add_full(key, true);
                    }
                }
                (None, Some((key, _))) => self.add_full(key, false),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    /// What differs between the view and the contents that the host holds, sorted by key: whole, for of
    /// what is held nothing is certain. Returns as well what differs without being pending.
    pub(super) fn cut_repair(
        mut self,
        held: &[(ItemKey, u64)],
        pending: &BTreeMap<ItemKey, Pending>,
    ) -> (Vec<Bytes>, Vec<(ItemKey, Found)>) {
        self.withheld.retain(|key, _| !pending.contains_key(key));
        let wanted: Vec<ItemKey> =
            self.source.host_items().into_iter().map(|(key, _)| key).collect();
        let mut found = Vec::new();
        let (mut held, mut wanted) = (held.iter().peekable(), wanted.iter().peekable());
        loop {
            let order = match (held.peek(), wanted.peek()) {
                (Some((held, _)), Some(wanted)) => held.cmp(wanted),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return (self.updates, found),
            };
            let of_held = held.next_if(|_| order != Ordering::Greater).copied();
            let of_wanted = wanted.next_if(|_| order != Ordering::Less).copied();
            // What is too large to be sent is not held rightly.
            let of_wanted = of_wanted.filter(|key| !self.withheld.contains_key(key));
            let (key, how) = match (of_held, of_wanted) {
                (Some((key, content)), Some(_)) => {
                    if self.source.content(key) == Some(content) {
                        continue;
                    }
                    self.add_full(key, true);
                    (key, Found::Differs)
                }
                (Some((key, _)), None) => {
                    self.updates.push(encode_removed(key));
                    (key, Found::Extra)
                }
                (None, Some(key)) => {
                    self.add_full(key, false);
                    (key, Found::Missing)
                }
                (None, None) => continue,
            };
            if !pending.contains_key(&key) {
                found.push((key, how));
            }
        }
    }

    /// What is pending, for a host whose view is that of the revision `from`.
    pub(super) fn cut_pending(
        mut self,
        pending: BTreeMap<ItemKey, Pending>,
        from: Revision,
    ) -> Vec<Bytes> {
        for (key, pending) in pending {
            let was_withheld = self.withheld.remove(&key).is_some();
            match pending {
                Pending::Fresh => self.add_full(key, false),
                Pending::Stale if was_withheld => self.add_full(key, false),
                Pending::Stale => self.add_updates(key, from),
                Pending::Gone if was_withheld => {}
                Pending::Gone => self.updates.push(encode_removed(key)),
            }
        }
        self.updates
    }

    /// The item as a whole; `held` says whether the host has a version of it.
    fn add_full(&mut self, key: ItemKey, held: bool) {
        match self.source.full(key) {
            Some((_, update)) => self.add(key, held, vec![update]),
            None if held => self.updates.push(encode_removed(key)),
            None => {}
        }
    }

    /// The item, which the host has as it was at a revision.
    fn add_updates(&mut self, key: ItemKey, from: Revision) {
        match self.source.updates(key, from) {
            Some(updates) => self.add(key, true, updates.updates),
            None => self.updates.push(encode_removed(key)),
        }
    }

    /// The item, which the host has in a version, with ranges that it told.
    fn add_by_ranges(&mut self, key: ItemKey, held: Revision, told: &ToldRanges) {
        match self.source.updates_by_ranges(key, held, told) {
            Some(updates) => self.add(key, true, updates.updates),
            None => self.add_full(key, true),
        }
    }

    fn add(&mut self, key: ItemKey, held: bool, updates: Vec<Bytes>) {
        let Some(large) = updates.iter().find(|update| update.len() > UPDATE_BYTES_MAX) else {
            self.updates.extend(updates);
            return;
        };
        let reason = format!(
            "not sent: it has {} bytes and the most is {UPDATE_BYTES_MAX}; split the object",
            large.len()
        );
        self.withheld.insert(key, Rejection { key, reason });
        // What the host has of it is no longer true.
        if held {
            self.updates.push(encode_removed(key));
        }
    }
}

/// Divides updates into parts of about [`PART_BYTES_TARGET`] bytes, never an update between two.
/// There is at least one part, and the last says that it is.
pub(super) fn to_parts(
    from: Revision,
    to: Revision,
    replace: bool,
    updates: Vec<Bytes>,
) -> VecDeque<wire::BatchPart> {
    let mk_part = |sequence| wire::BatchPart {
        from_revision: from,
        to_revision: to,
        sequence,
        last: false,
        replace,
        updates: Vec::new(),
        repair: false,
    };
    let mut parts = VecDeque::new();
    let (mut part, mut bytes) = (mk_part(0), 0);
    for update in updates {
        let is_full =
            bytes + update.len() > PART_BYTES_TARGET || part.updates.len() >= PART_UPDATES_MAX;
        if is_full && !part.updates.is_empty() {
            let next = mk_part(part.sequence + 1);
            parts.push_back(std::mem::replace(&mut part, next));
            bytes = 0;
        }
        bytes += update.len();
        part.updates.push(update);
    }
    part.last = true;
    parts.push_back(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded_and_lose_nothing() {
        let cases: [(&[usize], &[usize]); 6] = [
            (&[], &[0]),
            (&[10], &[1]),
            (&[PART_BYTES_TARGET, 1], &[1, 1]),
            (&[1, PART_BYTES_TARGET - 1, 1], &[2, 1]),
            (&[1, 3 * PART_BYTES_TARGET, 1], &[1, 1, 1]),
            (&[3 * PART_BYTES_TARGET], &[1]),
        ];
        for (lengths, expected) in cases {
            let updates: Vec<Bytes> = lengths.iter().map(|len| vec![7; *len].into()).collect();
            let parts = to_parts(1, 2, false, updates.clone());
            let counts: Vec<usize> = parts.iter().map(|part| part.updates.len()).collect();
            assert_eq!(counts, expected, "{lengths:?}");
            let sequences: Vec<u32> = parts.iter().map(|part| part.sequence).collect();
            assert_eq!(sequences, (0..counts.len() as u32).collect::<Vec<_>>());
            let last: Vec<bool> = parts.iter().map(|part| part.last).collect();
            assert_eq!(last.iter().position(|last| *last), Some(last.len() - 1));
            let together: Vec<Bytes> = parts.into_iter().flat_map(|part| part.updates).collect();
            assert_eq!(together, updates);
        }
        let many = to_parts(1, 2, false, vec![Bytes::new(); PART_UPDATES_MAX + 1]);
        assert_eq!(many.len(), 2);
    }
}
