//! A request is applied once, however often it is tried: at every revision the state of a replica is
//! that of the reference, which knows all requests.

use super::{Finding, Reference, digest, finding};
use spanwire_topology::Engine;

/// Compares states.
#[derive(Debug, Default)]
pub struct ExactlyOnce {
    /// States that were compared.
    pub compared: u64,
}

impl ExactlyOnce {
    /// Looks at the state of a replica.
    pub fn check(
        &mut self,
        replica: u64,
        engine: &Engine,
        reference: &Reference,
    ) -> Result<(), Finding> {
        self.compared += 1;
        let revision = engine.revision();
        match reference.digest_at(revision) {
            Some(expected) if expected == digest(engine) => Ok(()),
            found => Err(finding(
                "exactly once",
                format!(
                    "the state of replica {replica} at revision {revision} is {}",
                    match found {
                        Some(_) => "not that of the log",
                        None => "of a revision that the log has not",
                    }
                ),
            )),
        }
    }
}
