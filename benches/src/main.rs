//! Spanwire's scenarios, each from a seed, each next to a lower bound. See benches/README.md.

mod arguments;
mod cluster;
mod instructions;
mod measure;
mod scenarios;
mod workloads;

use arguments::{Arguments, Scenario, Source};
use clap::Parser;
use cluster::block_on;
use measure::Report;
use std::process::ExitCode;
use workloads::{compute, compute_company, compute_one};

/// The allocator of the binary that is shipped, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("spanwire-benches: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let Arguments { seed, scale, .. } = *arguments;
    let report: Report = match &arguments.scenario {
        Scenario::Compute => scenarios::load("compute", seed, compute::resources(seed, scale)),
        Scenario::ComputeOne => {
            scenarios::load("compute-one", seed, compute_one::resources(seed, scale))
        }
        Scenario::ComputeCompany => {
            scenarios::load("compute-company", seed, compute_company::resources(seed, scale))
        }
        Scenario::Metro { from } => {
            let ports = scaled(arguments::METRO_PORTS, scale);
            match from {
                Source::Empty => scenarios::metro(seed, ports),
                Source::Snapshot => scenarios::metro_from_snapshot(seed, ports),
            }
        }
        Scenario::Change { ports, tenant_hosts, operations } => {
            scenarios::change(seed, &scaled_all(ports, scale), *tenant_hosts, *operations)
        }
        Scenario::Link { ports, tenant_hosts, links } => {
            scenarios::link(seed, &scaled_all(ports, scale), *tenant_hosts, *links)
        }
        Scenario::Questions { asked } => {
            scenarios::questions(seed, scaled(arguments::METRO_PORTS, scale), *asked)
        }
        Scenario::Cut => scenarios::cut(seed),
        Scenario::Bytes => scenarios::bytes(seed, scaled(arguments::METRO_PORTS, scale)),
        Scenario::Writes { clients, turn_seconds, options } => {
            block_on(scenarios::writes(seed, clients, turn_seconds * scale, options))
        }
        Scenario::Failover { rounds, options } => {
            let hosts = scaled(arguments::FAILOVER_HOSTS, scale);
            block_on(scenarios::failover(seed, hosts, *rounds, options))
        }
        Scenario::Lag { seconds, options } => {
            block_on(scenarios::lag(seed, seconds * scale, options))
        }
        Scenario::Restart { options } => {
            block_on(scenarios::restart(seed, scaled(arguments::METRO_PORTS, scale), options))
        }
        Scenario::Transfer { options } => {
            let ports = scaled(arguments::METRO_PORTS, scale);
            block_on(scenarios::transfer(seed, ports, scale, options))
        }
        Scenario::Fanout { hosts, rounds, churn, large, rate, seconds, options } => {
            let hosts = scaled_hosts(*hosts, scale)?;
            if *churn {
                let network = match large {
                    true => scenarios::Network::Large,
                    false => scenarios::Network::Theirs,
                };
                block_on(scenarios::churn(seed, hosts, network, *rate, *seconds, options))
            } else {
                block_on(scenarios::fanout(seed, hosts, *rounds, options))
            }
        }
        Scenario::Trickle { hosts, options } => {
            block_on(scenarios::trickle(seed, scaled_hosts(*hosts, scale)?, options))
        }
        Scenario::Storm { options } => {
            block_on(scenarios::storm(seed, compute::resources(seed, scale), options))
        }
        Scenario::Sessions { hosts, rounds } => {
            scenarios::sessions(seed, scaled_hosts(*hosts, scale)?, *rounds)
        }
        Scenario::Idle { hosts, options } => {
            block_on(scenarios::idle(seed, scaled_hosts(*hosts, scale)?, options))
        }
        Scenario::Reconnect { hosts, options } => {
            block_on(scenarios::reconnect(seed, scaled_hosts(*hosts, scale)?, options))
        }
        Scenario::Instructions(options) => return instructions::compare(options),
        Scenario::HotPaths => return instructions::run_hot_paths().map(|()| ExitCode::SUCCESS),
        Scenario::Table => {
            let lines = std::io::read_to_string(std::io::stdin())
                .map_err(|error| format!("standard input: {error}"))?;
            print!("{}", measure::to_markdown(&lines)?);
            return Ok(ExitCode::SUCCESS);
        }
    }?;
    report.print(arguments.json);
    Ok(ExitCode::SUCCESS)
}

fn scaled(ports: usize, scale: f64) -> usize {
    (ports as f64 * scale) as usize
}

fn scaled_hosts(hosts: usize, scale: f64) -> Result<usize, String> {
    arguments::check_hosts(scaled(hosts, scale))
}

fn scaled_all(ports: &[usize], scale: f64) -> Vec<usize> {
    ports.iter().map(|&ports| scaled(ports, scale)).collect()
}
