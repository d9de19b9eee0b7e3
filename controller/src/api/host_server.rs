//! The host stream over HTTP.
//!
//! As the server that tonic generates, but for what a stream is made of: that one puts every message
//! together in a buffer of the stream, and keeps the buffer. Here the large parts of messages are shared with all
//! streams that carry them, up to the connection.

use super::host::HostService;
use futures::Stream;
use http_body::{Body as HttpBody, Frame};
use spanwire_hostproto::frames::frame;
use spanwire_hostproto::limits::HOST_MESSAGE_BYTES_MAX;
use spanwire_hostproto::stream_codec::StreamCodec;
use spanwire_hostproto::wire;
use spanwire_hostproto::wire::host_stream_server::{HostStream as _, SERVICE_NAME};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codec::Codec as _;
use tonic::codegen::{BoxFuture, Bytes, Service, http};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::NamedService;
use tonic::{Request, Status, Streaming};

/// The path of the one method.
const SUBSCRIBE: &str = "/spanwire.host.v1.HostStream/Subscribe";

/// Serves the host stream.
#[derive(Debug, Clone)]
pub struct HostServer {
    service: HostService,
}

impl HostServer {
    /// A server of the service.
    pub fn new(service: HostService) -> HostServer {
        HostServer { service }
    }
}

impl NamedService for HostServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for HostServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.service.clone();
        Box::pin(async move { Ok(subscribe(&service, request).await) })
    }
}

async fn subscribe(service: &HostService, request: http::Request<Body>) -> http::Response<Body> {
    if request.uri().path() != SUBSCRIBE {
        return Status::unimplemented("the host stream has one method, Subscribe").into_http();
    }
    let request = request.map(|body| {
        let decoder =
            StreamCodec::<wire::ControllerMessage, wire::HostMessage>::default().decoder();
        Streaming::new_request(decoder, body, None, Some(HOST_MESSAGE_BYTES_MAX))
    });
    let messages = match service.subscribe(Request::from_http(request)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status.into_http(),
    };
    let messages = Messages { messages, pieces: Vec::new(), has_ended: false };
    let mut response = http::Response::new(Body::new(messages));
    response.headers_mut().insert(http::header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

/// A stream of messages as the body of a response.
struct Messages<S> {
    messages: S,
    /// The rest of a message that is being sent, its next piece last.
    pieces: Vec<Bytes>,
    has_ended: bool,
}

impl<S> HttpBody for Messages<S>
where
    S: Stream<Item = Result<wire::ControllerMessage, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(piece) = self.pieces.pop() {
            if self.pieces.is_empty() {
                // An idle stream keeps nothing.
                self.pieces = Vec::new();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let status = match ready!(Pin::new(&mut self.messages).poll_next(context)) {
            Some(Ok(message)) => {
                let mut pieces = frame(message);
                // A message has a header, and so a first piece.
                let first = pieces.remove(0);
                pieces.reverse();
                self.pieces = pieces;
                return Poll::Ready(Some(Ok(Frame::data(first))));
            }
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.has_ended = true;
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }
}
