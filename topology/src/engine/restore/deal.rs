//! Values by what they belong to, for all of them at once.

use super::super::ids::Id;
use std::marker::PhantomData;

/// Values that were dealt out to identifiers, like cards: each has a hand, which may be empty.
///
/// A counting sort, which goes over the values twice and compares none of them. What is made of a hand
/// is made in one go and has the size it needs; values that are put one at a time into sets that lie
/// anywhere in memory take a cache miss each, or several.
#[derive(Debug)]
pub(super) struct Hands<I, T> {
    /// Where each hand starts in `values`, and where the last one ends.
    starts: Vec<usize>,
    values: Vec<T>,
    of: PhantomData<I>,
}

impl<I: Id, T: Copy + Default> Hands<I, T> {
    /// Deals values out to the identifiers below `bound`. In a hand they stay in their order.
    pub(super) fn deal<D: Iterator<Item = (I, T)>>(bound: u32, dealt: impl Fn() -> D) -> Self {
        let mut starts = vec![0; bound as usize + 1];
        for (id, _) in dealt() {
            starts[id.index() as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut values = vec![T::default(); starts[bound as usize]];
        for (id, value) in dealt() {
            let place = &mut next[id.index() as usize];
            values[*place] = value;
            *place += 1;
        }
        Hands { starts, values, of: PhantomData }
    }

    /// The hands that are not empty, by identifier.
    pub(super) fn iter(&self) -> impl Iterator<Item = (I, &[T])> {
        self.starts
            .windows(2)
            .enumerate()
            .map(|(index, ends)| (I::from_index(index as u32), &self.values[ends[0]..ends[1]]))
            .filter(|(_, hand)| !hand.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ids::PortId;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn hands_are_as_lists_in_a_map(
            dealt in proptest::collection::vec((0..20_u32, any::<u32>()), 0..100),
        ) {
            let mut lists: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for &(id, value) in &dealt {
                lists.entry(id).or_default().push(value);
            }
            let pairs = || dealt.iter().map(|&(id, value)| (PortId(id), value));
            let hands = Hands::deal(20, pairs);
            let found: BTreeMap<u32, Vec<u32>> =
                hands.iter().map(|(id, hand)| (id.0, hand.to_vec())).collect();
            prop_assert_eq!(found, lists);
        }
    }
}
