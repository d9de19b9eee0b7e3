//! Requests that were applied: what lets one that is tried again be applied once.
//!
//! A caller that got no answer cannot know whether its transaction is in the log. It asks again under
//! the same identity, here or at another replica, and the state machine tells it what became of the
//! first attempt. The table is part of the state: every replica has the same one.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use spanwire_topology::model::Revision;
use std::collections::VecDeque;
use std::fmt;

/// The most requests that are remembered. A request is forgotten when so many others were applied
/// after it.
pub const REQUESTS_KEPT: usize = 262_144;

/// Identifies a request, however often it is tried. Chosen at random by whoever asks first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// A request nobody else has.
    pub fn random() -> RequestId {
        RequestId(rand::random())
    }

    /// From the wire; `None` if it is not 16 bytes.
    pub fn from_wire(bytes: &[u8]) -> Option<RequestId> {
        bytes.try_into().ok().map(RequestId)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is known of a request that is to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It was not applied before.
    New,
    /// It was applied as this revision.
    Applied(Revision),
    /// It may have been applied: that was too long ago to be remembered.
    Forgotten,
}

/// The requests applied last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedRequests {
    revisions: HashMap<RequestId, Revision, FixedState>,
    /// Oldest first.
    order: VecDeque<(RequestId, Revision)>,
    /// Every request that was applied after this log entry is here.
    floor: Revision,
}

impl AppliedRequests {
    /// What is known of a request that first came in when the entry `since` had been applied.
    pub fn get(&self, id: &RequestId, since: Revision) -> Known {
        match self.revisions.get(id) {
            Some(revision) => Known::Applied(*revision),
            None if since < self.floor => Known::Forgotten,
            None => Known::New,
        }
    }

    /// True if a request is to be applied: entries of early releases, which name none, always are.
    pub fn is_new(&self, id: Option<RequestId>, since: Revision) -> bool {
        id.is_none_or(|id| self.get(&id, since) == Known::New)
    }

    /// Remembers a request that was applied as `revision`, the newest one.
    pub fn insert(&mut self, id: RequestId, revision: Revision) {
        if self.revisions.insert(id, revision).is_none() {
            self.order.push_back((id, revision));
        }
        while self.order.len() > REQUESTS_KEPT {
            let Some((oldest, revision)) = self.order.pop_front() else { break };
            self.revisions.remove(&oldest);
            self.floor = revision;
        }
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (RequestId, Revision)> + '_ {
        self.order.iter().copied()
    }

    /// Every request that was applied after this log entry is remembered.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// The table with these requests, oldest first. `None` if they are not in that order, come
    /// before the floor, or one comes twice.
    pub fn from_parts(
        floor: Revision,
        requests: impl Iterator<Item = (RequestId, Revision)>,
    ) -> Option<AppliedRequests> {
        let mut table = AppliedRequests { floor, ..AppliedRequests::default() };
        let mut newest = floor;
        for (id, revision) in requests {
            if revision <= newest || table.revisions.insert(id, revision).is_some() {
                return None;
            }
            newest = revision;
            table.order.push_back((id, revision));
        }
        (table.order.len() <= REQUESTS_KEPT).then_some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_id(n: u64) -> RequestId {
        RequestId(u128::from(n).to_be_bytes())
    }

    #[test]
    fn a_request_is_known_until_it_is_forgotten_and_then_that_is_known() {
        let mut table = AppliedRequests::default();
        assert_eq!(table.get(&mk_id(1), 0), Known::New);
        let count = REQUESTS_KEPT as u64 + 2;
        for n in 1..=count {
            table.insert(mk_id(n), n * 10);
        }
        assert_eq!(table.iter().len(), REQUESTS_KEPT);
        assert_eq!(table.get(&mk_id(3), 0), Known::Applied(30));
        assert_eq!(table.get(&mk_id(2), 5), Known::Forgotten);
        assert_eq!(table.get(&mk_id(2), 20), Known::New, "it came in when 2 had been applied");
        let copy = AppliedRequests::from_parts(table.floor(), table.iter()).unwrap();
        assert_eq!(copy, table);
    }

    #[test]
    fn a_table_out_of_order_is_none() {
        let from = |floor, list: &[(u64, u64)]| {
            let requests = list.iter().map(|(n, revision)| (mk_id(*n), *revision));
            AppliedRequests::from_parts(floor, requests).is_some()
        };
        assert!(from(0, &[(1, 1), (2, 2)]));
        assert!(!from(0, &[(1, 2), (2, 1)]), "not in order");
        assert!(!from(0, &[(1, 1), (1, 2)]), "twice");
        assert!(!from(5, &[(1, 5)]), "at the floor");
    }
}
