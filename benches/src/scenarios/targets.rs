//! Figures next to what they shall be.

use crate::measure::{Report, rounded};
use serde_json::{Value, json};

/// What a figure shall be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// Figures with targets.
#[derive(Default)]
pub(crate) struct Targets(Vec<(&'static str, f64, Target)>);

impl Targets {
    pub(crate) fn add(&mut self, figure: &'static str, value: f64, target: Target) {
        self.0.push((figure, value, target));
    }

    /// Reports each, and a list of all.
    pub(crate) fn report(self, report: &mut Report) {
        let mut rows: Vec<Value> = Vec::new();
        for (figure, value, target) in self.0 {
            report.measure(figure, value);
            let (text, is_met) = match target {
                Target::AtLeast(least) => (format!("at least {least}"), value >= least),
                Target::AtMost(most) => (format!("at most {most}"), value <= most),
            };
            let met = if is_met { "yes" } else { "no" };
            rows.push(json!({
                "figure": figure, "measured": rounded(value), "target": text, "met": met
            }));
        }
        report.set("targets", rows);
    }
}
