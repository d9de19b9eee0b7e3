//! One stream to one replica: a queue, and the task that connects, sends, and connects again.

use super::links::Own;
use super::server::{PEER_METADATA, RELEASE, REMOVED};
use super::{PEER_VERSION, PeerMessage};
use crate::core::Command;
use crate::limits::{
    PEER_CONNECT_WAIT, PEER_END_WAIT, PEER_KEEPALIVE_INTERVAL, PEER_KEEPALIVE_WAIT,
    PEER_QUEUE_BYTES_MAX, PEER_QUEUE_MESSAGES_MAX, PEER_REFUSED_WAIT, PEER_RETRY_MAX,
    PEER_RETRY_MIN,
};
use crate::state::wire;
use crate::telemetry;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use wire::peer_client::PeerClient;

/// Permits are KiB.
const PERMIT_BYTES: usize = 1024;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Raft messages and all that is small. Who this stream does not reach is unreachable.
    Raft,
    /// What is large and can wait.
    Bulk,
}

/// Whom a stream goes to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) to: u64,
    pub(super) address: String,
    pub(super) purpose: Purpose,
}

/// A stream to a replica. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Lane {
    queue: Arc<Queue>,
    _stop: DropGuard,
}

/// What waits to be sent, while there is a connection: there is nobody to keep it for without.
#[derive(Debug)]
struct Queue {
    sender: Mutex<Option<mpsc::Sender<Queued>>>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Queued {
    message: PeerMessage,
    /// Its bytes among those that wait.
    _room: OwnedSemaphorePermit,
}

impl Queue {
    fn open(&self) -> mpsc::Receiver<Queued> {
        let (sender, receiver) = mpsc::channel(PEER_QUEUE_MESSAGES_MAX);
        *self.sender.lock() = Some(sender);
        receiver
    }

    fn close(&self) {
        *self.sender.lock() = None;
    }

    fn push(&self, message: PeerMessage) -> bool {
        let sender = self.sender.lock();
        let Some(sender) = sender.as_ref() else { return false };
        let permits = u32::try_from(message.size().div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(permits) else { return false };
        sender.try_send(Queued { message, _room: room }).is_ok()
    }
}

impl Lane {
    /// Begins to connect.
    pub(super) fn start(
        runtime: &Handle,
        own: Arc<Own>,
        target: Target,
        commands: SyncSender<Command>,
    ) -> Lane {
        let room = Arc::new(Semaphore::new(PEER_QUEUE_BYTES_MAX / PERMIT_BYTES));
        let queue = Arc::new(Queue { sender: Mutex::new(None), room });
        let stop = CancellationToken::new();
        let Target { to, address, purpose } = target;
        let task =
            Task { own, to, address, purpose, commands, queue: queue.clone(), stop: stop.clone() };
        runtime.spawn(async move {
            let stop = task.stop.clone();
            let run = task.run();
            tokio::pin!(run);
            tokio::select! {
                () = &mut run => return,
                () = stop.cancelled() => {}
            }
            // What is queued may be what tells the other that it is no member any more.
            task.queue.close();
            let _ = timeout(PEER_END_WAIT, run).await;
        });
        Lane { queue, _stop: stop.drop_guard() }
    }

    /// Sends a message, or drops it and returns false.
    pub(super) fn send(&self, message: PeerMessage) -> bool {
        self.queue.push(message)
    }
}

struct Task {
    own: Arc<Own>,
    to: u64,
    address: String,
    purpose: Purpose,
    commands: SyncSender<Command>,
    queue: Arc<Queue>,
    /// Cancelled when there is to be no link any more.
    stop: CancellationToken,
}

/// How a connection ended.
#[derive(Debug)]
struct Ended {
    /// True if it was one, and not only an attempt.
    was_up: bool,
    status: Status,
}

impl Task {
    async fn run(&self) {
        let mut failures = 0;
        let mut told = String::new();
        loop {
            let since = Instant::now();
            let ended = self.deliver().await;
            if self.stop.is_cancelled() {
                return;
            }
            if since.elapsed() > PEER_RETRY_MAX {
                failures = 0;
            }
            if ended.was_up && self.purpose == Purpose::Raft {
                // A channel that is full has enough for the core to find out by itself.
                let _ = self.commands.try_send(Command::Unreachable(self.to));
            }
            let Ended { status, .. } = ended;
            let refused = status.code() == Code::FailedPrecondition;
            if refused && is_removed(&status) {
                let _ = self.commands.try_send(Command::Removed(status.message().to_owned()));
            }
            // Both streams come to the same end.
            if told != status.message() && self.purpose == Purpose::Raft {
                status.message().clone_into(&mut told);
                match refused {
                    true => telemetry::peer_refuses(self.to, &self.address, &told),
                    false => telemetry::peer_lost(self.to, &self.address, &told),
                }
            }
            let wait = if refused { PEER_REFUSED_WAIT } else { wait(failures, rand::random()) };
            failures += 1;
            tokio::time::sleep(wait).await;
        }
    }

    /// Connects, and sends until the connection ends.
    async fn deliver(&self) -> Ended {
        let channel = async {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?;
            let endpoint = endpoint
                .connect_timeout(PEER_CONNECT_WAIT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PEER_KEEPALIVE_INTERVAL)
                .keep_alive_timeout(PEER_KEEPALIVE_WAIT);
            endpoint.connect().await
        };
        let channel = match channel.await {
            Ok(channel) => channel,
            Err(error) => {
                let status = Status::unavailable(with_cause(&error));
                return Ended { was_up: false, status };
            }
        };
        let Own { identity, .. } = &*self.own;
        let hello = wire::Envelope {
            message: Some(wire::envelope::Message::Hello(wire::PeerHello {
                version: PEER_VERSION,
                cluster_id: identity.cluster_id.0.to_vec(),
                from: identity.replica_id,
                to: self.to,
                release: RELEASE.to_owned(),
                address: self.own.address(),
            })),
        };
        let queued = ReceiverStream::new(self.queue.open());
        let messages = queued.map(|Queued { message, _room }| message.to_wire());
        let messages = tokio_stream::once(hello).chain(messages);
        let delivered = PeerClient::new(channel).deliver(messages).await;
        self.queue.close();
        let status = match delivered {
            Ok(_) => Status::unavailable("it is stopping"),
            Err(status) => status,
        };
        Ended { was_up: true, status }
    }
}

fn is_removed(status: &Status) -> bool {
    status.metadata().get(PEER_METADATA).is_some_and(|value| value == REMOVED)
}

/// How long to wait after so many failures in a row. `random` is a number from 0 to 1.
fn wait(failures: u32, random: f64) -> Duration {
    let due = PEER_RETRY_MIN.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    due.min(PEER_RETRY_MAX).mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

/// An error and its innermost cause, which alone says what happened.
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if std::ptr::addr_eq(cause, error) { error.to_string() } else { format!("{error}: {cause}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::transfer::{ChunkRequest, SnapshotName};
    use crate::peer::Request;
    use crate::state::RequestId;

    fn mk_queue(bytes: usize) -> Queue {
        let room = Arc::new(Semaphore::new(bytes / PERMIT_BYTES));
        Queue { sender: Mutex::new(None), room }
    }

    fn mk_small() -> PeerMessage {
        let name = SnapshotName { index: 1, term: 1 };
        PeerMessage::SnapshotRequest(ChunkRequest { name, offset: 0 })
    }

    fn mk_large(bytes: usize) -> PeerMessage {
        let what = Request::Command(vec![7; bytes].into());
        PeerMessage::Forward { id: RequestId([1; 16]), what }
    }

    #[test]
    fn a_queue_is_bounded_and_forgets_with_its_connection() {
        let queue = mk_queue(64 * 1024);
        assert!(!queue.push(mk_small()), "there is no connection");
        let mut received = queue.open();
        assert!(queue.push(mk_large(60 * 1024)));
        assert!(!queue.push(mk_large(8 * 1024)), "too many bytes");
        assert!(queue.push(mk_small()));
        assert!(received.try_recv().is_ok());
        assert!(queue.push(mk_large(8 * 1024)), "there is room again");
        queue.close();
        drop(received);
        let mut received = queue.open();
        assert!(received.try_recv().is_err(), "what waited before is of no use any more");
        let queue = mk_queue(PEER_QUEUE_BYTES_MAX);
        let _received = queue.open();
        let pushed = (0..=PEER_QUEUE_MESSAGES_MAX).filter(|_| queue.push(mk_small())).count();
        assert_eq!(pushed, PEER_QUEUE_MESSAGES_MAX);
    }

    #[test]
    fn waits_double_up_to_a_second() {
        let waits: Vec<u128> = (0..7).map(|n| wait(n, 1.0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(wait(0, 0.0), Duration::from_millis(25));
        assert!(wait(40, 1.0) <= PEER_RETRY_MAX);
    }
}
