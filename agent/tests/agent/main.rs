//! The agent against controllers that follow a script.
//!
//! Each test makes one or more controllers on the loopback, which hand their streams to the test;
//! the datapath is the record driver behind a wrapper that can fail, reject and drift on demand.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic here is a failed test

mod support;

use spanwire_agent::datapath::{Finding, FindingKind};
use spanwire_agent::{
    Activity, Agent, AgentError, METRICS_FILE, STATUS_FILE, STORE_FILE, Status, StoreError,
};
use spanwire_hostproto::wire::host_message::Message as FromHost;
use spanwire_hostproto::wire::{
    self, BatchPart, controller_message::Message as FromController, refused::Reason,
    welcome::Resume,
};
use spanwire_hostproto::{codec, digest, ranges};
use spanwire_topology::view::{HostView, Item};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use support::*;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_view_is_kept_put_in_force_and_acknowledged() {
    let mut controller = Controller::start().await;
    let (mut bench, mut model) = (Bench::new(&[&controller]), Model::default());
    bench.start();
    let (mut stream, hello) = controller.welcome(Resume::Snapshot, 3).await;
    assert_eq!((&*hello.host, hello.revision, hello.cluster_id), ("h1", 0, None));
    assert_eq!(hello.datapath, "test");

    // In parts: nothing happens before the last one.
    let step = model.snapshot(3);
    let (first, second) = (vec![step.updates[0].clone()], vec![step.updates[1].clone()]);
    stream.send(FromController::Part(step.part(0, false, first))).await;
    stream.expect_silence(Duration::from_millis(50)).await;
    assert_eq!(bench.applied(), []);
    stream.send(FromController::Part(step.part(1, true, second))).await;
    let ack = stream.ack().await;
    assert_eq!((ack.revision, ack.rejections), (3, Vec::new()));
    assert_eq!(bench.view(), model.view);

    for revision in 4..10 {
        stream.send_batch(&model.add_member(revision)).await;
        assert_eq!(stream.ack().await.revision, revision);
        assert_eq!(bench.view(), model.view);
    }
    // The first view is compared with whatever the datapath had; the others say what changed.
    let expected: Vec<_> =
        std::iter::once((3, None)).chain((4..10).map(|r| (r, Some(1)))).collect();
    assert_eq!(bench.applied(), expected);
    let status = bench.wait_status("at revision 9", |status| status.revision == 9).await;
    assert_eq!((status.connected, status.activity), (true, Activity::Following));
    assert_eq!((status.items, status.problem), (2, None));
    assert_eq!(status.controller, Some(controller.address.to_string()));
    bench.stop().await;
    // Stopping leaves everything in force.
    assert_eq!(bench.view(), model.view);
    let status = Status::read(bench.directory.path()).unwrap();
    assert_eq!((status.connected, status.activity), (false, Activity::Stopped));
    let metrics = std::fs::read_to_string(bench.directory.path().join(METRICS_FILE)).unwrap();
    assert!(metrics.contains("spanwire_agent_batches_total 7"), "{metrics}");
}

#[tokio::test]
async fn a_restart_enforces_the_view_without_any_controller() {
    let mut controller = Controller::start().await;
    let (mut bench, model) = mk_holding(&mut controller).await;
    drop(controller);
    bench.restart();
    let status = bench.wait_status("in force", |status| status.revision == 3).await;
    assert!(!status.connected);
    assert_eq!(bench.view(), model.view);
    assert_eq!(bench.applied(), [(3, None)]);
    bench
        .wait_status("looking for a controller", |status| {
            status.activity == Activity::Connecting
                && status.problem.as_ref().is_some_and(|it| it.contains("Connection refused"))
        })
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn the_view_is_in_force_before_the_hello() {
    let mut controller = Controller::start().await;
    let (mut bench, model) = mk_holding(&mut controller).await;
    bench.datapath = TestDatapath::default();
    bench.datapath.script.lock().delay = Duration::from_millis(100);
    bench.datapath.script.lock().failures = 2;
    bench.start();
    let mut stream = controller.accept().await;
    assert_eq!(bench.view(), model.view);
    let hello = stream.hello().await;
    assert_eq!((hello.revision, hello.cluster_id), (3, Some(CLUSTER)));
    assert_eq!(hello.digest, model.digest());
    bench.stop().await;
}

#[tokio::test]
async fn a_reconnect_resumes_from_what_is_held() {
    let mut controller = Controller::start().await;
    let (mut bench, mut model) = mk_holding(&mut controller).await;
    bench.restart();
    // The controller has moved on without touching this host.
    let (mut stream, hello) = controller.welcome(Resume::Current, 8).await;
    assert_eq!(hello.revision, 3);
    assert_eq!(stream.ack().await.revision, 8);
    model.step(8, false, Vec::new());
    stream.send_batch(&model.add_member(9)).await;
    assert_eq!(stream.ack().await.revision, 9);
    // The stream breaks: the same agent comes back.
    drop(stream);
    let (mut stream, again) = controller.welcome(Resume::Inventory, 9).await;
    assert_eq!((again.instance, again.revision), (hello.instance, 9));
    assert!(again.attempt > hello.attempt, "{} after {}", again.attempt, hello.attempt);
    match stream.next().await {
        FromHost::Inventory(inventory) => assert_eq!(inventory.entries.len(), 2),
        other => panic!("{other:?}"),
    }
    bench.stop().await;
    // Another run of the same agent, and it says that it is the newer.
    bench.restart();
    let mut stream = controller.accept().await;
    let hello = stream.hello().await;
    assert_eq!(hello.instance, again.instance);
    assert!(hello.attempt > again.attempt, "{} after {}", hello.attempt, again.attempt);
    assert_eq!((hello.revision, hello.digest), (9, model.digest()));
    bench.stop().await;
}

#[tokio::test]
async fn what_came_by_ranges_is_held_over_a_restart() {
    let mut controller = Controller::start().await;
    let (mut bench, mut model) = (Bench::new(&[&controller]), Model::default());
    bench.start();
    let (mut stream, _) = controller.welcome(Resume::Snapshot, 3).await;
    let many = (0..2_000).map(|n| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + 2 * n)));
    let update = codec::encode_full(shard(), 3, &Item::Shard(many.clone().collect()));
    stream.send_batch(&model.step(3, true, vec![update])).await;
    assert_eq!(stream.ack().await.revision, 3);
    drop(stream);

    // Past history: the controller asks for what is held, and then for the ranges of the list.
    let (mut stream, _) = controller.welcome(Resume::Inventory, 9).await;
    assert!(matches!(stream.next().await, FromHost::Inventory(inventory) if inventory.last));
    let keys = vec![codec::key_to_wire(shard())];
    stream.send(FromController::Ranges(wire::RangesRequest { keys })).await;
    let FromHost::Ranges(told) = stream.next().await else { panic!("no ranges") };
    let [list] = told.items.as_slice() else { panic!("{told:?}") };
    let held = codec::held_ranges_from_wire(shard(), &list.bounds, &list.digests).unwrap();
    let mut wanted: Vec<IpAddr> = many.collect();
    wanted.insert(501, Ipv4Addr::from(0x0a00_0000 + 1_001).into());
    wanted.pop();
    let delta = ranges::difference(&held, &Item::Shard(wanted.clone())).unwrap();
    let update = codec::encode_ranges(shard(), 3, 9, &delta);
    assert!(update.len() < 1_000, "{} bytes", update.len());
    stream.send_batch(&model.step(9, false, vec![update])).await;
    assert_eq!(stream.ack().await.revision, 9);
    assert_eq!(*model.view.items[&shard()].item, Item::Shard(wanted));
    assert_eq!(bench.view(), model.view);
    bench.crash().await;

    // What is on disk is the list, not how it came.
    bench.restart();
    let (mut stream, hello) = controller.welcome(Resume::Current, 9).await;
    assert_eq!((hello.revision, hello.digest), (9, model.digest()));
    assert_eq!(stream.ack().await.revision, 9);
    assert_eq!(bench.view(), model.view);
    bench.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_cut_in_the_middle_changes_nothing() {
    let (mut controller, mut bench, mut model, stream) = mk_following().await;
    let before = model.view.clone();
    let step = model.add_member(4);
    stream.send(FromController::Part(step.part(0, false, step.updates.clone()))).await;
    drop(stream);
    let (mut stream, hello) = controller.welcome(Resume::Current, 3).await;
    assert_eq!(hello.revision, 3);
    stream.ack().await;
    assert_eq!(bench.view(), before);
    stream.send_batch(&step).await;
    assert_eq!(stream.ack().await.revision, 4);
    assert_eq!(bench.view(), model.view);
    bench.stop().await;
}

#[tokio::test]
async fn crashes_at_any_moment_never_lose_what_was_acknowledged() {
    let mut controller = Controller::start().await;
    let (mut bench, mut model) = mk_holding(&mut controller).await;
    let mut acknowledged = 3;
    for round in 0..20_u64 {
        bench.restart();
        let mut stream = controller.accept().await;
        let hello = stream.hello().await;
        // Either the last step that was acknowledged, or the one after it, whole.
        assert!(hello.revision >= acknowledged, "{} after {acknowledged}", hello.revision);
        if hello.revision == model.view.revision {
            assert_eq!(hello.digest, model.digest());
            stream.send_welcome(Resume::Current, hello.revision).await;
            acknowledged = stream.ack().await.revision;
        } else {
            stream.send_welcome(Resume::Snapshot, model.view.revision).await;
            stream.send_batch(&model.snapshot(model.view.revision + 1)).await;
            acknowledged = stream.ack().await.revision;
        }
        stream.send_batch(&model.add_member(model.view.revision + 1)).await;
        tokio::time::sleep(Duration::from_millis(round % 5)).await;
        bench.crash().await;
    }
}

#[tokio::test]
async fn a_damaged_store_is_set_aside_and_all_is_fetched_again() {
    let mut controller = Controller::start().await;
    let (mut bench, mut model) = mk_holding(&mut controller).await;
    let store = bench.directory.path().join(STORE_FILE);
    std::fs::write(&store, b"this is no database").unwrap();
    bench.restart();
    let (mut stream, hello) = controller.welcome(Resume::Snapshot, 5).await;
    assert_eq!((hello.revision, hello.cluster_id), (0, None));
    // Whatever is in the datapath stays until the view is here.
    assert_eq!(bench.applied(), []);
    stream.send_batch(&model.snapshot(5)).await;
    assert_eq!(stream.ack().await.revision, 5);
    assert_eq!(bench.view(), model.view);
    let asides = std::fs::read_dir(bench.directory.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".aside-"))
        .count();
    assert_eq!(asides, 1);
    bench.stop().await;
}

#[tokio::test]
async fn an_agent_that_was_superseded_stops_and_says_why() {
    let (_controller, mut bench, model, stream) = mk_following().await;
    stream.refuse(Reason::Superseded).await;
    let error = bench.end().await.unwrap_err();
    assert!(matches!(&error, AgentError::Superseded { host, .. } if host == "h1"), "{error}");
    assert!(error.to_string().contains("because of REASON_SUPERSEDED"), "{error}");
    assert_eq!(bench.view(), model.view);
    let status = Status::read(bench.directory.path()).unwrap();
    assert_eq!(status.activity, Activity::Stopped);
    assert_eq!(status.problem, Some(error.to_string()));
}

#[tokio::test]
async fn a_host_that_is_not_known_asks_again_slowly() {
    let mut controller = Controller::start().await;
    let (mut bench, mut model) = (Bench::new(&[&controller]), Model::default());
    bench.start();
    for reason in [Reason::UnknownHost, Reason::Deleted] {
        let mut stream = controller.accept().await;
        stream.hello().await;
        let start = Instant::now();
        stream.refuse(reason).await;
        let status =
            bench.wait_status("refused", |status| status.activity == Activity::Refused).await;
        assert!(status.problem.unwrap().contains(reason.as_str_name()));
        let next = controller.accept().await;
        assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
        // The next refusal, or the end of it, is on a stream of its own.
        drop(next);
    }
    let (mut stream, _) = controller.welcome(Resume::Snapshot, 3).await;
    stream.send_batch(&model.snapshot(3)).await;
    stream.ack().await;
    bench.wait_status("served", |status| status.connected && status.problem.is_none()).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_controller_that_drains_is_left_for_another() {
    let mut controllers = [Controller::start().await, Controller::start().await];
    let [first, second] = &mut controllers;
    let mut bench = Bench::new(&[first, second]);
    bench.start();
    for _ in 0..3 {
        let (mut stream, other) = tokio::select! {
            stream = first.accept() => (stream, &mut *second),
            stream = second.accept() => (stream, &mut *first),
        };
        stream.hello().await;
        stream.refuse(Reason::Draining).await;
        let start = Instant::now();
        let mut stream = other.accept().await;
        assert!(start.elapsed() < Duration::from_secs(1));
        stream.hello().await;
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_controller_that_says_nothing_is_left_for_another() {
    let (mut silent, mut controller) = (Controller::start().await, Controller::start().await);
    let mut bench = Bench::new(&[&silent, &controller]);
    bench.config.timing.connect_timeout = Duration::from_millis(100);
    bench.start();
    // Whichever is tried first: the one that answers is found.
    let (stream, _) = controller.welcome(Resume::Snapshot, 3).await;
    bench.wait_status("connected", |status| status.connected).await;
    // And kept, however long it has nothing to say.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(Status::read(bench.directory.path()).unwrap().connected);
    drop(stream);
    let _held_open = silent.accept().await;
    let (_stream, _) = controller.welcome(Resume::Snapshot, 3).await;
    bench.wait_status("connected again", |status| status.connected).await;
    bench.stop().await;
}

#[tokio::test]
async fn rejections_are_told_and_told_again_when_they_change() {
    let mut controller = Controller::start().await;
    let (mut bench, mut model) = (Bench::new(&[&controller]), Model::default());
    bench.datapath.script.lock().rejections = vec![rejection("no such device")];
    bench.start();
    let (mut stream, _) = controller.welcome(Resume::Snapshot, 3).await;
    stream.send_batch(&model.snapshot(3)).await;
    let ack = stream.ack().await;
    assert_eq!((ack.revision, ack.rejections.len()), (3, 1));
    assert_eq!(ack.rejections[0].reason, "no such device");
    let status = bench.wait_status("rejected", |status| status.rejections_total == 1).await;
    assert_eq!(status.rejections[0].item, "port 9");
    // An audit that finds the same has nothing to tell.
    stream.expect_silence(Duration::from_millis(200)).await;
    // The device appears.
    {
        let mut script = bench.datapath.script.lock();
        script.rejections.clear();
        let subject = "port 9".to_owned();
        script.findings = vec![Finding { kind: FindingKind::Resolved, subject, repaired: true }];
    }
    let ack = stream.ack().await;
    assert_eq!((ack.revision, ack.rejections), (3, Vec::new()));
    bench.wait_status("resolved", |status| status.rejections_total == 0).await;
    stream.expect_silence(Duration::from_millis(200)).await;
    bench.stop().await;
}

#[tokio::test]
async fn drift_is_reported_and_counted() {
    let (_controller, mut bench, _, mut stream) = mk_following().await;
    for total in 1..4 {
        let finding = Finding {
            kind: FindingKind::Missing,
            subject: "table spanwire".to_owned(),
            repaired: true,
        };
        bench.datapath.script.lock().findings = vec![finding.clone()];
        let drift = stream.drift().await;
        assert_eq!(drift.findings, [finding.to_string()]);
        assert_eq!(drift.repaired_total, total);
    }
    // What cannot be put right is told once, and not every time it is found.
    let broken = Finding { kind: FindingKind::Foreign, subject: "x".to_owned(), repaired: false };
    bench.datapath.script.lock().findings = vec![broken.clone()];
    let drift = stream.drift().await;
    assert_eq!((drift.findings.len(), drift.repaired_total), (1, 3));
    let status = bench.wait_status("told", |status| status.findings == [broken.to_string()]).await;
    assert_eq!(status.repaired_total, 3);
    bench.stop().await;
}

/// Guarantee G13.
#[tokio::test]
async fn a_check_compares_contents_and_a_repair_reaches_datapath_and_disk() {
    let (mut controller, mut bench, mut model, mut stream) = mk_following().await;
    let check = |model: &Model| {
        let items = model.view.items.iter();
        let contents = items.map(|(key, held)| {
            digest::content(&codec::encode_full(*key, held.version, &held.item))
        });
        FromController::Check(wire::Check { revision: 3, digest: digest::contents(contents) })
    };
    stream.send(check(&model)).await;
    let FromHost::Check(result) = stream.next().await else { panic!("no result") };
    assert_eq!((result.revision, result.matches, result.entries.len()), (3, true, 0));
    // The shard should have another member at the very version that is held.
    let members = Item::Shard([1, 2, 9].map(address).to_vec());
    let held = model.view.items.get_mut(&shard()).unwrap();
    held.item = std::sync::Arc::new(members.clone());
    stream.send(check(&model)).await;
    let FromHost::Check(result) = stream.next().await else { panic!("no result") };
    assert_eq!((result.matches, result.entries.len(), result.last), (false, 2, true));
    let updates = vec![codec::encode_full(shard(), 3, &members)];
    let repair = Step { from: 3, to: 3, replace: false, updates };
    let part = BatchPart { repair: true, ..repair.part(0, true, repair.updates.clone()) };
    bench.datapath.script.lock().applied.clear();
    stream.send(FromController::Part(part)).await;
    let ack = stream.ack().await;
    assert_eq!(ack.revision, 3);
    let [repaired] = &ack.repaired[..] else { panic!("{ack:?}") };
    assert_eq!((&*repaired.extra[0], &*repaired.missing[0]), ("10.0.0.3", "10.0.0.9"));
    assert_eq!(bench.datapath.script.lock().applied, [(3, Some(1))]);
    let in_force = bench.datapath.record.view();
    assert_eq!(*in_force.items[&shard()].item, members);
    // A restart comes back to what was repaired, at the same revision.
    bench.stop().await;
    drop(stream);
    bench.restart();
    let (mut stream, hello) = controller.welcome(Resume::Current, 3).await;
    assert_eq!(hello.revision, 3);
    stream.ack().await;
    let in_force = bench.datapath.record.view();
    assert_eq!(*in_force.items[&shard()].item, members);
    stream.send(check(&model)).await;
    let FromHost::Check(result) = stream.next().await else { panic!("no result") };
    assert!(result.matches);
    bench.stop().await;
}

#[tokio::test]
async fn a_datapath_that_fails_is_tried_again_before_anything_is_acknowledged() {
    let (_controller, mut bench, mut model, mut stream) = mk_following().await;
    bench.datapath.script.lock().failures = 3;
    let before = model.view.clone();
    stream.send_batch(&model.add_member(4)).await;
    // The controller waits for an acknowledgement, and is told why there is none.
    let drift = stream.drift().await;
    assert!(drift.findings[0].contains("the test made it fail"), "{drift:?}");
    assert_eq!(bench.view(), before);
    assert_eq!(stream.ack().await.revision, 4);
    assert_eq!(bench.view(), model.view);
    // After a failure nobody knows what is there, so all of it is compared.
    assert_eq!(bench.applied(), [(3, None), (4, None)]);
    bench.wait_status("well", |status| status.problem.is_none() && status.revision == 4).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_during_a_step_does_not_break_the_step() {
    let (mut controller, mut bench, mut model, stream) = mk_following().await;
    bench.datapath.script.lock().delay = Duration::from_millis(300);
    stream.send_batch(&model.add_member(4)).await;
    bench.wait_status("applying", |status| status.activity == Activity::Applying).await;
    drop(stream);
    // The next hello waits for the step.
    let mut stream = controller.accept().await;
    let hello = stream.hello().await;
    assert_eq!((hello.revision, hello.digest), (4, model.digest()));
    assert_eq!(bench.view(), model.view);
    bench.stop().await;
}

#[tokio::test]
async fn a_batch_that_makes_no_sense_is_complained_about() {
    let (_controller, mut bench, mut model, mut stream) = mk_following().await;
    let before = model.view.clone();
    let nonsense = Step { from: 3, to: 4, replace: false, updates: vec![vec![0xff; 9].into()] };
    stream.send_batch(&nonsense).await;
    match stream.next().await {
        FromHost::Complaint(complaint) => assert_eq!(complaint.revision, 3),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.view(), before);
    stream.send_welcome(Resume::Snapshot, 5).await;
    stream.send_batch(&model.snapshot(5)).await;
    assert_eq!(stream.ack().await.revision, 5);
    assert_eq!(bench.view(), model.view);
    bench.stop().await;
}

#[tokio::test]
async fn one_state_directory_has_one_agent() {
    let mut controller = Controller::start().await;
    let (mut bench, _) = mk_holding(&mut controller).await;
    bench.restart();
    let (_stream, _) = controller.welcome(Resume::Current, 3).await;
    let datapath = Box::new(TestDatapath::default());
    let second = Agent::run(bench.config.clone(), datapath, CancellationToken::new()).await;
    let in_use = |error: &AgentError| matches!(error, AgentError::Store(StoreError::InUse { .. }));
    assert!(in_use(&second.unwrap_err()));
    let removed = Agent::remove_all(&bench.config, &mut bench.datapath.clone());
    assert!(in_use(&removed.unwrap_err()));
    bench.stop().await;
}

#[tokio::test]
async fn removing_leaves_nothing() {
    let mut controller = Controller::start().await;
    let (mut bench, model) = mk_holding(&mut controller).await;
    assert_eq!(bench.view(), model.view);
    Agent::remove_all(&bench.config, &mut bench.datapath.clone()).unwrap();
    assert_eq!(bench.view(), HostView::default());
    let left: Vec<_> = std::fs::read_dir(bench.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(STORE_FILE))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(bench.directory.path().join(STATUS_FILE).exists());
    // Removing once more is no error, and the next start begins with nothing.
    Agent::remove_all(&bench.config, &mut bench.datapath.clone()).unwrap();
    bench.restart();
    let mut stream = controller.accept().await;
    assert_eq!(stream.hello().await.revision, 0);
    bench.stop().await;
}
