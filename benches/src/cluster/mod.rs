//! Real processes on this machine: controllers of one cluster, members of etcd; and what clients and
//! hosts do with them, as tasks of this process.
//!
//! ```text
//!  this process                            processes, each with a directory on a disk
//!
//!  clients (load) ──────── gRPC ─────────► spanwire controller   x 3
//!  hosts ◄──────────────── gRPC ─────────► spanwire controller   x 3
//!  clients (load) ──────── gRPC ─────────► etcd                  x 3
//!  hosts ◄──────────────── gRPC ─────────► spanwire-benches broadcast
//!  sockets ◄────────────── TCP ──────────► spanwire-benches raw-fan-out
//! ```
//!
//! Everything listens on loopback. Processes are ended by the identifiers that they were started with, also
//! when a scenario fails.

mod admin;
mod broadcast;
mod controllers;
mod directory;
mod etcd;
mod files;
mod hosts;
mod load;
mod process;
mod raw;
mod saved;
mod scenarios;
mod stream;

pub(crate) use admin::{Client, Numbered, Writer, connect, mk_apply};
pub(crate) use broadcast::{Broadcast, serve as serve_broadcasts};
pub(crate) use controllers::Controllers;
pub(crate) use directory::Directory;
pub(crate) use etcd::{Etcd, OnEvent, PutClient, Watchers};
pub(crate) use files::allow_sockets;
pub(crate) use hosts::{Fleet, Host, follow_as, wait_welcome};
pub(crate) use load::{Measured, OpenLoop, Write, close_loop, latencies, open_loop};
pub(crate) use process::{Process, spanwire};
pub(crate) use raw::{RawFanOut, serve as serve_raw};
pub(crate) use saved::save_metro;
pub(crate) use scenarios::run;

use clap::Args;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long anything may take before a scenario gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// What all scenarios with processes are told.
#[derive(Args)]
pub(crate) struct ClusterOptions {
    /// The `spanwire` binary [default: the one next to this program].
    #[arg(long, value_name = "FILE")]
    pub(crate) spanwire: Option<PathBuf>,
    /// Where data directories are made and removed again: on a disk [default: the build directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Runs a scenario on a runtime of its own. A signal to stop ends it, and everything that it started.
pub(crate) fn block_on<T>(scenario: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime does not start: {error}"))?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        tokio::select! {
            result = scenario => result,
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
            _ = terminated.recv() => Err("told to stop".to_owned()),
        }
    })
}

/// Waits for something, for [`PATIENCE`] at most.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.map_err(|_| format!("{what}: not within {} s", PATIENCE.as_secs()))
}
