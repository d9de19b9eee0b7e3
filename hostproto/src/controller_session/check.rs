//! The checks of a session: one at a time, asked for as often as anyone likes.

use super::{ControllerSession, Plan, SessionEvent, State, in_message};
use crate::check::{CheckReport, Difference, Found, Members};
use crate::codec::key_from_wire;
use crate::digest::{self, CHECK_VERSION};
use crate::limits::{DIFFERENCES_MAX, INVENTORY_ENTRIES_MAX};
use crate::source::ViewSource;
use crate::wire;
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;
use std::collections::BTreeMap;
use std::time::Duration;

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

impl ControllerSession {
    /// Asks for a check of the contents that the host holds (guarantee G13): as soon as it has all that
    /// it was sent. Returns the number that the [report](super::SessionStatus::last_check) will have, or a later
    /// one. It begins after this, whatever check is under way.
    ///
    /// # Errors
    /// Why this host cannot be checked.
    pub fn request_check(&mut self) -> Result<u64, String> {
        if self.is_refused() {
            return Err("the host is being disconnected: ask again when it is back".to_owned());
        }
        match self.hello.check_version {
            CHECK_VERSION => Ok(self.checks.request()),
            version => Err(format!(
                "the host's agent (release {}) compares contents in another way, {version}, than \
                 this controller, {CHECK_VERSION}: install matching releases",
                self.hello.agent_version
            )),
        }
    }

    /// Nothing is pending, so the host should have the contents that the state has, though its revision
    /// may be an earlier one.
    pub(super) fn check(&mut self, source: &mut impl ViewSource, now: Duration) -> wire::Check {
        let mut contents = Vec::new();
        for (key, _) in source.host_items() {
            if !self.withheld.contains_key(&key) {
                contents.extend(source.content(key));
            }
        }
        self.checks.start(self.revision, contents.len());
        self.enter(State::AwaitingCheck { entries: Vec::new() }, now);
        wire::Check { revision: self.revision, digest: digest::contents(contents) }
    }

    pub(super) fn process_check_result(
        &mut self,
        result: wire::CheckResult,
        now: Duration,
    ) -> Result<SessionEvent, String> {
        let State::AwaitingCheck { entries: known } = &mut self.state else {
            return Err(self.unexpected("the result of a check"));
        };
        let wire::CheckResult { revision, matches, entries, last } = result;
        if revision != self.revision {
            return Err(format!(
                "the result of a check of revision {revision}, and {} was checked",
                self.revision
            ));
        }
        if matches {
            if !(known.is_empty() && entries.is_empty() && last) {
                return Err(
                    "the result of a check says both that all is right and what is not".to_owned()
                );
            }
            self.enter(State::Idle, now);
            return Ok(self.checks.finish().map_or(SessionEvent::None, SessionEvent::Checked));
        }
        if known.len() + entries.len() > INVENTORY_ENTRIES_MAX {
            return Err(format!(
                "the result of a check of more than {INVENTORY_ENTRIES_MAX} items"
            ));
        }
        known.reserve(entries.len());
        for wire::CheckEntry { key, digest } in entries {
            let key =
                key_from_wire(key.as_ref()).map_err(|error| in_message("check result", error))?;
            if known.last().is_some_and(|(before, _)| *before >= key) {
                return Err(format!(
                    "the result of a check is not sorted: {key} stands too late, or twice"
                ));
            }
            known.push((key, digest));
        }
        if last {
            let held = std::mem::take(known);
            self.enter(State::Cutting(Plan::Repair { held }), now);
        }
        Ok(SessionEvent::None)
    }

    /// The last check that has ended.
    pub fn last_check(&self) -> Option<&CheckReport> {
        self.checks.last()
    }
}
