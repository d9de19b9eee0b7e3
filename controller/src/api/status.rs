//! HostStatus and ClusterStatus.

use super::AdminService;
use super::blocking;
use super::read::required_host;
use crate::publisher::HostReport;
use spanwire_adminproto::convert::from_key;
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
                            hosts.push(to_status(shared.publisher.report(&engine, host)));
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

fn to_status(report: HostReport) -> wire::HostAgentStatus {
    let HostReport {
        name,
        connected_since_ms,
        realized_revision,
        view_revision,
        status,
        rejections,
    } = report;
    let rejections = rejections.into_iter().map(|(item, object, reason)| wire::HostRejection {
        object: object.as_ref().map(from_key),
        item: item.to_string(),
        reason,
    });
    let answer = wire::HostAgentStatus {
        host: name.to_string(),
        connected: connected_since_ms.is_some(),
        connected_since_ms: connected_since_ms.unwrap_or_default(),
        realized_revision,
        view_revision,
        rejections: rejections.collect(),
        ..wire::HostAgentStatus::default()
    };
    let Some(status) = status else { return answer };
    wire::HostAgentStatus {
        agent_version: status.agent_version,
        datapath: status.datapath,
        drift_repaired: status.drift.repaired_total,
        drift_last: status.drift.findings.last().cloned().unwrap_or_default(),
        bytes_sent: status.sent_bytes,
        batches_sent: status.sent_batches,
        ..answer
    }
}
