//! The test of the test: each bug that can be planted in the engine is found by the histories.
//!
//! `cargo test -p spanwire-topology --features planted-bugs --test histories planted`

use crate::harness::Harness;
use crate::script::{History, any_history};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use spanwire_topology::planted::{Bug, plant};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;

/// How many histories there are to find a bug in: those of `make verify`.
const HISTORIES_MAX: usize = 200;
/// How many are run without a bug, to see that it is the bugs that are found.
const CONTROLS: usize = 20;
const SEED: [u8; 32] = *b"planted bugs are there to be met";

/// The histories, long and short ones in turn, each made when it is first asked for.
struct Histories {
    made: [OnceLock<History>; HISTORIES_MAX],
    runner: Mutex<TestRunner>,
}

impl Histories {
    fn new() -> Histories {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &SEED);
        let config = Config { failure_persistence: None, ..Config::default() };
        Histories {
            made: [const { OnceLock::new() }; HISTORIES_MAX],
            runner: Mutex::new(TestRunner::new_with_rng(config, rng)),
        }
    }

    fn get(&self, number: usize) -> &History {
        // In order, so that a history is the same whoever asks first.
        let mut runner = self.runner.lock().unwrap();
        for (n, made) in self.made.iter().enumerate().take(number + 1) {
            made.get_or_init(|| {
                let made = if n % 2 == 0 {
                    any_history(10..40, 1..3).new_tree(&mut runner)
                } else {
                    any_history(2..12, 2..16).new_tree(&mut runner)
                };
                made.unwrap().current()
            });
        }
        self.made[number].get().unwrap()
    }

    /// The first history that goes wrong with a bug planted in this thread.
    fn first_to_find(&self, bug: Option<Bug>, histories: usize) -> Option<usize> {
        plant(bug);
        let found = (0..histories).find(|number| {
            let History(steps) = self.get(*number);
            let run = || {
                let mut harness = Harness::default();
                steps.iter().enumerate().all(|(n, step)| harness.take(n, step).is_ok())
            };
            // A bug may as well lead to a panic.
            !catch_unwind(AssertUnwindSafe(run)).unwrap_or(false)
        });
        plant(None);
        found
    }
}

#[test]
fn planted_bugs_are_found() {
    let histories = Histories::new();
    assert_eq!(histories.first_to_find(None, CONTROLS), None, "a history goes wrong by itself");
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |threads| threads.get()) {
            scope.spawn(|| {
                while let Some(&bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match histories.first_to_find(Some(bug), HISTORIES_MAX) {
                        Some(number) => println!("{bug:?}: found by history {}", number + 1),
                        None => missed.lock().unwrap().push(bug),
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found in {HISTORIES_MAX} histories: {missed:?}");
}
