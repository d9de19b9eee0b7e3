//! `spanwire completion`: a shell's completion script.

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell. For bash: spanwire completion bash > /etc/bash_completion.d/spanwire
    shell: Shell,
}

/// Runs the verb.
pub(crate) fn run(args: CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "spanwire", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
