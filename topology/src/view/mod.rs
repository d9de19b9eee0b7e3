//! What a host is told.
//!
//! A [`HostView`] is a set of items. An item is the same for every host that has it, so it is
//! versioned and encoded once; a host differs from another only in which items it has. That is
//! what makes filtering cheaper than broadcasting.

mod locators;

pub use locators::{ColumnsError, Locator, LocatorColumns, Locators};

use crate::model::{
    Action, DefaultActions, Direction, Mac, PortAttachment, Revision, ServiceEntry, Text, Uid, Vni,
};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Identifies an item. Identities are never used again, so an item that a slow host still holds
/// is never mistaken for another.
///
/// The order is the one in which a view is written down; it is not the order of application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKey {
    /// A routing domain in which the host has a port.
    Domain(Vni),
    /// A port bound to the host.
    Port(Uid),
    /// A policy applied to a port of the host.
    Policy(Uid),
    /// The CIDR blocks of a group that such a policy has as a peer.
    Blocks(Uid),
    /// The members of such a group in one domain.
    Shard {
        /// The group.
        group: Uid,
        /// The domain.
        domain: Vni,
    },
    /// Where the addresses of a domain are.
    Locators(Vni),
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ItemKey::Domain(domain) => write!(f, "domain {domain}"),
            ItemKey::Port(port) => write!(f, "port {port}"),
            ItemKey::Policy(policy) => write!(f, "policy {policy}"),
            ItemKey::Blocks(group) => write!(f, "blocks of group {group}"),
            ItemKey::Shard { group, domain } => {
                write!(f, "shard of group {group} in domain {domain}")
            }
            ItemKey::Locators(domain) => write!(f, "locators of domain {domain}"),
        }
    }
}

/// A routing domain, as a host with a port in it needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainItem {
    /// The domains it sees, itself included, sorted. A rule applied in this domain matches the
    /// members of its peer groups in these.
    pub sees: Vec<Vni>,
    /// The domains that packets from this one can be delivered to, itself included, sorted.
    pub reaches: Vec<Vni>,
    /// True if some port in a domain it sees has port security off. Then deny rules and negated
    /// peers match the members in every domain, not only in those it sees (guarantee G3).
    pub spoofable: bool,
}

/// A port bound to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortItem {
    /// The project.
    pub project: Text,
    /// The name.
    pub name: Text,
    /// The domain its switch lies in.
    pub domain: Vni,
    /// The MAC address of the workload.
    pub mac: Mac,
    /// The addresses of the workload, sorted.
    pub addresses: Vec<IpAddr>,
    /// How the workload is attached.
    pub attachment: PortAttachment,
    /// Whether packets from it must carry its own addresses.
    pub port_security: bool,
    /// The groups it is in that a policy is applied to, sorted by uid. A policy is applied to the
    /// port if one of them is among its [`PolicyItem::applied_to`]. The port does not list the
    /// policies themselves: a policy for a group of ten thousand ports is one item that changes,
    /// not ten thousand and one.
    pub groups: Vec<Uid>,
}

/// One peer of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerItem {
    /// The group.
    pub group: Uid,
    /// True to match everything but the group.
    pub negate: bool,
}

/// One rule of a policy, with its services resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleItem {
    /// The name, for logs.
    pub name: Option<Text>,
    /// Which way it looks.
    pub direction: Direction,
    /// The peers, any of which matches. `None` means everyone; an empty list matches no one.
    pub peers: Option<Vec<PeerItem>>,
    /// Protocols and ports, any of which matches. `None` means every IP packet; an empty list
    /// (a rule that names only empty services) matches nothing.
    pub services: Option<Vec<ServiceEntry>>,
    /// What happens to a packet that matches.
    pub action: Action,
    /// True to log the packets that match.
    pub log: bool,
}

/// A policy applied to a port of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyItem {
    /// The project.
    pub project: Text,
    /// The name.
    pub name: Text,
    /// The groups whose ports it is applied to, sorted by uid.
    pub applied_to: Vec<Uid>,
    /// The tier: smaller is evaluated first.
    pub tier: u16,
    /// The priority within the tier: smaller is evaluated first.
    pub priority: u32,
    /// Defaults at the end of the tier.
    pub defaults: DefaultActions,
    /// The rules, in order.
    pub rules: Vec<RuleItem>,
}

impl PolicyItem {
    /// What policies are sorted by for evaluation.
    pub fn order(&self) -> (u16, u32, &str, &str) {
        (self.tier, self.priority, &self.project, &self.name)
    }
}

/// The content of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// See [`DomainItem`].
    Domain(DomainItem),
    /// See [`PortItem`].
    Port(PortItem),
    /// See [`PolicyItem`].
    Policy(PolicyItem),
    /// The CIDR blocks of a group, without overlap, IPv4 first, sorted.
    Blocks(Vec<IpNet>),
    /// The addresses of a group's members in one domain, IPv4 first, sorted, no duplicates.
    Shard(Vec<IpAddr>),
    /// Where the addresses of a domain are.
    Locators(Locators),
}

/// The difference between two states of an item that changes bit by bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemDelta {
    /// Addresses that a shard lost and gained, each sorted; no address is in both.
    Shard {
        /// Lost.
        removed: Vec<IpAddr>,
        /// Gained.
        added: Vec<IpAddr>,
    },
    /// Locators that a domain lost and gained, each sorted by address. An address that moved is
    /// only in `added`.
    Locators {
        /// Addresses that are nowhere any more.
        removed: Vec<IpAddr>,
        /// New and changed ones.
        added: Vec<Locator>,
    },
}

/// An item with the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedItem {
    /// The revision of the transaction that last changed it.
    pub version: Revision,
    /// The content. Shared, never changed in place.
    pub item: Arc<Item>,
}

/// Everything a host is told, at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostView {
    /// The revision.
    pub revision: Revision,
    /// The items, sorted by key.
    pub items: BTreeMap<ItemKey, VersionedItem>,
}
