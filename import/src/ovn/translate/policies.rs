//! Rules, sorted into policies and tiers.
//!
//! OVN judges a packet by tiers of ACLs, smaller tiers first, and within a tier by priority, larger
//! first. So an ACL becomes a rule of the policy `GROUP.PRIORITY`, which is applied to the group
//! and has the priority 100000 less that of the ACL; `allow-stateless` comes before all others
//! (ovn-nb(5)), with 50000 less it. There is one policy for each priority, not one for each group,
//! because a port in two groups must meet the ACLs of both in the order of their priorities, also
//! when it joins the second group later.
//!
//! ACLs are often about one IP version alone, and the model has no word for that: a port of a group
//! is a member with all its addresses. If a tier has such an ACL, it becomes two: one in which a
//! guard passes all IPv6 packets on, and one in which a guard passes all IPv4 packets on.

use super::groups::Groups;
use super::peers::Peers;
use super::services::{Family, imply_family};
use crate::output::Output;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use spanwire_topology::model::{
    Action, DefaultActions, Direction, Kind, Labels, ObjectRef, Peer, Rule, SecurityPolicySpec,
    ServiceEntry, ServiceMatch, Spec, Text,
};
use std::collections::{BTreeMap, BTreeSet};

/// How far apart the tiers of OVN come to lie.
const TIER_STEP: u16 = 10;
/// Where, from the tier of OVN, the one for IPv4 alone lies.
const TIER_V4: u16 = 4;
/// Where, from the tier of OVN, the one for IPv6 alone lies.
const TIER_V6: u16 = 6;
/// The priority of guards: before everything.
const PRIORITY_GUARD: u32 = 0;
/// What the priority of an `allow-stateless` ACL is taken from.
const PRIORITY_STATELESS: u32 = 50_000;
/// What the priority of any other ACL is taken from.
const PRIORITY_STATEFUL: u32 = 100_000;

/// One way to match an ACL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alternative {
    pub(super) applied: Vec<ObjectRef>,
    pub(super) family: Family,
    pub(super) peers: Peers,
    pub(super) services: Vec<ServiceEntry>,
}

/// A rule, before it has a policy.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) tier: u16,
    /// The priority of the ACL.
    pub(super) priority: u16,
    pub(super) stateless: bool,
    pub(super) direction: Direction,
    pub(super) action: Action,
    pub(super) name: Option<Text>,
    pub(super) log: bool,
    pub(super) alternative: Alternative,
    /// What rules of one priority are sorted by; OVN leaves their order open.
    pub(super) order: String,
}

/// The same alternatives in fewer: those that differ only in services or only in peers are one.
pub(super) fn merged(alternatives: Vec<Alternative>) -> Vec<Alternative> {
    let mut by_peers: BTreeMap<(Vec<ObjectRef>, Family, Peers), BTreeSet<ServiceEntry>> =
        BTreeMap::new();
    for Alternative { applied, family, peers, services } in alternatives {
        by_peers.entry((applied, family, peers)).or_default().extend(services);
    }
    let mut by_services: BTreeMap<(Vec<ObjectRef>, Family, Vec<ServiceEntry>), Peers> =
        BTreeMap::new();
    for ((applied, family, peers), services) in by_peers {
        let services = match services.contains(&ServiceEntry::Any) {
            true => vec![ServiceEntry::Any],
            false => services.into_iter().collect(),
        };
        let merged = by_services.entry((applied, family, services)).or_insert(Peers::Nobody);
        *merged = match (std::mem::replace(merged, Peers::Nobody), peers) {
            (Peers::Everyone, _) | (_, Peers::Everyone) => Peers::Everyone,
            (Peers::Nobody, peers) | (peers, Peers::Nobody) => peers,
            (Peers::AnyOf(mut list), Peers::AnyOf(more)) => {
                list.extend(more);
                list.sort_unstable();
                list.dedup();
                Peers::AnyOf(list)
            }
        };
    }
    by_services
        .into_iter()
        .filter(|(_, peers)| *peers != Peers::Nobody)
        .map(|((applied, family, services), peers)| Alternative {
            applied,
            family,
            peers,
            services,
        })
        .collect()
}

fn to_rule(draft: &Draft) -> Rule {
    let Alternative { peers, services, .. } = &draft.alternative;
    let any = services.contains(&ServiceEntry::Any);
    let services = services.iter().filter(|_| !any).cloned().map(ServiceMatch::Entry);
    Rule {
        name: draft.name.clone(),
        direction: draft.direction,
        peers: match peers {
            Peers::AnyOf(list) => list.clone(),
            Peers::Everyone | Peers::Nobody => Vec::new(),
        },
        services: services.collect(),
        action: draft.action,
        log: draft.log,
    }
}

/// Where a policy stands, and what it is applied to: the drafts that agree on it share a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    project: Text,
    tier: u16,
    priority: u32,
    applied: Vec<ObjectRef>,
    name: String,
}

/// Makes policies of drafts, and of the groups they refer to.
pub(super) fn write(
    out: &mut Output,
    mut groups: Groups,
    mut drafts: Vec<Draft>,
    default_project: &Text,
) {
    drafts.sort_by(|a, b| a.order.cmp(&b.order));
    let split: BTreeSet<u16> = drafts
        .iter()
        .filter(|draft| {
            let Alternative { family, services, .. } = &draft.alternative;
            !imply_family(services, *family)
        })
        .map(|draft| draft.tier)
        .collect();
    let mut policies: BTreeMap<Place, Vec<Rule>> = BTreeMap::new();
    for draft in &drafts {
        let families: &[Family] = match (split.contains(&draft.tier), draft.alternative.family) {
            (false, _) => &[Family::Both],
            (true, Family::Both) => &[Family::V4, Family::V6],
            (true, Family::V4) => &[Family::V4],
            (true, Family::V6) => &[Family::V6],
        };
        for family in families {
            let place = place(draft, *family, default_project);
            policies.entry(place).or_default().push(to_rule(draft));
        }
    }
    let guards = guards(out, &mut groups, policies.keys(), default_project);
    policies.extend(guards);
    let mut referred = BTreeSet::new();
    for (place, rules) in policies {
        referred.extend(place.applied.iter().cloned());
        referred.extend(rules.iter().flat_map(|rule| &rule.peers).map(|peer| peer.group.clone()));
        let name = out.names.take(Kind::SecurityPolicy, &place.project, &place.name);
        let spec = Spec::SecurityPolicy(SecurityPolicySpec {
            applied_to: place.applied,
            tier: place.tier,
            priority: place.priority,
            defaults: DefaultActions::default(),
            rules,
        });
        out.resource(&place.project, &name, Labels::new(), spec);
    }
    groups.finish(out, referred);
}

fn place(draft: &Draft, family: Family, default_project: &Text) -> Place {
    let applied = &draft.alternative.applied;
    let project = match applied.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other.project == first.project) => {
            first.project.clone()
        }
        _ => default_project.clone(),
    };
    let from = if draft.stateless { PRIORITY_STATELESS } else { PRIORITY_STATEFUL };
    let more = match applied.len() {
        0 | 1 => String::new(),
        n => format!("-and-{}-more", n - 1),
    };
    let first = applied.first().map(|group| &*group.name).unwrap_or_default();
    let stateless = if draft.stateless { ".stateless" } else { "" };
    let suffix = suffix(draft.tier, family);
    Place {
        project,
        tier: tier(draft.tier, family),
        priority: from - u32::from(draft.priority),
        applied: applied.clone(),
        name: format!("{first}{more}.{}{stateless}{suffix}", draft.priority),
    }
}

fn tier(tier: u16, family: Family) -> u16 {
    let within = match family {
        Family::Both => 0,
        Family::V4 => TIER_V4,
        Family::V6 => TIER_V6,
    };
    SecurityPolicySpec::TIER_DEFAULT + tier * TIER_STEP + within
}

fn suffix(tier: u16, family: Family) -> String {
    let family = match family {
        Family::Both => "",
        Family::V4 => ".ip4",
        Family::V6 => ".ip6",
    };
    match tier {
        0 => family.to_owned(),
        tier => format!("{family}.tier{tier}"),
    }
}

/// The policies that pass packets of the other IP version on, one for each project and tier.
fn guards<'a>(
    out: &mut Output,
    groups: &mut Groups,
    places: impl Iterator<Item = &'a Place>,
    default_project: &Text,
) -> Vec<(Place, Vec<Rule>)> {
    let mut guarded: BTreeMap<(Text, u16), BTreeSet<ObjectRef>> = BTreeMap::new();
    for place in places {
        guarded
            .entry((place.project.clone(), place.tier))
            .or_default()
            .extend(place.applied.iter().cloned());
    }
    let mut guards = Vec::new();
    for ((project, tier), applied) in guarded {
        let (ovn_tier, within) = (
            (tier - SecurityPolicySpec::TIER_DEFAULT) / TIER_STEP,
            (tier - SecurityPolicySpec::TIER_DEFAULT) % TIER_STEP,
        );
        let (name, other) = match within {
            TIER_V4 => ("only-ipv4", IpNet::V6(Ipv6Net::default())),
            TIER_V6 => ("only-ipv6", IpNet::V4(Ipv4Net::default())),
            _ => continue,
        };
        let group = groups.blocks(out, default_project, &[other]);
        let rule = Rule {
            name: None,
            direction: Direction::Both,
            peers: vec![Peer { group, negate: false }],
            services: Vec::new(),
            action: Action::Pass,
            log: false,
        };
        let place = Place {
            project,
            tier,
            priority: PRIORITY_GUARD,
            applied: applied.into_iter().collect(),
            name: format!("{name}{}", suffix(ovn_tier, Family::Both)),
        };
        guards.push((place, vec![rule]));
    }
    guards
}
