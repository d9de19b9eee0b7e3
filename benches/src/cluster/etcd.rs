//! A cluster of etcd, to compare with: the Debian package `etcd-server`, if it is installed.

use super::admin::connect_channel;
use super::process::{Process, free_address};
use super::stream::Stream;
use super::{Directory, PATIENCE, Write, within};
use prost::Message;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Where the package puts it.
const BINARY: &str = "/usr/bin/etcd";
const PUT: &str = "/etcdserverpb.KV/Put";
/// The pause between two looks at a cluster that does not serve yet.
const LOOK_WAIT: Duration = Duration::from_millis(50);

/// `etcdserverpb.PutRequest`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.ResponseHeader`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

/// `etcdserverpb.PutResponse`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// `etcdserverpb.StatusRequest`.
#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

/// `etcdserverpb.StatusResponse`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// `etcdserverpb.WatchCreateRequest`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct WatchCreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// `etcdserverpb.WatchRequest`, as far as it is needed: it is a choice of one.
#[derive(Clone, PartialEq, Message)]
struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    create: Option<WatchCreateRequest>,
}

/// `mvccpb.Event`, as far as it is needed: that there is one.
#[derive(Clone, PartialEq, Message)]
struct WatchEvent {}

/// `etcdserverpb.WatchResponse`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct WatchResponse {
    #[prost(bool, tag = "3")]
    created: bool,
    #[prost(message, repeated, tag = "11")]
    events: Vec<WatchEvent>,
}

/// What watchers do when they see an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnEvent {
    /// Nothing: who has put the value is not told whether they have it.
    Nothing,
    /// Each puts that it has it under a key of its own, which is how one says so to etcd, and waits until that
    /// is committed.
    Acknowledge,
}

/// Watchers of one key, each with a connection of its own.
pub(crate) struct Watchers {
    seen: mpsc::Receiver<Instant>,
    count: usize,
    _tasks: JoinSet<()>,
}

impl Watchers {
    /// Connects so many, and waits until all watch.
    pub(crate) async fn connect(
        address: SocketAddr,
        key: &str,
        count: usize,
        on_event: OnEvent,
    ) -> Result<Watchers, String> {
        let (saw, seen) = mpsc::channel(count.max(1));
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let stream = watch(address, key).await.ok_or("etcd does not begin a watch")?;
            let own_key = (on_event == OnEvent::Acknowledge).then(|| format!("has-{key}/{number}"));
            tasks.spawn(follow(stream, own_key, saw.clone()));
        }
        Ok(Watchers { seen, count, _tasks: tasks })
    }

    /// Waits until each has seen one more event, and has done what it does then. Returns when the first
    /// and the last had.
    pub(crate) async fn wait_all(&mut self) -> Result<(Instant, Instant), String> {
        let all = async {
            let mut times: Option<(Instant, Instant)> = None;
            for _ in 0..self.count {
                let when = self.seen.recv().await.ok_or("a watcher of etcd has ended")?;
                let (first, last) = times.unwrap_or((when, when));
                times = Some((first.min(when), last.max(when)));
            }
            times.ok_or_else(|| "nobody watches etcd".to_owned())
        };
        within("all watchers of etcd see an event", all).await?
    }
}

/// As cheap as a host of Spanwire.
type WatchStream = Stream<WatchRequest, WatchResponse>;

async fn watch(address: SocketAddr, key: &str) -> Option<WatchStream> {
    let mut stream = WatchStream::open(address, "/etcdserverpb.Watch/Watch", PATIENCE).await?;
    let create = WatchCreateRequest { key: key.as_bytes().to_vec() };
    stream.send(&WatchRequest { create: Some(create) })?;
    stream.next_message().await?.created.then_some(stream)
}

async fn follow(mut stream: WatchStream, own_key: Option<String>, saw: mpsc::Sender<Instant>) {
    while let Some(response) = stream.next_message().await {
        for _ in response.events {
            if let Some(key) = &own_key {
                let put = PutRequest { key: key.as_bytes().to_vec(), value: vec![1; 8] };
                if stream.call(PUT, &put).await.is_none() {
                    return;
                }
            }
            if saw.send(Instant::now()).await.is_err() {
                return;
            }
        }
    }
}

/// The members.
pub(crate) struct Etcd {
    processes: Vec<Process>,
    addresses: Vec<SocketAddr>,
}

impl Etcd {
    /// Its version, if it is installed.
    pub(crate) fn version() -> Option<String> {
        let output = Command::new(BINARY).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.lines().next()?.trim_start_matches("etcd Version:").trim().to_owned())
    }

    /// Starts members, each with a data directory of its own and otherwise as the package has it.
    pub(crate) async fn of(count: usize, directory: &Directory) -> Result<Etcd, String> {
        let mut addresses = Vec::new();
        let mut peers = Vec::new();
        while addresses.len() < count {
            let (address, peer) = (free_address()?, free_address()?);
            let taken = |other: &SocketAddr| addresses.contains(other) || peers.contains(other);
            if address != peer && !taken(&address) && !taken(&peer) {
                addresses.push(address);
                peers.push(peer);
            }
        }
        let members: Vec<String> =
            peers.iter().enumerate().map(|(at, peer)| format!("etcd-{at}=http://{peer}")).collect();
        let mut processes = Vec::new();
        for (at, (address, peer)) in addresses.iter().zip(&peers).enumerate() {
            let name = format!("etcd-{at}");
            let data_dir = directory.path().join(&name);
            let command = mk_command(&name, &data_dir, *address, *peer, &members.join(","));
            processes.push(Process::start(&name, command, &data_dir.with_extension("log"))?);
        }
        let mut etcd = Etcd { processes, addresses };
        etcd.leader().await?;
        Ok(etcd)
    }

    /// Where the members are reached.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Processor time that all have used.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// Waits until there is a leader. Returns where it is reached.
    pub(crate) async fn leader(&mut self) -> Result<SocketAddr, String> {
        within("etcd has a leader", async {
            loop {
                self.processes.iter_mut().try_for_each(Process::check)?;
                for address in &self.addresses {
                    if is_leader(*address).await {
                        return Ok(*address);
                    }
                }
                tokio::time::sleep(LOOK_WAIT).await;
            }
        })
        .await?
    }
}

fn mk_command(
    name: &str,
    data_dir: &Path,
    address: SocketAddr,
    peer: SocketAddr,
    members: &str,
) -> Command {
    let (client_url, peer_url) = (format!("http://{address}"), format!("http://{peer}"));
    let mut command = Command::new(BINARY);
    command.args(["--name", name, "--data-dir"]).arg(data_dir);
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", members, "--initial-cluster-state", "new"]);
    command
}

async fn is_leader(address: SocketAddr) -> bool {
    let Ok(channel) = connect_channel(address).await else { return false };
    let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");
    let answer: Result<StatusResponse, Status> = call(channel, path, StatusRequest {}).await;
    answer.is_ok_and(|status| {
        status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader)
    })
}

async fn call<Q, A>(channel: Channel, path: PathAndQuery, request: Q) -> Result<A, Status>
where
    Q: Message + Default + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<Q, A>::default();
    grpc.unary(Request::new(request), path, codec).await.map(tonic::Response::into_inner)
}

/// Puts values under one key, over a connection of its own.
pub(crate) struct PutClient<F> {
    channel: Channel,
    key: Vec<u8>,
    next: u64,
    make: F,
}

impl<F: Fn(u64) -> Vec<u8> + Send + 'static> PutClient<F> {
    /// A client whose values a function makes of their number.
    pub(crate) async fn connect(
        address: SocketAddr,
        key: String,
        make: F,
    ) -> Result<PutClient<F>, String> {
        let channel = connect_channel(address).await?;
        Ok(PutClient { channel, key: key.into_bytes(), next: 0, make })
    }
}

impl<F: Fn(u64) -> Vec<u8> + Send + 'static> Write for PutClient<F> {
    async fn write(&mut self) -> Result<u64, String> {
        let request = PutRequest { key: self.key.clone(), value: (self.make)(self.next) };
        self.next += 1;
        let path = PathAndQuery::from_static(PUT);
        let answer: Result<PutResponse, Status> = call(self.channel.clone(), path, request).await;
        let answer = answer.map_err(|status| format!("etcd: {status}"))?;
        Ok(answer.header.map_or(0, |header| header.revision.unsigned_abs()))
    }
}
