//! One connected host: its session, and what moves messages between session and stream.

use super::convergence::Convergence;
use super::{Publisher, SessionGuard};
use crate::planted::{self, Bug};
use crate::shared::Shared;
use crate::telemetry;
use parking_lot::Mutex;
use prost::Message as _;
use spanwire_hostproto::{
    CheckReport, ControllerSession, EngineSource, Hello, SessionEvent, SessionStatus, wire,
};
use spanwire_topology::Engine;
use spanwire_topology::engine::HostId;
use spanwire_topology::model::{Revision, Text};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What a host is told by a controller that stops.
const STOPPING: &str = "the controller is stopping";

/// A connected host.
#[derive(Debug)]
pub struct Connection {
    host: HostId,
    name: Text,
    instance: u64,
    session: Mutex<ControllerSession>,
    wake: Notify,
    /// What `now` of the session counts from.
    started: Instant,
    connected_since_ms: u64,
    view_revision: AtomicU64,
    convergence: Convergence,
}

impl Connection {
    pub(super) fn new(host: HostId, hello: Hello, now_ms: u64) -> Connection {
        Connection {
            host,
            name: hello.host.clone(),
            instance: hello.instance,
            session: Mutex::new(ControllerSession::new(hello, Duration::ZERO)),
            wake: Notify::new(),
            started: Instant::now(),
            connected_since_ms: now_ms,
            view_revision: AtomicU64::new(0),
            convergence: Convergence::default(),
        }
    }

    /// The host.
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Its name.
    pub fn name(&self) -> &Text {
        &self.name
    }

    /// When it connected, in milliseconds since the epoch.
    pub fn connected_since_ms(&self) -> u64 {
        self.connected_since_ms
    }

    /// The revision of the last change to its view that happened while it is connected; 0 if none.
    pub fn view_revision(&self) -> Revision {
        self.view_revision.load(Ordering::Relaxed)
    }

    /// What is known about its session.
    pub fn status(&self) -> SessionStatus {
        self.session().status()
    }

    /// The newest revision that the host is known to have in its datapath, where `newest` is the
    /// publisher's.
    pub fn realized(&self, newest: Revision) -> Revision {
        self.session().realized_revision(newest)
    }

    /// How long it has been connected.
    pub(crate) fn age(&self) -> Duration {
        self.now()
    }

    /// True once the host is told, or will be next, to connect elsewhere.
    pub fn is_refused(&self) -> bool {
        self.session().is_refused()
    }

    /// Lets the host go: this replica can serve it no better than another.
    pub(crate) fn process_draining(&self, detail: &str) {
        self.session().process_draining(detail);
        self.wake();
    }

    /// Lets the host go: this replica cannot know what there is to tell it.
    pub(crate) fn process_behind(&self, detail: &str) {
        self.session().process_behind(detail);
        self.wake();
    }

    /// Asks for a check of what the host holds: see
    /// [`ControllerSession::request_check`].
    ///
    /// # Errors
    /// Why this host cannot be checked.
    pub fn request_check(&self) -> Result<u64, String> {
        let number = self.session().request_check()?;
        self.wake();
        Ok(number)
    }

    /// What the check with a number, or a later one, found; `None` if it has not ended yet.
    pub fn check_report(&self, number: u64) -> Option<CheckReport> {
        self.session().last_check().filter(|report| report.number >= number).cloned()
    }

    pub(super) fn session(&self) -> SessionGuard<'_> {
        self.session.lock()
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) fn process_view_change(&self, revision: Revision) {
        self.view_revision.store(revision, Ordering::Relaxed);
        self.convergence.process_change(self.now());
    }

    /// What its session counts time from the start of the connection by.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// True if there is a message to be made for the host.
    pub fn has_message(&self, publisher: &Publisher) -> bool {
        self.session().has_message(publisher.revision())
    }

    /// Takes the passing of time, since the start of the connection.
    pub fn process_timer(&self, now: Duration) {
        self.session().process_timer(now);
    }

    /// True once the host was told that the stream ends.
    pub fn is_ended(&self) -> bool {
        self.session().is_ended()
    }

    /// The next message, if there is one. `now` is the time since the start of the connection.
    pub fn next_message(
        &self,
        publisher: &Publisher,
        engine: &Engine,
        now: Duration,
    ) -> Option<wire::ControllerMessage> {
        let message = publisher.with_change_log(|log| {
            let cluster_id = publisher.cluster_id();
            let mut source = EngineSource { engine, log, host: self.host, cluster_id };
            self.session().next_message(&mut source, now)
        });
        if is_first_part(message.as_ref()) {
            self.convergence.process_cut();
        }
        message
    }
}

/// True for the message with which a batch begins.
fn is_first_part(message: Option<&wire::ControllerMessage>) -> bool {
    let Some(wire::controller_message::Message::Part(part)) =
        message.and_then(|message| message.message.as_ref())
    else {
        return false;
    };
    part.sequence == 0
}

/// Takes the end of a connection even if whoever serves it is dropped where it waits.
#[derive(Debug)]
struct Disconnect {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
}

impl Drop for Disconnect {
    fn drop(&mut self) {
        let Disconnect { shared, connection } = self;
        telemetry::host_disconnected(&connection.name, connection.instance);
        let (shared, connection) = (shared.clone(), connection.clone());
        let end = move || {
            shared.publisher.disconnect(&mut shared.state.write(), &connection);
        };
        // The state may be held for a while, and this thread serves other hosts as well.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

/// What is said to a connected host until its stream ends or it is refused.
///
/// There is no task of its own: whoever writes to the host's connection asks for the next message when
/// there is room for one. What the host cannot take yet is not made yet.
#[derive(Debug)]
pub struct Serving {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    revision: watch::Receiver<Revision>,
    _disconnect: Disconnect,
}

impl Serving {
    /// Serves a connection of the publisher. The host counts as connected until this is dropped. It is told to
    /// connect elsewhere if `draining` is cancelled already; later, whoever cancels it tells it.
    pub fn new(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        draining: &CancellationToken,
    ) -> Serving {
        let _disconnect = Disconnect { shared: shared.clone(), connection: connection.clone() };
        let revision = shared.revision.subscribe();
        if draining.is_cancelled() {
            // Who lets all hosts go may have looked for them before this one connected.
            connection.process_draining(STOPPING);
        }
        Serving { shared, connection, revision, _disconnect }
    }

    /// The next message to the host, and meanwhile takes what the host says. `None` at the end.
    pub async fn next_message<S>(&mut self, inbound: &mut S) -> Option<wire::ControllerMessage>
    where
        S: Stream<Item = Result<wire::HostMessage, Status>> + Unpin,
    {
        let Serving { shared, connection, revision, .. } = self;
        loop {
            revision.mark_unchanged();
            let (has_message, deadline) = {
                let session = connection.session();
                if session.is_ended() {
                    return None;
                }
                (session.has_message(shared.publisher.revision()), session.next_deadline())
            };
            if has_message {
                match pull(shared, connection).await {
                    Some(message) => {
                        shared.metrics.host_messages_sent.inc();
                        shared.metrics.host_bytes_sent.inc_by(message.encoded_len() as u64);
                        return Some(message);
                    }
                    // It waits for this replica now, and has a deadline.
                    None => continue,
                }
            }
            tokio::select! {
                message = inbound.next() => match message {
                    Some(Ok(message)) => {
                        process_message(shared, connection, message, connection.now());
                    }
                    // The host is gone; why, the transport knows.
                    Some(Err(_)) | None => return None,
                },
                () = connection.wake.notified() => {}
                () = sleep_until(connection, deadline), if deadline.is_some() => {
                    connection.session().process_timer(connection.now());
                }
                // It waits for this replica to catch up with it. Nobody wakes it: no change concerns
                // it yet.
                Ok(()) = revision.changed(), if deadline.is_some() => {}
            }
        }
    }
}

/// Lets all hosts go when the controller stops, which `draining` tells. One waits for it in place of every
/// stream: they would wait in one queue, and each message to a host would have to lock it.
pub(crate) async fn drain(shared: Arc<Shared>, draining: CancellationToken) {
    draining.cancelled().await;
    for connection in shared.publisher.connections() {
        connection.process_draining(STOPPING);
    }
}

/// The next message. Where the state is free it is made at once; where the writer has it, the wait
/// happens on a thread that nobody else needs.
async fn pull(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
) -> Option<wire::ControllerMessage> {
    if let Some(engine) = shared.state.try_read() {
        return connection.next_message(&shared.publisher, &engine, connection.now());
    }
    let (shared, connection) = (shared.clone(), connection.clone());
    let pulled = tokio::task::spawn_blocking(move || {
        let engine = shared.state.read();
        connection.next_message(&shared.publisher, &engine, connection.now())
    });
    pulled.await.ok().flatten()
}

async fn sleep_until(connection: &Connection, deadline: Option<Duration>) {
    let left = deadline.unwrap_or_default().saturating_sub(connection.now());
    tokio::time::sleep(left).await;
}

/// What a host would say if a check had found nothing.
fn find_nothing(message: wire::HostMessage) -> wire::HostMessage {
    use wire::host_message::Message;
    let message = message.message.map(|message| match message {
        Message::Check(result) => Message::Check(wire::CheckResult {
            matches: true,
            entries: Vec::new(),
            last: true,
            ..result
        }),
        other => other,
    });
    wire::HostMessage { message }
}

/// Takes a message of a connected host. `now` is the time since the start of the connection.
pub fn process_message(
    shared: &Shared,
    connection: &Connection,
    message: wire::HostMessage,
    now: Duration,
) {
    let message = if planted::is(Bug::CheckFindsNothing) { find_nothing(message) } else { message };
    let event = connection.session().process_message(message, now);
    match event {
        SessionEvent::None => {}
        SessionEvent::Acknowledged { revision } => {
            process_acknowledged(shared, connection, revision);
            shared.publisher.process_progress();
        }
        SessionEvent::Checked(report) => {
            shared.metrics.host_checks.inc();
            shared.metrics.host_check_repairs.inc_by(report.found() as u64);
            if report.repaired_at > 0 {
                process_acknowledged(shared, connection, report.repaired_at);
            }
            if report.found() > 0 {
                telemetry::host_repaired(&connection.name, &report);
            }
            shared.publisher.process_progress();
        }
        SessionEvent::Drifted(drift) => telemetry::host_drifted(&connection.name, &drift),
        SessionEvent::Complained { detail } => {
            telemetry::host_complained(&connection.name, &detail);
            // Whoever waits for a check waits in vain.
            shared.publisher.process_progress();
        }
        SessionEvent::Refused { detail } => {
            telemetry::host_broke_protocol(&connection.name, &detail);
        }
    }
}

fn process_acknowledged(shared: &Shared, connection: &Connection, revision: Revision) {
    telemetry::host_realized(&connection.name, revision);
    if let Some(took) = connection.convergence.process_acknowledged(connection.now()) {
        shared.metrics.host_convergence_seconds.observe(took.as_secs_f64());
    }
}
