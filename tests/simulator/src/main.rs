//! Runs seed after seed, for as long as it is let, or so many; see the Makefile.

use spanwire_simulator::{Options, run};
use std::process::ExitCode;
use std::time::Instant;

/// How often it is said how far things are.
const REPORT_EVERY: u64 = 20;

fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = number("SEEDS");
    let one = number("SEED");
    let print = std::env::var_os("SPANWIRE_SIM_TRACE").is_some();
    let first = one.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let count = seeds.or(one.map(|_| 1)).unwrap_or(u64::MAX);
    println!("seeds from {first}");
    let started = Instant::now();
    let mut simulated = 0.0;
    for n in 0..count {
        let seed = first.wrapping_add(n);
        match run(seed, Options { print }) {
            Ok(report) => {
                simulated += report.microseconds as f64 / 3.6e9;
                if one.is_some() {
                    println!("{report:#?}");
                }
            }
            Err((finding, tail)) => {
                for line in tail {
                    println!("{line}");
                }
                println!("seed {seed}: {finding}");
                println!("to see it again: make sim SEED={seed}");
                return ExitCode::FAILURE;
            }
        }
        if (n + 1) % REPORT_EVERY == 0 || n + 1 == count {
            let seconds = started.elapsed().as_secs_f64();
            println!(
                "{} seeds, nothing found: {:.2} seeds/s, {:.3} simulated hours/s",
                n + 1,
                (n + 1) as f64 / seconds,
                simulated / seconds
            );
        }
    }
    ExitCode::SUCCESS
}
