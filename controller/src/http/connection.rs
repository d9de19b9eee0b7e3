//! One connection.

use super::signal::{Due, OwnSignal};
use super::{Services, call, host_stream};
use crate::limits::{
    CONNECTION_HOST_STREAMS_MAX, CONNECTION_RESETS_MAX, CONNECTION_STREAMS_MAX,
    CONNECTION_WINDOW_BYTES, HANDSHAKE_WAIT, HEADERS_BYTES_MAX, STREAM_BUFFER_BYTES_MAX,
};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use spanwire_hostproto::SUBSCRIBE_PATH;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http;
use tonic::transport::server::{Connected as _, TcpConnectInfo};

/// How often in one turn of its task a connection and its host's stream may give each other something to
/// do. A message to a host takes two.
const ROUNDS_MAX: usize = 8;

/// Serves a connection until it ends.
pub(super) async fn run(socket: TcpStream, services: Services, signal: OwnSignal) {
    let peer = socket.connect_info();
    let handshake = mk_builder().handshake(socket);
    // Who has connected and says nothing, or something else than HTTP/2, is let go.
    let Ok(Ok(connection)) = timeout(HANDSHAKE_WAIT, handshake).await else { return };
    let wakers =
        Wakers { connection: signal.waker(Due::Connection), host: signal.waker(Due::Host) };
    let streams = Arc::new(());
    Served { connection, host: None, services, peer, streams, signal, wakers }.await;
}

fn mk_builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(CONNECTION_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buffer_size(STREAM_BUFFER_BYTES_MAX)
        .max_local_error_reset_streams(Some(CONNECTION_RESETS_MAX));
    builder
}

/// A connection and what it serves. To be awaited by a task as it is: see [`Signal`](super::signal::Signal).
struct Served {
    connection: Connection<TcpStream, Bytes>,
    /// The stream of the host whose connection it is.
    host: Option<HostStream>,
    services: Services,
    peer: TcpConnectInfo,
    /// Referred to by every host's stream that it has.
    streams: Arc<()>,
    signal: OwnSignal,
    wakers: Wakers,
}

type HostStream = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Wakers {
    connection: Waker,
    host: Waker,
}

impl Future for Served {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let served = self.get_mut();
        served.signal.begin_turn(context.waker());
        for _ in 0..ROUNDS_MAX {
            if served.signal.take(Due::Drain) {
                served.connection.graceful_shutdown();
                served.signal.set(Due::Connection);
            }
            if served.signal.take(Due::Connection) && served.poll_connection().is_ready() {
                return Poll::Ready(());
            }
            if served.signal.take(Due::Host) {
                served.poll_host();
            }
            if served.signal.end_turn() {
                return Poll::Pending;
            }
        }
        served.signal.yield_turn();
        Poll::Pending
    }
}

impl Served {
    /// Reads and writes, and takes new calls. Ready at the end of the connection.
    fn poll_connection(&mut self) -> Poll<()> {
        loop {
            let mut context = Context::from_waker(&self.wakers.connection);
            match self.connection.poll_accept(&mut context) {
                Poll::Ready(Some(Ok((request, respond)))) => self.process_call(request, respond),
                // Why it broke off, nobody can be told; whoever had calls open sees them end.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_host(&mut self) {
        let mut context = Context::from_waker(&self.wakers.host);
        let is_ended = |host: &mut HostStream| host.as_mut().poll(&mut context).is_ready();
        self.host.take_if(is_ended);
    }

    fn process_call(&mut self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        let hosts = self.services.hosts.as_ref().filter(|_| request.uri().path() == SUBSCRIBE_PATH);
        let Some(hosts) = hosts else {
            let routes = self.services.routes.clone();
            tokio::spawn(call::answer(routes, request, respond, self.peer.clone()));
            return;
        };
        // One is its own.
        if Arc::strong_count(&self.streams) > CONNECTION_HOST_STREAMS_MAX {
            host_stream::refuse(respond);
            return;
        }
        let open = self.streams.clone();
        let stream = host_stream::serve(hosts.clone(), request.into_body(), respond, open);
        if self.host.is_none() {
            self.host = Some(Box::pin(stream));
            self.signal.set(Due::Host);
        } else {
            // Of a proxy's connection, or of an agent that has yet to close the one before.
            tokio::spawn(stream);
        }
    }
}
