//! The command line.

#[cfg(feature = "controller")]
mod cluster;
mod numbers;

#[cfg(feature = "controller")]
pub(crate) use cluster::{ClusterScenario, FAILOVER_HOSTS};
pub(crate) use numbers::{scaled, scaled_all, scaled_hosts};

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use numbers::{parse_count, parse_hosts, parse_ports, parse_scale};
use std::path::PathBuf;

/// Ports of the whole `metro`.
pub(crate) const METRO_PORTS: usize = 1_000_000;
/// Hosts of the scenarios of the host stream.
const STREAM_HOSTS: usize = 3_000;
/// Hosts of a network of 10,000 ports.
const TENANT_HOSTS: usize = 100;

/// Runs one scenario and prints what it measured.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
    /// Print one JSON object instead of a list.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The seed of everything that is drawn by chance.
    #[arg(long, global = true, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A factor on the size of the workload, above 0 and up to 10.
    #[arg(long, global = true, default_value_t = 1.0, value_parser = parse_scale)]
    pub(crate) scale: f64,
}

#[derive(Subcommand)]
pub(crate) enum Scenario {
    /// 25,000 namespaces of 4 pods and 3 network policies on 1,000 hosts, from empty to views.
    Compute,
    /// One namespace with 10,000 pods and 10,000 policies that select and admit one label.
    ComputeOne,
    /// 1,000 namespaces of 100 pods and 10 policies that admit pods of the company's namespaces.
    ComputeCompany,
    /// 1,000,000 ports of 2,000 tenants on 10,000 hosts, from empty or from a saved state.
    Metro {
        /// What it is loaded from.
        #[arg(long, value_enum, default_value_t = Source::Empty)]
        from: Source,
    },
    /// A port added, relabelled, migrated, re-addressed and removed, on networks of several sizes.
    Change {
        #[command(flatten)]
        networks: Networks,
        /// How often each is done.
        #[arg(long, default_value_t = 2_000, value_parser = parse_count)]
        operations: usize,
    },
    /// The uplink of a tenant of 500 ports cut and healed, on networks of several sizes.
    Link {
        #[command(flatten)]
        networks: Networks,
        /// How many links.
        #[arg(long, default_value_t = 20, value_parser = parse_count)]
        links: usize,
    },
    /// Explanations, verdicts, forecasts and findings on `metro`.
    Questions {
        /// How many of each.
        #[arg(long, default_value_t = 50, value_parser = parse_count)]
        asked: usize,
    },
    /// What each of 1,000 hosts is told on three layouts, against a broadcast.
    Cut,
    /// What hosts are sent, in bytes, against full groups for everyone and members as texts.
    Bytes,
    #[cfg(feature = "controller")]
    #[command(flatten)]
    Cluster(ClusterScenario),
    /// What a change costs the sessions of many hosts, without any transport.
    Sessions {
        /// Hosts, at scale 1.
        #[arg(long, default_value_t = STREAM_HOSTS, value_parser = parse_hosts)]
        hosts: usize,
        /// How many changes.
        #[arg(long, default_value_t = 30, value_parser = parse_count)]
        rounds: usize,
    },
    /// Counts the instructions of the hot paths and compares them with the baselines.
    Instructions(InstructionOptions),
    /// Runs the hot paths, for `instructions` to count.
    #[command(hide = true)]
    HotPaths,
    /// Serves broadcasts, for `fanout` to compare with.
    #[cfg(feature = "controller")]
    #[command(hide = true)]
    Broadcast {
        /// Where.
        #[arg(long)]
        listen: std::net::SocketAddr,
    },
    /// Hosts that stay connected, for `stopped` to stop.
    #[cfg(feature = "controller")]
    #[command(hide = true)]
    Hosts {
        /// What they connect to.
        #[arg(long)]
        controller: std::net::SocketAddr,
        /// Who they are.
        #[arg(long, value_delimiter = ',', required = true)]
        names: Vec<String>,
    },
    /// Serves bytes over plain TCP, for `fanout` to compare with.
    #[cfg(feature = "controller")]
    #[command(hide = true)]
    RawFanOut {
        /// Where.
        #[arg(long)]
        listen: std::net::SocketAddr,
        /// So many a round, to each socket.
        #[arg(long)]
        bytes: usize,
        /// How many there will be.
        #[arg(long, value_parser = parse_hosts)]
        sockets: usize,
    },
    /// Reads runs from standard input, a JSON object a line, and prints a Markdown table.
    Table,
}

/// Networks that differ in size alone.
#[derive(Args)]
pub(crate) struct Networks {
    /// The sizes, in ports, smallest first.
    #[arg(
        long, value_delimiter = ',', default_values_t = [10_000, 100_000, METRO_PORTS],
        value_parser = parse_ports
    )]
    pub(crate) ports: Vec<usize>,
    /// How many hosts each tenant is on: those that the smallest network has, so that networks
    /// differ in size alone.
    #[arg(long, default_value_t = TENANT_HOSTS, value_parser = parse_count)]
    pub(crate) tenant_hosts: usize,
}

/// What `metro` is loaded from.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Source {
    /// Transactions.
    Empty,
    /// The state that another engine saved.
    #[cfg(feature = "controller")]
    Snapshot,
}

#[derive(Args)]
pub(crate) struct InstructionOptions {
    /// Write what is counted as the new baselines instead of comparing.
    #[arg(long, env = "UPDATE_BASELINES", value_parser = FalseyValueParser::new())]
    pub(crate) update: bool,
    /// The file of the baselines.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/baselines.json"))]
    pub(crate) baselines: PathBuf,
    /// Show, for each path, so many functions that spend the most.
    #[arg(long, default_value_t = 0)]
    pub(crate) functions: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
        for bad in [
            "change --ports 0",
            "metro --scale 11",
            "link --links 0",
            "lag --seconds 0",
            "writes --clients 0",
            "fanout --hosts 0",
            "fanout --hosts 20001",
            "fanout --rate 10",
            "fanout --churn --rate 0",
            "trickle --hosts 0",
            "stopped --stopped 0",
        ] {
            let words = std::iter::once("spanwire-benches").chain(bad.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{bad}");
        }
    }
}
