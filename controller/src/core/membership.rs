//! What becomes of a request to change the members of the cluster: decided by the leader, before
//! anything is in the log.

use crate::consensus::PeerProgress;
use crate::limits::{MEMBERS_MAX, PROMOTE_LAG_MAX, VOTERS_MAX};
use crate::peer::MembersChange;
use crate::state::{Members, RequestId, wire};
use prost::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};
use std::collections::BTreeSet;

/// The cluster as its leader sees it.
pub(super) struct View<'a> {
    pub(super) replica_id: u64,
    /// Where the others reach the leader.
    pub(super) address: &'a str,
    pub(super) members: &'a Members,
    pub(super) conf_state: &'a ConfState,
    pub(super) committed_index: u64,
    /// How far another member is.
    pub(super) progress: &'a dyn Fn(u64) -> Option<PeerProgress>,
    /// True if a change is under way.
    pub(super) is_changing: bool,
    /// True if the log still has its very first entry. A new replica would be sent entries instead of
    /// the state with its members, and not know who founded the cluster.
    pub(super) has_first_entry: bool,
}

/// What becomes of the request.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// It is already so. The members that it is about.
    Already(Vec<u64>),
    /// It is refused.
    Refused(String),
    /// It has to wait.
    Later(String),
    /// It has to wait until there is a snapshot.
    SnapshotFirst,
    /// It has to wait until this replica leads no longer.
    HandOver(u64),
    /// It goes into the log.
    Propose(ConfChangeV2),
}

impl View<'_> {
    /// Decides.
    pub(super) fn plan(&self, id: RequestId, change: &MembersChange) -> Plan {
        let voters: BTreeSet<u64> = self.conf_state.voters.iter().copied().collect();
        let learners: BTreeSet<u64> = self.conf_state.learners.iter().copied().collect();
        let add: Vec<&String> =
            change.add.iter().filter(|address| self.members.at(address).is_none()).collect();
        let promote: Vec<u64> =
            change.promote.iter().copied().filter(|id| !voters.contains(id)).collect();
        let is_member = |id: &u64| voters.contains(id) || learners.contains(id);
        let remove: Vec<u64> = change.remove.iter().copied().filter(is_member).collect();
        if let Some(unknown) = promote.iter().find(|id| !learners.contains(id)) {
            return Plan::Refused(format!("replica {unknown} is no member: add it first"));
        }
        if let Some(unknown) = change.remove.iter().find(|id| **id >= self.members.next_id) {
            return Plan::Refused(format!("there never was a replica {unknown}"));
        }
        if add.is_empty() && promote.is_empty() && remove.is_empty() {
            let known = change.add.iter().filter_map(|address| self.members.at(address));
            let named = change.promote.iter().chain(&change.remove).copied();
            return Plan::Already(known.chain(named).collect());
        }
        if self.is_changing {
            return Plan::Later("another change of members is under way".to_owned());
        }
        let after: BTreeSet<u64> =
            voters.iter().chain(&promote).copied().filter(|id| !remove.contains(id)).collect();
        if let Some(plan) = self.check_size(&after, learners.len() + add.len()) {
            return plan;
        }
        if let Some(plan) = self.check_caught_up(&promote, change.force) {
            return plan;
        }
        if let Some(plan) = self.check_quorum(&voters, &after, change.force) {
            return plan;
        }
        if !add.is_empty() && self.address.is_empty() {
            return Plan::Refused(format!(
                "nobody knows where to reach replica {}, which leads: it listens on all addresses. \
                 Set `advertise` in its configuration to one that the others reach it at, and \
                 restart it",
                self.replica_id
            ));
        }
        if !add.is_empty() && self.has_first_entry {
            return Plan::SnapshotFirst;
        }
        if remove.contains(&self.replica_id) {
            return self.hand_over(&after);
        }
        Plan::Propose(self.mk_change(id, &add, &promote, &remove))
    }

    fn check_size(&self, after: &BTreeSet<u64>, learners: usize) -> Option<Plan> {
        if after.is_empty() {
            let why = "a cluster needs a voter: remove the data directories to end it".to_owned();
            return Some(Plan::Refused(why));
        }
        if after.len() > VOTERS_MAX {
            return Some(Plan::Refused(format!(
                "there would be {} voters, and the most is {VOTERS_MAX}: more make writes slower, \
                 not safer. Learners serve hosts and reads as well",
                after.len()
            )));
        }
        if after.len() + learners > MEMBERS_MAX {
            return Some(Plan::Refused(format!("there would be more than {MEMBERS_MAX} members")));
        }
        None
    }

    /// A voter that is far behind counts for the majority and cannot help to make one.
    fn check_caught_up(&self, promote: &[u64], force: bool) -> Option<Plan> {
        if force {
            return None;
        }
        promote.iter().find_map(|id| match (self.progress)(*id) {
            Some(progress) if !progress.is_active => Some(Plan::Later(format!(
                "replica {id} is not heard from: see that it runs and can be reached"
            ))),
            Some(progress)
                if progress.needs_snapshot
                    || progress.matched + PROMOTE_LAG_MAX < self.committed_index =>
            {
                Some(Plan::Later(format!(
                    "replica {id} has log entry {} of {}: it has to catch up first",
                    progress.matched, self.committed_index
                )))
            }
            Some(_) => None,
            None => Some(Plan::Later(format!("nothing is known of replica {id} yet"))),
        })
    }

    /// Refuses what would leave the cluster without a majority of voters that are heard from.
    fn check_quorum(
        &self,
        before: &BTreeSet<u64>,
        after: &BTreeSet<u64>,
        force: bool,
    ) -> Option<Plan> {
        if force || before == after {
            return None;
        }
        let is_active = |id: &&u64| {
            **id == self.replica_id || (self.progress)(**id).is_some_and(|p| p.is_active)
        };
        let active = after.iter().filter(is_active).count();
        let needed = after.len() / 2 + 1;
        if active >= needed {
            return None;
        }
        let silent: Vec<String> =
            after.iter().filter(|id| !is_active(id)).map(ToString::to_string).collect();
        Some(Plan::Refused(format!(
            "the cluster could not write any more: of {} voters then, {needed} are needed, and {active} \
             are heard from. Bring back replica {} first, or remove it instead; --force does it all \
             the same",
            after.len(),
            silent.join(", ")
        )))
    }

    /// A leader that is to go lets another lead first: so there is no pause.
    fn hand_over(&self, after: &BTreeSet<u64>) -> Plan {
        let best = after
            .iter()
            .filter_map(|id| Some((*id, (self.progress)(*id)?)))
            .filter(|(id, progress)| *id != self.replica_id && progress.is_active)
            .max_by_key(|(_, progress)| progress.matched);
        match best {
            Some((to, _)) => Plan::HandOver(to),
            None => Plan::Later(format!(
                "replica {} leads, and no other voter is heard from that could lead instead",
                self.replica_id
            )),
        }
    }

    fn mk_change(
        &self,
        id: RequestId,
        add: &[&String],
        promote: &[u64],
        remove: &[u64],
    ) -> ConfChangeV2 {
        let step = |node_id: u64, kind: ConfChangeType| ConfChangeSingle {
            change_type: kind as i32,
            node_id,
        };
        let new_ids: Vec<u64> = (self.members.next_id..).take(add.len()).collect();
        let mut changes: Vec<ConfChangeSingle> = Vec::new();
        changes.extend(new_ids.iter().map(|id| step(*id, ConfChangeType::AddLearnerNode)));
        changes.extend(promote.iter().map(|id| step(*id, ConfChangeType::AddNode)));
        changes.extend(remove.iter().map(|id| step(*id, ConfChangeType::RemoveNode)));
        let mut members: Vec<wire::Member> = new_ids
            .iter()
            .zip(add)
            .map(|(id, address)| wire::Member { id: *id, address: (*address).clone() })
            .collect();
        // While it was alone nobody had to know where the founder is.
        if !self.members.addresses.contains_key(&self.replica_id) {
            let address = self.address.to_owned();
            members.push(wire::Member { id: self.replica_id, address });
        }
        let context = wire::MembersContext {
            request: id.0.to_vec(),
            members,
            next_id: self.members.next_id + add.len() as u64,
            ids: new_ids.iter().chain(promote).chain(remove).copied().collect(),
        };
        ConfChangeV2 { changes, context: context.encode_to_vec().into(), ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Voters 1 to 3 and learner 4; 1 leads. `silent` are not heard from.
    fn plan(change: &MembersChange, silent: &[u64], behind: &[u64]) -> Plan {
        let members = Members {
            addresses: (1..=4).map(|id| (id, format!("host-{id}:1"))).collect::<BTreeMap<_, _>>(),
            next_id: 6, // 5 was removed
        };
        let conf_state = ConfState::from(([1, 2, 3], [4]));
        let progress = |id: u64| {
            Some(PeerProgress {
                matched: if behind.contains(&id) { 10 } else { 100_000 + id },
                is_active: !silent.contains(&id),
                needs_snapshot: false,
            })
        };
        let view = View {
            replica_id: 1,
            address: "host-1:1",
            members: &members,
            conf_state: &conf_state,
            committed_index: 100_000,
            progress: &progress,
            is_changing: false,
            has_first_entry: false,
        };
        view.plan(RequestId([7; 16]), change)
    }

    fn add(address: &str) -> MembersChange {
        MembersChange { add: vec![address.to_owned()], ..MembersChange::default() }
    }

    fn promote(id: u64) -> MembersChange {
        MembersChange { promote: vec![id], ..MembersChange::default() }
    }

    fn remove(ids: &[u64]) -> MembersChange {
        MembersChange { remove: ids.to_vec(), ..MembersChange::default() }
    }

    #[test]
    fn what_is_already_so_is_not_done_again() {
        assert_eq!(plan(&add("host-4:1"), &[], &[]), Plan::Already(vec![4]));
        assert_eq!(plan(&promote(2), &[], &[]), Plan::Already(vec![2]));
        assert_eq!(plan(&remove(&[5]), &[], &[]), Plan::Already(vec![5]));
    }

    #[test]
    fn what_would_lose_the_majority_is_refused_unless_forced() {
        let refused = |change: &MembersChange, silent: &[u64]| match plan(change, silent, &[]) {
            Plan::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        let why = refused(&remove(&[2]), &[3]);
        assert!(why.contains("of 2 voters then, 2 are needed, and 1 are heard from"), "{why}");
        assert!(why.contains("Bring back replica 3 first"), "{why}");
        let forced = MembersChange { force: true, ..remove(&[2]) };
        assert!(matches!(plan(&forced, &[3], &[]), Plan::Propose(_)));
        assert!(matches!(plan(&remove(&[3]), &[3], &[]), Plan::Propose(_)), "the dead one goes");
        assert!(refused(&remove(&[1, 2, 3]), &[]).contains("needs a voter"));
        assert!(refused(&promote(5), &[]).contains("no member"));
        assert!(refused(&remove(&[6]), &[]).contains("never was"));
    }

    #[test]
    fn a_learner_votes_once_it_has_caught_up() {
        let later = |silent: &[u64], behind: &[u64]| match plan(&promote(4), silent, behind) {
            Plan::Later(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(later(&[], &[4]).contains("has log entry 10 of 100000"));
        assert!(later(&[4], &[]).contains("not heard from"));
        assert!(matches!(plan(&promote(4), &[], &[]), Plan::Propose(_)));
        let forced = MembersChange { force: true, ..promote(4) };
        assert!(matches!(plan(&forced, &[4], &[4]), Plan::Propose(_)));
    }

    #[test]
    fn a_leader_hands_over_before_it_goes() {
        assert_eq!(plan(&remove(&[1]), &[], &[]), Plan::HandOver(3), "who has most of the log");
        assert_eq!(plan(&remove(&[1]), &[], &[3]), Plan::HandOver(2));
        let later = plan(&MembersChange { force: true, ..remove(&[1]) }, &[2, 3], &[]);
        assert!(matches!(later, Plan::Later(_)));
    }

    #[test]
    fn several_changes_are_one_and_identities_are_not_given_twice() {
        let change = MembersChange {
            add: vec!["host-6:1".to_owned(), "host-7:1".to_owned()],
            promote: vec![4],
            remove: vec![3],
            force: false,
        };
        let Plan::Propose(change) = plan(&change, &[], &[]) else { panic!("not proposed") };
        let steps: Vec<(i32, u64)> =
            change.changes.iter().map(|step| (step.change_type, step.node_id)).collect();
        assert_eq!(steps, [(2, 6), (2, 7), (0, 4), (1, 3)]);
        let context = wire::MembersContext::decode(change.context.as_ref()).unwrap();
        assert_eq!((context.next_id, context.ids), (8, vec![6, 7, 4, 3]));
    }
}
