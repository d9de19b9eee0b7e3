//! Which hosts were told of a change, and how soon they enforced it.

use crate::client::{Admin, to_failure};
use crate::failure::{Failure, FailureKind};
use spanwire_adminproto::wire;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the hosts are looked at.
const POLL: Duration = Duration::from_millis(1);
/// How long all hosts together may take to enforce a change.
const ENFORCED_WAIT: Duration = Duration::from_secs(60);

/// What a host was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Bytes.
    pub(super) bytes: u64,
    /// How long after the request the host was seen to enforce it.
    pub(super) after: Duration,
}

/// What the hosts were sent up to now, by name.
pub(super) async fn statuses(
    admin: &mut Admin,
) -> Result<BTreeMap<String, wire::HostAgentStatus>, Failure> {
    let answer = admin
        .host_status(wire::HostStatusRequest::default())
        .await
        .map_err(|status| to_failure("look at the hosts", &status))?;
    Ok(answer.into_inner().hosts.into_iter().map(|host| (host.host.clone(), host)).collect())
}

/// Waits until every host enforces a revision, and tells what was sent to those that were sent
/// anything since `before`, which was asked for before the request at `start`.
pub(super) async fn follow(
    admin: &mut Admin,
    before: &BTreeMap<String, wire::HostAgentStatus>,
    revision: u64,
    start: Instant,
) -> Result<BTreeMap<String, Told>, Failure> {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    loop {
        let now = statuses(admin).await?;
        let after = start.elapsed();
        let mut missing = Vec::new();
        for (host, status) in &now {
            if !status.connected || status.realized_revision < revision {
                missing.push(host.as_str());
                continue;
            }
            let earlier = before.get(host).map_or(0, |status| status.bytes_sent);
            let bytes = status.bytes_sent.saturating_sub(earlier);
            if bytes > 0 {
                // The first look at which it had the revision counts.
                told.entry(host.clone()).or_insert(Told { bytes, after }).bytes = bytes;
            }
        }
        if missing.is_empty() {
            return Ok(told);
        }
        if after > ENFORCED_WAIT {
            return Err(Failure::new(
                FailureKind::Timeout,
                format!("revision {revision} is not in the datapath of {}", missing.join(", ")),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// True if no host refuses anything; else what it refuses.
pub(super) fn rejections(statuses: &BTreeMap<String, wire::HostAgentStatus>) -> Vec<String> {
    statuses
        .iter()
        .flat_map(|(host, status)| {
            status
                .rejections
                .iter()
                .map(move |rejection| format!("{host}: {}: {}", rejection.item, rejection.reason))
        })
        .collect()
}
