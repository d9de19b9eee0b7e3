//! One file a verb: its arguments, what it asks, and how it prints the answer.

pub(crate) mod apply;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod host;
pub(crate) mod host_view;
pub(crate) mod impact;
pub(crate) mod import;
pub(crate) mod lint;
pub(crate) mod span;
pub(crate) mod status;
pub(crate) mod verdict;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod watch;

#[cfg(feature = "agent")]
pub(crate) mod agent;
#[cfg(feature = "controller")]
pub(crate) mod controller;
#[cfg(feature = "lab")]
pub(crate) mod demo;
#[cfg(feature = "lab")]
pub(crate) mod lab;
#[cfg(any(feature = "agent", feature = "controller"))]
mod logging;
#[cfg(feature = "controller")]
pub(crate) mod signals;

use crate::cli::{Cli, Verb};
use crate::client::block_on;
use crate::failure::Failure;

/// Does what the command line asks.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.verb {
        Verb::Apply(args) => block_on(apply::run(global, args)),
        Verb::Get(args) => block_on(get::run(global, args)),
        Verb::Describe(args) => block_on(describe::run(global, args)),
        Verb::Delete(args) => block_on(delete::run(global, args)),
        Verb::Watch(args) => block_on(watch::run(global, args)),
        Verb::Explain(args) => block_on(explain::run(global, args)),
        Verb::Verdict(args) => block_on(verdict::run(global, args)),
        Verb::Span(args) => block_on(span::run(global, args)),
        Verb::Host(args) => host::run(global, args),
        Verb::HostView(args) => block_on(host_view::run(global, args)),
        Verb::Impact(args) => block_on(impact::run(global, args)),
        Verb::Lint(args) => block_on(lint::run(global, args)),
        Verb::Wait(args) => block_on(wait::run(global, args)),
        Verb::Status(args) => block_on(status::run(global, args)),
        Verb::Cluster(args) => cluster::run(global, args),
        Verb::Import(args) => import::run(global, args),
        #[cfg(feature = "controller")]
        Verb::Controller(args) => controller::run(args),
        #[cfg(feature = "agent")]
        Verb::Agent(args) => agent::run(global, args),
        #[cfg(feature = "lab")]
        Verb::Lab(args) => lab::run(global, args),
        #[cfg(feature = "lab")]
        Verb::Demo(args) => demo::run(args),
        Verb::Completion(args) => completion::run(args),
        Verb::Version => version::run(global),
    }
}
