//! What a replica does with requests: its own callers' and, if it leads, those of others.

use super::super::handle::Answer;
use super::super::membership::{Plan, View};
use super::{LOG_FIRST, Replica};
use crate::consensus::log::LogBounds;
use crate::consensus::{Event, LogStore};
use crate::peer::{LeaderAnswer, MembersChange, PeerMessage, Request};
use crate::planted::{self, Bug};
use crate::state::{Applied, RequestId, stamp};

impl<S: LogStore> Replica<S> {
    /// Gives requests that wait to the leader.
    pub(super) fn try_requests(&mut self) {
        let (leader, term) = (self.node.leader(), self.node.term());
        self.tried_with = (leader, term);
        for (id, what) in self.waiting.due(leader, term, self.now.elapsed) {
            self.try_request(id, what);
        }
    }

    pub(super) fn try_request(&mut self, id: RequestId, what: Request) {
        let leader = self.node.leader();
        if leader == self.node.id() {
            if let Some(answer) = self.propose(id, &what) {
                self.waiting.process_answer(&id, answer);
            }
        } else {
            // If it does not arrive, it is tried again.
            self.transport.send(leader, PeerMessage::Forward { id, what });
        }
    }

    /// Does as a request asks, if this replica leads. Returns what there is to say at once: of what
    /// goes into the log, its entry will tell.
    pub(super) fn propose(&mut self, id: RequestId, what: &Request) -> Option<LeaderAnswer> {
        match what {
            Request::Command(command) => {
                let entry = stamp(command, self.now.wall_ms);
                self.batch.0 += 1;
                self.batch.1 += entry.len();
                let proposed = self.node.process(Event::Propose(entry));
                if planted::is(Bug::AnsweredBeforeCommit) && proposed.is_ok() {
                    let index = self.store.bounds().last_index + 1;
                    self.waiting.answer(&id, Ok(Answer::Outcome(Ok(Applied::Before(index)))));
                }
                proposed.err().map(|error| LeaderAnswer::Later(error.to_string()))
            }
            Request::Members(change) => self.propose_members(id, change),
            Request::Transfer(to) => self.transfer(*to),
        }
    }

    pub(super) fn propose_members(
        &mut self,
        id: RequestId,
        change: &MembersChange,
    ) -> Option<LeaderAnswer> {
        if !self.node.is_current_leader() {
            return Some(LeaderAnswer::Later("there is a new leader".to_owned()));
        }
        let conf_state = self.node.conf_state();
        let LogBounds { first_index, .. } = self.store.bounds();
        let view = View {
            replica_id: self.node.id(),
            address: &self.config.address,
            members: &self.members,
            conf_state: &conf_state,
            committed_index: self.node.committed_index(),
            progress: &|id| self.node.progress(id),
            is_changing: self.node.is_changing_members(),
            has_first_entry: first_index <= LOG_FIRST,
        };
        match view.plan(id, change) {
            Plan::Already(ids) => Some(LeaderAnswer::Already(ids)),
            Plan::Refused(why) => Some(LeaderAnswer::Refused(why)),
            Plan::Later(why) => Some(LeaderAnswer::Later(why)),
            Plan::SnapshotFirst => {
                self.snapshotter.want();
                let why = "a snapshot is taken first, for the new replica to begin with";
                Some(LeaderAnswer::Later(why.to_owned()))
            }
            Plan::HandOver(to) => {
                self.process_event(Event::Transfer(to));
                let why = format!("replica {to} becomes leader first");
                Some(LeaderAnswer::Later(why))
            }
            Plan::Propose(change) => {
                let proposed = self.node.process(Event::ProposeMembers(change));
                proposed.err().map(|error| LeaderAnswer::Later(error.to_string()))
            }
        }
    }

    pub(super) fn transfer(&mut self, to: u64) -> Option<LeaderAnswer> {
        if to == self.node.id() {
            return Some(LeaderAnswer::Already(vec![to]));
        }
        if !self.node.conf_state().voters.contains(&to) {
            let why = format!("replica {to} is no voter: only a voter can lead");
            return Some(LeaderAnswer::Refused(why));
        }
        if !self.node.progress(to).is_some_and(|progress| progress.is_active) {
            let why = format!("replica {to} is not heard from: it could not lead");
            return Some(LeaderAnswer::Refused(why));
        }
        self.process_event(Event::Transfer(to));
        // The caller sees who leads.
        None
    }

    /// Lets another voter lead, if there is one that can. Returns which.
    pub(super) fn hand_over(&mut self) -> Option<u64> {
        let to = self.successor()?;
        self.process_event(Event::Transfer(to));
        Some(to)
    }

    /// The voter that should lead if this replica goes away: the one that has most of the log.
    pub fn successor(&self) -> Option<u64> {
        let voters = self.node.conf_state().voters;
        let others = voters.into_iter().filter(|id| *id != self.node.id());
        let active = others.filter_map(|id| Some((id, self.node.progress(id)?)));
        let active = active.filter(|(_, progress)| progress.is_active);
        active.max_by_key(|(_, progress)| progress.matched).map(|(id, _)| id)
    }

    pub(super) fn ask_reads(&mut self) {
        for context in self.reads.due(self.node.leader() != 0, self.now.elapsed) {
            if planted::is(Bug::StaleRead) {
                self.reads.process_index(&context, self.applied_index);
                continue;
            }
            self.process_event(Event::ReadIndex(context));
        }
        self.reads.process_applied(self.applied_index);
    }
}
