//! A controller that waits to be added to a cluster: it says who it is, and takes who it shall be.

use super::PEER_VERSION;
use super::server::{HostsStream, RELEASE, check_admit};
use crate::data_dir::Identity;
use crate::state::wire;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};

/// An identity, and who is told that it is written, or why it is not.
pub(crate) type Admission = (Identity, oneshot::Sender<Result<(), String>>);

/// The peer service of a controller that waits.
#[derive(Debug, Clone)]
pub(crate) struct WaitingService {
    admissions: mpsc::Sender<Admission>,
}

impl WaitingService {
    /// The service. What it is told comes out of `admissions`.
    pub(crate) fn new(admissions: mpsc::Sender<Admission>) -> WaitingService {
        WaitingService { admissions }
    }
}

#[tonic::async_trait]
impl wire::peer_server::Peer for WaitingService {
    type HostsStream = HostsStream;

    async fn deliver(
        &self,
        _: Request<Streaming<wire::Envelope>>,
    ) -> Result<Response<wire::DeliverResponse>, Status> {
        // It is about to be told who it is: whoever comes is to try again soon.
        Err(Status::unavailable("this controller waits to be added to a cluster"))
    }

    async fn probe(
        &self,
        _: Request<wire::ProbeRequest>,
    ) -> Result<Response<wire::ProbeResponse>, Status> {
        Ok(Response::new(wire::ProbeResponse {
            version: PEER_VERSION,
            release: RELEASE.to_owned(),
            waits: true,
            cluster_id: Vec::new(),
            replica_id: 0,
        }))
    }

    async fn admit(
        &self,
        request: Request<wire::AdmitRequest>,
    ) -> Result<Response<wire::AdmitResponse>, Status> {
        let identity = check_admit(&request.into_inner())?;
        let (reply, written) = oneshot::channel();
        let busy = |_| Status::unavailable("this controller is being added already");
        self.admissions.try_send((identity, reply)).map_err(busy)?;
        match written.await {
            Ok(Ok(())) => Ok(Response::new(wire::AdmitResponse {})),
            Ok(Err(problem)) => Err(Status::internal(problem)),
            Err(_) => Err(Status::unavailable("this controller is being added already")),
        }
    }

    async fn hosts(&self, _: Request<wire::HostsRequest>) -> Result<Response<HostsStream>, Status> {
        let why = "this controller waits to be added to a cluster: it serves no hosts";
        Err(Status::failed_precondition(why))
    }
}
