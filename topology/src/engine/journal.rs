//! What one transaction has touched so far, with how it was before.
//!
//! The engine applies a transaction by taking every touched port out of everything it is part of,
//! changing the tables, and putting the ports back. What was taken out and put back unchanged
//! cancels here, so that only net changes are reported.

use super::api::HostId;
use super::ids::{
    DomainId, GroupId, IdSet, Map, PlacementId, PolicyId, PortId, RouterId, Set, ShardId,
};
use crate::model::{AddressBlocks, Kind, ObjectKey, Revision, Spec, Uid, Vni};
use crate::view::{DomainItem, ItemKey, Locator, PolicyItem};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Journal {
    /// True while a whole state is loaded into an empty engine.
    pub(super) is_load: bool,
    /// Versions that touched items had before; an item that is missing here is new.
    pub(super) versions: Map<ItemKey, Revision>,
    /// What the items of touched ports were made of; `None` is a new one.
    pub(super) ports: Map<PortId, Option<PortMakings>>,
    pub(super) policies: Map<PolicyId, Option<Box<PolicyItem>>>,
    pub(super) domains: Map<DomainId, Option<DomainItem>>,
    pub(super) locators: Map<DomainId, LocatorChange>,
    pub(super) shards: Map<ShardId, ShardChange>,
    pub(super) blocks: Map<GroupId, AddressBlocks>,
    /// Placements that were touched, with whether they existed before.
    pub(super) placements: Map<PlacementId, bool>,

    /// Ports that are taken out of everything.
    pub(super) detached: IdSet<PortId>,
    /// Applied groups whose number of ports at a placement changed.
    /// The same one may stand here more than once.
    pub(super) spans: Vec<(GroupId, PlacementId)>,
    /// Applied groups whose peers changed, with whether they had the peer, and protected.
    pub(super) peers: Map<(GroupId, GroupId), (bool, bool)>,
    /// Applied groups of touched policies, before and after.
    pub(super) applied_to: Map<PolicyId, Vec<GroupId>>,
    /// Routers whose links beyond their domain changed, or which moved with such links.
    pub(super) crossing: Set<RouterId>,
    /// Components whose closures must be computed again.
    pub(super) closures: Set<DomainId>,
    /// Domains in which the last unprotected port came or went.
    pub(super) protection: Set<DomainId>,
    pub(super) dead_domains: Vec<DomainId>,

    /// The VNI that moved and deleted switches and routers had, by uid.
    pub(super) vnis: Map<Uid, Vni>,
    /// Objects that are gone but still have their slots.
    pub(super) freed: Vec<(Kind, u32)>,
    /// All ports found with the same address in one domain. Whichever came first, these are the
    /// same, so every replica names the same two in its refusal.
    pub(super) clashes: Map<(DomainId, IpAddr), BTreeSet<ObjectKey>>,
}

/// What the item of a port is made of, and its host: enough to tell whether it has changed. The item
/// itself costs several allocations, and a group that is redefined touches every member.
#[derive(Debug)]
pub(super) struct PortMakings {
    pub(super) spec: Arc<Spec>,
    pub(super) domain: Vni,
    pub(super) groups: Vec<Uid>,
    pub(super) host: Option<HostId>,
}

#[derive(Debug, Default)]
pub(super) struct LocatorChange {
    pub(super) removed: Vec<Locator>,
    pub(super) added: Vec<Locator>,
}

#[derive(Debug, Default)]
pub(super) struct ShardChange {
    pub(super) existed: bool,
    pub(super) removed: Vec<IpAddr>,
    pub(super) added: Vec<IpAddr>,
}

/// Sorts both and drops what is in both.
pub(super) fn cancel<T: Ord + Copy>(removed: &mut Vec<T>, added: &mut Vec<T>) {
    removed.sort_unstable();
    added.sort_unstable();
    if removed.is_empty() || added.is_empty() {
        return;
    }
    let (mut r, mut a) = (0, 0);
    let (mut only_removed, mut only_added) = (Vec::new(), Vec::new());
    while r < removed.len() || a < added.len() {
        match (removed.get(r), added.get(a)) {
            (Some(x), Some(y)) if x == y => {
                r += 1;
                a += 1;
            }
            (Some(x), Some(y)) if x < y => {
                only_removed.push(*x);
                r += 1;
            }
            (Some(x), None) => {
                only_removed.push(*x);
                r += 1;
            }
            (_, Some(y)) => {
                only_added.push(*y);
                a += 1;
            }
            (None, None) => unreachable!("the loop runs while one of the two has more"),
        }
    }
    *removed = only_removed;
    *added = only_added;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_out_and_put_back_cancels() {
        let (mut removed, mut added) = (vec![3, 1, 2, 2], vec![2, 4, 1]);
        cancel(&mut removed, &mut added);
        assert_eq!((removed, added), (vec![2, 3], vec![4]));
    }
}
