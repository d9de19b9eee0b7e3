//! The controller's end of one host's stream.

use crate::message::{Drift, Hello, Rejection};
use crate::source::ViewSource;
use crate::wire;
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::ItemKey;
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
    /// A batch is being sent.
    Sending,
    /// Everything was sent; the acknowledgement is not there yet.
    AwaitingAck,
    /// The host has all that was sent.
    Idle,
    /// Refused: there is nothing more to send after the refusal.
    Ended,
}

impl SessionPhase {
    /// The name for listings and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionPhase::Resuming => "resuming",
            SessionPhase::AwaitingInventory => "awaiting-inventory",
            SessionPhase::Sending => "sending",
            SessionPhase::AwaitingAck => "awaiting-ack",
            SessionPhase::Idle => "idle",
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
}

/// The controller's end of one host's stream: a state machine without I/O.
///
/// The shell reads the host's first message with [`Hello::from_first_message`], finds the host, asks
/// the engine to watch it, makes the session, and then, for each transaction that the state
/// takes, calls [`process_host_change`](Self::process_host_change) and
/// [`process_item_changed`](Self::process_item_changed) before anything else of that revision.
/// Whenever the stream can take a message it calls [`next_message`](Self::next_message).
#[derive(Debug)]
pub struct ControllerSession {}

#[allow(unused_variables, clippy::unimplemented)] // bodies follow
impl ControllerSession {
    /// A session with a host that said hello. `now` is the time since any fixed start, on a
    /// monotonic clock; all `now`s of a session are from the same clock.
    pub fn new(hello: Hello, now: Duration) -> ControllerSession {
        unimplemented!()
    }

    /// Takes a message from the host. A message that breaks the protocol makes the session refuse
    /// the host: the next message says why.
    pub fn process_message(&mut self, message: wire::HostMessage, now: Duration) -> SessionEvent {
        unimplemented!()
    }

    /// Takes the items that the host gained and lost at one revision
    /// ([`HostChange`](spanwire_topology::engine::HostChange)).
    pub fn process_host_change(&mut self, gained: &[ItemKey], lost: &[ItemKey]) {
        unimplemented!()
    }

    /// Takes the news that an item which the host has, or gained at this very revision, changed.
    pub fn process_item_changed(&mut self, key: ItemKey) {
        unimplemented!()
    }

    /// Another agent connected as this host later: refuses this one.
    pub fn process_superseded(&mut self, detail: impl Into<String>) {
        unimplemented!()
    }

    /// The controller is going away: refuses the host, which connects elsewhere.
    pub fn process_draining(&mut self, detail: impl Into<String>) {
        unimplemented!()
    }

    /// The host was deleted: refuses it.
    pub fn process_deleted(&mut self) {
        unimplemented!()
    }

    /// The time at which [`process_timer`](Self::process_timer) must be called, if any.
    pub fn next_deadline(&self) -> Option<Duration> {
        unimplemented!()
    }

    /// Takes the passing of time.
    pub fn process_timer(&mut self, now: Duration) {
        unimplemented!()
    }

    /// True if [`next_message`](Self::next_message) would return something with a source at this
    /// revision. Lets the shell leave sessions alone that have nothing to say.
    pub fn has_message(&self, revision: Revision) -> bool {
        unimplemented!()
    }

    /// The next message, when the stream can take one. `None` if there is nothing to send now.
    pub fn next_message(
        &mut self,
        source: &mut impl ViewSource,
        now: Duration,
    ) -> Option<wire::ControllerMessage> {
        unimplemented!()
    }

    /// True once the refusal was handed out: the shell closes the stream.
    pub fn is_ended(&self) -> bool {
        unimplemented!()
    }

    /// The newest revision that the host is known to enforce, where `newest` is the revision up to
    /// which the session was told all changes. A host with nothing pending enforces `newest`,
    /// though it was never told the number: nothing between its own revision and `newest`
    /// concerned it.
    pub fn realized_revision(&self, newest: Revision) -> Revision {
        unimplemented!()
    }

    /// What is known about the session.
    pub fn status(&self) -> SessionStatus {
        unimplemented!()
    }
}
