//! The truth: what exists at each revision, and who has it.

use bytes::Bytes;
use spanwire_hostproto::log::{ToldRanges, Updates};
use spanwire_hostproto::{ChangeLog, ClusterId, ViewSource};
use spanwire_topology::engine::{ItemChange, ItemChangeKind};
use spanwire_topology::model::{DefaultActions, Direction, Mac, Revision, Uid, Vni};
use spanwire_topology::view::{
    HostView, Item, ItemDelta, ItemKey, Locator, PolicyItem, RuleItem, VersionedItem,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) const HOSTS: usize = 2;

/// Shards and locators change by deltas; the second shard and the locators have many members, all but a
/// few of which are always there. Policies change whole, and are so long that two of them do not fit one
/// part of a batch.
const KEYS: [ItemKey; 6] = [
    ItemKey::Shard { group: Uid(1), domain: Vni(1) },
    ItemKey::Shard { group: Uid(2), domain: Vni(1) },
    ItemKey::Locators(Vni(1)),
    ItemKey::Policy(Uid(1)),
    ItemKey::Policy(Uid(2)),
    ItemKey::Policy(Uid(3)),
];

/// A change, which may turn out to be none.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    /// An address of an item comes or goes; the item is made if it is not there.
    Toggle { item: usize, number: u8 },
    /// An item becomes another.
    Replace { item: usize, seed: u8 },
    /// An item goes.
    Remove { item: usize },
    /// A host gets an item, or has it no more.
    Span { host: usize, item: usize },
}

#[derive(Clone, Default)]
struct State {
    items: BTreeMap<ItemKey, VersionedItem>,
    spans: [BTreeSet<ItemKey>; HOSTS],
}

#[derive(Clone, Default)]
pub(crate) struct Changes {
    pub(crate) items: Vec<ItemChange>,
    /// What each host gained and lost.
    pub(crate) hosts: [(Vec<ItemKey>, Vec<ItemKey>); HOSTS],
}

/// States and changes by revision. The first is 1, and empty.
pub(crate) struct History {
    states: Vec<State>,
    changes: Vec<Changes>,
}

/// Members of a long list that are always there: enough to be sent by ranges.
const MEMBERS: u16 = 700;

/// Those that come and go lie between those that are always there.
fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 40 * number, 0, 0])
}

fn always() -> impl Iterator<Item = IpAddr> {
    (0..MEMBERS).map(|number| {
        let [high, low] = (number * 89).to_be_bytes();
        IpAddr::from([10, high, low, 1])
    })
}

fn locator(number: u8, host: u8) -> Locator {
    locator_of(address(number), host)
}

fn locator_of(address: IpAddr, host: u8) -> Locator {
    Locator { address, mac: Mac::derived_from(address), vtep: IpAddr::from([192, 168, 0, host]) }
}

fn policy(seed: u8) -> Item {
    let name: String = std::iter::repeat_n('r', 40_000).collect();
    let rule = RuleItem {
        name: Some(name.into()),
        direction: Direction::In,
        peers: None,
        services: None,
        action: spanwire_topology::model::Action::Allow,
        log: false,
    };
    Item::Policy(PolicyItem {
        project: "p".into(),
        name: "n".into(),
        applied_to: Vec::new(),
        tier: 500,
        priority: seed.into(),
        defaults: DefaultActions::default(),
        rules: vec![rule],
    })
}

fn whole(key: ItemKey, seed: u8) -> Item {
    let numbers = (0..6).filter(|bit| seed & 1 << bit != 0);
    match key {
        ItemKey::Shard { group: Uid(1), .. } => Item::Shard(numbers.map(address).collect()),
        ItemKey::Shard { .. } => {
            let mut addresses: Vec<IpAddr> = always().chain(numbers.map(address)).collect();
            addresses.sort_unstable();
            Item::Shard(addresses)
        }
        ItemKey::Locators(_) => {
            let always = always().map(|address| locator_of(address, 0));
            let locators = always.chain(numbers.map(|n| locator(n, seed >> 6)));
            Item::Locators(locators.collect())
        }
        _ => policy(seed),
    }
}

/// An item with one address more or less, and the difference.
fn toggled(item: &Item, number: u8) -> (Item, ItemChangeKind) {
    let address = address(number);
    match item {
        Item::Shard(addresses) => {
            let mut addresses = addresses.clone();
            let (mut removed, mut added) = (vec![], vec![]);
            match addresses.binary_search(&address) {
                Ok(at) => removed.push(addresses.remove(at)),
                Err(at) => {
                    addresses.insert(at, address);
                    added.push(address);
                }
            }
            let delta = ItemDelta::Shard { removed, added };
            (Item::Shard(addresses), ItemChangeKind::Delta(delta))
        }
        Item::Locators(locators) => {
            let mut locators: Vec<Locator> = locators.iter().collect();
            let (mut removed, mut added) = (vec![], vec![]);
            // Comes to the first host, moves to the second, goes.
            match locators.binary_search_by_key(&address, |locator| locator.address) {
                Ok(at) if locators[at] == locator(number, 0) => {
                    locators[at] = locator(number, 1);
                    added.push(locators[at]);
                }
                Ok(at) => removed.push(locators.remove(at).address),
                Err(at) => {
                    locators.insert(at, locator(number, 0));
                    added.push(locator(number, 0));
                }
            }
            let delta = ItemDelta::Locators { removed, added };
            (Item::Locators(locators.into_iter().collect()), ItemChangeKind::Delta(delta))
        }
        _ => (policy(number), ItemChangeKind::Replaced),
    }
}

/// The item with something in it that is not true.
pub(crate) fn falsify(item: &Item) -> Item {
    match item {
        Item::Policy(policy) => {
            Item::Policy(PolicyItem { tier: policy.tier ^ 1, ..policy.clone() })
        }
        item => toggled(item, 5).0,
    }
}

impl History {
    pub(crate) fn new() -> History {
        // Revision 0 stands for nothing, so that a revision is an index.
        let two = || vec![State::default(), State::default()];
        History { states: two(), changes: vec![Changes::default(), Changes::default()] }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.states.len() as Revision - 1
    }

    pub(crate) fn changes(&self, revision: Revision) -> Changes {
        self.changes[revision as usize].clone()
    }

    pub(crate) fn has(&self, revision: Revision, host: usize, key: ItemKey) -> bool {
        self.states[revision as usize].spans[host].contains(&key)
    }

    /// The view of a host at a revision, by definition.
    pub(crate) fn view(&self, revision: Revision, host: usize) -> HostView {
        let state = &self.states[revision as usize];
        let items = state.spans[host].iter().map(|key| (*key, state.items[key].clone()));
        HostView { revision, items: items.collect() }
    }

    /// Commits a transaction. At most one change of an item is in it.
    pub(crate) fn commit(&mut self, mutations: &[Mutation]) {
        let revision = self.states.len() as Revision;
        let before = self.states.last().cloned().unwrap_or_default();
        let mut after = before.clone();
        let mut items: Vec<ItemChange> = Vec::new();
        for mutation in mutations {
            match mutation {
                Mutation::Toggle { item, number } => {
                    change(&mut after, &mut items, revision, KEYS[*item], |now| {
                        Some(toggled(now, *number))
                    });
                }
                Mutation::Replace { item, seed } => {
                    let key = KEYS[*item];
                    change(&mut after, &mut items, revision, key, |_| {
                        Some((whole(key, *seed), ItemChangeKind::Replaced))
                    });
                }
                Mutation::Remove { item } => {
                    change(&mut after, &mut items, revision, KEYS[*item], |_| None);
                }
                Mutation::Span { host, item } => {
                    let key = KEYS[*item];
                    let span = &mut after.spans[*host];
                    if !span.remove(&key) && after.items.contains_key(&key) {
                        span.insert(key);
                    }
                }
            }
        }
        items.sort_by_key(|change| change.key);
        let hosts = [0, 1].map(|host| {
            let (then, now) = (&before.spans[host], &after.spans[host]);
            (now.difference(then).copied().collect(), then.difference(now).copied().collect())
        });
        self.states.push(after);
        self.changes.push(Changes { items, hosts });
    }
}

/// Changes an item, unless this transaction already did.
fn change(
    state: &mut State,
    changes: &mut Vec<ItemChange>,
    revision: Revision,
    key: ItemKey,
    to: impl FnOnce(&Item) -> Option<(Item, ItemChangeKind)>,
) {
    if changes.iter().any(|change| change.key == key) {
        return;
    }
    let before = state.items.get(&key).cloned();
    let previous_version = before.as_ref().map_or(0, |item| item.version);
    let nothing = whole(key, 0);
    let after = to(before.as_ref().map_or(&nothing, |item| &item.item));
    let kind = match (before, after) {
        (None, None) => return,
        (Some(_), None) => {
            state.items.remove(&key);
            for span in &mut state.spans {
                span.remove(&key);
            }
            ItemChangeKind::Removed
        }
        (before, Some((item, kind))) => {
            let item = VersionedItem { version: revision, item: Arc::new(item) };
            state.items.insert(key, item);
            if before.is_none() { ItemChangeKind::Created } else { kind }
        }
    };
    changes.push(ItemChange { key, previous_version, kind });
}

/// The source of a host at a replica, in the way of `EngineSource`.
pub(crate) struct Source<'a> {
    history: &'a History,
    revision: Revision,
    host: usize,
    log: &'a mut ChangeLog,
}

pub(crate) fn mk_source<'a>(
    history: &'a History,
    revision: Revision,
    host: usize,
    log: &'a mut ChangeLog,
) -> Source<'a> {
    Source { history, revision, host, log }
}

impl Source<'_> {
    fn state(&self) -> &State {
        &self.history.states[self.revision as usize]
    }
}

impl ViewSource for Source<'_> {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn cluster_id(&self) -> ClusterId {
        super::CLUSTER
    }

    fn host_items(&self) -> Vec<(ItemKey, Revision)> {
        let state = self.state();
        state.spans[self.host].iter().map(|key| (*key, state.items[key].version)).collect()
    }

    fn full(&mut self, key: ItemKey) -> Option<(Revision, Bytes)> {
        let item = self.state().items.get(&key).cloned();
        self.log.full(key, || item)
    }

    fn updates(&mut self, key: ItemKey, held: Revision) -> Option<Updates> {
        let item = self.state().items.get(&key).cloned();
        self.log.updates_or_full(key, held, || item)
    }

    fn is_past_history(&self, key: ItemKey, held: Revision) -> bool {
        !self.log.reaches(key, held)
    }

    fn updates_by_ranges(
        &mut self,
        key: ItemKey,
        held: Revision,
        told: &ToldRanges,
    ) -> Option<Updates> {
        let item = self.state().items.get(&key).cloned();
        self.log.updates_by_ranges(key, held, told, || item)
    }
}
