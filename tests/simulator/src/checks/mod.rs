//! What must hold after every step, each in a file of its own with its source.

mod durable;
mod election_safety;
mod exactly_once;
mod forward_only;
mod leader_append_only;
mod leader_completeness;
mod left_behind;
mod linearizability;
mod log_matching;
mod realized;
mod reference;
mod repairs;
mod resume;
mod slow_hosts;
mod state_machine_safety;
mod views;
mod votes;

pub use durable::Durable;
pub use election_safety::ElectionSafety;
pub use exactly_once::ExactlyOnce;
pub use forward_only::ForwardOnly;
pub use leader_append_only::LeaderAppendOnly;
pub use leader_completeness::LeaderCompleteness;
pub use left_behind::LeftBehind;
pub use linearizability::{Linearizability, Operation};
pub use log_matching::LogMatching;
pub use realized::check_realized;
pub use reference::{Reference, digest};
pub use repairs::check_repair;
pub use resume::Resume;
pub use slow_hosts::check_slow_hosts;
pub use state_machine_safety::StateMachineSafety;
pub use views::{check_oracle, check_view};
pub use votes::Votes;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is violated.
    pub check: &'static str,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

impl std::error::Error for Finding {}

/// A violation of a check.
pub fn finding(check: &'static str, what: impl Into<String>) -> Finding {
    Finding { check, what: what.into() }
}
