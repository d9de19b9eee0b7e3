//! The services of a controller, over gRPC.
//!
//! | Module | Calls |
//! |---|---|
//! | `write` | Apply, Delete |
//! | `read` | Get, List, Span, Explain, HostView |
//! | `verdict` | Verdict |
//! | `watch` | Watch |
//! | `impact` | Impact |
//! | `lint` | Lint, and the warnings of Apply and Delete |
//! | `realized` | WaitRealized |
//! | `status` | HostStatus |
//! | `check` | HostCheck |
//! | `cluster` | ClusterStatus, ChangeMembers, TransferLeadership |
//! | `backup` | Backup |
//! | `host` | Subscribe |
//! | `not_yet` | all, of a controller that waits to be added |
//!
//! What other replicas know of hosts, `merge` puts together with what this one knows.
//!
//! Whatever takes the state for longer than a lookup runs on a blocking thread: the threads that
//! serve connections never wait for the state.

mod backup;
mod check;
mod cluster;
mod host;
mod impact;
mod lint;
mod merge;
mod not_yet;
mod page;
mod read;
mod realized;
mod status;
mod verdict;
mod watch;
mod write;

pub use host::{HostService, Subscription};
pub use not_yet::NotYet;

use crate::core::CoreHandle;
use crate::limits::{
    BACKUPS_MAX, DRY_RUNS_MAX, HOST_CHECKS_MAX, LINTS_MAX, PAST_REBUILDS_MAX, WAITS_MAX,
    WATCHES_MAX,
};
use crate::past::Past;
use crate::peer::PeerClients;
use crate::shared::Shared;
use spanwire_adminproto::convert::{ConvertError, to_key};
use spanwire_adminproto::wire;
use spanwire_topology::Engine;
use spanwire_topology::model::ObjectKey;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

/// The admin API.
#[derive(Debug, Clone)]
pub struct AdminService {
    core: CoreHandle,
    draining: CancellationToken,
    /// True if this call takes the state as this replica has it.
    stale: bool,
    past: Arc<Past>,
    dry_runs: Arc<Semaphore>,
    rebuilds: Arc<Semaphore>,
    lints: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    backups: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    peers: PeerClients,
}

/// Metadata of a call that reads. `current`, or none at all: the answer includes everything that was
/// acknowledged before the call, on whichever replica. `stale`: the answer is what the replica has, and
/// comes without a majority of them; its revision says how far that is.
pub const READ_METADATA: &str = "spanwire-read";

type Answer<T> = Result<Response<T>, Status>;
type AnswerStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl AdminService {
    /// The service over a core. Streams end when `draining` is cancelled.
    pub fn new(core: CoreHandle, draining: CancellationToken) -> AdminService {
        AdminService {
            past: core.past().clone(),
            core,
            draining,
            stale: false,
            rebuilds: Arc::new(Semaphore::new(PAST_REBUILDS_MAX)),
            dry_runs: Arc::new(Semaphore::new(DRY_RUNS_MAX)),
            lints: Arc::new(Semaphore::new(LINTS_MAX)),
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
            waits: Arc::new(Semaphore::new(WAITS_MAX)),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
            checks: Arc::new(Semaphore::new(HOST_CHECKS_MAX)),
            peers: PeerClients::default(),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        self.core.shared()
    }

    /// The other members of the cluster, and where each is reached.
    fn others(&self) -> BTreeMap<u64, String> {
        let standing = self.shared().standing.borrow();
        let mut others = standing.membership.members.addresses.clone();
        others.remove(&standing.replica_id);
        drop(standing);
        self.peers.retain(&others);
        others
    }

    /// The service as a call wants it: see [`READ_METADATA`].
    fn reading<T>(&self, request: &Request<T>) -> Result<AdminService, Status> {
        let stale = match request.metadata().get(READ_METADATA).map(MetadataValue::as_bytes) {
            None | Some(b"current") => false,
            Some(b"stale") => true,
            Some(_) => {
                let problem = format!("metadata {READ_METADATA}: expected current or stale");
                return Err(Status::invalid_argument(problem));
            }
        };
        Ok(AdminService { stale, ..self.clone() })
    }

    /// Waits until the state includes everything that was acknowledged anywhere before, unless the
    /// call takes it as it is.
    async fn wait_current(&self) -> Result<(), Status> {
        if self.stale {
            return Ok(());
        }
        let waited = self.core.wait_current().await;
        waited.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Runs `read` with the state, on a thread that may wait for it.
    async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine, &Shared) -> Result<R, Status> + Send + 'static,
    ) -> Result<R, Status> {
        self.wait_current().await?;
        self.look(read).await
    }

    /// Runs `look` with the state as this replica has it, on a thread that may wait for it.
    async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine, &Shared) -> Result<R, Status> + Send + 'static,
    ) -> Result<R, Status> {
        let shared = self.shared().clone();
        blocking(move || look(&shared.state.read(), &shared)).await
    }

    /// As [`AdminService::look`], but at once where it is quick and the state is free: handing it to
    /// another thread and back takes longer than what is to be done.
    async fn glance<R: Send + 'static>(
        &self,
        is_quick: bool,
        look: impl FnOnce(&Engine, &Shared) -> Result<R, Status> + Send + 'static,
    ) -> Result<R, Status> {
        if is_quick && let Some(engine) = self.shared().state.try_read() {
            return look(&engine, self.shared());
        }
        self.look(look).await
    }

    /// Runs `attempt` with the state, which it leaves as it was. One at a time: each holds up the
    /// writer.
    async fn attempt<R: Send + 'static>(
        &self,
        attempt: impl FnOnce(&mut Engine) -> Result<R, Status> + Send + 'static,
    ) -> Result<R, Status> {
        self.wait_current().await?;
        let turn = self.dry_runs.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the controller is stopping"))?;
        let shared = self.shared().clone();
        blocking(move || {
            let _turn = turn;
            attempt(&mut shared.state.write())
        })
        .await
    }
}

/// Runs work on a thread that may block.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, Status> + Send + 'static,
) -> Result<R, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        crate::telemetry::request_broke_off(&error);
        Err(Status::internal("the request broke off: this is a defect, see the controller's log"))
    })
}

/// One of a bounded number of streams.
fn take_place(places: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Status> {
    places.clone().try_acquire_owned().map_err(|_| {
        Status::resource_exhausted(format!("too many {what} are open: close some, or try again"))
    })
}

fn malformed(error: ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// A key that a request must have.
fn required_key(key: Option<&wire::ObjectKey>, field: &str) -> Result<ObjectKey, Status> {
    let missing = || Status::invalid_argument(format!("{field}: missing: name an object"));
    to_key(key.ok_or_else(missing)?).map_err(malformed)
}

#[tonic::async_trait]
impl wire::admin_server::Admin for AdminService {
    type WatchStream = AnswerStream<wire::WatchEvent>;
    type WaitRealizedStream = AnswerStream<wire::WaitRealizedProgress>;
    type BackupStream = AnswerStream<wire::BackupPart>;

    async fn apply(&self, request: Request<wire::ApplyRequest>) -> Answer<wire::ApplyResponse> {
        self.process_apply(request.into_inner()).await.map(Response::new)
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Answer<wire::DeleteResponse> {
        self.process_delete(request.into_inner()).await.map(Response::new)
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Answer<wire::GetResponse> {
        self.reading(&request)?.process_get(request.into_inner()).await.map(Response::new)
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Answer<wire::ListResponse> {
        self.reading(&request)?.process_list(request.into_inner()).await.map(Response::new)
    }

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Answer<Self::WatchStream> {
        self.reading(&request)?.process_watch(request.into_inner()).await.map(Response::new)
    }

    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Answer<wire::ExplainResponse> {
        self.reading(&request)?.process_explain(request.into_inner()).await.map(Response::new)
    }

    async fn verdict(
        &self,
        request: Request<wire::VerdictRequest>,
    ) -> Answer<wire::VerdictResponse> {
        self.reading(&request)?.process_verdict(request.into_inner()).await.map(Response::new)
    }

    async fn span(&self, request: Request<wire::SpanRequest>) -> Answer<wire::SpanResponse> {
        self.reading(&request)?.process_span(request.into_inner()).await.map(Response::new)
    }

    async fn host_view(
        &self,
        request: Request<wire::HostViewRequest>,
    ) -> Answer<wire::HostViewResponse> {
        self.reading(&request)?.process_host_view(request.into_inner()).await.map(Response::new)
    }

    async fn lint(&self, request: Request<wire::LintRequest>) -> Answer<wire::LintResponse> {
        self.reading(&request)?.process_lint(request.into_inner()).await.map(Response::new)
    }

    async fn impact(&self, request: Request<wire::ImpactRequest>) -> Answer<wire::ImpactResponse> {
        self.reading(&request)?.process_impact(request.into_inner()).await.map(Response::new)
    }

    async fn wait_realized(
        &self,
        request: Request<wire::WaitRealizedRequest>,
    ) -> Answer<Self::WaitRealizedStream> {
        self.reading(&request)?.process_wait_realized(request.into_inner()).await.map(Response::new)
    }

    async fn host_status(
        &self,
        request: Request<wire::HostStatusRequest>,
    ) -> Answer<wire::HostStatusResponse> {
        self.reading(&request)?.process_host_status(request.into_inner()).await.map(Response::new)
    }

    async fn host_check(
        &self,
        request: Request<wire::HostCheckRequest>,
    ) -> Answer<wire::HostCheckResponse> {
        self.reading(&request)?.process_host_check(request.into_inner()).await.map(Response::new)
    }

    async fn cluster_status(
        &self,
        _: Request<wire::ClusterStatusRequest>,
    ) -> Answer<wire::ClusterStatusResponse> {
        Ok(Response::new(self.process_cluster_status().await))
    }

    async fn change_members(
        &self,
        request: Request<wire::ChangeMembersRequest>,
    ) -> Answer<wire::ChangeMembersResponse> {
        self.process_change_members(request.into_inner()).await.map(Response::new)
    }

    async fn transfer_leadership(
        &self,
        request: Request<wire::TransferLeadershipRequest>,
    ) -> Answer<wire::TransferLeadershipResponse> {
        self.process_transfer(request.into_inner()).await.map(Response::new)
    }

    async fn backup(&self, _: Request<wire::BackupRequest>) -> Answer<Self::BackupStream> {
        self.process_backup().await.map(Response::new)
    }
}
