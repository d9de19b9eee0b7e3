//! The controller's end of one host's stream.

mod batch;
mod check;
mod pending;
mod resume;
mod status;

pub use status::{SessionEvent, SessionPhase, SessionStatus};

use crate::PROTOCOL_VERSION;
use crate::check::{CheckReport, repairs_from_wire};
use crate::codec::{DecodeError, key_from_wire};
use crate::digest::{self, CHECK_VERSION};
use crate::limits::{CATCH_UP_WAIT, COMPLAINTS_MAX, INVENTORY_ENTRIES_MAX};
use crate::message::{
    ClusterId, Drift, Hello, Rejection, Rejections, cut_detail, refused, refused_message,
};
use crate::source::ViewSource;
use crate::wire;
use crate::wire::controller_message::Message as ToHost;
use crate::wire::host_message::Message as FromHost;
use crate::wire::refused::Reason;
use batch::{BatchCutter, Withheld, to_parts};
use check::Checks;
use pending::PendingItems;
use prost::Message;
use resume::{Held, Resume, decide};
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;
use std::collections::VecDeque;
use std::time::Duration;

/// The controller's end of one host's stream: a state machine without I/O.
///
/// The shell reads the host's first message with [`Hello::from_first_message`], finds the host,
/// asks the engine to watch it, makes the session, and then, for each transaction that the state
/// takes, calls [`process_host_change`](Self::process_host_change) and
/// [`process_item_changed`](Self::process_item_changed) before anything else of that revision.
/// Whenever the stream can take a message it calls [`next_message`](Self::next_message).
///
/// Every `now` is the time since any fixed start on a monotonic clock, the same for all calls.
#[derive(Debug)]
pub struct ControllerSession {
    hello: Hello,
    state: State,
    /// The `now` at which `state` was entered.
    state_since: Duration,
    /// What ends the stream, once there is a reason to.
    refusal: Option<wire::Refused>,
    /// The cluster of the view that the host holds.
    host_cluster: Option<ClusterId>,
    /// The cluster that the host was welcomed to: that of the view it acknowledges.
    cluster: Option<ClusterId>,
    /// The revision that the next batch starts from: what the host holds once everything in flight
    /// is acknowledged.
    revision: Revision,
    acked_revision: Revision,
    sent_revision: Revision,
    pending: PendingItems,
    withheld: Withheld,
    rejections: Rejections,
    drift: Drift,
    checks: Checks,
    complaints: u64,
    complaints_in_a_row: u32,
    sent_bytes: u64,
    sent_batches: u64,
    sent_updates: u64,
}

#[derive(Debug)]
enum State {
    /// A welcome is due. While this replica is behind the host there is a deadline.
    Resuming { held: Held, deadline: Option<Duration> },
    /// The inventory so far.
    AwaitingInventory { entries: Vec<(ItemKey, Revision)>, from: Revision, deltas: bool },
    /// A batch is due that does not come from what is pending.
    Cutting(Plan),
    /// The parts of a batch that are not sent yet; never empty.
    Sending { parts: VecDeque<wire::BatchPart>, to: Revision },
    /// The host will acknowledge this revision.
    AwaitingAck { to: Revision },
    /// The host has what it was sent.
    Idle,
    /// The host compares its view with the digest it was sent. The digests that it says it has, so far.
    AwaitingCheck { entries: Vec<(ItemKey, u64)> },
    /// The refusal was handed out.
    Ended,
}

/// What to cut a batch from.
#[derive(Debug)]
enum Plan {
    Whole,
    Difference {
        held: Vec<(ItemKey, Revision)>,
        from: Revision,
        deltas: bool,
    },
    /// What differs from these contents.
    Repair {
        held: Vec<(ItemKey, u64)>,
    },
}

impl ControllerSession {
    /// A session with a host that said hello.
    pub fn new(hello: Hello, now: Duration) -> ControllerSession {
        let held = Held {
            cluster_id: hello.cluster_id,
            revision: hello.revision,
            digest: Some(hello.digest),
            complaints: 0,
        };
        ControllerSession {
            host_cluster: hello.cluster_id,
            cluster: None,
            hello,
            state: State::Resuming { held, deadline: None },
            state_since: now,
            refusal: None,
            revision: 0,
            acked_revision: 0,
            sent_revision: 0,
            pending: PendingItems::default(),
            withheld: Withheld::new(),
            rejections: Rejections::default(),
            drift: Drift::default(),
            checks: Checks::default(),
            complaints: 0,
            complaints_in_a_row: 0,
            sent_bytes: 0,
            sent_batches: 0,
            sent_updates: 0,
        }
    }

    // ---- Events ----

    /// Takes a message from the host. A message that breaks the protocol makes the session refuse
    /// the host: the next message says why.
    pub fn process_message(&mut self, message: wire::HostMessage, now: Duration) -> SessionEvent {
        if self.refusal.is_some() || self.is_ended() {
            return SessionEvent::None;
        }
        let result = match message.message {
            Some(FromHost::Inventory(inventory)) => self.process_inventory(inventory, now),
            Some(FromHost::Ack(ack)) => self.process_ack(ack, now),
            Some(FromHost::Complaint(complaint)) => self.process_complaint(complaint, now),
            Some(FromHost::Drift(wire::DriftReport { findings, repaired_total })) => {
                self.drift = Drift::new(findings, repaired_total);
                Ok(SessionEvent::Drifted(self.drift.clone()))
            }
            Some(FromHost::Check(result)) => self.process_check_result(result, now),
            Some(FromHost::Hello(_)) => Err("a second hello on one stream".to_owned()),
            None => Err("a message of a kind that is not known here".to_owned()),
        };
        result.unwrap_or_else(|detail| {
            self.refuse(Reason::Protocol, &detail);
            SessionEvent::Refused { detail }
        })
    }

    /// Takes the items that the host gained and lost at one revision
    /// ([`HostChange`](spanwire_topology::engine::HostChange)).
    pub fn process_host_change(&mut self, gained: &[ItemKey], lost: &[ItemKey]) {
        if self.is_tracking() {
            gained.iter().for_each(|key| self.pending.gain(*key));
            lost.iter().for_each(|key| self.pending.lose(*key));
        }
    }

    /// Takes the news that an item which the host has, or gained at this very revision, changed.
    pub fn process_item_changed(&mut self, key: ItemKey) {
        if self.is_tracking() {
            self.pending.change(key);
        }
    }

    /// Asks for a check of the contents that the host holds (guarantee G13): as soon as it has all that
    /// it was sent. Returns the number that the [report](SessionStatus::last_check) will have, or a later
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

    /// Another agent connected as this host later: refuses this one.
    pub fn process_superseded(&mut self, detail: impl Into<String>) {
        self.refuse(Reason::Superseded, &detail.into());
    }

    /// The controller is going away: refuses the host, which connects elsewhere.
    pub fn process_draining(&mut self, detail: impl Into<String>) {
        self.refuse(Reason::Draining, &detail.into());
    }

    /// This replica may be behind others, and does not catch up: refuses the host, which connects
    /// elsewhere.
    pub fn process_behind(&mut self, detail: impl Into<String>) {
        self.refuse(Reason::Behind, &detail.into());
    }

    /// The host was deleted: refuses it.
    pub fn process_deleted(&mut self) {
        let detail = format!(
            "host {} was deleted: apply it again, or stop its agent and run its cleanup",
            self.hello.host
        );
        self.refuse(Reason::Deleted, &detail);
    }

    /// The time at which [`process_timer`](Self::process_timer) must be called, if any.
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Resuming { held: _, deadline } if self.refusal.is_none() => *deadline,
            _ => None,
        }
    }

    /// Takes the passing of time.
    pub fn process_timer(&mut self, now: Duration) {
        if self.next_deadline().is_some_and(|deadline| deadline <= now)
            && let State::Resuming { held, deadline: _ } = &self.state
        {
            let detail = format!(
                "this replica has not caught up with revision {}, which the host holds: connect to \
                 another",
                held.revision
            );
            self.refuse(Reason::Behind, &detail);
        }
    }

    // ---- Messages to the host ----

    /// True if [`next_message`](Self::next_message) should be called with a source at this
    /// revision. Lets the shell leave sessions alone that have nothing to say. It becomes true by
    /// an event or, for a session that waits for this replica to catch up with its host (it has a
    /// [`next_deadline`](Self::next_deadline)), by the mere progress of the state: such a session
    /// must be asked again whenever the revision moves.
    pub fn has_message(&self, revision: Revision) -> bool {
        if self.is_ended() {
            return false;
        }
        self.refusal.is_some()
            || match &self.state {
                // Until it was tried once, it is not known whether this replica is behind.
                State::Resuming { held, deadline } => {
                    deadline.is_none() || revision >= held.revision
                }
                State::Cutting(_) | State::Sending { .. } => true,
                State::Idle => self.pending.is_touched() || self.checks.is_due(),
                State::AwaitingInventory { .. }
                | State::AwaitingAck { .. }
                | State::AwaitingCheck { .. }
                | State::Ended => false,
            }
    }

    /// The next message, when the stream can take one. `None` if there is nothing to send now.
    pub fn next_message(
        &mut self,
        source: &mut impl ViewSource,
        now: Duration,
    ) -> Option<wire::ControllerMessage> {
        let message = if let Some(refused) = self.refusal.take() {
            self.enter(State::Ended, now);
            refused_message(refused)
        } else {
            let message = match &self.state {
                State::Resuming { held, deadline: _ } => {
                    ToHost::Welcome(self.resume(*held, source, now)?)
                }
                // Changes go first: a check has time.
                State::Idle if self.checks.is_due() && !self.pending.is_touched() => {
                    ToHost::Check(self.check(source, now))
                }
                State::Cutting(_) | State::Sending { .. } | State::Idle => {
                    ToHost::Part(self.next_part(source, now)?)
                }
                State::AwaitingInventory { .. }
                | State::AwaitingAck { .. }
                | State::AwaitingCheck { .. }
                | State::Ended => return None,
            };
            wire::ControllerMessage { message: Some(message) }
        };
        self.sent_bytes += message.encoded_len() as u64;
        Some(message)
    }

    fn resume(
        &mut self,
        held: Held,
        source: &impl ViewSource,
        now: Duration,
    ) -> Option<wire::Welcome> {
        use wire::welcome::Resume as OnWire;
        let revision = source.revision();
        let (resume, state) = match decide(held, source) {
            Resume::Wait => {
                if let State::Resuming { held: _, deadline } = &mut self.state {
                    deadline.get_or_insert(now + CATCH_UP_WAIT);
                }
                return None;
            }
            Resume::Current => {
                self.pending.take();
                self.revision = revision;
                (OnWire::Current, State::AwaitingAck { to: revision })
            }
            Resume::Inventory { deltas } => {
                let (entries, from) = (Vec::new(), held.revision);
                (OnWire::Inventory, State::AwaitingInventory { entries, from, deltas })
            }
            Resume::Snapshot => (OnWire::Snapshot, State::Cutting(Plan::Whole)),
        };
        self.cluster = Some(source.cluster_id());
        self.enter(state, now);
        Some(wire::Welcome {
            protocol_version: PROTOCOL_VERSION,
            cluster_id: source.cluster_id().0.to_vec().into(),
            resume: resume.into(),
            revision,
        })
    }

    /// Nothing is pending, so the host should have the contents that the state has, though its revision
    /// may be an earlier one.
    fn check(&mut self, source: &mut impl ViewSource, now: Duration) -> wire::Check {
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

    fn next_part(
        &mut self,
        source: &mut impl ViewSource,
        now: Duration,
    ) -> Option<wire::BatchPart> {
        let (part, to) = match &mut self.state {
            State::Sending { parts, to } => (parts.pop_front()?, *to),
            _ => {
                let (mut parts, to) = self.cut(source)?;
                let part = parts.pop_front()?;
                self.enter(State::Sending { parts, to }, now);
                (part, to)
            }
        };
        self.sent_updates += part.updates.len() as u64;
        if part.last {
            self.sent_batches += 1;
            self.sent_revision = to;
            self.enter(State::AwaitingAck { to }, now);
        }
        Some(part)
    }

    /// Cuts a batch: what is in it is fixed here, and all that happens later is for the next one.
    fn cut(
        &mut self,
        source: &mut impl ViewSource,
    ) -> Option<(VecDeque<wire::BatchPart>, Revision)> {
        let to = source.revision();
        let plan = match &mut self.state {
            State::Cutting(plan) => Some(std::mem::replace(plan, Plan::Whole)),
            _ if self.pending.is_touched() && to >= self.revision => None,
            _ => return None,
        };
        let pending = self.pending.take();
        let repair = matches!(plan, Some(Plan::Repair { .. }));
        let cutter = BatchCutter::new(source, &mut self.withheld);
        let (from, replace, updates) = match plan {
            Some(Plan::Whole) => (0, true, cutter.cut_whole()),
            Some(Plan::Difference { held, from, deltas }) => {
                (from, false, cutter.cut_difference(&held, deltas))
            }
            Some(Plan::Repair { held }) => {
                let (updates, found) = cutter.cut_repair(&held, &pending);
                self.checks.process_found(&found, to);
                (self.revision, false, updates)
            }
            None => (self.revision, false, cutter.cut_pending(pending, self.revision)),
        };
        self.revision = to;
        let mut parts = to_parts(from, to, replace, updates);
        parts.iter_mut().for_each(|part| part.repair = repair);
        Some((parts, to))
    }

    // ---- Messages from the host ----

    fn process_inventory(
        &mut self,
        inventory: wire::Inventory,
        now: Duration,
    ) -> Result<SessionEvent, String> {
        let State::AwaitingInventory { entries: known, from, deltas } = &mut self.state else {
            return Err(self.unexpected("an inventory"));
        };
        let wire::Inventory { entries, last } = inventory;
        if known.len() + entries.len() > INVENTORY_ENTRIES_MAX {
            return Err(format!("an inventory of more than {INVENTORY_ENTRIES_MAX} items"));
        }
        known.reserve(entries.len());
        for wire::InventoryEntry { key, version } in entries {
            let key =
                key_from_wire(key.as_ref()).map_err(|error| in_message("inventory", error))?;
            if known.last().is_some_and(|(before, _)| *before >= key) {
                return Err(format!(
                    "the inventory is not sorted: {key} stands too late, or twice"
                ));
            }
            known.push((key, version));
        }
        if last {
            let (held, from, deltas) = (std::mem::take(known), *from, *deltas);
            self.enter(State::Cutting(Plan::Difference { held, from, deltas }), now);
        }
        Ok(SessionEvent::None)
    }

    fn process_ack(&mut self, ack: wire::Ack, now: Duration) -> Result<SessionEvent, String> {
        let wire::Ack { revision, rejections, rejections_omitted, repaired } = ack;
        let rejections = Rejections::from_wire(rejections, rejections_omitted)
            .map_err(|error| in_message("acknowledgement", error))?;
        let repaired =
            repairs_from_wire(repaired).map_err(|error| in_message("acknowledgement", error))?;
        let is_of_repair = self.checks.is_running()
            && matches!(self.state, State::AwaitingAck { to } if revision == to);
        if !repaired.is_empty() && !is_of_repair {
            return Err("an acknowledgement tells of repairs, and none were sent".to_owned());
        }
        match &self.state {
            State::AwaitingAck { to } if revision == *to => {
                self.acked_revision = revision;
                self.host_cluster = self.cluster;
                self.complaints_in_a_row = 0;
                self.enter(State::Idle, now);
            }
            // What the datapath refuses may change without a batch.
            State::AwaitingAck { .. }
            | State::Sending { .. }
            | State::Idle
            | State::AwaitingCheck { .. }
            | State::Cutting(Plan::Repair { .. })
                if revision == self.acked_revision && revision != 0 => {}
            State::AwaitingAck { to } => {
                return Err(format!("revision {revision} is acknowledged, and {to} was sent"));
            }
            _ => return Err(self.unexpected(&format!("an acknowledgement of {revision}"))),
        }
        self.rejections = rejections;
        if is_of_repair {
            self.checks.process_repaired(repaired);
            return Ok(self.checks.finish().map_or(SessionEvent::None, SessionEvent::Checked));
        }
        Ok(SessionEvent::Acknowledged { revision })
    }

    fn process_check_result(
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

    fn process_complaint(
        &mut self,
        complaint: wire::Complaint,
        now: Duration,
    ) -> Result<SessionEvent, String> {
        let wire::Complaint { reason: _, detail, revision } = complaint;
        let detail = cut_detail(&detail).to_owned();
        self.complaints += 1;
        self.complaints_in_a_row += 1;
        if self.complaints_in_a_row >= COMPLAINTS_MAX {
            return Err(format!(
                "{} complaints in a row, the last: {detail}",
                self.complaints_in_a_row
            ));
        }
        let held = Held {
            cluster_id: self.host_cluster,
            revision,
            digest: None,
            complaints: self.complaints_in_a_row,
        };
        self.pending.take();
        self.checks.fail(&format!("the host complained: {detail}"));
        self.enter(State::Resuming { held, deadline: None }, now);
        Ok(SessionEvent::Complained { detail })
    }

    fn unexpected(&self, what: &str) -> String {
        format!("{what} came while the session was {}", self.phase().as_str())
    }

    // ---- State ----

    fn enter(&mut self, state: State, now: Duration) {
        self.state = state;
        self.state_since = now;
    }

    /// The first reason to refuse the host stands.
    fn refuse(&mut self, reason: Reason, detail: &str) {
        if self.refusal.is_none() && !self.is_ended() {
            self.refusal = Some(refused(reason, detail));
        }
    }

    /// True once a batch or a welcome fixed what the host has, so that changes must be kept. Before
    /// it, the batch to come is cut from the whole state; and after a refusal none will come.
    fn is_tracking(&self) -> bool {
        match self.state {
            State::Sending { .. }
            | State::AwaitingAck { .. }
            | State::Idle
            | State::AwaitingCheck { .. }
            | State::Cutting(Plan::Repair { .. }) => self.refusal.is_none(),
            State::Resuming { .. }
            | State::AwaitingInventory { .. }
            | State::Cutting(Plan::Whole | Plan::Difference { .. })
            | State::Ended => false,
        }
    }

    /// True once the refusal was handed out: the shell closes the stream.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// True if the agent of this session said hello here after it had said the other hello. Not
    /// known of different instances, nor of agents that do not count.
    pub fn is_newer_than(&self, other: &Hello) -> bool {
        self.hello.instance == other.instance
            && other.attempt != 0
            && self.hello.attempt > other.attempt
    }

    /// True once there is a reason to end the stream.
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some() || self.is_ended()
    }

    /// Where the session is.
    pub fn phase(&self) -> SessionPhase {
        match &self.state {
            State::Resuming { .. } => SessionPhase::Resuming,
            State::AwaitingInventory { .. } => SessionPhase::AwaitingInventory,
            State::Cutting(_) | State::Sending { .. } => SessionPhase::Sending,
            State::AwaitingAck { .. } => SessionPhase::AwaitingAck,
            State::Idle => SessionPhase::Idle,
            State::AwaitingCheck { .. } => SessionPhase::AwaitingCheck,
            State::Ended => SessionPhase::Ended,
        }
    }

    /// The newest revision that the host is known to enforce, where `newest` is the revision up to
    /// which the session was told all changes. A host with nothing pending enforces `newest`,
    /// though it was never told the number: nothing between its own revision and `newest`
    /// concerned it.
    pub fn realized_revision(&self, newest: Revision) -> Revision {
        let is_idle = matches!(self.state, State::Idle | State::AwaitingCheck { .. })
            && self.refusal.is_none()
            && !self.pending.is_touched();
        if is_idle { newest.max(self.acked_revision) } else { self.acked_revision }
    }

    /// The last check that has ended.
    pub fn last_check(&self) -> Option<&CheckReport> {
        self.checks.last()
    }

    /// What is known about the session.
    pub fn status(&self) -> SessionStatus {
        let withheld = self.withheld.values();
        let (checks, checks_repaired) = self.checks.counts();
        let mut rejections: Vec<Rejection> =
            self.rejections.list.iter().chain(withheld).cloned().collect();
        rejections.sort_unstable();
        SessionStatus {
            host: self.hello.host.clone(),
            instance: self.hello.instance,
            agent_version: self.hello.agent_version.clone(),
            datapath: self.hello.datapath.clone(),
            phase: self.phase(),
            phase_since: self.state_since,
            acked_revision: self.acked_revision,
            sent_revision: self.sent_revision,
            pending: self.pending.len(),
            sent_bytes: self.sent_bytes,
            sent_batches: self.sent_batches,
            sent_updates: self.sent_updates,
            rejections,
            rejections_omitted: self.rejections.omitted,
            complaints: self.complaints,
            drift: self.drift.clone(),
            checks,
            checks_repaired,
            last_check: self.checks.last().cloned(),
        }
    }
}

fn in_message(what: &str, error: DecodeError) -> String {
    format!("bad {what}: {error}")
}

#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod tests;
