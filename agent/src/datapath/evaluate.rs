//! What a view says about a packet, straight from the definitions.
//!
//! This is the reference that the conformance suite holds every driver against, and what the
//! [`record`](super::record) driver answers with. It is written to be read, not to be fast: it
//! walks the view for every packet.

use spanwire_topology::model::{
    Action, Direction, IcmpVersion, PortRange, ServiceEntry, TransportProtocol, Uid, Vni,
};
use spanwire_topology::view::{
    DomainItem, HostView, Item, ItemKey, Locator, Locators, PeerItem, PolicyItem, PortItem,
    RuleItem,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The ICMPv6 types of neighbour discovery and multicast listener discovery (RFC 4861, RFC 2710,
/// RFC 3810). They are part of how packets are delivered on a link, and never judged.
pub const ICMPV6_LINK_TYPES: [u8; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];

/// What a packet carries, as far as rules can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// TCP, UDP or SCTP.
    Transport {
        /// The protocol.
        protocol: TransportProtocol,
        /// The port it comes from.
        source_port: u16,
        /// The port it goes to.
        destination_port: u16,
    },
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp {
        /// The type.
        icmp_type: u8,
        /// The code.
        code: u8,
    },
    /// Another protocol, by its IANA number.
    Other(u8),
}

/// The first packet of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes, of the same family.
    pub destination: IpAddr,
    /// What it carries.
    pub payload: Payload,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on, and its connection with it.
    Allow,
    /// It is dropped silently.
    Drop,
    /// It is dropped and the sender is told.
    Reject,
}

/// Which part of a policy decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecidedBy {
    /// The policy.
    pub policy: Uid,
    /// The rule, by its position; `None` for the policy's default.
    pub rule: Option<usize>,
}

/// A verdict and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// What decided; `None` if nothing did and the packet is therefore allowed.
    pub decided_by: Option<DecidedBy>,
}

impl Judgement {
    /// Nothing decided.
    const UNDECIDED: Judgement = Judgement { verdict: Verdict::Allow, decided_by: None };
}

/// Where packets to an address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To a port of this host.
    Local(Uid),
    /// To another host.
    Remote {
        /// The domain of the receiver: the VNI on the wire.
        domain: Vni,
        /// Where the address is.
        locator: Locator,
    },
    /// Nowhere: no domain that can be reached has the address.
    Unreachable,
}

/// Why a question about a view has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// The port is not in the view.
    #[error("port {0} is not bound to this host")]
    NoPort(Uid),
    /// The view has a port but not its domain.
    #[error("the view has port {port} but not its domain {domain}")]
    NoDomain {
        /// The port.
        port: Uid,
        /// The domain.
        domain: Vni,
    },
    /// The view has a port but no policy applied to one of its groups.
    #[error("the view has port {port} but not the policies that are applied to its group {group}")]
    NoPolicy {
        /// The port.
        port: Uid,
        /// The group.
        group: Uid,
    },
}

/// The port of that identity in a view.
pub fn port(view: &HostView, uid: Uid) -> Option<&PortItem> {
    match &*view.items.get(&ItemKey::Port(uid))?.item {
        Item::Port(port) => Some(port),
        _ => None,
    }
}

/// The ports of a view, by identity.
pub fn ports(view: &HostView) -> impl Iterator<Item = (Uid, &PortItem)> {
    view.items.range(ItemKey::Port(Uid(0))..=ItemKey::Port(Uid(u64::MAX))).filter_map(
        |(key, versioned)| match (key, &*versioned.item) {
            (ItemKey::Port(uid), Item::Port(port)) => Some((*uid, port)),
            _ => None,
        },
    )
}

/// The domain of that identity in a view.
pub fn domain(view: &HostView, vni: Vni) -> Option<&DomainItem> {
    match &*view.items.get(&ItemKey::Domain(vni))?.item {
        Item::Domain(domain) => Some(domain),
        _ => None,
    }
}

/// The policy of that identity in a view.
pub fn policy(view: &HostView, uid: Uid) -> Option<&PolicyItem> {
    match &*view.items.get(&ItemKey::Policy(uid))?.item {
        Item::Policy(policy) => Some(policy),
        _ => None,
    }
}

/// The locators of a domain in a view; `None` if the view does not have them.
pub fn locators(view: &HostView, vni: Vni) -> Option<&Locators> {
    match view.items.get(&ItemKey::Locators(vni)).map(|versioned| &*versioned.item) {
        Some(Item::Locators(locators)) => Some(locators),
        _ => None,
    }
}

/// The domains that hold members of a peer's group which a rule in `domain` matches, sorted:
/// those it sees, or all that the view has where a forged source must not slip past (guarantee
/// G3).
pub fn matched_domains(
    view: &HostView,
    domain: &DomainItem,
    rule: &RuleItem,
    peer: PeerItem,
) -> Vec<Vni> {
    let everywhere = domain.spoofable && (rule.action.is_deny() || peer.negate);
    let first = ItemKey::Shard { group: peer.group, domain: Vni(0) };
    let last = ItemKey::Shard { group: peer.group, domain: Vni(u32::MAX) };
    view.items
        .range(first..=last)
        .filter_map(|(key, _)| match key {
            ItemKey::Shard { domain, .. } => Some(*domain),
            _ => None,
        })
        .filter(|held| everywhere || domain.sees.binary_search(held).is_ok())
        .collect()
}

/// The policies of a view by the groups that they are applied to.
pub struct AppliedPolicies<'v> {
    by_group: BTreeMap<Uid, Vec<(Uid, &'v PolicyItem)>>,
}

impl<'v> AppliedPolicies<'v> {
    /// Goes through the view's policies once.
    pub fn new(view: &'v HostView) -> AppliedPolicies<'v> {
        let mut by_group: BTreeMap<Uid, Vec<(Uid, &PolicyItem)>> = BTreeMap::new();
        for (key, versioned) in &view.items {
            if let (ItemKey::Policy(uid), Item::Policy(policy)) = (key, &*versioned.item) {
                for group in &policy.applied_to {
                    by_group.entry(*group).or_default().push((*uid, policy));
                }
            }
        }
        AppliedPolicies { by_group }
    }

    /// The policies applied to a port in the order of evaluation, tier by tier.
    ///
    /// # Errors
    ///
    /// If the view has none for a group: the port is told of a group only if some policy is applied to
    /// it. That one of several is missing does not show here: views are whole, and no policy is
    /// too large to be sent.
    pub fn of_port(
        &self,
        uid: Uid,
        port: &PortItem,
    ) -> Result<Vec<(Uid, &'v PolicyItem)>, EvaluateError> {
        let mut policies = Vec::new();
        for &group in &port.groups {
            match self.by_group.get(&group) {
                Some(applied) => policies.extend(applied),
                None => return Err(EvaluateError::NoPolicy { port: uid, group }),
            }
        }
        policies.sort_by(|(left_uid, left), (right_uid, right)| {
            left.order().cmp(&right.order()).then(left_uid.cmp(right_uid))
        });
        policies.dedup_by_key(|(uid, _)| *uid);
        Ok(policies)
    }
}

/// What the policies of a port say about the first packet of a connection to it ([`Direction::In`])
/// or from it (anything else). The steps are those that the model's `policy` module lists.
///
/// # Errors
///
/// If the view does not have what the answer depends on.
pub fn judge(
    view: &HostView,
    uid: Uid,
    direction: Direction,
    packet: &Packet,
) -> Result<Judgement, EvaluateError> {
    let port = port(view, uid).ok_or(EvaluateError::NoPort(uid))?;
    let domain = domain(view, port.domain)
        .ok_or(EvaluateError::NoDomain { port: uid, domain: port.domain })?;
    let policies = AppliedPolicies::new(view).of_port(uid, port)?;
    if is_link_traffic(packet) {
        return Ok(Judgement::UNDECIDED);
    }
    let inbound = direction == Direction::In;
    for tier in policies.chunk_by(|(_, left), (_, right)| left.tier == right.tier) {
        let decided = judge_tier(view, domain, tier, inbound, packet);
        match decided {
            None | Some((Action::Pass, _)) => {}
            Some((action, by)) => {
                let verdict = match action {
                    Action::Drop => Verdict::Drop,
                    Action::Reject => Verdict::Reject,
                    Action::Allow | Action::Pass => Verdict::Allow,
                };
                return Ok(Judgement { verdict, decided_by: Some(by) });
            }
        }
    }
    Ok(Judgement::UNDECIDED)
}

/// The first rule of the tier that matches, or its first default.
fn judge_tier(
    view: &HostView,
    domain: &DomainItem,
    tier: &[(Uid, &PolicyItem)],
    inbound: bool,
    packet: &Packet,
) -> Option<(Action, DecidedBy)> {
    for (uid, policy) in tier {
        for (position, rule) in policy.rules.iter().enumerate() {
            if rule_matches(view, domain, rule, inbound, packet) {
                return Some((rule.action, DecidedBy { policy: *uid, rule: Some(position) }));
            }
        }
    }
    tier.iter().find_map(|(uid, policy)| {
        let default = if inbound { policy.defaults.inbound } else { policy.defaults.outbound };
        default.map(|action| (action, DecidedBy { policy: *uid, rule: None }))
    })
}

fn rule_matches(
    view: &HostView,
    domain: &DomainItem,
    rule: &RuleItem,
    inbound: bool,
    packet: &Packet,
) -> bool {
    let looks = if inbound { rule.direction.is_in() } else { rule.direction.is_out() };
    let peer_address = if inbound { packet.source } else { packet.destination };
    looks
        && rule
            .services
            .as_ref()
            .is_none_or(|services| services.iter().any(|service| service_matches(service, packet)))
        && rule.peers.as_ref().is_none_or(|peers| {
            peers.iter().any(|&peer| {
                let member = is_member(view, domain, rule, peer, peer_address);
                member != peer.negate
            })
        })
}

fn is_member(
    view: &HostView,
    domain: &DomainItem,
    rule: &RuleItem,
    peer: PeerItem,
    address: IpAddr,
) -> bool {
    let in_blocks = view.items.get(&ItemKey::Blocks(peer.group)).is_some_and(|versioned| {
        matches!(&*versioned.item, Item::Blocks(nets) if nets.iter().any(|n| n.contains(&address)))
    });
    in_blocks
        || matched_domains(view, domain, rule, peer).into_iter().any(|held| {
            let key = ItemKey::Shard { group: peer.group, domain: held };
            view.items.get(&key).is_some_and(|versioned| {
                matches!(&*versioned.item, Item::Shard(members) if members.contains(&address))
            })
        })
}

fn service_matches(service: &ServiceEntry, packet: &Packet) -> bool {
    match (service, packet.payload) {
        (ServiceEntry::Any, _) => true,
        (
            ServiceEntry::Transport { protocol, ports, source_ports },
            Payload::Transport { protocol: carried, source_port, destination_port },
        ) => {
            *protocol == carried
                && in_ranges(ports, destination_port)
                && in_ranges(source_ports, source_port)
        }
        (
            ServiceEntry::Icmp { version, icmp_type, code },
            Payload::Icmp { icmp_type: carried_type, code: carried_code },
        ) => {
            (*version == IcmpVersion::V4) == packet.source.is_ipv4()
                && icmp_type.is_none_or(|wanted| wanted == carried_type)
                && code.is_none_or(|wanted| wanted == carried_code)
        }
        _ => false,
    }
}

fn in_ranges(ranges: &[PortRange], port: u16) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| range.contains(port))
}

fn is_link_traffic(packet: &Packet) -> bool {
    matches!(packet.payload, Payload::Icmp { icmp_type, .. }
        if packet.source.is_ipv6() && ICMPV6_LINK_TYPES.contains(&icmp_type))
}

/// Where a packet from a port of the host to an address goes. The port's own domain comes before
/// the others that it reaches, and those in the order of their identities; in each, the host's
/// own ports come before the locators.
///
/// # Errors
///
/// If the view does not have what the answer depends on.
pub fn route(view: &HostView, from: Uid, address: IpAddr) -> Result<Destination, EvaluateError> {
    let port = port(view, from).ok_or(EvaluateError::NoPort(from))?;
    let own = domain(view, port.domain)
        .ok_or(EvaluateError::NoDomain { port: from, domain: port.domain })?;
    let others = own.reaches.iter().copied().filter(|&reached| reached != port.domain);
    for domain in std::iter::once(port.domain).chain(others) {
        let local = ports(view)
            .find(|(_, port)| port.domain == domain && port.addresses.contains(&address));
        if let Some((uid, _)) = local {
            return Ok(Destination::Local(uid));
        }
        if let Some(locator) = locators(view, domain).and_then(|known| known.get(address)) {
            return Ok(Destination::Remote { domain, locator });
        }
    }
    Ok(Destination::Unreachable)
}
