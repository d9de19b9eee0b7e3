//! A host's stream over HTTP/2, driven by the task of the host.
//!
//! An agent has one connection and tonic's client, which has three tasks for it and hands each message from
//! one to the next. Here thousands of hosts share their processor with the controller that is measured,
//! and so what is said is the same, and who says it is as cheap as can be.

use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream, SendStream};
use prost::Message as _;
use spanwire_hostproto::frames::FrameReader;
use spanwire_hostproto::limits::CONTROLLER_MESSAGE_BYTES_MAX;
use spanwire_hostproto::wire::{ControllerMessage, HostMessage};
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior, interval_at, timeout};
use tonic::codegen::{Bytes, http};

/// What a controller may send before it is read: as an agent has it.
const WINDOW_BYTES: u32 = 128 * 1024;
/// How often an idle connection is asked whether it is still there, and how long it may take to answer: as
/// an agent has it.
const KEEPALIVE: Duration = Duration::from_secs(10);
const SUBSCRIBE: &str = "/spanwire.host.v1.HostStream/Subscribe";

/// A stream. Dropped, its connection is closed.
pub(super) struct HostStream {
    connection: Connection<TcpStream, Bytes>,
    /// While it is kept, the connection goes on.
    _requests: SendRequest<Bytes>,
    sender: SendStream<Bytes>,
    answer: Answer,
    reader: FrameReader,
    keepalive: Keepalive,
}

enum Answer {
    Awaited(ResponseFuture),
    Begun(RecvStream),
}

impl HostStream {
    /// Connects to a controller and opens a stream. `None` if that fails.
    pub(super) async fn open(controller: SocketAddr, patience: Duration) -> Option<HostStream> {
        let opened = async {
            let socket = TcpStream::connect(controller).await.ok()?;
            socket.set_nodelay(true).ok()?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let (mut requests, mut connection) = builder.handshake(socket).await.ok()?;
            let request = http::Request::post(format!("http://{controller}{SUBSCRIBE}"))
                .header(http::header::TE, "trailers")
                .header(http::header::CONTENT_TYPE, "application/grpc")
                .body(())
                .ok()?;
            let (answer, sender) = requests.send_request(request, false).ok()?;
            let keepalive = Keepalive::new(connection.ping_pong()?);
            let reader = FrameReader::new(CONTROLLER_MESSAGE_BYTES_MAX);
            let answer = Answer::Awaited(answer);
            Some(HostStream { connection, _requests: requests, sender, answer, reader, keepalive })
        };
        timeout(patience, opened).await.ok().flatten()
    }

    /// Has a message sent when the stream is next waited for. `None` at the end of the stream.
    pub(super) fn send(&mut self, message: &HostMessage) -> Option<()> {
        let length = message.encoded_len();
        let mut frame = Vec::with_capacity(5 + length);
        frame.push(0);
        frame.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        message.encode(&mut frame).ok()?;
        self.sender.send_data(frame.into(), false).ok()
    }

    /// The next message. `None` at the end.
    pub(super) async fn next_message(&mut self) -> Option<ControllerMessage> {
        std::future::poll_fn(|context| self.poll_message(context)).await
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<ControllerMessage>> {
        // Also sends what is to be sent. It ends with the connection.
        let is_ended = Pin::new(&mut self.connection).poll(context).is_ready();
        loop {
            match self.reader.next_message() {
                Ok(Some(message)) => return Poll::Ready(ControllerMessage::decode(message).ok()),
                Ok(None) => {}
                Err(_) => return Poll::Ready(None),
            }
            // What comes, comes while the connection is polled, which is above: nobody need wake us.
            let mut context = Context::from_waker(Waker::noop());
            match &mut self.answer {
                Answer::Awaited(answer) => match Pin::new(answer).poll(&mut context) {
                    Poll::Ready(Ok(answer)) => self.answer = Answer::Begun(answer.into_body()),
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => break,
                },
                Answer::Begun(body) => match body.poll_data(&mut context) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        if body.flow_control().release_capacity(bytes.len()).is_err() {
                            return Poll::Ready(None);
                        }
                        self.reader.push(bytes);
                    }
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
                    Poll::Pending => break,
                },
            }
        }
        match is_ended || self.keepalive.poll(context).is_ready() {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

/// Asks whether the controller is still there.
struct Keepalive {
    pings: PingPong,
    every: Interval,
    asked: bool,
}

impl Keepalive {
    fn new(pings: PingPong) -> Keepalive {
        let mut every = interval_at((Instant::now() + KEEPALIVE).into(), KEEPALIVE);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Keepalive { pings, every, asked: false }
    }

    /// Ready if the controller does not answer.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.asked {
            match self.pings.poll_pong(context) {
                Poll::Ready(Ok(_)) => self.asked = false,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        while self.every.poll_tick(context).is_ready() {
            if self.asked || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.asked = true;
        }
        Poll::Pending
    }
}
