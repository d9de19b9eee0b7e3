//! What a replica tells others of the hosts that it serves.

use crate::limits::{PEER_HOSTS_AT_ONCE, PEER_HOSTS_BYTES_MAX};
use crate::publisher::HostReport;
use crate::shared::Shared;
use crate::state::wire;
use prost::Message as _;
use spanwire_topology::model::Text;

/// Reports on the hosts that are connected here, or that were; if some are named, on those of them.
/// `send` takes an answer, and returns false when no more are wanted.
pub(super) fn report(
    shared: &Shared,
    named: &[String],
    brief: bool,
    mut send: impl FnMut(wire::HostsResponse) -> bool,
) {
    let mut names = shared.publisher.known_hosts();
    if !named.is_empty() {
        let named: std::collections::BTreeSet<&str> = named.iter().map(String::as_str).collect();
        names.retain(|name| named.contains(&**name));
    }
    // An answer without hosts still tells the revision.
    let mut chunks = names.chunks(PEER_HOSTS_AT_ONCE);
    let mut next = Some(chunks.next().unwrap_or_default());
    while let Some(names) = next {
        let (revision, sessions) = sessions(shared, names, brief);
        for hosts in split(sessions) {
            if !send(wire::HostsResponse { revision, hosts }) {
                return;
            }
        }
        next = chunks.next();
    }
}

fn sessions(shared: &Shared, names: &[Text], brief: bool) -> (u64, Vec<wire::HostSession>) {
    let engine = shared.state.read();
    // A host that was deleted meanwhile is none any more.
    let hosts = names.iter().filter_map(|name| engine.host_id(name));
    let sessions = hosts.map(|host| to_session(shared.publisher.report(&engine, host), brief));
    let sessions = sessions.collect();
    (shared.publisher.revision(), sessions)
}

fn to_session(report: HostReport, brief: bool) -> wire::HostSession {
    let (phase, pending) = match &report.status {
        Some(status) => (status.phase.as_str().to_owned(), status.pending),
        None => (String::new(), 0),
    };
    let mut status = report.to_wire();
    if brief {
        status.agent_version.clear();
        status.datapath.clear();
        status.drift_last.clear();
        status.check_last.clear();
        (status.checks, status.check_repaired) = (0, 0);
        (status.drift_repaired, status.bytes_sent, status.batches_sent) = (0, 0, 0);
        // That there are some matters: what they are about has its place in them.
        status.rejections.iter_mut().for_each(|rejection| rejection.reason.clear());
    }
    let pending = u32::try_from(pending).unwrap_or(u32::MAX);
    wire::HostSession { status: Some(status), phase, pending }
}

/// Splits sessions so that each part has few enough bytes; there is one part at least.
fn split(sessions: Vec<wire::HostSession>) -> Vec<Vec<wire::HostSession>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for session in sessions {
        let more = session.encoded_len();
        if bytes > 0 && bytes + more > PEER_HOSTS_BYTES_MAX {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            part.push(session);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_small_and_nothing_is_lost() {
        let session = |bytes: usize| wire::HostSession {
            phase: "x".repeat(bytes),
            ..wire::HostSession::default()
        };
        assert_eq!(split(Vec::new()), [Vec::new()]);
        let third = PEER_HOSTS_BYTES_MAX / 3;
        let sessions: Vec<_> =
            [third, third, third, 2 * PEER_HOSTS_BYTES_MAX, 1].into_iter().map(session).collect();
        let parts = split(sessions.clone());
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!(parts.concat(), sessions);
    }
}
