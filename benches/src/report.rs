//! What a run prints.

use serde_json::{Map, Value};

/// Named figures, in the order in which they were measured.
pub(crate) struct Report {
    figures: Map<String, Value>,
    order: Vec<String>,
}

impl Report {
    pub(crate) fn new(scenario: &str) -> Report {
        let mut report = Report { figures: Map::new(), order: Vec::new() };
        report.set("scenario", scenario);
        report
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.order.push(name.to_owned());
        self.figures.insert(name.to_owned(), value.into());
    }

    /// A figure rounded to thousandths.
    pub(crate) fn measure(&mut self, name: &str, value: f64) {
        self.set(name, (value * 1000.0).round() / 1000.0);
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
