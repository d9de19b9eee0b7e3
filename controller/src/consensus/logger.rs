//! The Raft core logs through slog; this carries it into tracing, with everything in one field.

use slog::{Drain, Level, OwnedKVList, Record};
use std::convert::Infallible;
use std::fmt::Write as _;

/// A logger for the Raft core of one replica.
pub(super) fn mk_logger() -> slog::Logger {
    slog::Logger::root(TracingDrain, slog::o!())
}

struct TracingDrain;

impl Drain for TracingDrain {
    type Ok = ();
    type Err = Infallible;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Infallible> {
        // The Raft core's "info" is every message and vote: one level down, it is our "debug".
        let message = || {
            let mut text = record.msg().to_string();
            let mut fields = Fields(&mut text);
            let _ = slog::KV::serialize(&record.kv(), record, &mut fields);
            text
        };
        match record.level() {
            Level::Critical | Level::Error if tracing::enabled!(tracing::Level::ERROR) => {
                tracing::error!(target: "spanwire::raft", "{}", message());
            }
            Level::Warning if tracing::enabled!(tracing::Level::WARN) => {
                tracing::warn!(target: "spanwire::raft", "{}", message());
            }
            Level::Info if tracing::enabled!(tracing::Level::DEBUG) => {
                tracing::debug!(target: "spanwire::raft", "{}", message());
            }
            Level::Debug | Level::Trace if tracing::enabled!(tracing::Level::TRACE) => {
                tracing::trace!(target: "spanwire::raft", "{}", message());
            }
            _ => {}
        }
        Ok(())
    }
}

struct Fields<'a>(&'a mut String);

impl slog::Serializer for Fields<'_> {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}
