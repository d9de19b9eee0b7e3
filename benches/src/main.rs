//! Spanwire's scenarios, each from a seed, each next to a lower bound. See benches/README.md.

// Parts of the workloads and measures belong to scenarios that are left out then.
#![cfg_attr(not(feature = "controller"), allow(dead_code, unused_imports))]

mod arguments;
#[cfg(feature = "controller")]
mod cluster;
mod instructions;
mod measure;
mod scenarios;
mod workloads;

use arguments::{Arguments, Networks, Scenario, Source, scaled, scaled_all, scaled_hosts};
use clap::Parser;
use measure::Report;
use std::process::ExitCode;
use workloads::metro::Metro;
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
                Source::Empty => {
                    scenarios::load("metro", seed, Metro::with_ports(ports, seed).resources())
                }
                #[cfg(feature = "controller")]
                Source::Snapshot => scenarios::metro_from_snapshot(seed, ports),
            }
        }
        Scenario::Change { networks: Networks { ports, tenant_hosts }, operations } => {
            scenarios::change(seed, &scaled_all(ports, scale), *tenant_hosts, *operations)
        }
        Scenario::Link { networks: Networks { ports, tenant_hosts }, links } => {
            scenarios::link(seed, &scaled_all(ports, scale), *tenant_hosts, *links)
        }
        Scenario::Questions { asked } => {
            scenarios::questions(seed, scaled(arguments::METRO_PORTS, scale), *asked)
        }
        Scenario::Cut => scenarios::cut(seed),
        Scenario::Bytes => scenarios::bytes(seed, scaled(arguments::METRO_PORTS, scale)),
        #[cfg(feature = "controller")]
        Scenario::Cluster(scenario) => cluster::run(scenario, seed, scale),
        Scenario::Sessions { hosts, rounds } => {
            scenarios::sessions(seed, scaled_hosts(*hosts, scale)?, *rounds)
        }
        Scenario::Instructions(options) => return instructions::compare(options),
        Scenario::HotPaths => return instructions::run_hot_paths().map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "controller")]
        Scenario::Broadcast { listen } => {
            let served = cluster::block_on(cluster::serve_broadcasts(*listen));
            return served.map(|()| ExitCode::SUCCESS);
        }
        #[cfg(feature = "controller")]
        Scenario::Hosts { controller, names } => {
            let followed = cluster::block_on(cluster::follow_as(*controller, names));
            return followed.map(|()| ExitCode::SUCCESS);
        }
        #[cfg(feature = "controller")]
        Scenario::RawFanOut { listen, bytes, sockets } => {
            let served = cluster::block_on(cluster::serve_raw(*listen, *bytes, *sockets));
            return served.map(|()| ExitCode::SUCCESS);
        }
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
