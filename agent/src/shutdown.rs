//! How an agent is stopped: at the end of a signal, with everything left in force.

use crate::error::AgentError;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGTERM or SIGINT. Must be called inside a runtime.
///
/// Stopping is graceful, and quick: the step that is being put in force is finished, nothing is
/// removed from the datapath, and the next start goes on from what is on disk.
pub fn on_signals() -> Result<CancellationToken, AgentError> {
    let handler = |kind| {
        signal(kind).map_err(|error| AgentError::Thread {
            what: "signal handler",
            problem: error.to_string(),
        })
    };
    let mut terminate = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(token)
}
