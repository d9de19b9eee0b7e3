//! How many hosts the other replicas serve.

use crate::limits::LOAD_HOLDS;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many hosts the other replicas serve, as they said last. Every `now` is the time since this
/// replica started.
#[derive(Debug, Default)]
pub struct Loads(Mutex<BTreeMap<u64, (u32, Duration)>>);

impl Loads {
    /// Takes what a replica says.
    pub fn insert(&self, replica: u64, streams: u32, now: Duration) {
        self.0.lock().insert(replica, (streams, now));
    }

    /// What a replica said last.
    pub fn of(&self, replica: u64) -> Option<u32> {
        self.0.lock().get(&replica).map(|(streams, _)| *streams)
    }

    /// What the replicas that can serve said last. Those that are silent cannot.
    pub(super) fn fresh(&self, now: Duration) -> Vec<u32> {
        let mut loads = self.0.lock();
        loads.retain(|_, (_, at)| now.saturating_sub(*at) < LOAD_HOLDS);
        loads.values().map(|(streams, _)| *streams).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_replica_counts_for_a_while() {
        let loads = Loads::default();
        let second = Duration::from_secs;
        loads.insert(2, 5, second(1));
        loads.insert(3, 7, second(1));
        loads.insert(2, 6, second(3));
        assert_eq!(loads.fresh(second(3)), [6, 7]);
        assert_eq!(loads.fresh(second(1) + LOAD_HOLDS), [6]);
        assert_eq!((loads.of(2), loads.of(3)), (Some(6), None));
    }
}
