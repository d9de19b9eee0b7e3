//! What happens when: a queue of events by simulated time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Simulated time, in microseconds since the start.
pub type Time = u64;

/// A millisecond.
pub const MS: Time = 1_000;
/// A second.
pub const SECOND: Time = 1_000 * MS;

/// Events, first the earliest, and of the same time first the one that was put in first.
#[derive(Debug)]
pub struct Schedule<E> {
    order: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, E>,
    last: u64,
    now: Time,
}

impl<E> Default for Schedule<E> {
    fn default() -> Schedule<E> {
        Schedule { order: BinaryHeap::new(), events: BTreeMap::new(), last: 0, now: 0 }
    }
}

impl<E> Schedule<E> {
    /// The present.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Puts an event at a time; at once if that has passed.
    pub fn put(&mut self, at: Time, event: E) {
        self.last += 1;
        self.order.push(Reverse((at.max(self.now), self.last)));
        self.events.insert(self.last, event);
    }

    /// Takes the next event; the present becomes its time.
    pub fn take(&mut self) -> Option<E> {
        let Reverse((at, number)) = self.order.pop()?;
        self.now = at;
        self.events.remove(&number)
    }
}
