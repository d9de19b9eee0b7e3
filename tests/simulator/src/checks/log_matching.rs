//! If two logs have an entry of the same index and term, they are the same up to it (Ongaro and
//! Ousterhout, figure 3: Log Matching). By induction it is enough that every such entry is the same
//! everywhere, and follows an entry of the same term everywhere.

use super::{Finding, finding};
use foldhash::fast::FixedState;
use raft::eraftpb::Entry;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

/// All entries that ever were in a log: what each was and which term came before it.
#[derive(Debug, Default)]
pub struct LogMatching(BTreeMap<(u64, u64), (u64, Option<u64>)>);

impl LogMatching {
    /// Entries stand in the log of a replica, one after the other.
    pub fn check(&mut self, replica: u64, entries: &[Entry]) -> Result<(), Finding> {
        let mut before: Option<u64> = None;
        for entry in entries {
            let content = content(entry);
            let known = self.0.entry((entry.index, entry.term)).or_insert((content, before));
            // Of the first of them it is not known here what it follows.
            let follows = match (known.1, before) {
                (Some(known), Some(now)) => known == now,
                (None, Some(now)) => {
                    known.1 = Some(now);
                    true
                }
                _ => true,
            };
            if known.0 != content || !follows {
                return Err(finding(
                    "log matching",
                    format!(
                        "entry {} of term {} is another one, or follows another one, in the log of \
                         replica {replica}",
                        entry.index, entry.term
                    ),
                ));
            }
            before = Some(entry.term);
        }
        Ok(())
    }
}

/// One number for what an entry is.
pub(super) fn content(entry: &Entry) -> u64 {
    let mut hasher = FixedState::with_seed(1).build_hasher();
    hasher.write_i32(entry.entry_type);
    hasher.write(&entry.data);
    hasher.write(&entry.context);
    hasher.finish()
}
