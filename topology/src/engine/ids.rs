//! Dense identifiers, the slabs they index, and bitmaps of them.

use super::api::HostId;
use roaring::RoaringBitmap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

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
        impl Id for $name {
            fn index(self) -> u32 {
                self.0
            }
            fn from_index(index: u32) -> $name {
                $name(index)
            }
        }
    )*};
}

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

/// A set of identifiers of one type.
#[derive(Clone, PartialEq)]
pub(super) struct IdSet<I> {
    bitmap: RoaringBitmap,
    of: PhantomData<I>,
}

impl<I> Default for IdSet<I> {
    fn default() -> IdSet<I> {
        IdSet { bitmap: RoaringBitmap::new(), of: PhantomData }
    }
}

impl<I: Id + fmt::Debug> fmt::Debug for IdSet<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<I: Id> IdSet<I> {
    /// Adds an identifier; true if it was not there.
    pub(super) fn insert(&mut self, id: I) -> bool {
        self.bitmap.insert(id.index())
    }

    /// Takes an identifier out; true if it was there.
    pub(super) fn remove(&mut self, id: I) -> bool {
        self.bitmap.remove(id.index())
    }

    pub(super) fn contains(&self, id: I) -> bool {
        self.bitmap.contains(id.index())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bitmap.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.bitmap.len()
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = I> + '_ {
        self.bitmap.iter().map(I::from_index)
    }

    pub(super) fn union_with(&mut self, other: &IdSet<I>) {
        self.bitmap |= &other.bitmap;
    }

    pub(super) fn intersect_with(&mut self, other: &IdSet<I>) {
        self.bitmap &= &other.bitmap;
    }

    pub(super) fn subtract(&mut self, other: &IdSet<I>) {
        self.bitmap -= &other.bitmap;
    }

    /// The union of many, in one pass.
    pub(super) fn union_of<'a>(sets: impl IntoIterator<Item = &'a IdSet<I>>) -> IdSet<I>
    where
        I: 'a,
    {
        use roaring::MultiOps;
        IdSet { bitmap: sets.into_iter().map(|set| &set.bitmap).union(), of: PhantomData }
    }
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
