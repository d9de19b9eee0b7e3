//! The host stream's service: Subscribe.

use super::host_streams::HostStreams;
use crate::core::CoreHandle;
use crate::limits::{HOST_LEADER_WAIT, STREAM_END_WAIT};
use crate::publisher::{ConnectError, serve_host};
use crate::telemetry;
use spanwire_hostproto::Hello;
use spanwire_hostproto::limits::HELLO_WAIT;
use spanwire_hostproto::message::{refused, refused_message};
use spanwire_hostproto::wire;
use spanwire_hostproto::wire::refused::Reason;
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

/// Messages on their way to one host: what it cannot take yet is not made yet.
const OUTBOUND_MESSAGES: usize = 1;

/// The host stream.
#[derive(Debug, Clone)]
pub struct HostService {
    core: CoreHandle,
    draining: CancellationToken,
    tasks: TaskTracker,
    streams: HostStreams,
}

impl HostService {
    /// The service over a core. Streams end when `draining` is cancelled; `tasks` knows them all.
    pub fn new(core: CoreHandle, draining: CancellationToken, tasks: TaskTracker) -> HostService {
        HostService { core, draining, tasks, streams: HostStreams::default() }
    }
}

type Outbound = mpsc::Sender<Result<wire::ControllerMessage, Status>>;

#[tonic::async_trait]
impl wire::host_stream_server::HostStream for HostService {
    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<wire::ControllerMessage, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<wire::HostMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        // Every transport that is served here knows its peer.
        let peer = request.remote_addr();
        let open = peer.map(|peer| self.streams.open(peer)).transpose()?;
        let (outbound, received) = mpsc::channel(OUTBOUND_MESSAGES);
        let service = self.clone();
        // The answer's head goes out at once; a host that says nothing holds up only itself.
        self.tasks.spawn(async move {
            let _open = open;
            let mut inbound = request.into_inner();
            if let Err(refusal) = service.serve(&mut inbound, &outbound).await {
                telemetry::host_refused(&refusal.detail);
                // Of no use to a host that is gone.
                let _ = outbound.send(Ok(refused_message(refusal))).await;
            }
            drop(outbound);
            let _ = timeout(STREAM_END_WAIT, discard(&mut inbound)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(received))))
    }
}

/// Reads on until the host has closed its half. Without this, a message of the host that crosses
/// our last one meets a closed stream, which is then reset, and our last message is lost.
async fn discard(inbound: &mut Streaming<wire::HostMessage>) {
    while let Some(Ok(_)) = inbound.next().await {}
}

impl HostService {
    /// A replica that may be behind others would leave a host in the past. While a leader is elected
    /// none of them can serve: a host that were sent from one to the next would wait longer each time.
    async fn wait_current(&self) -> Result<(), wire::Refused> {
        let mut standing = self.core.shared().standing.subscribe();
        let is_current = standing.wait_for(|standing| standing.is_current);
        let waited = tokio::select! {
            waited = timeout(HOST_LEADER_WAIT, is_current) => waited.is_ok_and(|w| w.is_ok()),
            () = self.draining.cancelled() => false,
        };
        if waited {
            return Ok(());
        }
        let standing = self.core.shared().standing.borrow();
        let problem =
            if standing.leader == 0 { "knows of no leader" } else { "has not caught up yet" };
        let detail = format!("replica {} {problem}: connect to another", standing.replica_id);
        Err(refused(Reason::Behind, detail))
    }

    /// Serves a host from its first message on. Errors are what to tell it last.
    async fn serve(
        &self,
        inbound: &mut Streaming<wire::HostMessage>,
        outbound: &Outbound,
    ) -> Result<(), wire::Refused> {
        let shared = self.core.shared().clone();
        shared.metrics.host_streams_opened.inc();
        let first = tokio::select! {
            first = timeout(HELLO_WAIT, inbound.next()) => first,
            () = self.draining.cancelled() => {
                return Err(refused(Reason::Draining, "the controller is stopping"));
            }
        };
        let first = match first {
            Ok(Some(Ok(first))) => first,
            Ok(Some(Err(status))) => {
                return Err(refused(Reason::Protocol, status.message().to_owned()));
            }
            Ok(None) => return Ok(()),
            Err(_) => {
                let detail = format!("no Hello came within {} s", HELLO_WAIT.as_secs());
                return Err(refused(Reason::Protocol, detail));
            }
        };
        let hello = Hello::from_first_message(first)?;
        self.wait_current().await?;
        let (host, instance, revision) = (hello.host.clone(), hello.instance, hello.revision);
        let connected = tokio::task::spawn_blocking({
            let shared = shared.clone();
            move || {
                let now_ms = crate::core::now_ms();
                shared.publisher.connect(&mut shared.state.write(), hello, now_ms)
            }
        });
        let connection = match connected.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                let reason = match &error {
                    ConnectError::UnknownHost(_) => Reason::UnknownHost,
                    ConnectError::Superseded => Reason::Superseded,
                };
                return Err(refused(reason, error.to_string()));
            }
            Err(error) => {
                telemetry::request_broke_off(&error);
                let detail = "the controller broke off: this is a defect, see its log";
                return Err(refused(Reason::Draining, detail));
            }
        };
        telemetry::host_connected(&host, instance, revision);
        serve_host(shared, connection, inbound, outbound.clone(), self.draining.clone()).await;
        telemetry::host_disconnected(&host, instance);
        Ok(())
    }
}
