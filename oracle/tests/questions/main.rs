//! The engine's answers to people's questions, on networks small enough to be checked by hand.

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

// Written for the tests of the oracle, which use the rest of it.
#[allow(dead_code)]
#[path = "../topologies/notation.rs"]
mod notation;

mod explain;
mod impact;
mod lint;
mod path;
mod verdict;

use spanwire_topology::Engine;

/// The engine that holds a network.
fn engine(text: &str) -> Engine {
    Engine::load(notation::network(text).into_values()).unwrap()
}
