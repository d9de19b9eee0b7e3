//! What goes into the engine and what comes out of it.

use crate::model::{ObjectKey, Resource, Revision, Text, Uid, Vni};
use crate::view::{ItemDelta, ItemKey};
use std::net::IpAddr;

/// A host inside one engine: small and dense, so that sets of hosts are bitmaps. Stable while the
/// host exists; given to another host after it is deleted, so it never leaves the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// An object as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its identity.
    pub uid: Uid,
    /// The revision at which it was created.
    pub created_revision: Revision,
    /// The revision of its last change.
    pub revision: Revision,
    /// What was applied.
    pub resource: Resource,
}

/// What a transaction did to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Created,
    /// It differs from before.
    Configured,
    /// It was already so; its revision did not change.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// A change of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectChange {
    /// What happened.
    pub outcome: Outcome,
    /// The object as it is now, or as it last was if it was deleted.
    pub object: Object,
}

/// What happened to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemChangeKind {
    /// It is new: no host had it.
    Created,
    /// It changed as a whole.
    Replaced,
    /// It changed by a difference.
    Delta(ItemDelta),
    /// It is gone: no host has it any more.
    Removed,
}

/// A change of an item. Its version is now the revision of the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemChange {
    /// Which item.
    pub key: ItemKey,
    /// Its version before; 0 if it is new.
    pub previous_version: Revision,
    /// What happened.
    pub kind: ItemChangeKind,
}

/// How the set of items of one host changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostChange {
    /// The host.
    pub host: HostId,
    /// Items it has now and did not have before, sorted.
    pub gained: Vec<ItemKey>,
    /// Items it had before and has no more, sorted.
    pub lost: Vec<ItemKey>,
}

/// Everything that a transaction changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// The revision of the transaction.
    pub revision: Revision,
    /// Objects, in the order in which the transaction names them; then those that a cascade
    /// deleted, sorted by key.
    pub objects: Vec<ObjectChange>,
    /// Items, sorted by key. Whom a change concerns is asked of
    /// [`Engine::subscribers`](crate::Engine::subscribers); hosts that gain the item at the same
    /// revision are among them.
    pub items: Vec<ItemChange>,
    /// Watched hosts whose set of items changed, sorted by id.
    pub hosts: Vec<HostChange>,
    /// Hosts that were deleted, with their names.
    pub hosts_deleted: Vec<(HostId, Text)>,
}

impl Changes {
    /// True if no object changed.
    pub fn is_empty(&self) -> bool {
        self.objects.iter().all(|change| change.outcome == Outcome::Unchanged)
    }
}

/// Why a transaction was refused. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One object is named by two operations.
    #[error("{key} is named twice in one transaction: keep one of the two")]
    NamedTwice {
        /// The object.
        key: ObjectKey,
    },
    /// An object is not as the caller expected.
    #[error("{key} was last changed at revision {found}, not {expected}: read it again and retry")]
    Conflict {
        /// The object.
        key: ObjectKey,
        /// What the caller expected; 0 means that it does not exist.
        expected: Revision,
        /// What it is; 0 means that it does not exist.
        found: Revision,
    },
    /// The state is not the one that the caller expected.
    #[error("the state is at revision {found}, not {expected}: read it again and retry")]
    StateConflict {
        /// What the caller expected.
        expected: Revision,
        /// What it is.
        found: Revision,
    },
    /// An object to be deleted does not exist.
    #[error("{key} does not exist")]
    NotFound {
        /// The object.
        key: ObjectKey,
    },
    /// A reference to an object that does not exist.
    #[error(
        "{key} refers to {target}, which does not exist: create it first, or in the same transaction"
    )]
    DanglingReference {
        /// The object that refers.
        key: ObjectKey,
        /// What it refers to.
        target: ObjectKey,
    },
    /// An object to be deleted is still in use.
    #[error("{key} is still used by {}: delete those first, or ask for cascade", list(users))]
    StillUsed {
        /// The object.
        key: ObjectKey,
        /// The objects that refer to it, sorted.
        users: Vec<ObjectKey>,
    },
    /// Groups that contain each other.
    #[error("groups form a cycle: {}", cycle.iter().map(|g| g.to_string()).collect::<Vec<_>>().join(" -> "))]
    GroupCycle {
        /// The groups; the last is the first again.
        cycle: Vec<ObjectKey>,
    },
    /// Two ports of one routing domain have the same address.
    #[error(
        "{address} is the address of both {first} and {second}, which lie in one routing domain: change one, or separate their switches"
    )]
    DuplicateAddress {
        /// The address.
        address: IpAddr,
        /// One port.
        first: ObjectKey,
        /// The other.
        second: ObjectKey,
    },
    /// A resource breaks a rule of its own.
    #[error("{key}: {problem}")]
    Invalid {
        /// The object.
        key: ObjectKey,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// There are too many operations.
    #[error("the transaction has {operations} operations: the most is {max}; split it")]
    TooLarge {
        /// How many there are.
        operations: usize,
        /// How many there may be.
        max: usize,
    },
}

impl Refusal {
    /// The object at fault, and the others that it is about.
    pub fn objects(&self) -> (Option<&ObjectKey>, Vec<&ObjectKey>) {
        match self {
            Refusal::NamedTwice { key }
            | Refusal::Conflict { key, expected: _, found: _ }
            | Refusal::NotFound { key }
            | Refusal::Invalid { key, problem: _ } => (Some(key), Vec::new()),
            Refusal::StateConflict { expected: _, found: _ }
            | Refusal::TooLarge { operations: _, max: _ } => (None, Vec::new()),
            Refusal::DanglingReference { key, target } => (Some(key), vec![target]),
            Refusal::StillUsed { key, users } => (Some(key), users.iter().collect()),
            Refusal::GroupCycle { cycle } => (cycle.first(), cycle.iter().skip(1).collect()),
            Refusal::DuplicateAddress { address: _, first, second } => (Some(first), vec![second]),
        }
    }
}

fn list(keys: &[ObjectKey]) -> String {
    const SHOWN_MAX: usize = 10;
    let mut text =
        keys.iter().take(SHOWN_MAX).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if keys.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", keys.len() - SHOWN_MAX));
    }
    text
}

/// One condition of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainStep {
    /// What must hold.
    pub condition: String,
    /// Whether it does.
    pub holds: bool,
    /// What was found.
    pub finding: String,
    /// The objects it is about.
    pub objects: Vec<ObjectKey>,
    /// 0 for a condition; more for a part of the step before it that has one less.
    pub depth: u32,
}

/// Why a host has, or lacks, a member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the host has the member.
    pub has_member: bool,
    /// The conditions, in the order in which they follow from one another.
    pub steps: Vec<ExplainStep>,
}

/// One end of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A port, with one of its addresses; without one, the first of the family that both ends have.
    Port(ObjectKey, Option<IpAddr>),
    /// An address that belongs to no port, outside of every domain.
    Outside(IpAddr),
}

/// What a packet carries, apart from its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// TCP, UDP or SCTP.
    Transport {
        /// The protocol.
        protocol: crate::model::TransportProtocol,
        /// Source port.
        source_port: u16,
        /// Destination port.
        port: u16,
    },
    /// ICMP or ICMPv6, as the family of the addresses has it.
    Icmp {
        /// The type.
        icmp_type: u8,
        /// The code.
        code: u8,
    },
}

/// What decided about a packet at one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A rule.
    Rule {
        /// The policy.
        policy: ObjectKey,
        /// The position of the rule in the policy, from 0.
        index: usize,
        /// Its name.
        name: Option<Text>,
        /// What it does.
        action: crate::model::Action,
    },
    /// A policy's default.
    Default {
        /// The policy.
        policy: ObjectKey,
        /// What it does.
        action: crate::model::Action,
    },
    /// No tier decided, so the packet is allowed.
    NoneApplies,
}

impl Decision {
    /// True if the packet goes on.
    pub fn is_allowed(&self) -> bool {
        match self {
            Decision::Rule { action, .. } | Decision::Default { action, .. } => !action.is_deny(),
            Decision::NoneApplies => true,
        }
    }
}

/// Whether the first packet of a connection is delivered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is no way from one to the other.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// Denied at the source's host.
    DeniedAtSource(Decision),
    /// Denied at the destination's host; what the source's host decided comes first.
    DeniedAtDestination(Decision, Decision),
    /// Delivered: what the source's and the destination's host decided.
    Allowed(Decision, Decision),
}

/// A question about an object that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No such object.
    #[error("{0} does not exist")]
    NotFound(ObjectKey),
    /// Nothing has this address.
    #[error("no port has the address {0}")]
    NoSuchAddress(IpAddr),
    /// Several ports have this address.
    #[error(
        "{address} is the address of {} ports, in domains apart: name the one you mean: {}",
        ports.len(), list(ports)
    )]
    Ambiguous {
        /// The address.
        address: IpAddr,
        /// The ports, sorted.
        ports: Vec<ObjectKey>,
    },
    /// The two ends have no family in common, or an address is not the port's.
    #[error("{0}")]
    Addresses(String),
}

/// A domain with what it is made of, for explanations and listings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSummary {
    /// Its identity.
    pub vni: Vni,
    /// Its switches, sorted.
    pub switches: Vec<ObjectKey>,
    /// How many ports lie in it.
    pub ports: u64,
}
