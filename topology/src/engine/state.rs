//! What the engine holds: the objects, and everything derived from them.

use super::api::{HostId, Object};
use super::ids::{
    DomainId, GroupId, IdSet, Map, PlacementId, PolicyId, PortId, RouterId, ServiceId, ShardId,
    SignatureId, Slab, SmallMap, SwitchId,
};
use super::labels::SelectorIndex;
use super::macs::Macs;
use super::names::Names;
use super::uids::Uids;
use crate::model::{
    AddressBlocks, GroupSpec, HostSpec, Kind, Labels, LogicalPortSpec, LogicalRouterSpec,
    ObjectKey, Revision, SecurityPolicySpec, Spec, Text, Vni,
};
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

/// The state of the network, and everything that follows from it.
#[derive(Debug, Default)]
pub struct Engine {
    pub(super) revision: Revision,
    /// The last uid and VNI given out.
    pub(super) last_uid: u64,
    pub(super) last_vni: u32,

    pub(super) names: Names,
    pub(super) uids: Uids,
    pub(super) vnis: Map<Vni, DomainId>,

    pub(super) hosts: Slab<HostId, Host>,
    pub(super) switches: Slab<SwitchId, Switch>,
    pub(super) routers: Slab<RouterId, Router>,
    pub(super) ports: Slab<PortId, Port>,
    pub(super) groups: Slab<GroupId, Group>,
    pub(super) services: Slab<ServiceId, Service>,
    pub(super) policies: Slab<PolicyId, Policy>,

    pub(super) signatures: Slab<SignatureId, Signature>,
    pub(super) signature_ids: Map<(Text, Arc<Labels>), SignatureId>,
    pub(super) selectors: SelectorIndex,

    pub(super) domains: Slab<DomainId, Domain>,
    pub(super) shards: Slab<ShardId, Shard>,
    pub(super) placements: Slab<PlacementId, Placement>,
    /// Which attached port has an address in a domain.
    pub(super) addresses: Map<(DomainId, IpAddr), PortId>,
    /// Which bound ports have a MAC address in a switch.
    pub(super) macs: Macs,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) object: Object,
    pub(super) ports: IdSet<PortId>,
    /// Sorted by domain.
    pub(super) placements: Vec<(DomainId, PlacementId)>,
    /// What the host was last reported to have, if somebody serves it.
    pub(super) watched: Option<Box<Watched>>,
}

/// The parts of a host's view that are not kept elsewhere.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) policies: IdSet<PolicyId>,
    pub(super) blocks: IdSet<GroupId>,
    pub(super) locators: IdSet<DomainId>,
}

#[derive(Debug)]
pub(super) struct Switch {
    pub(super) object: Object,
    pub(super) domain: DomainId,
    pub(super) ports: IdSet<PortId>,
    /// Routers with an interface here, sorted.
    pub(super) routers: Vec<RouterId>,
    /// Groups with a term for this switch, sorted.
    pub(super) groups: Vec<GroupId>,
}

#[derive(Debug)]
pub(super) struct Router {
    pub(super) object: Object,
    pub(super) domain: DomainId,
    pub(super) links: Links,
    /// Routers that name this one as `joined`, `silent` and `peers`, each sorted.
    pub(super) joined_by: Vec<RouterId>,
    pub(super) silent_by: Vec<RouterId>,
    pub(super) peered_by: Vec<RouterId>,
    /// Groups with a term for this router, sorted.
    pub(super) groups: Vec<GroupId>,
}

/// What a router is connected to, each list sorted and without duplicates.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Links {
    pub(super) switches: Vec<SwitchId>,
    /// Uplinks of a router that advertises: both sides are one domain.
    pub(super) joined: Vec<RouterId>,
    /// Uplinks of a router that does not: one way up.
    pub(super) silent: Vec<RouterId>,
    pub(super) peers: Vec<RouterId>,
}

#[derive(Debug)]
pub(super) struct Port {
    pub(super) object: Object,
    pub(super) switch: SwitchId,
    pub(super) host: Option<HostId>,
    pub(super) signature: SignatureId,
    /// Groups with a term for this very port, sorted.
    pub(super) named_by: SmallVec<[GroupId; 2]>,
    /// Groups it is a member of, sorted. Empty while it is detached.
    pub(super) groups: SmallVec<[GroupId; 4]>,
    /// Version of its item.
    pub(super) version: Revision,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) object: Object,
    pub(super) terms: Vec<Term>,
    /// 0 without references to groups, else one more than the deepest of them.
    pub(super) depth: u32,
    /// Groups that refer to this one, sorted.
    pub(super) parents: Vec<GroupId>,
    /// Signatures that one of its selectors matches.
    pub(super) signatures: IdSet<SignatureId>,
    pub(super) blocks: AddressBlocks,
    pub(super) blocks_version: Revision,
    /// Sorted by domain. A shard without members exists only within a transaction.
    pub(super) shards: Vec<(DomainId, ShardId)>,
    /// Policies applied to this group, and policies with a rule that has it as a peer, sorted.
    pub(super) applied_by: Vec<PolicyId>,
    pub(super) peer_of: Vec<PolicyId>,
    /// Where its ports are, if a policy is applied to it.
    pub(super) applied: Option<Box<Applied>>,
    /// The placements at which an applied group has this one as a peer.
    pub(super) interest: SmallMap<PlacementId, Interest>,
}

/// A term of a group with its references resolved. Selectors are found by signature.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Selector,
    Switch(SwitchId),
    Router(RouterId),
    Port(PortId),
    Group(GroupId),
    Intersection(Vec<GroupId>),
    Difference(GroupId, Vec<GroupId>),
}

/// What a group is once a policy is applied to it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Its ports at each placement. Places without ports are there only within a transaction.
    pub(super) ports_at: SmallMap<PlacementId, PortsAt>,
    /// The peers of the policies applied to it.
    pub(super) peers: SmallMap<GroupId, PeerCount>,
}

/// The ports of an applied group at one placement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct PortsAt {
    /// How many.
    pub(super) ports: u32,
    /// True if the placement's interest in the peers has been counted: if there were ports at the
    /// end of the last transaction.
    pub(super) counted: bool,
}

/// How many policies refer to a peer, and how many of those need protection (guarantee G3).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct PeerCount {
    pub(super) any: u32,
    pub(super) protected: u32,
}

/// How many applied groups at a placement have a group as a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Interest {
    pub(super) any: u32,
    pub(super) protected: u32,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) object: Object,
    /// Policies that refer to it, sorted.
    pub(super) users: Vec<PolicyId>,
}

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) object: Object,
    /// Groups it is applied to, sorted, no duplicates.
    pub(super) applied_to: Vec<GroupId>,
    /// Peers, sorted by group, each with whether some rule needs protection.
    pub(super) peers: Vec<(GroupId, bool)>,
    /// Services, sorted, no duplicates.
    pub(super) services: Vec<ServiceId>,
    /// Version of its item.
    pub(super) version: Revision,
}

/// The ports of one project with one set of labels.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) project: Text,
    pub(super) labels: Arc<Labels>,
    pub(super) ports: IdSet<PortId>,
    /// Groups with a selector that matches, sorted.
    pub(super) groups: Vec<GroupId>,
}

/// A connected component of switches and routers. One without a switch is only on the way.
#[derive(Debug, Default)]
pub(super) struct Domain {
    pub(super) vni: Vni,
    pub(super) switches: IdSet<SwitchId>,
    pub(super) routers: IdSet<RouterId>,
    /// Ports on its switches.
    pub(super) ports: u64,
    /// Attached ports with port security off.
    pub(super) unprotected: u32,
    /// Components that silent uplinks lead to, transitively, and those that lead here; sorted.
    pub(super) up: Vec<DomainId>,
    pub(super) down: Vec<DomainId>,
    /// Components with a peering; sorted.
    pub(super) peers: Vec<DomainId>,
    /// Domains (with a switch) that packets from here can be delivered to, and those for which
    /// that holds in at least one direction; itself included, sorted by id.
    pub(super) reaches: Vec<DomainId>,
    pub(super) sees: Vec<DomainId>,
    /// Some domain it sees has an unprotected port.
    pub(super) spoofable: bool,
    pub(super) placements: IdSet<PlacementId>,
    /// Versions of its item and of its locators.
    pub(super) version: Revision,
    pub(super) locators_version: Revision,
}

/// The members of one group in one domain.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) group: GroupId,
    pub(super) domain: DomainId,
    pub(super) members: IdSet<PortId>,
    pub(super) subscribers: IdSet<HostId>,
    pub(super) version: Revision,
}

/// The ports of one host in one domain.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) host: HostId,
    pub(super) domain: DomainId,
    /// How many attached ports there are.
    pub(super) ports: u32,
}

impl Applied {
    /// The placements whose interest in the peers has been counted.
    pub(super) fn counted_at(&self) -> impl Iterator<Item = PlacementId> + use<'_> {
        self.ports_at.iter().filter(|(_, at)| at.counted).map(|(placement, _)| placement)
    }
}

// ---- access to bodies ----

macro_rules! bodies {
    ($($type:ident => $variant:ident, $spec:ident;)*) => {$(
        impl $type {
            /// The body of the object.
            pub(super) fn spec(&self) -> &$spec {
                match &*self.object.resource.spec {
                    Spec::$variant(spec) => spec,
                    // Objects are stored in the slab of their kind, and keep their kind.
                    other => unreachable!("a {} among the others", other.kind()),
                }
            }
        }
    )*};
}

bodies! {
    Host => Host, HostSpec;
    Router => LogicalRouter, LogicalRouterSpec;
    Port => LogicalPort, LogicalPortSpec;
    Group => Group, GroupSpec;
    Policy => SecurityPolicy, SecurityPolicySpec;
}

impl Engine {
    /// The slot of an object in the slab of its kind.
    pub(super) fn slot(&self, kind: Kind, project: &str, name: &str) -> Option<u32> {
        self.names.get(kind, project, name)
    }

    pub(super) fn slot_of(&self, key: &ObjectKey) -> Option<u32> {
        self.slot(key.kind, &key.project, &key.name)
    }

    /// The object in a slot.
    pub(super) fn object(&self, kind: Kind, slot: u32) -> &Object {
        match kind {
            Kind::Host => &self.hosts[HostId(slot)].object,
            Kind::LogicalSwitch => &self.switches[SwitchId(slot)].object,
            Kind::LogicalRouter => &self.routers[RouterId(slot)].object,
            Kind::LogicalPort => &self.ports[PortId(slot)].object,
            Kind::Group => &self.groups[GroupId(slot)].object,
            Kind::Service => &self.services[ServiceId(slot)].object,
            Kind::SecurityPolicy => &self.policies[PolicyId(slot)].object,
        }
    }

    /// All objects, kind by kind in the order of [`Kind::ALL`].
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        let hosts = self.hosts.iter().map(|(_, host)| &host.object);
        let switches = self.switches.iter().map(|(_, switch)| &switch.object);
        let routers = self.routers.iter().map(|(_, router)| &router.object);
        let ports = self.ports.iter().map(|(_, port)| &port.object);
        let groups = self.groups.iter().map(|(_, group)| &group.object);
        let services = self.services.iter().map(|(_, service)| &service.object);
        let policies = self.policies.iter().map(|(_, policy)| &policy.object);
        hosts
            .chain(switches)
            .chain(routers)
            .chain(ports)
            .chain(groups)
            .chain(services)
            .chain(policies)
    }

    pub(super) fn object_mut(&mut self, kind: Kind, slot: u32) -> &mut Object {
        match kind {
            Kind::Host => &mut self.hosts[HostId(slot)].object,
            Kind::LogicalSwitch => &mut self.switches[SwitchId(slot)].object,
            Kind::LogicalRouter => &mut self.routers[RouterId(slot)].object,
            Kind::LogicalPort => &mut self.ports[PortId(slot)].object,
            Kind::Group => &mut self.groups[GroupId(slot)].object,
            Kind::Service => &mut self.services[ServiceId(slot)].object,
            Kind::SecurityPolicy => &mut self.policies[PolicyId(slot)].object,
        }
    }

    /// The domain a port lies in.
    pub(super) fn domain_of(&self, port: PortId) -> DomainId {
        self.switches[self.ports[port].switch].domain
    }

    /// The shard of a group in a domain.
    pub(super) fn shard_of(&self, group: GroupId, domain: DomainId) -> Option<ShardId> {
        let shards = &self.groups[group].shards;
        let at = shards.binary_search_by_key(&domain, |&(domain, _)| domain).ok()?;
        Some(shards[at].1)
    }

    /// The placement of a host in a domain.
    pub(super) fn placement_of(&self, host: HostId, domain: DomainId) -> Option<PlacementId> {
        let placements = &self.hosts[host].placements;
        let at = placements.binary_search_by_key(&domain, |&(domain, _)| domain).ok()?;
        Some(placements[at].1)
    }
}

/// Adds to a sorted list without duplicates.
pub(super) fn sorted_insert<T: Ord>(list: &mut Vec<T>, value: T) {
    if let Err(at) = list.binary_search(&value) {
        list.insert(at, value);
    }
}

/// Takes out of a sorted list.
pub(super) fn sorted_remove<T: Ord>(list: &mut Vec<T>, value: &T) {
    if let Ok(at) = list.binary_search(value) {
        list.remove(at);
    }
}
