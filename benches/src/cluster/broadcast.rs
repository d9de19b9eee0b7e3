//! A broadcast of the same data to the same hosts, by a server that chooses nothing: every change goes to
//! everyone (guarantee G12 is about what choosing costs). The stream and the transport are the same; what a
//! controller has more is all that it knows of its hosts.
//!
//! The server is a process of its own, as a controller is, and a stream with the name [`CONTROL`] makes it
//! go on to the next change.

use super::admin::connect_channel;
use super::process::{Process, free_address};
use spanwire_hostproto::codec::{encode_delta, encode_full};
use spanwire_hostproto::limits::HOST_MESSAGE_BYTES_MAX;
use spanwire_hostproto::wire::host_stream_client::HostStreamClient;
use spanwire_hostproto::wire::host_stream_server::{HostStream, HostStreamServer};
use spanwire_hostproto::wire::{self, controller_message, host_message, welcome};
use spanwire_hostproto::{ClusterId, PROTOCOL_VERSION};
use spanwire_topology::model::{Uid, Vni};
use spanwire_topology::view::{Item, ItemDelta, ItemKey};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Who makes the changes, in place of a host's name.
const CONTROL: &str = "control";
/// The cluster that the server says it is.
const CLUSTER: ClusterId = ClusterId([12; 16]);
/// The list that changes, and how many addresses are in it at the start.
const SHARD: ItemKey = ItemKey::Shard { group: Uid(1), domain: Vni(1) };
const MEMBERS: u8 = 50;
/// Messages on their way to a host, or to the server.
const OUTBOX: usize = 4;

/// A server of broadcasts, and the right to make it go on.
pub(crate) struct Broadcast {
    address: SocketAddr,
    revision: u64,
    control: mpsc::Sender<wire::HostMessage>,
    _messages: Streaming<wire::ControllerMessage>,
    _process: Process,
}

impl Broadcast {
    /// Starts this program as one.
    pub(crate) async fn start(directory: &Path) -> Result<Broadcast, String> {
        let address = free_address()?;
        let arguments = ["broadcast", "--listen", &address.to_string()];
        let mut process = Process::of_this_program("broadcast", &arguments, directory)?;
        let channel = process.reach(async || connect_channel(address).await).await?;
        let (control, messages) = mpsc::channel(OUTBOX);
        let hello = wire::Hello { host: CONTROL.to_owned(), ..wire::Hello::default() };
        let hello = host_message::Message::Hello(hello);
        let ended = || "the broadcast has ended".to_owned();
        let hello = wire::HostMessage { message: Some(hello) };
        control.send(hello).await.map_err(|_| ended())?;
        let mut client = HostStreamClient::new(channel);
        let answer = client.subscribe(ReceiverStream::new(messages)).await;
        let messages = answer.map_err(|status| status.to_string())?.into_inner();
        Ok(Broadcast { address, revision: 1, control, _messages: messages, _process: process })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Makes a change. Returns its revision.
    pub(crate) async fn change(&mut self) -> Result<u64, String> {
        let next = host_message::Message::Ack(wire::Ack::default());
        let next = wire::HostMessage { message: Some(next) };
        self.control.send(next).await.map_err(|_| "the broadcast has ended".to_owned())?;
        self.revision += 1;
        Ok(self.revision)
    }
}

/// Serves broadcasts until it is ended.
pub(crate) async fn serve(listen: SocketAddr) -> Result<(), String> {
    let (revision, _) = watch::channel(1);
    let service = HostStreamServer::new(Service { revision })
        .max_decoding_message_size(HOST_MESSAGE_BYTES_MAX);
    let server = tonic::transport::Server::builder().tcp_nodelay(true).add_service(service);
    server.serve(listen).await.map_err(|error| error.to_string())
}

struct Service {
    revision: watch::Sender<u64>,
}

#[tonic::async_trait]
impl HostStream for Service {
    type SubscribeStream = ReceiverStream<Result<wire::ControllerMessage, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<wire::HostMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut inbound = request.into_inner();
        let (outbox, outbound) = mpsc::channel(OUTBOX);
        let first = inbound.message().await?.and_then(|message| message.message);
        let Some(host_message::Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument("a stream begins with hello"));
        };
        let revision = self.revision.clone();
        if hello.host == CONTROL {
            tokio::spawn(async move {
                while let Ok(Some(_)) = inbound.message().await {
                    revision.send_modify(|revision| *revision += 1);
                }
                drop(outbox);
            });
        } else {
            // Acknowledgements are read, and that is all.
            tokio::spawn(async move { while let Ok(Some(_)) = inbound.message().await {} });
            tokio::spawn(tell(outbox, revision.subscribe()));
        }
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

/// Brings a host to the present revision, and then every change.
async fn tell(
    outbox: mpsc::Sender<Result<wire::ControllerMessage, Status>>,
    mut revision: watch::Receiver<u64>,
) {
    let mut held = *revision.borrow_and_update();
    let welcome = wire::Welcome {
        protocol_version: PROTOCOL_VERSION,
        cluster_id: CLUSTER.0.to_vec().into(),
        resume: welcome::Resume::Snapshot.into(),
        revision: held,
    };
    let members = (0..MEMBERS).map(member).chain(has_last(held).then(|| member(MEMBERS)));
    let update = encode_full(SHARD, held, &Item::Shard(members.collect()));
    let whole = wire::BatchPart { to_revision: held, replace: true, ..mk_part(update) };
    for message in
        [controller_message::Message::Welcome(welcome), controller_message::Message::Part(whole)]
    {
        if outbox.send(Ok(wire::ControllerMessage { message: Some(message) })).await.is_err() {
            return;
        }
    }
    while revision.changed().await.is_ok() {
        let next = *revision.borrow_and_update();
        while held < next {
            // One address comes and goes.
            let (mut removed, mut added) = (Vec::new(), vec![member(MEMBERS)]);
            if has_last(held) {
                std::mem::swap(&mut removed, &mut added);
            }
            let delta = ItemDelta::Shard { removed, added };
            let update = encode_delta(SHARD, held, held + 1, &delta);
            let part =
                wire::BatchPart { from_revision: held, to_revision: held + 1, ..mk_part(update) };
            let message = Some(controller_message::Message::Part(part));
            if outbox.send(Ok(wire::ControllerMessage { message })).await.is_err() {
                return;
            }
            held += 1;
        }
    }
}

fn mk_part(update: tonic::codegen::Bytes) -> wire::BatchPart {
    wire::BatchPart { last: true, updates: vec![update], ..wire::BatchPart::default() }
}

/// Whether the address that comes and goes is there.
fn has_last(revision: u64) -> bool {
    revision.is_multiple_of(2)
}

fn member(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}
