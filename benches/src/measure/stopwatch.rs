//! Time of the wall and of the processor, of parts of a run.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Time that a part of a run took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spent {
    /// By the clock on the wall.
    pub(crate) wall: Duration,
    /// Of the processor. The machines are shared: this is what a run on an idle one would show.
    pub(crate) cpu: Duration,
}

impl Spent {
    /// Runs `work` and says what it took.
    pub(crate) fn on<T>(work: impl FnOnce() -> T) -> (T, Spent) {
        let cpu = cpu_time();
        let wall = Instant::now();
        let result = work();
        let wall = wall.elapsed();
        (result, Spent { wall, cpu: cpu_time().saturating_sub(cpu) })
    }
}

impl std::ops::Add for Spent {
    type Output = Spent;
    fn add(self, other: Spent) -> Spent {
        Spent { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

/// Adds up the parts of a run that count: making the input and counting the output do not.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    spent: Spent,
}

impl Stopwatch {
    /// Runs `work`, on the watch.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (result, spent) = Spent::on(work);
        self.spent = self.spent + spent;
        result
    }

    /// What was timed so far.
    pub(crate) fn spent(&self) -> Spent {
        self.spent
    }
}

/// Processor time of this process, which has one thread; 0 if there is no such clock.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let part = |wall, cpu| Spent {
            wall: Duration::from_micros(wall),
            cpu: Duration::from_micros(cpu),
        };
        assert_eq!(part(3, 2) + part(10, 20), part(13, 22));
        let mut watch = Stopwatch { spent: part(3, 2) };
        assert_eq!(watch.time(|| 7), 7);
        assert!(watch.spent().wall >= part(3, 2).wall && watch.spent().cpu >= part(3, 2).cpu);
    }
}
