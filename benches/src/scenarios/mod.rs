//! The scenarios: a workload, what is done with it, and what is measured.

mod change;
mod cut;
mod link;
mod load;
mod loaded;
mod metro;
mod questions;

pub(crate) use change::{STEPS, mk_steps, run as change};
pub(crate) use cut::run as cut;
pub(crate) use link::run as link;
pub(crate) use load::run as load;
pub(crate) use loaded::Loaded;
pub(crate) use metro::{run as metro, run_from_snapshot as metro_from_snapshot};
pub(crate) use questions::run as questions;
