//! Spanwire's scenarios, each from a seed, each next to a lower bound. See benches/README.md.

mod memory;
mod report;
mod scenarios;

use clap::{Parser, Subcommand};
use report::Report;
use std::process::ExitCode;

/// Runs one scenario and prints what it measured.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
    /// Print one JSON object instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// The seed of everything that is drawn by chance.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// A factor on the size of the workload, above 0 and up to 10.
    #[arg(long, global = true, default_value_t = 1.0, value_parser = parse_scale)]
    scale: f64,
}

#[derive(Subcommand)]
enum Scenario {
    /// 25,000 namespaces of 4 pods and 3 network policies on 1,000 hosts, from empty to views.
    Compute,
    /// One namespace with 10,000 pods and 10,000 policies that select and admit one label.
    ComputeOne,
}

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale <= 10.0 => Ok(scale),
        _ => Err("expected a number above 0 and up to 10".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result: Result<Report, String> = match &arguments.scenario {
        Scenario::Compute => scenarios::compute::run(arguments.seed, arguments.scale),
        Scenario::ComputeOne => scenarios::compute_one::run(arguments.seed, arguments.scale),
    };
    match result {
        Ok(report) => {
            report.print(arguments.json);
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("spanwire-benches: {problem}");
            ExitCode::FAILURE
        }
    }
}
