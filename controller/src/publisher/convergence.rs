//! How long a change takes from its commit until a host has it in its datapath.
//!
//! Measured for every batch, by the oldest change in it: two moments a host are all that is kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The moments of one host. Each is in microseconds since its connection was opened, and one more; 0
/// means none.
#[derive(Debug, Default)]
pub(super) struct Convergence {
    /// When the oldest change was committed that is not in a batch yet.
    waiting: AtomicU64,
    /// The same of the batch that is on its way.
    sent: AtomicU64,
}

impl Convergence {
    /// A change of the host's view is committed.
    pub(super) fn process_change(&self, now: Duration) {
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX - 1) + 1;
        // An older one counts.
        let _ = self.waiting.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A batch is cut: it has all that waited.
    pub(super) fn process_cut(&self) {
        self.sent.store(self.waiting.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The host has what it was sent. How long the oldest change in it took; `None` if it was not sent
    /// for the sake of a change.
    pub(super) fn process_acknowledged(&self, now: Duration) -> Option<Duration> {
        let since = self.sent.swap(0, Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_micros(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_change_of_a_batch_counts() {
        let at = Duration::from_millis;
        let convergence = Convergence::default();
        convergence.process_cut();
        assert_eq!(convergence.process_acknowledged(at(1)), None, "the first batch of a stream");
        convergence.process_change(at(10));
        convergence.process_change(at(20));
        convergence.process_cut();
        convergence.process_change(at(30));
        assert_eq!(convergence.process_acknowledged(at(40)), Some(at(30)));
        assert_eq!(convergence.process_acknowledged(at(41)), None, "rejections may change alone");
        convergence.process_cut();
        assert_eq!(convergence.process_acknowledged(at(50)), Some(at(20)));
    }
}
