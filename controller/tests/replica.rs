//! A replica without a thread: what must be written before what, and what becomes of hosts when the
//! state is replaced.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

use spanwire_controller::config::Limits;
use spanwire_controller::consensus::{LogStore as _, MemoryLog, node};
use spanwire_controller::core::{Answer, NoPeers, Now, Replica, ReplicaConfig};
use spanwire_controller::data_dir::Identity;
use spanwire_controller::metrics::Metrics;
use spanwire_controller::peer::{MembersChange, Request};
use spanwire_controller::shared::Shared;
use spanwire_controller::state::{EndedRequests, RequestId};
use spanwire_hostproto::wire::controller_message::Message;
use spanwire_hostproto::wire::refused::Reason;
use spanwire_hostproto::{ClusterId, Hello};
use spanwire_topology::Engine;
use spanwire_topology::model::{HostSpec, Labels, Resource, Spec, Transaction};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

fn mk_shared() -> Arc<Shared> {
    let identity = Identity { cluster_id: ClusterId([1; 16]), replica_id: 1 };
    Arc::new(Shared::new(identity, &Limits::default(), Metrics::new().0))
}

/// A replica that forgot in a crash that a change of members was committed would go by the old members.
#[test]
fn that_a_change_of_members_is_committed_is_written_before_it_is_applied() {
    let store = Arc::new(MemoryLog::new());
    node::bootstrap(&*store, &[1]).unwrap();
    let config = ReplicaConfig::new(1, "a:1".to_owned(), Limits::default());
    let mut replica = Replica::open(config, store.clone(), mk_shared(), Box::new(NoPeers)).unwrap();
    replica.start(Now::default()).unwrap();
    let (reply, mut answer) = oneshot::channel();
    let add = MembersChange { add: vec!["b:1".to_owned()], ..MembersChange::default() };
    replica.process_request(RequestId([1; 16]), Request::Members(add), reply);
    let mut elapsed = Duration::ZERO;
    let added = loop {
        // A snapshot is taken first, and the request is tried again after it.
        elapsed += Duration::from_millis(50);
        replica.process_time(Now { elapsed, wall_ms: 0 });
        replica.run_ready().unwrap();
        if let Some(job) = replica.take_snapshot_job() {
            job.run().unwrap();
            replica.process_snapshot_done();
        }
        if let Ok(answer) = answer.try_recv() {
            break answer.unwrap();
        }
        assert!(elapsed < Duration::from_secs(60), "no answer");
    };
    assert!(matches!(added, Answer::Members(ids) if ids == [2]));
    let (hard_state, _) = store.initial_state().unwrap();
    let last = store.bounds().last_index;
    let changes: Vec<u64> = store
        .entries(store.bounds().first_index, last + 1, u64::MAX)
        .unwrap()
        .iter()
        .filter(|entry| entry.entry_type != 0)
        .map(|entry| entry.index)
        .collect();
    assert_eq!(changes.len(), 1);
    assert!(hard_state.commit >= changes[0], "{} of {}", hard_state.commit, changes[0]);
}

#[test]
fn hosts_begin_anew_when_the_state_is_replaced() {
    let shared = mk_shared();
    let host = Resource::new("system", "host-1", Labels::new(), Spec::Host(HostSpec::default()));
    shared.state.write().apply(&Transaction::put(vec![host]), 2).unwrap();
    let hello = Hello {
        host: "host-1".into(),
        instance: 1,
        attempt: 0,
        cluster_id: None,
        revision: 0,
        digest: 0,
        check_version: 0,
        ranges_version: 0,
        agent_version: String::new(),
        datapath: String::new(),
    };
    let connected = shared.publisher.connect(&mut shared.state.write(), hello, 0);
    let connection = connected.unwrap();
    shared.restore(Engine::new(), EndedRequests::default());
    assert!(shared.publisher.connections().is_empty());
    let now = Duration::ZERO;
    let message = connection.next_message(&shared.publisher, &shared.state.read(), now);
    let Some(Message::Refused(refused)) = message.unwrap().message else { panic!("not refused") };
    assert_eq!(refused.reason(), Reason::Draining);
    assert!(connection.is_ended());
}
