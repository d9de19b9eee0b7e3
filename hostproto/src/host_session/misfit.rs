//! What keeps a host from going on with a message.

use crate::staging::StageError;
use crate::wire::complaint::Reason as ComplaintReason;
use crate::wire::refused::Reason as RefusedReason;

/// Why the host can't go on with a message.
pub(super) enum Misfit {
    /// The batch does not fit: complain, and the controller repairs it.
    Complain(ComplaintReason, String),
    /// The controller breaks the protocol: there is nothing to be had from this stream.
    Disconnect(RefusedReason, String),
}

impl Misfit {
    pub(super) fn does_not_fit(detail: String) -> Misfit {
        Misfit::Complain(ComplaintReason::DoesNotFit, detail)
    }

    pub(super) fn protocol(detail: impl Into<String>) -> Misfit {
        Misfit::Disconnect(RefusedReason::Protocol, detail.into())
    }
}

impl From<StageError> for Misfit {
    fn from(error: StageError) -> Misfit {
        let reason = match &error {
            StageError::Malformed(_) => ComplaintReason::Malformed,
            StageError::DoesNotFit { .. } => ComplaintReason::DoesNotFit,
        };
        Misfit::Complain(reason, error.to_string())
    }
}
