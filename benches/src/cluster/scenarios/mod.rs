//! The scenarios with processes in them: what is done with a cluster, and what is measured.

mod failover;
mod lag;
mod restart;
mod run;
mod streams;
mod transfer;
mod writes;

pub(crate) use run::run;
