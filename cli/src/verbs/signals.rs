//! The signals that ask a program to end.

use crate::failure::Failure;
use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM or SIGINT and returns which it was.
pub(crate) async fn wait_for_stop() -> Result<&'static str, Failure> {
    let fail = |error: std::io::Error| Failure::caused("signals cannot be waited for", &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
