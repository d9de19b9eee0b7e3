//! A call that tonic answers: what stands between its bodies and a stream of HTTP/2.

use super::send::send;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body as HttpBody, Frame};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;

/// Has a call answered, unless whoever called gives it up.
pub(super) async fn answer(
    mut routes: Routes,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: TcpConnectInfo,
) {
    let mut request = request.map(|stream| RequestBody { stream, has_data: true });
    request.extensions_mut().insert(peer);
    let response = tokio::select! {
        Ok(response) = routes.call(request) => response,
        _ = std::future::poll_fn(|context| respond.poll_reset(context)) => return,
    };
    let (head, body) = response.into_parts();
    let head = http::Response::from_parts(head, ());
    let is_all = body.is_end_stream();
    let Ok(sender) = respond.send_response(head, is_all) else { return };
    if !is_all {
        send_body(body, sender).await;
    }
}

async fn send_body(body: Body, mut sender: SendStream<Bytes>) {
    let mut body = pin!(body);
    loop {
        let next = tokio::select! {
            next = std::future::poll_fn(|context| body.as_mut().poll_frame(context)) => next,
            _ = std::future::poll_fn(|context| sender.poll_reset(context)) => return,
        };
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return sender.send_reset(Reason::INTERNAL_ERROR),
            None => {
                // If the stream is gone, there is nobody to tell that it ends.
                let _ = sender.send_data(Bytes::new(), true);
                return;
            }
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if send(&mut sender, data).await.is_none() {
                    return;
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let _ = sender.send_trailers(trailers);
                    return;
                }
            }
        }
    }
}

/// What comes with a call.
struct RequestBody {
    stream: RecvStream,
    has_data: bool,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.has_data {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(bytes)) => {
                    let released = self.stream.flow_control().release_capacity(bytes.len());
                    return Poll::Ready(Some(released.map(|()| Frame::data(bytes))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.has_data = false,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context));
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
