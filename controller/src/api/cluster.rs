//! ClusterStatus, ChangeMembers and TransferLeadership.

use super::AdminService;
use super::write::to_status;
use crate::consensus::{PeerProgress, Role};
use crate::core::ReplicaStatus;
use crate::limits::ADD_REPLICAS_MAX;
use crate::peer::{MembersChange, PEER_VERSION, PeerCallError};
use crate::shared::{Membership, Standing};
use crate::state::{check_address, wire as peer};
use spanwire_adminproto::wire;
use spanwire_hostproto::ClusterId;
use std::collections::BTreeSet;
use tonic::Status;

impl AdminService {
    /// Answers on every replica, whatever its state: it is what one looks at when others do not.
    pub(super) async fn process_cluster_status(&self) -> wire::ClusterStatusResponse {
        let shared = self.shared();
        // A core that has stopped says nothing; where it stood is still known.
        let status = self.core.status().await;
        let standing = match &status {
            Some(status) => status.standing.clone(),
            None => shared.standing.borrow().clone(),
        };
        let answer = wire::ClusterStatusResponse {
            cluster_id: shared.publisher.cluster_id().to_string(),
            leader: standing.leader,
            term: standing.term,
            revision: *shared.revision.borrow(),
            replicas: to_replicas(&standing, status.as_ref()),
            replica: standing.replica_id,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            current: standing.is_current,
            committed_revision: standing.committed_index,
            hosts_connected: shared.publisher.connections().len() as u64,
            changing_members: !standing.membership.conf_state.voters_outgoing.is_empty(),
            ..wire::ClusterStatusResponse::default()
        };
        let Some(status) = status else { return answer };
        wire::ClusterStatusResponse {
            log_first: status.log.first_index,
            log_last: status.log.last_index,
            snapshot_index: status.snapshot_index,
            incoming_snapshot_index: status.incoming.map(|(index, _)| index),
            incoming_snapshot_bytes: status.incoming.map_or(0, |(_, bytes)| bytes),
            requests_waiting: status.waiting as u64,
            ..answer
        }
    }

    /// Each step can be done again: whoever repeats a call that broke off ends where it would have.
    pub(super) async fn process_change_members(
        &self,
        request: wire::ChangeMembersRequest,
    ) -> Result<wire::ChangeMembersResponse, Status> {
        let wire::ChangeMembersRequest { add, promote, remove, force } = request;
        check_change(&add, &promote, &remove).map_err(Status::invalid_argument)?;
        // Decided by members as they are, not as they were.
        self.wait_current().await?;
        let cluster_id = self.shared().publisher.cluster_id();
        let mut waiting = Vec::new();
        let mut lost = Vec::new();
        for address in &add {
            let probed = self.peers.probe(address).await;
            let found = probed.map_err(|error| not_there(&error))?;
            let membership = self.shared().standing.borrow().membership.clone();
            match plan_add(address, &found, &membership, cluster_id) {
                Add::Refuse(why) => return Err(Status::failed_precondition(why)),
                Add::Nothing => {}
                Add::Anew => waiting.push(address.clone()),
                Add::Again(id) => {
                    if !self.has_nothing(id).await {
                        lost.push(id);
                    }
                    waiting.push(address.clone());
                }
            }
        }
        if !lost.is_empty() {
            // What such a learner had, it has no more: it comes back as another one.
            let change = MembersChange { remove: lost, ..MembersChange::default() };
            self.change_members(change).await?;
        }
        self.change_members(MembersChange { add: add.clone(), promote, remove, force }).await?;
        // Whoever answered may be ahead of what is applied here.
        self.wait_current().await?;
        let members = self.shared().standing.borrow().membership.members.clone();
        let mut added = Vec::with_capacity(add.len());
        for address in &add {
            let id = members.at(address).ok_or_else(|| {
                Status::aborted(format!(
                    "{address} was removed again meanwhile: look at the status"
                ))
            })?;
            if waiting.contains(address) {
                let admitted = self.peers.admit(address, cluster_id, id).await;
                admitted.map_err(|error| not_admitted(id, &error))?;
            }
            added.push(id);
        }
        Ok(wire::ChangeMembersResponse { added })
    }

    async fn change_members(&self, change: MembersChange) -> Result<Vec<u64>, Status> {
        self.core.change_members(change).await.map_err(|error| to_status(&error))
    }

    /// True if this replica leads and has never heard that a learner took anything: then nothing is lost
    /// if its disk is empty.
    async fn has_nothing(&self, learner: u64) -> bool {
        let status = self.core.status().await;
        let progress = status.and_then(|status| status.progress.get(&learner).copied());
        progress.is_some_and(|progress| progress.matched == 0)
    }

    pub(super) async fn process_transfer(
        &self,
        request: wire::TransferLeadershipRequest,
    ) -> Result<wire::TransferLeadershipResponse, Status> {
        let to = match request.to {
            0 => self.best_successor().await?,
            to => to,
        };
        self.core.transfer(to).await.map_err(|error| to_status(&error))?;
        Ok(wire::TransferLeadershipResponse { leader: to })
    }

    /// The voter that should lead instead of the one that does.
    async fn best_successor(&self) -> Result<u64, Status> {
        let mut status = self.process_cluster_status().await;
        if status.leader == 0 {
            let why = "this replica knows of no leader: a majority of the replicas may be down or \
                       cut off";
            return Err(Status::unavailable(why));
        }
        if status.leader != status.replica {
            // Only the leader knows how far the others are.
            let leader = status.leader;
            let address = status.replicas.into_iter().find(|replica| replica.id == leader);
            let address = address.map(|replica| replica.address).unwrap_or_default();
            let asked = self.peers.cluster_status(&address).await;
            status = asked.map_err(|error| Status::unavailable(error.to_string()))?;
        }
        successor(&status).ok_or_else(|| {
            Status::failed_precondition(format!(
                "replica {} leads, and no other voter is heard from that could lead instead",
                status.leader
            ))
        })
    }
}

/// The members as one replica sees them.
fn to_replicas(standing: &Standing, status: Option<&ReplicaStatus>) -> Vec<wire::ReplicaStatus> {
    let Membership { members, conf_state } = &*standing.membership;
    let mut ids = standing.membership.ids();
    // One that waits for its first snapshot does not know that it is a member.
    if !ids.contains(&standing.replica_id) {
        ids.push(standing.replica_id);
        ids.sort_unstable();
    }
    let to_replica = |id: u64| {
        let is_self = id == standing.replica_id;
        let voter = conf_state.voters.contains(&id) || conf_state.voters_outgoing.contains(&id);
        let role = match (is_self, voter) {
            _ if id == standing.leader => Role::Leader.as_str(),
            (true, true) => standing.role.as_str(),
            (false, true) => Role::Follower.as_str(),
            (_, false) => "learner",
        };
        let own_address = status.filter(|_| is_self).map(|status| &status.address);
        let progress = status.filter(|_| !is_self).and_then(|status| status.progress.get(&id));
        wire::ReplicaStatus {
            id,
            address: members.addresses.get(&id).or(own_address).cloned().unwrap_or_default(),
            role: role.to_owned(),
            applied_revision: if is_self { standing.applied_index } else { 0 },
            voter,
            progress: progress.map(|progress| to_progress(*progress, standing.committed_index)),
        }
    };
    ids.into_iter().map(to_replica).collect()
}

fn to_progress(progress: PeerProgress, committed_index: u64) -> wire::ReplicaProgress {
    let PeerProgress { matched, is_active, needs_snapshot } = progress;
    wire::ReplicaProgress {
        matched,
        lag: committed_index.saturating_sub(matched),
        active: is_active,
        takes_snapshot: needs_snapshot,
    }
}

/// The voter that has most of the log and is heard from, by the leader's word.
fn successor(status: &wire::ClusterStatusResponse) -> Option<u64> {
    let others =
        status.replicas.iter().filter(|replica| replica.voter && replica.id != status.leader);
    let known = others.filter_map(|replica| Some((replica.id, replica.progress?)));
    let active = known.filter(|(_, progress)| progress.active);
    active.max_by_key(|(_, progress)| progress.matched).map(|(id, _)| id)
}

/// Refuses what contradicts itself, before anybody is asked.
fn check_change(add: &[String], promote: &[u64], remove: &[u64]) -> Result<(), String> {
    if add.is_empty() && promote.is_empty() && remove.is_empty() {
        return Err("nothing to change: name replicas to add, promote or remove".to_owned());
    }
    if add.len() > ADD_REPLICAS_MAX {
        return Err(format!("add: {} replicas, and the most is {ADD_REPLICAS_MAX}", add.len()));
    }
    let mut addresses = BTreeSet::new();
    for address in add {
        check_address(address).map_err(|problem| format!("add: {problem}"))?;
        if !addresses.insert(address) {
            return Err(format!("add: {address} is named twice"));
        }
    }
    let mut ids = BTreeSet::new();
    match promote.iter().chain(remove).find(|id| !ids.insert(**id)) {
        Some(0) => Err("replica 0: the first is 1".to_owned()),
        Some(id) => Err(format!("replica {id} is named twice")),
        None if ids.contains(&0) => Err("replica 0: the first is 1".to_owned()),
        None => Ok(()),
    }
}

/// What is to be done about an address that shall be a member's.
#[derive(Debug, PartialEq, Eq)]
enum Add {
    /// It is that member.
    Nothing,
    /// Add it, and tell it who it is.
    Anew,
    /// It is a learner's, and whoever is there does not know it yet, or any more.
    Again(u64),
    /// It cannot be.
    Refuse(String),
}

const JOIN: &str = "`spanwire controller --join`";

fn plan_add(
    address: &str,
    found: &peer::ProbeResponse,
    membership: &Membership,
    cluster_id: ClusterId,
) -> Add {
    let peer::ProbeResponse { version, release, waits, cluster_id: theirs, replica_id } = found;
    if *version != PEER_VERSION {
        return Add::Refuse(format!(
            "the controller at {address} (release {release}) speaks version {version} of the peer \
             protocol, and this one {PEER_VERSION}: run the same release on both"
        ));
    }
    let member = membership.members.at(address);
    if !waits {
        let is_ours = *theirs == cluster_id.0;
        if is_ours && member == Some(*replica_id) {
            return Add::Nothing;
        }
        let whose = match <[u8; 16]>::try_from(theirs.as_slice()) {
            Ok(_) if is_ours => format!("replica {replica_id} of this cluster, or was"),
            Ok(id) => format!("replica {replica_id} of cluster {}", ClusterId(id)),
            Err(_) => format!("replica {replica_id} of another cluster"),
        };
        return Add::Refuse(format!(
            "the controller at {address} is {whose}. To add it, stop it, give it an empty data \
             directory, and start it with {JOIN}"
        ));
    }
    let Some(id) = member else { return Add::Anew };
    let conf_state = &membership.conf_state;
    if conf_state.voters.contains(&id) || conf_state.voters_outgoing.contains(&id) {
        return Add::Refuse(format!(
            "replica {id} at {address} is a voter, and the controller there has lost its data: it must \
             not vote again as if it had not. Remove it first (spanwire cluster remove {id}), then \
             add it anew"
        ));
    }
    Add::Again(id)
}

fn not_there(error: &PeerCallError) -> Status {
    let remedy = format!("Nothing was changed. Start a controller there with {JOIN}");
    Status::failed_precondition(format!("{error}. {remedy}"))
}

fn not_admitted(id: u64, error: &PeerCallError) -> Status {
    Status::unavailable(format!(
        "replica {id} was added, but could not be told so: {error}. Do the same again to finish, or \
         remove it: spanwire cluster remove {id}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Members;
    use raft::eraftpb::ConfState;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const OURS: ClusterId = ClusterId([7; 16]);

    /// Voters 1 and 2, learner 3.
    fn mk_membership() -> Membership {
        let addresses = (1..=3).map(|id| (id, format!("host-{id}:1")));
        let members = Members { addresses: addresses.collect::<BTreeMap<_, _>>(), next_id: 4 };
        Membership { members, conf_state: ConfState::from(([1, 2], [3])) }
    }

    fn mk_found(waits: bool, cluster: [u8; 16], replica_id: u64) -> peer::ProbeResponse {
        let cluster_id = if waits { Vec::new() } else { cluster.to_vec() };
        let release = "9.9.9".to_owned();
        peer::ProbeResponse { version: PEER_VERSION, release, waits, cluster_id, replica_id }
    }

    #[test]
    fn only_who_waits_is_added() {
        let plan = |address: &str, found: &peer::ProbeResponse| {
            plan_add(address, found, &mk_membership(), OURS)
        };
        let waits = mk_found(true, [0; 16], 0);
        assert_eq!(plan("host-4:1", &waits), Add::Anew);
        assert_eq!(plan("host-3:1", &waits), Add::Again(3));
        assert_eq!(plan("host-3:1", &mk_found(false, [7; 16], 3)), Add::Nothing);
        assert_eq!(plan("host-2:1", &mk_found(false, [7; 16], 2)), Add::Nothing);
        let other_version = peer::ProbeResponse { version: PEER_VERSION + 1, ..waits.clone() };
        let cases = [
            (
                "host-2:1",
                waits,
                "replica 2 at host-2:1 is a voter, and the controller there has lost",
            ),
            ("host-4:1", other_version, "(release 9.9.9) speaks version 2"),
            ("host-4:1", mk_found(false, [8; 16], 1), "replica 1 of cluster 0808"),
            ("host-4:1", mk_found(false, [7; 16], 4), "replica 4 of this cluster, or was"),
            ("host-3:1", mk_found(false, [7; 16], 2), "replica 2 of this cluster, or was"),
        ];
        for (address, found, expected) in cases {
            let Add::Refuse(why) = plan(address, &found) else { panic!("{expected}") };
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn changes_that_make_no_sense_are_refused() {
        let check = |add: &[&str], promote: &[u64], remove: &[u64]| {
            let add: Vec<String> = add.iter().map(ToString::to_string).collect();
            check_change(&add, promote, remove)
        };
        assert_eq!(check(&["a:1"], &[2], &[3]), Ok(()));
        let many: Vec<String> = (0..=ADD_REPLICAS_MAX).map(|n| format!("a{n}:1")).collect();
        assert!(check_change(&many, &[], &[]).is_err());
        type Case<'a> = (&'a [&'a str], &'a [u64], &'a [u64], &'a str);
        let cases: [Case<'_>; 5] = [
            (&[], &[], &[], "nothing to change"),
            (&["a"], &[], &[], "expected HOST:PORT"),
            (&["a:1", "a:1"], &[], &[], "a:1 is named twice"),
            (&[], &[2], &[2], "replica 2 is named twice"),
            (&[], &[0], &[], "replica 0"),
        ];
        for (add, promote, remove, expected) in cases {
            let error = check(add, promote, remove).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    fn mk_status() -> ReplicaStatus {
        let standing = Standing {
            role: Role::Leader,
            leader: 1,
            term: 2,
            applied_index: 90,
            committed_index: 100,
            membership: Arc::new(mk_membership()),
            ..Standing::of_follower(1)
        };
        let progress = |matched, is_active, needs_snapshot| PeerProgress {
            matched,
            is_active,
            needs_snapshot,
        };
        ReplicaStatus {
            address: "host-1:1".to_owned(),
            standing,
            progress: BTreeMap::from([
                (2, progress(97, true, false)),
                (3, progress(0, false, true)),
            ]),
            waiting: 0,
            log: crate::consensus::log::LogBounds { first_index: 1, last_index: 100 },
            snapshot_index: 0,
            incoming: None,
        }
    }

    #[test]
    fn members_are_told_as_the_replica_sees_them() {
        let status = mk_status();
        let replicas = to_replicas(&status.standing, Some(&status));
        let roles: Vec<_> = replicas.iter().map(|r| (r.id, r.role.as_str(), r.voter)).collect();
        assert_eq!(roles, [(1, "leader", true), (2, "follower", true), (3, "learner", false)]);
        let lags: Vec<_> = replicas.iter().map(|r| r.progress.map(|p| (p.lag, p.active))).collect();
        assert_eq!(lags, [None, Some((3, true)), Some((100, false))]);
        assert_eq!((replicas[0].applied_revision, replicas[1].applied_revision), (90, 0));
        // A replica that stopped still says where it stood.
        let candidate = Standing { leader: 0, role: Role::Candidate, ..status.standing.clone() };
        let replicas = to_replicas(&candidate, None);
        assert_eq!((replicas[0].role.as_str(), replicas[0].progress), ("candidate", None));
        // One alone has no members' addresses, but its own.
        let alone = Membership { conf_state: ConfState::from(([1], [])), ..Membership::default() };
        let standing = Standing { membership: Arc::new(alone), ..status.standing.clone() };
        let replicas = to_replicas(&standing, Some(&status));
        assert_eq!((replicas.len(), replicas[0].address.as_str()), (1, "host-1:1"));
    }

    #[test]
    fn the_voter_with_most_of_the_log_succeeds() {
        let mut status = wire::ClusterStatusResponse { leader: 1, ..Default::default() };
        let mk = |id, voter, matched, active| wire::ReplicaStatus {
            id,
            voter,
            progress: Some(wire::ReplicaProgress { matched, active, ..Default::default() }),
            ..Default::default()
        };
        status.replicas = vec![mk(2, true, 5, true), mk(3, true, 9, false), mk(4, false, 9, true)];
        assert_eq!(successor(&status), Some(2), "3 is not heard from, 4 is a learner");
        status.replicas.push(mk(5, true, 6, true));
        assert_eq!(successor(&status), Some(5));
        status.replicas.clear();
        assert_eq!(successor(&status), None);
    }
}
