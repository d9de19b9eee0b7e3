//! The operator, who changes the members.

use super::{Event, Simulation};
use crate::admin::Change;
use crate::checks::Finding;
use crate::replica::{State, address};
use crate::schedule::{MS, SECOND};
use raft::eraftpb::ConfState;
use rand::RngExt as _;
use spanwire_controller::peer::{MembersChange, Request};
use spanwire_controller::state::RequestId;
use tokio::sync::oneshot;

impl Simulation {
    pub(super) fn process_operator(&mut self) -> Result<(), Finding> {
        let pause = if self.membership.ids().len() < 3 { 500 } else { 4_000 };
        let at = self.schedule.now() + self.rng.random_range(100..pause) * MS;
        self.schedule.put(at, Event::Operator);
        if self.change.is_some() {
            return Ok(());
        }
        let Some(request) = self.choose_change() else { return Ok(()) };
        let Some(id) = self.any_up() else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        let change = match &request {
            Request::Members(change) => Some(change.clone()),
            _ => None,
        };
        let until = self.schedule.now() + 5 * SECOND;
        self.change = Some(Change { change, until, answer });
        let name = RequestId(self.rng.random());
        self.tell(format_args!("operator asks replica {id} for {request:?}"));
        self.step_replica(id, move |running| {
            running.replica.process_request(name, request, reply);
        })
    }

    /// What an operator would do next.
    pub(super) fn choose_change(&mut self) -> Option<Request> {
        let ConfState { voters, learners, .. } = self.membership.conf_state.clone();
        let members = |change: MembersChange| Some(Request::Members(change));
        let is_broken =
            |id: &u64| matches!(self.replicas.get(id).map(|r| &r.state), Some(State::Broken));
        // Who is broken is replaced.
        if let Some(id) = self.membership.ids().iter().find(|id| is_broken(id)) {
            return members(MembersChange { remove: vec![*id], ..MembersChange::default() });
        }
        let next = address(self.membership.members.next_id);
        let add = |addresses: Vec<String>| MembersChange { add: addresses, ..Default::default() };
        let count = voters.len() + learners.len();
        if count < 3 {
            return members(add(vec![next]));
        }
        if let Some(learner) = learners.first().filter(|_| voters.len() < 3) {
            return members(MembersChange { promote: vec![*learner], ..Default::default() });
        }
        if self.is_healed {
            return None;
        }
        let voter = voters[self.rng.random_range(0..voters.len())];
        match self.rng.random_range(0..12) {
            0..4 => Some(Request::Transfer(voter)),
            4..6 if count < 7 => members(add(vec![next])),
            6..8 if !learners.is_empty() => {
                let promote = learners.clone();
                members(MembersChange { promote, ..Default::default() })
            }
            8 if voters.len() > 3 => {
                members(MembersChange { remove: vec![voter], ..Default::default() })
            }
            9 if !learners.is_empty() => {
                members(MembersChange { remove: vec![learners[0]], ..Default::default() })
            }
            // One goes and another comes in its place, at once.
            10 if !learners.is_empty() => {
                let (promote, remove) = (vec![learners[0]], vec![voter]);
                members(MembersChange { promote, remove, ..Default::default() })
            }
            _ => None,
        }
    }

    pub(super) fn poll_change(&mut self) {
        let now = self.schedule.now();
        let Some(change) = &mut self.change else { return };
        let told = match change.answer.try_recv() {
            Ok(answer) => format!("{answer:?}"),
            Err(oneshot::error::TryRecvError::Closed) => "nothing: the replica is gone".to_owned(),
            Err(oneshot::error::TryRecvError::Empty) if now >= change.until => "nothing".to_owned(),
            Err(oneshot::error::TryRecvError::Empty) => return,
        };
        self.change = None;
        self.tell(format_args!("operator is told {told}"));
    }
}
