//! Sets of dense identifiers: a few in place, many in a compressed bitmap.
//!
//! Most sets of a large network are tiny (the members of a shard, the hosts that subscribe to it)
//! and some are huge. A bitmap costs two allocations and some 100 bytes before its first member, so
//! up to [`FEW_MAX`] identifiers are kept in place, sorted, in the room that the bitmap's own
//! header would take.

use super::ids::Id;
use roaring::RoaringBitmap;
use std::fmt;
use std::marker::PhantomData;

/// The most identifiers that are kept in place: what fits the size of a bitmap's header.
const FEW_MAX: usize = 6;

/// A set of identifiers of one type, which iterates in ascending order.
#[derive(Clone)]
pub(super) struct IdSet<I> {
    ids: Ids,
    of: PhantomData<I>,
}

#[derive(Clone)]
enum Ids {
    /// The first `len` of `ids`, sorted.
    Few {
        len: u8,
        ids: [u32; FEW_MAX],
    },
    Many(RoaringBitmap),
}

impl<I> Default for IdSet<I> {
    fn default() -> IdSet<I> {
        IdSet { ids: Ids::Few { len: 0, ids: [0; FEW_MAX] }, of: PhantomData }
    }
}

impl<I: Id> PartialEq for IdSet<I> {
    /// Equal if they hold the same, however they hold it.
    fn eq(&self, other: &IdSet<I>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<I: Id + fmt::Debug> fmt::Debug for IdSet<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The identifiers of a set, ascending.
pub(super) struct Iter<'a, I> {
    ids: IdsIter<'a>,
    of: PhantomData<I>,
}

enum IdsIter<'a> {
    Few(std::slice::Iter<'a, u32>),
    Many(roaring::bitmap::Iter<'a>),
}

impl<I: Id> Iterator for Iter<'_, I> {
    type Item = I;

    fn next(&mut self) -> Option<I> {
        match &mut self.ids {
            IdsIter::Few(ids) => ids.next().copied().map(I::from_index),
            IdsIter::Many(ids) => ids.next().map(I::from_index),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.ids {
            IdsIter::Few(ids) => ids.size_hint(),
            IdsIter::Many(ids) => ids.size_hint(),
        }
    }
}

impl<I: Id> IdSet<I> {
    fn of_ids(ids: Ids) -> IdSet<I> {
        IdSet { ids, of: PhantomData }
    }

    /// A set of identifiers in any order.
    pub(super) fn from_unsorted(mut ids: Vec<u32>) -> IdSet<I> {
        ids.sort_unstable();
        ids.dedup();
        IdSet::from_sorted(&ids)
    }

    /// A set of identifiers that are sorted, each there once.
    pub(super) fn from_sorted(ids: &[u32]) -> IdSet<I> {
        debug_assert!(ids.is_sorted_by(|a, b| a < b));
        if ids.len() > FEW_MAX {
            // Refused if they are not sorted, and then added one by one: nothing is left out.
            let bitmap = RoaringBitmap::from_sorted_iter(ids.iter().copied())
                .unwrap_or_else(|_| ids.iter().copied().collect());
            return IdSet::of_ids(Ids::Many(bitmap));
        }
        let mut few = [0; FEW_MAX];
        few[..ids.len()].copy_from_slice(ids);
        IdSet::of_ids(Ids::Few { len: ids.len() as u8, ids: few })
    }

    /// Adds an identifier; true if it was not there.
    pub(super) fn insert(&mut self, id: I) -> bool {
        match &mut self.ids {
            Ids::Many(bitmap) => bitmap.insert(id.index()),
            Ids::Few { len, ids } => {
                let used = usize::from(*len);
                let Err(at) = ids[..used].binary_search(&id.index()) else { return false };
                if used < FEW_MAX {
                    ids.copy_within(at..used, at + 1);
                    ids[at] = id.index();
                    *len += 1;
                } else {
                    let mut bitmap: RoaringBitmap = ids.iter().copied().collect();
                    bitmap.insert(id.index());
                    self.ids = Ids::Many(bitmap);
                }
                true
            }
        }
    }

    /// Takes an identifier out; true if it was there.
    pub(super) fn remove(&mut self, id: I) -> bool {
        match &mut self.ids {
            Ids::Many(bitmap) => {
                let removed = bitmap.remove(id.index());
                if bitmap.is_empty() {
                    *self = IdSet::default();
                }
                removed
            }
            Ids::Few { len, ids } => {
                let used = usize::from(*len);
                let Ok(at) = ids[..used].binary_search(&id.index()) else { return false };
                ids.copy_within(at + 1..used, at);
                *len -= 1;
                true
            }
        }
    }

    pub(super) fn contains(&self, id: I) -> bool {
        match &self.ids {
            Ids::Many(bitmap) => bitmap.contains(id.index()),
            Ids::Few { len, ids } => ids[..usize::from(*len)].contains(&id.index()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.ids {
            Ids::Many(bitmap) => bitmap.is_empty(),
            Ids::Few { len, .. } => *len == 0,
        }
    }

    pub(super) fn len(&self) -> u64 {
        match &self.ids {
            Ids::Many(bitmap) => bitmap.len(),
            Ids::Few { len, .. } => u64::from(*len),
        }
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> Iter<'_, I> {
        let ids = match &self.ids {
            Ids::Many(bitmap) => IdsIter::Many(bitmap.iter()),
            Ids::Few { len, ids } => IdsIter::Few(ids[..usize::from(*len)].iter()),
        };
        Iter { ids, of: PhantomData }
    }

    pub(super) fn union_with(&mut self, other: &IdSet<I>) {
        match (&mut self.ids, &other.ids) {
            (Ids::Many(bitmap), Ids::Many(other)) => *bitmap |= other,
            (Ids::Few { .. }, Ids::Many(many)) => {
                let mut bitmap = many.clone();
                bitmap.extend(self.iter().map(I::index));
                self.ids = Ids::Many(bitmap);
            }
            (_, Ids::Few { .. }) => {
                for id in other.iter() {
                    self.insert(id);
                }
            }
        }
    }

    pub(super) fn intersect_with(&mut self, other: &IdSet<I>) {
        match (&mut self.ids, &other.ids) {
            (Ids::Many(bitmap), Ids::Many(other)) => *bitmap &= other,
            (Ids::Many(bitmap), Ids::Few { .. }) => {
                let common = other.iter().map(I::index).filter(|&id| bitmap.contains(id)).collect();
                *self = IdSet::from_unsorted(common);
            }
            (Ids::Few { .. }, _) => self.retain_few(|id| other.contains(id)),
        }
    }

    pub(super) fn subtract(&mut self, other: &IdSet<I>) {
        match (&mut self.ids, &other.ids) {
            (Ids::Many(bitmap), Ids::Many(other)) => *bitmap -= other,
            (Ids::Many(_), Ids::Few { .. }) => {
                for id in other.iter() {
                    self.remove(id);
                }
            }
            (Ids::Few { .. }, _) => self.retain_few(|id| !other.contains(id)),
        }
    }

    /// Keeps what `keep` says of the identifiers that are kept in place.
    fn retain_few(&mut self, keep: impl Fn(I) -> bool) {
        let Ids::Few { len, ids } = &mut self.ids else { return };
        let mut kept = 0;
        for at in 0..usize::from(*len) {
            if keep(I::from_index(ids[at])) {
                ids[kept] = ids[at];
                kept += 1;
            }
        }
        *len = kept as u8;
    }

    /// The union of many, in one pass.
    pub(super) fn union_of<'a>(sets: impl IntoIterator<Item = &'a IdSet<I>>) -> IdSet<I>
    where
        I: 'a,
    {
        use roaring::MultiOps;
        let mut sets = sets.into_iter();
        let Some(first) = sets.next() else { return IdSet::default() };
        let Some(second) = sets.next() else { return first.clone() };
        let mut few: Vec<u32> = Vec::new();
        let mut many: Vec<&RoaringBitmap> = Vec::new();
        for set in [first, second].into_iter().chain(sets) {
            match &set.ids {
                Ids::Many(bitmap) => many.push(bitmap),
                Ids::Few { .. } => few.extend(set.iter().map(I::index)),
            }
        }
        let few = IdSet::from_unsorted(few);
        if many.is_empty() {
            return few;
        }
        let mut union = IdSet::of_ids(Ids::Many(many.into_iter().union()));
        union.union_with(&few);
        union
    }
}

impl<I: Id> FromIterator<I> for IdSet<I> {
    fn from_iter<T: IntoIterator<Item = I>>(ids: T) -> IdSet<I> {
        IdSet::from_unsorted(ids.into_iter().map(I::index).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::PortId;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn mk_set(ids: &BTreeSet<u32>) -> IdSet<PortId> {
        ids.iter().map(|&id| PortId(id)).collect()
    }

    /// A set with the same members that has been larger, so that it is a bitmap.
    fn mk_grown(ids: &BTreeSet<u32>) -> IdSet<PortId> {
        let mut set = mk_set(ids);
        let others: Vec<PortId> = (1_000_000..1_000_010).map(PortId).collect();
        others.iter().for_each(|&id| assert!(set.insert(id)));
        others.iter().for_each(|&id| assert!(set.remove(id)));
        set
    }

    fn ids_of(set: &IdSet<PortId>) -> Vec<u32> {
        set.iter().map(|id| id.0).collect()
    }

    fn members() -> impl Strategy<Value = BTreeSet<u32>> {
        proptest::collection::btree_set(0..24_u32, 0..16)
    }

    proptest! {
        /// Both ways of holding a set answer as the standard library's sets do.
        #[test]
        fn sets_are_as_the_standard_ones(a in members(), b in members(), id in 0..24_u32) {
            for make_a in [mk_set, mk_grown] {
                for make_b in [mk_set, mk_grown] {
                    let (one, two) = (make_a(&a), make_b(&b));
                    prop_assert_eq!(&one, &mk_set(&a));
                    prop_assert_eq!(one.len(), a.len() as u64);
                    prop_assert_eq!(one.is_empty(), a.is_empty());
                    prop_assert_eq!(one.contains(PortId(id)), a.contains(&id));
                    prop_assert_eq!(one == two, a == b);
                    let mut with = one.clone();
                    with.union_with(&two);
                    let expected: Vec<u32> = a.union(&b).copied().collect();
                    prop_assert_eq!(ids_of(&with), expected.clone());
                    prop_assert_eq!(ids_of(&IdSet::union_of([&one, &two])), expected);
                    let mut common = one.clone();
                    common.intersect_with(&two);
                    let expected: Vec<u32> = a.intersection(&b).copied().collect();
                    prop_assert_eq!(ids_of(&common), expected);
                    let mut rest = one.clone();
                    rest.subtract(&two);
                    let expected: Vec<u32> = a.difference(&b).copied().collect();
                    prop_assert_eq!(ids_of(&rest), expected);
                    let (mut set, mut standard) = (one.clone(), a.clone());
                    prop_assert_eq!(set.insert(PortId(id)), standard.insert(id));
                    prop_assert_eq!(ids_of(&set), standard.iter().copied().collect::<Vec<_>>());
                    prop_assert_eq!(set.remove(PortId(id)), standard.remove(&id));
                    prop_assert_eq!(ids_of(&set), standard.iter().copied().collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn a_set_is_no_larger_than_a_bitmap_and_its_tag() {
        assert!(size_of::<IdSet<PortId>>() <= size_of::<RoaringBitmap>() + 8);
    }
}
