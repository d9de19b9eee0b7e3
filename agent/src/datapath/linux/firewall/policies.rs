//! Policies as chains.
//!
//! ```text
//!  vmap by device ─goto─► tier chain ─jump─► policy chain   accept, drop, goto refuse: decided
//!                           │                              goto the next tier: pass
//!                           │ no rule matched              return: no rule matched
//!                           ▼
//!                       the tier's default, or ─goto─► tier chain of the next tier … accept
//! ```
//!
//! A policy's chain depends on the policy, the domain of the port and the direction, so all ports
//! of a domain share it; only if it has a rule that passes does it also depend on the tiers that
//! follow. A tier chain is shared by the ports with the same policies from that tier on.
//!
//! A policy that the kernel refused, or whose members it refused, is closed: at its place in the
//! order, all that is still to be judged is dropped. What it would have allowed is not known to be
//! harmless, and what it would have denied must not pass because of a fault of ours.

use super::json;
use super::ruleset::{Rule, Ruleset, truncate};
use crate::datapath::evaluate::{AppliedPolicies, domain, matched_domains};
use crate::datapath::linux::family::Family;
use crate::datapath::linux::names::fnv1a;
use serde_json::{Value, json};
use spanwire_topology::model::{
    Action, Direction, IcmpVersion, PortRange, ServiceEntry, TransportProtocol, Uid, Vni,
};
use spanwire_topology::view::{
    DomainItem, HostView, Item, ItemKey, PeerItem, PolicyItem, PortItem, RuleItem,
};
use std::collections::BTreeSet;

/// The chain that tells the sender of a packet that it was refused.
pub(crate) const REFUSE: &str = "refuse";
/// The chain for ports of which it is not known what applies to them: nothing passes.
pub(crate) const CLOSED: &str = "closed";

/// The longest prefix of a log line that the kernel takes, in bytes.
const LOG_PREFIX_BYTES_MAX: usize = 127;
/// How many lines a second a rule may log, and how many at once: a scan must not fill the disk.
const LOG_LINES_PER_SECOND: u32 = 10;
const LOG_LINES_BURST: u32 = 20;

/// The name of the set of a shard's members.
pub(crate) fn shard_set(group: Uid, domain: Vni, family: Family) -> String {
    format!("g{group}_d{domain}_{}", suffix(family))
}

/// The name of the set of a group's CIDR blocks.
pub(crate) fn blocks_set(group: Uid, family: Family) -> String {
    format!("b{group}_{}", suffix(family))
}

fn suffix(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// Turns policies into chains of a ruleset.
pub(crate) struct PolicyCompiler<'a> {
    view: &'a HostView,
    applied: AppliedPolicies<'a>,
    /// Items that the kernel refused: policies that depend on them are closed.
    excluded: &'a BTreeSet<ItemKey>,
    ruleset: &'a mut Ruleset,
}

/// Where a chain is made for.
struct Place<'a> {
    domain: Vni,
    item: &'a DomainItem,
    inbound: bool,
}

impl Place<'_> {
    fn direction(&self) -> &'static str {
        if self.inbound { "in" } else { "out" }
    }
}

/// Expressions that match some packets, if all of them do.
#[derive(Clone, Default)]
struct Match {
    /// The family of packets that they can match; `None` for both.
    family: Option<Family>,
    expressions: Vec<Value>,
}

impl<'a> PolicyCompiler<'a> {
    /// A compiler that adds to a ruleset.
    pub(crate) fn new(
        view: &'a HostView,
        excluded: &'a BTreeSet<ItemKey>,
        ruleset: &'a mut Ruleset,
    ) -> PolicyCompiler<'a> {
        PolicyCompiler { view, applied: AppliedPolicies::new(view), excluded, ruleset }
    }

    /// The chain that judges packets to a port ([`Direction::In`]) or from it; `None` if nothing
    /// is to be judged.
    ///
    /// # Errors
    ///
    /// Says what the view lacks.
    pub(crate) fn port_chain(
        &mut self,
        uid: Uid,
        port: &PortItem,
        direction: Direction,
    ) -> Result<Option<String>, String> {
        let item = domain(self.view, port.domain)
            .ok_or_else(|| format!("its domain {} is not in the view", port.domain))?;
        let policies = self.applied.of_port(uid, port).map_err(|error| error.to_string())?;
        let place = Place { domain: port.domain, item, inbound: direction == Direction::In };
        Ok(self.tiers(&place, &policies))
    }

    /// The chain of the first tier of the policies.
    fn tiers(&mut self, place: &Place<'_>, policies: &[(Uid, &PolicyItem)]) -> Option<String> {
        let (_, first) = policies.first()?;
        let end = policies.partition_point(|(_, policy)| policy.tier <= first.tier);
        let (tier, rest) = policies.split_at(end);
        let name = tier_chain(place, policies);
        if self.ruleset.chains.contains_key(&name) {
            return Some(name);
        }
        let next = self.tiers(place, rest);
        let on = match &next {
            Some(next) => json::goto(next),
            None => json::accept(),
        };
        let mut rules = Vec::new();
        for (uid, policy) in tier {
            if let Some(chain) = self.policy(place, *uid, policy, next.as_deref()) {
                // Of a policy that is closed nothing is used that could be what nft refused.
                let label = if self.is_closed(*uid, policy) {
                    format!("policy {uid}")
                } else {
                    format!("policy {}/{}", policy.project, policy.name)
                };
                rules.push(Rule::new(&label, vec![json::jump(&chain)]));
            }
        }
        let mut open = tier.iter().filter(|(uid, policy)| !self.is_closed(*uid, policy));
        let default = open.find_map(|(_, policy)| {
            default_of(policy, place.inbound).map(|action| (policy, action))
        });
        match default {
            Some((policy, action)) => {
                let label = format!("default of policy {}/{}", policy.project, policy.name);
                rules.push(Rule::new(&label, vec![verdict(action, &on)]));
            }
            None => rules.push(Rule::new("end of tier", vec![on])),
        }
        self.ruleset.chain(name.clone(), rules);
        Some(name)
    }

    /// True if the kernel refused a policy, or members that its rules depend on.
    fn is_closed(&self, uid: Uid, policy: &PolicyItem) -> bool {
        let groups = || policy.rules.iter().flat_map(|rule| rule.peers.iter().flatten());
        self.excluded.iter().any(|key| match key {
            ItemKey::Policy(refused) => *refused == uid,
            ItemKey::Blocks(group) | ItemKey::Shard { group, .. } => {
                groups().any(|peer| peer.group == *group)
            }
            _ => false,
        })
    }

    /// The chain of a policy, `None` if there is nothing in it that looks this way.
    fn policy(
        &mut self,
        place: &Place<'_>,
        uid: Uid,
        policy: &PolicyItem,
        next: Option<&str>,
    ) -> Option<String> {
        let looks = |rule: &&RuleItem| {
            if place.inbound { rule.direction.is_in() } else { rule.direction.is_out() }
        };
        let mut name = format!("p{uid}_d{}_{}", place.domain, place.direction());
        if self.is_closed(uid, policy) {
            let judges = policy.rules.iter().any(|rule| looks(&rule))
                || default_of(policy, place.inbound).is_some();
            if !judges {
                return None;
            }
            let label = format!("closed, because nft refused policy {uid} or its members");
            self.ruleset.chain(name.clone(), vec![Rule::new(&label, vec![json::drop()])]);
            return Some(name);
        }
        if policy.rules.iter().filter(looks).any(|rule| rule.action == Action::Pass) {
            name = format!("{name}_then_{}", next.unwrap_or("end"));
        }
        if self.ruleset.chains.contains_key(&name) {
            return Some(name);
        }
        let on = match next {
            Some(next) => json::goto(next),
            None => json::accept(),
        };
        let mut rules = Vec::new();
        for (position, rule) in policy.rules.iter().enumerate() {
            if looks(&rule) {
                let called = Called { chain: &name, policy, position };
                rules.extend(self.rule(place, &called, rule, &verdict(rule.action, &on)));
            }
        }
        if rules.is_empty() {
            return None;
        }
        self.ruleset.chain(name.clone(), rules);
        Some(name)
    }

    fn rule(
        &mut self,
        place: &Place<'_>,
        called: &Called<'_>,
        rule: &RuleItem,
        verdict: &Value,
    ) -> Vec<Rule> {
        let peers = self.peers(place, rule);
        let services = match &rule.services {
            None => vec![Match::default()],
            Some(entries) => entries.iter().map(service).collect(),
        };
        // So many rules that a chain of their own for the services makes them fewer.
        if peers.len() > 1 && services.len() > 1 {
            let chain = format!("{}_r{}", called.chain, called.position);
            let any = [Match::default()];
            let inner = called.rules(rule, &any, &services, verdict, rule.log);
            self.ruleset.chain(chain.clone(), inner);
            return called.rules(rule, &peers, &any, &json::jump(&chain), false);
        }
        called.rules(rule, &peers, &services, verdict, rule.log)
    }

    /// The matches of a rule's peers, any of which is enough.
    fn peers(&self, place: &Place<'_>, rule: &RuleItem) -> Vec<Match> {
        let Some(peers) = &rule.peers else { return vec![Match::default()] };
        let mut matches = Vec::new();
        for &peer in peers {
            let sets = self.sets(place, rule, peer);
            if peer.negate && sets.is_empty() {
                matches.push(Match::default());
                continue;
            }
            for family in Family::ALL {
                let address = peer_address(place.inbound, family);
                let of_family = sets.iter().filter(|(_, of)| *of == family).map(|(name, _)| name);
                if peer.negate {
                    let expressions = std::iter::once(is_family(family))
                        .chain(
                            of_family.map(|set| json::differs(address.clone(), json::in_set(set))),
                        )
                        .collect();
                    matches.push(Match { family: Some(family), expressions });
                } else {
                    matches.extend(of_family.map(|set| Match {
                        family: Some(family),
                        expressions: vec![json::equal(address.clone(), json::in_set(set))],
                    }));
                }
            }
        }
        matches
    }

    /// The sets that hold a peer's members. Both families are there even where one is empty, so
    /// that a first member of a family changes no rule.
    fn sets(&self, place: &Place<'_>, rule: &RuleItem, peer: PeerItem) -> Vec<(String, Family)> {
        let mut sets = Vec::new();
        let present =
            |key: ItemKey| self.view.items.contains_key(&key) && !self.excluded.contains(&key);
        for held in matched_domains(self.view, place.item, rule, peer) {
            if present(ItemKey::Shard { group: peer.group, domain: held }) {
                for family in Family::ALL {
                    sets.push((shard_set(peer.group, held, family), family));
                }
            }
        }
        let blocks = ItemKey::Blocks(peer.group);
        if present(blocks)
            && let Some(Item::Blocks(_)) = self.view.items.get(&blocks).map(|v| &*v.item)
        {
            for family in Family::ALL {
                sets.push((blocks_set(peer.group, family), family));
            }
        }
        sets
    }
}

/// The default of a policy for one direction.
fn default_of(policy: &PolicyItem, inbound: bool) -> Option<Action> {
    if inbound { policy.defaults.inbound } else { policy.defaults.outbound }
}

/// A rule in its policy.
struct Called<'a> {
    chain: &'a str,
    policy: &'a PolicyItem,
    position: usize,
}

impl Called<'_> {
    fn label(&self, rule: &RuleItem) -> String {
        let PolicyItem { project, name, .. } = self.policy;
        match &rule.name {
            Some(rule) => format!("policy {project}/{name} rule {} {rule}", self.position),
            None => format!("policy {project}/{name} rule {}", self.position),
        }
    }

    /// A rule for every pair of matches that can hold together.
    fn rules(
        &self,
        rule: &RuleItem,
        peers: &[Match],
        services: &[Match],
        verdict: &Value,
        log: bool,
    ) -> Vec<Rule> {
        let label = self.label(rule);
        let mut rules = Vec::new();
        for peer in peers {
            for service in services {
                if let (Some(left), Some(right)) = (peer.family, service.family)
                    && left != right
                {
                    continue;
                }
                let mut expressions = peer.expressions.clone();
                if peer.family.is_none()
                    && let Some(family) = service.family
                {
                    expressions.push(is_family(family));
                }
                expressions.extend(service.expressions.iter().cloned());
                if log {
                    let mut logged = expressions.clone();
                    logged.extend(self.log(rule));
                    rules.push(Rule::new(&label, logged));
                }
                expressions.push(verdict.clone());
                rules.push(Rule::new(&label, expressions));
            }
        }
        rules
    }

    fn log(&self, rule: &RuleItem) -> [Value; 2] {
        let action = rule.action.as_str();
        let label = self.label(rule);
        let room = LOG_PREFIX_BYTES_MAX - "spanwire  : ".len() - action.len();
        let prefix = format!("spanwire {} {action}: ", truncate(&label, room));
        [
            json!({ "limit": {
                "rate": LOG_LINES_PER_SECOND, "per": "second", "burst": LOG_LINES_BURST,
            } }),
            json!({ "log": { "prefix": prefix, "level": "info" } }),
        ]
    }
}

fn tier_chain(place: &Place<'_>, policies: &[(Uid, &PolicyItem)]) -> String {
    let mut key = place.domain.0.to_be_bytes().to_vec();
    for (uid, policy) in policies {
        key.extend(policy.tier.to_be_bytes());
        key.extend(uid.0.to_be_bytes());
    }
    format!("t{:016x}_{}", fnv1a(&key), place.direction())
}

fn verdict(action: Action, on: &Value) -> Value {
    match action {
        Action::Allow => json::accept(),
        Action::Drop => json::drop(),
        Action::Reject => json::goto(REFUSE),
        Action::Pass => on.clone(),
    }
}

fn peer_address(inbound: bool, family: Family) -> Value {
    let protocol = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    json::payload(protocol, if inbound { "saddr" } else { "daddr" })
}

fn is_family(family: Family) -> Value {
    let name = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    json::equal(json::meta("nfproto"), name)
}

fn service(entry: &ServiceEntry) -> Match {
    match entry {
        ServiceEntry::Any => Match::default(),
        ServiceEntry::Transport { protocol, ports, source_ports } => {
            let name = protocol.as_str();
            let mut expressions = Vec::new();
            for (field, ranges) in [("dport", ports), ("sport", source_ports)] {
                if let Some(ranges) = port_ranges(ranges) {
                    expressions.push(json::equal(json::payload(name, field), ranges));
                }
            }
            if expressions.is_empty() {
                expressions.push(is_protocol(*protocol));
            }
            Match { family: None, expressions }
        }
        ServiceEntry::Icmp { version, icmp_type, code } => {
            let (name, family, protocol) = match version {
                IcmpVersion::V4 => ("icmp", Family::V4, 1),
                IcmpVersion::V6 => ("icmpv6", Family::V6, 58),
            };
            let mut expressions = vec![json::equal(json::meta("l4proto"), protocol)];
            for (field, value) in [("type", icmp_type), ("code", code)] {
                if let Some(value) = value {
                    expressions.push(json::equal(json::payload(name, field), *value));
                }
            }
            Match { family: Some(family), expressions }
        }
    }
}

fn is_protocol(protocol: TransportProtocol) -> Value {
    json::equal(json::meta("l4proto"), protocol.number())
}

/// Ranges as nft takes them: sorted and without overlap. `None` for all ports.
fn port_ranges(ranges: &[PortRange]) -> Option<Value> {
    let mut sorted: Vec<(u16, u16)> =
        ranges.iter().map(|range| (range.first(), range.last())).collect();
    sorted.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::with_capacity(sorted.len());
    for (first, last) in sorted {
        match joined.last_mut() {
            Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = (*end).max(last),
            _ => joined.push((first, last)),
        }
    }
    let value = |(first, last): (u16, u16)| {
        if first == last { json!(first) } else { json::range(first, last) }
    };
    match joined.as_slice() {
        [] => None,
        [one] => Some(value(*one)),
        several => Some(json::any_of(several.iter().copied().map(value))),
    }
}
