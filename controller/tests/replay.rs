//! The same log makes the same state: on every replica, and through snapshots.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

mod common;

use common::fake_host::FakeHost;
use common::{
    apply, connect, eventually, mk_apply, mk_config, mk_group, mk_host, mk_policy, mk_port,
    network, start,
};
use proptest::prelude::*;
use raft::eraftpb::Entry;
use spanwire_adminproto::convert::{from_key, from_resource};
use spanwire_controller::Controller;
use spanwire_controller::config::Limits;
use spanwire_controller::consensus::{LogStore as _, RedbLog};
use spanwire_controller::data_dir::Identity;
use spanwire_controller::metrics::Metrics;
use spanwire_controller::shared::Shared;
use spanwire_controller::state::wire::operation::Operation as WireOperation;
use spanwire_controller::state::{
    RequestId, State, encode_command, encode_snapshot, prepare, restore, stamp, wire,
};
use spanwire_hostproto::ClusterId;
use spanwire_hostproto::wire::welcome::Resume;
use spanwire_topology::model::{ObjectKey, Resource};

/// One operation on a small domain of names, so that transactions meet and clash.
#[derive(Debug, Clone)]
enum Step {
    Put(Resource),
    Delete(ObjectKey, bool),
}

fn any_resource() -> impl Strategy<Value = Resource> {
    let project = prop_oneof![Just("a"), Just("b")];
    let label = prop_oneof![Just("app=web"), Just("app=db"), Just("")];
    let host = prop_oneof![Just(""), Just("host-1"), Just("host-2"), Just("host-9")];
    let port = (project.clone(), 1..5_u8, 1..6_u8, host, label).prop_map(
        |(project, name, address, host, label)| {
            let address = format!("10.0.1.{address}");
            mk_port(project, &format!("port-{name}"), &address, host, label)
        },
    );
    let selector = prop_oneof![Just("app=web"), Just("app=db"), Just("app")];
    let group = (project.clone(), prop_oneof![Just("web"), Just("db")], selector)
        .prop_map(|(project, name, selector)| mk_group(project, name, selector));
    let policy = project.prop_map(|project| mk_policy(project, "policy", "db", "web"));
    let host = (1..4_u8).prop_map(|n| mk_host(&format!("host-{n}"), &format!("192.0.2.{n}")));
    prop_oneof![4 => port, 2 => group, 1 => policy, 1 => host]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_resource().prop_map(Step::Put),
        1 => (any_resource(), any::<bool>())
            .prop_map(|(resource, cascade)| Step::Delete(resource.key(), cascade)),
    ]
}

fn mk_entry(index: u64, steps: &[Step]) -> Entry {
    let operations = steps.iter().map(|step| {
        let operation = match step {
            Step::Put(resource) => WireOperation::Put(from_resource(resource)),
            Step::Delete(key, cascade) => {
                let key = Some(from_key(key));
                WireOperation::Delete(wire::Deletion { key, cascade: *cascade })
            }
        };
        wire::Operation { operation: Some(operation), expected_revision: None }
    });
    let transaction =
        wire::Transaction { operations: operations.collect(), expected_revision: None };
    let id = RequestId(u128::from(index).to_be_bytes());
    let data = stamp(&encode_command(id, 0, transaction), 1_700_000_000_000 + index);
    Entry { index, term: 1, data: data.into(), ..Entry::default() }
}

fn mk_shared() -> Shared {
    let identity = Identity { cluster_id: ClusterId([7; 16]), replica_id: 1 };
    Shared::new(identity, &Limits::default(), Metrics::new().0)
}

/// What became of each entry, in words.
fn run(shared: &Shared, entries: &[Entry]) -> Vec<String> {
    let prepared = entries.iter().filter_map(|entry| prepare(entry).unwrap()).collect();
    let (outcomes, wake) = shared.apply(prepared);
    wake.wake();
    outcomes.into_iter().map(|(request, outcome)| format!("{request}: {outcome:?}")).collect()
}

fn snapshot(shared: &Shared, index: u64) -> Vec<u8> {
    let network = shared.state.read().export();
    let requests = shared.requests.lock().clone();
    encode_snapshot(&State { network, requests, applied_index: index, ..State::default() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_replica_makes_the_same_of_a_log(
        transactions in prop::collection::vec(prop::collection::vec(any_step(), 1..4), 1..25),
        cut in 0..25_usize,
    ) {
        let first: Vec<Step> = network().into_iter().map(Step::Put).collect();
        let log: Vec<Entry> = std::iter::once(&first)
            .chain(&transactions)
            .zip(2..)
            .map(|(steps, index)| mk_entry(index, steps))
            .collect();
        let last = log.last().unwrap().index;
        let (one, two) = (mk_shared(), mk_shared());
        // One takes the log at once, the other entry by entry.
        let outcomes = run(&one, &log);
        let one_by_one = log.iter().flat_map(|entry| run(&two, std::slice::from_ref(entry)));
        let again: Vec<String> = one_by_one.collect();
        prop_assert_eq!(&outcomes, &again);
        prop_assert_eq!(snapshot(&one, last), snapshot(&two, last));
        // A third starts from a snapshot somewhere on the way.
        let cut = cut.min(log.len() - 1) + 1;
        let (before, after) = log.split_at(cut);
        let old = mk_shared();
        run(&old, before);
        let bytes = snapshot(&old, before.last().unwrap().index);
        let state = restore(&bytes).unwrap();
        let three = mk_shared();
        three.restore(state.engine, state.requests);
        prop_assert_eq!(snapshot(&three, before.last().unwrap().index), bytes);
        prop_assert_eq!(run(&three, after), &outcomes[cut..]);
        prop_assert_eq!(snapshot(&three, last), snapshot(&one, last));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_stands_for_the_log_it_replaced() {
    let root = tempfile::tempdir().unwrap();
    let mut config = mk_config(root.path());
    config.limits.snapshot_entries = 20;
    config.limits.log_entries_kept = 5;
    let controller = Controller::start(config.clone()).await.unwrap();
    let mut client = connect(&controller).await;
    apply(&mut client, network()).await.unwrap();
    let mut revision = 0;
    for n in 10..60 {
        let port = mk_port("a", &format!("web-{n}"), &format!("10.0.1.{n}"), "host-1", "app=web");
        revision = apply(&mut client, [port]).await.unwrap();
    }
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let held = host.state().held;
    let shared = controller.shared().clone();
    eventually("a snapshot", || shared.metrics.snapshots.get() > 0).await;
    let before = shared.state.read().export();
    drop(shared);
    controller.shutdown().await.unwrap();
    let log = RedbLog::open(root.path()).unwrap();
    let bounds = log.bounds();
    assert!(bounds.first_index > 10, "the log was not cut: {bounds:?}");
    assert!(log.snapshot_metadata().unwrap().index >= bounds.first_index);
    drop(log);
    let controller = Controller::start(config).await.unwrap();
    assert_eq!(controller.shared().state.read().export(), before);
    // The host holds what it should, by key and version: nothing is sent.
    let mut host = FakeHost::resume(controller.address(), "host-2", 2, held).await;
    let state = host.wait_for("a welcome", |state| state.welcome.is_some()).await;
    assert_eq!(state.welcome, Some(Resume::Current));
    // History starts at the snapshot.
    let mut client = connect(&controller).await;
    let request =
        spanwire_adminproto::wire::WatchRequest { from_revision: Some(2), ..Default::default() };
    let error = client.watch(request).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::OutOfRange);
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_the_same_time_are_all_there() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let client = connect(&controller).await;
    let tasks: Vec<_> = (0..100_u32)
        .map(|n| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let host = mk_host(&format!("host-{n}"), "192.0.2.1");
                let answer = client.apply(mk_apply([host])).await.unwrap().into_inner();
                answer.revision
            })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap());
    }
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 100, "a revision was given twice");
    controller.shutdown().await.unwrap();
    let controller = start(root.path()).await;
    let hosts = controller.shared().state.read().export().objects;
    assert_eq!(hosts.len(), 100);
}
