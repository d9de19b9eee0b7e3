//! What goes to stdout: tables for people, documents for programs.

pub(crate) mod document;
pub(crate) mod render;
pub(crate) mod resource;
pub(crate) mod table;

pub(crate) use table::Table;

use crate::failure::{Failure, FailureKind};
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Writes text to stdout, colours stripped where it is not a terminal.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        if error.kind() == ErrorKind::BrokenPipe {
            Failure::new(FailureKind::ClosedPipe, "the reader of the output went away")
        } else {
            Failure::caused("the output cannot be written", &error)
        }
    })
}

/// Writes a line to stdout.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::caused("the output does not turn into JSON", &error))?;
    print_line(&text)
}
