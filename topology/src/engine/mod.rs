//! The incremental engine.
//!
//! | Module | Subject |
//! |---|---|
//! | `api` | what goes in and what comes out |
//! | `ids`, `id_set`, `small_map`, `names` | dense identifiers, what is kept by them, and names |
//! | `state` | what the engine holds |
//! | `prepare` | checks that need no change of state |
//! | `apply` | the steps of a transaction, and how one is undone |
//! | `preview` | whom a transaction that is only tried would concern |
//! | `journal` | what a transaction touched, with how it was before |
//! | `labels` | label signatures, the index of selectors |
//! | `membership` | taking ports out of everything and putting them back |
//! | `definitions` | groups, policies, routers: from names to identifiers |
//! | `domains` | connected components, closures, visibility |
//! | `settle` | net changes, and whom they matter to |
//! | `items` | contents and subscribers of items |
//! | `queries`, `explain`, `verdict`, `path` | questions |
//! | `snapshot`, `restore`, `load` | the whole state as values, and back; and from resources alone |
//! | `impact` | what a transaction would do to domains and packets |
//! | `lint` | findings: what is most likely not what somebody meant |

mod api;
mod apply;
mod definitions;
mod domains;
mod explain;
mod id_set;
mod ids;
mod impact;
mod items;
mod journal;
mod labels;
pub mod lint;
mod load;
mod macs;
mod membership;
mod names;
mod path;
mod prepare;
mod preview;
mod queries;
mod restore;
mod settle;
mod small_map;
mod snapshot;
mod state;
mod uids;
mod verdict;

pub use api::{
    Changes, Decision, DomainSummary, Endpoint, ExplainStep, Explanation, HostChange, HostId,
    ItemChange, ItemChangeKind, Object, ObjectChange, Outcome, PacketKind, QueryError, Refusal,
    Verdict,
};
pub use impact::{
    DomainMove, DomainMoveKind, FLIPS_MAX, Forecast, HostImpact, Impact, VERDICTS_MAX, VerdictFlip,
    VerdictReport,
};
pub use path::{Hop, PATH_NODES_MAX, Path, PathEnd, PathLink};
pub use restore::Loading;
pub use snapshot::{Snapshot, SnapshotEnd, SnapshotError};
pub use state::Engine;
pub use verdict::{
    Decider, ExplainedVerdict, HostDecision, MatchedEntry, MatchedPeer, Membership, MembershipStep,
    PacketEnd, PeerContent,
};

use crate::model::{Kind, ObjectKey, Revision, Transaction, Uid};
use crate::view::{HostView, ItemKey, VersionedItem};
use std::net::IpAddr;

impl Engine {
    /// The empty network at revision 0.
    pub fn new() -> Engine {
        Engine::default()
    }

    /// Applies a transaction whole, or refuses it and changes nothing. `revision` must be larger
    /// than the state's. A transaction that changes no object leaves every item alone and still
    /// moves the state's revision.
    pub fn apply(
        &mut self,
        transaction: &Transaction,
        revision: Revision,
    ) -> Result<Changes, Refusal> {
        self.apply_transaction(transaction, revision)
    }

    /// What [`Engine::apply`] would do at the next revision, for all hosts that there are, watched or
    /// not. What a host that the transaction creates would have is not among it. The state is the
    /// same afterwards.
    pub fn dry_run(&mut self, transaction: &Transaction) -> Result<Changes, Refusal> {
        self.try_transaction(transaction, |_, changes, _| changes)
    }

    /// As [`Engine::dry_run`], and shows `look` the state as it would be, for questions that the
    /// changes do not answer: the contents of items, the names of new hosts.
    pub fn dry_run_with<R>(
        &mut self,
        transaction: &Transaction,
        look: impl FnOnce(&Engine, &Changes) -> R,
    ) -> Result<R, Refusal> {
        self.try_transaction(transaction, |engine, changes, _| look(engine, &changes))
    }

    /// The revision of the last transaction; 0 before the first.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// An object.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        Some(self.object(key.kind, self.slot_of(key)?))
    }

    /// The objects of a kind, of one project or of all, sorted by project and name, starting
    /// after `after` (project, name) if that is given.
    pub fn list<'a>(
        &'a self,
        kind: Kind,
        project: Option<&str>,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Object> + use<'a> {
        self.list_objects(kind, project, after)
    }

    /// The objects that refer to an object, sorted.
    pub fn users(&self, key: &ObjectKey) -> Vec<ObjectKey> {
        self.users_of(key)
    }

    /// The key of the object with this uid.
    pub fn key_of(&self, uid: Uid) -> Option<ObjectKey> {
        let (kind, slot) = self.uids.get(uid)?;
        Some(self.object(kind, slot).resource.key())
    }

    /// The id of a host.
    pub fn host_id(&self, name: &str) -> Option<HostId> {
        let key = ObjectKey::new(Kind::Host, crate::model::SYSTEM_PROJECT, name);
        self.slot_of(&key).map(HostId)
    }

    /// The name of a host.
    pub fn host_name(&self, host: HostId) -> Option<&str> {
        Some(&self.hosts.get(host)?.object.resource.metadata.name)
    }

    /// Says whether changes to the set of items of this host shall be reported in
    /// [`Changes::hosts`]. Hosts that nobody serves cost nothing.
    pub fn set_watched(&mut self, host: HostId, watched: bool) {
        match self.hosts.get(host) {
            None => {}
            Some(state) if state.watched.is_some() == watched => {}
            Some(_) if watched => self.watch(host),
            Some(_) => self.hosts[host].watched = None,
        }
    }

    /// Everything the host is told, at the current revision; nothing if there is no such host.
    pub fn host_view(&self, host: HostId) -> HostView {
        self.view_of(host)
    }

    /// The keys and versions of the host's items, sorted by key: [`Engine::host_view`] without
    /// the contents.
    pub fn host_items(&self, host: HostId) -> Vec<(ItemKey, Revision)> {
        self.items_of(host)
    }

    /// True if the host exists and the item is in its view.
    pub fn has_item(&self, host: HostId, key: ItemKey) -> bool {
        self.host_has(host, key)
    }

    /// An item as it is now.
    pub fn item(&self, key: ItemKey) -> Option<VersionedItem> {
        self.find_item(key)
    }

    /// The hosts that have an item, sorted.
    pub fn subscribers(&self, key: ItemKey) -> Vec<HostId> {
        self.subscribers_of(key).iter().collect()
    }

    /// The hosts an object matters to, sorted: those whose view has an item that is made of it.
    pub fn span(&self, key: &ObjectKey) -> Result<Vec<HostId>, QueryError> {
        self.span_of(key)
    }

    /// Why a host has, or lacks, a port's addresses as members of a group.
    pub fn explain(
        &self,
        host: &str,
        member: &ObjectKey,
        group: &ObjectKey,
    ) -> Result<Explanation, QueryError> {
        self.explain_member(host, member, group)
    }

    /// As [`Engine::explain`], of an address: of every port that has it, and of the CIDR blocks that
    /// it lies in.
    pub fn explain_address(
        &self,
        host: &str,
        address: IpAddr,
        group: &ObjectKey,
    ) -> Result<Explanation, QueryError> {
        self.explain_any(host, address, group)
    }

    /// The ports that have an address, sorted.
    pub fn ports_with_address(&self, address: IpAddr) -> Vec<ObjectKey> {
        self.find_address(address)
    }

    /// Whether the first packet of a connection would be delivered.
    pub fn verdict(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        packet: PacketKind,
    ) -> Result<Verdict, QueryError> {
        self.judge(source, destination, packet)
    }

    /// [`Engine::verdict`] with everything that led to it: the way or where it ends, and at each
    /// host the rule, how the packet matches it, and what would have decided next.
    pub fn explain_verdict(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        packet: PacketKind,
    ) -> Result<ExplainedVerdict, QueryError> {
        self.judge_and_explain(source, destination, packet)
    }

    /// What an address stands for at an end of a packet: the port that has it, or something
    /// outside. An address that several ports have, in domains apart, is refused.
    pub fn endpoint_with_address(&self, address: IpAddr) -> Result<Endpoint, QueryError> {
        self.find_endpoint(address)
    }

    /// The routing domains, sorted by identity.
    pub fn domains(&self) -> Vec<DomainSummary> {
        self.domain_summaries()
    }
}
