//! How the bytes of an answer go out.

use bytes::Bytes;
use h2::SendStream;
use std::task::{Poll, ready};

/// Sends a piece of a message once there is room for some of it: what is kept of a host that does not
/// read is one message. `None` if the stream has ended.
pub(super) async fn send(sender: &mut SendStream<Bytes>, piece: Bytes) -> Option<()> {
    // Not for all of it: a piece that asks for more than there is takes the window from other streams.
    sender.reserve_capacity(1);
    std::future::poll_fn(|context| {
        while sender.capacity() == 0 {
            match ready!(sender.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(()))
    })
    .await?;
    sender.send_data(piece, false).ok()
}
