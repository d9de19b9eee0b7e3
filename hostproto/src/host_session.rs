//! The agent's end of the stream.

mod check;
mod command;
mod misfit;
mod ranges;
mod resume;
mod stream;

pub use command::{HostCommand, ViewChange};

use crate::digest::digest;
use crate::message::{ClusterId, Drift, Rejection, Rejections, cut_detail};
use crate::wire;
use crate::wire::complaint::Reason as ComplaintReason;
use crate::wire::controller_message::Message as FromController;
use crate::wire::host_message::Message as ToController;
use misfit::Misfit;
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::HostView;
use std::sync::Arc;
use stream::StagedBatch;

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The name of the host.
    pub host: Text,
    /// Random, kept in the agent's state directory.
    pub instance: u64,
    /// How often an agent was started as this instance, this start included; 0 if it is not known.
    pub starts: u32,
    /// Version of the agent.
    pub agent_version: String,
    /// Name of the datapath driver.
    pub datapath: String,
}

/// A view with the cluster it came from: what the agent keeps on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldView {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The view.
    pub view: Arc<HostView>,
}

/// Where the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPhase {
    /// There is no stream.
    Disconnected,
    /// Hello, or a complaint, was sent (or waits for the datapath); the answer is not there yet.
    AwaitingWelcome,
    /// Welcomed: takes batches.
    Following,
    /// A batch was handed out and is not applied yet.
    Applying,
    /// Refused.
    Refused,
}

/// The agent's end of the stream: a state machine without I/O that holds the view.
///
/// The view moves when a batch is complete and handed out, never before and never in part; what
/// goes wrong before that leaves it as it was. While a batch is being applied the session does not
/// speak of the view, so what it tells a controller is always in the datapath.
#[derive(Debug)]
pub struct HostSession {
    identity: HostIdentity,
    /// Hellos said since the start.
    hellos: u32,
    cluster_id: Option<ClusterId>,
    view: Arc<HostView>,
    stream: Stream,
    /// The revision that was handed out and is not applied yet.
    applying: Option<Revision>,
    rejections: Rejections,
    /// What was wrong with items that the batch being applied repairs, to be acknowledged.
    repaired: Vec<wire::ItemRepair>,
}

/// What is known of the stream.
#[derive(Debug)]
enum Stream {
    Closed,
    /// Open, and the hello waits until what is being applied is applied.
    HelloDue,
    /// The hello or a complaint was sent.
    AwaitingWelcome {
        complained: bool,
    },
    /// Batches of this cluster may come.
    Following {
        cluster_id: ClusterId,
        staged: Option<StagedBatch>,
        /// True once something was handed out on this stream, so that the controller will know, or
        /// knows, that the view held is the one that acknowledgements speak of.
        acked: bool,
        /// A repair that was asked for while something was being applied.
        repair_due: Option<String>,
    },
    Refused,
}

impl HostSession {
    /// A session that starts from what was kept on disk, if anything was.
    pub fn new(identity: HostIdentity, held: Option<HeldView>) -> HostSession {
        let (cluster_id, view) = match held {
            Some(HeldView { cluster_id, view }) => (Some(cluster_id), view),
            None => (None, Arc::default()),
        };
        HostSession {
            identity,
            hellos: 0,
            cluster_id,
            view,
            stream: Stream::Closed,
            applying: None,
            rejections: Rejections::default(),
            repaired: Vec::new(),
        }
    }

    // ---- Events ----

    /// A stream is open.
    pub fn process_connected(&mut self) -> Vec<HostCommand> {
        if self.applying.is_some() {
            self.stream = Stream::HelloDue;
            return Vec::new();
        }
        self.stream = Stream::AwaitingWelcome { complained: false };
        vec![self.mk_hello()]
    }

    /// The stream is gone. What was staged is dropped; what is being applied goes on.
    pub fn process_disconnected(&mut self) {
        self.repaired.clear();
        self.stream = Stream::Closed;
    }

    /// Takes a message from the controller.
    pub fn process_message(&mut self, message: wire::ControllerMessage) -> Vec<HostCommand> {
        if matches!(self.stream, Stream::Closed | Stream::Refused) {
            return Vec::new();
        }
        let result = match message.message {
            Some(FromController::Welcome(welcome)) => self.process_welcome(welcome),
            Some(FromController::Part(part)) => self.process_part(part),
            Some(FromController::Ranges(request)) => self.process_ranges_request(request),
            Some(FromController::Check(check)) => self.process_check(check),
            Some(FromController::Refused(refused)) => {
                Err(Misfit::Disconnect(refused.reason(), cut_detail(&refused.detail).to_owned()))
            }
            None => Err(Misfit::protocol(
                "the controller sent a message of a kind that is not known here: it may be newer \
                 than this agent",
            )),
        };
        match result {
            Ok(commands) => commands,
            Err(Misfit::Complain(reason, detail)) => self.complain(reason, &detail),
            Err(Misfit::Disconnect(reason, detail)) => {
                self.stream = Stream::Refused;
                vec![HostCommand::Disconnect { reason, detail }]
            }
        }
    }

    /// The view of the last [`HostCommand::Apply`] is in the datapath, but for `rejections`, which
    /// replace all earlier ones. A revision that was not handed out last is ignored.
    pub fn process_applied(
        &mut self,
        revision: Revision,
        rejections: Vec<Rejection>,
    ) -> Vec<HostCommand> {
        if self.applying != Some(revision) {
            return Vec::new();
        }
        self.applying = None;
        self.rejections = Rejections::new(rejections);
        let repair = match &mut self.stream {
            Stream::HelloDue => {
                self.stream = Stream::AwaitingWelcome { complained: false };
                return vec![self.mk_hello()];
            }
            // The stream on which the batch came is gone.
            Stream::Closed | Stream::Refused | Stream::AwaitingWelcome { .. } => return Vec::new(),
            Stream::Following { repair_due, .. } => repair_due.take(),
        };
        let mut commands = vec![self.mk_ack()];
        self.repaired.clear();
        if let Some(detail) = repair {
            commands.extend(self.complain(ComplaintReason::DoesNotFit, &detail));
        }
        commands
    }

    /// What the datapath refuses has changed, without a change of the view. Told at once if the
    /// controller knows which revision the view stands for, else with the next acknowledgement.
    pub fn process_rejections(&mut self, rejections: Vec<Rejection>) -> Vec<HostCommand> {
        let rejections = Rejections::new(rejections);
        let is_news = rejections != self.rejections;
        self.rejections = rejections;
        match &self.stream {
            Stream::Following { acked: true, .. } if self.applying.is_none() && is_news => {
                vec![self.mk_ack()]
            }
            _ => Vec::new(),
        }
    }

    /// The datapath differed from the view and was put right.
    pub fn process_drift(
        &mut self,
        findings: Vec<String>,
        repaired_total: u64,
    ) -> Vec<HostCommand> {
        let Drift { findings, repaired_total } = Drift::new(findings, repaired_total);
        match self.stream {
            // Before the hello nothing else may be sent.
            Stream::Closed | Stream::Refused | Stream::HelloDue => Vec::new(),
            Stream::AwaitingWelcome { .. } | Stream::Following { .. } => {
                vec![send(ToController::Drift(wire::DriftReport { findings, repaired_total }))]
            }
        }
    }

    /// Asks the controller to compare and repair the view (guarantee G13), now or when what is
    /// being applied is applied. A resume that is under way does so anyway.
    pub fn request_repair(&mut self, detail: impl Into<String>) -> Vec<HostCommand> {
        let detail = detail.into();
        match &mut self.stream {
            Stream::Following { repair_due, .. } if self.applying.is_some() => {
                *repair_due = Some(detail);
                Vec::new()
            }
            Stream::Following { .. } => self.complain(ComplaintReason::DoesNotFit, &detail),
            Stream::Closed
            | Stream::Refused
            | Stream::HelloDue
            | Stream::AwaitingWelcome { .. } => Vec::new(),
        }
    }

    // ---- State ----

    /// Where the session is.
    pub fn phase(&self) -> HostPhase {
        match &self.stream {
            Stream::Closed => HostPhase::Disconnected,
            Stream::HelloDue | Stream::AwaitingWelcome { .. } => HostPhase::AwaitingWelcome,
            Stream::Following { .. } if self.applying.is_some() => HostPhase::Applying,
            Stream::Following { .. } => HostPhase::Following,
            Stream::Refused => HostPhase::Refused,
        }
    }

    /// The view held: the newest that was handed out to be applied.
    pub fn view(&self) -> &Arc<HostView> {
        &self.view
    }

    /// The revision of the view held; 0 if none.
    pub fn revision(&self) -> Revision {
        self.view.revision
    }

    /// The cluster of the view held.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// The digest of the view held.
    pub fn digest(&self) -> u64 {
        digest(self.view.items.iter().map(|(key, item)| (*key, item.version)))
    }
}

fn send(message: ToController) -> HostCommand {
    HostCommand::Send(wire::HostMessage { message: Some(message) })
}

#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod ranges_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
