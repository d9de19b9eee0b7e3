//! The history of the admin API is linearizable, unknown outcomes included (Herlihy and Wing,
//! "Linearizability: a correctness condition for concurrent objects"). Every operation names its place
//! in one total order, the revision; so it is enough that this order agrees with that of time, and that
//! each answer is that of its place. Answers themselves are compared where they are given.

use super::{Finding, finding};

/// An operation that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// When it was asked for.
    pub from: u64,
    /// When it was answered.
    pub to: u64,
    /// The revision that it made, or saw.
    pub revision: u64,
    /// True if it made the revision.
    pub is_write: bool,
}

/// The history so far.
#[derive(Debug, Default)]
pub struct Linearizability {
    /// The newest revision of all operations that were answered, by the time of the answer: ascending
    /// in both.
    answered: Vec<(u64, u64)>,
    operations: u64,
}

impl Linearizability {
    /// Takes an operation that is answered now.
    pub fn check(&mut self, operation: &Operation) -> Result<(), Finding> {
        let Operation { from, to, revision, is_write } = *operation;
        let before = self.answered.partition_point(|(at, _)| *at < from);
        let seen = before.checked_sub(1).map_or(0, |last| self.answered[last].1);
        // A write makes a revision that nobody had seen.
        if revision < seen || (is_write && revision == seen) {
            let what = format!(
                "an operation from {from} to {to} is at revision {revision}, and revision {seen} had \
                 been seen before it began"
            );
            return Err(finding("linearizability", what));
        }
        let newest = self.answered.last().map_or(0, |(_, newest)| *newest);
        self.answered.push((to, newest.max(revision)));
        self.operations += 1;
        Ok(())
    }

    /// Operations that were answered.
    pub fn count(&self) -> u64 {
        self.operations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operations: &[(u64, u64, u64, bool)]) -> bool {
        let mut history = Linearizability::default();
        operations.iter().all(|(from, to, revision, is_write)| {
            let (from, to, revision, is_write) = (*from, *to, *revision, *is_write);
            history.check(&Operation { from, to, revision, is_write }).is_ok()
        })
    }

    #[test]
    fn the_order_of_revisions_is_that_of_time() {
        assert!(check(&[(0, 10, 5, true), (11, 12, 5, false), (11, 20, 6, true)]));
        assert!(check(&[(0, 30, 6, true), (5, 40, 5, true)]), "they overlap");
        assert!(!check(&[(0, 10, 5, true), (11, 12, 4, false)]), "a stale read");
        assert!(!check(&[(0, 10, 5, false), (11, 12, 5, true)]), "a write in the past");
        assert!(!check(&[(0, 10, 5, true), (20, 21, 6, false), (22, 30, 5, false)]));
    }
}
