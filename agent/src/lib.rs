//! The agent of a host: keeps the host's view on disk and makes the datapath do what it says.
//!
//! ```text
//!  controller ◄─gRPC─► session ◄──► worker ──► store (view.redb)
//!                         │            └─────► datapath (linux, record)
//!                         └─► status.json, metrics
//! ```
//!
//! At the start the view is read from disk and put into the datapath, before any controller is
//! asked (guarantee G9). From then on each step of the view is kept on disk, put into the datapath
//! in one step, and acknowledged, in this order. Without a controller the last view stays in force,
//! also after the agent was stopped; only [`Agent::remove_all`] takes it out.
//!
//! * [`Config`]: from a file and flags.
//! * [`datapath`]: the drivers.
//! * [`Status`]: what an agent says of itself.
//! * `session`, `worker`, `connection`, and `tasks`, where they are drawn.

pub mod backoff;
pub mod config;
mod connection;
pub mod datapath;
mod error;
mod events;
mod log;
mod metrics;
mod session;
pub mod shutdown;
mod state_dir;
mod status;
mod store;
mod tasks;
mod worker;

pub use config::{Config, ConfigLayer, DatapathKind, Timing};
pub use error::{AgentError, ConfigError, StoreError};
pub use metrics::METRICS_FILE;
pub use status::{Activity, STATUS_FILE, STATUS_LIST_MAX, Status, StatusRejection};
pub use store::STORE_FILE;

use datapath::Datapath;
use state_dir::StateDir;
use store::{Opened, Store};
use tokio_util::sync::CancellationToken;

/// The agent of a host.
#[derive(Debug)]
pub struct Agent;

impl Agent {
    /// Runs the agent until `shutdown` is cancelled. The datapath then goes on enforcing the last
    /// view, and the next start goes on from there.
    ///
    /// # Errors
    ///
    /// If the state directory cannot be used, or another agent has connected as the same host.
    /// Whatever else goes wrong is tried again, logged, and shown in the [`Status`].
    pub async fn run(
        config: Config,
        datapath: Box<dyn Datapath>,
        shutdown: CancellationToken,
    ) -> Result<(), AgentError> {
        let directory = StateDir::take(&config.state_dir)?;
        let Opened { store, held, set_aside } = Store::open(&directory, &config.host)?;
        let name = datapath.name();
        log::started(&config.host, name, &config.controllers);
        if let Some((aside, problem)) = &set_aside {
            log::store_set_aside(aside, problem);
        }
        match &held {
            Some(held) => log::held_view(held),
            None => log::nothing_held(),
        }
        let starts = directory.count_start()?;
        let worker = tasks::spawn_worker(store, datapath)?;
        session::Session::new(config, name, starts, held, worker).run(&shutdown).await
    }

    /// Takes everything out of the datapath that this agent, or an earlier run of it, has put
    /// there, and deletes the view: the host is then as if it had never been one of ours. The agent
    /// must not be running.
    pub fn remove_all(config: &Config, datapath: &mut dyn Datapath) -> Result<(), AgentError> {
        let directory = StateDir::take(&config.state_dir)?;
        datapath.remove_all()?;
        store::delete_store(&directory)?;
        log::removed(&config.host);
        Ok(())
    }
}
