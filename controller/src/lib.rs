//! Spanwire's controller: the replicated state of the network, and the streams that keep hosts
//! current with it.
//!
//! ```text
//!  Admin API ─► CoreHandle ─► core thread: Node ─► LogStore (synced) ─► Engine::apply
//!                                                                         │ Changes
//!                                              history ◄──────────────────┼──► publisher
//!                                                 │                       ▼       │
//!                                              watches                 readers sessions ─► hosts
//! ```
//!
//! * [`Controller`], [`Config`]: how to run one. Everything else is what it is made of.
//! * [`consensus`]: the log, and the order in which things are written.
//! * [`state`]: what is in the log, and what becomes of it.
//! * [`core`]: the one thread that changes the network.
//! * [`peer`]: what replicas say to each other, and how it gets there.
//! * [`publisher`]: from changes to the streams of the hosts.
//! * [`history`]: from changes to watches.
//! * [`recovery`]: a data directory out of a backup, or out of a survivor's.
//! * [`past`]: states as they were, made again from the log.
//! * [`api`]: the services.
//! * `http`: the connections that they are called over.
//! * [`balance`]: which replica serves which hosts.
//! * [`host_checks`]: when what hosts hold is checked.
//! * [`tasks`]: every thread, task and channel, in one picture.

pub mod api;
pub mod balance;
pub mod config;
pub mod consensus;
mod controller;
pub mod core;
pub mod data_dir;
pub mod error;
pub mod history;
pub mod host_checks;
mod http;
pub mod limits;
pub mod metrics;
mod metrics_server;
pub mod past;
pub mod peer;
pub mod planted;
pub mod publisher;
pub mod recovery;
pub mod shared;
pub mod state;
pub mod tasks;
mod telemetry;

pub use config::{Config, ConfigError};
pub use controller::{Controller, PreparedController, RunningController};
pub use error::ControllerError;
