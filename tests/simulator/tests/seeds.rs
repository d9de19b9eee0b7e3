//! Some seeds of the simulator, and that a seed is a run.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

use spanwire_simulator::{Options, run};
use std::collections::BTreeMap;

/// Seeds that are run each time.
const SEEDS: u64 = 10;

/// What all of them together must have had in them: a run in which nothing goes wrong shows nothing.
const MUST_HAVE: [&str; 27] = [
    "agents restarted",
    "bits flipped",
    "changes of members",
    "checks of hosts asked for",
    "checks of hosts that found something",
    "clock jumps",
    "disks filled",
    "elections won",
    "host streams",
    "hosts let go for balance",
    "hosts let go without a leader",
    "joint configurations",
    "kills",
    "messages lost",
    "one-way partitions",
    "partitions",
    "pauses",
    "power cuts",
    "power cuts in the middle of a write",
    "replicas removed",
    "resumes of hosts",
    "slow hosts",
    "snapshots restored",
    "views altered",
    "views repaired by checks",
    "writes found applied before",
    "writes rejected",
];

#[test]
fn nothing_is_found_and_everything_happens() {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut ran = 0;
    // The same each time: what is new is for the long run to find.
    for seed in 1..=SEEDS * 3 {
        let report = run(seed, Options::default()).unwrap_or_else(|(finding, tail)| {
            panic!("{}\nseed {seed}: {finding}", tail.join("\n"));
        });
        for (what, count) in report.counts {
            *counts.entry(what).or_default() += count;
        }
        ran += 1;
        let has_all = MUST_HAVE.iter().all(|what| counts.contains_key(what));
        if ran >= SEEDS && has_all {
            break;
        }
    }
    println!("{counts:#?}");
    let missing: Vec<_> = MUST_HAVE.iter().filter(|what| !counts.contains_key(*what)).collect();
    assert!(missing.is_empty(), "in {ran} seeds there was none of {missing:?}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in [1, 77, 669_395_668] {
        let [first, second] = [(), ()].map(|()| run(seed, Options::default()));
        assert_eq!(first.is_ok(), second.is_ok(), "seed {seed}");
        assert_eq!(first.unwrap(), second.unwrap(), "seed {seed}");
    }
}
