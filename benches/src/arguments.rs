//! The command line.

use crate::cluster::ClusterOptions;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Ports of the whole `metro`.
pub(crate) const METRO_PORTS: usize = 1_000_000;
/// Hosts of `failover`.
pub(crate) const FAILOVER_HOSTS: usize = 3_000;
/// Hosts of the scenarios of the host stream, and of the one with the most.
const STREAM_HOSTS: usize = 3_000;
const TRICKLE_HOSTS: usize = 10_000;
/// The most hosts that these may be asked to have: ports of the kernel for connections to one address.
const HOSTS_MAX: usize = 20_000;
/// The most changes a second.
const RATE_MAX: f64 = 100_000.0;
/// Hosts of a network of 10,000 ports.
const TENANT_HOSTS: usize = 100;
/// The most clients of `writes`: each has a connection to each of two clusters.
const CLIENTS_MAX: usize = 4_096;
/// The most ports that a network may be asked to have: what the routed tenants have addresses for.
const PORTS_MAX: u64 = 8_000_000;

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
        /// The sizes, in ports, smallest first.
        #[arg(
            long, value_delimiter = ',', default_values_t = [10_000, 100_000, METRO_PORTS],
            value_parser = parse_ports
        )]
        ports: Vec<usize>,
        /// How many hosts each tenant is on: those that the smallest network has, so that networks
        /// differ in size alone.
        #[arg(long, default_value_t = TENANT_HOSTS, value_parser = parse_count)]
        tenant_hosts: usize,
        /// How often each is done.
        #[arg(long, default_value_t = 2_000, value_parser = parse_count)]
        operations: usize,
    },
    /// The uplink of a tenant of 500 ports cut and healed, on networks of several sizes.
    Link {
        /// The sizes, in ports, smallest first.
        #[arg(
            long, value_delimiter = ',', default_values_t = [10_000, 100_000, METRO_PORTS],
            value_parser = parse_ports
        )]
        ports: Vec<usize>,
        /// How many hosts each tenant is on: those that the smallest network has, so that networks
        /// differ in size alone.
        #[arg(long, default_value_t = TENANT_HOSTS, value_parser = parse_count)]
        tenant_hosts: usize,
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
    /// Small transactions on a cluster of three controllers, and on one of etcd.
    Writes {
        /// Clients at one time.
        #[arg(
            long, value_delimiter = ',', default_values_t = [1, 10, 100], value_parser = parse_clients
        )]
        clients: Vec<usize>,
        /// How long each cluster's turn takes, with each number of clients, at scale 1.
        #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
        turn_seconds: f64,
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// The leader of three controllers killed, and handing over, with 3,000 hosts connected.
    Failover {
        /// How often each is done.
        #[arg(long, default_value_t = 3, value_parser = parse_count)]
        rounds: usize,
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// From a write's acknowledgement until hosts of the leader and of followers have it.
    Lag {
        /// How long changes go on, at scale 1.
        #[arg(long, default_value_t = 20.0, value_parser = parse_seconds)]
        seconds: f64,
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// A controller with `metro` in its data directory, killed and started again.
    Restart {
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// A replica added to a controller with `metro`, while changes go on.
    Transfer {
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// A change that every host is told, next to plain TCP and watches of etcd; or many changes a second.
    Fanout {
        /// Hosts, at scale 1.
        #[arg(long, default_value_t = STREAM_HOSTS, value_parser = parse_hosts)]
        hosts: usize,
        /// How often it is done.
        #[arg(long, default_value_t = 30, value_parser = parse_count)]
        rounds: usize,
        /// Changes of single tenants instead, so many a second.
        #[arg(long)]
        churn: bool,
        /// With --churn: the hosts are the first of a network of 10,000 hosts and 1,000,000 ports.
        #[arg(long, requires = "churn")]
        large: bool,
        /// With --churn: changes a second.
        #[arg(long, requires = "churn", default_value_t = 1_000.0, value_parser = parse_rate)]
        rate: f64,
        /// With --churn: how long they go on.
        #[arg(long, requires = "churn", default_value_t = 60.0, value_parser = parse_seconds)]
        seconds: f64,
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// Ports added to a tenant of 20 hosts, one at a time, with 10,000 hosts connected.
    Trickle {
        /// Hosts, at scale 1.
        #[arg(long, default_value_t = TRICKLE_HOSTS, value_parser = parse_hosts)]
        hosts: usize,
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// The 1,000 hosts of `compute` connect all at once.
    Storm {
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// What a change costs the sessions of many hosts, without any transport.
    Sessions {
        /// Hosts, at scale 1.
        #[arg(long, default_value_t = STREAM_HOSTS, value_parser = parse_hosts)]
        hosts: usize,
        /// How many changes.
        #[arg(long, default_value_t = 30, value_parser = parse_count)]
        rounds: usize,
    },
    /// Hosts that are connected and have nothing to do.
    Idle {
        /// Hosts, at scale 1.
        #[arg(long, default_value_t = STREAM_HOSTS, value_parser = parse_hosts)]
        hosts: usize,
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// 3,000 hosts lose their controller, which is killed and started again.
    Reconnect {
        /// Hosts, at scale 1.
        #[arg(long, default_value_t = STREAM_HOSTS, value_parser = parse_hosts)]
        hosts: usize,
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// Counts the instructions of the hot paths and compares them with the baselines.
    Instructions(InstructionOptions),
    /// Runs the hot paths, for `instructions` to count.
    #[command(hide = true)]
    HotPaths,
    /// Reads runs from standard input, a JSON object a line, and prints a Markdown table.
    Table,
}

/// What `metro` is loaded from.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Source {
    /// Transactions.
    Empty,
    /// The state that another engine saved.
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

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale <= 10.0 => Ok(scale),
        _ => Err("expected a number above 0 and up to 10".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3_600.0 => Ok(seconds),
        _ => Err("expected a number of seconds above 0 and up to 3600".to_owned()),
    }
}

fn parse_clients(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(clients) if (1..=CLIENTS_MAX).contains(&clients) => Ok(clients),
        _ => Err(format!("expected a number of clients from 1 to {CLIENTS_MAX}")),
    }
}

fn parse_hosts(text: &str) -> Result<usize, String> {
    check_hosts(text.parse().unwrap_or(0))
}

/// Refuses a number of hosts, with the scale on it or not.
pub(crate) fn check_hosts(hosts: usize) -> Result<usize, String> {
    match (1..=HOSTS_MAX).contains(&hosts) {
        true => Ok(hosts),
        false => Err(format!("expected a number of hosts from 1 to {HOSTS_MAX}")),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("expected a number above 0 and up to {RATE_MAX}")),
    }
}

fn parse_ports(text: &str) -> Result<usize, String> {
    match text.parse::<u64>() {
        Ok(ports) if (1..=PORTS_MAX).contains(&ports) => Ok(ports as usize),
        _ => Err(format!("expected a number of ports from 1 to {PORTS_MAX}")),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse::<u32>() {
        Ok(count) if count > 0 => Ok(count as usize),
        _ => Err("expected a number from 1 on".to_owned()),
    }
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
        ] {
            let words = std::iter::once("spanwire-benches").chain(bad.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{bad}");
        }
    }
}
