//! The schedule by which what hosts hold is checked (guarantee G13).
//!
//! Each host has its second of the interval, by a hash of its name. So checks are spread evenly, and
//! there is no timer or other state per host: once in a while the connected hosts are looked through for
//! those whose turn it is. A check that matches costs the host a digest over its view, the controller a
//! sum over the digests of the host's items, each made once for all hosts until the item changes, and
//! the wire some 50 bytes.

use crate::limits::HOST_CHECK_TICK;
use crate::publisher::Publisher;
use crate::shared::Shared;
use spanwire_hostproto::digest;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The schedule. Every `now` is the time since the replica started.
#[derive(Debug)]
pub struct HostChecks {
    interval: NonZeroU64,
    looked_at: Duration,
}

impl HostChecks {
    /// A schedule by which each host has its turn once in an interval, in seconds.
    pub fn new(interval: NonZeroU64, now: Duration) -> HostChecks {
        HostChecks { interval, looked_at: now }
    }

    /// When [`HostChecks::process_time`] must be called next.
    pub fn next_deadline(&self) -> Duration {
        self.looked_at + HOST_CHECK_TICK
    }

    /// Asks for a check of each connected host that has had its turn since the last call. Returns of
    /// how many.
    pub fn process_time(&mut self, publisher: &Publisher, now: Duration) -> usize {
        let (after, until) = (self.looked_at.as_secs(), now.as_secs());
        self.looked_at = now;
        let connections = publisher.connections();
        let due = connections
            .iter()
            .filter(|connection| is_due(connection.name(), self.interval, after, until));
        // One that cannot be checked says so to whoever asks for it.
        due.filter(|connection| connection.request_check().is_ok()).count()
    }
}

/// Asks for checks, as long as the controller serves.
pub(crate) async fn run(shared: Arc<Shared>, interval: NonZeroU64, draining: CancellationToken) {
    let mut checks = HostChecks::new(interval, shared.elapsed());
    loop {
        let wait = checks.next_deadline().saturating_sub(shared.elapsed());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = draining.cancelled() => return,
        }
        checks.process_time(&shared.publisher, shared.elapsed());
    }
}

/// True if a host has its turn after the one time and not after the other, in seconds.
fn is_due(name: &str, interval: NonZeroU64, after: u64, until: u64) -> bool {
    let turn = digest::content(name.as_bytes()) % interval;
    // How often it had its turn up to a time.
    let turns = |time: u64| (time + interval.get() - turn) / interval;
    turns(until) > turns(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_turn_once_in_an_interval_and_they_are_spread() {
        let interval = NonZeroU64::new(60).unwrap();
        let mut most = 0;
        let mut turns = vec![0; 600];
        for second in 0..180 {
            let mut due = 0;
            for (host, turns) in turns.iter_mut().enumerate() {
                if is_due(&format!("host-{host}"), interval, second, second + 1) {
                    *turns += 1;
                    due += 1;
                }
            }
            most = most.max(due);
        }
        assert!(turns.iter().all(|turns| *turns == 3), "{turns:?}");
        assert!(most < 30, "{most} of 600 at once");
        // A look that comes late misses none, and makes up for no more than one.
        assert!(is_due("host-1", interval, 10, 70) && is_due("host-1", interval, 10, 1000));
        assert!(!is_due("host-1", interval, 10, 10));
    }
}
