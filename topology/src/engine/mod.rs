//! The incremental engine.

mod api;

pub use api::{
    Changes, Decision, DomainSummary, Endpoint, ExplainStep, Explanation, HostChange, HostId,
    ItemChange, ItemChangeKind, Object, ObjectChange, Outcome, PacketKind, QueryError, Refusal,
    Verdict,
};

use crate::model::{Kind, ObjectKey, Revision, Transaction, Uid};
use crate::view::{HostView, ItemKey, VersionedItem};
use std::net::IpAddr;

/// The state of the network, and everything that follows from it.
#[derive(Debug, Default)]
pub struct Engine {}

#[allow(unused_variables, clippy::unimplemented)] // bodies follow
impl Engine {
    /// The empty network at revision 0.
    pub fn new() -> Engine {
        Engine::default()
    }

    /// Applies a transaction whole, or refuses it and changes nothing. `revision` must be larger
    /// than the state's. A transaction that changes no object leaves the state's items alone but
    /// still moves its revision.
    pub fn apply(
        &mut self,
        transaction: &Transaction,
        revision: Revision,
    ) -> Result<Changes, Refusal> {
        unimplemented!()
    }

    /// What [`Engine::apply`] would do at the next revision, for all hosts, watched or not.
    /// The state is the same afterwards.
    pub fn dry_run(&mut self, transaction: &Transaction) -> Result<Changes, Refusal> {
        unimplemented!()
    }

    /// The revision of the last transaction; 0 before the first.
    pub fn revision(&self) -> Revision {
        unimplemented!()
    }

    /// An object.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        unimplemented!()
    }

    /// The objects of a kind, of one project or of all, sorted by project and name, starting
    /// after `after` (project, name) if that is given.
    pub fn list<'a>(
        &'a self,
        kind: Kind,
        project: Option<&'a str>,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Object> + use<'a> {
        std::iter::empty()
    }

    /// The objects that refer to an object, sorted.
    pub fn users(&self, key: &ObjectKey) -> Vec<ObjectKey> {
        unimplemented!()
    }

    /// The key of the object with this uid.
    pub fn key_of(&self, uid: Uid) -> Option<ObjectKey> {
        unimplemented!()
    }

    /// The id of a host.
    pub fn host_id(&self, name: &str) -> Option<HostId> {
        unimplemented!()
    }

    /// The name of a host.
    pub fn host_name(&self, host: HostId) -> Option<&str> {
        unimplemented!()
    }

    /// Says whether changes to the set of items of this host shall be reported in
    /// [`Changes::hosts`]. Hosts that nobody serves cost nothing.
    pub fn set_watched(&mut self, host: HostId, watched: bool) {
        unimplemented!()
    }

    /// Everything the host is told, at the current revision.
    pub fn host_view(&self, host: HostId) -> HostView {
        unimplemented!()
    }

    /// The keys and versions of the host's items, sorted by key: [`Engine::host_view`] without
    /// the contents.
    pub fn host_items(&self, host: HostId) -> Vec<(ItemKey, Revision)> {
        unimplemented!()
    }

    /// True if the item is in the host's view.
    pub fn has_item(&self, host: HostId, key: ItemKey) -> bool {
        unimplemented!()
    }

    /// An item as it is now.
    pub fn item(&self, key: ItemKey) -> Option<VersionedItem> {
        unimplemented!()
    }

    /// The hosts that have an item, sorted.
    pub fn subscribers(&self, key: ItemKey) -> Vec<HostId> {
        unimplemented!()
    }

    /// The hosts an object matters to, sorted: those whose view has an item that is made of it.
    pub fn span(&self, key: &ObjectKey) -> Result<Vec<HostId>, QueryError> {
        unimplemented!()
    }

    /// Why a host has, or lacks, a port's addresses as members of a group.
    pub fn explain(
        &self,
        host: &str,
        member: &ObjectKey,
        group: &ObjectKey,
    ) -> Result<Explanation, QueryError> {
        unimplemented!()
    }

    /// The ports that have an address, sorted.
    pub fn ports_with_address(&self, address: IpAddr) -> Vec<ObjectKey> {
        unimplemented!()
    }

    /// Whether the first packet of a connection would be delivered.
    pub fn verdict(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        packet: PacketKind,
    ) -> Result<Verdict, QueryError> {
        unimplemented!()
    }

    /// The routing domains, sorted by identity.
    pub fn domains(&self) -> Vec<DomainSummary> {
        unimplemented!()
    }
}
