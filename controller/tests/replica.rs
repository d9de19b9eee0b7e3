//! A replica without a thread: what must be written before what, and what becomes of hosts when the
//! state is replaced.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

use parking_lot::Mutex;
use spanwire_controller::config::Limits;
use spanwire_controller::consensus::{LogStore as _, MemoryLog, node};
use spanwire_controller::core::{
    Answer, CoreError, NoPeers, Now, Replica, ReplicaConfig, Transport,
};
use spanwire_controller::data_dir::Identity;
use spanwire_controller::metrics::Metrics;
use spanwire_controller::peer::{MembersChange, PeerMessage, Request};
use spanwire_controller::shared::Shared;
use spanwire_controller::state::{EndedRequests, RequestId};
use spanwire_hostproto::wire::controller_message::Message;
use spanwire_hostproto::wire::refused::Reason;
use spanwire_hostproto::{ClusterId, Hello};
use spanwire_topology::Engine;
use spanwire_topology::model::{HostSpec, Labels, Resource, Spec, Transaction};
use std::collections::BTreeMap;
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

/// What a replica has sent.
#[derive(Clone, Default)]
struct Outbox(Arc<Mutex<Vec<(u64, PeerMessage)>>>);

impl Transport for Outbox {
    fn send(&mut self, to: u64, message: PeerMessage) -> bool {
        self.0.lock().push((to, message));
        true
    }

    fn set_members(&mut self, _: &BTreeMap<u64, String>) {}
}

/// The answers to what it sent before are still to come, and the Raft core breaks off at one.
#[test]
fn a_leader_that_is_removed_stops_in_the_run_in_which_it_learns_that() {
    let mut replicas: BTreeMap<u64, (Replica<MemoryLog>, Outbox)> = BTreeMap::new();
    for id in [1, 2] {
        let store = Arc::new(MemoryLog::new());
        node::bootstrap(&*store, &[1, 2]).unwrap();
        let outbox = Outbox::default();
        let ticks = if id == 1 { 12..13 } else { 21..22 };
        let config = ReplicaConfig {
            election_ticks: ticks,
            ..ReplicaConfig::new(id, format!("{id}:1"), Limits::default())
        };
        let identity = Identity { cluster_id: ClusterId([1; 16]), replica_id: id };
        let shared = Arc::new(Shared::new(identity, &Limits::default(), Metrics::new().0));
        let transport = Box::new(outbox.clone());
        let mut replica = Replica::open(config, store, shared, transport).unwrap();
        replica.start(Now::default()).unwrap();
        replicas.insert(id, (replica, outbox));
    }
    let (reply, mut answer) = oneshot::channel();
    let change = MembersChange { remove: vec![1], ..MembersChange::default() };
    let mut ask = Some((Request::Members(change), reply));
    for tick in 1..1000 {
        let now = Now { elapsed: Duration::from_millis(50) * tick, wall_ms: 0 };
        let sent: Vec<(u64, u64, PeerMessage)> = replicas
            .iter()
            .flat_map(|(from, (_, outbox))| {
                let sent = std::mem::take(&mut *outbox.0.lock());
                sent.into_iter().map(|(to, message)| (*from, to, message))
            })
            .collect();
        for (from, to, message) in sent {
            replicas.get_mut(&to).unwrap().0.process_peer(from, message);
        }
        let (leader, _) = replicas.get_mut(&1).unwrap();
        if leader.node().is_current_leader()
            && let Some((change, reply)) = ask.take()
        {
            leader.process_request(RequestId([1; 16]), change, reply);
        }
        for (id, (replica, _)) in &mut replicas {
            replica.process_time(now);
            let ran = replica.run_ready();
            if let Some(job) = replica.take_snapshot_job() {
                job.run().unwrap();
                replica.process_snapshot_done();
            }
            let is_member = replica.shared().standing.borrow().membership.ids().contains(id);
            match ran {
                Ok(()) => assert!(is_member, "replica {id} was removed and goes on"),
                Err(CoreError::Removed { replica_id: 1, .. }) => {
                    let answer = answer.try_recv().unwrap().unwrap();
                    assert!(matches!(answer, Answer::Members(ids) if ids == [1]));
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    panic!("it was not removed");
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
