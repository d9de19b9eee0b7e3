//! A leader never overwrites or removes entries of its log (Ongaro and Ousterhout, figure 3: Leader
//! Append-Only).

use super::{Finding, finding};
use raft::eraftpb::Entry;
use std::collections::BTreeMap;

/// How far the logs of leaders reach: by replica, its term and its last entry.
#[derive(Debug, Default)]
pub struct LeaderAppendOnly(BTreeMap<u64, (u64, u64)>);

impl LeaderAppendOnly {
    /// A replica that leads in `term` writes entries.
    pub fn check(&mut self, leader: u64, term: u64, entries: &[Entry]) -> Result<(), Finding> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        // What it writes as leader is of its own term; the rest came before it was elected.
        if first.term != term {
            return Ok(());
        }
        let before = self.0.insert(leader, (term, last.index));
        match before {
            Some((same, reached)) if same == term && first.index <= reached => Err(finding(
                "leader append-only",
                format!(
                    "replica {leader} leads in term {term}, wrote entry {reached}, and then entry {} \
                     again",
                    first.index
                ),
            )),
            _ => Ok(()),
        }
    }

    /// A replica restarts: what it had not synced it may write again, if it is elected again, in
    /// another term.
    pub fn process_restart(&mut self, replica: u64) {
        self.0.remove(&replica);
    }
}
