//! Whether two domains on this host could have connections that look alike.

use crate::datapath::evaluate::{domain, locators};
use spanwire_topology::model::{Text, Uid, Vni};
use spanwire_topology::view::{HostView, PortItem};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The addresses of this host's ports, by domain, beside those of others in the view.
pub(crate) struct Overlap<'a> {
    view: &'a HostView,
    locals: BTreeMap<Vni, BTreeSet<IpAddr>>,
}

impl<'a> Overlap<'a> {
    /// Of these ports.
    pub(crate) fn new(
        view: &'a HostView,
        workloads: &BTreeMap<Text, (Uid, &'a PortItem)>,
    ) -> Overlap<'a> {
        let mut locals: BTreeMap<Vni, BTreeSet<IpAddr>> = BTreeMap::new();
        for (_, port) in workloads.values() {
            locals.entry(port.domain).or_default().extend(&port.addresses);
        }
        Overlap { view, locals }
    }

    /// True if a connection of one could have the same two addresses as one of the other. Each has
    /// an end on this host, so it is enough that no such end is anybody else's in the other.
    ///
    /// Where a port may send with any address, so may a connection look like any other.
    pub(crate) fn between(&self, left: Vni, right: Vni) -> bool {
        let forged = |vni| domain(self.view, vni).is_none_or(|item| item.spoofable);
        forged(left) || forged(right) || self.occurs(left, right) || self.occurs(right, left)
    }

    /// True if an address of a port of `left` is somebody else's to `right`.
    fn occurs(&self, left: Vni, right: Vni) -> bool {
        let Some(addresses) = self.locals.get(&left) else { return false };
        // What the view does not say of a domain could be anything.
        let Some(item) = domain(self.view, right) else { return true };
        item.sees.iter().filter(|seen| **seen != left).any(|seen| {
            let locals = self.locals.get(seen);
            let locators = locators(self.view, *seen);
            addresses.iter().any(|address| {
                locals.is_some_and(|locals| locals.contains(address))
                    || locators.is_some_and(|locators| locators.get(*address).is_some())
            })
        })
    }
}
