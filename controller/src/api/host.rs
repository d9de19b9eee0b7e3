//! The host stream's service: Subscribe.

use crate::core::CoreHandle;
use crate::limits::{HOST_LEADER_WAIT, STREAM_END_WAIT};
use crate::publisher::{ConnectError, Serving};
use crate::telemetry;
use spanwire_hostproto::Hello;
use spanwire_hostproto::limits::HELLO_WAIT;
use spanwire_hostproto::message::{refused, refused_message};
use spanwire_hostproto::wire;
use spanwire_hostproto::wire::host_stream_server::SERVICE_NAME;
use spanwire_hostproto::wire::refused::Reason;
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use tonic::server::NamedService;

/// The host stream.
#[derive(Debug, Clone)]
pub struct HostService {
    core: CoreHandle,
    draining: CancellationToken,
    tasks: TaskTracker,
}

impl HostService {
    /// The service over a core. Streams end when `draining` is cancelled; `tasks` knows them all.
    pub fn new(core: CoreHandle, draining: CancellationToken, tasks: TaskTracker) -> HostService {
        HostService { core, draining, tasks }
    }

    /// Takes a stream, with what the host says.
    pub fn subscribe<S>(&self, inbound: S) -> Subscription<S>
    where
        S: Stream<Item = Result<wire::HostMessage, Status>> + Unpin,
    {
        let (core, draining) = (self.core.clone(), self.draining.clone());
        Subscription { core, draining, inbound, phase: Phase::New, _token: self.tasks.token() }
    }
}

impl NamedService for HostService {
    const NAME: &'static str = SERVICE_NAME;
}

/// One host's stream, from its first message to the end.
#[derive(Debug)]
pub struct Subscription<S> {
    core: CoreHandle,
    draining: CancellationToken,
    inbound: S,
    phase: Phase,
    _token: TaskTrackerToken,
}

#[derive(Debug)]
enum Phase {
    /// The host has not said hello yet.
    New,
    Served(Serving),
    /// The last message was handed out.
    Ended,
}

impl<S> Subscription<S>
where
    S: Stream<Item = Result<wire::HostMessage, Status>> + Unpin,
{
    /// The next message to the host; `None` at the end. There is no task of its own: whoever writes to the
    /// host's connection asks for the next message when there is room for one.
    pub async fn next_message(&mut self) -> Option<wire::ControllerMessage> {
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
    pub async fn end(self) {
        let Subscription { mut inbound, _token, .. } = self;
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
