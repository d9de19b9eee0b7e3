//! What happened, as one number and, on demand, as text: two runs of one seed must agree in it.

use foldhash::fast::FixedState;
use std::fmt::Arguments;
use std::hash::{BuildHasher, Hasher};

/// The lines that are kept for a report.
const LINES_KEPT: usize = 400;

/// Everything that happened so far.
#[derive(Debug)]
pub struct Trace {
    digest: u64,
    steps: u64,
    lines: std::collections::VecDeque<String>,
    print: bool,
}

impl Trace {
    /// Nothing has happened. `print` tells each line as it comes.
    pub fn new(print: bool) -> Trace {
        Trace { digest: 0, steps: 0, lines: Default::default(), print }
    }

    /// Something happens.
    pub fn add(&mut self, now: u64, what: Arguments<'_>) {
        let line = format!("{:>10}.{:03} ms  {what}", now / 1000, now % 1000);
        let mut hasher = FixedState::with_seed(self.digest).build_hasher();
        hasher.write(line.as_bytes());
        self.digest = hasher.finish();
        self.steps += 1;
        if self.print {
            println!("{line}");
        }
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// One number for all of it.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How much there was.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The last lines.
    pub fn tail(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
