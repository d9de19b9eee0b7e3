//! Requests that came to their end: what lets one that is tried again be done once.
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
    /// It was refused by this log entry.
    Refused(u64),
    /// It may have been applied: that was too long ago to be remembered.
    Forgotten,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The log entry that ended it: its revision, if it was applied.
    pub index: u64,
    /// True if it was refused. Remembered as well: its caller may have been told, and a copy of it
    /// that comes later in the log could fit the state by then.
    pub refused: bool,
}

/// The requests that ended last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedRequests {
    ends: HashMap<RequestId, End, FixedState>,
    /// Oldest first.
    order: VecDeque<(RequestId, End)>,
    /// Every request that ended after this log entry is here.
    floor: u64,
}

impl EndedRequests {
    /// What is known of a request that first came in when the entry `since` had been applied.
    pub fn get(&self, id: &RequestId, since: u64) -> Known {
        match self.ends.get(id) {
            Some(End { index, refused: false }) => Known::Applied(*index),
            Some(End { index, refused: true }) => Known::Refused(*index),
            None if since < self.floor => Known::Forgotten,
            None => Known::New,
        }
    }

    /// True if a request is to be done: those of early releases, which have no name, always are.
    pub fn is_new(&self, id: Option<RequestId>, since: u64) -> bool {
        id.is_none_or(|id| self.get(&id, since) == Known::New)
    }

    /// Remembers how a request ended, by the newest log entry.
    pub fn insert(&mut self, id: RequestId, end: End) {
        if self.ends.insert(id, end).is_none() {
            self.order.push_back((id, end));
        }
        while self.order.len() > REQUESTS_KEPT {
            let Some((oldest, end)) = self.order.pop_front() else { break };
            self.ends.remove(&oldest);
            self.floor = end.index;
        }
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (RequestId, End)> + '_ {
        self.order.iter().copied()
    }

    /// Every request that ended after this log entry is remembered.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The table with these requests, oldest first. `None` if they are not in that order, come
    /// before the floor, or one comes twice.
    pub fn from_parts(
        floor: u64,
        requests: impl Iterator<Item = (RequestId, End)>,
    ) -> Option<EndedRequests> {
        let mut table = EndedRequests { floor, ..EndedRequests::default() };
        let mut newest = floor;
        for (id, end) in requests {
            if end.index <= newest || table.ends.insert(id, end).is_some() {
                return None;
            }
            newest = end.index;
            table.order.push_back((id, end));
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
        let mut table = EndedRequests::default();
        assert_eq!(table.get(&mk_id(1), 0), Known::New);
        let count = REQUESTS_KEPT as u64 + 2;
        for n in 1..=count {
            table.insert(mk_id(n), End { index: n * 10, refused: n == 4 });
        }
        assert_eq!(table.iter().len(), REQUESTS_KEPT);
        assert_eq!(table.get(&mk_id(3), 0), Known::Applied(30));
        assert_eq!(table.get(&mk_id(4), 0), Known::Refused(40));
        assert_eq!(table.get(&mk_id(2), 5), Known::Forgotten);
        assert_eq!(table.get(&mk_id(2), 20), Known::New, "it came in when 2 had been applied");
        let copy = EndedRequests::from_parts(table.floor(), table.iter()).unwrap();
        assert_eq!(copy, table);
    }

    #[test]
    fn a_table_out_of_order_is_none() {
        let from = |floor, list: &[(u64, u64)]| {
            let requests =
                list.iter().map(|(n, index)| (mk_id(*n), End { index: *index, refused: false }));
            EndedRequests::from_parts(floor, requests).is_some()
        };
        assert!(from(0, &[(1, 1), (2, 2)]));
        assert!(!from(0, &[(1, 2), (2, 1)]), "not in order");
        assert!(!from(0, &[(1, 1), (1, 2)]), "twice");
        assert!(!from(5, &[(1, 5)]), "at the floor");
    }
}
