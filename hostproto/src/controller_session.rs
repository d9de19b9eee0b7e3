//! The controller's end of one host's stream.

mod batch;
mod check;
mod pending;
mod ranges;
mod resume;
mod status;
mod stream;

pub use status::{SessionEvent, SessionPhase, SessionStatus};

use crate::codec::DecodeError;
use crate::log::ToldRanges;
use crate::message::{ClusterId, Drift, Hello, Rejections, refused, refused_message};
use crate::source::ViewSource;
use crate::wire;
use crate::wire::controller_message::Message as ToHost;
use crate::wire::host_message::Message as FromHost;
use crate::wire::refused::Reason;
use batch::Withheld;
use check::Checks;
use pending::PendingItems;
use prost::Message;
use ranges::Difference;
use resume::Held;
use spanwire_topology::model::Revision;
use spanwire_topology::view::ItemKey;
use std::collections::{BTreeMap, VecDeque};
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
    /// True if the last batch was cut with ranges that the host told.
    sent_by_ranges: bool,
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
    AwaitingInventory(Difference),
    /// The host was asked for the ranges of these lists. What it told so far.
    AwaitingRanges {
        difference: Difference,
        asked: Vec<ItemKey>,
        told: BTreeMap<ItemKey, ToldRanges>,
        bytes: usize,
    },
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
    Difference(Difference),
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
            by_ranges: false,
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
            sent_by_ranges: false,
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
            Some(FromHost::Ranges(ranges)) => self.process_ranges(ranges, now),
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
                State::AwaitingInventory(_)
                | State::AwaitingRanges { .. }
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
                    match self.ask_for_ranges(source, now) {
                        Some(request) => ToHost::Ranges(request),
                        None => ToHost::Part(self.next_part(source, now)?),
                    }
                }
                State::AwaitingInventory(_)
                | State::AwaitingRanges { .. }
                | State::AwaitingAck { .. }
                | State::AwaitingCheck { .. }
                | State::Ended => return None,
            };
            wire::ControllerMessage { message: Some(message) }
        };
        self.sent_bytes += message.encoded_len() as u64;
        Some(message)
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
            | State::AwaitingInventory(_)
            | State::AwaitingRanges { .. }
            | State::Cutting(Plan::Whole | Plan::Difference(_))
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
}

fn in_message(what: &str, error: DecodeError) -> String {
    format!("bad {what}: {error}")
}

#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod ranges_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
