//! HostStatus and ClusterStatus.

use super::AdminService;
use super::blocking;
use super::read::required_host;
use spanwire_adminproto::wire;
use spanwire_topology::model::Kind;
use tonic::Status;

/// Hosts looked at before the writer gets its turn.
const REPORT_HOSTS_AT_ONCE: usize = 256;

impl AdminService {
    pub(super) async fn process_host_status(
        &self,
        request: wire::HostStatusRequest,
    ) -> Result<wire::HostStatusResponse, Status> {
        let wire::HostStatusRequest { hosts: mut names } = request;
        self.wait_current().await?;
        let shared = self.shared().clone();
        blocking(move || {
            let all = names.is_empty();
            let revision = {
                let engine = shared.state.read();
                if all {
                    let hosts = engine.list(Kind::Host, None, None);
                    names.extend(hosts.map(|object| object.resource.metadata.name.to_string()));
                }
                engine.revision()
            };
            let mut hosts = Vec::with_capacity(names.len());
            for chunk in names.chunks(REPORT_HOSTS_AT_ONCE) {
                let engine = shared.state.read();
                for name in chunk {
                    match required_host(&engine, name) {
                        Ok(host) => {
                            hosts.push(shared.publisher.report(&engine, host).to_wire());
                        }
                        // It was deleted since it was listed.
                        Err(_) if all => {}
                        Err(status) => return Err(status),
                    }
                }
            }
            Ok(wire::HostStatusResponse { hosts, revision })
        })
        .await
    }

    /// Answers on every replica, whatever its state: it is what one looks at when others do not.
    pub(super) fn process_cluster_status(&self) -> wire::ClusterStatusResponse {
        let standing = self.shared().standing.borrow().clone();
        wire::ClusterStatusResponse {
            cluster_id: self.shared().publisher.cluster_id().to_string(),
            leader: standing.leader,
            term: standing.term,
            revision: *self.shared().revision.borrow(),
            replicas: vec![wire::ReplicaStatus {
                id: standing.replica_id,
                address: String::new(),
                role: standing.role.as_str().to_owned(),
                applied_revision: standing.applied_index,
            }],
        }
    }
}
