//! Random histories of all operations, checked against the oracle after every step.
//!
//! A history starts with a random small network and goes on with random transactions: objects are
//! put, changed in one respect, deleted with or without cascade, several at once, valid or not.
//! After each step the engine must agree with the oracle on what every host has, with a second
//! engine on identities and versions, and with itself on what changed.
//!
//! `SPANWIRE_HISTORIES` sets the number of histories (200), and `SPANWIRE_SEED` the seed they are made
//! from: a random one unless set, and printed. The same seed and number make the same histories. A
//! failure prints the shrunk history and leaves its own seed in `regressions/`, from which it is run
//! again first from then on. `make histories` is the long run.

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

mod coverage;
mod findings;
mod harness;
mod moves;
#[cfg(feature = "planted-bugs")]
mod planted;
mod repair;
mod replay;
mod script;
mod snapshot;
mod spans;
mod support;
mod transitions;
mod universe;
mod verdicts;

use coverage::Coverage;
use harness::Harness;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};
use script::History;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};

const HISTORIES_DEFAULT: u32 = 200;
/// Half of the histories are run by each of two tests, so that they run side by side.
const TESTS: u32 = 2;
/// States that are asked for findings: every packet of each is sent.
const FINDINGS_CASES: u32 = 256;

fn number_from<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{variable} is {text:?}: it should be a number"),
    }
}

fn run(test: &str, histories: impl Strategy<Value = History>) {
    let cases = number_from("SPANWIRE_HISTORIES").unwrap_or(HISTORIES_DEFAULT);
    // A hasher with random keys is the randomness that the standard library has.
    let seed: u64 =
        number_from("SPANWIRE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("{test}: SPANWIRE_SEED={seed} SPANWIRE_HISTORIES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig {
        cases: cases / TESTS,
        max_shrink_iters: 4_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let coverage = Cell::new(Coverage::default());
    let result = runner.run(&histories, |History(steps)| {
        let mut harness = Harness::default();
        for (number, step) in steps.iter().enumerate() {
            harness.take(number, step)?;
        }
        let mut sum = coverage.get();
        sum.add(harness.coverage);
        coverage.set(sum);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    println!("{test}: {:?}", coverage.get());
    // Few histories may by chance be all alike.
    if cases >= HISTORIES_DEFAULT {
        coverage.get().check();
    }
}

#[test]
fn long_histories_of_small_transactions() {
    run("long histories", script::any_history(10..40, 1..3));
}

#[test]
fn short_histories_of_large_transactions() {
    run("short histories", script::any_history(2..12, 2..16));
}

/// What lint says of the states that short histories lead to.
#[test]
fn findings_are_true() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: FINDINGS_CASES,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let found = RefCell::new(findings::Found::new());
    let result = runner.run(&script::any_history(0..3, 1..16), |History(steps)| {
        let mut harness = Harness::default();
        for (number, step) in steps.iter().enumerate() {
            harness.take(number, step)?;
        }
        harness.check_findings(&mut found.borrow_mut())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    findings::check_coverage(&found.borrow());
}
