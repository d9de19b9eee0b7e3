//! What several replicas know of the hosts, made one: a host is connected to any of them, and those that
//! it left remember it.

use crate::publisher::{Assessment, Missing};
use crate::state::wire as peer;
use spanwire_adminproto::convert::to_key;
use spanwire_adminproto::wire;
use spanwire_topology::model::{ObjectKey, Revision};
use std::collections::BTreeMap;

/// What other replicas said of hosts: of each host what the replica says that knows it best.
#[derive(Debug, Default)]
pub(super) struct Others {
    sessions: BTreeMap<String, (u64, peer::HostSession)>,
    /// Those that said nothing.
    silent: Vec<wire::SilentReplica>,
}

impl Others {
    /// Takes what a replica said.
    pub(super) fn take(&mut self, replica: u64, sessions: Vec<peer::HostSession>) {
        for session in sessions {
            let Some(status) = &session.status else { continue };
            let is_better = self.sessions.get(&status.host).is_none_or(|(known, best)| {
                let best = best.status.as_ref();
                best.is_none_or(|best| rank(replica, status) > rank(*known, best))
            });
            if is_better {
                self.sessions.insert(status.host.clone(), (replica, session));
            }
        }
    }

    /// Takes that a replica did not answer.
    pub(super) fn take_silence(&mut self, id: u64, address: &str, reason: String) {
        self.silent.push(wire::SilentReplica { id, address: address.to_owned(), reason });
        self.silent.sort_unstable_by_key(|replica| replica.id);
    }

    /// The replicas that did not answer, sorted.
    pub(super) fn silent(&self) -> &[wire::SilentReplica] {
        &self.silent
    }

    /// What is known of a host, where `own` is what this replica, `replica`, knows.
    pub(super) fn merge_status(
        &self,
        replica: u64,
        own: wire::HostAgentStatus,
    ) -> wire::HostAgentStatus {
        // A replica that is behind does not know of the last change to the host's view.
        let own_view = own.view_revision;
        let (replica, status) = match self.sessions.get(&own.host) {
            Some((other, peer::HostSession { status: Some(status), .. }))
                if rank(*other, status) > rank(replica, &own) =>
            {
                (*other, status.clone())
            }
            _ => (replica, own),
        };
        wire::HostAgentStatus {
            replica: if status.connected { replica } else { 0 },
            view_revision: status.view_revision.max(own_view),
            ..status
        }
    }

    /// How far hosts are, where `own` is what this replica knows. `concerns` says whether a rejection of
    /// an item, made of an object, means that a host does not have what is waited for.
    pub(super) fn merge_assessment(
        &self,
        own: Assessment,
        target: Revision,
        concerns: impl Fn(Option<&ObjectKey>, &str) -> bool,
    ) -> Assessment {
        let Assessment { hosts, mut realized, missing } = own;
        let mut still_missing = Vec::with_capacity(missing.len());
        for host in missing {
            let other = self.sessions.get(&*host.name).map(|(_, session)| session);
            let Some(session) = other.filter(|session| is_newer(session, &host)) else {
                let reason = match host.connected_since_ms {
                    Some(_) => host.reason,
                    None => self.why_not_connected(),
                };
                still_missing.push(Missing { reason, ..host });
                continue;
            };
            match why_missing(session, target, &concerns) {
                Some(reason) => still_missing.push(Missing { reason, ..host }),
                None => realized += 1,
            }
        }
        Assessment { hosts, realized, missing: still_missing }
    }

    fn why_not_connected(&self) -> String {
        let ids: Vec<String> = self.silent.iter().map(|replica| replica.id.to_string()).collect();
        match ids.as_slice() {
            [] => "not connected".to_owned(),
            [id] => {
                format!("not connected to any replica that answers; replica {id} does not answer")
            }
            ids => format!(
                "not connected to any replica that answers; replicas {} do not answer",
                ids.join(", ")
            ),
        }
    }
}

/// Who of several replicas knows a host best: one that it is connected to, of those the one where it
/// connected last; else the one that knows of the newest revision.
fn rank(replica: u64, status: &wire::HostAgentStatus) -> (bool, u64, u64, u64) {
    let since = if status.connected { status.connected_since_ms } else { 0 };
    (status.connected, since, status.realized_revision, replica)
}

/// True if a host is connected to another replica, and connected there after it connected here.
fn is_newer(session: &peer::HostSession, own: &Missing) -> bool {
    session.status.as_ref().is_some_and(|status| {
        status.connected
            && own.connected_since_ms.is_none_or(|since| status.connected_since_ms > since)
    })
}

/// Why a host that is connected to another replica does not have a revision in its datapath.
fn why_missing(
    session: &peer::HostSession,
    target: Revision,
    concerns: impl Fn(Option<&ObjectKey>, &str) -> bool,
) -> Option<String> {
    let status = session.status.as_ref()?;
    if status.realized_revision < target {
        return Some(crate::publisher::why_behind(
            status.realized_revision,
            &session.phase,
            session.pending,
        ));
    }
    status.rejections.iter().find_map(|rejection| {
        let object = rejection.object.as_ref().and_then(|key| to_key(key).ok());
        if !concerns(object.as_ref(), &rejection.item) {
            return None;
        }
        let what = object.map_or_else(|| rejection.item.clone(), |object| object.to_string());
        Some(match rejection.reason.as_str() {
            "" => format!("it rejected {what}"),
            reason => format!("it rejected {what}: {reason}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_adminproto::convert::from_key;
    use spanwire_topology::model::Kind;

    /// A host's session; `since` is 0 if it is not connected.
    fn mk_session(host: &str, since: u64, realized: u64) -> peer::HostSession {
        let status = wire::HostAgentStatus {
            host: host.to_owned(),
            connected: since > 0,
            connected_since_ms: since,
            realized_revision: realized,
            view_revision: 5,
            ..wire::HostAgentStatus::default()
        };
        peer::HostSession { status: Some(status), phase: "following".to_owned(), pending: 3 }
    }

    fn mk_own(host: &str, since: u64, realized: u64) -> wire::HostAgentStatus {
        mk_session(host, since, realized).status.unwrap()
    }

    fn mk_others(said: &[(u64, peer::HostSession)]) -> Others {
        let mut others = Others::default();
        for (replica, session) in said {
            others.take(*replica, vec![session.clone()]);
        }
        others
    }

    #[test]
    fn the_replica_that_a_host_connected_to_last_knows_it_best() {
        // What replica 1 knows itself, what 2 and 3 say, and who is right.
        let cases = [
            ((0, 4), (0, 7), (0, 6), (0, 7)),
            ((0, 9), (10, 7), (0, 8), (2, 7)),
            ((10, 9), (20, 7), (15, 8), (2, 7)),
            ((30, 1), (20, 7), (15, 8), (1, 1)),
            ((0, 0), (20, 7), (20, 8), (3, 8)),
        ];
        for (own, second, third, (replica, realized)) in cases {
            for swapped in [false, true] {
                let mut said = vec![
                    (2, mk_session("h", second.0, second.1)),
                    (3, mk_session("h", third.0, third.1)),
                ];
                if swapped {
                    said.reverse();
                }
                let merged = mk_others(&said).merge_status(1, mk_own("h", own.0, own.1));
                let found = (merged.replica, merged.realized_revision);
                assert_eq!(found, (replica, realized), "{own:?} {second:?} {third:?}");
            }
        }
    }

    #[test]
    fn a_replica_that_is_behind_does_not_hide_a_change_of_the_view() {
        let own = wire::HostAgentStatus { view_revision: 9, ..mk_own("h", 0, 0) };
        let merged = mk_others(&[(2, mk_session("h", 1, 5))]).merge_status(1, own);
        assert_eq!((merged.realized_revision, merged.view_revision), (5, 9));
        let alone = Others::default().merge_status(1, mk_own("h", 1, 5));
        assert_eq!((alone.replica, alone.view_revision), (1, 5));
    }

    fn assess(others: &Others, since: Option<u64>) -> Assessment {
        let missing = Missing {
            name: "h".into(),
            reason: "its own reason".to_owned(),
            connected_since_ms: since,
        };
        let own = Assessment { hosts: 2, realized: 1, missing: vec![missing] };
        others.merge_assessment(own, 7, |object, _| object.is_some())
    }

    fn reason(assessment: &Assessment) -> &str {
        assert_eq!((assessment.hosts, assessment.realized), (2, 1));
        &assessment.missing[0].reason
    }

    #[test]
    fn a_host_has_it_if_the_replica_that_serves_it_says_so() {
        let has = assess(&mk_others(&[(2, mk_session("h", 10, 7))]), None);
        assert_eq!((has.realized, has.missing.len()), (2, 0));
        let behind = assess(&mk_others(&[(2, mk_session("h", 10, 6))]), None);
        let expected = "behind: it has revision 6 (following, 3 items pending)";
        assert_eq!(reason(&behind), expected);
        // It went to replica 2 and came back.
        let left = assess(&mk_others(&[(2, mk_session("h", 10, 7))]), Some(20));
        assert_eq!(reason(&left), "its own reason");
        let moved = assess(&mk_others(&[(2, mk_session("h", 10, 7))]), Some(5));
        assert_eq!(moved.realized, 2);
        let gone = assess(&mk_others(&[(2, mk_session("h", 0, 7))]), None);
        assert_eq!(reason(&gone), "not connected");
    }

    #[test]
    fn a_rejection_counts_where_it_concerns_what_is_waited_for() {
        let mut session = mk_session("h", 10, 7);
        let status = session.status.as_mut().unwrap();
        let object = ObjectKey::new(Kind::SecurityPolicy, "a", "db");
        status.rejections = vec![
            wire::HostRejection { item: "domain 1".to_owned(), ..Default::default() },
            wire::HostRejection {
                object: Some(from_key(&object)),
                item: "policy 4".to_owned(),
                reason: "no room".to_owned(),
            },
        ];
        let others = mk_others(&[(2, session.clone())]);
        assert_eq!(reason(&assess(&others, None)), "it rejected policy a/db: no room");
        session.status.as_mut().unwrap().rejections.truncate(1);
        assert_eq!(assess(&mk_others(&[(2, session)]), None).realized, 2);
    }

    #[test]
    fn replicas_that_do_not_answer_are_named() {
        let mut others = Others::default();
        others.take_silence(3, "c:1", "down".to_owned());
        let expected = "not connected to any replica that answers; replica 3 does not answer";
        assert_eq!(reason(&assess(&others, None)), expected);
        assert_eq!(reason(&assess(&others, Some(5))), "its own reason");
        others.take_silence(2, "b:1", "down".to_owned());
        let expected = "not connected to any replica that answers; replicas 2, 3 do not answer";
        assert_eq!(reason(&assess(&others, None)), expected);
    }
}
