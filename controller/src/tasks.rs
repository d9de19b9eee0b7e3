//! Every thread, task and channel of a controller.
//!
//! ```text
//!                      ┌───────────── tokio runtime ─────────────┐
//!  clients ── gRPC ──► │ AdminService: a task a call             │
//!                      │   reads: blocking threads ── state, read├──┐
//!                      │   dry runs: DRY_RUNS_MAX ── state, write├──┤
//!                      │   the past: PAST_REBUILDS_MAX ── log, a │  │
//!                      │     state of its own, PAST_STATE_KEPT   │  │
//!                      │   Apply, Delete ── CoreHandle::propose ─├──┼─► commands
//!                      │   Watch: a task each, WATCHES_MAX       │  │      │
//!                      │     history ► events ► stream           │  │      ▼
//!                      │   WaitRealized: a task each, WAITS_MAX  │  │  spanwire-core (1 thread)
//!                      │     progress ► message ► stream         │  │    Raft node, log
//!                      │                                         │  │      │ applies
//!  hosts ─── gRPC ───► │ http: a task a connection, which makes  │  ▼      ▼
//!                      │   its host's messages and writes them   │  Shared { state, history,
//!                      │   woken by Notify; no queue             │           publisher }
//!                      │   balance: lets hosts go                │         │ the log grew
//!                      │   host_checks: asks sessions for checks │         │
//!  replicas ─ gRPC ──► │ PeerService: a task a stream ───────────├──► commands
//!  replicas ◄─ gRPC ── │ Links: two tasks a replica ◄────────────├─── spanwire-core
//!                      └─────────────────────────────────────────┘         │
//!                                                                          ▼
//!                                                            spanwire-snapshot (1 thread, at times)
//! ```
//!
//! | Channel | Capacity | When full |
//! |---|---|---|
//! | commands (sync channel), of callers | `PROPOSALS_MAX` + 1; `PROPOSALS_BYTES_MAX` | callers wait, then UNAVAILABLE |
//! | commands, of other replicas | `PEER_MESSAGES_MAX`; `PEER_MESSAGES_BYTES_MAX` | their streams are not read |
//! | messages to a replica (two mpsc) | `PEER_QUEUE_MESSAGES_MAX`; `PEER_QUEUE_BYTES_MAX` | dropped: the core sends anew |
//! | admissions (mpsc), while it waits to be added | 1 | UNAVAILABLE |
//! | outcome (oneshot) | 1 | - |
//! | revision, standing, progress (watch) | the newest | older values are not needed |
//! | events of a watch (mpsc) | `WATCH_CHANNEL_EVENTS` | it waits; passed by history, it ends |
//! | progress of a wait (mpsc) | 1 | it waits, and tells the newest then |
//! | messages to a host (HTTP/2) | the window, and 1 | the session coalesces what changes |
//! | wake of a session (notify) | 1 | nothing is lost: it is a flag |

use crate::api::{AdminService, HostService, NotYet};
use crate::error::ControllerError;
use crate::http::{Services, serve};
use crate::limits::{ADMIN_REQUEST_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use crate::peer::{PeerService, WaitingService};
use crate::shared::Shared;
use crate::state::PEER_DESCRIPTOR_SET;
use crate::state::wire::peer_server::PeerServer;
use spanwire_adminproto::wire::admin_server::AdminServer;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

/// Starts the gRPC server on a listener. It stops when `draining` is cancelled and its streams have
/// ended.
pub(crate) fn spawn_server(
    listener: TcpListener,
    admin: AdminService,
    hosts: HostService,
    peer: PeerService,
    draining: CancellationToken,
) -> Result<(JoinHandle<()>, HealthReporter), ControllerError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let admin = AdminServer::new(admin).max_decoding_message_size(ADMIN_REQUEST_BYTES_MAX);
    let peer = PeerServer::new(peer).max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let routes = Routes::new(health_service)
        .add_service(mk_reflection()?)
        .add_service(admin)
        .add_service(peer)
        .prepare();
    let services = Services { hosts: Some(hosts), routes };
    Ok((tokio::spawn(serve(listener, services, draining)), health))
}

/// Starts the gRPC server of a controller that waits to be added to a cluster. It stops when
/// `admitted` is cancelled and its answers are given.
pub(crate) async fn spawn_waiting_server(
    listener: TcpListener,
    peer: WaitingService,
    admitted: CancellationToken,
) -> Result<JoinHandle<()>, ControllerError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_not_serving::<AdminServer<AdminService>>().await;
    health.set_not_serving::<HostService>().await;
    let routes = Routes::new(health_service)
        .add_service(mk_reflection()?)
        .add_service(NotYet::<AdminServer<AdminService>>::new())
        .add_service(NotYet::<HostService>::new())
        .add_service(PeerServer::new(peer))
        .prepare();
    Ok(tokio::spawn(serve(listener, Services { hosts: None, routes }, admitted)))
}

fn mk_reflection() -> Result<ServerReflectionServer<impl ServerReflection>, ControllerError> {
    Ok(tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(spanwire_adminproto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(spanwire_hostproto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(PEER_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?)
}

/// Says through the health service whether the replica serves, as it changes.
pub(crate) fn spawn_health(
    shared: Arc<Shared>,
    health: HealthReporter,
    draining: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut standing = shared.standing.subscribe();
        loop {
            let serves = standing.borrow_and_update().is_current && !draining.is_cancelled();
            if serves {
                health.set_serving::<AdminServer<AdminService>>().await;
                health.set_serving::<HostService>().await;
            } else {
                health.set_not_serving::<AdminServer<AdminService>>().await;
                health.set_not_serving::<HostService>().await;
            }
            if draining.is_cancelled() {
                return;
            }
            tokio::select! {
                changed = standing.changed() => if changed.is_err() { return },
                () = draining.cancelled() => {}
            }
        }
    })
}
