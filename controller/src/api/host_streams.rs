//! How many host streams each connection has open.

use crate::limits::CONNECTION_HOST_STREAMS_MAX;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::Status;

/// The host streams of all connections. A connection is known by its peer's address and port.
#[derive(Debug, Clone, Default)]
pub(super) struct HostStreams(Arc<Mutex<HashMap<SocketAddr, usize>>>);

/// The right to a stream; dropped with it.
#[derive(Debug)]
pub(super) struct OpenStream {
    streams: HostStreams,
    peer: SocketAddr,
}

impl HostStreams {
    /// Counts a stream.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` if the connection has [`CONNECTION_HOST_STREAMS_MAX`] already.
    pub(super) fn open(&self, peer: SocketAddr) -> Result<OpenStream, Status> {
        let mut counts = self.0.lock();
        let count = counts.entry(peer).or_default();
        if *count >= CONNECTION_HOST_STREAMS_MAX {
            return Err(Status::resource_exhausted(format!(
                "this connection has {CONNECTION_HOST_STREAMS_MAX} host streams open: an agent needs \
                 one, close those that are not needed or open more connections"
            )));
        }
        *count += 1;
        Ok(OpenStream { streams: self.clone(), peer })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut counts = self.streams.0.lock();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_its_own_and_gets_back_what_it_closes() {
        let streams = HostStreams::default();
        let peers: Vec<SocketAddr> =
            ["192.0.2.1:1", "192.0.2.1:2"].iter().map(|text| text.parse().unwrap()).collect();
        let mut open: Vec<OpenStream> =
            (0..CONNECTION_HOST_STREAMS_MAX).map(|_| streams.open(peers[0]).unwrap()).collect();
        let refused = streams.open(peers[0]).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        let other = streams.open(peers[1]).unwrap();
        open.pop();
        open.push(streams.open(peers[0]).unwrap());
        assert!(streams.open(peers[0]).is_err());
        drop((open, other));
        assert!(streams.0.lock().is_empty());
    }
}
