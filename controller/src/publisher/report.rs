//! What is known of a host, as it is told.

use super::HostReport;
use spanwire_adminproto::convert::from_key;
use spanwire_adminproto::wire;
use spanwire_hostproto::Difference;

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
        let differences = status.last_check.iter().flat_map(|report| &report.differences);
        let check_last = differences.last().map(to_line).unwrap_or_default();
        wire::HostAgentStatus {
            agent_version: status.agent_version,
            datapath: status.datapath,
            drift_repaired: status.drift.repaired_total,
            drift_last: status.drift.findings.last().cloned().unwrap_or_default(),
            checks: status.checks,
            check_repaired: status.checks_repaired,
            check_last,
            bytes_sent: status.sent_bytes,
            batches_sent: status.sent_batches,
            ..answer
        }
    }
}

/// A difference in a line.
fn to_line(difference: &Difference) -> String {
    let Difference { key, found, members } = difference;
    let list = |what: &str, some: &[String], count: u32| {
        let more = (count as usize).saturating_sub(some.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{what} {}{more}", some.join(", "))
    };
    let mut parts = Vec::new();
    if members.extra_count > 0 {
        parts.push(list("extra", &members.extra, members.extra_count));
    }
    if members.missing_count > 0 {
        parts.push(list("missing", &members.missing, members.missing_count));
    }
    match parts.is_empty() {
        true => format!("{key} {}", found.as_str()),
        false => format!("{key} {}: {}", found.as_str(), parts.join("; ")),
    }
}
