//! How to resume with a host: one decision, and the messages that lead to it and from it.

use super::ranges::Difference;
use super::{ControllerSession, Plan, SessionEvent, State, in_message};
use crate::PROTOCOL_VERSION;
use crate::codec::key_from_wire;
use crate::limits::{CATCH_UP_WAIT, COMPLAINTS_MAX, INVENTORY_ENTRIES_MAX};
use crate::message::{ClusterId, cut_detail};
use crate::ranges::RANGES_VERSION;
use crate::source::ViewSource;
use crate::wire;
use spanwire_topology::model::Revision;
use std::time::Duration;

/// What is known of the host's view when it asks to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// The cluster of its view, if it holds one.
    pub(super) cluster_id: Option<ClusterId>,
    /// The revision of its view.
    pub(super) revision: Revision,
    /// The digest of its view. Not known after a complaint.
    pub(super) digest: Option<u64>,
    /// How often it complained in a row.
    pub(super) complaints: u32,
    /// Whether the batch that it complained about last had updates by ranges.
    pub(super) by_ranges: bool,
}

/// How to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    /// Wait until this replica has the host's revision.
    Wait,
    /// The host has what it should.
    Current,
    /// Ask for an inventory and send the difference.
    Inventory {
        /// Whether deltas may be sent.
        deltas: bool,
        /// Whether lists may be sent by ranges.
        ranges: bool,
    },
    /// Send everything.
    Snapshot,
}

/// Decides, in this order:
///
/// 1. A host without a view of this cluster gets everything: nothing it holds can be compared.
/// 2. A host that is ahead of this replica waits for it: what it would be sent is the past (G5).
/// 3. A host that complained twice in a row gets everything: repairing what differs did not help.
/// 4. A host that complained once gets what differs without deltas, which may be what did not fit. Lists
///    may still go by ranges, for those are made from what it says that it holds; but not if ranges
///    may be what did not fit.
/// 5. A host whose digest is right has what it should.
/// 6. Any other gets what differs.
pub(super) fn decide(held: Held, source: &impl ViewSource) -> Resume {
    if held.revision == 0 || held.cluster_id != Some(source.cluster_id()) {
        return Resume::Snapshot;
    }
    if held.revision > source.revision() {
        return Resume::Wait;
    }
    match held.complaints {
        0 if held.digest == Some(crate::digest::digest(source.host_items())) => Resume::Current,
        0 => Resume::Inventory { deltas: true, ranges: true },
        1 => Resume::Inventory { deltas: false, ranges: !held.by_ranges },
        _ => Resume::Snapshot,
    }
}

impl ControllerSession {
    pub(super) fn resume(
        &mut self,
        held: Held,
        source: &impl ViewSource,
        now: Duration,
    ) -> Option<wire::Welcome> {
        use wire::welcome::Resume as OnWire;
        let revision = source.revision();
        let (resume, state) = match decide(held, source) {
            Resume::Wait => {
                if let State::Resuming { held: _, deadline } = &mut self.state {
                    deadline.get_or_insert(now + CATCH_UP_WAIT);
                }
                return None;
            }
            Resume::Current => {
                self.pending.take();
                self.revision = revision;
                (OnWire::Current, State::AwaitingAck { to: revision })
            }
            Resume::Inventory { deltas, ranges } => {
                let ranges = ranges && self.hello.ranges_version == RANGES_VERSION;
                let difference = Difference::new(held.revision, deltas, ranges);
                (OnWire::Inventory, State::AwaitingInventory(difference))
            }
            Resume::Snapshot => (OnWire::Snapshot, State::Cutting(Plan::Whole)),
        };
        self.cluster = Some(source.cluster_id());
        self.enter(state, now);
        Some(wire::Welcome {
            protocol_version: PROTOCOL_VERSION,
            cluster_id: source.cluster_id().0.to_vec().into(),
            resume: resume.into(),
            revision,
        })
    }

    pub(super) fn process_inventory(
        &mut self,
        inventory: wire::Inventory,
        now: Duration,
    ) -> Result<SessionEvent, String> {
        let State::AwaitingInventory(difference) = &mut self.state else {
            return Err(self.unexpected("an inventory"));
        };
        let known = &mut difference.held;
        let wire::Inventory { entries, last } = inventory;
        if known.len() + entries.len() > INVENTORY_ENTRIES_MAX {
            return Err(format!("an inventory of more than {INVENTORY_ENTRIES_MAX} items"));
        }
        known.reserve(entries.len());
        for wire::InventoryEntry { key, version } in entries {
            let key =
                key_from_wire(key.as_ref()).map_err(|error| in_message("inventory", error))?;
            if known.last().is_some_and(|(before, _)| *before >= key) {
                return Err(format!(
                    "the inventory is not sorted: {key} stands too late, or twice"
                ));
            }
            known.push((key, version));
        }
        if last {
            let difference = std::mem::take(difference);
            self.enter(State::Cutting(Plan::Difference(difference)), now);
        }
        Ok(SessionEvent::None)
    }

    pub(super) fn process_complaint(
        &mut self,
        complaint: wire::Complaint,
        now: Duration,
    ) -> Result<SessionEvent, String> {
        let wire::Complaint { reason: _, detail, revision } = complaint;
        let detail = cut_detail(&detail).to_owned();
        self.complaints += 1;
        self.complaints_in_a_row += 1;
        if self.complaints_in_a_row >= COMPLAINTS_MAX {
            return Err(format!(
                "{} complaints in a row, the last: {detail}",
                self.complaints_in_a_row
            ));
        }
        let held = Held {
            cluster_id: self.host_cluster,
            revision,
            digest: None,
            complaints: self.complaints_in_a_row,
            by_ranges: self.sent_by_ranges,
        };
        self.pending.take();
        self.checks.fail(&format!("the host complained: {detail}"));
        self.enter(State::Resuming { held, deadline: None }, now);
        Ok(SessionEvent::Complained { detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Updates;
    use bytes::Bytes;
    use spanwire_topology::model::Uid;
    use spanwire_topology::view::ItemKey;

    struct Source;

    const ITEM: (ItemKey, Revision) = (ItemKey::Port(Uid(1)), 5);

    impl ViewSource for Source {
        fn revision(&self) -> Revision {
            10
        }
        fn cluster_id(&self) -> ClusterId {
            ClusterId([1; 16])
        }
        fn host_items(&self) -> Vec<(ItemKey, Revision)> {
            vec![ITEM]
        }
        fn full(&mut self, _: ItemKey) -> Option<(Revision, Bytes)> {
            None
        }
        fn updates(&mut self, _: ItemKey, _: Revision) -> Option<Updates> {
            None
        }
    }

    #[test]
    fn every_case_of_the_decision() {
        let here = Some(ClusterId([1; 16]));
        let there = Some(ClusterId([2; 16]));
        let right = Some(crate::digest::digest([ITEM]));
        let (ranges, whole) = (
            Resume::Inventory { deltas: false, ranges: true },
            Resume::Inventory { deltas: false, ranges: false },
        );
        let cases = [
            ((None, 0, right, 0), Resume::Snapshot),
            ((here, 0, right, 0), Resume::Snapshot),
            ((there, 9, right, 0), Resume::Snapshot),
            ((there, 11, right, 0), Resume::Snapshot),
            ((here, 11, right, 0), Resume::Wait),
            ((here, 11, None, 2), Resume::Wait),
            ((here, 10, right, 0), Resume::Current),
            ((here, 9, right, 0), Resume::Current),
            ((here, 10, Some(0), 0), Resume::Inventory { deltas: true, ranges: true }),
            ((here, 9, None, 1), ranges),
            ((here, 9, None, 2), Resume::Snapshot),
            ((here, 9, None, 3), Resume::Snapshot),
        ];
        for ((cluster_id, revision, digest, complaints), expected) in cases {
            let held = Held { cluster_id, revision, digest, complaints, by_ranges: false };
            assert_eq!(decide(held, &Source), expected, "{held:?}");
            let held = Held { by_ranges: true, ..held };
            let expected = if expected == ranges { whole } else { expected };
            assert_eq!(decide(held, &Source), expected, "{held:?}");
        }
    }
}
