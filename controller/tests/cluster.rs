//! Clusters of several controllers, over real gRPC.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

mod common;

use common::cluster::{Cluster, connect_peer, within};
use common::fake_host::FakeHost;
use common::{
    Client, apply, connect, eventually, get, key, mk_apply, mk_config, mk_host, mk_port, network,
};
use spanwire_adminproto::wire;
use spanwire_controller::config::Limits;
use spanwire_controller::core::CoreError;
use spanwire_controller::peer::{MembersChange, PEER_METADATA, PEER_VERSION, REMOVED};
use spanwire_controller::state::wire as peer_wire;
use spanwire_controller::{Config, Controller, ControllerError};
use spanwire_hostproto::wire::refused::Reason;
use spanwire_hostproto::wire::welcome::Resume;
use spanwire_topology::model::{Kind, Resource};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

/// A port that nothing else has.
fn mk_nth(n: u16) -> Resource {
    let address = format!("10.0.1.{}", 10 + n);
    mk_port("a", &format!("web-{}", 10 + n), &address, "host-1", "app=web")
}

fn key_of(n: u16) -> spanwire_topology::model::ObjectKey {
    key(Kind::LogicalPort, "a", &format!("web-{}", 10 + n))
}

/// Applies a port under a request identity, at one replica after the other until one has it.
async fn apply_somewhere(clients: &mut [Client], n: u16) -> wire::ApplyResponse {
    let mut request = mk_apply([mk_nth(n)]);
    request.request_id = vec![u8::try_from(n).unwrap(); 16];
    let tried = async {
        for index in (0..clients.len()).cycle() {
            match clients[index].apply(request.clone()).await {
                Ok(response) => return response.into_inner(),
                Err(status) => assert!(may_try_again(&status), "{status}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        unreachable!("there are clients")
    };
    within("some replica takes it", tried).await
}

fn may_try_again(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_takes_writes_and_shows_the_newest() {
    let cluster = Cluster::of(3, Limits::default()).await;
    let mut clients = Vec::new();
    for id in cluster.ids() {
        clients.push(cluster.client(id).await);
    }
    apply(&mut clients[1], network()).await.unwrap();
    for n in 0..30 {
        let writer = usize::from(n % 3);
        let revision = apply(&mut clients[writer], [mk_nth(n)]).await.unwrap();
        for client in &mut clients {
            let found = get(client, &key_of(n)).await.unwrap();
            assert_eq!(found.status.unwrap().revision, revision);
        }
    }
    let standing = cluster.standing(3);
    let membership = &standing.membership;
    assert_eq!(membership.conf_state.voters.len(), 3);
    for id in cluster.ids() {
        assert_eq!(membership.members.addresses[&id], cluster.address(id).to_string());
    }
    cluster.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_with_the_leader_and_nothing_is_done_twice() {
    let mut cluster = Cluster::of(3, Limits::default()).await;
    let mut clients = Vec::new();
    for id in cluster.ids() {
        clients.push(cluster.client(id).await);
    }
    apply(&mut clients[0], network()).await.unwrap();
    let mut acknowledged = Vec::new();
    for n in 0..10 {
        acknowledged.push(apply_somewhere(&mut clients, n).await.revision);
    }
    let killed = cluster.wait_leader().await;
    cluster.kill(killed);
    for n in 10..20 {
        acknowledged.push(apply_somewhere(&mut clients, n).await.revision);
    }
    assert_ne!(cluster.wait_leader().await, killed);
    // Another replica, another leader: the same requests, of which nothing would be left to see.
    let rest = cluster.ids();
    let mut client = cluster.client(rest[0]).await;
    let changed = (0..20).map(|n| {
        let mut port = mk_nth(n);
        port.metadata.labels = Arc::new([("app".into(), "db".into())].into_iter().collect());
        port
    });
    let changed: Vec<Resource> = changed.collect();
    let last = apply(&mut client, changed).await.unwrap();
    for (n, revision) in (0..).zip(&acknowledged) {
        let again = apply_somewhere(std::slice::from_mut(&mut client), n).await;
        assert_eq!((again.revision, again.repeated), (*revision, true), "request {n}");
    }
    cluster.start(killed).await;
    cluster.wait_current().await;
    let mut back = cluster.client(killed).await;
    for (n, revision) in (0..).zip(&acknowledged) {
        let found = get(&mut back, &key_of(n)).await.unwrap();
        let status = found.status.unwrap();
        assert_eq!((status.created_revision, status.revision), (*revision, last));
    }
    cluster.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_far_behind_catches_up_by_a_snapshot() {
    let limits = Limits { snapshot_entries: 20, log_entries_kept: 5, ..Limits::default() };
    let mut cluster = Cluster::of(3, limits).await;
    // A snapshot is held for whoever was added, for a while. A replica that starts holds none.
    for id in cluster.ids() {
        cluster.stop(id).await.unwrap();
        cluster.start(id).await;
        cluster.wait_current().await;
    }
    let behind = cluster.follower().await;
    let mut client = cluster.client(cluster.wait_leader().await).await;
    apply(&mut client, network()).await.unwrap();
    cluster.stop(behind).await.unwrap();
    let stopped_at = cluster.get(cluster.ids()[0]).core().status().await.unwrap().log.last_index;
    for n in 0..80 {
        apply(&mut client, [mk_nth(n)]).await.unwrap();
    }
    for id in cluster.ids() {
        let status = cluster.get(id).core().status().await.unwrap();
        assert!(status.log.first_index > stopped_at, "the log of {id} is cut: {:?}", status.log);
    }
    cluster.start(behind).await;
    cluster.wait_current().await;
    cluster.wait_equal().await;
    let mut client = cluster.client(behind).await;
    get(&mut client, &key_of(79)).await.unwrap();
    // Once more from the disk.
    cluster.stop(behind).await.unwrap();
    cluster.start(behind).await;
    cluster.wait_current().await;
    cluster.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_serves_and_does_not_vote() {
    let mut cluster = Cluster::found(Limits::default()).await;
    let mut client = cluster.client(1).await;
    let revision = apply(&mut client, network()).await.unwrap();
    let learner = cluster.add().await;
    cluster.get(learner).wait_current().await.unwrap();
    assert_eq!(cluster.standing(1).membership.conf_state.learners, [learner]);
    let mut host = FakeHost::connect(cluster.address(learner), "host-1").await;
    host.wait_revision(revision).await;
    // Without it the founder goes on.
    cluster.stop(learner).await.unwrap();
    apply(&mut client, [mk_nth(1)]).await.unwrap();
    cluster.start(learner).await;
    cluster.wait_current().await;
    cluster.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_replica_stops_and_says_why() {
    let mut cluster = Cluster::of(3, Limits::default()).await;
    let removed = cluster.follower().await;
    // One that is down when it is removed is told when it comes back.
    cluster.stop(removed).await.unwrap();
    cluster.remove(removed).await;
    cluster.start(removed).await;
    let controller = cluster.take(removed);
    within("it is told", controller.stopped()).await;
    let error = controller.shutdown().await.unwrap_err();
    let ControllerError::Core(CoreError::Removed { replica_id, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(*replica_id, removed);
    assert!(error.to_string().contains("was removed from the cluster"), "{error}");
    // The leader goes as well, and another leads.
    let leader = cluster.wait_leader().await;
    cluster.remove(leader).await;
    let controller = cluster.take(leader);
    within("it is told", controller.stopped()).await;
    let error = controller.shutdown().await.unwrap_err();
    assert!(matches!(error, ControllerError::Core(CoreError::Removed { .. })), "{error}");
    let mut client = cluster.client(cluster.wait_leader().await).await;
    apply(&mut client, network()).await.unwrap();
}

/// What comes of a stream that begins like this.
async fn deliver(address: SocketAddr, first: peer_wire::envelope::Message) -> Status {
    let envelope = |message| peer_wire::Envelope { message: Some(message) };
    let load = envelope(peer_wire::envelope::Message::Load(peer_wire::Load { streams: 1 }));
    let messages = tokio_stream::iter([envelope(first), load]);
    // It stays open: the end of it must not be what ends it.
    let messages = messages.chain(tokio_stream::pending());
    let mut client = connect_peer(address).await;
    within("an answer", client.deliver(messages)).await.expect_err("it is refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_peer_is_refused_with_words() {
    let cluster = Cluster::of(2, Limits::default()).await;
    let address = cluster.address(1);
    let hello = peer_wire::PeerHello {
        version: PEER_VERSION,
        cluster_id: cluster.get(1).identity().cluster_id.0.to_vec(),
        from: 2,
        to: 1,
        release: "9.9".to_owned(),
        address: String::new(),
    };
    let hellos = [
        (peer_wire::PeerHello { version: 99, ..hello.clone() }, "upgrade this controller"),
        (peer_wire::PeerHello { version: 0, ..hello.clone() }, "upgrade replica 2"),
        (peer_wire::PeerHello { cluster_id: vec![1; 16], ..hello.clone() }, "of another cluster"),
        (peer_wire::PeerHello { to: 2, ..hello.clone() }, "this is replica 1"),
        (peer_wire::PeerHello { from: 1, ..hello.clone() }, "an identity of its own"),
    ];
    for (hello, expected) in hellos {
        let status = deliver(address, peer_wire::envelope::Message::Hello(hello)).await;
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        assert!(status.message().contains(expected), "{}", status.message());
        assert!(status.metadata().get(PEER_METADATA).is_none());
    }
    let status = deliver(address, peer_wire::envelope::Message::Raft(b"?".to_vec().into())).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("is a hello"), "{status}");
    // After a good hello, what makes no sense.
    let hello = peer_wire::envelope::Message::Hello(hello);
    let bad = peer_wire::envelope::Message::Raft(b"\xff\xff".to_vec().into());
    let messages = [hello.clone(), bad].map(|m| peer_wire::Envelope { message: Some(m) });
    let mut client = connect_peer(address).await;
    let status = within("an answer", client.deliver(tokio_stream::iter(messages))).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // A removed one is told so.
    cluster.wait_leader().await;
    cluster.remove(2).await;
    let status = deliver(address, hello).await;
    assert_eq!(status.metadata().get(PEER_METADATA).unwrap(), REMOVED, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_waits_says_so_and_one_that_serves_is_not_admitted() {
    let cluster = Cluster::found(Limits::default()).await;
    let identity = cluster.get(1).identity();
    let mut client = connect_peer(cluster.address(1)).await;
    let probe = client.probe(peer_wire::ProbeRequest {}).await.unwrap().into_inner();
    assert_eq!((probe.waits, probe.replica_id, probe.version), (false, 1, PEER_VERSION));
    assert_eq!(probe.cluster_id, identity.cluster_id.0);
    let admit = peer_wire::AdmitRequest {
        version: PEER_VERSION,
        cluster_id: identity.cluster_id.0.to_vec(),
        replica_id: 1,
        address: cluster.address(1).to_string(),
    };
    client.admit(admit.clone()).await.expect("it is that one");
    let another = peer_wire::AdmitRequest { replica_id: 2, ..admit.clone() };
    let status = client.admit(another).await.unwrap_err();
    assert!(status.message().contains("does not wait to be added"), "{status}");

    let root = tempfile::tempdir().unwrap();
    let config = Config { join: true, ..mk_config(root.path()) };
    let prepared = Controller::prepare(config.clone()).await.unwrap();
    let address = prepared.address();
    let serving = tokio::spawn(prepared.serve());
    let mut client = connect_peer(address).await;
    let probe = client.probe(peer_wire::ProbeRequest {}).await.unwrap().into_inner();
    assert!(probe.waits && probe.cluster_id.is_empty());
    let wrong = peer_wire::AdmitRequest { version: 99, replica_id: 7, ..admit.clone() };
    let status = client.admit(wrong).await.unwrap_err();
    assert!(status.message().contains("version 99"), "{status}");
    let hosts = client.hosts(peer_wire::HostsRequest::default()).await.unwrap_err();
    assert_eq!(hosts.code(), Code::FailedPrecondition);
    // A client that knows others as well is to go on with them.
    let mut admin = wire::admin_client::AdminClient::new(common::open(address).await);
    let refused = apply(&mut admin, network()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(refused.metadata().get("spanwire-outcome").unwrap(), "not-applied");
    // It was never admitted: it waits again.
    serving.abort();
    let _ = serving.await;
    let prepared = loop {
        match Controller::prepare(config.clone()).await {
            Ok(prepared) => break prepared,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
    };
    let serving = tokio::spawn(prepared.serve());
    tokio::task::yield_now().await;
    assert!(!serving.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_be_reached_makes_no_cluster() {
    let root = tempfile::tempdir().unwrap();
    let config = Config { listen: "0.0.0.0:0".parse().unwrap(), ..mk_config(root.path()) };
    let controller = Controller::start(config.clone()).await.unwrap();
    let add = MembersChange { add: vec!["127.0.0.1:1".to_owned()], ..MembersChange::default() };
    let error = controller.core().change_members(add).await.unwrap_err();
    assert!(error.to_string().contains("Set `advertise`"), "{error}");
    controller.shutdown().await.unwrap();
    let config = Config { advertise: Some("nowhere".to_owned()), ..config };
    let error = Controller::start(config).await.unwrap_err().to_string();
    assert!(error.contains("advertise: address \"nowhere\" has no port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_and_fails_no_write() {
    let mut cluster = Cluster::of(3, Limits::default()).await;
    let leader = cluster.wait_leader().await;
    let follower = cluster.follower().await;
    let mut client = cluster.client(follower).await;
    apply(&mut client, network()).await.unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    // Those at the follower and those at the leader itself.
    let at_follower = tokio::spawn({
        let enough = enough.clone();
        async move {
            let mut written = 0;
            while !enough.load(Ordering::Relaxed) {
                apply(&mut client, [mk_nth(written % 100)]).await.unwrap();
                written += 1;
            }
            written
        }
    });
    let core = cluster.get(leader).core().clone();
    let mut client = cluster.client(leader).await;
    let waiting = tokio::spawn(async move { apply(&mut client, [mk_nth(150)]).await });
    let stopping = cluster.take(leader);
    within("it stops", stopping.shutdown()).await.unwrap();
    drop(core);
    let next = cluster.standing(follower).leader;
    assert!(next != leader && next != 0, "another leads when it has stopped, not {next}");
    // It was applied, or refused before it was begun.
    if let Err(status) = waiting.await.unwrap() {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    enough.store(true, Ordering::Relaxed);
    within("writes go on", at_follower).await.unwrap();
    cluster.start(leader).await;
    cluster.wait_current().await;
    cluster.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_moves_with_what_it_has_when_its_replica_stops() {
    let mut cluster = Cluster::of(3, Limits::default()).await;
    let leader = cluster.wait_leader().await;
    let followers: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let mut client = cluster.client(leader).await;
    apply(&mut client, network()).await.unwrap();
    cluster.wait_equal().await;
    let mut host = FakeHost::connect(cluster.address(followers[0]), "host-2").await;
    let revision = apply(&mut client, [mk_nth(1)]).await.unwrap();
    host.wait_revision(revision).await;
    let held = host.state().held;
    // The others hear of it from the replica that serves it.
    let mut peer = connect_peer(cluster.address(followers[0])).await;
    let request = peer_wire::HostsRequest { hosts: Vec::new(), brief: false };
    let answer = peer.hosts(request).await.unwrap().into_inner().next().await.unwrap().unwrap();
    assert_eq!(answer.revision, revision);
    let [session] = &answer.hosts[..] else { panic!("one host: {answer:?}") };
    let status = session.status.as_ref().unwrap();
    assert_eq!((status.host.as_str(), status.connected), ("host-2", true));
    assert_eq!((status.agent_version.as_str(), session.pending), ("test", 0));
    let mut other = connect_peer(cluster.address(followers[1])).await;
    let request = peer_wire::HostsRequest { hosts: vec!["host-2".to_owned()], brief: true };
    let answer = other.hosts(request).await.unwrap().into_inner().next().await.unwrap().unwrap();
    assert!(answer.hosts.is_empty(), "{answer:?}");

    // Whichever replica is asked to check it, the one that serves it does.
    let request = wire::HostCheckRequest { host: "host-2".to_owned(), here: false };
    let answer = client.host_check(request.clone()).await.unwrap().into_inner();
    assert_eq!((answer.replica, answer.revision), (followers[0], revision));
    assert_eq!(answer.differences, vec![]);
    let request = wire::HostCheckRequest { here: true, ..request };
    let status = client.host_check(request).await.unwrap_err();
    let expected = format!("host host-2 is not connected to replica {leader}");
    assert_eq!(status.message(), expected);

    cluster.stop(followers[0]).await.unwrap();
    let (reason, _) = host.ended().await.expect("a reason");
    assert_eq!(reason, Reason::Draining);
    let mut host = FakeHost::resume(cluster.address(followers[1]), "host-2", 2, held).await;
    let state = host.wait_for("a welcome", |state| state.welcome.is_some()).await;
    assert_eq!((state.welcome, state.batches), (Some(Resume::Current), 0));
    let revision = apply(&mut client, [mk_nth(2)]).await.unwrap();
    host.wait_revision(revision).await;
    assert_eq!(host.state().batches, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_a_leader_keeps_no_hosts_and_takes_none() {
    let mut cluster = Cluster::of(2, Limits::default()).await;
    let mut client = cluster.client(1).await;
    let revision = apply(&mut client, network()).await.unwrap();
    cluster.wait_equal().await;
    let mut host = FakeHost::connect(cluster.address(1), "host-1").await;
    host.wait_revision(revision).await;
    cluster.kill(2);
    eventually("it knows of no leader", || cluster.standing(1).leader == 0).await;
    let newcomer = FakeHost::connect(cluster.address(1), "host-2").await;
    let (reason, detail) = newcomer.ended().await.expect("a reason");
    assert_eq!(reason, Reason::Behind);
    assert!(detail.contains("replica 1 knows of no leader"), "{detail}");
    let (reason, detail) = host.ended().await.expect("a reason");
    assert_eq!((reason, detail.contains("knows of no leader")), (Reason::Behind, true));
    cluster.start(2).await;
    cluster.wait_current().await;
    let mut host = FakeHost::connect(cluster.address(1), "host-1").await;
    host.wait_revision(revision).await;
    // It is told who is well.
    eventually("the load is told", || cluster.get(2).shared().loads.of(1) == Some(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_starts_again() {
    let mut cluster = Cluster::of(3, Limits::default()).await;
    let mut client = cluster.client(2).await;
    apply(&mut client, network()).await.unwrap();
    for id in cluster.ids() {
        cluster.kill(id);
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.wait_current().await;
    let mut client = connect(cluster.get(3)).await;
    apply(&mut client, [mk_host("host-4", "192.0.2.4")]).await.unwrap();
    cluster.wait_equal().await;
}
