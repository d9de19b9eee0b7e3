//! Conntrack zones: one to each domain with ports on the host, so that connections of isolated
//! domains with equal addresses are told apart (guarantee G6).
//!
//! When a domain splits or merges, ports of this host come into another one, and their connections
//! must not be forgotten for that: the zone comes along. If others stay behind, both domains share
//! the zone for as long as no connection of one can look like one of the other.

use spanwire_topology::model::{Text, Vni};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The zone of everything that is not ours.
const ZONE_OF_OTHERS: u16 = 0;

/// Which zone a domain has. A domain keeps its zone as long as it is on the host, also across
/// restarts: the zone is read back from the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Zones {
    assigned: BTreeMap<Vni, u16>,
    /// The zone that was given away last. The next one is looked for after it, so that a zone rests
    /// as long as possible before another domain gets it: until then its connections have expired.
    last: u16,
    /// The domain that each device was in.
    homes: BTreeMap<Text, Vni>,
}

impl Zones {
    /// The zones that the kernel has, and the domains of devices.
    pub(crate) fn restore(assigned: BTreeMap<Vni, u16>, homes: BTreeMap<Text, Vni>) -> Zones {
        let last = assigned.values().copied().max().unwrap_or(ZONE_OF_OTHERS);
        Zones { assigned, last, homes }
    }

    /// True if two domains have the same zone.
    pub(crate) fn are_shared(&self) -> bool {
        let different: BTreeSet<u16> = self.assigned.values().copied().collect();
        different.len() < self.assigned.len()
    }

    /// The zone of a domain.
    pub(crate) fn of(&self, domain: Vni) -> Option<u16> {
        self.assigned.get(&domain).copied()
    }

    /// Keeps zones for exactly the domains of these devices. Returns those that got none, because
    /// all 65,535 are taken. `overlap` says whether connections of two domains could look alike.
    pub(crate) fn assign(
        &mut self,
        devices: BTreeMap<Text, Vni>,
        overlap: impl Fn(Vni, Vni) -> bool,
    ) -> Vec<Vni> {
        let domains: BTreeSet<Vni> = devices.values().copied().collect();
        let predecessors = self.predecessors(&devices);
        let before = std::mem::take(&mut self.assigned);
        let mut holders: BTreeMap<u16, Vec<Vni>> = BTreeMap::new();
        // A zone, unless another domain has it that this one must be told apart from.
        let mut give = |domain: Vni, zone: u16| {
            let others = holders.entry(zone).or_default();
            let fits = !others.iter().any(|other| overlap(domain, *other));
            if fits {
                others.push(domain);
            }
            fits
        };
        // Those that have a zone come first, for they keep it; who shares one must still be able to.
        for (&domain, &zone) in before.iter().filter(|(domain, _)| domains.contains(domain)) {
            if give(domain, zone) {
                self.assigned.insert(domain, zone);
            }
        }
        let (mut new, mut inherit) = (Vec::new(), BTreeMap::new());
        for domain in domains.into_iter().filter(|it| !self.assigned.contains_key(it)) {
            let inherited = predecessors.get(&domain).and_then(|it| before.get(it));
            match inherited.filter(|zone| give(domain, **zone)) {
                Some(zone) => drop(inherit.insert(domain, *zone)),
                None => new.push(domain),
            }
        }
        self.assigned.extend(inherit);
        let mut taken: BTreeSet<u16> = self.assigned.values().copied().collect();
        let mut without = Vec::new();
        for domain in new {
            match next_free(self.last, &taken) {
                Some(zone) => {
                    self.last = zone;
                    taken.insert(zone);
                    self.assigned.insert(domain, zone);
                }
                None => without.push(domain),
            }
        }
        self.homes = devices;
        without
    }

    /// By domain: the one that most of its devices were in before, if they were in another.
    fn predecessors(&self, devices: &BTreeMap<Text, Vni>) -> BTreeMap<Vni, Vni> {
        let mut counts: BTreeMap<(Vni, Vni), usize> = BTreeMap::new();
        for (device, domain) in devices {
            if let Some(before) = self.homes.get(device).filter(|before| *before != domain) {
                *counts.entry((*domain, *before)).or_default() += 1;
            }
        }
        let mut most: Vec<(usize, Reverse<(Vni, Vni)>)> =
            counts.into_iter().map(|(pair, count)| (count, Reverse(pair))).collect();
        // The last one of a domain wins: that of most devices.
        most.sort_unstable();
        most.into_iter().map(|(_, Reverse((domain, before)))| (domain, before)).collect()
    }
}

fn next_free(last: u16, taken: &BTreeSet<u16>) -> Option<u16> {
    let after = (1..=u16::MAX).skip(usize::from(last));
    after.chain(1..=last).find(|zone| !taken.contains(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device in each domain, named after it.
    fn alone(list: &[u32]) -> BTreeMap<Text, Vni> {
        list.iter().map(|vni| (format!("dev-{vni}").into(), Vni(*vni))).collect()
    }

    fn devices(list: &[(&str, u32)]) -> BTreeMap<Text, Vni> {
        list.iter().map(|(device, vni)| ((*device).into(), Vni(*vni))).collect()
    }

    fn never(_: Vni, _: Vni) -> bool {
        false
    }

    fn of(zones: &Zones, list: &[u32]) -> Vec<Option<u16>> {
        list.iter().map(|vni| zones.of(Vni(*vni))).collect()
    }

    #[test]
    fn a_domain_keeps_its_zone_and_a_free_zone_rests() {
        let mut zones = Zones::default();
        assert!(zones.assign(alone(&[10, 20]), never).is_empty());
        assert_eq!(of(&zones, &[10, 20]), [Some(1), Some(2)]);
        zones.assign(alone(&[20]), never);
        zones.assign(alone(&[20, 30]), never);
        assert_eq!(of(&zones, &[10, 20, 30]), [None, Some(2), Some(3)]);
        assert!(!zones.are_shared());
    }

    #[test]
    fn zones_come_round_again_and_run_out() {
        let mut zones = Zones::restore([(Vni(1), u16::MAX)].into(), BTreeMap::new());
        zones.assign(alone(&[1, 2]), never);
        assert_eq!(zones.of(Vni(2)), Some(1));
        let all: Vec<u32> = (0..65_536).collect();
        assert_eq!(zones.assign(alone(&all), never).len(), 1);
    }

    #[test]
    fn a_zone_goes_with_the_ports() {
        let mut zones = Zones::default();
        zones.assign(devices(&[("a", 1), ("b", 1), ("x", 9)]), never);
        assert_eq!(of(&zones, &[1, 9]), [Some(1), Some(2)]);
        // All of them come into another domain, and no zone is given away.
        zones.assign(devices(&[("a", 2), ("b", 2), ("x", 9)]), never);
        assert_eq!(of(&zones, &[1, 2, 9]), [None, Some(1), Some(2)]);
        // One of them does: both have it, also after a restart.
        let split = devices(&[("a", 2), ("b", 3), ("x", 9)]);
        zones.assign(split.clone(), never);
        assert_eq!(of(&zones, &[2, 3, 9]), [Some(1), Some(1), Some(2)]);
        let mut zones = Zones::restore(zones.assigned, split.clone());
        zones.assign(split.clone(), never);
        assert_eq!(of(&zones, &[2, 3, 9]), [Some(1), Some(1), Some(2)]);
        assert!(zones.are_shared());
        // Then an address of one is used in the other: they are told apart from now on.
        let overlap = |left: Vni, right: Vni| left.0 + right.0 == 5;
        zones.assign(split.clone(), overlap);
        assert_eq!(of(&zones, &[2, 3, 9]), [Some(1), Some(3), Some(2)]);
        assert!(!zones.are_shared());
    }

    #[test]
    fn no_zone_is_shared_with_who_could_be_mistaken() {
        let mut zones = Zones::default();
        zones.assign(devices(&[("a", 1), ("b", 1)]), never);
        zones.assign(devices(&[("a", 1), ("b", 2)]), |_, _| true);
        assert_eq!(of(&zones, &[1, 2]), [Some(1), Some(2)]);
    }
}
