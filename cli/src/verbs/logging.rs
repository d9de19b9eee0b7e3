//! Logs of the programs that run on: to stderr, one line an event.

use crate::failure::{Failure, FailureKind};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// What is logged if nothing else is said.
const FILTER_DEFAULT: &str = "info";
/// The variable that says what is logged, as `info,spanwire_agent=debug`.
const FILTER_VARIABLE: &str = "SPANWIRE_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging.
pub(crate) fn start(format: LogFormat) -> Result<(), Failure> {
    let text = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| FILTER_DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|error: ParseError| {
        Failure::caused(format!("{FILTER_VARIABLE}={text:?} is no filter"), &error)
            .of_kind(FailureKind::Usage)
            .remedy("give it levels by module, as info,spanwire_agent=debug")
    })?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| Failure::caused("logging does not start", &*error))
}
