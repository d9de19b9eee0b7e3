//! Helpers of the process-level and packet-level tests in `tests/`.
//!
//! * [`binary`]: the `spanwire` binary of this build.
//! * [`admin`]: a blocking client of the admin API.
//! * [`process`]: controllers and agents as child processes on loopback.
//! * [`cluster`]: controllers in namespaces of their own, faults, and load on them.
//! * [`fleet`]: a lab with a controller and an agent on each host, made by the binary itself.
//! * [`matrix`]: who reaches whom, as the kernel has it and as the oracle has it.
//! * [`model`]: a slice of a real network, and changes to it.
//! * [`northbound`], [`ovn`]: a real Open Virtual Network, and what it says of a packet.

pub mod admin;
pub mod binary;
pub mod cluster;
pub mod fleet;
pub mod matrix;
pub mod model;
pub mod northbound;
pub mod ovn;
pub mod process;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Set in CI, where nothing may step aside.
pub const CI_VARIABLE: &str = "SPANWIRE_CI";

/// Says that a test steps aside, or fails where that is not allowed.
///
/// # Panics
///
/// If [`CI_VARIABLE`] is set.
pub fn step_aside(test: &str, reason: &str) {
    assert!(std::env::var_os(CI_VARIABLE).is_none(), "{test} cannot run here: {reason}");
    println!("{test}: skipped, because {reason}");
}

/// Raises a flag when it is dropped. A scope waits for its threads even when it panics: threads that
/// go on until a flag is raised would keep a failed test from ever ending.
#[derive(Debug)]
pub struct RaiseOnDrop<'a>(pub &'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until a condition gives a value.
///
/// # Panics
///
/// If it gives none within `limit`; the message says what was waited for and what was seen last.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    const POLL: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + limit;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited for {what}; last seen: {seen}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
