//! Maps that are mostly tiny: a few entries in a sorted list, many in a hash table.
//!
//! An applied group usually has ports at a handful of places and a few peers, and there can be
//! a hundred thousand such groups. A list costs one small allocation where a hash table costs a
//! large one; past [`FEW_MAX`] entries the table is faster.

use super::ids::Map;
use smallvec::SmallVec;
use std::hash::Hash;

/// The most entries that are kept in a list.
const FEW_MAX: usize = 16;
/// Entries that need no allocation at all.
const IN_PLACE: usize = 1;

/// A map from small copyable keys. It iterates in no order that matters: whoever needs one sorts.
#[derive(Debug)]
pub(super) enum SmallMap<K, V> {
    /// Sorted by key.
    Few(SmallVec<[(K, V); IN_PLACE]>),
    Many(Box<Map<K, V>>),
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> SmallMap<K, V> {
        SmallMap::Few(SmallVec::new())
    }
}

impl<K: Copy + Ord + Hash, V: Default> SmallMap<K, V> {
    pub(super) fn get(&self, key: K) -> Option<&V> {
        match self {
            SmallMap::Few(list) => {
                let at = list.binary_search_by_key(&key, |entry| entry.0).ok()?;
                Some(&list[at].1)
            }
            SmallMap::Many(table) => table.get(&key),
        }
    }

    pub(super) fn contains_key(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key, which is entered if it is not there.
    pub(super) fn entry_or_default(&mut self, key: K) -> &mut V {
        if let SmallMap::Few(list) = self
            && list.len() == FEW_MAX
            && list.binary_search_by_key(&key, |entry| entry.0).is_err()
        {
            let table: Map<K, V> = list.drain(..).collect();
            *self = SmallMap::Many(Box::new(table));
        }
        match self {
            SmallMap::Few(list) => {
                let at = match list.binary_search_by_key(&key, |entry| entry.0) {
                    Ok(at) => at,
                    Err(at) => {
                        list.insert(at, (key, V::default()));
                        at
                    }
                };
                &mut list[at].1
            }
            SmallMap::Many(table) => table.entry(key).or_default(),
        }
    }

    pub(super) fn remove(&mut self, key: K) {
        match self {
            SmallMap::Few(list) => {
                if let Ok(at) = list.binary_search_by_key(&key, |entry| entry.0) {
                    list.remove(at);
                }
            }
            SmallMap::Many(table) => {
                table.remove(&key);
                if table.is_empty() {
                    *self = SmallMap::default();
                }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let (few, many) = match self {
            SmallMap::Few(list) => (Some(list.iter().map(|(key, value)| (*key, value))), None),
            SmallMap::Many(table) => (None, Some(table.iter().map(|(key, value)| (*key, value)))),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = K> + use<'_, K, V> {
        self.iter().map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Any sequence of additions and removals leaves what it leaves in a standard map.
        #[test]
        fn maps_are_as_the_standard_ones(
            steps in proptest::collection::vec((0..40_u32, any::<bool>()), 0..200),
        ) {
            let mut map: SmallMap<u32, u32> = SmallMap::default();
            let mut standard: BTreeMap<u32, u32> = BTreeMap::new();
            for (key, add) in steps {
                if add {
                    *map.entry_or_default(key) += 1;
                    *standard.entry(key).or_default() += 1;
                } else {
                    map.remove(key);
                    standard.remove(&key);
                }
                prop_assert_eq!(map.get(key), standard.get(&key));
                prop_assert_eq!(map.contains_key(key), standard.contains_key(&key));
                let mut entries: Vec<(u32, u32)> = map.iter().map(|(k, v)| (k, *v)).collect();
                entries.sort_unstable();
                prop_assert_eq!(entries, standard.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }
}
