//! The driver that keeps the view in memory: for scale tests, for laptops, and as the reference of
//! the conformance suite.

use super::evaluate::{self, Destination, EvaluateError, Judgement, Packet};
use super::{Datapath, DatapathError, Finding, Rejection};
use spanwire_topology::model::{Direction, Uid};
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Keeps the view in memory and answers what would happen to a packet.
///
/// Clones share the view: one goes to the thread that applies, another stays with whoever asks.
#[derive(Debug, Clone, Default)]
pub struct RecordDatapath {
    view: Arc<Mutex<Arc<HostView>>>,
}

impl RecordDatapath {
    /// A datapath with an empty view.
    pub fn new() -> RecordDatapath {
        RecordDatapath::default()
    }

    /// The view applied last.
    pub fn view(&self) -> Arc<HostView> {
        self.view.lock().clone()
    }

    /// Whether a packet that carries `source` may leave a port: port security is off, or the
    /// address is one of the port's own.
    ///
    /// # Errors
    ///
    /// If the port is not in the view.
    pub fn admits_source(&self, from: Uid, source: IpAddr) -> Result<bool, EvaluateError> {
        let view = self.view();
        let port = evaluate::port(&view, from).ok_or(EvaluateError::NoPort(from))?;
        Ok(!port.port_security || port.addresses.contains(&source))
    }

    /// What the policies of a port say about the first packet of a connection to it
    /// ([`Direction::In`]) or from it.
    ///
    /// # Errors
    ///
    /// If the view does not have what the answer depends on.
    pub fn judge(
        &self,
        port: Uid,
        direction: Direction,
        packet: &Packet,
    ) -> Result<Judgement, EvaluateError> {
        evaluate::judge(&self.view(), port, direction, packet)
    }

    /// Where a packet from a port to an address goes.
    ///
    /// # Errors
    ///
    /// If the view does not have what the answer depends on.
    pub fn route(&self, from: Uid, address: IpAddr) -> Result<Destination, EvaluateError> {
        evaluate::route(&self.view(), from, address)
    }
}

impl Datapath for RecordDatapath {
    fn name(&self) -> &'static str {
        "record"
    }

    fn apply(
        &mut self,
        view: &HostView,
        changed: Option<&BTreeSet<ItemKey>>,
    ) -> Result<Vec<Rejection>, DatapathError> {
        // Items are shared, so this copies keys and pointers. Whoever looks sees all of it or nothing: who
        // looks meanwhile waits, and who has looked before keeps what was then.
        let mut held = self.view.lock();
        let Some(changed) = changed else {
            *held = Arc::new(view.clone());
            return Ok(Vec::new());
        };
        let held = Arc::make_mut(&mut held);
        held.revision = view.revision;
        for key in changed {
            match view.items.get(key) {
                Some(item) => held.items.insert(*key, item.clone()),
                None => held.items.remove(key),
            };
        }
        Ok(Vec::new())
    }

    fn audit(&mut self) -> Result<Vec<Finding>, DatapathError> {
        Ok(Vec::new())
    }

    fn rejections(&self) -> &[Rejection] {
        &[]
    }

    fn remove_all(&mut self) -> Result<(), DatapathError> {
        *self.view.lock() = Arc::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::{Revision, Vni};
    use spanwire_topology::view::{Item, VersionedItem};

    const fn key(group: u64) -> ItemKey {
        ItemKey::Shard { group: Uid(group), domain: Vni(1) }
    }

    /// A view of shards, each with a version and no members.
    fn mk_view(revision: Revision, shards: &[(u64, Revision)]) -> HostView {
        let item = Arc::new(Item::Shard(Vec::new()));
        let shards = shards.iter();
        let items = shards
            .map(|&(group, version)| (key(group), VersionedItem { version, item: item.clone() }));
        HostView { revision, items: items.collect() }
    }

    #[test]
    fn what_changed_leads_to_the_view_and_leaves_earlier_ones_alone() {
        let mut datapath = RecordDatapath::new();
        let steps = [
            (mk_view(1, &[(1, 1), (2, 1)]), None),
            (mk_view(2, &[(1, 1), (2, 2), (3, 2)]), Some(BTreeSet::from([key(2), key(3)]))),
            (mk_view(3, &[(2, 2), (3, 2)]), Some(BTreeSet::from([key(1)]))),
            (mk_view(4, &[(2, 2), (3, 2)]), Some(BTreeSet::new())),
            (mk_view(5, &[(9, 5)]), None),
        ];
        let mut seen = Vec::new();
        for (view, changed) in &steps {
            datapath.apply(view, changed.as_ref()).unwrap();
            assert_eq!(*datapath.view(), *view);
            seen.push(datapath.view());
        }
        for (seen, (view, _)) in seen.iter().zip(&steps) {
            assert_eq!(**seen, *view);
        }
        datapath.remove_all().unwrap();
        assert_eq!(*datapath.view(), HostView::default());
    }
}
