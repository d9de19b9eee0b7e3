//! Conntrack zones: one to each domain with ports on the host, so that connections of isolated
//! domains with equal addresses are told apart (guarantee G6).

use spanwire_topology::model::Vni;
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
}

impl Zones {
    /// The zones that the kernel has.
    pub(crate) fn restore(assigned: BTreeMap<Vni, u16>) -> Zones {
        let last = assigned.values().copied().max().unwrap_or(ZONE_OF_OTHERS);
        Zones { assigned, last }
    }

    /// The zone of a domain.
    pub(crate) fn of(&self, domain: Vni) -> Option<u16> {
        self.assigned.get(&domain).copied()
    }

    /// Keeps zones for exactly these domains. Returns those that got none, because all 65,535 are
    /// taken.
    pub(crate) fn assign(&mut self, domains: &BTreeSet<Vni>) -> Vec<Vni> {
        self.assigned.retain(|domain, _| domains.contains(domain));
        let mut taken: BTreeSet<u16> = self.assigned.values().copied().collect();
        let mut without = Vec::new();
        for &domain in domains {
            if self.assigned.contains_key(&domain) {
                continue;
            }
            match next_free(self.last, &taken) {
                Some(zone) => {
                    self.last = zone;
                    taken.insert(zone);
                    self.assigned.insert(domain, zone);
                }
                None => without.push(domain),
            }
        }
        without
    }
}

fn next_free(last: u16, taken: &BTreeSet<u16>) -> Option<u16> {
    let after = (1..=u16::MAX).skip(usize::from(last));
    after.chain(1..=last).find(|zone| !taken.contains(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(list: &[u32]) -> BTreeSet<Vni> {
        list.iter().map(|vni| Vni(*vni)).collect()
    }

    #[test]
    fn a_domain_keeps_its_zone_and_a_free_zone_rests() {
        let mut zones = Zones::default();
        assert!(zones.assign(&domains(&[10, 20])).is_empty());
        assert_eq!((zones.of(Vni(10)), zones.of(Vni(20))), (Some(1), Some(2)));
        zones.assign(&domains(&[20]));
        zones.assign(&domains(&[20, 30]));
        assert_eq!((zones.of(Vni(20)), zones.of(Vni(30))), (Some(2), Some(3)));
        assert_eq!(zones.of(Vni(10)), None);
    }

    #[test]
    fn zones_come_round_again_and_run_out() {
        let mut zones = Zones::restore([(Vni(1), u16::MAX)].into());
        zones.assign(&domains(&[1, 2]));
        assert_eq!(zones.of(Vni(2)), Some(1));
        let all: BTreeSet<Vni> = (0..65_536).map(Vni).collect();
        assert_eq!(zones.assign(&all).len(), 1);
    }
}
