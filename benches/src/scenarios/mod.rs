//! The scenarios.

pub(crate) mod compute;
pub(crate) mod compute_one;
mod engine_run;
