//! Whom a transaction that is only tried would concern.
//!
//! Changes to the sets of items of hosts are worked out for hosts that are watched, and few are.
//! Watching all of them for the sake of one try would cost as much as the network is large. So a
//! transaction is tried twice: the first time to find every host whose set may change, from what the
//! transaction touched; then these are watched, and it is tried again.

use super::api::{HostId, ItemChangeKind, Refusal};
use super::ids::{IdSet, PolicyId};
use super::journal::Journal;
use super::prepare::Preparation;
use super::state::Engine;
use crate::view::ItemKey;

impl Engine {
    /// Watches the hosts whose sets of items a transaction may change and that nobody watches.
    /// Returns these.
    pub(super) fn watch_concerned(
        &mut self,
        preparation: &Preparation,
    ) -> Result<Vec<HostId>, Refusal> {
        let marks = (self.last_uid, self.last_vni);
        let (changes, journal) = self.execute(preparation, self.revision + 1, None)?;
        let mut hosts = IdSet::default();
        self.add_hosts_of(&journal, &mut hosts);
        let mut removed: Vec<ItemKey> = Vec::new();
        for change in &changes.items {
            match change.kind {
                ItemChangeKind::Created => hosts.union_with(&self.subscribers_of(change.key)),
                ItemChangeKind::Removed => removed.push(change.key),
                ItemChangeKind::Replaced | ItemChangeKind::Delta(_) => {}
            }
        }
        let policies: Vec<PolicyId> = journal.applied_to.keys().copied().collect();
        self.undo(preparation, journal, marks);
        // What was there before, and whom it was applied to.
        for key in removed {
            hosts.union_with(&self.subscribers_of(key));
        }
        self.add_hosts_of_policies(&policies, &mut hosts);
        let unwatched =
            |host: &HostId| self.hosts.get(*host).is_some_and(|state| state.watched.is_none());
        let unwatched: Vec<HostId> = hosts.iter().filter(unwatched).collect();
        for &host in &unwatched {
            self.watch(host);
        }
        Ok(unwatched)
    }

    /// The hosts of touched ports, before and after, of domains that differ, and of touched policies.
    /// Every other link of the chain from a change to a host's set of items is an item that is
    /// created or removed.
    fn add_hosts_of(&self, journal: &Journal, hosts: &mut IdSet<HostId>) {
        for (&id, before) in &journal.ports {
            let before = before.as_ref().and_then(|makings| makings.host);
            let after = self.ports.get(id).and_then(|port| port.host);
            for host in before.into_iter().chain(after) {
                hosts.insert(host);
            }
        }
        for (&id, before) in &journal.domains {
            let Some(domain) = self.domains.get(id) else { continue };
            // A domain that is left with what it saw tells its hosts nothing, however many they are.
            if before.as_ref() == Some(&self.domain_item(id)) {
                continue;
            }
            for placement in domain.placements.iter() {
                hosts.insert(self.placements[placement].host);
            }
        }
        let policies: Vec<PolicyId> = journal.applied_to.keys().copied().collect();
        self.add_hosts_of_policies(&policies, hosts);
    }

    fn add_hosts_of_policies(&self, policies: &[PolicyId], hosts: &mut IdSet<HostId>) {
        for &policy in policies {
            // One that the transaction makes has no slot before it.
            if let Some(policy) = self.policies.get(policy) {
                hosts.union_with(&self.subscribers_of(ItemKey::Policy(policy.object.uid)));
            }
        }
    }
}
