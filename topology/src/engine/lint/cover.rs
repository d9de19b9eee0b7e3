//! Whether one group, peer, service or rule holds all of another, as far as that is certain from how
//! they are defined. `false` means "not for certain".

use crate::engine::ids::GroupId;
use crate::engine::state::{Engine, Term};
use crate::model::{
    Action, AddressBlocks, Direction, GroupTerm, Kind, PortRange, ProjectScope, Rule, ServiceEntry,
    ServiceMatch, Spec, Text,
};

/// Steps through the terms of groups for one question. Deeply nested groups need more than are
/// spent on them.
const STEPS_MAX: u32 = 256;

/// A rule with its references resolved.
#[derive(Debug)]
pub(super) struct ResolvedRule {
    pub(super) direction: Direction,
    pub(super) action: Action,
    /// See [`Rule::needs_protection`].
    pub(super) protected: bool,
    /// Groups, each with whether it is negated; `None` is everyone.
    pub(super) peers: Option<Vec<(GroupId, bool)>>,
    /// What it matches of a packet's protocol; `None` is every IP packet.
    pub(super) entries: Option<Vec<ServiceEntry>>,
}

impl ResolvedRule {
    pub(super) fn new(engine: &Engine, rule: &Rule) -> ResolvedRule {
        let peers = rule.peers.iter().filter_map(|peer| {
            let slot = engine.slot(Kind::Group, &peer.group.project, &peer.group.name)?;
            Some((GroupId(slot), peer.negate))
        });
        let entries = rule.services.iter().flat_map(|service| entries_of(engine, service));
        ResolvedRule {
            direction: rule.direction,
            action: rule.action,
            protected: rule.needs_protection(),
            peers: (!rule.peers.is_empty()).then(|| peers.collect()),
            entries: (!rule.services.is_empty()).then(|| entries.cloned().collect()),
        }
    }

    /// True if every packet that the other matches, on a port that both are applied to, is one that
    /// this one matches.
    pub(super) fn covers(&self, engine: &Engine, other: &ResolvedRule) -> bool {
        (!other.direction.is_in() || self.direction.is_in())
            && (!other.direction.is_out() || self.direction.is_out())
            && covers_entries(self.entries.as_deref(), other.entries.as_deref())
            && self.covers_peers(engine, other)
    }

    /// True if it matches every packet of a direction.
    pub(super) fn matches_all(&self, inbound: bool) -> bool {
        let direction = if inbound { self.direction.is_in() } else { self.direction.is_out() };
        direction && self.peers.is_none() && covers_entries(self.entries.as_deref(), None)
    }

    fn covers_peers(&self, engine: &Engine, other: &ResolvedRule) -> bool {
        let Some(own) = &self.peers else { return true };
        let Some(theirs) = &other.peers else { return own.iter().any(|&p| everyone(engine, p)) };
        theirs.iter().all(|&their| {
            own.iter().any(|&peer| self.covers_peer(engine, peer, other.protected, their))
        })
    }

    /// True if every address that matches a peer of the other matches this one's. A protected rule
    /// may look at members beyond what a domain sees (guarantee G3), where one that is not does not.
    fn covers_peer(
        &self,
        engine: &Engine,
        own: (GroupId, bool),
        protected: bool,
        their: (GroupId, bool),
    ) -> bool {
        if everyone(engine, own) {
            return true;
        }
        match (own, their) {
            ((own, false), (their, false)) => {
                (self.protected || !protected || engine.groups[their].shards.is_empty())
                    && covers_group(engine, own, their)
            }
            // Whoever is outside of the larger group is outside of the smaller.
            ((own, true), (their, true)) => covers_group(engine, their, own),
            _ => false,
        }
    }
}

/// True if a peer matches every address.
fn everyone(engine: &Engine, (group, negate): (GroupId, bool)) -> bool {
    !negate && engine.groups[group].blocks.is_everything()
}

/// The entries of a service, or the one that stands in its place.
pub(in crate::engine) fn entries_of<'a>(
    engine: &'a Engine,
    service: &'a ServiceMatch,
) -> &'a [ServiceEntry] {
    match service {
        ServiceMatch::Entry(entry) => std::slice::from_ref(entry),
        ServiceMatch::Service(reference) => {
            let slot = engine.slot(Kind::Service, &reference.project, &reference.name);
            match slot.map(|slot| &*engine.object(Kind::Service, slot).resource.spec) {
                Some(Spec::Service(service)) => &service.entries,
                _ => &[],
            }
        }
    }
}

// ---- services ----

/// True if every packet that some of `inner` match is one that some of `outer` match.
fn covers_entries(outer: Option<&[ServiceEntry]>, inner: Option<&[ServiceEntry]>) -> bool {
    let Some(outer) = outer else { return true };
    if outer.contains(&ServiceEntry::Any) {
        return true;
    }
    let Some(inner) = inner else { return false };
    inner.iter().all(|inner| outer.iter().any(|outer| covers_entry(outer, inner)))
}

fn covers_entry(outer: &ServiceEntry, inner: &ServiceEntry) -> bool {
    match (outer, inner) {
        (ServiceEntry::Any, _) => true,
        (
            ServiceEntry::Transport { protocol, ports, source_ports },
            ServiceEntry::Transport {
                protocol: inner_protocol,
                ports: inner_ports,
                source_ports: inner_source_ports,
            },
        ) => {
            protocol == inner_protocol
                && covers_ranges(ports, inner_ports)
                && covers_ranges(source_ports, inner_source_ports)
        }
        (
            ServiceEntry::Icmp { version, icmp_type, code },
            ServiceEntry::Icmp { version: inner_version, icmp_type: inner_type, code: inner_code },
        ) => {
            version == inner_version
                && (icmp_type.is_none() || icmp_type == inner_type)
                && (code.is_none() || code == inner_code)
        }
        _ => false,
    }
}

/// True if ranges of ports hold all of others. No range is all ports.
fn covers_ranges(outer: &[PortRange], inner: &[PortRange]) -> bool {
    if outer.is_empty() {
        return true;
    }
    let mut sorted: Vec<(u32, u32)> =
        outer.iter().map(|r| (u32::from(r.first()), u32::from(r.last()))).collect();
    sorted.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (first, last) in sorted {
        match joined.last_mut() {
            Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    let holds = |first: u16, last: u16| {
        let (first, last) = (u32::from(first), u32::from(last));
        joined.iter().any(|&(start, end)| start <= first && last <= end)
    };
    if inner.is_empty() {
        return holds(0, u16::MAX);
    }
    inner.iter().all(|range| holds(range.first(), range.last()))
}

// ---- groups ----

/// True if one group holds all ports and all addresses of another, by how they are defined.
pub(super) fn covers_group(engine: &Engine, outer: GroupId, inner: GroupId) -> bool {
    holds_group(engine, outer, inner, &mut 0)
}

/// Takes a step, if there are any left.
fn step(steps: &mut u32) -> bool {
    *steps += 1;
    *steps <= STEPS_MAX
}

fn holds_group(engine: &Engine, outer: GroupId, inner: GroupId, steps: &mut u32) -> bool {
    if outer == inner {
        return true;
    }
    if !step(steps) {
        return false;
    }
    let inner_group = &engine.groups[inner];
    let blocks = AddressBlocks::from_cidr_blocks(&inner_group.spec().blocks);
    if !blocks.difference(&engine.groups[outer].blocks).is_empty() {
        return false;
    }
    let by_name = engine.groups[outer].terms.iter().any(|term| match term {
        Term::Group(middle) => holds_group(engine, *middle, inner, steps),
        _ => false,
    });
    by_name
        || (0..inner_group.terms.len()).all(|at| match &inner_group.terms[at] {
            Term::Group(part) => holds_group(engine, outer, *part, steps),
            Term::Intersection(parts) => {
                parts.iter().any(|part| holds_group(engine, outer, *part, steps))
            }
            Term::Difference(of, _) => holds_group(engine, outer, *of, steps),
            Term::Selector | Term::Switch(_) | Term::Router(_) | Term::Port(_) => {
                holds_term(engine, outer, inner, at, steps)
            }
        })
}

/// True if a group holds all ports of one term, of another group, that names no groups.
fn holds_term(engine: &Engine, outer: GroupId, inner: GroupId, at: usize, steps: &mut u32) -> bool {
    if !step(steps) {
        return false;
    }
    let (outer_group, inner_group) = (&engine.groups[outer], &engine.groups[inner]);
    let term = &inner_group.terms[at];
    outer_group.terms.iter().enumerate().any(|(n, own)| match (own, term) {
        (Term::Selector, Term::Selector) => {
            let project = |group: &crate::engine::state::Group| {
                group.object.resource.metadata.project.clone()
            };
            let (own, own_project) = (outer_group.spec().terms.get(n), project(outer_group));
            let (their, their_project) = (inner_group.spec().terms.get(at), project(inner_group));
            own.zip(their).is_some_and(|(a, b)| covers_selector(a, &own_project, b, &their_project))
        }
        (Term::Switch(switch), Term::Port(port)) => engine.ports[*port].switch == *switch,
        (Term::Group(middle), _) => holds_term(engine, *middle, inner, at, steps),
        _ => own == term,
    })
}

/// True if a selector asks for nothing more than another, in at least the same projects.
fn covers_selector(
    outer: &GroupTerm,
    outer_project: &Text,
    inner: &GroupTerm,
    inner_project: &Text,
) -> bool {
    let (
        GroupTerm::Selector { selector, projects },
        GroupTerm::Selector { selector: inner_selector, projects: inner_projects },
    ) = (outer, inner)
    else {
        return false;
    };
    let holds_project = |project: &Text| match projects {
        ProjectScope::All => true,
        ProjectScope::Own => project == outer_project,
        ProjectScope::Listed(list) => list.contains(project),
    };
    let in_scope = match inner_projects {
        ProjectScope::All => *projects == ProjectScope::All,
        ProjectScope::Own => holds_project(inner_project),
        ProjectScope::Listed(list) => list.iter().all(holds_project),
    };
    let asked = inner_selector.requirements();
    in_scope && selector.requirements().iter().all(|own| asked.contains(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str) -> Vec<PortRange> {
        text.split_whitespace()
            .map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                PortRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
            })
            .collect()
    }

    #[test]
    fn ranges_of_ports_hold_others() {
        let cases = [
            ("", "", true),
            ("", "80", true),
            ("80", "", false),
            ("0-65535", "", true),
            ("0-100 101-65535", "", true),
            ("80", "80", true),
            ("80-90", "85 87-90", true),
            ("80-85 86-90", "84-88", true),
            ("80-85 87-90", "84-88", false),
            ("65535", "65535", true),
            ("80", "80-81", false),
        ];
        for (outer, inner, expected) in cases {
            let found = covers_ranges(&ranges(outer), &ranges(inner));
            assert_eq!(found, expected, "{outer:?} over {inner:?}");
        }
    }
}
