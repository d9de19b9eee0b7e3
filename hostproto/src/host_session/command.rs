//! What a session asks of its agent.

use crate::check::Difference;
use crate::message::ClusterId;
use crate::wire;
use bytes::Bytes;
use spanwire_topology::model::Revision;
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;
use std::sync::Arc;

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
    /// one, in order, for a store that appends. Items that came by ranges are whole.
    pub updates: Vec<Bytes>,
    /// What a check had found to be wrong with the old view, if this step repairs it: at most
    /// [`DIFFERENCES_MAX`](crate::limits::DIFFERENCES_MAX) items. The step replaces what is stored, which may be wrong as well.
    pub repaired: Vec<Difference>,
}

/// What the agent shall do.
#[derive(Debug, Clone, PartialEq)]
pub enum HostCommand {
    /// Send a message to the controller.
    Send(wire::HostMessage),
    /// Keep the new view, put it into the datapath, and then call
    /// [`HostSession::process_applied`](super::HostSession::process_applied). With nothing in `changed`, only the revision moves.
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
