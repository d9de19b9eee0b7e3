//! Writes that are tried again, with the next controller, until it is known what became of them.
//!
//! A write that got no answer may have been applied. It is asked for again under the same identity, and
//! then applied once, whichever of the attempts got through.

use crate::cli::Global;
use crate::client::{Admin, connect_from, endpoints, is_transport, to_failure};
use crate::failure::Failure;
use crate::progress;
use std::time::{Duration, Instant};
use tonic::{Code, Response, Status};

/// How long a write is tried again after it first got no answer.
pub(crate) const WRITE_TIME: Duration = Duration::from_secs(60);
/// The first pause between two attempts; each is twice the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Says in a status what is known of a write: see `proto/spanwire/admin/v1/admin.proto`.
const OUTCOME_METADATA: &str = "spanwire-outcome";

/// An identity for a request, which nobody else has.
pub(crate) fn request_id() -> Vec<u8> {
    rand::random::<[u8; 16]>().to_vec()
}

/// What a failed attempt says of the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// The controller has decided.
    Decided,
    /// This attempt was not applied, and will not be.
    NotApplied,
    /// It may have been applied, or may yet be.
    Unknown,
}

fn attempt(status: &Status) -> Attempt {
    let outcome = status.metadata().get(OUTCOME_METADATA).map(|value| value.as_bytes());
    match (status.code(), outcome) {
        (_, Some(b"unknown")) => Attempt::Unknown,
        (Code::Unavailable, Some(b"not-applied")) => Attempt::NotApplied,
        (Code::Unavailable, _) => Attempt::Unknown,
        (Code::Unknown | Code::Cancelled, _)
            if status.message().is_empty() || is_transport(status) =>
        {
            Attempt::Unknown
        }
        _ => Attempt::Decided,
    }
}

/// Asks for a write that may be asked for several times, for at most `time` after it first got no answer.
///
/// # Errors
/// What the controller says; or, if it is not known what became of the write, why.
pub(crate) async fn write<R: Clone, T>(
    global: &Global,
    doing: &str,
    time: Duration,
    request: R,
    call: impl AsyncFn(Admin, R) -> Result<Response<T>, Status>,
) -> Result<T, Failure> {
    progress::during(doing, write_quietly(global, doing, time, request, call)).await
}

async fn write_quietly<R: Clone, T>(
    global: &Global,
    doing: &str,
    time: Duration,
    request: R,
    call: impl AsyncFn(Admin, R) -> Result<Response<T>, Status>,
) -> Result<T, Failure> {
    let endpoints = endpoints(global)?;
    let mut next = 0;
    // Set with the first attempt that may have been applied.
    let mut unknown_since: Option<Instant> = None;
    // Attempts that were not applied before that.
    let mut not_applied = 0;
    let mut pause = PAUSE_FIRST;
    loop {
        let failure = match connect_from(global, &endpoints, next).await {
            Ok((position, admin)) => {
                next = position + 1;
                let status = match call(admin, request.clone()).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) => status,
                };
                let failure = to_failure(doing, &status);
                match attempt(&status) {
                    Attempt::Decided => return Err(failure),
                    // One that stops, or waits to be added, does not speak for the others.
                    Attempt::NotApplied if unknown_since.is_none() => {
                        not_applied += 1;
                        if not_applied >= endpoints.len() {
                            return Err(failure);
                        }
                        continue;
                    }
                    Attempt::NotApplied | Attempt::Unknown => {
                        unknown_since.get_or_insert_with(Instant::now);
                        failure
                    }
                }
            }
            Err(failure) if unknown_since.is_none() => return Err(failure),
            Err(failure) => failure,
        };
        if unknown_since.is_some_and(|since| since.elapsed() + pause >= time) {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataValue;

    #[test]
    fn only_what_is_not_decided_is_tried_again() {
        let with = |code, outcome: &'static str| {
            let mut status = Status::new(code, "x");
            status.metadata_mut().insert(OUTCOME_METADATA, MetadataValue::from_static(outcome));
            status
        };
        let cases = [
            (with(Code::Unavailable, "unknown"), Attempt::Unknown),
            (with(Code::Unavailable, "not-applied"), Attempt::NotApplied),
            (with(Code::FailedPrecondition, "not-applied"), Attempt::Decided),
            (Status::unavailable("x"), Attempt::Unknown),
            (Status::unknown(""), Attempt::Unknown),
            (Status::cancelled(""), Attempt::Unknown),
            (Status::unknown("x"), Attempt::Decided),
            (Status::invalid_argument("x"), Attempt::Decided),
            (Status::from_error(Box::new(std::io::Error::other("broken"))), Attempt::Unknown),
        ];
        for (status, expected) in cases {
            assert_eq!(attempt(&status), expected, "{status:?}");
        }
    }
}
