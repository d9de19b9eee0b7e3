//! Which scenario is run.

use super::streams::{self, Network};
use super::{failover, lag, restart, transfer, writes};
use crate::arguments::{ClusterScenario, FAILOVER_HOSTS, METRO_PORTS, scaled, scaled_hosts};
use crate::cluster::block_on;
use crate::measure::Report;
use crate::workloads::compute;

/// Runs a scenario, with a factor on its size.
pub(crate) fn run(scenario: &ClusterScenario, seed: u64, scale: f64) -> Result<Report, String> {
    match scenario {
        ClusterScenario::Writes { clients, turn_seconds, options } => {
            block_on(writes::run(seed, clients, turn_seconds * scale, options))
        }
        ClusterScenario::Failover { rounds, options } => {
            let hosts = scaled(FAILOVER_HOSTS, scale);
            block_on(failover::run(seed, hosts, *rounds, options))
        }
        ClusterScenario::Lag { seconds, options } => {
            block_on(lag::run(seed, seconds * scale, options))
        }
        ClusterScenario::Restart { options } => {
            block_on(restart::run(seed, scaled(METRO_PORTS, scale), options))
        }
        ClusterScenario::Transfer { options } => {
            block_on(transfer::run(seed, scaled(METRO_PORTS, scale), scale, options))
        }
        ClusterScenario::Fanout { hosts, rounds, churn, large, rate, seconds, options } => {
            let hosts = scaled_hosts(*hosts, scale)?;
            if *churn {
                let network = match large {
                    true => Network::Large,
                    false => Network::Theirs,
                };
                block_on(streams::churn(seed, hosts, network, *rate, *seconds, options))
            } else {
                block_on(streams::fanout(seed, hosts, *rounds, options))
            }
        }
        ClusterScenario::Trickle { hosts, options } => {
            block_on(streams::trickle(seed, scaled_hosts(*hosts, scale)?, options))
        }
        ClusterScenario::Stopped { hosts, stopped, rounds, options } => {
            let hosts = scaled_hosts(*hosts, scale)?;
            block_on(streams::stopped(seed, hosts, *stopped, *rounds, options))
        }
        ClusterScenario::Storm { options } => {
            block_on(streams::storm(seed, compute::resources(seed, scale), options))
        }
        ClusterScenario::Idle { hosts, options } => {
            block_on(streams::idle(seed, scaled_hosts(*hosts, scale)?, options))
        }
        ClusterScenario::Reconnect { hosts, options } => {
            block_on(streams::reconnect(seed, scaled_hosts(*hosts, scale)?, options))
        }
    }
}
