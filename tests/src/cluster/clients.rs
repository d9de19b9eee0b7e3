//! Calls of the admin API at several controllers, and what a failed one says of a write.

use spanwire_adminproto::convert;
use spanwire_adminproto::wire::{self, admin_client::AdminClient};
use spanwire_topology::{ObjectKey, Resource, Revision};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long a call may take. Less than a controller waits for a leader, so that the next controller
/// is asked while this one still may carry out what it was asked for.
const CALL_WAIT: Duration = Duration::from_secs(6);
/// Says in a status what is known of a write: see `proto/spanwire/admin/v1/admin.proto`.
const OUTCOME_METADATA: &str = "spanwire-outcome";
const READ_METADATA: &str = "spanwire-read";

type Client = AdminClient<Channel>;

/// Something that is to be written, under an identity of its own.
#[derive(Debug, Clone)]
pub enum Write {
    /// An object as it shall be.
    Put(Box<Resource>),
    /// An object that shall not be.
    Delete(ObjectKey),
}

/// That a write was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// As which revision.
    pub revision: Revision,
    /// By an earlier attempt.
    pub repeated: bool,
}

/// What a failed attempt says of a write.
#[derive(Debug)]
pub enum NotWritten {
    /// It was refused.
    Refused(Status),
    /// The attempt was not applied, and will not be.
    NotApplied(Status),
    /// It may have been applied, or may yet be.
    Unknown(Status),
    /// The controller could not be reached, so it was not asked.
    NotAsked(Status),
}

/// Connections to controllers. All sockets are in the network namespace of the thread that calls.
pub struct Clients {
    runtime: Runtime,
    connected: BTreeMap<String, Client>,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients::new()
    }
}

impl Clients {
    /// None are connected yet.
    pub fn new() -> Clients {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Clients { runtime, connected: BTreeMap::new() }
    }

    /// Calls a controller. A connection on which a call failed is not used again.
    fn call<R>(
        &mut self,
        address: &str,
        call: impl AsyncFnOnce(&mut Client) -> Result<R, Status>,
    ) -> Result<R, Failed> {
        let Clients { runtime, connected } = self;
        let result = runtime.block_on(async {
            let mut client = match connected.remove(address) {
                Some(client) => client,
                None => connect(address).await.map_err(Failed::Connecting)?,
            };
            let answer = tokio::time::timeout(CALL_WAIT, call(&mut client)).await;
            let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
            Ok((client, answer.map_err(Failed::Calling)?))
        });
        let (client, answer) = result?;
        connected.insert(address.to_owned(), client);
        Ok(answer)
    }

    /// Asks for a write.
    pub fn write(
        &mut self,
        address: &str,
        id: [u8; 16],
        write: &Write,
    ) -> Result<Written, NotWritten> {
        let request_id = id.to_vec();
        let called = self.call(address, async |client| match write {
            Write::Put(resource) => {
                let items = convert::from_puts([((**resource).clone(), None)]);
                let request = wire::ApplyRequest { items, request_id, ..Default::default() };
                let answer = client.apply(request).await?.into_inner();
                Ok(Written { revision: answer.revision, repeated: answer.repeated })
            }
            Write::Delete(key) => {
                let keys = vec![convert::from_key(key)];
                let request = wire::DeleteRequest { keys, request_id, ..Default::default() };
                let answer = client.delete(request).await?.into_inner();
                Ok(Written { revision: answer.revision, repeated: answer.repeated })
            }
        });
        called.map_err(|failed| match failed {
            Failed::Connecting(status) => NotWritten::NotAsked(status),
            Failed::Calling(status) => judge(status),
        })
    }

    /// Applies resources as one transaction.
    pub fn apply(&mut self, address: &str, resources: Vec<Resource>) -> Result<Revision, Status> {
        let items = convert::from_puts(resources.into_iter().map(|resource| (resource, None)));
        let request = wire::ApplyRequest { items, ..Default::default() };
        let answer = self.call(address, async |client| client.apply(request).await)?;
        Ok(answer.into_inner().revision)
    }

    /// A page of the objects of a kind, of all projects.
    pub fn list(
        &mut self,
        address: &str,
        kind: &str,
        page: u32,
        page_token: String,
        stale: bool,
    ) -> Result<wire::ListResponse, Status> {
        let mut request = Request::new(wire::ListRequest {
            kind: kind.to_owned(),
            all_projects: true,
            page_size: page,
            page_token,
            ..Default::default()
        });
        if stale {
            request.metadata_mut().insert(READ_METADATA, MetadataValue::from_static("stale"));
        }
        let answer = self.call(address, async |client| client.list(request).await)?;
        Ok(answer.into_inner())
    }

    /// All objects of a kind.
    pub fn list_all(&mut self, address: &str, kind: &str) -> Result<Vec<wire::Resource>, Status> {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.list(address, kind, 0, token, false)?;
            all.extend(page.resources);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// An object.
    pub fn get(&mut self, address: &str, key: &ObjectKey) -> Result<wire::GetResponse, Status> {
        let request = wire::GetRequest { key: Some(convert::from_key(key)) };
        let answer = self.call(address, async |client| client.get(request).await)?;
        Ok(answer.into_inner())
    }

    /// What a controller says of the cluster.
    pub fn status(&mut self, address: &str) -> Result<wire::ClusterStatusResponse, Status> {
        let request = wire::ClusterStatusRequest {};
        let answer = self.call(address, async |client| client.cluster_status(request).await)?;
        Ok(answer.into_inner())
    }

    /// What a host is told.
    pub fn host_view(
        &mut self,
        address: &str,
        host: &str,
    ) -> Result<wire::HostViewResponse, Status> {
        let request = wire::HostViewRequest { host: host.to_owned() };
        let answer = self.call(address, async |client| client.host_view(request).await)?;
        Ok(answer.into_inner())
    }

    /// How the agents are.
    pub fn host_status(&mut self, address: &str) -> Result<wire::HostStatusResponse, Status> {
        let request = wire::HostStatusRequest::default();
        let answer = self.call(address, async |client| client.host_status(request).await)?;
        Ok(answer.into_inner())
    }

    /// Changes of objects of a kind after a revision, to `take`, until that says no, the stream ends,
    /// or nothing comes for a while.
    pub fn watch(
        &mut self,
        address: &str,
        kind: &str,
        from: Revision,
        mut take: impl FnMut(wire::WatchEvent) -> bool,
    ) -> Result<(), Status> {
        let kinds = vec![kind.to_owned()];
        let request = wire::WatchRequest { kinds, from_revision: Some(from), ..Default::default() };
        let stream = self.call(address, async |client| client.watch(request).await)?;
        let mut stream = stream.into_inner();
        self.runtime.block_on(async {
            loop {
                let next = tokio::time::timeout(CALL_WAIT, stream.message()).await;
                let Some(event) = next.unwrap_or(Ok(None))? else { return Ok(()) };
                if !take(event) {
                    return Ok(());
                }
            }
        })
    }
}

enum Failed {
    Connecting(Status),
    Calling(Status),
}

impl From<Failed> for Status {
    fn from(failed: Failed) -> Status {
        match failed {
            Failed::Connecting(status) | Failed::Calling(status) => status,
        }
    }
}

async fn connect(address: &str) -> Result<Client, Status> {
    let unavailable = |error: tonic::transport::Error| {
        Status::unavailable(format!("{address} is not reached: {error}"))
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(unavailable)?;
    let endpoint = endpoint.connect_timeout(CONNECT_WAIT).tcp_nodelay(true);
    let channel = endpoint.connect().await.map_err(unavailable)?;
    Ok(AdminClient::new(channel).max_decoding_message_size(256 << 20))
}

/// What the command line makes of a failed write as well: see `cli/src/retry.rs`.
fn judge(status: Status) -> NotWritten {
    let outcome = status.metadata().get(OUTCOME_METADATA).map(MetadataValue::as_bytes);
    match (status.code(), outcome) {
        (_, Some(b"unknown")) => NotWritten::Unknown(status),
        (Code::Unavailable, Some(b"not-applied")) => NotWritten::NotApplied(status),
        // A connection that broke, or an answer that did not come.
        (
            Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal,
            _,
        ) => NotWritten::Unknown(status),
        _ => NotWritten::Refused(status),
    }
}
