//! What the tasks of an agent tell each other.

use crate::datapath::{Finding, Rejection};
use spanwire_hostproto::{ViewChange, wire};
use spanwire_topology::model::Revision;
use spanwire_topology::view::HostView;
use std::sync::Arc;
use std::time::Duration;

/// What the worker shall do. The session gives it one of each at most before it has answered.
#[derive(Debug)]
pub(crate) enum Job {
    /// Put the view that was on disk into the datapath.
    Restore(Arc<HostView>),
    /// Keep a step of the view, and put it into the datapath.
    Apply(ViewChange),
    /// Do again what failed.
    Retry,
    /// Compare the datapath with the view.
    Audit,
}

/// What the worker did.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// The view is kept and in force.
    Applied {
        /// Its revision.
        revision: Revision,
        /// What of it is not in force.
        rejections: Vec<Rejection>,
        /// How long it took to keep it; `None` if it came from the disk.
        stored_in: Option<Duration>,
        /// How long it took to put it into the datapath.
        applied_in: Duration,
    },
    /// The view could not be kept, or nothing of it could be put in force. The old one still is.
    Failed {
        /// The revision of the view.
        revision: Revision,
        /// What went wrong.
        problem: String,
    },
    /// The datapath was compared with the view.
    Audited {
        /// The differences.
        findings: Vec<Finding>,
        /// What of the view is not in force now.
        rejections: Vec<Rejection>,
    },
    /// The datapath could not be compared with the view.
    AuditFailed {
        /// What went wrong.
        problem: String,
    },
}

/// What happened to the connection to a controller.
#[derive(Debug)]
pub(crate) struct StreamEvent {
    /// Which connection: what an earlier one still has to say no longer matters.
    pub(crate) connection: u64,
    pub(crate) kind: StreamEventKind,
}

/// See [`StreamEvent`].
#[derive(Debug)]
pub(crate) enum StreamEventKind {
    /// The controller can be reached: say hello.
    Connected,
    /// The controller sent a message.
    Message(wire::ControllerMessage),
    /// The connection could not be made, or has ended.
    Ended {
        /// Why.
        problem: String,
    },
}
