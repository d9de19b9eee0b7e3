//! Switches that lie in one domain and would lie in another.

use crate::engine::ids::{Map, Set, SwitchId};
use crate::engine::journal::Journal;
use crate::engine::state::Engine;
use crate::model::{Kind, ObjectKey, Uid, Vni};
use std::collections::BTreeMap;

/// The most switches of one part that are named.
const SWITCHES_MAX: usize = 8;

/// What becomes of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainMoveKind {
    /// All of it joins another.
    Merge,
    /// A part leaves it and is a domain of its own.
    Split,
    /// A part leaves it and joins another.
    Move,
}

/// A part of a domain that comes to lie in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainMove {
    /// What becomes of the domain.
    pub kind: DomainMoveKind,
    /// The domain it lies in.
    pub from: Vni,
    /// The domain it would lie in: the next identity that is free, if that is new.
    pub to: Vni,
    /// The first of its switches, sorted.
    pub switches: Vec<ObjectKey>,
    /// How many there are.
    pub switches_count: u64,
}

impl Engine {
    /// The parts that a transaction moved, as the state is after it. Objects with a uid above
    /// `last_uid` are new, and come from nowhere.
    pub(super) fn domain_moves(&self, journal: &Journal, last_uid: u64) -> Vec<DomainMove> {
        let mut parts: BTreeMap<(Vni, Vni), Vec<ObjectKey>> = BTreeMap::new();
        for (&uid, &from) in &journal.vnis {
            let Some(switch) = self.standing_switch(uid).filter(|_| uid.0 <= last_uid) else {
                continue;
            };
            let to = self.domains[self.switches[switch].domain].vni;
            if from != to {
                let key = self.switches[switch].object.resource.key();
                parts.entry((from, to)).or_default().push(key);
            }
        }
        let mut sources: Map<Vni, usize> = Map::default();
        let mut targets: Map<Vni, usize> = Map::default();
        for &(from, to) in parts.keys() {
            *sources.entry(to).or_default() += 1;
            *targets.entry(from).or_default() += 1;
        }
        let new: Set<Vni> = journal
            .domains
            .iter()
            .filter(|(_, before)| before.is_none())
            .filter_map(|(&id, _)| Some(self.domains.get(id)?.vni))
            .collect();
        let kind = |from: Vni, to: Vni| {
            let from_lives =
                self.vnis.get(&from).is_some_and(|&id| !self.domains[id].switches.is_empty());
            match (from_lives, new.contains(&to)) {
                (false, false) => Some(DomainMoveKind::Merge),
                (true, false) => Some(DomainMoveKind::Move),
                (true, true) => Some(DomainMoveKind::Split),
                (false, true) if sources[&to] > 1 => Some(DomainMoveKind::Merge),
                (false, true) if targets[&from] > 1 => Some(DomainMoveKind::Split),
                // The same switches under another identity.
                (false, true) => None,
            }
        };
        parts
            .into_iter()
            .filter_map(|((from, to), mut switches)| {
                let kind = kind(from, to)?;
                switches.sort_unstable();
                let switches_count = switches.len() as u64;
                switches.truncate(SWITCHES_MAX);
                Some(DomainMove { kind, from, to, switches, switches_count })
            })
            .collect()
    }

    /// The switch with a uid, unless it is being deleted.
    fn standing_switch(&self, uid: Uid) -> Option<SwitchId> {
        let (kind, slot) = self.uids.get(uid)?;
        let stands = kind == Kind::LogicalSwitch
            && self.slot_of(&self.object(kind, slot).resource.key()) == Some(slot);
        stands.then_some(SwitchId(slot))
    }
}
