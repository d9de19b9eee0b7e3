//! What a session tells its shell and the operator.

use super::{ControllerSession, State};
use crate::check::CheckReport;
use crate::message::{Drift, Rejection};
use spanwire_topology::model::{Revision, Text};
use std::time::Duration;

/// What a message from the host meant, for the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// Nothing that matters outside of the session.
    None,
    /// The host has this revision in its datapath; its rejections are in the status.
    Acknowledged {
        /// The revision.
        revision: Revision,
    },
    /// The datapath had drifted and was put right.
    Drifted(Drift),
    /// A check came to its end. If something had to be repaired, the host has acknowledged that.
    Checked(CheckReport),
    /// The host could not use what it was sent. The session repairs it.
    Complained {
        /// Why, in the host's words.
        detail: String,
    },
    /// The host broke the protocol: the next message is the refusal that says why, and the last.
    Refused {
        /// Why.
        detail: String,
    },
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionPhase {
    /// The host said hello, or complained; the answer is not sent yet.
    Resuming,
    /// The host was asked what it holds.
    AwaitingInventory,
    /// The host was asked for the ranges of lists that it holds.
    AwaitingRanges,
    /// A batch is being sent.
    Sending,
    /// Everything was sent; the acknowledgement is not there yet.
    AwaitingAck,
    /// The host has all that was sent.
    Idle,
    /// The host compares the contents of its view.
    AwaitingCheck,
    /// Refused: there is nothing more to send after the refusal.
    Ended,
}

impl SessionPhase {
    /// The name for listings and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionPhase::Resuming => "resuming",
            SessionPhase::AwaitingInventory => "awaiting-inventory",
            SessionPhase::AwaitingRanges => "awaiting-ranges",
            SessionPhase::Sending => "sending",
            SessionPhase::AwaitingAck => "awaiting-ack",
            SessionPhase::Idle => "idle",
            SessionPhase::AwaitingCheck => "awaiting-check",
            SessionPhase::Ended => "ended",
        }
    }
}

/// What is known about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatus {
    /// The host.
    pub host: Text,
    /// The run of its agent.
    pub instance: u64,
    /// The version of its agent.
    pub agent_version: String,
    /// The driver of its datapath.
    pub datapath: String,
    /// Where the session is.
    pub phase: SessionPhase,
    /// Since when: the `now` at which it got there. Tells a slow host from a busy one.
    pub phase_since: Duration,
    /// The newest revision that the host acknowledged; 0 if none.
    pub acked_revision: Revision,
    /// The newest revision that was sent whole; 0 if none.
    pub sent_revision: Revision,
    /// Items that changed since the last batch was cut.
    pub pending: usize,
    /// Bytes of all messages to the host, without gRPC's framing.
    pub sent_bytes: u64,
    /// Batches sent whole.
    pub sent_batches: u64,
    /// Updates in them.
    pub sent_updates: u64,
    /// What the host's datapath refuses, and items too large to send, sorted by key.
    pub rejections: Vec<Rejection>,
    /// How many more rejections the host has.
    pub rejections_omitted: u32,
    /// Complaints of the host.
    pub complaints: u64,
    /// The host's last drift report.
    pub drift: Drift,
    /// Checks of its contents that came to their end.
    pub checks: u64,
    /// Items that they found to differ and repaired.
    pub checks_repaired: u64,
    /// The last check that ended, one way or another.
    pub last_check: Option<CheckReport>,
}

impl ControllerSession {
    /// Where the session is.
    pub fn phase(&self) -> SessionPhase {
        match &self.state {
            State::Resuming { .. } => SessionPhase::Resuming,
            State::AwaitingInventory(_) => SessionPhase::AwaitingInventory,
            State::AwaitingRanges { .. } => SessionPhase::AwaitingRanges,
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
