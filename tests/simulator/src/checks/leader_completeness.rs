//! An entry that is committed in a term is in the log of the leaders of all later terms (Ongaro and
//! Ousterhout, figure 3: Leader Completeness).

use super::{Finding, finding};
use std::collections::BTreeMap;

/// Who was found to lead in which term.
#[derive(Debug, Default)]
pub struct LeaderCompleteness(BTreeMap<u64, u64>);

impl LeaderCompleteness {
    /// A replica leads in a term. `committed` is the last entry known to be committed, with its term;
    /// `term_of` says of which term an entry of its log is, if it is in the log or before it.
    pub fn check(
        &mut self,
        leader: u64,
        term: u64,
        committed: Option<(u64, u64)>,
        term_of: impl FnOnce(u64) -> Option<u64>,
    ) -> Result<(), Finding> {
        if self.0.insert(term, leader) == Some(leader) {
            return Ok(());
        }
        let Some((index, committed_term)) = committed else { return Ok(()) };
        // By log matching the entries before are the same as well.
        match term_of(index) {
            Some(found) if found == committed_term => Ok(()),
            found => Err(finding(
                "leader completeness",
                format!(
                    "replica {leader} leads in term {term}; entry {index} of term {committed_term} is \
                     committed, and its log has {}",
                    found.map_or("none there".to_owned(), |term| format!("one of term {term}"))
                ),
            )),
        }
    }
}
