//! Random histories of all operations, checked against the oracle after every step.
//!
//! A history starts with a random small network and goes on with random transactions: objects are
//! put, changed in one respect, deleted with or without cascade, several at once, valid or not.
//! After each step the engine must agree with the oracle on what every host has, with a second
//! engine on identities and versions, and with itself on what changed.
//!
//! `SPANWIRE_HISTORIES` sets the number of histories (200). A failure prints the shrunk history and
//! leaves its seed in `regressions/`, from which it is run again first from then on.

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

mod coverage;
mod harness;
mod repair;
mod replay;
mod script;
mod snapshot;
mod spans;
mod support;
mod universe;
mod verdicts;

use coverage::Coverage;
use harness::Harness;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use script::History;
use std::cell::Cell;

const HISTORIES_DEFAULT: u32 = 200;
/// Half of the histories are run by each of two tests, so that they run side by side.
const TESTS: u32 = 2;

fn run(histories: impl Strategy<Value = History>) {
    let cases = match std::env::var("SPANWIRE_HISTORIES") {
        Ok(text) => text.parse().expect("SPANWIRE_HISTORIES is a number"),
        Err(_) => HISTORIES_DEFAULT,
    };
    let mut runner = TestRunner::new(ProptestConfig {
        cases: cases / TESTS,
        max_shrink_iters: 4_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
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
    // Few histories may by chance be all alike.
    if cases >= HISTORIES_DEFAULT {
        coverage.get().check();
    }
}

#[test]
fn long_histories_of_small_transactions() {
    run(script::any_history(10..40, 1..3));
}

#[test]
fn short_histories_of_large_transactions() {
    run(script::any_history(2..12, 2..16));
}
