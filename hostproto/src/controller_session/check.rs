//! The checks of a session: one at a time, asked for as often as anyone likes.

use crate::check::{CheckReport, Difference, Found, Members};
use crate::limits::DIFFERENCES_MAX;
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;
use std::collections::BTreeMap;

/// What was asked for, what is under way, and what was found.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Level-triggered: however often a check is asked for before it starts, it is one.
    due: bool,
    started: u64,
    /// The report so far of the check that is under way.
    running: Option<CheckReport>,
    last: Option<CheckReport>,
    finished: u64,
    repaired: u64,
}

impl Checks {
    /// Asks for a check. Returns the number of the one that will start after this.
    pub(super) fn request(&mut self) -> u64 {
        self.due = true;
        self.started + 1
    }

    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn start(&mut self, revision: Revision, items: usize) {
        self.due = false;
        self.started += 1;
        self.running =
            Some(CheckReport { number: self.started, revision, items, ..CheckReport::default() });
    }

    /// Takes what differs, and the revision of the batch that repairs it.
    pub(super) fn process_found(&mut self, found: &[(ItemKey, Found)], to: Revision) {
        let Some(report) = &mut self.running else { return };
        let told = found.iter().take(DIFFERENCES_MAX);
        report.differences = told
            .map(|(key, found)| Difference {
                key: *key,
                found: *found,
                members: Members::default(),
            })
            .collect();
        report.differences_omitted = found.len().saturating_sub(DIFFERENCES_MAX);
        report.repaired_at = to;
    }

    /// Takes what the host says of items that were repaired. What it says of others is about changes.
    pub(super) fn process_repaired(&mut self, repaired: Vec<(ItemKey, Members)>) {
        let mut repaired: BTreeMap<ItemKey, Members> = repaired.into_iter().collect();
        for difference in self.running.iter_mut().flat_map(|report| &mut report.differences) {
            if difference.found == Found::Differs
                && let Some(members) = repaired.remove(&difference.key)
            {
                difference.members = members;
            }
        }
    }

    /// The check under way has come to its end. Returns what it found.
    pub(super) fn finish(&mut self) -> Option<CheckReport> {
        let report = self.running.take()?;
        self.finished += 1;
        self.repaired += report.found() as u64;
        self.last = Some(report.clone());
        Some(report)
    }

    /// The check under way, if there is one, will come to no end.
    pub(super) fn fail(&mut self, problem: &str) {
        let Some(report) = self.running.take() else { return };
        self.last = Some(CheckReport {
            differences: Vec::new(),
            differences_omitted: 0,
            repaired_at: 0,
            problem: Some(problem.to_owned()),
            ..report
        });
    }

    /// The last check that has ended.
    pub(super) fn last(&self) -> Option<&CheckReport> {
        self.last.as_ref()
    }

    /// How many checks came to their end, and how many items they repaired.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.finished, self.repaired)
    }
}
