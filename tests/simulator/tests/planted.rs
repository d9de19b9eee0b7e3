//! The test of the test: bugs that are planted are found, within so many seeds.

#![cfg(feature = "planted-bugs")]

use spanwire_controller::planted::{Bug, plant};
use spanwire_simulator::{Options, run};

/// Seeds that are tried for each bug.
const SEEDS_MAX: u64 = 100;

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        plant(Some(bug));
        let found = (1..=SEEDS_MAX).find_map(|seed| {
            run(seed, Options::default()).err().map(|(finding, _)| (seed, finding))
        });
        plant(None);
        match found {
            Some((seed, finding)) => println!("{bug:?}: seed {seed}: {finding}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS_MAX} seeds: {missed:?}");
}
