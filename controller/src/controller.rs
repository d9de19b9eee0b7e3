//! Starting and stopping a controller.

use crate::api::{AdminService, HostService};
use crate::config::{Config, Limits};
use crate::consensus::RedbLog;
use crate::core::{Core, CoreChannel, CoreHandle, NoPeers, Replica, ReplicaConfig};
use crate::data_dir::{DataDir, Identity};
use crate::error::ControllerError;
use crate::limits::{DRAIN_WAIT, START_WAIT};
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::tasks::{spawn_health, spawn_server};
use crate::telemetry;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A controller: see [`Controller::start`].
#[derive(Debug)]
pub struct Controller;

impl Controller {
    /// Starts a controller on the present tokio runtime, and returns once it serves: the log is
    /// replayed, and its state includes everything that was ever acknowledged.
    ///
    /// # Errors
    /// If the data directory is in use or damaged, or an address cannot be listened on.
    pub async fn start(config: Config) -> Result<RunningController, ControllerError> {
        let Config { data_dir, listen, metrics_listen, limits } = config;
        let opened = tokio::task::spawn_blocking(move || DataDir::open(&data_dir)).await;
        let (data_dir, log) = opened.map_err(join_error)??;
        let identity = data_dir.identity();
        let listener = bind(listen, "listen").await?;
        let address = listener.local_addr().unwrap_or(listen);
        let metrics_listener = match metrics_listen {
            Some(address) => Some(bind(address, "metrics_listen").await?),
            None => None,
        };
        let (metrics, registry) = Metrics::new();
        let shared = Arc::new(Shared::new(identity, &limits, metrics));
        let stopped = CancellationToken::new();
        let (core, handle) = start_core(data_dir, log, shared.clone(), limits, &stopped).await?;
        let core = wait_current(core, &shared, &stopped).await?;
        let draining = CancellationToken::new();
        let tasks = TaskTracker::new();
        let admin = AdminService::new(handle.clone(), draining.clone());
        let host = HostService::new(handle.clone(), draining.clone(), tasks.clone());
        let (server, health) = spawn_server(listener, admin, host, draining.clone())?;
        spawn_health(shared.clone(), health, draining.clone());
        let metrics_address = match metrics_listener {
            Some(listener) => {
                let address = listener.local_addr().ok();
                crate::metrics_server::spawn(listener, registry, shared.clone(), draining.clone());
                address
            }
            None => None,
        };
        let revision = *shared.revision.borrow();
        telemetry::controller_serves(identity.cluster_id, address, revision);
        Ok(RunningController {
            identity,
            address,
            metrics_address,
            handle,
            core: Some(core),
            server,
            tasks,
            draining,
            stopped,
        })
    }
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, ControllerError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ControllerError::Listen { address, setting, source })
}

fn join_error(error: tokio::task::JoinError) -> ControllerError {
    ControllerError::Core(crate::core::CoreError::Panic(error.to_string()))
}

async fn start_core(
    data_dir: DataDir,
    log: RedbLog,
    shared: Arc<Shared>,
    limits: Limits,
    stopped: &CancellationToken,
) -> Result<(Core, CoreHandle), ControllerError> {
    let replica_id = data_dir.identity().replica_id;
    let opened = tokio::task::spawn_blocking({
        let shared = shared.clone();
        move || {
            let config = ReplicaConfig::new(replica_id, String::new(), limits);
            Replica::open(config, Arc::new(log), shared, Box::new(NoPeers))
        }
    });
    let replica = opened.await.map_err(join_error)??;
    // The data directory is ours until the core has stopped, not only until it was told to.
    Core::start(replica, CoreChannel::new(), shared, stopped.clone(), data_dir)
        .map_err(ControllerError::Thread)
}

/// Waits until the state includes the whole log.
async fn wait_current(
    core: Core,
    shared: &Arc<Shared>,
    stopped: &CancellationToken,
) -> Result<Core, ControllerError> {
    let mut standing = shared.standing.subscribe();
    let is_current = async { standing.wait_for(|standing| standing.is_current).await.is_ok() };
    tokio::select! {
        current = timeout(START_WAIT, is_current) => match current {
            Ok(true) => Ok(core),
            Ok(false) | Err(_) => {
                Err(ControllerError::NotCurrent { seconds: START_WAIT.as_secs() })
            }
        },
        () = stopped.cancelled() => {
            let failed = tokio::task::spawn_blocking(move || core.stop()).await;
            failed.map_err(join_error)??;
            Err(ControllerError::NotCurrent { seconds: 0 })
        }
    }
}

/// A controller that serves. Dropped without [`RunningController::shutdown`], it ends like a
/// process that is killed: nothing acknowledged is lost.
#[derive(Debug)]
pub struct RunningController {
    identity: Identity,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    handle: CoreHandle,
    core: Option<Core>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    tasks: TaskTracker,
    draining: CancellationToken,
    stopped: CancellationToken,
}

impl RunningController {
    /// Where clients and hosts reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its metrics are, if they are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Whose data it serves.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// What it shares with its tasks: for tests and benches in the same process.
    pub fn shared(&self) -> &Arc<Shared> {
        self.handle.shared()
    }

    /// Resolves when the controller has stopped by itself, which it does when its log fails. Then
    /// [`RunningController::shutdown`] says why.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Stops: takes no more calls, tells hosts to connect elsewhere, finishes what was asked for.
    ///
    /// # Errors
    /// Why the controller had stopped by itself before.
    pub async fn shutdown(mut self) -> Result<(), ControllerError> {
        telemetry::controller_stops();
        self.draining.cancel();
        self.tasks.close();
        // A host that does not take its last message does not hold up the others' controller.
        let drained = async {
            self.tasks.wait().await;
            (&mut self.server).await
        };
        let served = timeout(DRAIN_WAIT, drained).await;
        if served.is_err() {
            self.server.abort();
        }
        let core = self.core.take();
        let stopped = tokio::task::spawn_blocking(move || core.map_or(Ok(()), Core::stop)).await;
        stopped.map_err(join_error)??;
        match served {
            Ok(Ok(served)) => Ok(served?),
            // It was cut off, after a long enough wait or with its runtime.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

impl Drop for RunningController {
    fn drop(&mut self) {
        self.draining.cancel();
        self.server.abort();
    }
}
