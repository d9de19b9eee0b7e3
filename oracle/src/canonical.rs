//! Views in a form that does not depend on uids and VNIs.

use ipnet::IpNet;
use spanwire_topology::engine::{Engine, HostId};
use spanwire_topology::model::{
    Action, DefaultActions, Direction, Mac, PortAttachment, ServiceEntry, Text, Uid, Vni,
};
use spanwire_topology::view::{DomainItem, Item, ItemKey, Locator, PolicyItem, PortItem, RuleItem};
use spanwire_topology::{Kind, ObjectKey};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A routing domain, named by its switches.
#[derive(Clone)]
pub struct DomainName(Arc<[ObjectKey]>);

impl Ord for DomainName {
    fn cmp(&self, other: &DomainName) -> Ordering {
        // Within one view a domain has one name, and names of hundreds of switches are common.
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &DomainName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DomainName {
    fn eq(&self, other: &DomainName) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for DomainName {}

impl DomainName {
    /// The switches, sorted.
    pub fn switches(&self) -> &[ObjectKey] {
        &self.0
    }
}

impl FromIterator<ObjectKey> for DomainName {
    fn from_iter<T: IntoIterator<Item = ObjectKey>>(switches: T) -> DomainName {
        let switches: BTreeSet<ObjectKey> = switches.into_iter().collect();
        DomainName(switches.into_iter().collect())
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|switch| format!("{}/{}", switch.project, switch.name));
        write!(f, "{{{}}}", names.collect::<Vec<_>>().join(" "))
    }
}

/// Identifies an item, as [`ItemKey`] does within one engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CanonicalKey {
    /// A domain in which the host has a port.
    Domain(DomainName),
    /// A port bound to the host.
    Port(ObjectKey),
    /// A policy applied to such a port.
    Policy(ObjectKey),
    /// The CIDR blocks of a peer group.
    Blocks(ObjectKey),
    /// The members of a peer group in one domain.
    Shard {
        /// The group.
        group: ObjectKey,
        /// The domain.
        domain: DomainName,
    },
    /// Where the addresses of a domain are.
    Locators(DomainName),
}

/// A rule, as [`RuleItem`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalRule {
    /// The name.
    pub name: Option<Text>,
    /// Which way it looks.
    pub direction: Direction,
    /// Group and whether it is negated; `None` means everyone.
    pub peers: Option<Vec<(ObjectKey, bool)>>,
    /// Protocols and ports; `None` means every IP packet.
    pub services: Option<Vec<ServiceEntry>>,
    /// What happens to a packet that matches.
    pub action: Action,
    /// Whether packets that match are logged.
    pub log: bool,
}

/// The content of an item, as [`Item`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanonicalItem {
    /// A domain.
    Domain {
        /// What it sees, itself included.
        sees: BTreeSet<DomainName>,
        /// What packets from it can be delivered to, itself included.
        reaches: BTreeSet<DomainName>,
        /// Whether a port in a domain that it sees has port security off.
        spoofable: bool,
    },
    /// A port.
    Port {
        /// The domain of its switch.
        domain: DomainName,
        /// The MAC address.
        mac: Mac,
        /// The addresses, sorted.
        addresses: Vec<IpAddr>,
        /// How the workload is attached.
        attachment: PortAttachment,
        /// Whether packets from it must carry its own addresses.
        port_security: bool,
        /// The groups it is in that a policy is applied to.
        groups: BTreeSet<ObjectKey>,
    },
    /// A policy.
    Policy {
        /// The groups it is applied to.
        applied_to: BTreeSet<ObjectKey>,
        /// The tier.
        tier: u16,
        /// The priority.
        priority: u32,
        /// Defaults at the end of the tier.
        defaults: DefaultActions,
        /// The rules, in order.
        rules: Vec<CanonicalRule>,
    },
    /// CIDR blocks, sorted.
    Blocks(Vec<IpNet>),
    /// Addresses, sorted.
    Shard(Vec<IpAddr>),
    /// Locators, sorted by address.
    Locators(Vec<Locator>),
}

/// Everything a host is told.
pub type CanonicalView = BTreeMap<CanonicalKey, CanonicalItem>;

/// What is wrong with an engine's view, before it is even compared with anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalError(pub String);

impl fmt::Display for CanonicalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CanonicalError {}

/// The view that an engine has of a host, in canonical form. Fails if the view names an object or
/// a domain that the engine does not know, or if a list that must be sorted is not.
pub fn engine_view_canonical(
    engine: &Engine,
    host: HostId,
) -> Result<CanonicalView, CanonicalError> {
    let names = Names {
        engine,
        domains: engine
            .domains()
            .into_iter()
            .map(|domain| (domain.vni, domain.switches.into_iter().collect()))
            .collect(),
    };
    let mut canonical = CanonicalView::new();
    for (key, versioned) in &engine.host_view(host).items {
        let name = names.key(*key)?;
        let item = names
            .item(&name, &versioned.item)
            .map_err(|CanonicalError(problem)| CanonicalError(format!("{key}: {problem}")))?;
        if canonical.insert(name.clone(), item).is_some() {
            return Err(CanonicalError(format!("{key} is {name:?}, which another item is too")));
        }
    }
    Ok(canonical)
}

struct Names<'a> {
    engine: &'a Engine,
    domains: BTreeMap<Vni, DomainName>,
}

impl Names<'_> {
    fn domain(&self, vni: Vni) -> Result<DomainName, CanonicalError> {
        let name = self.domains.get(&vni).cloned();
        name.ok_or_else(|| CanonicalError(format!("domain {vni} is not among the domains")))
    }

    fn object(&self, uid: Uid, kind: Kind) -> Result<ObjectKey, CanonicalError> {
        match self.engine.key_of(uid) {
            Some(key) if key.kind == kind => Ok(key),
            other => Err(CanonicalError(format!("uid {uid} is {other:?}, expected a {kind}"))),
        }
    }

    fn key(&self, key: ItemKey) -> Result<CanonicalKey, CanonicalError> {
        Ok(match key {
            ItemKey::Domain(domain) => CanonicalKey::Domain(self.domain(domain)?),
            ItemKey::Port(port) => CanonicalKey::Port(self.object(port, Kind::LogicalPort)?),
            ItemKey::Policy(uid) => CanonicalKey::Policy(self.object(uid, Kind::SecurityPolicy)?),
            ItemKey::Blocks(group) => CanonicalKey::Blocks(self.object(group, Kind::Group)?),
            ItemKey::Shard { group, domain } => CanonicalKey::Shard {
                group: self.object(group, Kind::Group)?,
                domain: self.domain(domain)?,
            },
            ItemKey::Locators(domain) => CanonicalKey::Locators(self.domain(domain)?),
        })
    }

    fn item(&self, key: &CanonicalKey, item: &Item) -> Result<CanonicalItem, CanonicalError> {
        match (key, item) {
            (CanonicalKey::Domain(_), Item::Domain(domain)) => self.domain_item(domain),
            (CanonicalKey::Port(port), Item::Port(item)) => self.port_item(port, item),
            (CanonicalKey::Policy(policy), Item::Policy(item)) => self.policy_item(policy, item),
            (CanonicalKey::Blocks(_), Item::Blocks(blocks)) => {
                check_sorted("blocks", blocks.iter().map(|net| (net.addr(), net.prefix_len())))?;
                Ok(CanonicalItem::Blocks(blocks.clone()))
            }
            (CanonicalKey::Shard { .. }, Item::Shard(members)) => {
                check_sorted("members", members)?;
                Ok(CanonicalItem::Shard(members.clone()))
            }
            (CanonicalKey::Locators(_), Item::Locators(locators)) => {
                check_sorted("locators", locators.iter().map(|locator| locator.address))?;
                Ok(CanonicalItem::Locators(locators.iter().collect()))
            }
            _ => Err(CanonicalError(format!("the content is that of another kind: {item:?}"))),
        }
    }

    fn domain_item(&self, item: &DomainItem) -> Result<CanonicalItem, CanonicalError> {
        let DomainItem { sees, reaches, spoofable } = item;
        check_sorted("sees", sees)?;
        check_sorted("reaches", reaches)?;
        let names = |vnis: &[Vni]| -> Result<BTreeSet<DomainName>, CanonicalError> {
            vnis.iter().map(|vni| self.domain(*vni)).collect()
        };
        Ok(CanonicalItem::Domain {
            sees: names(sees)?,
            reaches: names(reaches)?,
            spoofable: *spoofable,
        })
    }

    fn port_item(&self, key: &ObjectKey, item: &PortItem) -> Result<CanonicalItem, CanonicalError> {
        let PortItem { project, name, domain, mac, addresses, attachment, port_security, groups } =
            item;
        check_name(key, project, name)?;
        check_sorted("addresses", addresses)?;
        check_sorted("groups", groups)?;
        Ok(CanonicalItem::Port {
            domain: self.domain(*domain)?,
            mac: *mac,
            addresses: addresses.clone(),
            attachment: attachment.clone(),
            port_security: *port_security,
            groups: self.groups(groups)?,
        })
    }

    fn policy_item(
        &self,
        key: &ObjectKey,
        item: &PolicyItem,
    ) -> Result<CanonicalItem, CanonicalError> {
        let PolicyItem { project, name, applied_to, tier, priority, defaults, rules } = item;
        check_name(key, project, name)?;
        check_sorted("groups that it is applied to", applied_to)?;
        Ok(CanonicalItem::Policy {
            applied_to: self.groups(applied_to)?,
            tier: *tier,
            priority: *priority,
            defaults: *defaults,
            rules: rules.iter().map(|rule| self.rule(rule)).collect::<Result<_, _>>()?,
        })
    }

    fn groups(&self, uids: &[Uid]) -> Result<BTreeSet<ObjectKey>, CanonicalError> {
        uids.iter().map(|uid| self.object(*uid, Kind::Group)).collect()
    }

    fn rule(&self, rule: &RuleItem) -> Result<CanonicalRule, CanonicalError> {
        let RuleItem { name, direction, peers, services, action, log } = rule;
        let peers = match peers {
            None => None,
            Some(peers) => Some(
                peers
                    .iter()
                    .map(|peer| Ok((self.object(peer.group, Kind::Group)?, peer.negate)))
                    .collect::<Result<_, CanonicalError>>()?,
            ),
        };
        Ok(CanonicalRule {
            name: name.clone(),
            direction: *direction,
            peers,
            services: services.clone(),
            action: *action,
            log: *log,
        })
    }
}

fn check_name(key: &ObjectKey, project: &str, name: &str) -> Result<(), CanonicalError> {
    if *key.project == *project && *key.name == *name {
        return Ok(());
    }
    Err(CanonicalError(format!("it calls itself {project}/{name}, its uid is that of {key}")))
}

fn check_sorted<T: Ord + fmt::Debug>(
    what: &str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), CanonicalError> {
    let values: Vec<T> = values.into_iter().collect();
    if values.windows(2).all(|pair| pair[0] < pair[1]) {
        return Ok(());
    }
    Err(CanonicalError(format!("{what} are not sorted, or not unique: {values:?}")))
}
