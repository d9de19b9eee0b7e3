//! A blocking client of the admin API.

use spanwire_adminproto::convert;
use spanwire_adminproto::wire::{self, admin_client::AdminClient};
use spanwire_topology::model::Kind;
use spanwire_topology::{ObjectKey, Resource, Revision};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long one call may take. A write whose answer does not come is *unknown*.
const CALL_WAIT: Duration = Duration::from_secs(20);
/// How long hosts may take to put a revision in force.
const REALIZED_WAIT: Duration = Duration::from_secs(120);

/// A client on a runtime of its own. All its sockets are opened by the thread that made it, in the
/// network namespace of that thread.
pub struct Admin {
    runtime: Runtime,
    client: AdminClient<Channel>,
}

impl Admin {
    /// Connects to `HOST:PORT`.
    pub fn connect(address: &str) -> Result<Admin, String> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())?
            .connect_timeout(Duration::from_secs(2))
            .timeout(CALL_WAIT)
            .tcp_nodelay(true);
        let channel = runtime.block_on(endpoint.connect()).map_err(|error| error.to_string())?;
        let client = AdminClient::new(channel).max_decoding_message_size(256 << 20);
        Ok(Admin { runtime, client })
    }

    /// Applies resources as one transaction.
    pub fn apply(&mut self, resources: Vec<Resource>) -> Result<Revision, Status> {
        let items = convert::from_puts(resources.into_iter().map(|resource| (resource, None)));
        let request = wire::ApplyRequest { items, ..Default::default() };
        let answer = self.runtime.block_on(self.client.apply(request))?;
        Ok(answer.into_inner().revision)
    }

    /// Deletes objects as one transaction.
    pub fn delete(&mut self, keys: &[ObjectKey], cascade: bool) -> Result<Revision, Status> {
        let keys = keys.iter().map(convert::from_key).collect();
        let request = wire::DeleteRequest { keys, cascade, ..Default::default() };
        let answer = self.runtime.block_on(self.client.delete(request))?;
        Ok(answer.into_inner().revision)
    }

    /// All objects of a kind.
    pub fn list(&mut self, kind: Kind) -> Result<Vec<Resource>, Status> {
        let mut resources = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = wire::ListRequest {
                kind: kind.as_str().to_owned(),
                all_projects: true,
                page_token,
                ..Default::default()
            };
            let answer = self.runtime.block_on(self.client.list(request))?.into_inner();
            for resource in &answer.resources {
                let resource = convert::to_resource(resource)
                    .map_err(|error| Status::internal(error.to_string()))?;
                resources.push(resource);
            }
            if answer.next_page_token.is_empty() {
                return Ok(resources);
            }
            page_token = answer.next_page_token;
        }
    }

    /// What a host is told.
    pub fn host_view(&mut self, host: &str) -> Result<wire::HostViewResponse, Status> {
        let request = wire::HostViewRequest { host: host.to_owned() };
        Ok(self.runtime.block_on(self.client.host_view(request))?.into_inner())
    }

    /// How the agents are.
    pub fn host_status(&mut self) -> Result<Vec<wire::HostAgentStatus>, Status> {
        let request = wire::HostStatusRequest::default();
        Ok(self.runtime.block_on(self.client.host_status(request))?.into_inner().hosts)
    }

    /// Waits until every host has a revision in its datapath.
    pub fn wait_realized(&mut self, revision: Revision) -> Result<(), Status> {
        let request = wire::WaitRealizedRequest { key: None, revision: Some(revision) };
        let mut last = None;
        self.runtime.block_on(async {
            let wait = async {
                let mut stream = self.client.wait_realized(request).await?.into_inner();
                while let Some(progress) = stream.message().await? {
                    if progress.done {
                        return Ok(true);
                    }
                    last = Some(progress);
                }
                Ok::<bool, Status>(false)
            };
            match tokio::time::timeout(REALIZED_WAIT, wait).await {
                Ok(Ok(true)) => Ok(()),
                Ok(Ok(false)) => {
                    Err(Status::aborted(format!("the wait ended before it was done: {last:?}")))
                }
                Ok(Err(status)) => Err(status),
                Err(_) => Err(Status::deadline_exceeded(format!("it is not realized: {last:?}"))),
            }
        })
    }
}
