//! The scenarios with processes in them.

use super::STREAM_HOSTS;
use super::numbers::{parse_clients, parse_count, parse_hosts, parse_rate, parse_seconds};
use crate::cluster::ClusterOptions;
use clap::Subcommand;

/// Hosts of `failover`.
pub(crate) const FAILOVER_HOSTS: usize = 3_000;
/// Hosts of the scenario with the most.
const TRICKLE_HOSTS: usize = 10_000;

#[derive(Subcommand)]
pub(crate) enum ClusterScenario {
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
    /// Ten of 10,000 hosts are stopped while all others are told changes.
    Stopped {
        /// Hosts, at scale 1.
        #[arg(long, default_value_t = TRICKLE_HOSTS, value_parser = parse_hosts)]
        hosts: usize,
        /// How many of them are stopped.
        #[arg(long, default_value_t = 10, value_parser = parse_hosts)]
        stopped: usize,
        /// How many changes, before they are stopped and meanwhile.
        #[arg(long, default_value_t = 20, value_parser = parse_count)]
        rounds: usize,
        #[command(flatten)]
        options: ClusterOptions,
    },
    /// The 1,000 hosts of `compute` connect all at once.
    Storm {
        #[command(flatten)]
        options: ClusterOptions,
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
}
