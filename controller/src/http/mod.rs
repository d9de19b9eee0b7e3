//! HTTP/2: the connections over which everything comes that is said to a controller.
//!
//! ```text
//!  listener ─► serve ─► a task a connection: h2 ─┬─ Subscribe ─► host_stream, in the same task
//!                                                └─ any other call ─► call, a task ─► Routes (tonic)
//! ```
//!
//! What an update costs is mostly what carries it: thousands of hosts have a connection each, none of
//! which is in the processor's caches when its turn comes. tonic's server hands each message from the
//! stream's task to the connection's and back. Here a host's stream is part of its connection, and one
//! turn of one task makes a message and writes it to the socket. The protocol itself is the h2 crate's, which
//! is what tonic's server stands on; gRPC of all other calls is tonic's.

mod call;
mod connection;
mod host_stream;
mod send;
mod signal;

use crate::api::HostService;
use crate::limits::{ACCEPT_RETRY_WAIT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES};
use crate::telemetry;
use signal::Signals;
use std::io::ErrorKind;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

/// Who answers.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    /// The host stream; without it, it is one of the routes.
    pub(crate) hosts: Option<HostService>,
    /// Everything else.
    pub(crate) routes: Routes,
}

/// Serves until `draining` is cancelled; then nobody can connect any more, connections take no more
/// calls, and it ends when those are answered that were there. Dropped, it cuts off all connections.
pub(crate) async fn serve(listener: TcpListener, services: Services, draining: CancellationToken) {
    let mut incoming = mk_incoming(listener);
    let signals = Signals::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = draining.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = incoming.next() => accepted,
        };
        match accepted {
            Some(Ok(socket)) => {
                connections.spawn(connection::run(socket, services.clone(), signals.add()));
            }
            // It was gone before it was accepted.
            Some(Err(error)) if error.kind() == ErrorKind::ConnectionAborted => {}
            Some(Err(error)) => {
                telemetry::accept_failed(&error);
                // If there are no more files to be had, there are none for a while.
                tokio::time::sleep(ACCEPT_RETRY_WAIT).await;
            }
            None => break,
        }
    }
    // The port is free for the next controller.
    drop(incoming);
    signals.drain();
    while connections.join_next().await.is_some() {}
}

fn mk_incoming(listener: TcpListener) -> TcpIncoming {
    // Without TCP_NODELAY the handshakes of thousands of streams wait for each other's packets.
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        // A host that lost its power is noticed; for one that is merely slow its kernel answers. No pings of
        // HTTP/2: an agent that is stopped does not answer them, and is not gone.
        .with_keepalive(Some(KEEPALIVE_IDLE))
        .with_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .with_keepalive_retries(Some(KEEPALIVE_RETRIES))
}
