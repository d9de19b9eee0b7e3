//! What a replica makes of another one, which this test plays: adding it, and the hosts it says it has.

// A panic here is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::fake_host::FakeHost;
use common::{PATIENCE, start_with_network, wire_key};
use parking_lot::Mutex;
use spanwire_adminproto::wire;
use spanwire_controller::peer::PEER_VERSION;
use spanwire_controller::state::wire as peer;
use spanwire_topology::model::Kind;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

/// What the other replica is and says.
#[derive(Debug, Default)]
struct Script {
    identity: Option<(Vec<u8>, u64)>,
    version: u32,
    admitted: Vec<u64>,
    sessions: Vec<peer::HostSession>,
    /// It does not say which hosts it has.
    is_silent: bool,
    /// The hosts that were asked for, each time.
    asked: Vec<(Vec<String>, bool)>,
}

/// A replica that does as its script says.
#[derive(Debug, Clone, Default)]
struct FakeReplica(Arc<Mutex<Script>>);

impl FakeReplica {
    async fn start(&self) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.0.lock().version = PEER_VERSION;
        let service = peer::peer_server::PeerServer::new(self.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        let serving = async move {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        };
        (address, tokio::spawn(serving))
    }
}

#[tonic::async_trait]
impl peer::peer_server::Peer for FakeReplica {
    type HostsStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<peer::HostsResponse, Status>> + Send>>;

    async fn deliver(
        &self,
        _: Request<Streaming<peer::Envelope>>,
    ) -> Result<Response<peer::DeliverResponse>, Status> {
        Err(Status::unavailable("it takes no messages"))
    }

    async fn probe(
        &self,
        _: Request<peer::ProbeRequest>,
    ) -> Result<Response<peer::ProbeResponse>, Status> {
        let script = self.0.lock();
        let (cluster_id, replica_id) = script.identity.clone().unwrap_or_default();
        Ok(Response::new(peer::ProbeResponse {
            version: script.version,
            release: "test".to_owned(),
            waits: script.identity.is_none(),
            cluster_id,
            replica_id,
        }))
    }

    async fn admit(
        &self,
        request: Request<peer::AdmitRequest>,
    ) -> Result<Response<peer::AdmitResponse>, Status> {
        let peer::AdmitRequest { cluster_id, replica_id, .. } = request.into_inner();
        let mut script = self.0.lock();
        script.admitted.push(replica_id);
        script.identity = Some((cluster_id, replica_id));
        Ok(Response::new(peer::AdmitResponse {}))
    }

    async fn hosts(
        &self,
        request: Request<peer::HostsRequest>,
    ) -> Result<Response<Self::HostsStream>, Status> {
        let peer::HostsRequest { hosts, brief } = request.into_inner();
        let mut script = self.0.lock();
        if script.is_silent {
            return Err(Status::unavailable("it has no time"));
        }
        script.asked.push((hosts, brief));
        // One to a message: an answer comes in parts.
        let parts = script
            .sessions
            .clone()
            .into_iter()
            .map(|session| Ok(peer::HostsResponse { revision: 1, hosts: vec![session] }));
        Ok(Response::new(Box::pin(tokio_stream::iter(parts.collect::<Vec<_>>()))))
    }
}

fn mk_session(host: &str, realized: u64) -> peer::HostSession {
    let status = wire::HostAgentStatus {
        host: host.to_owned(),
        connected: true,
        connected_since_ms: 5,
        realized_revision: realized,
        ..wire::HostAgentStatus::default()
    };
    peer::HostSession { status: Some(status), phase: "following".to_owned(), pending: 1 }
}

fn add(address: &str) -> wire::ChangeMembersRequest {
    let add = vec![address.to_owned()];
    wire::ChangeMembersRequest { add, ..wire::ChangeMembersRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_added_once_and_told_who_it_is() {
    let (_root, controller, mut client, _) = start_with_network().await;
    let other = FakeReplica::default();
    let (address, server) = other.start().await;
    let mut change = async |request: wire::ChangeMembersRequest| {
        client.change_members(request).await.map(|response| response.into_inner().added)
    };
    assert_eq!(change(add(&address)).await.unwrap(), [2]);
    assert_eq!(change(add(&address)).await.unwrap(), [2], "it is a member already");
    assert_eq!(other.0.lock().admitted, [2]);
    let cluster_id = controller.identity().cluster_id.0.to_vec();
    assert_eq!(other.0.lock().identity, Some((cluster_id.clone(), 2)));
    // As if the call had broken off before it was told.
    other.0.lock().identity = None;
    assert_eq!(change(add(&address)).await.unwrap(), [2]);
    assert_eq!(other.0.lock().admitted, [2, 2]);
    // Who is something else already, or speaks another version, is refused.
    let refusals = [
        (Some((cluster_id, 7)), PEER_VERSION, "replica 7 of this cluster, or was"),
        (Some((vec![9; 16], 1)), PEER_VERSION, "replica 1 of cluster 0909"),
        (None, PEER_VERSION + 1, "speaks version"),
    ];
    for (identity, version, expected) in refusals {
        (other.0.lock().identity, other.0.lock().version) = (identity, version);
        let status = change(add(&address)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains(expected), "{status}");
    }
    let removal = wire::ChangeMembersRequest { remove: vec![2], ..Default::default() };
    change(removal).await.unwrap();
    (other.0.lock().identity, other.0.lock().version) = (None, PEER_VERSION);
    assert_eq!(change(add(&address)).await.unwrap(), [3], "identities are not given out twice");
    let status = client.cluster_status(wire::ClusterStatusRequest {}).await.unwrap().into_inner();
    let members: Vec<_> = status
        .replicas
        .iter()
        .map(|replica| {
            (replica.id, replica.role.as_str(), replica.voter, replica.progress.is_some())
        })
        .collect();
    assert_eq!(members, [(1, "leader", true, false), (3, "learner", false, true)]);
    assert_eq!(status.replicas[1].address, address);
    server.abort();
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_known_wherever_they_are_connected() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let other = FakeReplica::default();
    let (address, server) = other.start().await;
    client.change_members(add(&address)).await.unwrap();
    let mut host = FakeHost::connect(controller.address(), "host-1").await;
    host.wait_revision(revision).await;
    // Host 1 was there before it came here; host 3 is there.
    other.0.lock().sessions = vec![mk_session("host-1", 1), mk_session("host-3", revision)];
    let hosts = client.host_status(wire::HostStatusRequest::default()).await.unwrap().into_inner();
    let found: Vec<_> = hosts.hosts.iter().map(|host| (host.host.as_str(), host.replica)).collect();
    assert_eq!(found, [("host-1", 1), ("host-2", 0), ("host-3", 2)]);
    assert_eq!((hosts.hosts[2].realized_revision, hosts.silent.len()), (revision, 0));
    let all = ["host-1", "host-2", "host-3"].map(str::to_owned).to_vec();
    assert_eq!(other.0.lock().asked.last(), Some(&(all, false)));

    // A wait asks only for those that are missing, until they are not.
    let request = wire::WaitRealizedRequest { key: None, revision: Some(revision) };
    let mut wait = client.wait_realized(request.clone()).await.unwrap().into_inner();
    let progress = timeout(PATIENCE, wait.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((progress.hosts, progress.realized, progress.done), (3, 2, false));
    assert_eq!(progress.missing[0].reason, "not connected");
    let missing = ["host-2", "host-3"].map(str::to_owned).to_vec();
    assert_eq!(other.0.lock().asked.last(), Some(&(missing, true)));
    other.0.lock().sessions.push(mk_session("host-2", revision - 1));
    let progress = timeout(PATIENCE, wait.message()).await.unwrap().unwrap().unwrap();
    let behind = format!("behind: it has revision {} (following, 1 items pending)", revision - 1);
    assert_eq!(progress.missing[0].reason, behind);
    other.0.lock().sessions.push(mk_session("host-2", revision));
    let progress = timeout(PATIENCE, wait.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((progress.realized, progress.done), (3, true));

    // A replica that does not say may have it.
    other.0.lock().is_silent = true;
    let key = wire_key(Kind::SecurityPolicy, "a", "db");
    let request = wire::WaitRealizedRequest { key, revision: None };
    let mut wait = client.wait_realized(request).await.unwrap().into_inner();
    let progress = timeout(PATIENCE, wait.message()).await.unwrap().unwrap().unwrap();
    let expected = "not connected to any replica that answers; replica 2 does not answer";
    assert_eq!(progress.missing[0].reason, expected);
    let hosts = client.host_status(wire::HostStatusRequest::default()).await.unwrap().into_inner();
    let [silent] = hosts.silent.as_slice() else { panic!("{hosts:?}") };
    assert_eq!((silent.id, &silent.address), (2, &address));
    assert!(silent.reason.contains("it has no time"), "{}", silent.reason);
    server.abort();
    controller.shutdown().await.unwrap();
}
