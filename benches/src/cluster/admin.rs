//! Clients of controllers.

use super::{PATIENCE, Write};
use spanwire_adminproto::convert::from_puts;
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::admin_client::AdminClient;
use spanwire_topology::Resource;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The pause before the next member is tried.
const RETRY_WAIT: Duration = Duration::from_millis(10);

/// A client with a connection of its own.
pub(crate) type Client = AdminClient<Channel>;

/// Connects to a controller.
pub(crate) async fn connect(address: SocketAddr) -> Result<Client, String> {
    let channel = connect_channel(address).await?;
    Ok(AdminClient::new(channel).max_decoding_message_size(usize::MAX))
}

pub(super) async fn connect_channel(address: SocketAddr) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| error.to_string())?;
    let endpoint = endpoint.connect_timeout(CONNECT_WAIT).tcp_nodelay(true);
    endpoint.connect().await.map_err(|error| format!("{address}: {error}"))
}

/// A request to apply resources.
pub(crate) fn mk_apply(resources: impl IntoIterator<Item = Resource>) -> wire::ApplyRequest {
    let items = from_puts(resources.into_iter().map(|resource| (resource, None)));
    wire::ApplyRequest { items, ..wire::ApplyRequest::default() }
}

/// Has transactions applied by any member of a cluster: if one fails, by the next.
pub(crate) struct Writer {
    members: Vec<SocketAddr>,
    at: usize,
    client: Option<Client>,
}

impl Writer {
    /// A client that begins with the first of some members.
    pub(crate) fn new(members: Vec<SocketAddr>) -> Writer {
        Writer { members, at: 0, client: None }
    }

    /// Applies resources in one transaction, once, however often it has to be asked for. Returns its
    /// revision.
    pub(crate) async fn apply(
        &mut self,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Result<u64, String> {
        let request_id = rand::random::<[u8; 16]>().to_vec();
        let request = wire::ApplyRequest { request_id, ..mk_apply(resources) };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let problem = match self.try_apply(request.clone()).await {
                Ok(revision) => return Ok(revision),
                Err(problem) => problem,
            };
            if Instant::now() > deadline {
                return Err(format!("no member applies a transaction: {problem}"));
            }
            self.client = None;
            self.at = (self.at + 1) % self.members.len();
            tokio::time::sleep(RETRY_WAIT).await;
        }
    }

    async fn try_apply(&mut self, request: wire::ApplyRequest) -> Result<u64, String> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(connect(self.members[self.at]).await?),
        };
        let answer = client.apply(request).await;
        answer.map(|answer| answer.into_inner().revision).map_err(|status| status.to_string())
    }
}

/// Applies the resources that a function makes of the numbers of one counter, one at a time.
pub(crate) struct Numbered<F> {
    pub(crate) writer: Writer,
    pub(crate) next: Arc<AtomicU64>,
    pub(crate) make: F,
}

impl<F: Fn(u64) -> Resource + Clone> Numbered<F> {
    /// So many clients of a cluster, who take turns with the numbers.
    pub(crate) fn clients(count: usize, members: &[SocketAddr], make: F) -> Vec<Numbered<F>> {
        let next = Arc::new(AtomicU64::new(0));
        let mk_client = |_| Numbered {
            writer: Writer::new(members.to_vec()),
            next: next.clone(),
            make: make.clone(),
        };
        (0..count).map(mk_client).collect()
    }
}

impl<F: Fn(u64) -> Resource + Send + 'static> Write for Numbered<F> {
    async fn write(&mut self) -> Result<u64, String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let resource = (self.make)(number);
        self.writer.apply([resource]).await
    }
}
