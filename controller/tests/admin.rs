//! The admin API over real gRPC, and restarts.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

mod common;

use common::{
    Client, apply, as_wire, connect, get, key, mk_apply, mk_config, mk_group, mk_host, mk_port,
    network, start, stripped, wire_key,
};
use spanwire_adminproto::convert::refusal_of;
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::object_result::Outcome;
use spanwire_adminproto::wire::watch_event::Type;
use spanwire_controller::Controller;
use spanwire_topology::model::Kind;
use tokio_stream::StreamExt as _;
use tonic::Code;

fn outcomes(results: &[wire::ObjectResult]) -> Vec<(String, Outcome)> {
    let name = |key: &Option<wire::ObjectKey>| {
        let key = key.clone().unwrap();
        format!("{} {}/{}", key.kind, key.project, key.name)
    };
    results.iter().map(|result| (name(&result.key), result.outcome())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let identity = controller.identity();
    let mut client = connect(&controller).await;
    let first = apply(&mut client, network()).await.unwrap();
    let port = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=web");
    let second = apply(&mut client, [port.clone()]).await.unwrap();
    assert!(second > first);
    // Not shut down: dropped, as if it had been killed. The lock goes with the process, or here
    // with the value.
    drop(controller);
    let controller = loop {
        match Controller::start(mk_config(root.path())).await {
            Ok(controller) => break controller,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(controller.identity(), identity);
    let mut client = connect(&controller).await;
    for resource in network().iter().chain([&port]) {
        let found = get(&mut client, &resource.key()).await.unwrap();
        assert_eq!(stripped(&found), as_wire(resource));
        let status = found.status.unwrap();
        let expected = if resource.key() == port.key() { second } else { first };
        assert_eq!((status.created_revision, status.revision), (expected, expected));
    }
    let third = apply(&mut client, [mk_host("host-4", "192.0.2.4")]).await.unwrap();
    assert!(third > second);
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_has_one_controller() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let error = Controller::start(mk_config(root.path())).await.unwrap_err().to_string();
    assert!(error.contains("is in use by another controller"), "{error}");
    let mut elsewhere = mk_config(root.path());
    elsewhere.data_dir = root.path().join("other");
    elsewhere.listen = controller.address();
    let error = Controller::start(elsewhere).await.unwrap_err().to_string();
    assert!(error.contains("could not listen on 127.0.0.1"), "{error}");
    controller.shutdown().await.unwrap();
    start(root.path()).await.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_applied_whole_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let revision = apply(&mut client, network()).await.unwrap();
    // The second of the two has an address that is taken.
    let good = mk_port("a", "web-2", "10.0.1.3", "host-1", "app=web");
    let clash = mk_port("a", "web-3", "10.0.1.1", "host-2", "app=web");
    let error = apply(&mut client, [good.clone(), clash]).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("10.0.1.1 is the address of both"), "{error}");
    let refusal = refusal_of(&error).expect("details");
    let named: Vec<_> = refusal.object.iter().chain(&refusal.others).map(|k| &k.name).collect();
    assert!(named.contains(&&"web-1".to_owned()) && named.contains(&&"web-3".to_owned()));
    let error = get(&mut client, &good.key()).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    // A dry run says the same and changes nothing.
    let dry = wire::ApplyRequest { dry_run: true, ..mk_apply([good.clone()]) };
    let answer = client.apply(dry).await.unwrap().into_inner();
    assert_eq!(answer.revision, revision);
    let expected = [("LogicalPort a/web-2".to_owned(), Outcome::Created)];
    assert_eq!(outcomes(&answer.results), expected);
    assert_eq!(get(&mut client, &good.key()).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_already_so_costs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let revision = apply(&mut client, network()).await.unwrap();
    let applied_index = controller.shared().standing.borrow().applied_index;
    let answer = client.apply(mk_apply(network())).await.unwrap().into_inner();
    assert_eq!(answer.revision, revision);
    assert!(answer.results.iter().all(|result| result.outcome() == Outcome::Unchanged));
    assert_eq!(answer.results.len(), network().len());
    assert_eq!(controller.shared().standing.borrow().applied_index, applied_index);
}

#[tokio::test(flavor = "multi_thread")]
async fn expected_revisions_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let host = mk_host("host-1", "192.0.2.1");
    let with = |host, item: Option<u64>, state: Option<u64>| {
        let mut request = mk_apply([host]);
        request.items[0].expected_revision = item;
        request.expected_revision = state;
        request
    };
    let first = client.apply(with(host.clone(), Some(0), Some(0))).await.unwrap().into_inner();
    let moved = mk_host("host-1", "192.0.2.9");
    let error = client.apply(with(moved.clone(), Some(0), None)).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let error = client.apply(with(moved.clone(), None, Some(0))).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    // Also where nothing would change.
    let error = client.apply(with(host, Some(0), None)).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let request = with(moved, Some(first.revision), Some(first.revision));
    let second = client.apply(request).await.unwrap().into_inner();
    assert_eq!(outcomes(&second.results), [("Host system/host-1".to_owned(), Outcome::Configured)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_is_deleted_only_with_its_users() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    apply(&mut client, network()).await.unwrap();
    let request = |cascade, dry_run| wire::DeleteRequest {
        keys: wire_key(Kind::Group, "a", "web").into_iter().collect(),
        cascade,
        dry_run,
        expected_revision: None,
        request_id: Default::default(),
    };
    let error = client.delete(request(false, false)).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("still used by policy a/db"), "{error}");
    let refusal = refusal_of(&error).expect("details");
    assert_eq!(
        refusal.others,
        wire_key(Kind::SecurityPolicy, "a", "db").into_iter().collect::<Vec<_>>()
    );
    let expected = [
        ("Group a/web".to_owned(), Outcome::Deleted),
        ("SecurityPolicy a/db".to_owned(), Outcome::Deleted),
    ];
    let dry = client.delete(request(true, true)).await.unwrap().into_inner();
    assert_eq!(outcomes(&dry.results), expected);
    get(&mut client, &key(Kind::Group, "a", "web")).await.expect("it was a dry run");
    let deleted = client.delete(request(true, false)).await.unwrap().into_inner();
    assert_eq!(outcomes(&deleted.results), expected);
    let error = get(&mut client, &key(Kind::SecurityPolicy, "a", "db")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

async fn list_all(client: &mut Client, request: wire::ListRequest) -> (Vec<String>, usize) {
    let (mut names, mut pages, mut token) = (Vec::new(), 0, String::new());
    loop {
        let request = wire::ListRequest { page_token: token, ..request.clone() };
        let page = client.list(request).await.unwrap().into_inner();
        let keys = page.resources.into_iter().map(|resource| resource.key.unwrap());
        names.extend(keys.map(|key| format!("{}/{}", key.project, key.name)));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            return (names, pages);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_sorted_selected_and_paged() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    apply(&mut client, network()).await.unwrap();
    let list =
        |kind: &str| wire::ListRequest { kind: kind.to_owned(), ..wire::ListRequest::default() };
    let all = wire::ListRequest { all_projects: true, ..list("port") };
    let expected = ["a/db-1", "a/web-1", "b/web-1"].map(str::to_owned).to_vec();
    assert_eq!(list_all(&mut client, all.clone()).await, (expected.clone(), 1));
    let paged = wire::ListRequest { page_size: 1, ..all.clone() };
    assert_eq!(list_all(&mut client, paged.clone()).await, (expected, 3));
    let selected = wire::ListRequest { selector: "app!=db".to_owned(), ..paged };
    assert_eq!(list_all(&mut client, selected).await.0, ["a/web-1", "b/web-1"]);
    let of_one = wire::ListRequest { project: "b".to_owned(), ..list("LogicalPort") };
    assert_eq!(list_all(&mut client, of_one).await.0, ["b/web-1"]);
    assert!(list_all(&mut client, list("ports")).await.0.is_empty(), "project default is empty");
    assert_eq!(list_all(&mut client, list("hosts")).await.0.len(), 3);
    let bad = [
        (list("Bridge"), "kind: unknown kind \"Bridge\""),
        (wire::ListRequest { selector: "a b".to_owned(), ..list("port") }, "selector: "),
        (wire::ListRequest { project: "a b".to_owned(), ..list("port") }, "project: "),
        (wire::ListRequest { page_token: "00".to_owned(), ..list("port") }, "page_token: "),
        (wire::ListRequest { project: "a".to_owned(), ..all }, "project: give a project or"),
    ];
    for (request, expected) in bad {
        let error = client.list(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(expected), "{error}");
    }
}

type Event = (Type, Option<String>, u64);

async fn next(events: &mut tonic::Streaming<wire::WatchEvent>) -> Event {
    let event = tokio::time::timeout(common::PATIENCE, events.next()).await.expect("an event");
    let event = event.unwrap().unwrap();
    let name = event.resource.as_ref().map(|resource| resource.key.clone().unwrap().name);
    (event.r#type(), name, event.revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let start_revision = apply(&mut client, network()).await.unwrap();
    let request = |from_revision, selector: &str| wire::WatchRequest {
        kinds: vec!["LogicalPort".to_owned()],
        project: "a".to_owned(),
        selector: selector.to_owned(),
        from_revision,
    };
    let mut events = client.watch(request(None, "app=web")).await.unwrap().into_inner();
    assert_eq!(next(&mut events).await, (Type::Bookmark, None, start_revision));
    let name = |name: &str| Some(name.to_owned());
    // A port of the watch, one of another project, one with another label, and a group.
    let first = apply(
        &mut client,
        [
            mk_port("a", "web-2", "10.0.1.3", "", "app=web"),
            mk_port("b", "web-2", "10.0.1.3", "", "app=web"),
            mk_port("a", "db-2", "10.0.1.4", "", "app=db"),
            mk_group("a", "other", "app=other"),
        ],
    )
    .await
    .unwrap();
    assert_eq!(next(&mut events).await, (Type::Put, name("web-2"), first));
    // It leaves the selector, which to this watch is a deletion.
    let second =
        apply(&mut client, [mk_port("a", "web-2", "10.0.1.3", "", "app=db")]).await.unwrap();
    assert_eq!(next(&mut events).await, (Type::Deleted, name("web-2"), second));
    drop(events);
    let third = client
        .delete(wire::DeleteRequest {
            keys: wire_key(Kind::LogicalPort, "a", "web-1").into_iter().collect(),
            ..wire::DeleteRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .revision;
    // Resumed from a revision, also by another process with the same data.
    for restart in [false, true] {
        let (other, mut client) = match restart {
            false => (None, client.clone()),
            true => {
                drop(client.clone());
                controller_restart(&root, &mut client).await
            }
        };
        let mut events = client.watch(request(Some(first), "app=web")).await.unwrap().into_inner();
        assert_eq!(next(&mut events).await, (Type::Deleted, name("web-2"), second));
        assert_eq!(next(&mut events).await, (Type::Deleted, name("web-1"), third));
        assert_eq!(next(&mut events).await, (Type::Bookmark, None, third));
        if let Some(other) = other {
            drop(events);
            other.shutdown().await.unwrap();
        }
        if !restart {
            let future = client.watch(request(Some(1 << 40), "")).await.unwrap_err();
            assert_eq!(future.code(), Code::OutOfRange);
        }
    }
    controller.shutdown().await.unwrap();
}

/// A second controller on a copy of the data: the first keeps its own.
async fn controller_restart(
    root: &tempfile::TempDir,
    _: &mut Client,
) -> (Option<spanwire_controller::RunningController>, Client) {
    let copy = root.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(root.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let controller = start(&copy).await;
    let client = connect(&controller).await;
    (Some(controller), client)
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_gone_is_out_of_range() {
    let root = tempfile::tempdir().unwrap();
    let mut config = mk_config(root.path());
    config.limits.history_changes = 4;
    let controller = Controller::start(config).await.unwrap();
    let mut client = connect(&controller).await;
    for n in 1..=9 {
        apply(&mut client, [mk_host("host-1", &format!("192.0.2.{n}"))]).await.unwrap();
    }
    let request = wire::WatchRequest { from_revision: Some(1), ..wire::WatchRequest::default() };
    let error = client.watch(request).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange);
    assert!(error.message().contains("list the objects again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_the_state_are_answered() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let revision = apply(&mut client, network()).await.unwrap();
    let span = wire::SpanRequest { key: wire_key(Kind::Group, "a", "web") };
    let span = client.span(span).await.unwrap().into_inner();
    assert_eq!((span.hosts, span.revision), (vec!["host-2".to_owned()], revision));

    let explain = |host: &str, member: &str| wire::ExplainRequest {
        host: host.to_owned(),
        member: member.to_owned(),
        group: wire_key(Kind::Group, "a", "web"),
    };
    let yes = client.explain(explain("host-2", "a/web-1")).await.unwrap().into_inner();
    assert!(yes.has_member && !yes.steps.is_empty(), "{yes:?}");
    let no = client.explain(explain("host-1", "a/web-1")).await.unwrap().into_inner();
    assert!(!no.has_member && no.steps.iter().any(|step| !step.holds), "{no:?}");
    // Two ports have the address; one of them is the member.
    let both = client.explain(explain("host-2", "10.0.1.1")).await.unwrap().into_inner();
    assert!(both.has_member);
    let ports = both.steps.iter().filter(|step| step.condition.starts_with("10.0.1.1 is"));
    assert_eq!(ports.count(), 2);
    let error = client.explain(explain("host-2", "10.9.9.9")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let error = client.explain(explain("host-2", "a b")).await.unwrap_err();
    assert!(error.message().contains("expected an address, or a port as project/name"));

    let view = wire::HostViewRequest { host: "host-2".to_owned() };
    let view = client.host_view(view).await.unwrap().into_inner();
    assert_eq!(view.shards.len(), 1);
    assert_eq!(view.shards[0].addresses, ["10.0.1.1"]);
    assert_eq!(view.shards[0].group, wire_key(Kind::Group, "a", "web"));
    let error =
        client.host_view(wire::HostViewRequest { host: "host-9".to_owned() }).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);

    let cluster = client.cluster_status(wire::ClusterStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((cluster.leader, cluster.revision, cluster.replicas.len()), (1, revision, 1));
    assert_eq!(cluster.replicas[0].role, "leader");
    assert_eq!(cluster.cluster_id, controller.identity().cluster_id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn impact_names_the_hosts_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let revision = apply(&mut client, network()).await.unwrap();
    let ports = |range: std::ops::Range<u8>| {
        range.map(|n| mk_port("a", &format!("w-{n}"), &format!("10.0.1.{n}"), "host-1", "app=web"))
    };
    let request = wire::ImpactRequest {
        items: mk_apply(ports(10..30)).items,
        ..wire::ImpactRequest::default()
    };
    let impact = client.impact(request.clone()).await.unwrap().into_inner();
    assert_eq!(impact.revision, revision);
    assert_eq!(impact.results.len(), 20);
    let hosts: Vec<_> = impact
        .hosts
        .iter()
        .map(|h| (h.host.as_str(), h.members_added, h.members_removed))
        .collect();
    // host-1 gets ports and locators; only host-2 has the group's members.
    assert_eq!(hosts, [("host-1", 0, 0), ("host-2", 20, 0)]);
    assert_eq!(impact.total_bytes, impact.hosts.iter().map(|host| host.bytes).sum::<u64>());
    assert!(impact.hosts.iter().all(|host| host.bytes > 20));
    let again = client.impact(request).await.unwrap().into_inner();
    assert_eq!(again, impact, "the state is as it was");
    // The other way round: the members go with the port.
    apply(&mut client, ports(10..30)).await.unwrap();
    let request = wire::ImpactRequest {
        deletes: wire_key(Kind::SecurityPolicy, "a", "db").into_iter().collect(),
        ..wire::ImpactRequest::default()
    };
    let impact = client.impact(request).await.unwrap().into_inner();
    assert_eq!(impact.hosts.len(), 1);
    assert_eq!((impact.hosts[0].host.as_str(), impact.hosts[0].members_removed), ("host-2", 21));
    // A host that is new with its port.
    let items =
        [mk_host("host-9", "192.0.2.9"), mk_port("a", "db-9", "10.0.1.99", "host-9", "app=db")];
    let request =
        wire::ImpactRequest { items: mk_apply(items).items, ..wire::ImpactRequest::default() };
    let impact = client.impact(request).await.unwrap().into_inner();
    let new = impact.hosts.iter().find(|host| host.host == "host-9").expect("the new host");
    assert_eq!(new.members_added, 21);
    let refused = wire::ImpactRequest {
        deletes: wire_key(Kind::Group, "a", "web").into_iter().collect(),
        ..wire::ImpactRequest::default()
    };
    let error = client.impact(refused).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn impact_foretells_the_bytes() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let revision = apply(&mut client, network()).await.unwrap();
    let mut host = common::fake_host::FakeHost::connect(controller.address(), "host-2").await;
    host.wait_revision(revision).await;
    let sent = || {
        let connections = controller.shared().publisher.connections();
        connections.iter().map(|connection| connection.status().sent_bytes).sum::<u64>()
    };
    let before = sent();
    let ports: Vec<_> = (10..60)
        .map(|n| mk_port("a", &format!("w-{n}"), &format!("10.0.1.{n}"), "host-1", "app=web"))
        .collect();
    let request = wire::ImpactRequest {
        items: mk_apply(ports.clone()).items,
        ..wire::ImpactRequest::default()
    };
    let impact = client.impact(request).await.unwrap().into_inner();
    let foretold = impact.hosts.iter().find(|host| host.host == "host-2").unwrap().bytes;
    let revision = apply(&mut client, ports).await.unwrap();
    host.wait_revision(revision).await;
    let real = sent() - before;
    assert!(real.abs_diff(foretold) <= 64, "foretold {foretold}, sent {real}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_by_field() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let mut request = mk_apply([mk_host("host-1", "192.0.2.1")]);
    request.items[0].resource.as_mut().unwrap().spec =
        Some(wire::resource::Spec::Host(wire::HostSpec { vtep: "here".to_owned() }));
    let error = client.apply(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("host host-1: spec.vtep"), "{error}");
    let empty = wire::ApplyRequest {
        items: vec![wire::apply_request::Item::default()],
        ..wire::ApplyRequest::default()
    };
    let error = client.apply(empty).await.unwrap_err();
    assert!(error.message().contains("items[0].resource"), "{error}");
    let error = client.get(wire::GetRequest { key: None }).await.unwrap_err();
    assert!(error.message().contains("key: missing"), "{error}");
    let huge = mk_apply((0..4).map(|n| mk_host(&format!("h{n}"), "192.0.2.1")));
    let huge = wire::ApplyRequest {
        items: huge.items.iter().cycle().take(200_001).cloned().collect(),
        ..huge
    };
    let error = client.apply(huge).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("the most is 200000"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_reflection_and_metrics_are_served() {
    let root = tempfile::tempdir().unwrap();
    let mut config = mk_config(root.path());
    config.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
    let controller = Controller::start(config).await.unwrap();
    let url = format!("http://{}", controller.address());
    let channel = tonic::transport::Endpoint::new(url).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "spanwire.admin.v1.Admin", "spanwire.host.v1.HostStream"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving);
    }
    let mut client = connect(&controller).await;
    apply(&mut client, network()).await.unwrap();
    let text = http_get(controller.metrics_address().unwrap(), "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("spanwire_controller_transactions_committed_total 1"), "{text}");
    assert!(text.contains("spanwire_controller_revision 2"), "{text}");
    controller.shutdown().await.unwrap();
}

async fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
