//! A disk that fails: nothing is acknowledged that is not written, and callers are told what is
//! known.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use spanwire_adminproto::wire as admin;
use spanwire_controller::config::Limits;
use spanwire_controller::consensus::log::LogBounds;
use spanwire_controller::consensus::{LogStore, MemoryLog, StoreError, Write, node};
use spanwire_controller::core::{
    Core, CoreChannel, CoreError, CoreHandle, NoPeers, ProposeError, Replica, ReplicaConfig,
};
use spanwire_controller::data_dir::Identity;
use spanwire_controller::metrics::Metrics;
use spanwire_controller::shared::{Outcome, Shared};
use spanwire_controller::state::{RequestId, wire};
use spanwire_hostproto::ClusterId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// A log that refuses writes once so many were made.
struct FailingLog {
    log: MemoryLog,
    writes_left: AtomicU64,
}

impl LogStore for FailingLog {
    fn write(&self, write: &Write) -> Result<(), StoreError> {
        let left = self.writes_left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(StoreError::Io {
                action: "write",
                path: "log".into(),
                problem: "no space left on device".to_owned(),
            });
        }
        self.writes_left.store(left - 1, Ordering::SeqCst);
        self.log.write(write)
    }

    fn initial_state(&self) -> Result<(HardState, ConfState), StoreError> {
        self.log.initial_state()
    }

    fn bounds(&self) -> LogBounds {
        self.log.bounds()
    }

    fn term(&self, index: u64) -> Result<u64, StoreError> {
        self.log.term(index)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, StoreError> {
        self.log.entries(low, high, bytes_max)
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.log.save_snapshot(snapshot)
    }

    fn compact(&self, index: u64) -> Result<(), StoreError> {
        self.log.compact(index)
    }

    fn snapshot_metadata(&self) -> Option<SnapshotMetadata> {
        self.log.snapshot_metadata()
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.log.snapshot()
    }
}

fn mk_log(voters: &[u64]) -> Arc<FailingLog> {
    let log = MemoryLog::new();
    node::bootstrap(&log, voters).unwrap();
    Arc::new(FailingLog { log, writes_left: AtomicU64::new(u64::MAX) })
}

fn open(log: &Arc<FailingLog>) -> Result<(Core, CoreHandle, CancellationToken), CoreError> {
    let identity = Identity { cluster_id: ClusterId([1; 16]), replica_id: 1 };
    let limits = Limits::default();
    let shared = Arc::new(Shared::new(identity, &limits, Metrics::new().0));
    let config = ReplicaConfig::new(1, String::new(), limits);
    let replica = Replica::open(config, log.clone(), shared.clone(), Box::new(NoPeers))?;
    let stopped = CancellationToken::new();
    let started = Core::start(replica, CoreChannel::new(), shared, stopped.clone(), ());
    let (core, handle) = started.unwrap();
    Ok((core, handle, stopped))
}

async fn propose(handle: &CoreHandle, host: &str) -> Result<Outcome, ProposeError> {
    let key = admin::ObjectKey { kind: "Host".into(), project: String::new(), name: host.into() };
    let resource = admin::Resource {
        key: Some(key),
        spec: Some(admin::resource::Spec::Host(admin::HostSpec::default())),
        ..admin::Resource::default()
    };
    let put = wire::operation::Operation::Put(resource);
    let operation = wire::Operation { operation: Some(put), expected_revision: None };
    let operations = vec![operation];
    let transaction = wire::Transaction { operations, expected_revision: None };
    handle.propose(RequestId::random(), transaction).await
}

fn hosts(handle: &CoreHandle) -> Vec<String> {
    let objects = handle.shared().state.read().export().objects;
    objects.iter().map(|object| object.resource.metadata.name.to_string()).collect()
}

async fn wait_current(handle: &CoreHandle) {
    let mut standing = handle.shared().standing.subscribe();
    standing.wait_for(|standing| standing.is_current).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_not_acknowledged_and_stops_the_core() {
    let log = mk_log(&[1]);
    let (core, handle, stopped) = open(&log).unwrap();
    wait_current(&handle).await;
    propose(&handle, "host-1").await.unwrap().unwrap();
    log.writes_left.store(0, Ordering::SeqCst);
    let error = propose(&handle, "host-2").await.unwrap_err();
    assert!(matches!(error, ProposeError::Unknown(_)), "{error}");
    stopped.cancelled().await;
    assert_eq!(hosts(&handle), ["host-1"], "what is not written is not shown");
    let error = propose(&handle, "host-3").await.unwrap_err();
    assert!(matches!(error, ProposeError::NotProposed(_)), "{error}");
    let error = tokio::task::spawn_blocking(|| core.stop()).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "could not write log: no space left on device");
    // The disk has room again: what was acknowledged is there, and the rest is not.
    log.writes_left.store(u64::MAX, Ordering::SeqCst);
    let (core, handle, _) = open(&log).unwrap();
    wait_current(&handle).await;
    assert_eq!(hosts(&handle), ["host-1"]);
    propose(&handle, "host-2").await.unwrap().unwrap();
    assert_eq!(hosts(&handle), ["host-1", "host-2"]);
    tokio::task::spawn_blocking(|| core.stop()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_before_a_stop_is_done() {
    let log = mk_log(&[1]);
    let (core, handle, _) = open(&log).unwrap();
    wait_current(&handle).await;
    let asked: Vec<_> = (0..50)
        .map(|n| {
            let handle = handle.clone();
            tokio::spawn(async move { propose(&handle, &format!("host-{n}")).await })
        })
        .collect();
    let stop = tokio::task::spawn_blocking(|| core.stop());
    let mut written = 0;
    for task in asked {
        match task.await.unwrap() {
            Ok(outcome) => {
                outcome.unwrap();
                written += 1;
            }
            // Asked for after the stop: known not to be written, or the core ended with it unread.
            Err(ProposeError::NotProposed(_) | ProposeError::Unknown(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    stop.await.unwrap().unwrap();
    assert_eq!(hosts(&handle).len(), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_reaches_no_majority_writes_nothing_and_says_so() {
    let (core, handle, _) = open(&mk_log(&[1, 2, 3])).unwrap();
    let (written, current) = tokio::join!(propose(&handle, "host-1"), handle.wait_current());
    let error = written.unwrap_err();
    assert!(matches!(error, ProposeError::NotProposed(_)), "{error}");
    assert!(error.to_string().contains("a majority of the replicas may be down"), "{error}");
    assert!(current.is_err(), "its state may be old");
    tokio::task::spawn_blocking(|| core.stop()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_too_large_is_refused() {
    let log = mk_log(&[1]);
    let (core, handle, _) = open(&log).unwrap();
    wait_current(&handle).await;
    let long = "x".repeat(200 << 20);
    let error = propose(&handle, &long).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { .. }), "{error}");
    tokio::task::spawn_blocking(|| core.stop()).await.unwrap().unwrap();
}
