//! The signals that ask a program to end.

use crate::failure::Failure;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often [`Interrupt::raised`] looks.
const POLL: Duration = Duration::from_millis(50);

/// Both of them, from the moment this is made.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn new() -> io::Result<Stops> {
        Ok(Stops {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn failure(error: io::Error) -> Failure {
    Failure::caused("signals cannot be waited for", &error)
}

/// Waits for SIGTERM or SIGINT and returns which it was.
pub(crate) async fn wait_for_stop() -> Result<&'static str, Failure> {
    Ok(Stops::new().map_err(failure)?.next().await)
}

/// Whether this process was asked to end. Who makes what must not be left behind looks at it
/// between steps, and removes what there is.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches from now on: no signal ends this process by itself any more.
    pub(crate) fn watch() -> Result<Interrupt, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failure)?;
        let mut stops = {
            let _entered = runtime.enter();
            Stops::new().map_err(failure)?
        };
        let interrupt = Interrupt(Arc::new(AtomicBool::new(false)));
        let flag = interrupt.clone();
        // Ends with the process.
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(stops.next());
                flag.0.store(true, Ordering::Relaxed);
            })
            .map_err(failure)?;
        Ok(interrupt)
    }

    /// An error once this process was asked to end.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Failure::refused("interrupted; what was made is removed"));
        }
        Ok(())
    }

    /// Waits until this process is asked to end, and then is that error.
    pub(crate) async fn raised(&self) -> Failure {
        loop {
            if let Err(failure) = self.check() {
                return failure;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
