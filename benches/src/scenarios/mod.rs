//! The scenarios: a workload, what is done with it, and what is measured.

mod bytes;
mod change;
mod cut;
mod link;
mod load;
mod loaded;
#[cfg(feature = "controller")]
mod metro_from_snapshot;
mod questions;
#[cfg(feature = "controller")]
mod saved;
mod sessions;
pub(crate) mod targets;
mod told;

pub(crate) use bytes::run as bytes;
pub(crate) use change::{STEPS, mk_steps, run as change};
pub(crate) use cut::run as cut;
pub(crate) use link::run as link;
pub(crate) use load::run as load;
pub(crate) use loaded::Loaded;
#[cfg(feature = "controller")]
pub(crate) use metro_from_snapshot::run as metro_from_snapshot;
pub(crate) use questions::run as questions;
pub(crate) use sessions::run as sessions;
