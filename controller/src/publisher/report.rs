//! What is known of a host, as it is told.

use super::HostReport;
use spanwire_adminproto::convert::from_key;
use spanwire_adminproto::wire;

impl HostReport {
    /// The report on the wire.
    pub fn to_wire(self) -> wire::HostAgentStatus {
        let HostReport {
            name,
            connected_since_ms,
            realized_revision,
            view_revision,
            status,
            rejections,
        } = self;
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
}
