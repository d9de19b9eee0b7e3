//! A host's stream: messages in gRPC's frames, over a stream of HTTP/2.

use super::send::send;
use crate::api::HostService;
use crate::limits::CONNECTION_HOST_STREAMS_MAX;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use prost::Message as _;
use spanwire_hostproto::frames::{FrameReader, frame};
use spanwire_hostproto::limits::HOST_MESSAGE_BYTES_MAX;
use spanwire_hostproto::wire::HostMessage;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio_stream::Stream;
use tonic::Status;
use tonic::codegen::http;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::metadata::GRPC_CONTENT_TYPE;

/// Serves a host until its stream ends. Nothing is made for a host that does not take what was made
/// before.
pub(super) async fn serve(
    service: HostService,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
    _open: Arc<()>,
) {
    let mut head = http::Response::new(());
    head.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    // The answer's head goes out at once; a host that says nothing holds up only itself.
    let Ok(mut sender) = respond.send_response(head, false) else { return };
    let mut subscription = service.subscribe(Inbound::new(body));
    while let Some(message) = subscription.next_message().await {
        for piece in frame(message) {
            if send(&mut sender, piece).await.is_none() {
                return;
            }
        }
    }
    let mut trailers = http::HeaderMap::new();
    let is_said = Status::ok("").add_header(&mut trailers).is_ok();
    if !is_said || sender.send_trailers(trailers).is_err() {
        sender.send_reset(Reason::INTERNAL_ERROR);
    }
    subscription.end().await;
}

/// Answers a stream that is one too many.
pub(super) fn refuse(mut respond: SendResponse<Bytes>) {
    let status = Status::resource_exhausted(format!(
        "this connection has {CONNECTION_HOST_STREAMS_MAX} host streams open: an agent needs one, \
         close those that are not needed or open more connections"
    ));
    // If it is gone already, there is nobody to tell.
    let _ = respond.send_response(status.into_http::<()>(), true);
}

/// What a host says.
struct Inbound {
    body: RecvStream,
    reader: FrameReader,
}

impl Inbound {
    fn new(body: RecvStream) -> Inbound {
        Inbound { body, reader: FrameReader::new(HOST_MESSAGE_BYTES_MAX) }
    }
}

impl Stream for Inbound {
    type Item = Result<HostMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.reader.next_message() {
                // Parts of it are copied: what is kept of a message must not keep what it came in.
                Ok(Some(message)) => {
                    let message = HostMessage::decode(&*message);
                    let bad = |error| Status::internal(format!("bad message: {error}"));
                    return Poll::Ready(Some(message.map_err(bad)));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(Status::internal(error.to_string())))),
            }
            match ready!(self.body.poll_data(context)) {
                Some(Ok(bytes)) => {
                    if let Err(error) = self.body.flow_control().release_capacity(bytes.len()) {
                        return Poll::Ready(Some(Err(Status::from_error(error.into()))));
                    }
                    self.reader.push(bytes);
                }
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(Status::from_error(error.into()))));
                }
                None if self.reader.is_empty() => return Poll::Ready(None),
                None => {
                    let cut = Status::internal("the stream ended in the middle of a message");
                    return Poll::Ready(Some(Err(cut)));
                }
            }
        }
    }
}
