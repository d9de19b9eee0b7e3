//! What can be asked of the binary.

use crate::failure::EXIT_CODES;
use crate::verbs;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the controller listens if nothing else is said.
pub(crate) const CONTROLLER_DEFAULT: &str = "127.0.0.1:6690";

/// Topology-aware network policy: every host is told what its own workloads can meet, no more.
#[derive(Debug, Parser)]
#[command(name = "spanwire", version, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What every verb understands.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The verb.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The controller to talk to, as HOST:PORT, or several with commas between them: the next is asked
    /// when one cannot be reached [default: 127.0.0.1:6690].
    #[arg(long, global = true, env = "SPANWIRE_CONTROLLER", value_name = "ADDR")]
    pub(crate) controller: Option<String>,
    /// How to print what was asked for.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// The project (tenant) of objects that are named without one [default: default].
    #[arg(short, long, global = true, env = "SPANWIRE_PROJECT", value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// Verbs that read: take what the controller has, though it may be behind. Needs no majority of the
    /// replicas.
    #[arg(long, global = true)]
    pub(crate) stale: bool,
}

/// Formats of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns, for people.
    Table,
    /// More columns.
    Wide,
    /// Documents that `apply` takes, where the verb prints resources.
    Yaml,
    /// The same as JSON.
    Json,
}

/// Which objects a verb that lists looks at.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scope {
    /// Objects of every project.
    #[arg(short = 'A', long)]
    pub(crate) all_projects: bool,
    /// Objects whose labels match, as app=web,tier!=db,env in (prod,test),!legacy.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create or change resources, all of them or none.
    Apply(verbs::apply::ApplyArgs),
    /// List objects, or print one.
    Get(verbs::get::GetArgs),
    /// Tell everything about an object.
    Describe(verbs::describe::DescribeArgs),
    /// Delete objects, all of them or none.
    Delete(verbs::delete::DeleteArgs),
    /// Print changes as they are committed.
    Watch(verbs::watch::WatchArgs),
    /// Tell why a host has, or lacks, a member of a group.
    Explain(verbs::explain::ExplainArgs),
    /// Tell whether a packet is delivered, and why; check what policies are expected to do.
    Verdict(verbs::verdict::VerdictArgs),
    /// List the hosts an object matters to.
    Span(verbs::span::SpanArgs),
    /// Look after a host: check what it holds.
    Host(verbs::host::HostArgs),
    /// Print what a host is told.
    HostView(verbs::host_view::HostViewArgs),
    /// Tell what is valid, and most likely not what was meant.
    Lint(verbs::lint::LintArgs),
    /// Tell which hosts a change would concern, what it would cost and what would fare otherwise.
    Impact(verbs::impact::ImpactArgs),
    /// Wait until every host concerned has a change in its datapath.
    Wait(verbs::wait::WaitArgs),
    /// Tell how the controller and the agents are.
    Status(verbs::status::StatusArgs),
    /// Look after the replicas of the controller: add, remove, back up, restore.
    Cluster(verbs::cluster::ClusterArgs),
    /// Turn another system's data into resources.
    Import(verbs::import::ImportArgs),
    /// Run a controller.
    #[cfg(feature = "controller")]
    Controller(verbs::controller::ControllerArgs),
    /// Run this host's agent, or remove everything it made.
    #[cfg(feature = "agent")]
    Agent(verbs::agent::AgentArgs),
    /// Make hosts and workloads out of network namespaces on this machine.
    #[cfg(feature = "lab")]
    Lab(verbs::lab::LabArgs),
    /// Show all of it on this machine, and check it.
    #[cfg(feature = "lab")]
    Demo(verbs::demo::DemoArgs),
    /// Print a shell's completion script.
    Completion(verbs::completion::CompletionArgs),
    /// Print the version and what was built in.
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
