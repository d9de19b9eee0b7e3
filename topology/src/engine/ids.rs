//! Dense identifiers and the slabs they index.

use super::api::HostId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

pub(super) use super::id_set::IdSet;
pub(super) use super::small_map::SmallMap;

/// Hash tables with a fixed seed: no run differs from another by hash order.
pub(super) type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;
/// Likewise for sets.
pub(super) type Set<K> = hashbrown::HashSet<K, foldhash::fast::FixedState>;

/// A dense identifier: an index into one slab.
pub(super) trait Id: Copy + Ord {
    fn index(self) -> u32;
    fn from_index(index: u32) -> Self;
}

impl Id for HostId {
    fn index(self) -> u32 {
        self.0
    }
    fn from_index(index: u32) -> HostId {
        HostId(index)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) struct $name(pub(super) u32);
        impl $crate::engine::ids::Id for $name {
            fn index(self) -> u32 {
                self.0
            }
            fn from_index(index: u32) -> $name {
                $name(index)
            }
        }
    )*};
}
pub(super) use ids;

ids! {
    /// A logical switch.
    SwitchId,
    /// A logical router.
    RouterId,
    /// A logical port.
    PortId,
    /// A group.
    GroupId,
    /// A service.
    ServiceId,
    /// A security policy.
    PolicyId,
    /// A label signature: the ports of one project with one set of labels.
    SignatureId,
    /// A routing domain.
    DomainId,
    /// The members of one group in one domain.
    ShardId,
    /// The ports of one host in one domain.
    PlacementId,
}

/// Values by dense identifier; identifiers of removed values are used again, the smallest first.
/// So which one is given out next depends only on which are in use, not on how that came about.
#[derive(Debug, Clone)]
pub(super) struct Slab<I, T> {
    entries: Vec<Option<T>>,
    free: BinaryHeap<Reverse<u32>>,
    of: PhantomData<I>,
}

impl<I, T> Default for Slab<I, T> {
    fn default() -> Slab<I, T> {
        Slab { entries: Vec::new(), free: BinaryHeap::new(), of: PhantomData }
    }
}

impl<I: Id, T> Slab<I, T> {
    pub(super) fn insert(&mut self, value: T) -> I {
        match self.free.pop() {
            Some(Reverse(index)) => {
                self.entries[index as usize] = Some(value);
                I::from_index(index)
            }
            None => {
                self.entries.push(Some(value));
                // 2^32 objects would need hundreds of gigabytes before this could wrap.
                I::from_index((self.entries.len() - 1) as u32)
            }
        }
    }

    pub(super) fn remove(&mut self, id: I) -> Option<T> {
        let value = self.entries[id.index() as usize].take();
        if value.is_some() {
            self.free.push(Reverse(id.index()));
        }
        value
    }

    pub(super) fn get(&self, id: I) -> Option<&T> {
        self.entries.get(id.index() as usize)?.as_ref()
    }

    /// The identifiers of all values are below this.
    pub(super) fn bound(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| Some((I::from_index(index as u32), entry.as_ref()?)))
    }
}

impl<I: Id, T> Index<I> for Slab<I, T> {
    type Output = T;
    /// Identifiers never leave the engine, and those that are kept are of live entries.
    fn index(&self, id: I) -> &T {
        match &self.entries[id.index() as usize] {
            Some(value) => value,
            None => panic!("identifier {} of a removed entry", id.index()),
        }
    }
}

impl<I: Id, T> IndexMut<I> for Slab<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        match &mut self.entries[id.index() as usize] {
            Some(value) => value,
            None => panic!("identifier {} of a removed entry", id.index()),
        }
    }
}
