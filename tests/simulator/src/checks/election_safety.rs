//! At most one leader in a term (Ongaro and Ousterhout, "In Search of an Understandable Consensus
//! Algorithm", figure 3: Election Safety).

use super::{Finding, finding};
use std::collections::BTreeMap;

/// Who led when.
#[derive(Debug, Default)]
pub struct ElectionSafety(BTreeMap<u64, u64>);

impl ElectionSafety {
    /// A replica leads in a term.
    pub fn check(&mut self, term: u64, leader: u64) -> Result<(), Finding> {
        match *self.0.entry(term).or_insert(leader) {
            first if first == leader => Ok(()),
            first => Err(finding(
                "election safety",
                format!("replicas {first} and {leader} both lead in term {term}"),
            )),
        }
    }

    /// True if nobody is known to have led in a later term.
    pub fn is_newest(&self, term: u64) -> bool {
        self.0.last_key_value().is_none_or(|(newest, _)| *newest <= term)
    }

    /// Elections that were won.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
