//! The end: everything is healed, and must converge.

use super::{Event, Simulation};
use crate::checks::Finding;
use crate::network::Network;
use crate::replica::{BALANCE, SimReplica, State, TROUBLE};

impl Simulation {
    /// Nothing goes wrong any more, and what was broken is repaired.
    pub(super) fn heal(&mut self) -> Result<(), Finding> {
        self.tell(format_args!("healed"));
        self.is_healed = true;
        self.network = Network::default();
        self.schedule.put(self.schedule.now(), Event::AlterView);
        for host in 0..self.hosts.len() {
            self.hosts[host].slowness = 0;
            if !self.hosts[host].is_up {
                self.schedule.put(self.schedule.now(), Event::HostStart { host });
            }
        }
        let ids: Vec<u64> = self.replicas.keys().copied().collect();
        for id in ids {
            let Some(replica) = self.replicas.get_mut(&id) else { continue };
            replica.storage.sync_time = 200;
            if replica.storage.is_failing {
                let is_up = replica.running().is_some();
                replica.storage.kill();
                if is_up {
                    self.stop_replica(id, State::Down);
                }
            }
            if matches!(self.replicas.get(&id).map(|r| &r.state), Some(State::Down)) {
                self.start_replica(id)?;
            }
        }
        Ok(())
    }

    /// What is not yet as it must be in the end.
    pub(super) fn what_is_missing(&self) -> Option<String> {
        let membership = &self.membership;
        if membership.conf_state.voters.len() < 3 || self.reference.applied_index() == 0 {
            return Some(format!("the cluster has not grown to three: {membership:?}"));
        }
        if !membership.conf_state.voters_outgoing.is_empty() {
            return Some("a change of several members is not complete".to_owned());
        }
        // Fresh writes, by everyone.
        if let Some((client, _)) =
            self.clients.iter().enumerate().find(|(_, c)| {
                c.task.as_ref().is_some_and(|task| task.from < TROUBLE) || c.done == 0
            })
        {
            return Some(format!("client {client} has done nothing since"));
        }
        let mut newest = None;
        for id in membership.ids() {
            let Some(running) = self.replicas.get(&id).and_then(SimReplica::running) else {
                return Some(format!("replica {id} does not run"));
            };
            let standing = running.shared.standing.borrow().clone();
            if !standing.is_current || standing.applied_index != self.reference.applied_index() {
                return Some(format!("replica {id} is behind: {standing:?}"));
            }
            let requests = running.shared.requests.lock().clone();
            let state = (standing.applied_index, requests);
            if newest.get_or_insert(state.clone()) != &state {
                return Some(format!("replica {id} remembers other requests than the first"));
            }
        }
        if self.unaltered > 0 {
            return Some(format!("{} views are yet to be altered", self.unaltered));
        }
        if let Some(surplus) = self.surplus() {
            return Some(surplus);
        }
        for host in &self.hosts {
            let expected = self.reference.view_at(&host.name, self.reference.applied_index());
            if expected.is_none_or(|expected| expected.items != host.enforced.items) {
                let revision = host.revision();
                let altered = &host.altered;
                return Some(format!(
                    "{} enforces revision {revision}, {altered:?} altered",
                    host.name
                ));
            }
        }
        None
    }

    /// A member that serves too many of the hosts.
    fn surplus(&self) -> Option<String> {
        let load = |id: &u64| {
            let running = self.replicas.get(id).and_then(SimReplica::running)?;
            u32::try_from(running.shared.publisher.connections().len()).ok()
        };
        let ids = self.membership.ids();
        let loads: Vec<(u64, u32)> = ids.iter().filter_map(|id| Some((*id, load(id)?))).collect();
        loads.iter().find_map(|(id, own)| {
            let others: Vec<u32> =
                loads.iter().filter(|(other, _)| other != id).map(|(_, load)| *load).collect();
            let is_too_much = BALANCE.surplus(*own, &others) > 0;
            is_too_much.then(|| format!("replica {id} serves {own} hosts, others {others:?}"))
        })
    }
}
