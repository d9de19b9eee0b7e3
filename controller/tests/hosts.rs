//! Host streams over real gRPC.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

mod common;

use common::fake_host::{FakeHost, say};
use common::{
    apply, connect, eventually, key, mk_group, mk_policy, mk_port, mk_switch, network, start,
    start_with_network, wire_key,
};
use spanwire_adminproto::wire;
use spanwire_controller::RunningController;
use spanwire_controller::limits::CONNECTION_HOST_STREAMS_MAX;
use spanwire_hostproto::codec::encode_full;
use spanwire_hostproto::wire as host_wire;
use spanwire_hostproto::wire::refused::Reason;
use spanwire_hostproto::wire::welcome::Resume;
use spanwire_hostproto::{HeldView, PROTOCOL_VERSION, Rejection};
use spanwire_topology::model::Kind;
use spanwire_topology::view::{HostView, Item, ItemKey};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt as _;

/// The items that the engine says a host shall have.
fn expected(controller: &RunningController, host: &str) -> HostView {
    let engine = controller.shared().state.read();
    engine.host_view(engine.host_id(host).unwrap())
}

fn contents(view: &HostView) -> BTreeMap<ItemKey, (u64, Item)> {
    let pairs = view.items.iter().map(|(key, item)| (*key, (item.version, (*item.item).clone())));
    pairs.collect()
}

/// How many measurements of convergence there are.
fn convergences(controller: &RunningController) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    let histogram = controller.shared().metrics.host_convergence_seconds.clone();
    registry.register("convergence", "", histogram);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let count = text.lines().find_map(|line| line.strip_prefix("convergence_count "));
    count.unwrap_or_default().to_owned()
}

async fn wait_equal(controller: &RunningController, host: &FakeHost, name: &str) {
    let same = || {
        let held = host.state().held;
        held.is_some_and(|held| contents(&held.view) == contents(&expected(controller, name)))
    };
    eventually(&format!("{name} has exactly its view"), same).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_exactly_its_view_as_it_changes() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let mut hosts = Vec::new();
    for name in ["host-1", "host-2", "host-3"] {
        let mut host = FakeHost::connect(controller.address(), name).await;
        host.wait_revision(revision).await;
        wait_equal(&controller, &host, name).await;
        hosts.push((name, host));
    }
    // A new web server in project a matters to host-2, where a database is guarded, and by its
    // locator to host-1; project b has nothing to do with it.
    let batches = hosts[2].1.state().batches;
    let port = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=web");
    let revision = apply(&mut client, [port]).await.unwrap();
    hosts[0].1.wait_revision(revision).await;
    hosts[1].1.wait_revision(revision).await;
    for (name, host) in &hosts {
        wait_equal(&controller, host, name).await;
    }
    assert_eq!(hosts[2].1.state().batches, batches, "host-3 was told of another project");
    // How long that took was measured for the two that it concerned, and for nobody else.
    eventually("two are counted", || convergences(&controller) == "2").await;
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_resumes_with_what_differs() {
    let (root, controller, _client, revision) = start_with_network().await;
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let held = host.state().held;
    host.abort();
    // Nothing changed: nothing is sent.
    let mut host = FakeHost::resume(controller.address(), "host-2", 2, held.clone()).await;
    let state = host.wait_for("a welcome", |state| state.welcome.is_some()).await;
    assert_eq!(state.welcome, Some(Resume::Current));
    host.abort();
    // Another controller process, same data; meanwhile one member more.
    controller.shutdown().await.unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let port = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=web");
    let revision = apply(&mut client, [port]).await.unwrap();
    let mut host = FakeHost::resume(controller.address(), "host-2", 3, held).await;
    host.wait_revision(revision).await;
    wait_equal(&controller, &host, "host-2").await;
    let state = host.state();
    assert_eq!(state.welcome, Some(Resume::Inventory));
    assert!(state.items <= 2, "only the shard and the locators differ, not {}", state.items);
}

/// Of long lists only what differs of them is sent when no history reaches back to what is held: the
/// controller that knew it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_resumes_past_history_with_the_ranges_that_differ() {
    let (root, controller, mut client, _) = start_with_network().await;
    let web = |n: u32| {
        // Scattered: addresses in a row would take next to nothing, with ranges or without.
        let address = Ipv4Addr::from(0x0a08_0000 + ((n * 40_503) & 0x7fff)).to_string();
        mk_port("c", &format!("web-{n}"), &address, "host-1", "app=web")
    };
    let mut wide = vec![
        mk_switch("c", "net", "10.8.0.0/16"),
        mk_group("c", "web", "app=web"),
        mk_group("c", "db", "app=db"),
        mk_policy("c", "db", "db", "web"),
        mk_port("c", "db-1", "10.8.255.1", "host-2", "app=db"),
    ];
    wide.extend((1..=3_000).map(web));
    let revision = apply(&mut client, wide).await.unwrap();
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let held = host.state().held;
    host.abort();
    let whole: usize = expected(&controller, "host-2")
        .items
        .iter()
        .map(|(key, held)| encode_full(*key, held.version, &held.item).len())
        .sum();
    controller.shutdown().await.unwrap();

    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let revision = apply(&mut client, [web(3_001)]).await.unwrap();
    let mut host = FakeHost::resume(controller.address(), "host-2", 3, held).await;
    host.wait_revision(revision).await;
    wait_equal(&controller, &host, "host-2").await;
    assert_eq!(host.state().welcome, Some(Resume::Inventory));
    let id = controller.shared().state.read().host_id("host-2").unwrap();
    let sent = controller.shared().publisher.connection(id).unwrap().status().sent_bytes;
    assert!(sent * 10 < whole as u64, "{sent} bytes, where the whole view has {whole}");
}

/// A host that was served by a replica which is ahead is served as soon as this one has caught up.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_ahead_of_its_replica_waits_for_it() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let mut host = FakeHost::connect(controller.address(), "host-3").await;
    host.wait_revision(revision).await;
    let held = host.state().held.unwrap();
    host.abort();
    let ahead = HostView { revision: revision + 1, ..(*held.view).clone() };
    let held = HeldView { view: Arc::new(ahead), ..held };
    let mut host = FakeHost::resume(controller.address(), "host-3", 2, Some(held)).await;
    let id = controller.shared().state.read().host_id("host-3").unwrap();
    let connected = || controller.shared().publisher.connection(id).is_some();
    eventually("it is connected", connected).await;
    assert_eq!(host.state().welcome, None);
    // Nothing of this concerns the host.
    let port = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=web");
    assert_eq!(apply(&mut client, [port]).await.unwrap(), revision + 1);
    let state = host.wait_for("a welcome", |state| state.welcome.is_some()).await;
    assert_eq!((state.welcome, state.batches), (Some(Resume::Current), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_of_two_agents_wins() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let mut older = FakeHost::resume(controller.address(), "host-1", 7, None).await;
    older.wait_revision(revision).await;
    let mut newer = FakeHost::resume(controller.address(), "host-1", 8, None).await;
    newer.wait_revision(revision).await;
    let (reason, detail) = older.ended().await.expect("a reason");
    assert_eq!(reason, Reason::Superseded);
    assert!(detail.contains("another agent connected as host \"host-1\""), "{detail}");
    // The end of the older stream must not take the newer one with it.
    let port = mk_port("a", "db-2", "10.0.1.9", "host-1", "app=db");
    let revision = apply(&mut client, [port]).await.unwrap();
    newer.wait_revision(revision).await;
    wait_equal(&controller, &newer, "host-1").await;
    assert_eq!(controller.shared().publisher.connections().len(), 1);
}

/// What an agent sent before it was killed may get here after it has been started again.
#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_run_of_an_agent_does_not_take_its_place() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let mut agent = FakeHost::start(controller.address(), "host-1", 7, 2, None).await;
    agent.wait_revision(revision).await;
    let earlier = FakeHost::start(controller.address(), "host-1", 7, 1, None).await;
    let (reason, detail) = earlier.ended().await.expect("a reason");
    assert_eq!(reason, Reason::Superseded);
    assert!(detail.contains("connected again since"), "{detail}");
    let port = mk_port("a", "db-2", "10.0.1.9", "host-1", "app=db");
    let revision = apply(&mut client, [port]).await.unwrap();
    agent.wait_revision(revision).await;
    // The next start, while the controller still takes this one for connected.
    let mut next = FakeHost::start(controller.address(), "host-1", 7, 3, None).await;
    next.wait_revision(revision).await;
    let (reason, detail) = agent.ended().await.expect("a reason");
    assert_eq!(reason, Reason::Superseded);
    assert!(detail.contains("this agent connected again"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_a_reason() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let hello = host_wire::Hello {
        protocol_version: PROTOCOL_VERSION,
        host: "nobody".to_owned(),
        instance: 1,
        attempt: 0,
        ..host_wire::Hello::default()
    };
    let mk = |hello: host_wire::Hello| host_wire::HostMessage {
        message: Some(host_wire::host_message::Message::Hello(hello)),
    };
    let version = host_wire::Hello { protocol_version: 99, ..hello.clone() };
    let ack = host_wire::HostMessage {
        message: Some(host_wire::host_message::Message::Ack(host_wire::Ack::default())),
    };
    let cases = [
        (mk(hello), Reason::UnknownHost, "there is no host \"nobody\""),
        (mk(version), Reason::Version, "99"),
        (ack, Reason::Protocol, ""),
        (host_wire::HostMessage { message: None }, Reason::Protocol, ""),
    ];
    for (message, reason, detail) in cases {
        let received = say(controller.address(), message).await;
        let [host_wire::controller_message::Message::Refused(refused)] = &received[..] else {
            panic!("expected one refusal, got {received:?}");
        };
        assert_eq!(refused.reason(), reason);
        assert!(refused.detail.contains(detail), "{}", refused.detail);
        assert!(!refused.detail.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_host_is_told_and_its_name_can_come_back() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let mut host = FakeHost::connect(controller.address(), "host-1").await;
    host.wait_revision(revision).await;
    let request = wire::DeleteRequest {
        keys: wire_key(Kind::Host, "system", "host-1").into_iter().collect(),
        cascade: true,
        ..wire::DeleteRequest::default()
    };
    let deleted = client.delete(request).await.unwrap().into_inner();
    assert_eq!(deleted.results.len(), 2, "the host and its port: {:?}", deleted.results);
    let (reason, _) = host.ended().await.expect("a reason");
    assert_eq!(reason, Reason::Deleted);
    let revision = apply(&mut client, network()).await.unwrap();
    let mut host = FakeHost::connect(controller.address(), "host-1").await;
    host.wait_revision(revision).await;
    wait_equal(&controller, &host, "host-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_controller_sends_hosts_away() {
    let (_root, controller, _client, revision) = start_with_network().await;
    let mut host = FakeHost::connect(controller.address(), "host-1").await;
    host.wait_revision(revision).await;
    controller.shutdown().await.unwrap();
    let (reason, _) = host.ended().await.expect("a reason");
    assert_eq!(reason, Reason::Draining);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_when_every_host_of_the_span_has_it() {
    let (_root, controller, mut client, _) = start_with_network().await;
    let request = wire::WaitRealizedRequest {
        key: wire_key(Kind::LogicalPort, "a", "web-1"),
        revision: None,
    };
    let mut progress = client.wait_realized(request).await.unwrap().into_inner();
    let first = progress.next().await.unwrap().unwrap();
    let missing: Vec<_> =
        first.missing.iter().map(|m| (m.host.as_str(), m.reason.as_str())).collect();
    assert_eq!(missing, [("host-1", "not connected"), ("host-2", "not connected")]);
    assert!(!first.done);
    let _one = FakeHost::connect(controller.address(), "host-1").await;
    let _two = FakeHost::connect(controller.address(), "host-2").await;
    let mut last = first;
    while let Some(message) = progress.next().await {
        last = message.unwrap();
    }
    assert!(last.done, "{last:?}");
    assert_eq!((last.hosts, last.realized), (2, 2));
    // Every host: host-3 is missing still.
    let request = wire::WaitRealizedRequest::default();
    let mut progress = client.wait_realized(request).await.unwrap().into_inner();
    let first = progress.next().await.unwrap().unwrap();
    assert_eq!((first.hosts, first.realized, first.missing.len()), (3, 2, 1));
    let future = wire::WaitRealizedRequest { key: None, revision: Some(1 << 40) };
    let error = client.wait_realized(future).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_names_the_object_until_it_is_gone() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let policy = key(Kind::SecurityPolicy, "a", "db");
    let uid = controller.shared().state.read().get(&policy).unwrap().uid;
    let reason = "no room in the table".to_owned();
    host.reject(vec![Rejection { key: ItemKey::Policy(uid), reason }]);
    let mut changed = network().into_iter().find(|r| r.key() == policy).unwrap();
    let labels = [("touched".into(), "yes".into())].into_iter().collect();
    changed.metadata.labels = Arc::new(labels);
    let port = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=web");
    let revision = apply(&mut client, [changed, port]).await.unwrap();
    host.wait_revision(revision).await;
    let request = wire::WaitRealizedRequest {
        key: wire_key(Kind::SecurityPolicy, "a", "db"),
        revision: None,
    };
    let mut progress = client.wait_realized(request).await.unwrap().into_inner();
    let expected = "it rejected policy a/db: no room in the table";
    loop {
        let message = progress.next().await.unwrap().unwrap();
        assert!(!message.done, "{message:?}");
        if message.missing.first().is_some_and(|missing| missing.reason == expected) {
            break;
        }
    }
    let request = wire::HostStatusRequest { hosts: vec!["host-2".to_owned()] };
    let status = client.host_status(request).await.unwrap().into_inner().hosts.remove(0);
    assert!(status.connected);
    assert_eq!((status.datapath.as_str(), status.agent_version.as_str()), ("record", "test"));
    assert_eq!(status.realized_revision, revision);
    assert_eq!(status.view_revision, revision);
    assert_eq!(status.rejections[0].object, wire_key(Kind::SecurityPolicy, "a", "db"));
    assert!(status.bytes_sent > 0 && status.batches_sent >= 2, "{status:?}");
    // The host can apply it after all, and says so with the next revision.
    host.reject(Vec::new());
    apply(&mut client, [mk_port("a", "web-3", "10.0.1.4", "host-1", "app=web")]).await.unwrap();
    let mut last = None;
    while let Some(message) = progress.next().await {
        last = Some(message.unwrap());
    }
    assert!(last.unwrap().done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_opens_a_thousand_streams_is_stopped_and_holds_up_nobody() {
    let (_root, controller, mut client, _) = start_with_network().await;
    let channel = common::open(controller.address()).await;
    let mut hostile = host_wire::host_stream_client::HostStreamClient::new(channel);
    // None of them ever says hello.
    let silent = || {
        let (outbound, messages) = tokio::sync::mpsc::channel::<host_wire::HostMessage>(1);
        (outbound, tokio_stream::wrappers::ReceiverStream::new(messages))
    };
    let (mut open, mut refused) = (Vec::new(), 0);
    for _ in 0..1000 {
        let (outbound, messages) = silent();
        match hostile.subscribe(messages).await {
            Ok(stream) => open.push((outbound, stream)),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
                assert!(status.message().contains("host streams open"), "{status:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((open.len(), refused), (CONNECTION_HOST_STREAMS_MAX, 936));
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    let port = mk_port("a", "web-9", "10.0.1.9", "host-1", "app=web");
    let revision = apply(&mut client, [port]).await.unwrap();
    host.wait_revision(revision).await;
    wait_equal(&controller, &host, "host-2").await;
    // What it closes it may open again.
    drop(open);
    let mut again = false;
    for _ in 0..500 {
        let (_outbound, messages) = silent();
        again = hostile.subscribe(messages).await.is_ok();
        if again {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(again, "closed streams are still counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_read_holds_up_nobody() {
    let (_root, controller, mut client, _) = start_with_network().await;
    // Says hello, and then neither reads nor acknowledges.
    let channel = common::open(controller.address()).await;
    let mut stalled = host_wire::host_stream_client::HostStreamClient::new(channel);
    let (outbound, messages) = tokio::sync::mpsc::channel(1);
    let hello = host_wire::Hello {
        protocol_version: PROTOCOL_VERSION,
        host: "host-1".to_owned(),
        instance: 1,
        attempt: 0,
        ..host_wire::Hello::default()
    };
    let hello = host_wire::host_message::Message::Hello(hello);
    outbound.send(host_wire::HostMessage { message: Some(hello) }).await.unwrap();
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let _unread = stalled.subscribe(messages).await.unwrap();
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    let mut revision = 0;
    for n in 10..60 {
        let port = mk_port("a", &format!("web-{n}"), &format!("10.0.1.{n}"), "host-1", "app=web");
        revision = apply(&mut client, [port]).await.unwrap();
    }
    host.wait_revision(revision).await;
    wait_equal(&controller, &host, "host-2").await;
    let id = controller.shared().state.read().host_id("host-1").unwrap();
    let connection = controller.shared().publisher.connection(id).expect("still connected");
    assert_eq!(connection.status().acked_revision, 0);
    tokio::time::timeout(Duration::from_secs(20), controller.shutdown()).await.unwrap().unwrap();
}

/// What a host holds, with an address in a shard that is not true; the shard.
fn falsified(held: HeldView) -> (HeldView, ItemKey) {
    let mut view = (*held.view).clone();
    let mut items = view.items.iter_mut();
    let (key, item) =
        items.find(|(_, item)| matches!(&*item.item, Item::Shard(_))).expect("a shard");
    let key = *key;
    let Item::Shard(addresses) = &*item.item else { panic!("not a shard") };
    let mut addresses = addresses.clone();
    addresses.remove(0);
    addresses.push("10.99.0.9".parse().unwrap());
    item.item = Arc::new(Item::Shard(addresses));
    (HeldView { view: Arc::new(view), ..held }, key)
}

async fn check_host(
    client: &mut common::Client,
    host: &str,
) -> Result<wire::HostCheckResponse, tonic::Status> {
    let request = wire::HostCheckRequest { host: host.to_owned(), here: false };
    client.host_check(request).await.map(tonic::Response::into_inner)
}

/// Guarantee G13: keys and versions are right, and what is under them is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_on_demand_finds_and_repairs_what_differs() {
    let (_root, controller, mut client, revision) = start_with_network().await;
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let held = host.state().held.unwrap();
    let answer = check_host(&mut client, "host-2").await.unwrap();
    assert_eq!((answer.items, answer.replica), (held.view.items.len() as u64, 1));
    assert_eq!(
        (answer.revision, answer.repaired_revision, answer.differences),
        (revision, 0, vec![])
    );
    host.abort();
    let id = controller.shared().state.read().host_id("host-2").unwrap();
    let is_gone = || controller.shared().publisher.connection(id).is_none();
    eventually("it is gone", is_gone).await;

    let (wrong, key) = falsified(held);
    let mut host = FakeHost::resume(controller.address(), "host-2", 2, Some(wrong.clone())).await;
    let state = host.wait_for("a welcome", |state| state.welcome.is_some()).await;
    assert_eq!(state.welcome, Some(Resume::Current), "keys and versions are right");
    let answer = check_host(&mut client, "host-2").await.unwrap();
    let [difference] = &answer.differences[..] else { panic!("{answer:?}") };
    assert_eq!(difference.item, key.to_string());
    assert_eq!(difference.object.as_ref().map(|object| &*object.kind), Some("Group"));
    assert_eq!(difference.found(), wire::host_difference::Found::Differs);
    assert_eq!(difference.extra, ["10.99.0.9"]);
    assert_eq!((difference.missing.len(), difference.missing_count), (1, 1));
    assert_eq!(answer.repaired_revision, revision);
    wait_equal(&controller, &host, "host-2").await;
    assert_eq!(host.state().items, 1, "just that is sent");
    let answer = check_host(&mut client, "host-2").await.unwrap();
    assert_eq!(answer.differences, vec![]);
    let request = wire::HostStatusRequest { hosts: vec!["host-2".to_owned()] };
    let status = client.host_status(request).await.unwrap().into_inner();
    assert_eq!((status.hosts[0].checks, status.hosts[0].check_repaired), (2, 1));
    assert_eq!(controller.shared().metrics.host_check_repairs.get(), 1);
    assert_eq!(controller.shared().metrics.host_checks.get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_cannot_be_checked_are_told_why() {
    let (_root, controller, mut client, _) = start_with_network().await;
    let status = check_host(&mut client, "host-2").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(status.message().contains("connected to no replica"), "{}", status.message());
    let status = check_host(&mut client, "nobody").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    // An agent of a release before there were checks.
    let channel = common::open(controller.address()).await;
    let mut agent = host_wire::host_stream_client::HostStreamClient::new(channel);
    let (outbound, messages) = tokio::sync::mpsc::channel(1);
    let hello = host_wire::Hello {
        protocol_version: PROTOCOL_VERSION,
        host: "host-1".to_owned(),
        instance: 1,
        agent_version: "0.0.9".to_owned(),
        ..host_wire::Hello::default()
    };
    let hello = host_wire::host_message::Message::Hello(hello);
    outbound.send(host_wire::HostMessage { message: Some(hello) }).await.unwrap();
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let _stream = agent.subscribe(messages).await.unwrap();
    let id = controller.shared().state.read().host_id("host-1").unwrap();
    let connected = || controller.shared().publisher.connection(id).is_some();
    eventually("it is connected", connected).await;
    let status = check_host(&mut client, "host-1").await.unwrap_err();
    assert!(status.message().contains("release 0.0.9"), "{}", status.message());
}

/// Nobody has to ask.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_checked_on_a_schedule() {
    let (root, controller, _client, revision) = start_with_network().await;
    let mut host = FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let (wrong, _) = falsified(host.state().held.unwrap());
    host.abort();
    controller.shutdown().await.unwrap();
    let mut config = common::mk_config(root.path());
    config.host_check_seconds = 1;
    let controller = spanwire_controller::Controller::start(config).await.unwrap();
    let host = FakeHost::resume(controller.address(), "host-2", 2, Some(wrong)).await;
    wait_equal(&controller, &host, "host-2").await;
    assert_eq!(host.state().items, 1);
    eventually("it is counted", || controller.shared().metrics.host_check_repairs.get() == 1).await;
}
