//! The network: what becomes of a message on its way.

use crate::schedule::{MS, Time};
use rand::{Rng, RngExt as _};
use std::collections::BTreeSet;

/// How the network behaves at present.
#[derive(Debug, Clone)]
pub struct Network {
    /// Messages take this long at least.
    pub delay_min: Time,
    /// And mostly no longer than this.
    pub delay_max: Time,
    /// Of a thousand messages, so many take a hundred times as long.
    pub slow: u32,
    /// Of a thousand messages, so many are lost.
    pub lost: u32,
    /// Of a thousand messages, so many come twice.
    pub doubled: u32,
    /// From whom to whom nothing comes through.
    blocked: BTreeSet<(u64, u64)>,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            delay_min: MS / 5,
            delay_max: 2 * MS,
            slow: 0,
            lost: 0,
            doubled: 0,
            blocked: BTreeSet::new(),
        }
    }
}

impl Network {
    /// A network with faults.
    pub fn faulty(rng: &mut impl Rng) -> Network {
        Network {
            delay_min: MS / 5,
            delay_max: rng.random_range(1..=40) * MS,
            slow: rng.random_range(0..=20),
            lost: if rng.random_bool(0.7) { rng.random_range(0..=80) } else { 0 },
            doubled: rng.random_range(0..=50),
            blocked: BTreeSet::new(),
        }
    }

    /// How long each copy of a message takes that gets there: none if it is lost.
    pub fn fate(&self, from: u64, to: u64, rng: &mut impl Rng) -> Vec<Time> {
        if self.is_blocked(from, to) || rng.random_range(0..1000) < self.lost {
            return Vec::new();
        }
        let copies = if rng.random_range(0..1000) < self.doubled { 2 } else { 1 };
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    /// How long something takes that gets there.
    pub fn delay(&self, rng: &mut impl Rng) -> Time {
        let delay = rng.random_range(self.delay_min..=self.delay_max.max(self.delay_min));
        if rng.random_range(0..1000) < self.slow { delay * 100 } else { delay }
    }

    /// True if nothing comes through.
    pub fn is_blocked(&self, from: u64, to: u64) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// Blocks one direction.
    pub fn block(&mut self, from: u64, to: u64) {
        self.blocked.insert((from, to));
    }

    /// Lets everything through again.
    pub fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    /// True if anything is blocked.
    pub fn is_partitioned(&self) -> bool {
        !self.blocked.is_empty()
    }
}
