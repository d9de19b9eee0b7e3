//! Starting and stopping a controller.

use crate::api::{AdminService, HostService};
use crate::config::Config;
use crate::consensus::{RedbLog, Role};
use crate::core::{Core, CoreChannel, CoreHandle, Replica, ReplicaConfig};
use crate::data_dir::{DataDir, EmptyDataDir, Identity, Taken};
use crate::error::ControllerError;
use crate::limits::{DRAIN_WAIT, HAND_OVER_RETRY, HAND_OVER_WAIT, START_WAIT};
use crate::metrics::Metrics;
use crate::peer::{Links, PeerService, WaitingService};
use crate::shared::{Shared, Standing};
use crate::state::check_address;
use crate::tasks::{spawn_health, spawn_server, spawn_waiting_server};
use crate::telemetry;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How often a controller that stops looks whether callers still wait.
const ANSWERED_POLL: Duration = Duration::from_millis(20);
/// How often in a row none may wait before they are taken to have their answers: a call may be on its
/// way from its connection to the core.
const ANSWERED_LOOKS: usize = 3;

/// A controller: see [`Controller::start`].
#[derive(Debug)]
pub struct Controller;

impl Controller {
    /// Starts a controller on the present tokio runtime. Alone in its cluster, it returns once it
    /// serves: the log is replayed, and its state includes everything that was ever acknowledged. One
    /// of several returns once it can be reached, for it needs the others to know that
    /// ([`RunningController::wait_current`]). One that waits to be added to a cluster returns when it
    /// was.
    ///
    /// # Errors
    /// If the data directory is in use or damaged, or an address cannot be listened on.
    pub async fn start(config: Config) -> Result<RunningController, ControllerError> {
        Controller::prepare(config).await?.serve().await
    }

    /// Takes the data directory and the addresses of a controller, which then can be reached.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn prepare(config: Config) -> Result<PreparedController, ControllerError> {
        let data_dir = config.data_dir.clone();
        let taken = spawn_blocking(move || DataDir::take(&data_dir)).await;
        let taken = taken.map_err(join_error)??;
        if let Some(advertise) = &config.advertise {
            check_address(advertise).map_err(|problem| ControllerError::Advertise { problem })?;
        }
        let listener = bind(config.listen, "listen").await?;
        let address = listener.local_addr().unwrap_or(config.listen);
        let metrics_listener = match config.metrics_listen {
            Some(address) => Some(bind(address, "metrics_listen").await?),
            None => None,
        };
        Ok(PreparedController { config, taken, listener, address, metrics_listener })
    }
}

/// A controller that is yet to serve.
#[derive(Debug)]
pub struct PreparedController {
    config: Config,
    taken: Taken,
    listener: TcpListener,
    address: SocketAddr,
    metrics_listener: Option<TcpListener>,
}

impl PreparedController {
    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where other replicas reach it; `None` if that is not known, because it listens on all
    /// addresses.
    fn advertised(&self) -> Option<String> {
        let is_any = self.address.ip().is_unspecified();
        self.config.advertise.clone().or_else(|| (!is_any).then(|| self.address.to_string()))
    }

    /// Serves. With [`Config::join`] and an empty data directory it waits first until it is added to a
    /// cluster.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn serve(self) -> Result<RunningController, ControllerError> {
        let advertised = self.advertised().unwrap_or_default();
        let PreparedController { config, taken, listener, address, metrics_listener } = self;
        let (data_dir, log) = match taken {
            Taken::Owned(data_dir, log) => (data_dir, log),
            Taken::Empty(empty) if config.join => {
                let copy = copy_listener(&listener, address)?;
                wait_admitted(empty, copy, address).await?
            }
            Taken::Empty(empty) => spawn_blocking(|| empty.found()).await.map_err(join_error)??,
        };
        let identity = data_dir.identity();
        let (metrics, registry) = Metrics::new();
        let shared = Arc::new(Shared::new(identity, &config.limits, metrics));
        let stopped = CancellationToken::new();
        let channel = CoreChannel::new();
        let closing = CancellationToken::new();
        let (id, limits) = (identity.replica_id, config.limits);
        let replica_config = ReplicaConfig::new(id, advertised.clone(), limits);
        let links = Links::new(identity, advertised, channel.commands(), shared.clone());
        let transport = Box::new(links.clone());
        let peer = PeerService::new(
            identity,
            shared.clone(),
            channel.commands(),
            links.clone(),
            closing.clone(),
        );
        let opened = spawn_blocking({
            let shared = shared.clone();
            move || Replica::open(replica_config, Arc::new(log), shared, transport)
        });
        let replica = opened.await.map_err(join_error)??;
        let is_alone = replica.node().is_sole_voter();
        // The data directory is ours until the core has stopped, not only until it was told to.
        let (core, handle) =
            Core::start(replica, channel, shared.clone(), stopped.clone(), data_dir)
                .map_err(ControllerError::Thread)?;
        let draining = CancellationToken::new();
        let tasks = TaskTracker::new();
        let admin = AdminService::new(handle.clone(), draining.clone());
        let host = HostService::new(handle.clone(), draining.clone(), tasks.clone());
        let (server, health) = spawn_server(listener, admin, host, peer, draining.clone())?;
        spawn_health(shared.clone(), health, draining.clone());
        tokio::spawn(crate::publisher::drain(shared.clone(), draining.clone()));
        tokio::spawn(crate::balance::run(handle.clone(), draining.clone()));
        if let Some(interval) = NonZeroU64::new(config.host_check_seconds) {
            tokio::spawn(crate::host_checks::run(shared.clone(), interval, draining.clone()));
        }
        let metrics_address = match metrics_listener {
            Some(listener) => {
                let address = listener.local_addr().ok();
                crate::metrics_server::spawn(listener, registry, shared.clone(), draining.clone());
                address
            }
            None => None,
        };
        let controller = RunningController {
            identity,
            address,
            metrics_address,
            handle,
            core: Some(core),
            server,
            tasks,
            draining,
            closing,
            links,
            stopped,
        };
        if is_alone && let Err(error) = controller.wait_alone().await {
            // What the core stopped for says more.
            controller.shutdown().await?;
            return Err(error);
        }
        let revision = *shared.revision.borrow();
        telemetry::controller_serves(identity.cluster_id, address, revision);
        Ok(controller)
    }
}

/// Waits until somebody says which replica of which cluster this is, and writes that.
async fn wait_admitted(
    empty: EmptyDataDir,
    listener: TcpListener,
    address: SocketAddr,
) -> Result<(DataDir, RedbLog), ControllerError> {
    let (admissions, mut received) = mpsc::channel(1);
    let admitted = CancellationToken::new();
    let server =
        spawn_waiting_server(listener, WaitingService::new(admissions), admitted.clone()).await?;
    let mut server = AbortOnDropHandle::new(server);
    telemetry::waits_to_be_added(address);
    let (identity, reply) = tokio::select! {
        Some(admission) = received.recv() => admission,
        ended = &mut server => {
            ended.map_err(join_error)?;
            return Err(ControllerError::NotCurrent { seconds: 0 });
        }
    };
    let written = spawn_blocking(move || empty.admit(identity)).await.map_err(join_error)?;
    let answer = written.as_ref().map(|_| ()).map_err(ToString::to_string);
    // Whoever is gone asks again, and is told by the replica then.
    let _ = reply.send(answer);
    drop(received);
    admitted.cancel();
    // A connection that stays open must not hold up the replica.
    let _ = timeout(DRAIN_WAIT, &mut server).await;
    let owned = written?;
    telemetry::admitted(identity.cluster_id, identity.replica_id);
    Ok(owned)
}

/// A second listener on the same socket: connections come to either.
fn copy_listener(
    listener: &TcpListener,
    address: SocketAddr,
) -> Result<TcpListener, ControllerError> {
    use std::os::fd::AsFd as _;
    let copy = || {
        let copy = listener.as_fd().try_clone_to_owned()?;
        TcpListener::from_std(std::net::TcpListener::from(copy))
    };
    copy().map_err(|source| ControllerError::Listen { address, setting: "listen", source })
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, ControllerError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ControllerError::Listen { address, setting, source })
}

fn join_error(error: tokio::task::JoinError) -> ControllerError {
    ControllerError::Core(crate::core::CoreError::Panic(error.to_string()))
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
    server: JoinHandle<()>,
    tasks: TaskTracker,
    /// Hosts and watches are to end.
    draining: CancellationToken,
    /// The streams of other replicas are to end.
    closing: CancellationToken,
    links: Links,
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

    /// Asks its core: for tests and benches in the same process.
    pub fn core(&self) -> &CoreHandle {
        &self.handle
    }

    /// Waits until it can serve: it knows of a leader, and its state was current since it started.
    ///
    /// # Errors
    /// If it stops before, or that takes very long.
    pub async fn wait_current(&self) -> Result<(), ControllerError> {
        self.wait_standing(|standing| standing.is_current).await
    }

    /// Waits until it is current, or turns out to have others to wait for: what its log has says so.
    async fn wait_alone(&self) -> Result<(), ControllerError> {
        let is_one_of_several = |standing: &Standing| {
            let voters = &standing.membership.conf_state.voters;
            !voters.is_empty() && voters[..] != [standing.replica_id]
        };
        self.wait_standing(|standing| standing.is_current || is_one_of_several(standing)).await
    }

    async fn wait_standing(
        &self,
        condition: impl FnMut(&Standing) -> bool,
    ) -> Result<(), ControllerError> {
        let mut standing = self.shared().standing.subscribe();
        tokio::select! {
            reached = timeout(START_WAIT, standing.wait_for(condition)) => match reached {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) | Err(_) => {
                    Err(ControllerError::NotCurrent { seconds: START_WAIT.as_secs() })
                }
            },
            () = self.stopped.cancelled() => Err(ControllerError::NotCurrent { seconds: 0 }),
        }
    }

    /// Resolves when the controller has stopped by itself, which it does when its log fails, or it was
    /// removed from its cluster. Then
    /// [`RunningController::shutdown`] says why.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Lets another replica lead, if this one does.
    async fn hand_over(&self) {
        let own = self.identity.replica_id;
        let mut standing = self.shared().standing.subscribe();
        if standing.borrow().role != Role::Leader {
            return;
        }
        let deadline = Instant::now() + HAND_OVER_WAIT;
        while Instant::now() < deadline {
            // While it is handed over, none leads.
            if let Some(to) = self.handle.hand_over().await {
                telemetry::hands_over(to);
            } else if standing.borrow().leader == own {
                return;
            }
            let other_leads = |standing: &Standing| standing.leader != 0 && standing.leader != own;
            if timeout(HAND_OVER_RETRY, standing.wait_for(other_leads)).await.is_ok() {
                return;
            }
        }
    }

    /// Waits until nobody waits for an answer of the core.
    async fn wait_answered(&self) {
        let mut looks = 0;
        while looks < ANSWERED_LOOKS {
            match self.handle.status().await {
                Some(status) if status.waiting > 0 => looks = 0,
                Some(_) => looks += 1,
                None => return,
            }
            sleep(ANSWERED_POLL).await;
        }
    }

    /// Stops: lets another replica lead, takes no more calls, tells hosts to connect elsewhere,
    /// finishes what was asked for.
    ///
    /// # Errors
    /// Why the controller had stopped by itself before.
    pub async fn shutdown(mut self) -> Result<(), ControllerError> {
        telemetry::controller_stops();
        self.hand_over().await;
        self.draining.cancel();
        self.tasks.close();
        // A host that does not take its last message does not hold up the others' controller.
        let drained = async {
            self.tasks.wait().await;
            // The others are needed until then.
            self.wait_answered().await;
            self.closing.cancel();
            (&mut self.server).await
        };
        let served = timeout(DRAIN_WAIT, drained).await;
        self.closing.cancel();
        if served.is_err() {
            self.server.abort();
        }
        let core = self.core.take();
        let stopped = spawn_blocking(move || core.map_or(Ok(()), Core::stop)).await;
        stopped.map_err(join_error)??;
        // Streams that did not end in time were cut off.
        Ok(())
    }
}

impl Drop for RunningController {
    fn drop(&mut self) {
        self.draining.cancel();
        self.closing.cancel();
        self.server.abort();
        self.links.close();
        // Whatever is left holds its channel open.
        self.stopped.cancel();
    }
}
