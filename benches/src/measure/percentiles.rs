//! Percentiles of durations.

use std::time::Duration;

/// Durations of one kind of operation.
#[derive(Debug, Default)]
pub(crate) struct Percentiles {
    samples: Vec<Duration>,
}

impl Percentiles {
    pub(crate) fn add(&mut self, sample: Duration) {
        self.samples.push(sample);
    }

    /// Adds those of another.
    pub(crate) fn extend(&mut self, other: Percentiles) {
        self.samples.extend(other.samples);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.samples.len()
    }

    /// The smallest sample that is at least as large as `percent` of 100 of them (nearest rank),
    /// in microseconds; 0 without samples.
    pub(crate) fn at(&self, percent: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).map_or(0.0, |sample| sample.as_secs_f64() * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest_ones() {
        let mut percentiles = Percentiles::default();
        assert_eq!(percentiles.at(50.0), 0.0);
        for micros in (1..=200).rev() {
            percentiles.add(Duration::from_micros(micros));
        }
        assert_eq!(percentiles.count(), 200);
        assert_eq!(
            [50.0, 99.0, 99.9, 100.0].map(|p| percentiles.at(p)),
            [100.0, 198.0, 200.0, 200.0]
        );
    }
}
