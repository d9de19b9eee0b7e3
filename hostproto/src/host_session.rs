//! The agent's end of the stream.

use crate::message::{ClusterId, Rejection};
use crate::wire;
use bytes::Bytes;
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The name of the host.
    pub host: Text,
    /// Random, new for each run of the agent.
    pub instance: u64,
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

/// One step of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewChange {
    /// The cluster of the new view.
    pub cluster_id: ClusterId,
    /// The new view. Shared, items included: cheap. If the agent drops its own handle on a view
    /// before the next change, the session changes it in place instead of copying the map.
    pub view: Arc<HostView>,
    /// Items that are new, changed or gone (those not in `view`).
    pub changed: BTreeSet<ItemKey>,
    /// The revision of the old view.
    pub from: Revision,
    /// The revision of the new view.
    pub to: Revision,
    /// True if the new view replaces the old one whole: what is stored must be stored anew.
    pub replace: bool,
    /// The encoded updates that lead from the old view (or from nothing, with `replace`) to the new
    /// one, in order, for a store that appends.
    pub updates: Vec<Bytes>,
}

/// What the agent shall do.
#[derive(Debug, Clone, PartialEq)]
pub enum HostCommand {
    /// Send a message to the controller.
    Send(wire::HostMessage),
    /// Keep the new view, put it into the datapath, and then call
    /// [`HostSession::process_applied`]. With nothing in `changed`, only the revision moves.
    Apply(ViewChange),
    /// The controller refused the host: close the stream and connect again later, elsewhere if
    /// there is an elsewhere.
    Disconnect {
        /// Why.
        reason: wire::refused::Reason,
        /// Why, in the controller's words.
        detail: String,
    },
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
#[derive(Debug)]
pub struct HostSession {}

#[allow(unused_variables, clippy::unimplemented)] // bodies follow
impl HostSession {
    /// A session that starts from what was kept on disk, if anything was.
    pub fn new(identity: HostIdentity, held: Option<HeldView>) -> HostSession {
        unimplemented!()
    }

    /// A stream is open.
    pub fn process_connected(&mut self) -> Vec<HostCommand> {
        unimplemented!()
    }

    /// The stream is gone. What was staged is dropped; what is being applied goes on.
    pub fn process_disconnected(&mut self) {
        unimplemented!()
    }

    /// Takes a message from the controller.
    pub fn process_message(&mut self, message: wire::ControllerMessage) -> Vec<HostCommand> {
        unimplemented!()
    }

    /// The view of the last [`HostCommand::Apply`] is in the datapath, but for `rejections`, which
    /// replace all earlier ones.
    pub fn process_applied(
        &mut self,
        revision: Revision,
        rejections: Vec<Rejection>,
    ) -> Vec<HostCommand> {
        unimplemented!()
    }

    /// What the datapath refuses has changed, without a change of the view.
    pub fn process_rejections(&mut self, rejections: Vec<Rejection>) -> Vec<HostCommand> {
        unimplemented!()
    }

    /// The datapath differed from the view and was put right.
    pub fn process_drift(
        &mut self,
        findings: Vec<String>,
        repaired_total: u64,
    ) -> Vec<HostCommand> {
        unimplemented!()
    }

    /// Asks the controller to compare and repair the view (guarantee G13).
    pub fn request_repair(&mut self, detail: impl Into<String>) -> Vec<HostCommand> {
        unimplemented!()
    }

    /// Where the session is.
    pub fn phase(&self) -> HostPhase {
        unimplemented!()
    }

    /// The view held: the newest that was handed out to be applied.
    pub fn view(&self) -> &Arc<HostView> {
        unimplemented!()
    }

    /// The revision of the view held; 0 if none.
    pub fn revision(&self) -> Revision {
        unimplemented!()
    }

    /// The cluster of the view held.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        unimplemented!()
    }

    /// The digest of the view held.
    pub fn digest(&self) -> u64 {
        unimplemented!()
    }
}
