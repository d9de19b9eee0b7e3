//! The `spanwire` binary: one thing to ship.
//!
//! ```text
//!  main ─► cli (what can be asked) ─► verbs/* (one file a verb) ─► client ─gRPC─► controller
//!                                       │                  └─► output (table, yaml, json)
//!                                       └─► controller, agent, lab, demo: the crates behind them
//! ```
//!
//! A verb takes its arguments and returns a [`failure::Failure`] at most; printing it and choosing
//! the exit code happen here and nowhere else.

mod cli;
mod client;
mod failure;
mod input;
mod offline;
mod output;
mod progress;
mod retry;
mod target;
mod verbs;

#[cfg(feature = "lab")]
mod demo;
#[cfg(feature = "lab")]
mod fleet;

use clap::Parser;
use std::process::ExitCode;

/// A controller holds millions of small objects; see the reason beside the dependency.
#[cfg(feature = "controller")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

// Cargo unifies features: one crate that asks for the bugs gives them to all.
const _: () = assert!(
    !spanwire_topology::planted::COMPILED_IN,
    "spanwire is never built with planted bugs: leave out the feature planted-bugs"
);

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match verbs::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}
