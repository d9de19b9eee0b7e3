//! What the demo tells: sections for people as it goes, and a summary for people and machines.

use crate::failure::Failure;
use crate::output::{self, Table};
use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::Value;

/// The most failed expectations that one check lists.
const FINDINGS_MAX: usize = 10;

/// One thing that had to hold.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    /// The section of the demo it belongs to.
    section: String,
    /// What had to hold.
    what: String,
    /// Whether it did.
    held: bool,
    /// What was found instead; a note otherwise.
    findings: Vec<String>,
}

/// A number worth keeping.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    section: String,
    name: String,
    value: Value,
}

/// The report under construction.
#[derive(Debug)]
pub(super) struct Report {
    /// True: nothing but the summary is printed, as JSON.
    json: bool,
    section: String,
    checks: Vec<Check>,
    figures: Vec<Figure>,
}

impl Report {
    /// An empty report.
    pub(super) fn new(json: bool) -> Report {
        Report { json, section: String::new(), checks: Vec::new(), figures: Vec::new() }
    }

    /// Starts a section.
    pub(super) fn section(&mut self, title: &str) -> Result<(), Failure> {
        self.section = title.to_owned();
        self.text(&format!("\n{}\n", title.bold()))
    }

    /// Says something.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        self.text(&format!("  {text}\n"))
    }

    /// Shows a table.
    pub(super) fn table(&self, table: &Table) -> Result<(), Failure> {
        let text: String = table.to_text().lines().map(|line| format!("    {line}\n")).collect();
        self.text(&text)
    }

    fn text(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { output::print(text) }
    }

    /// Keeps a number for the summary.
    pub(super) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.push(Figure {
            section: self.section.clone(),
            name: name.to_owned(),
            value: value.into(),
        });
    }

    /// Records whether something held. `findings` are what was found to be otherwise: none means
    /// that it held.
    pub(super) fn check(&mut self, what: &str, findings: Vec<String>) -> Result<(), Failure> {
        let held = findings.is_empty();
        let mark = if held { "ok".green().to_string() } else { "FAILED".red().bold().to_string() };
        self.say(&format!("{mark}  {what}"))?;
        let omitted = findings.len().saturating_sub(FINDINGS_MAX);
        let mut findings = findings;
        findings.truncate(FINDINGS_MAX);
        if omitted > 0 {
            findings.push(format!("and {omitted} more"));
        }
        for finding in &findings {
            self.say(&format!("      {finding}"))?;
        }
        let (section, what) = (self.section.clone(), what.to_owned());
        self.checks.push(Check { section, what, held, findings });
        Ok(())
    }

    /// Prints the summary, and fails unless everything held.
    pub(super) fn finish(&self, mode: &str) -> Result<(), Failure> {
        let failed = self.checks.iter().filter(|check| !check.held).count();
        if self.json {
            output::print_json(&serde_json::json!({
                "mode": mode,
                "passed": failed == 0,
                "checks": self.checks,
                "figures": self.figures,
            }))?;
        } else {
            let total = self.checks.len();
            output::print(&format!("\n{}\n", "Summary".bold()))?;
            let result = match failed {
                0 => format!("all {total} checks held").green().to_string(),
                failed => format!("{failed} of {total} checks FAILED").red().bold().to_string(),
            };
            self.say(&format!("{result} ({mode})"))?;
            for check in self.checks.iter().filter(|check| !check.held) {
                self.say(&format!("FAILED  {}: {}", check.section, check.what))?;
            }
        }
        if failed == 0 && !self.checks.is_empty() {
            Ok(())
        } else {
            Err(Failure::refused(format!("demo: {failed} of {} checks failed", self.checks.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_fails_the_demo() {
        let mut report = Report::new(true);
        assert!(report.finish("record").is_err(), "a demo that checked nothing proved nothing");
        report.check("a", Vec::new()).unwrap();
        report.finish("record").unwrap();
        report.check("b", (0..20).map(|n| n.to_string()).collect()).unwrap();
        assert!(report.finish("record").is_err());
        assert_eq!(report.checks[1].findings.len(), FINDINGS_MAX + 1);
    }
}
