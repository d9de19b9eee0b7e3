//! Instructions of the hot paths: what review sees of a slow-down without a clock.
//!
//! This program runs itself under callgrind, which counts the instructions of each hot path, and
//! compares what an operation takes with `baselines.json`. The same program on the same input
//! executes the same instructions, whatever else the machine does.

mod baselines;
mod callgrind;
mod hot_paths;

pub(crate) use hot_paths::run as run_hot_paths;

use crate::arguments::InstructionOptions;
use baselines::Baselines;
use std::process::ExitCode;

/// Counts, and compares with the baselines or writes them. Where nothing can be counted this says
/// so and succeeds, unless `SPANWIRE_CI` is set.
pub(crate) fn compare(options: &InstructionOptions) -> Result<ExitCode, String> {
    if let Some(reason) = callgrind::unavailable() {
        let text = format!("{reason}, so the instructions of the hot paths were not counted");
        if std::env::var_os("SPANWIRE_CI").is_some() {
            return Err(text);
        }
        println!("instructions: {text}");
        return Ok(ExitCode::SUCCESS);
    }
    let (counts, functions) = callgrind::count(options.functions)?;
    print!("{functions}");
    if options.update {
        Baselines::of(&counts).write(&options.baselines)?;
        println!("instructions: wrote {}", options.baselines.display());
        return Ok(ExitCode::SUCCESS);
    }
    let comparison = Baselines::read(&options.baselines)?.compare(&counts);
    print!("{}", comparison.table);
    for problem in &comparison.problems {
        eprintln!("instructions: {problem}");
    }
    if comparison.problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "instructions: if this is meant, refresh with `UPDATE_BASELINES=1 make instructions`, and \
         commit benches/baselines.json with the reason"
    );
    Ok(ExitCode::FAILURE)
}
