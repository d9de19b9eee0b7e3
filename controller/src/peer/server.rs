//! What other replicas ask of this one, over gRPC.

use super::{Links, PEER_VERSION, PeerMessage};
use crate::core::Command;
use crate::data_dir::Identity;
use crate::limits::{
    PEER_HELLO_WAIT, PEER_HOSTS_NAMED_MAX, PEER_MESSAGE_BYTES_MIN, PEER_MESSAGES_BYTES_MAX,
    PEER_REMOVED_WAIT,
};
use crate::shared::{Shared, Standing};
use crate::state::{check_address, wire};
use crate::telemetry;
use prost::Message as _;
use spanwire_hostproto::ClusterId;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};
use wire::envelope::Message as OnWire;

/// Metadata of a refusal; the only value is [`REMOVED`].
pub const PEER_METADATA: &str = "spanwire-peer";
/// The replica that is refused was removed from the cluster.
pub const REMOVED: &str = "removed";
/// The release that runs here, for people.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// Permits are KiB.
const PERMIT_BYTES: usize = 1024;
/// How long to wait before the core's channel is tried again. It has room for all that may wait here,
/// unless callers who gave up left theirs in it.
const CHANNEL_RETRY: Duration = Duration::from_millis(5);
/// Answers on their way to one that asks for hosts.
const HOSTS_ANSWERS: usize = 1;

/// The peer service of a replica.
#[derive(Debug, Clone)]
pub struct PeerService {
    identity: Identity,
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    links: Links,
    room: Arc<Semaphore>,
    closing: CancellationToken,
}

impl PeerService {
    /// The service over the channel of a core. Whoever speaks to it is answered over `links`. Streams
    /// end when `closing` is cancelled.
    pub(crate) fn new(
        identity: Identity,
        shared: Arc<Shared>,
        commands: SyncSender<Command>,
        links: Links,
        closing: CancellationToken,
    ) -> PeerService {
        let room = Arc::new(Semaphore::new(PEER_MESSAGES_BYTES_MAX / PERMIT_BYTES));
        PeerService { identity, shared, commands, links, room, closing }
    }

    /// Checks who opens a stream, and returns its identity and address.
    fn check_hello(&self, first: Option<wire::Envelope>) -> Result<(u64, String), Status> {
        let Some(OnWire::Hello(hello)) = first.and_then(|envelope| envelope.message) else {
            return Err(Status::invalid_argument("the first message of a stream is a hello"));
        };
        let wire::PeerHello { version, cluster_id, from, to, release, address } = hello;
        check_version(version, &format!("replica {from}"), &release)?;
        let Identity { cluster_id: own_cluster, replica_id } = self.identity;
        if cluster_id != own_cluster.0 {
            return Err(Status::failed_precondition(format!(
                "replica {from} is of another cluster: replica {replica_id} of cluster \
                 {own_cluster} listens here"
            )));
        }
        if to != replica_id {
            return Err(Status::failed_precondition(format!(
                "replica {from} looks for replica {to} here, and this is replica {replica_id}: the \
                 address is in use by another member"
            )));
        }
        if from == 0 || from == replica_id {
            return Err(Status::failed_precondition(format!(
                "replica {from} cannot speak to replica {replica_id}: each has an identity of its own"
            )));
        }
        if !address.is_empty() {
            check_address(&address).map_err(Status::invalid_argument)?;
        }
        self.check_removed(from)?;
        Ok((from, address))
    }

    fn check_removed(&self, from: u64) -> Result<(), Status> {
        if !self.shared.standing.borrow().membership.members.was_removed(from) {
            return Ok(());
        }
        let text = format!("replica {from} was removed from the cluster");
        let mut status = Status::failed_precondition(text);
        status.metadata_mut().insert(PEER_METADATA, REMOVED.parse().map_err(internal)?);
        Err(status)
    }

    /// Gives the core a message, once there is room for it. Whoever sent it waits meanwhile.
    async fn process_envelope(&self, from: u64, envelope: wire::Envelope) -> Result<(), Status> {
        let bytes = envelope.encoded_len();
        let message = PeerMessage::from_wire(envelope, from, self.identity.replica_id);
        let message = message.map_err(|error| {
            telemetry::peer_message_refused(from, &error);
            Status::invalid_argument(error.to_string())
        })?;
        let permits = bytes.max(PEER_MESSAGE_BYTES_MIN).div_ceil(PERMIT_BYTES);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(permits).await.map_err(internal)?;
        let mut command = Command::Peer { from, message, room };
        loop {
            command = match self.commands.try_send(command) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(command)) => command,
                Err(TrySendError::Disconnected(_)) => {
                    return Err(Status::unavailable("the controller is stopping"));
                }
            };
            tokio::time::sleep(CHANNEL_RETRY).await;
        }
    }

    /// Waits until a replica is removed while it has a stream. If the log does not tell it, this does.
    async fn wait_removed(&self, from: u64) -> Status {
        let mut standing = self.shared.standing.subscribe();
        let was_removed = |standing: &Standing| standing.membership.members.was_removed(from);
        let removed = standing.wait_for(was_removed).await.is_ok();
        tokio::time::sleep(PEER_REMOVED_WAIT).await;
        match self.check_removed(from) {
            Err(status) if removed => status,
            Ok(()) | Err(_) => Status::unavailable("the controller is stopping"),
        }
    }

    async fn take_messages(
        &self,
        from: u64,
        inbound: &mut Streaming<wire::Envelope>,
    ) -> Result<(), Status> {
        while let Some(envelope) = inbound.message().await? {
            self.process_envelope(from, envelope).await?;
        }
        Ok(())
    }

    async fn process_deliver(&self, mut inbound: Streaming<wire::Envelope>) -> Result<(), Status> {
        let first = timeout(PEER_HELLO_WAIT, inbound.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let (from, address) = self.check_hello(first).inspect_err(telemetry::peer_refused)?;
        let _met = self.links.meet(from, &address);
        tokio::select! {
            ended = self.take_messages(from, &mut inbound) => ended,
            removed = self.wait_removed(from) => Err(removed),
        }
    }
}

/// Checks that both speak the same version. `who` is the other, of `release`.
pub(super) fn check_version(version: u32, who: &str, release: &str) -> Result<(), Status> {
    if version == PEER_VERSION {
        return Ok(());
    }
    let upgrade = if version < PEER_VERSION { who } else { "this controller" };
    // It comes from outside, and goes into logs.
    let release: String = release.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
    Err(Status::failed_precondition(format!(
        "{who} (release {release}) speaks version {version} of the peer protocol, and this \
         controller (release {RELEASE}) version {PEER_VERSION}: upgrade {upgrade}"
    )))
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// The answers to [`Hosts`](wire::peer_server::Peer::hosts).
pub(super) type HostsStream =
    Pin<Box<dyn Stream<Item = Result<wire::HostsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl wire::peer_server::Peer for PeerService {
    type HostsStream = HostsStream;

    async fn deliver(
        &self,
        request: Request<Streaming<wire::Envelope>>,
    ) -> Result<Response<wire::DeliverResponse>, Status> {
        tokio::select! {
            ended = self.process_deliver(request.into_inner()) => ended?,
            () = self.closing.cancelled() => {}
        }
        Ok(Response::new(wire::DeliverResponse {}))
    }

    async fn probe(
        &self,
        _: Request<wire::ProbeRequest>,
    ) -> Result<Response<wire::ProbeResponse>, Status> {
        Ok(Response::new(wire::ProbeResponse {
            version: PEER_VERSION,
            release: RELEASE.to_owned(),
            waits: false,
            cluster_id: self.identity.cluster_id.0.to_vec(),
            replica_id: self.identity.replica_id,
        }))
    }

    async fn admit(
        &self,
        request: Request<wire::AdmitRequest>,
    ) -> Result<Response<wire::AdmitResponse>, Status> {
        let identity = check_admit(&request.into_inner())?;
        // The one that admitted it may not have heard that it did.
        if identity == self.identity {
            return Ok(Response::new(wire::AdmitResponse {}));
        }
        let Identity { cluster_id, replica_id } = self.identity;
        Err(Status::failed_precondition(format!(
            "this controller does not wait to be added: it is replica {replica_id} of cluster \
             {cluster_id}. To add it to another, empty its data directory and start it with --join"
        )))
    }

    async fn hosts(
        &self,
        request: Request<wire::HostsRequest>,
    ) -> Result<Response<HostsStream>, Status> {
        let wire::HostsRequest { hosts, brief } = request.into_inner();
        if hosts.len() > PEER_HOSTS_NAMED_MAX {
            return Err(Status::invalid_argument(format!(
                "{} hosts are named, and the most is {PEER_HOSTS_NAMED_MAX}: name none for all",
                hosts.len()
            )));
        }
        let (answers, received) = mpsc::channel(HOSTS_ANSWERS);
        let shared = self.shared.clone();
        // The state may be held for a while; and a reader that is slow holds up this thread only.
        tokio::task::spawn_blocking(move || {
            super::hosts::report(&shared, &hosts, brief, |answer| {
                answers.blocking_send(Ok(answer)).is_ok()
            });
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(received))))
    }
}

/// The identity in a request to admit.
pub(super) fn check_admit(request: &wire::AdmitRequest) -> Result<Identity, Status> {
    let wire::AdmitRequest { version, cluster_id, replica_id, address: _ } = request;
    check_version(*version, "the replica that adds this one", "unknown")?;
    let cluster_id = cluster_id.as_slice().try_into().map(ClusterId);
    let cluster_id = cluster_id
        .map_err(|_| Status::new(Code::InvalidArgument, "cluster_id: expected 16 bytes"))?;
    if *replica_id == 0 {
        return Err(Status::invalid_argument("replica_id is 0: the first is 1"));
    }
    Ok(Identity { cluster_id, replica_id: *replica_id })
}
