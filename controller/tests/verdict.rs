//! Verdicts over real gRPC: what is told, what is refused, and how things were.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

mod common;

use common::{Client, apply, connect, key, mk_config, mk_host, mk_port, network, start, wire_key};
use spanwire_adminproto::convert::{
    SOURCE_PORT_DEFAULT, VERDICT_QUERIES_MAX, VerdictEnd, VerdictPacket, VerdictQuery,
    from_verdict_query,
};
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::verdict_answer::Verdict;
use spanwire_adminproto::wire::verdict_result::Result as Answered;
use spanwire_controller::Controller;
use spanwire_topology::engine::PacketKind;
use spanwire_topology::model::{Kind, TransportProtocol};
use std::net::IpAddr;
use tonic::{Code, Status};

/// `project/name` of a port, or an address.
fn mk_end(text: &str) -> VerdictEnd {
    match text.parse::<IpAddr>() {
        Ok(address) => VerdictEnd::Address(address),
        Err(_) => {
            let (project, name) = text.split_once('/').unwrap();
            VerdictEnd::Port(key(Kind::LogicalPort, project, name), None)
        }
    }
}

fn mk_query(source: &str, destination: &str) -> wire::VerdictQuery {
    let protocol = TransportProtocol::Tcp;
    let packet = PacketKind::Transport { protocol, source_port: SOURCE_PORT_DEFAULT, port: 5432 };
    let packet = VerdictPacket::Kind(packet);
    let (source, destination) = (mk_end(source), mk_end(destination));
    from_verdict_query(&VerdictQuery { source, destination, packet })
}

async fn ask(
    client: &mut Client,
    queries: Vec<wire::VerdictQuery>,
    at_revision: Option<u64>,
) -> Result<(Vec<Answered>, u64), Status> {
    let request = wire::VerdictRequest { queries, at_revision };
    let wire::VerdictResponse { results, revision } = client.verdict(request).await?.into_inner();
    Ok((results.into_iter().map(|result| result.result.unwrap()).collect(), revision))
}

fn answer(result: &Answered) -> &wire::VerdictAnswer {
    match result {
        Answered::Answer(answer) => answer,
        Answered::Error(error) => panic!("{error:?}"),
    }
}

fn error(result: &Answered) -> (Code, &str) {
    match result {
        Answered::Answer(answer) => panic!("{answer:?}"),
        Answered::Error(error) => (error.code.into(), &error.message),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_are_told_with_their_reasons() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    let revision = apply(&mut client, network()).await.unwrap();
    let pairs = [
        ("a/web-1", "a/db-1"),    // the policy admits it
        ("10.9.9.9", "a/db-1"),   // and nobody else
        ("b/web-1", "10.0.1.2"),  // another domain
        ("10.0.1.1", "a/db-1"),   // two ports have this address
        ("a/none", "a/db-1"),     // no such port
        ("10.9.9.9", "10.9.9.8"), // neither is a port's
    ];
    let queries = pairs.map(|(source, destination)| mk_query(source, destination)).to_vec();
    let (results, at) = ask(&mut client, queries, None).await.unwrap();
    assert_eq!((results.len(), at), (pairs.len(), revision));

    let allowed = answer(&results[0]);
    assert_eq!(allowed.verdict(), Verdict::Allowed);
    assert_eq!(allowed.path.len(), 1);
    let at_source = allowed.at_source.clone().unwrap();
    assert_eq!(at_source.decided.unwrap().kind(), wire::decider::Kind::None);
    assert_eq!(at_source.next, None);
    let at_destination = allowed.at_destination.clone().unwrap();
    let decided = at_destination.decided.unwrap();
    assert_eq!(decided.policy, wire_key(Kind::SecurityPolicy, "a", "db"));
    assert_eq!((decided.kind(), decided.rule), (wire::decider::Kind::Rule, 0));
    assert_eq!((decided.action(), decided.revision), (wire::Action::Allow, revision));
    let peer = decided.peer.unwrap();
    assert_eq!(peer.port, wire_key(Kind::LogicalPort, "a", "web-1"));
    let finding = "its labels match the selector app=web of group a/web";
    assert_eq!(peer.steps[0].finding, finding);
    let next = at_destination.next.unwrap();
    assert_eq!((next.kind(), next.action()), (wire::decider::Kind::Default, wire::Action::Drop));

    let denied = answer(&results[1]);
    assert_eq!((denied.verdict(), &denied.at_source), (Verdict::Denied, &None));
    let unreachable = answer(&results[2]);
    assert_eq!(unreachable.verdict(), Verdict::Unreachable);
    let end = unreachable.path_end.clone().unwrap();
    assert_eq!(end.reason, "switch b/net has no router");

    assert_eq!(error(&results[3]).0, Code::InvalidArgument);
    let Answered::Error(ambiguous) = &results[3] else { panic!("{:?}", results[3]) };
    assert_eq!(ambiguous.ports.len(), 2, "{ambiguous:?}");
    assert_eq!(error(&results[4]), (Code::NotFound, "port a/none does not exist"));
    let (code, message) = error(&results[5]);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("name a port at one end"), "{message}");
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_questions_are_refused_by_field() {
    let root = tempfile::tempdir().unwrap();
    let controller = start(root.path()).await;
    let mut client = connect(&controller).await;
    apply(&mut client, network()).await.unwrap();
    let good = mk_query("a/web-1", "a/db-1");
    let with = |change: &dyn Fn(&mut wire::VerdictQuery)| {
        let mut query = good.clone();
        change(&mut query);
        vec![good.clone(), query]
    };
    let transport = |protocol: i32, port: u32| {
        let transport = wire::packet::Transport { protocol, port, source_port: None };
        Some(wire::Packet { kind: Some(wire::packet::Kind::Transport(transport)) })
    };
    let cases = [
        (vec![], "queries: missing"),
        (vec![good.clone(); VERDICT_QUERIES_MAX + 1], "queries: 1001 entries: the most is 1000"),
        (with(&|query| query.source = None), "queries[1].source: missing"),
        (
            with(&|query| query.source = Some(wire::VerdictEnd::default())),
            "queries[1].source: missing",
        ),
        (
            with(&|query| query.source.as_mut().unwrap().port = wire_key(Kind::Group, "a", "db")),
            "queries[1].source.port: it is no port",
        ),
        (
            with(&|query| query.destination.as_mut().unwrap().address = "10.0.0".to_owned()),
            "queries[1].destination.address",
        ),
        (with(&|query| query.packet = None), "queries[1].packet: missing"),
        (with(&|query| query.packet = transport(1, 1)), "queries[1].packet.transport.protocol"),
        (with(&|query| query.packet = transport(2, 70_000)), "packet.transport.port: 70000 is out"),
    ];
    for (queries, expected) in cases {
        let status = ask(&mut client, queries, None).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(expected), "{status}, expected {expected}");
    }
    controller.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_answers_as_far_as_the_log_reaches() {
    let root = tempfile::tempdir().unwrap();
    let mut config = mk_config(root.path());
    config.limits.snapshot_entries = 8;
    config.limits.log_entries_kept = 2;
    let controller = Controller::start(config.clone()).await.unwrap();
    let mut client = connect(&controller).await;
    let first = apply(&mut client, network()).await.unwrap();
    // web-1 is no web server any more, so that the policy does not admit it.
    let other = mk_port("a", "web-1", "10.0.1.1", "host-1", "app=other");
    let second = apply(&mut client, [other]).await.unwrap();
    let queries = || vec![mk_query("a/web-1", "a/db-1")];
    for _ in 0..2 {
        let (results, at) = ask(&mut client, queries(), Some(first)).await.unwrap();
        assert_eq!((answer(&results[0]).verdict(), at), (Verdict::Allowed, first));
    }
    for at_revision in [None, Some(second)] {
        let (results, at) = ask(&mut client, queries(), at_revision).await.unwrap();
        assert_eq!((answer(&results[0]).verdict(), at), (Verdict::Denied, second));
    }
    let before = ask(&mut client, queries(), Some(first - 1)).await.unwrap();
    assert_eq!(error(&before.0[0]).0, Code::NotFound, "nothing was there yet");
    let status = ask(&mut client, queries(), Some(second + 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("is yet to come"), "{status}");

    // A restart forgets nothing.
    controller.shutdown().await.unwrap();
    let controller = Controller::start(config).await.unwrap();
    let mut client = connect(&controller).await;
    let (results, at) = ask(&mut client, queries(), Some(first)).await.unwrap();
    assert_eq!((answer(&results[0]).verdict(), at), (Verdict::Allowed, first));

    // A snapshot does: what was before it is gone, and what comes after is there.
    let snapshots = |controller: &spanwire_controller::RunningController| {
        controller.shared().metrics.snapshots.get()
    };
    let mut last = second;
    for n in 10..40 {
        last = apply(&mut client, [mk_host(&format!("host-{n}"), "192.0.2.9")]).await.unwrap();
    }
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while snapshots(&controller) == 0 {
        assert!(std::time::Instant::now() < deadline, "no snapshot is taken");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let status = ask(&mut client, queries(), Some(second)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    let oldest = status.message().rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(oldest > second && oldest <= last, "{status}");
    let (results, at) = ask(&mut client, queries(), Some(last - 1)).await.unwrap();
    assert_eq!((answer(&results[0]).verdict(), at), (Verdict::Denied, last - 1));
    controller.shutdown().await.unwrap();
}
