//! Baselines: what each hot path took when somebody last looked.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// How much more than its baseline a path may take, in percent. Compilers place code differently
/// when something else changes; a slow-down worth a word is larger.
const TOLERANCE_PERCENT: f64 = 5.0;

/// Instructions of one operation, by path.
pub(super) type Counts = BTreeMap<String, u64>;

/// The contents of `baselines.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baselines {
    tolerance_percent: f64,
    instructions_per_operation: Counts,
}

/// What came of a comparison.
pub(super) struct Comparison {
    /// Every path with its baseline and what was counted.
    pub(super) table: String,
    /// What is wrong, a sentence each.
    pub(super) problems: Vec<String>,
}

impl Baselines {
    pub(super) fn of(counts: &Counts) -> Baselines {
        Baselines {
            tolerance_percent: TOLERANCE_PERCENT,
            instructions_per_operation: counts.clone(),
        }
    }

    pub(super) fn read(path: &Path) -> Result<Baselines, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), String> {
        let name = path.display();
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        std::fs::write(path, text + "\n").map_err(|error| format!("{name}: {error}"))
    }

    pub(super) fn compare(&self, counts: &Counts) -> Comparison {
        let mut table = format!("{:<20} {:>14} {:>14} {:>8}\n", "hot path", "baseline", "now", "%");
        let mut problems = Vec::new();
        let known = &self.instructions_per_operation;
        for (path, &now) in counts {
            let Some(&baseline) = known.get(path) else {
                problems.push(format!("{path} has no baseline: it takes {now} an operation"));
                continue;
            };
            let percent = 100.0 * (now as f64 / baseline.max(1) as f64 - 1.0);
            // Writing to a text does not fail.
            let _ = writeln!(table, "{path:<20} {baseline:>14} {now:>14} {percent:>+8.1}");
            if now > allowed(baseline, self.tolerance_percent) {
                problems.push(format!(
                    "{path} takes {now} instructions an operation, {percent:.1} % more than the \
                     {baseline} of its baseline: {:.1} % are allowed",
                    self.tolerance_percent
                ));
            }
            if now < allowed(baseline, -self.tolerance_percent) {
                let _ =
                    writeln!(table, "  {path} became faster: refresh its baseline to keep it so");
            }
        }
        let gone = known.keys().filter(|path| !counts.contains_key(*path));
        problems.extend(gone.map(|path| format!("{path} has a baseline and is measured no more")));
        Comparison { table, problems }
    }
}

/// A baseline with so many percent more, to the nearest instruction.
fn allowed(baseline: u64, percent: f64) -> u64 {
    (baseline as f64 * (1.0 + percent / 100.0)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> Counts {
        list.iter().map(|&(path, count)| (path.to_owned(), count)).collect()
    }

    fn check(now: &[(&str, u64)], problems: &[&str]) -> String {
        let baselines = Baselines::of(&counts(&[("cut", 1_000), ("healed", 2_000)]));
        let comparison = baselines.compare(&counts(now));
        assert_eq!(comparison.problems, problems);
        comparison.table
    }

    #[test]
    fn only_what_is_slower_than_tolerated_or_missing_is_a_problem() {
        check(&[("cut", 1_050), ("healed", 2_000)], &[]);
        let table = check(&[("cut", 949), ("healed", 2_000)], &[]);
        assert!(table.contains("cut became faster: refresh its baseline"), "{table}");
        check(
            &[("cut", 1_051), ("healed", 2_000)],
            &["cut takes 1051 instructions an operation, 5.1 % more than the 1000 of its \
                 baseline: 5.0 % are allowed"],
        );
        check(
            &[("cut", 1_000), ("peered", 7)],
            &[
                "peered has no baseline: it takes 7 an operation",
                "healed has a baseline and is measured no more",
            ],
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("baselines.json");
        let problem = Baselines::read(&path).unwrap_err();
        assert!(problem.contains("baselines.json"), "{problem}");
        let baselines = Baselines::of(&counts(&[("cut", 1)]));
        baselines.write(&path).unwrap();
        assert_eq!(Baselines::read(&path), Ok(baselines));
    }

    /// The committed file names every hot path and no other.
    #[test]
    fn every_hot_path_has_a_baseline() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/baselines.json"));
        let baselines = Baselines::read(path).unwrap();
        let known: Vec<&str> =
            baselines.instructions_per_operation.keys().map(String::as_str).collect();
        let mut paths: Vec<&str> = super::super::hot_paths::names().collect();
        paths.sort_unstable();
        assert_eq!(known, paths);
    }
}
