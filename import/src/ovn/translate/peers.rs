//! Conditions on the other end's address, as peers of a rule.

use super::super::expr::AddressTerm;
use super::applied::Builder;
use super::groups::SetRef;
use super::services::Family;
use ipnet::IpNet;
use spanwire_topology::model::{AddressBlocks, GroupTerm, ObjectRef, Peer, Text};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peers {
    /// Everyone.
    Everyone,
    /// Any of these, sorted.
    AnyOf(Vec<Peer>),
    /// No one: the rule never matches.
    Nobody,
}

/// A condition in parts: addresses that belong to no port, and ports.
#[derive(Debug, Default)]
struct Parts {
    negated: bool,
    /// Blocks written in the match.
    blocks: Vec<IpNet>,
    /// Address sets, by index.
    sets: Vec<usize>,
    /// Port groups, by index.
    port_groups: Vec<usize>,
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.sets.is_empty() && self.port_groups.is_empty()
    }

    fn has_blocks(&self) -> bool {
        !(self.blocks.is_empty() && self.sets.is_empty())
    }
}

impl Builder<'_, '_> {
    /// The peers that meet all of `terms`. Groups that have to be made go into `project`.
    pub(super) fn peers(
        &mut self,
        project: &Text,
        terms: &[Arc<AddressTerm>],
        family: Family,
    ) -> Result<Peers, String> {
        let parts: Vec<Parts> =
            terms.iter().map(|term| self.parts(term, family)).collect::<Result<_, _>>()?;
        let (negative, positive): (Vec<Parts>, Vec<Parts>) =
            parts.into_iter().partition(|parts| parts.negated);
        if positive.iter().any(Parts::is_empty) {
            return Ok(Peers::Nobody);
        }
        match (positive.as_slice(), negative.as_slice()) {
            ([], []) => Ok(Peers::Everyone),
            ([only], []) => Ok(self.any_of(only)),
            ([], _) => Ok(self.none_of(project, &negative)),
            _ if positive.iter().chain(&negative).all(|parts| parts.port_groups.is_empty()) => {
                Ok(self.of_blocks(&positive, &negative))
            }
            _ if positive.iter().chain(&negative).all(|parts| !parts.has_blocks()) => {
                Ok(self.of_ports(project, &positive, &negative))
            }
            _ => self.of_both(terms, &positive, family),
        }
    }

    fn parts(&self, term: &AddressTerm, family: Family) -> Result<Parts, String> {
        let mut parts =
            Parts { negated: term.negated, blocks: term.blocks.clone(), ..Parts::default() };
        for name in &term.sets {
            match self.set(name)? {
                SetRef::Set(set) => parts.sets.push(set),
                SetRef::PortGroup { group, is_v4 } => {
                    // The IPv4 addresses of a group are no IPv6 source.
                    if (family == Family::V4) == is_v4 {
                        parts.port_groups.push(group);
                    }
                }
            }
        }
        Ok(parts)
    }

    /// The groups that one condition names.
    fn named(&mut self, parts: &Parts) -> Vec<ObjectRef> {
        let sets = parts.sets.iter().map(|set| self.groups.sets[*set].object.clone());
        let groups = parts.port_groups.iter().map(|g| self.groups.port_groups[*g].object.clone());
        let mut named: Vec<ObjectRef> = sets.chain(groups).collect();
        if !parts.blocks.is_empty() {
            named.push(self.blocks_group(&parts.blocks));
        }
        named.sort_unstable();
        named.dedup();
        named
    }

    fn any_of(&mut self, parts: &Parts) -> Peers {
        let named = self.named(parts);
        Peers::AnyOf(named.into_iter().map(|group| Peer { group, negate: false }).collect())
    }

    fn none_of(&mut self, project: &Text, negative: &[Parts]) -> Peers {
        let mut named: Vec<ObjectRef> =
            negative.iter().flat_map(|parts| self.named(parts)).collect();
        named.sort_unstable();
        named.dedup();
        let Some(group) = self.union(project, named) else { return Peers::Everyone };
        Peers::AnyOf(vec![Peer { group, negate: true }])
    }

    /// One group with everything that is in any of some groups; `None` if there are none.
    fn union(&mut self, project: &Text, mut groups: Vec<ObjectRef>) -> Option<ObjectRef> {
        if groups.len() < 2 {
            return groups.pop();
        }
        let terms = groups.into_iter().map(GroupTerm::Group).collect();
        Some(self.groups.terms(&mut self.context.out, project, "any-of", terms))
    }

    /// Blocks alone: worked out here, as the sets of addresses they are now.
    fn of_blocks(&mut self, positive: &[Parts], negative: &[Parts]) -> Peers {
        let sets = &self.groups.sets;
        let blocks = |parts: &Parts| {
            let of_sets = parts.sets.iter().flat_map(|set| &sets[*set].blocks);
            AddressBlocks::from_nets(parts.blocks.iter().chain(of_sets).copied())
        };
        let mut all = positive.iter().map(&blocks);
        let Some(mut left) = all.next() else { return Peers::Nobody };
        for other in all {
            left = left.intersection(&other);
        }
        for other in negative {
            left = left.difference(&blocks(other));
        }
        if left.is_empty() {
            return Peers::Nobody;
        }
        let group = self.blocks_group(&left.to_nets());
        Peers::AnyOf(vec![Peer { group, negate: false }])
    }

    /// Ports alone: groups made of groups, which follow their members.
    fn of_ports(&mut self, project: &Text, positive: &[Parts], negative: &[Parts]) -> Peers {
        let mut all = Vec::new();
        for parts in positive {
            let named = self.named(parts);
            all.extend(self.union(project, named));
        }
        all.sort_unstable();
        all.dedup();
        let of = match all.as_slice() {
            [] => return Peers::Nobody,
            [only] => only.clone(),
            _ => {
                let terms = vec![GroupTerm::Intersection(all)];
                self.groups.terms(&mut self.context.out, project, "all-of", terms)
            }
        };
        let mut minus: Vec<ObjectRef> =
            negative.iter().flat_map(|parts| self.named(parts)).collect();
        minus.sort_unstable();
        minus.dedup();
        let group = if minus.is_empty() {
            of
        } else {
            let terms = vec![GroupTerm::Difference { of, minus }];
            self.groups.terms(&mut self.context.out, project, "but-not", terms)
        };
        Peers::AnyOf(vec![Peer { group, negate: false }])
    }

    /// Ports that also meet conditions on addresses: picked out here, as they are now. A block
    /// that must also be in a port group cannot be said, as a group keeps the two apart.
    fn of_both(
        &mut self,
        terms: &[Arc<AddressTerm>],
        positive: &[Parts],
        family: Family,
    ) -> Result<Peers, String> {
        let mut candidates: Option<BTreeSet<usize>> = None;
        for parts in positive.iter().filter(|parts| !parts.has_blocks()) {
            let groups = parts.port_groups.iter().map(|g| &self.groups.port_groups[*g].ports);
            let ports: BTreeSet<usize> = groups.flatten().copied().collect();
            candidates = Some(candidates.map_or(ports.clone(), |others| &others & &ports));
        }
        let Some(candidates) = candidates else {
            return Err("blocks with the addresses of ports taken out cannot be a group".to_owned());
        };
        let kept = self.with_addresses(&candidates, terms, family, false)?;
        if kept.is_empty() {
            return Ok(Peers::Nobody);
        }
        Ok(Peers::AnyOf(vec![Peer { group: self.ports_group(&kept), negate: false }]))
    }
}
