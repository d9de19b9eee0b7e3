//! How much of what could go wrong the histories met. Without this, a generator whose networks
//! dwindle to nothing would find nothing, and look like success.

use crate::snapshot::Snapshot;
use crate::transitions::Transitions;
use crate::verdicts::VerdictCoverage;
use spanwire_topology::model::Uid;
use spanwire_topology::view::{Item, ItemKey, VersionedItem};
use std::collections::BTreeSet;

/// What was met, over all steps of all histories.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Coverage {
    /// Transactions that were applied, and refused.
    pub(crate) applied: u64,
    pub(crate) refused: u64,
    /// Views of hosts.
    pub(crate) views: u64,
    /// Views with a shard, and views with blocks.
    pub(crate) with_shards: u64,
    pub(crate) with_blocks: u64,
    /// Views with a domain that sees another.
    pub(crate) seeing_others: u64,
    /// Views with a domain that is seen by one it does not reach, or the other way about.
    pub(crate) one_way: u64,
    /// Views with ports in two domains.
    pub(crate) in_two_domains: u64,
    /// Views with a shard of a domain that the host does not see: a whole group (G3).
    pub(crate) whole_groups: u64,
    /// Views that lack a shard of a group they have another shard of: pruned (G2).
    pub(crate) pruned: u64,
    /// What changed, over all transactions that were applied.
    pub(crate) transitions: Transitions,
    /// What the explained verdicts told of.
    pub(crate) verdicts: VerdictCoverage,
}

impl Coverage {
    /// Counts the views of one step.
    pub(crate) fn count(&mut self, after: &Snapshot) {
        for view in after.hosts.values() {
            let keys: BTreeSet<ItemKey> = view.items.keys().copied().collect();
            let domain = |item: &'_ VersionedItem| match &*item.item {
                Item::Domain(domain) => Some(domain.clone()),
                _ => None,
            };
            let domains: Vec<_> = view.items.values().filter_map(domain).collect();
            let is_shard = |key: &&ItemKey| matches!(key, ItemKey::Shard { .. });
            let is_unseen = |key: &&ItemKey| match key {
                ItemKey::Shard { domain, .. } => !keys.contains(&ItemKey::Locators(*domain)),
                _ => false,
            };
            let groups: BTreeSet<_> = keys.iter().filter_map(group_of).collect();
            let lacks = |key: &&ItemKey| {
                !keys.contains(key) && group_of(key).is_some_and(|group| groups.contains(&group))
            };
            let counted = [
                (&mut self.views, true),
                (&mut self.with_shards, keys.iter().any(|key| is_shard(&key))),
                (&mut self.with_blocks, keys.iter().any(|key| matches!(key, ItemKey::Blocks(_)))),
                (&mut self.seeing_others, domains.iter().any(|domain| domain.sees.len() > 1)),
                (&mut self.one_way, domains.iter().any(|domain| domain.sees != domain.reaches)),
                (&mut self.in_two_domains, domains.len() > 1),
                (&mut self.whole_groups, keys.iter().any(|key| is_unseen(&key))),
                (&mut self.pruned, after.items.keys().any(|key| lacks(&key))),
            ];
            for (counter, met) in counted {
                *counter += u64::from(met);
            }
        }
    }

    /// Adds what another history met.
    pub(crate) fn add(&mut self, other: Coverage) {
        self.applied += other.applied;
        self.refused += other.refused;
        self.views += other.views;
        self.with_shards += other.with_shards;
        self.with_blocks += other.with_blocks;
        self.seeing_others += other.seeing_others;
        self.one_way += other.one_way;
        self.in_two_domains += other.in_two_domains;
        self.whole_groups += other.whole_groups;
        self.pruned += other.pruned;
        self.transitions.add(other.transitions);
        self.verdicts.add(other.verdicts);
    }

    /// Panics if something was met too rarely for the histories to show anything about it.
    pub(crate) fn check(&self) {
        let parts = |n: u64| n * 100 / self.views.max(1);
        let share = [
            ("with shards", parts(self.with_shards), 35),
            ("with blocks", parts(self.with_blocks), 20),
            ("with a domain that sees another", parts(self.seeing_others), 20),
            ("with a domain that sees another one way", parts(self.one_way), 4),
            ("with ports in two domains", parts(self.in_two_domains), 30),
            ("with a whole group", parts(self.whole_groups), 3),
            ("with a pruned group", parts(self.pruned), 10),
        ];
        for (what, found, least) in share {
            assert!(found >= least, "{found} % of views {what}, at least {least} %: {self:?}");
        }
        assert!(self.applied > self.refused && self.refused > 0, "{self:?}");
        self.transitions.check();
        self.verdicts.check();
    }
}

fn group_of(key: &ItemKey) -> Option<Uid> {
    match key {
        ItemKey::Shard { group, .. } => Some(*group),
        _ => None,
    }
}
