//! What a run prints.

use super::stopwatch::Spent;
use serde_json::{Map, Value};

/// Named figures, in the order in which they were measured.
pub(crate) struct Report {
    figures: Map<String, Value>,
    order: Vec<String>,
}

impl Report {
    pub(crate) fn new(scenario: &str, seed: u64) -> Report {
        let mut report = Report { figures: Map::new(), order: Vec::new() };
        report.set("scenario", scenario);
        report.set("seed", seed);
        report
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        if self.figures.insert(name.to_owned(), value.into()).is_none() {
            self.order.push(name.to_owned());
        }
    }

    /// A figure rounded to thousandths.
    pub(crate) fn measure(&mut self, name: &str, value: f64) {
        self.set(name, rounded(value));
    }

    /// The time of the whole scenario: `seconds` and `cpu_seconds`.
    pub(crate) fn spent(&mut self, spent: Spent) {
        self.measure("seconds", spent.wall.as_secs_f64());
        self.measure("cpu_seconds", spent.cpu.as_secs_f64());
    }

    /// What the scenario could not be faster than, and how much slower it is: the ratio is of
    /// processor times, which other processes on the machine disturb least.
    pub(crate) fn bound(&mut self, spent: Spent, bound: Spent) {
        self.set("lower_bound_seconds", rounded_to(bound.cpu.as_secs_f64(), 6));
        self.measure("ratio_to_lower_bound", ratio(spent, bound));
    }

    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", Value::Object(self.figures.clone()));
            return;
        }
        let width = self.order.iter().map(String::len).max().unwrap_or(0);
        for name in &self.order {
            match &self.figures[name] {
                Value::String(text) => println!("{name:width$}  {text}"),
                value => println!("{name:width$}  {value}"),
            }
        }
    }
}

/// How many times the processor time of a bound something took.
pub(crate) fn ratio(spent: Spent, bound: Spent) -> f64 {
    spent.cpu.as_secs_f64() / bound.cpu.as_secs_f64().max(1e-9)
}

/// Rounded to thousandths.
pub(crate) fn rounded(value: f64) -> f64 {
    rounded_to(value, 3)
}

fn rounded_to(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}
