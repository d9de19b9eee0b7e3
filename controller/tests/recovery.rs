//! Backup and restore, recovery of a survivor, and what the cluster's calls say of a replica alone.

// A panic here is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use common::fake_host::FakeHost;
use common::{Client, apply, connect, get, key, mk_apply, mk_port, start, start_with_network};
use spanwire_adminproto::{backup, wire};
use spanwire_controller::recovery::{RecoveryError, plan_recovery, recover, restore};
use spanwire_controller::state::{Members, State, decode_snapshot, encode_snapshot};
use spanwire_hostproto::wire::welcome::Resume;
use spanwire_topology::model::Kind;
use std::fs::File;
use std::path::Path;
use tonic::Code;

/// Makes a backup, and returns what is in it.
async fn back_up(client: &mut Client, path: &Path) -> (wire::BackupHeader, State) {
    let mut stream = client.backup(wire::BackupRequest {}).await.unwrap().into_inner();
    let mut file = backup::Writer::new(File::create(path).unwrap()).unwrap();
    while let Some(part) = stream.message().await.unwrap() {
        file.write(&part).unwrap();
    }
    let (header, bytes) = backup::read(std::fs::read(path).unwrap().as_slice()).unwrap();
    (header, decode_snapshot(&bytes).unwrap())
}

/// The network and the requests of a state, as bytes.
fn to_bytes(state: State) -> Vec<u8> {
    encode_snapshot(&State { applied_index: u64::MAX, members: Members::default(), ..state })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_is_what_was_backed_up() {
    let (root, controller, mut client, _) = start_with_network().await;
    let port = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=web");
    let request = wire::ApplyRequest { request_id: vec![9; 16], ..mk_apply([port]) };
    let first = client.apply(request.clone()).await.unwrap().into_inner().revision;
    let relabelled = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=other");
    let revision = apply(&mut client, [relabelled]).await.unwrap();
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    let view = host.wait_revision(revision).await;
    let held = host.state().held;
    let file = root.path().join("backup");
    let (header, state) = back_up(&mut client, &file).await;
    assert_eq!(header.cluster_id, controller.identity().cluster_id.to_string());
    assert_eq!(header.revision, revision);
    host.abort();
    controller.shutdown().await.unwrap();

    let data_dir = root.path().join("restored");
    let report = restore(&file, &data_dir).unwrap();
    assert_eq!(report.backup_cluster_id, header.cluster_id);
    let controller = start(&data_dir).await;
    assert_eq!(controller.identity().cluster_id, report.cluster_id);
    assert_ne!(controller.identity().cluster_id.to_string(), header.cluster_id);
    let mut client = connect(&controller).await;
    let (again, restored) = back_up(&mut client, &root.path().join("again")).await;
    assert!(again.index > header.index, "the log goes on where it was");
    assert!(to_bytes(restored) == to_bytes(state), "the state is another");
    // What was applied before stays applied, and is not applied again.
    let repeated = client.apply(request).await.unwrap().into_inner();
    assert_eq!((repeated.revision, repeated.repeated), (first, true));
    // A host that comes with a view of the old cluster takes everything anew.
    let mut host = FakeHost::resume(controller.address(), "host-2", 2, held).await;
    let is_new = |state: &common::fake_host::State| {
        state.held.as_ref().is_some_and(|held| held.cluster_id == report.cluster_id)
    };
    let state = host.wait_for("a view of the new cluster", is_new).await;
    assert_eq!(state.welcome, Some(Resume::Snapshot));
    assert_eq!(state.held.unwrap().view.items, view.items);
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_makes_no_directory() {
    let (root, controller, mut client, _) = start_with_network().await;
    let file = root.path().join("backup");
    back_up(&mut client, &file).await;
    let good = std::fs::read(&file).unwrap();
    let data_dir = root.path().join("restored");
    let refuse = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let error = restore(&file, &data_dir).unwrap_err();
        assert!(matches!(error, RecoveryError::Backup { .. }), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        assert!(!data_dir.exists());
    };
    refuse(&good[..good.len() - 1]);
    let mut altered = good.clone();
    altered[good.len() / 2] ^= 1;
    refuse(&altered);
    refuse(b"apiVersion: v1");
    std::fs::write(&file, &good).unwrap();
    let error = restore(&file, root.path()).unwrap_err();
    assert!(matches!(error, RecoveryError::NotEmpty { .. }), "{error}");
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_keeps_what_was_acknowledged() {
    let (root, controller, mut client, _) = start_with_network().await;
    let port = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=web");
    let revision = apply(&mut client, [port]).await.unwrap();
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let held = host.state().held;
    let error = recover(root.path()).unwrap_err().to_string();
    assert!(error.contains("is in use by another controller"), "{error}");
    host.abort();
    let old = controller.identity();
    controller.shutdown().await.unwrap();

    let plan = plan_recovery(root.path()).unwrap();
    assert_eq!(
        (plan.old_cluster_id, plan.replica_id, plan.revision),
        (old.cluster_id, 1, revision)
    );
    let report = recover(root.path()).unwrap();
    let controller = start(root.path()).await;
    assert_eq!(Some(controller.identity().cluster_id), report.new_cluster_id);
    assert_ne!(controller.identity().cluster_id, old.cluster_id);
    let mut client = connect(&controller).await;
    get(&mut client, &key(Kind::LogicalPort, "a", "web-2")).await.unwrap();
    let mut host = FakeHost::resume(controller.address(), "host-2", 2, held).await;
    let is_new = |state: &common::fake_host::State| {
        state.held.as_ref().is_some_and(|held| Some(held.cluster_id) == report.new_cluster_id)
    };
    host.wait_for("a view of the new cluster", is_new).await;
    let port = mk_port("a", "web-3", "10.0.1.4", "host-1", "app=web");
    assert!(apply(&mut client, [port]).await.unwrap() > plan.last_index);
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_alone_says_how_it_is_and_what_it_cannot_do() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let status = client.cluster_status(wire::ClusterStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.replica, status.leader, status.revision), (1, 1, revision));
    assert!(status.current && !status.changing_members && !status.release.is_empty());
    assert_eq!((status.log_first, status.hosts_connected, status.requests_waiting), (1, 1, 0));
    assert!(status.log_last >= revision && status.committed_revision >= revision);
    let [replica] = status.replicas.as_slice() else { panic!("{status:?}") };
    assert_eq!((replica.id, replica.role.as_str(), replica.voter), (1, "leader", true));
    let hosts = client.host_status(wire::HostStatusRequest::default()).await.unwrap().into_inner();
    let replicas: Vec<_> =
        hosts.hosts.iter().map(|host| (host.host.as_str(), host.replica)).collect();
    assert_eq!(replicas, [("host-1", 0), ("host-2", 1), ("host-3", 0)]);
    assert!(hosts.silent.is_empty());

    let nowhere = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let add = |address: &str| wire::ChangeMembersRequest {
        add: vec![address.to_owned()],
        ..wire::ChangeMembersRequest::default()
    };
    let mut refused = async |request: wire::ChangeMembersRequest, expected: &str, code: Code| {
        let status = client.change_members(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(expected), "{status}");
    };
    let expected = format!("{nowhere} does not answer");
    refused(add(&nowhere), &expected, Code::FailedPrecondition).await;
    refused(add("nowhere"), "expected HOST:PORT", Code::InvalidArgument).await;
    let none = wire::ChangeMembersRequest::default();
    refused(none, "nothing to change", Code::InvalidArgument).await;
    let unknown = wire::ChangeMembersRequest { promote: vec![7], ..Default::default() };
    refused(unknown, "replica 7 is no member", Code::FailedPrecondition).await;
    let last = wire::ChangeMembersRequest { remove: vec![1], ..Default::default() };
    refused(last, "a cluster needs a voter", Code::FailedPrecondition).await;
    let transfer = wire::TransferLeadershipRequest { to: 0 };
    let status = client.transfer_leadership(transfer).await.unwrap_err();
    assert!(status.message().contains("no other voter is heard from"), "{status}");
    let transfer = wire::TransferLeadershipRequest { to: 1 };
    let leader = client.transfer_leadership(transfer).await.unwrap().into_inner().leader;
    assert_eq!(leader, 1, "it leads already");
    controller.shutdown().await.unwrap();
}
