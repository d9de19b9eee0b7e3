//! How long to wait before trying again, and whom to try.

use std::time::Duration;

/// A connection that was welcomed and lasted this long has worked: the next failure is the first.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);
/// The longest wait before connecting elsewhere when a controller says that it goes away. All its
/// hosts hear that at the same moment.
pub const DRAINING_WAIT: Duration = Duration::from_secs(2);

/// Waits that double from one failure to the next, between two bounds, with jitter: a thousand
/// agents that lost one controller at the same moment come back spread out.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet. Waits are between half of `min` and all of `max`.
    pub fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max: max.max(min), failures: 0 }
    }

    /// Another failure: how long to wait now. `random` is a number from 0 to 1; the wait is between
    /// half of what is due and all of it.
    pub fn next_wait(&mut self, random: f64) -> Duration {
        let due = self.min.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let due = due.min(self.max);
        self.failures = self.failures.saturating_add(1);
        jitter(due, random)
    }

    /// It worked: the next failure is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Half of the wait, and a random part of the other half. `random` is a number from 0 to 1.
pub fn jitter(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

/// The controllers, and which of them was tried last.
#[derive(Debug, Clone)]
pub struct Controllers {
    endpoints: Vec<String>,
    last: Option<usize>,
}

impl Controllers {
    /// None of them was tried yet.
    pub fn new(endpoints: Vec<String>) -> Controllers {
        Controllers { endpoints, last: None }
    }

    /// The next controller to try: any but the last one, if there are others. `random` is a number
    /// from 0 to 1. `None` if there are no controllers at all.
    pub fn choose(&mut self, random: f64) -> Option<String> {
        let others: Vec<usize> =
            (0..self.endpoints.len()).filter(|index| Some(*index) != self.last).collect();
        let candidates = if others.is_empty() { vec![self.last?] } else { others };
        // The cast is that of a small number without a fraction.
        let position = (random.clamp(0.0, 1.0) * candidates.len() as f64) as usize;
        let chosen = *candidates.get(position.min(candidates.len() - 1))?;
        self.last = Some(chosen);
        self.endpoints.get(chosen).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn waits_double_up_to_the_bound_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<u128> = (0..6).map(|_| backoff.next_wait(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.next_wait(0.0), Duration::from_millis(500));
        backoff.reset();
        assert_eq!(backoff.next_wait(0.5), Duration::from_millis(75));
        for _ in 0..100 {
            assert!(backoff.next_wait(1.0) <= Duration::from_secs(1));
        }
    }

    #[test]
    fn a_controller_that_failed_is_not_the_next_one_if_there_are_others() {
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let mut controllers = Controllers::new(names.clone());
        let mut seen = BTreeSet::new();
        let mut last = None;
        for step in 0..60 {
            let chosen = controllers.choose(f64::from(step % 7) / 6.0);
            assert_ne!(chosen, last);
            seen.extend(chosen.clone());
            last = chosen;
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), names);
        let mut one = Controllers::new(vec!["a".to_owned()]);
        assert_eq!((one.choose(0.9), one.choose(0.1)), (Some("a".into()), Some("a".into())));
        assert_eq!(Controllers::new(Vec::new()).choose(0.5), None);
    }
}
