//! If a replica applies an entry at an index, no other applies a different one there (Ongaro and
//! Ousterhout, figure 3: State Machine Safety).

use super::log_matching::content;
use super::{Finding, finding};
use raft::eraftpb::Entry;
use std::collections::BTreeMap;

/// What was applied at each index.
#[derive(Debug, Default)]
pub struct StateMachineSafety(BTreeMap<u64, (u64, u64)>);

impl StateMachineSafety {
    /// A replica has applied an entry.
    pub fn check(&mut self, replica: u64, entry: &Entry) -> Result<(), Finding> {
        let now = (entry.term, content(entry));
        let first = *self.0.entry(entry.index).or_insert(now);
        if first == now {
            return Ok(());
        }
        Err(finding(
            "state machine safety",
            format!(
                "replica {replica} applied an entry {} of term {}, and another replica one of term {}",
                entry.index, entry.term, first.0
            ),
        ))
    }

    /// The last entry of a term before this one that was applied anywhere, with its term: it is
    /// committed.
    pub fn last_before(&self, term: u64) -> Option<(u64, u64)> {
        let mut newest_first = self.0.iter().rev().map(|(index, (of, _))| (*index, *of));
        newest_first.find(|(_, of)| *of < term)
    }
}
