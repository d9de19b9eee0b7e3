//! Connections, as what speaks no tonic sees them.

// A panic here is a failed test.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{PATIENCE, apply, connect, mk_port, start_with_network};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use prost::Message as _;
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::admin_client::AdminClient;
use spanwire_controller::limits::WAITS_MAX;
use spanwire_hostproto::frames::{FrameReader, frame_message};
use spanwire_hostproto::limits::HOST_MESSAGE_BYTES_MAX;
use spanwire_hostproto::wire::refused::Reason;
use spanwire_hostproto::wire::{
    Ack, ControllerMessage, Hello, HostMessage, controller_message, host_message,
};
use spanwire_hostproto::{PROTOCOL_VERSION, SUBSCRIBE_PATH, wire as host_wire};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http;
use tonic::transport::Endpoint;

/// A connection of HTTP/2.
async fn open_raw(address: SocketAddr) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// A host's stream on a connection.
struct RawHost {
    sender: SendStream<Bytes>,
    body: RecvStream,
    reader: FrameReader,
}

impl RawHost {
    async fn open(requests: &mut SendRequest<Bytes>) -> RawHost {
        let request = http::Request::post(format!("http://host{SUBSCRIBE_PATH}")).body(()).unwrap();
        let (answer, sender) = requests.send_request(request, false).unwrap();
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        RawHost { sender, body: answer.into_body(), reader: FrameReader::new(usize::MAX) }
    }

    fn say(&mut self, bytes: impl Into<Bytes>) {
        self.sender.send_data(bytes.into(), false).unwrap();
    }

    /// The next message; at the end of the stream, gRPC's status.
    async fn next(&mut self) -> Result<controller_message::Message, String> {
        let next = async {
            loop {
                if let Some(message) = self.reader.next_message().unwrap() {
                    return Ok(ControllerMessage::decode(message).unwrap().message.unwrap());
                }
                match self.body.data().await {
                    Some(bytes) => {
                        let bytes = bytes.unwrap();
                        self.body.flow_control().release_capacity(bytes.len()).unwrap();
                        self.reader.push(bytes);
                    }
                    None => {
                        let trailers = self.body.trailers().await.unwrap().unwrap();
                        return Err(trailers["grpc-status"].to_str().unwrap().to_owned());
                    }
                }
            }
        };
        timeout(PATIENCE, next).await.expect("the stream says nothing")
    }
}

fn mk_hello(host: &str) -> Vec<u8> {
    let hello = Hello {
        protocol_version: PROTOCOL_VERSION,
        host: host.to_owned(),
        instance: 1,
        ..Hello::default()
    };
    mk_frame(host_message::Message::Hello(hello))
}

fn mk_ack(revision: u64) -> Vec<u8> {
    mk_frame(host_message::Message::Ack(Ack { revision, ..Ack::default() }))
}

fn mk_frame(message: host_message::Message) -> Vec<u8> {
    frame_message(&HostMessage { message: Some(message) }).to_vec()
}

fn refusal(message: Result<controller_message::Message, String>) -> (Reason, String) {
    match message {
        Ok(controller_message::Message::Refused(refused)) => (refused.reason(), refused.detail),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_come_in_any_pieces() {
    let (_root, controller, _client, _) = start_with_network().await;
    let mut requests = open_raw(controller.address()).await;
    // The second stream of a connection is not the one that its task drives itself.
    let mut open = Vec::new();
    for host in ["host-1", "host-2"] {
        let mut raw = RawHost::open(&mut requests).await;
        for byte in mk_hello(host) {
            raw.say(vec![byte]);
        }
        assert!(matches!(raw.next().await, Ok(controller_message::Message::Welcome(_))));
        assert!(matches!(raw.next().await, Ok(controller_message::Message::Part(_))));
        open.push(raw);
    }
    let connected = controller.shared().publisher.connections();
    assert_eq!(connected.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_end_a_stream_and_no_other() {
    let (_root, controller, mut client, _) = start_with_network().await;
    let mut requests = open_raw(controller.address()).await;
    let mut good = RawHost::open(&mut requests).await;
    good.say(mk_hello("host-2"));
    assert!(matches!(good.next().await, Ok(controller_message::Message::Welcome(_))));

    let too_long = u32::try_from(HOST_MESSAGE_BYTES_MAX + 1).unwrap().to_be_bytes();
    let too_long = [&[0], &too_long[..]].concat();
    let compressed = vec![1, 0, 0, 0, 0];
    let no_message = vec![0, 0, 0, 0, 2, 255, 255];
    for (bytes, detail) in [
        (too_long.clone(), "longer than"),
        (compressed.clone(), "compressed"),
        (no_message.clone(), "bad message"),
    ] {
        // In place of a Hello it is told why.
        let mut raw = RawHost::open(&mut requests).await;
        raw.say(bytes);
        let (reason, told) = refusal(raw.next().await);
        assert!(reason == Reason::Protocol && told.contains(detail), "{told}");
        assert_eq!(raw.next().await.unwrap_err(), "0");
    }
    for bytes in [too_long, compressed, no_message] {
        let mut raw = RawHost::open(&mut requests).await;
        raw.say([mk_hello("host-1"), bytes].concat());
        let told = loop {
            match raw.next().await {
                Ok(_) => {}
                Err(status) => break status,
            }
        };
        assert_eq!(told, "0");
    }
    // One that ends within a message, and one that is reset.
    let mut cut = RawHost::open(&mut requests).await;
    cut.sender.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), true).unwrap();
    let (reason, told) = refusal(cut.next().await);
    assert!(reason == Reason::Protocol && told.contains("in the middle"), "{told}");
    let mut reset = RawHost::open(&mut requests).await;
    reset.sender.send_reset(h2::Reason::CANCEL);

    let port = mk_port("a", "web-9", "10.0.1.9", "host-1", "app=web");
    let revision = apply(&mut client, [port]).await.unwrap();
    loop {
        if let controller_message::Message::Part(part) = good.next().await.unwrap() {
            if part.to_revision == revision {
                break;
            }
            good.say(mk_ack(part.to_revision));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http2_is_let_go() {
    let (_root, controller, mut client, _) = start_with_network().await;
    for bytes in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &[0; 64], &[255; 4096]] {
        let mut socket = TcpStream::connect(controller.address()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // Closed or reset: what was not read of ours is lost.
        let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("is let go");
    }
    let port = mk_port("a", "web-9", "10.0.1.9", "host-1", "app=web");
    apply(&mut client, [port]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_service_for_is_unimplemented() {
    let (_root, controller, _client, _) = start_with_network().await;
    let mut requests = open_raw(controller.address()).await;
    for path in ["/spanwire.host.v1.HostStream/Other", "/no.Service/Call", "/"] {
        let request = http::Request::post(format!("http://host{path}")).body(()).unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert_eq!(answer.headers()["grpc-status"], "12", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_little_at_a_time_gets_all_of_it() {
    const PORTS: usize = 1500;
    let (_root, controller, mut client, _) = start_with_network().await;
    let address = |n: usize| format!("10.0.{}.{}", 2 + n / 250, 1 + n % 250);
    let ports =
        (0..PORTS).map(|n| mk_port("a", &format!("p-{n}"), &address(n), "host-1", "app=other"));
    apply(&mut client, ports).await.unwrap();
    let request = wire::ListRequest {
        kind: "port".to_owned(),
        project: "a".to_owned(),
        ..Default::default()
    };
    let whole = client.list(request.clone()).await.unwrap().into_inner();
    assert!(whole.resources.len() > PORTS);

    let endpoint = Endpoint::new(format!("http://{}", controller.address())).unwrap();
    let endpoint = endpoint.initial_stream_window_size(1_000);
    let mut slow = AdminClient::new(endpoint.connect().await.unwrap());
    let listed = timeout(PATIENCE, slow.list(request)).await.expect("it goes on").unwrap();
    assert_eq!(listed.into_inner(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_are_over() {
    // No host is connected that could have it.
    let (_root, _controller, client, _) = start_with_network().await;
    let request = wire::WaitRealizedRequest::default();
    let mut waits = Vec::new();
    for _ in 0..WAITS_MAX {
        let wait = client.clone().wait_realized(request.clone()).await.unwrap();
        waits.push(wait.into_inner());
    }
    let refused = client.clone().wait_realized(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    drop(waits);
    let again = async {
        while client.clone().wait_realized(request.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("waits that nobody waits for are over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_stops_waits_for_its_calls_and_takes_no_more() {
    let (_root, controller, _client, _) = start_with_network().await;
    let address = controller.address();
    let mut idle = connect(&controller).await;
    let mut requests = open_raw(address).await;
    let mut host = RawHost::open(&mut requests).await;
    host.say(mk_hello("host-1"));
    assert!(matches!(host.next().await, Ok(controller_message::Message::Welcome(_))));
    let stopped = tokio::spawn(controller.shutdown());
    let last = loop {
        match host.next().await {
            Ok(host_wire::controller_message::Message::Refused(refused)) => break refused,
            Ok(_) => {}
            Err(status) => panic!("ended without a word: {status}"),
        }
    };
    assert_eq!(last.reason(), Reason::Draining);
    assert_eq!(host.next().await.unwrap_err(), "0");
    host.sender.send_data(Bytes::new(), true).unwrap();
    timeout(PATIENCE, stopped).await.unwrap().unwrap().unwrap();
    assert!(idle.list(wire::ListRequest::default()).await.is_err());
    assert!(TcpStream::connect(address).await.is_err());
}
