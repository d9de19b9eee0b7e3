//! The host stream's service: Subscribe.

use super::host_streams::{HostStreams, OpenStream};
use crate::core::CoreHandle;
use crate::limits::{HOST_LEADER_WAIT, STREAM_END_WAIT};
use crate::publisher::{ConnectError, Serving};
use crate::telemetry;
use futures::stream::unfold;
use spanwire_hostproto::Hello;
use spanwire_hostproto::limits::HELLO_WAIT;
use spanwire_hostproto::message::{refused, refused_message};
use spanwire_hostproto::wire;
use spanwire_hostproto::wire::refused::Reason;
use std::pin::Pin;
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Request, Response, Status, Streaming};

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
        let subscription = Subscription {
            core: self.core.clone(),
            draining: self.draining.clone(),
            inbound: request.into_inner(),
            phase: Phase::New,
            open,
            token: self.tasks.token(),
        };
        // The answer's head goes out at once; a host that says nothing holds up only itself.
        let messages = unfold(subscription, |mut subscription| async move {
            match subscription.next_message().await {
                Some(message) => Some((Ok(message), subscription)),
                None => {
                    tokio::spawn(subscription.end());
                    None
                }
            }
        });
        Ok(Response::new(Box::pin(messages.fuse())))
    }
}

/// One host's stream, from its first message to the end.
struct Subscription {
    core: CoreHandle,
    draining: CancellationToken,
    inbound: Streaming<wire::HostMessage>,
    phase: Phase,
    open: Option<OpenStream>,
    token: TaskTrackerToken,
}

enum Phase {
    /// The host has not said hello yet.
    New,
    Served(Serving),
    /// The last message was handed out.
    Ended,
}

impl Subscription {
    /// The next message to the host; `None` at the end.
    async fn next_message(&mut self) -> Option<wire::ControllerMessage> {
        loop {
            match &mut self.phase {
                Phase::New => match self.connect().await {
                    Ok(Some(serving)) => self.phase = Phase::Served(serving),
                    Ok(None) => self.phase = Phase::Ended,
                    Err(refusal) => {
                        telemetry::host_refused(&refusal.detail);
                        self.phase = Phase::Ended;
                        return Some(refused_message(refusal));
                    }
                },
                Phase::Served(serving) => match serving.next_message(&mut self.inbound).await {
                    Some(message) => return Some(message),
                    None => self.phase = Phase::Ended,
                },
                Phase::Ended => return None,
            }
        }
    }

    /// Reads on until the host has closed its half. Without this, a message of the host that crosses our
    /// last one meets a closed stream, which is then reset, and our last message is lost.
    async fn end(self) {
        let Subscription { mut inbound, open: _open, token: _token, .. } = self;
        let discard = async { while let Some(Ok(_)) = inbound.next().await {} };
        let _ = timeout(STREAM_END_WAIT, discard).await;
    }

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

    /// Takes the host's first message. `None` if it went away before it said anything; errors are what to
    /// tell it last.
    async fn connect(&mut self) -> Result<Option<Serving>, wire::Refused> {
        let shared = self.core.shared().clone();
        shared.metrics.host_streams_opened.inc();
        let first = tokio::select! {
            first = timeout(HELLO_WAIT, self.inbound.next()) => first,
            () = self.draining.cancelled() => {
                return Err(refused(Reason::Draining, "the controller is stopping"));
            }
        };
        let first = match first {
            Ok(Some(Ok(first))) => first,
            Ok(Some(Err(status))) => {
                return Err(refused(Reason::Protocol, status.message().to_owned()));
            }
            Ok(None) => return Ok(None),
            Err(_) => {
                let detail = format!("no Hello came within {} s", HELLO_WAIT.as_secs());
                return Err(refused(Reason::Protocol, detail));
            }
        };
        let hello = Hello::from_first_message(first)?;
        self.wait_current().await?;
        let (host, instance, revision) = (hello.host.clone(), hello.instance, hello.revision);
        let draining = self.draining.clone();
        let connected = tokio::task::spawn_blocking(move || {
            let now_ms = crate::core::now_ms();
            let connection = shared.publisher.connect(&mut shared.state.write(), hello, now_ms)?;
            // Made here, so that it takes the end of the connection if nobody waits for it any more.
            Ok(Serving::new(shared, connection, &draining))
        });
        let serving = match connected.await {
            Ok(Ok(serving)) => serving,
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
        Ok(Some(serving))
    }
}
