//! A stream of gRPC, driven by the task of whoever has it.
//!
//! tonic's client has three tasks for a stream, and hands each message from one to the next. Here thousands of
//! hosts share their processor with what is measured, and so what is said is the same, and who says it is as
//! cheap as can be.

use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream, SendStream};
use prost::Message;
use spanwire_hostproto::frames::{FrameReader, frame_message};
use spanwire_hostproto::limits::CONTROLLER_MESSAGE_BYTES_MAX;
use std::future::Future as _;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior, interval_at, timeout};
use tonic::codegen::{Bytes, http};

/// What a server may send before it is read: as an agent has it.
const WINDOW_BYTES: u32 = 128 * 1024;
/// How often an idle connection is asked whether it is still there, and how long it may take to answer: as
/// an agent has it.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A stream of messages `Q` that are answered by messages `A`, with a connection of its own. Dropped, its
/// connection is closed.
pub(super) struct Stream<Q, A> {
    address: SocketAddr,
    connection: Connection<TcpStream, Bytes>,
    requests: SendRequest<Bytes>,
    sender: SendStream<Bytes>,
    answer: Answer,
    reader: FrameReader,
    keepalive: Keepalive,
    of: PhantomData<fn(Q) -> A>,
}

impl<Q: Message, A: Message + Default> Stream<Q, A> {
    /// Connects to a server and calls a method. `None` if that fails.
    pub(super) async fn open(
        address: SocketAddr,
        path: &str,
        patience: Duration,
    ) -> Option<Stream<Q, A>> {
        let opened = async {
            let socket = TcpStream::connect(address).await.ok()?;
            socket.set_nodelay(true).ok()?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let (mut requests, mut connection) = builder.handshake(socket).await.ok()?;
            let request = mk_request(address, path)?;
            let (answer, sender) = requests.send_request(request, false).ok()?;
            let keepalive = Keepalive::new(connection.ping_pong()?);
            let reader = FrameReader::new(CONTROLLER_MESSAGE_BYTES_MAX);
            let (answer, of) = (Answer::Awaited(answer), PhantomData);
            Some(Stream { address, connection, requests, sender, answer, reader, keepalive, of })
        };
        timeout(patience, opened).await.ok().flatten()
    }

    /// Has a message sent when the stream is next waited for. `None` at the end of the stream.
    pub(super) fn send(&mut self, message: &Q) -> Option<()> {
        self.sender.send_data(frame_message(message), false).ok()
    }

    /// The next message. `None` at the end.
    pub(super) async fn next_message(&mut self) -> Option<A> {
        std::future::poll_fn(|context| self.poll_message(context)).await
    }

    /// Calls another method over the same connection, and waits for the answer, whatever it is. `None` if
    /// the connection ends.
    pub(super) async fn call(&mut self, path: &str, message: &impl Message) -> Option<()> {
        let request = mk_request(self.address, path)?;
        let (answer, mut sender) = self.requests.send_request(request, false).ok()?;
        sender.send_data(frame_message(message), true).ok()?;
        let mut answer = Answer::Awaited(answer);
        std::future::poll_fn(|context| {
            let is_ended = Pin::new(&mut self.connection).poll(context).is_ready();
            loop {
                match answer.poll_data() {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(None) => return Poll::Ready(Some(())),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(None),
                    Poll::Pending if is_ended => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<A>> {
        // Also sends what is to be sent. It ends with the connection.
        let is_ended = Pin::new(&mut self.connection).poll(context).is_ready();
        loop {
            match self.reader.next_message() {
                Ok(Some(message)) => return Poll::Ready(A::decode(message).ok()),
                Ok(None) => {}
                Err(_) => return Poll::Ready(None),
            }
            match self.answer.poll_data() {
                Poll::Ready(Some(Ok(bytes))) => self.reader.push(bytes),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        match is_ended || self.keepalive.poll(context).is_ready() {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

fn mk_request(address: SocketAddr, path: &str) -> Option<http::Request<()>> {
    http::Request::post(format!("http://{address}{path}"))
        .header(http::header::TE, "trailers")
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .body(())
        .ok()
}

enum Answer {
    Awaited(ResponseFuture),
    Begun(RecvStream),
}

impl Answer {
    /// Takes what has come. It comes while the connection is polled, and whoever polls that asks here next:
    /// nobody need be woken.
    fn poll_data(&mut self) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let mut context = Context::from_waker(Waker::noop());
        if let Answer::Awaited(answer) = self {
            match ready!(Pin::new(answer).poll(&mut context)) {
                Ok(answer) => *self = Answer::Begun(answer.into_body()),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let Answer::Begun(body) = self else { return Poll::Pending };
        let bytes = match ready!(body.poll_data(&mut context)) {
            Some(Ok(bytes)) => bytes,
            ended => return Poll::Ready(ended),
        };
        let released = body.flow_control().release_capacity(bytes.len());
        Poll::Ready(Some(released.map(|()| bytes)))
    }
}

/// Asks whether the server is still there.
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

    /// Ready if the server does not answer.
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
