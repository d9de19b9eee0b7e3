//! Failing with a message that can be read.

use proptest::test_runner::TestCaseError;
use spanwire_topology::Transaction;
use spanwire_topology::model::Operation;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The outcome of a check.
pub(crate) type Check = Result<(), TestCaseError>;

/// A check that failed.
pub(crate) fn fail<T>(problem: String) -> Result<T, TestCaseError> {
    Err(TestCaseError::fail(problem))
}

/// Adds what a check was about.
pub(crate) fn about<T>(
    check: Result<T, TestCaseError>,
    what: impl FnOnce() -> String,
) -> Result<T, TestCaseError> {
    check.map_err(|error| match error {
        TestCaseError::Fail(reason) => TestCaseError::fail(format!("{}: {reason}", what())),
        rejected => rejected,
    })
}

/// Checks that two things are equal.
pub(crate) fn check_same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Check {
    if found == expected {
        return Ok(());
    }
    fail(format!("{what}\n     found {found:?}\n  expected {expected:?}"))
}

/// Checks that two tables are equal, and shows only where they differ.
pub(crate) fn check_same_table<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Check {
    let mut lines = Vec::new();
    for (key, value) in found {
        match expected.get(key) {
            None => lines.push(format!("  too much: {key:?}: {value:?}")),
            Some(other) if other == value => {}
            Some(other) => {
                lines.push(format!("  {key:?}\n     found {value:?}\n  expected {other:?}"))
            }
        }
    }
    let missing = expected.iter().filter(|(key, _)| !found.contains_key(key));
    lines.extend(missing.map(|(key, value)| format!("  missing: {key:?}: {value:?}")));
    if lines.is_empty() { Ok(()) } else { fail(format!("{what}\n{}", lines.join("\n"))) }
}

/// A transaction, one operation a line.
pub(crate) fn describe(transaction: &Transaction) -> String {
    let mut text = String::new();
    if let Some(expected) = transaction.expected_revision {
        text.push_str(&format!("    at revision {expected}\n"));
    }
    for operation in &transaction.operations {
        text.push_str(&match operation {
            Operation::Put { resource, expected_revision } => {
                let labels = &resource.metadata.labels;
                let condition = expected_revision.map_or(String::new(), |r| format!(" if at {r}"));
                format!("    put {}{condition} {labels:?} {:?}\n", resource.key(), resource.spec)
            }
            Operation::Delete { key, cascade, expected_revision } => {
                let condition = expected_revision.map_or(String::new(), |r| format!(" if at {r}"));
                format!("    delete {key}{condition}{}\n", if *cascade { ", cascade" } else { "" })
            }
        });
    }
    text
}
