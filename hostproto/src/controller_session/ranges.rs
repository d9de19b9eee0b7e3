//! Long lists by ranges: which of them a host is asked for, and what it tells.

use super::{ControllerSession, Plan, SessionEvent, State, in_message};
use crate::codec::{held_ranges_from_wire, key_from_wire, key_to_wire};
use crate::limits::{RANGED_BYTES_MIN, RANGES_BYTES_MAX, RANGES_KEYS_MAX, UPDATE_BYTES_MAX};
use crate::log::ToldRanges;
use crate::source::ViewSource;
use crate::wire;
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the host holds, in so far as it was asked, to find out what differs from what it should hold.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Keys and versions, sorted by key.
    pub(super) held: Vec<(ItemKey, Revision)>,
    /// The revision that the host holds.
    pub(super) from: Revision,
    /// Whether deltas may be sent.
    pub(super) deltas: bool,
    /// Whether the host may be asked for ranges, and was not yet.
    pub(super) ask: bool,
    /// The ranges that it told.
    pub(super) told: BTreeMap<ItemKey, ToldRanges>,
}

impl Difference {
    /// Nothing known yet of what is held at this revision.
    pub(super) fn new(from: Revision, deltas: bool, ask: bool) -> Difference {
        Difference { from, deltas, ask, ..Difference::default() }
    }

    /// The lists whose ranges are worth a round trip: long ones that differ, and that no deltas lead to.
    fn ranges_to_ask(&self, source: &mut impl ViewSource) -> Vec<ItemKey> {
        let wanted = source.host_items();
        let mut asked = Vec::new();
        for &(key, held) in &self.held {
            let is_list = match key {
                ItemKey::Shard { .. } | ItemKey::Locators(_) | ItemKey::Blocks(_) => true,
                ItemKey::Domain(_) | ItemKey::Port(_) | ItemKey::Policy(_) => false,
            };
            let is_older = || {
                let at = wanted.binary_search_by_key(&key, |(key, _)| *key);
                at.is_ok_and(|at| wanted[at].1 > held)
            };
            if !is_list || !is_older() || (self.deltas && !source.is_past_history(key, held)) {
                continue;
            }
            // It is what would be sent otherwise, so it is encoded for that or for comparison.
            let bytes = source.full(key).map_or(0, |(_, full)| full.len());
            if (RANGED_BYTES_MIN..=UPDATE_BYTES_MAX).contains(&bytes) {
                asked.push(key);
            }
            if asked.len() == RANGES_KEYS_MAX {
                break;
            }
        }
        asked
    }
}

impl ControllerSession {
    /// Asks for ranges, if that is due before a batch can be cut.
    pub(super) fn ask_for_ranges(
        &mut self,
        source: &mut impl ViewSource,
        now: Duration,
    ) -> Option<wire::RangesRequest> {
        let State::Cutting(Plan::Difference(difference)) = &mut self.state else { return None };
        if !std::mem::take(&mut difference.ask) {
            return None;
        }
        let asked = difference.ranges_to_ask(source);
        if asked.is_empty() {
            return None;
        }
        let keys = asked.iter().map(|key| key_to_wire(*key)).collect();
        let (difference, told) = (std::mem::take(difference), BTreeMap::new());
        self.enter(State::AwaitingRanges { difference, asked, told, bytes: 0 }, now);
        Some(wire::RangesRequest { keys })
    }

    pub(super) fn process_ranges(
        &mut self,
        ranges: wire::Ranges,
        now: Duration,
    ) -> Result<SessionEvent, String> {
        let State::AwaitingRanges { difference, asked, told, bytes } = &mut self.state else {
            return Err(self.unexpected("ranges"));
        };
        let wire::Ranges { items, last } = ranges;
        for wire::ItemRanges { key, bounds, digests } in items {
            let key = key_from_wire(key.as_ref()).map_err(|error| in_message("ranges", error))?;
            if asked.binary_search(&key).is_err() {
                return Err(format!("ranges of {key}, which were not asked for"));
            }
            if told.last_key_value().is_some_and(|(before, _)| *before >= key) {
                return Err(format!("the ranges are not sorted: {key} stands too late, or twice"));
            }
            // Kept as they came, which takes a third of what they take unpacked.
            held_ranges_from_wire(key, &bounds, &digests)
                .map_err(|error| in_message("ranges", error))?;
            let ranges = ToldRanges { bounds, digests };
            *bytes += ranges.bytes();
            if *bytes > RANGES_BYTES_MAX {
                return Err(format!("ranges of more than {RANGES_BYTES_MAX} bytes"));
            }
            told.insert(key, ranges);
        }
        if last {
            let told = std::mem::take(told);
            let difference = Difference { told, ..std::mem::take(difference) };
            self.enter(State::Cutting(Plan::Difference(difference)), now);
        }
        Ok(SessionEvent::None)
    }
}
