//! The scenarios: a workload, what is done with it, and what is measured.

mod bytes;
mod change;
mod cut;
mod failover;
mod lag;
mod link;
mod load;
mod loaded;
mod metro;
mod questions;
mod restart;
mod sessions;
mod streams;
mod targets;
mod told;
mod transfer;
mod writes;

pub(crate) use bytes::run as bytes;
pub(crate) use change::{STEPS, mk_steps, run as change};
pub(crate) use cut::run as cut;
pub(crate) use failover::run as failover;
pub(crate) use lag::run as lag;
pub(crate) use link::run as link;
pub(crate) use load::run as load;
pub(crate) use loaded::Loaded;
pub(crate) use metro::{run as metro, run_from_snapshot as metro_from_snapshot};
pub(crate) use questions::run as questions;
pub(crate) use restart::run as restart;
pub(crate) use sessions::run as sessions;
pub(crate) use streams::{Network, churn, fanout, idle, reconnect, storm, trickle};
pub(crate) use transfer::run as transfer;
pub(crate) use writes::run as writes;
