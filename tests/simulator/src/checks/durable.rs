//! G10: a write that was acknowledged is never lost, and one that was rejected has never been applied.

use super::{Finding, Reference, finding};
use spanwire_controller::state::{End, RequestId};
use std::collections::BTreeMap;

/// What callers were told of their writes.
#[derive(Debug, Default)]
pub struct Durable(BTreeMap<RequestId, Told>);

/// What the caller of a write was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Committed(u64),
    Rejected,
    NotApplied,
}

impl Durable {
    /// A caller is told that its write is committed.
    pub fn process_committed(&mut self, id: RequestId, revision: u64) {
        self.0.insert(id, Told::Committed(revision));
    }

    /// A caller is told that its write was rejected.
    pub fn process_rejected(&mut self, id: RequestId) {
        self.0.insert(id, Told::Rejected);
    }

    /// A caller is told that its write was not and will not be applied.
    pub fn process_not_applied(&mut self, id: RequestId) {
        self.0.insert(id, Told::NotApplied);
    }

    /// Writes that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.0.values().filter(|told| matches!(told, Told::Committed(_))).count()
    }

    /// All that was ever told is so: of committed entries only, which stay.
    pub fn check(&self, reference: &Reference) -> Result<(), Finding> {
        for (id, told) in &self.0 {
            let end = reference.end(id);
            let is_so = match (told, end) {
                (Told::Committed(revision), Some(End { index, refused })) => {
                    index == *revision && !refused
                }
                (Told::Committed(_), None) => false,
                (Told::Rejected, Some(end)) => end.refused,
                (Told::Rejected, None) => false,
                (Told::NotApplied, end) => end.is_none_or(|end| end.refused),
            };
            if !is_so {
                let what = format!("request {id} was told {told:?}; the log has {end:?}");
                return Err(finding("G10 durable", what));
            }
        }
        Ok(())
    }

    /// One of them, at the moment at which it is told.
    pub fn check_one(&self, id: &RequestId, reference: &Reference) -> Result<(), Finding> {
        let one: BTreeMap<RequestId, Told> =
            self.0.get(id).map(|told| (*id, *told)).into_iter().collect();
        Durable(one).check(reference)
    }
}
