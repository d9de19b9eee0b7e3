//! `spanwire demo`: all of it on this machine, each step checked.

use crate::demo::{self, Options};
use crate::failure::Failure;
use clap::Args;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Print nothing but the summary, as JSON.
    #[arg(long)]
    json: bool,
    /// Use the `record` drivers even where namespaces and packets are possible.
    #[arg(long)]
    record: bool,
}

/// Runs the verb.
pub(crate) fn run(args: DemoArgs) -> Result<(), Failure> {
    demo::run(Options { json: args.json, record: args.record })
}
