//! Where the addresses of a domain are.

use crate::model::Mac;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where one address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator {
    /// The address of the workload.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: Mac,
    /// The tunnel endpoint of its host.
    pub vtep: IpAddr,
}

/// The locators of a domain, sorted by address, no address twice.
///
/// Every host with a port in a domain holds all of them, so they are kept in columns: 8 bytes for an IPv4
/// address whose MAC address is derived from it, where a [`Locator`] takes 40. Equal ones have equal
/// columns.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Locators(LocatorColumns);

/// What [`Locators`] are made of. IPv4 addresses come first, in all columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocatorColumns {
    /// The IPv4 addresses, sorted, each once.
    pub v4: Vec<Ipv4Addr>,
    /// The IPv6 addresses, sorted, each once.
    pub v6: Vec<Ipv6Addr>,
    /// The VTEPs, sorted, each once; none that no locator has.
    pub vteps: Vec<IpAddr>,
    /// For each locator, the number of its VTEP in `vteps`.
    pub vtep_of: Vec<u32>,
    /// The numbers of the locators whose MAC address is not [derived](Mac::derived_from) from their
    /// address, ascending, with what it is.
    pub macs: Vec<(u32, Mac)>,
}

/// Columns that do not make locators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum ColumnsError {
    /// The addresses of a family.
    Addresses,
    /// The table of VTEPs.
    Vteps,
    /// A number of a VTEP, or how many there are.
    NoVtep,
    /// A VTEP.
    UnusedVtep,
    /// The numbers of explicit MAC addresses.
    Macs,
    /// An explicit MAC address.
    DerivedMac,
}

impl ColumnsError {
    /// What is wrong.
    pub fn as_str(self) -> &'static str {
        match self {
            ColumnsError::Addresses => "addresses are not sorted, or one is there twice",
            ColumnsError::Vteps => "VTEPs are not sorted, or one is there twice",
            ColumnsError::NoVtep => "a locator has a VTEP that is not in the table",
            ColumnsError::UnusedVtep => "a VTEP in the table has no locator",
            ColumnsError::Macs => "MAC addresses are not in the order of locators",
            ColumnsError::DerivedMac => "a MAC address is explicit though it is derived",
        }
    }
}

impl LocatorColumns {
    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// The address of the locator with a number below [`LocatorColumns::len`].
    fn address(&self, number: usize) -> IpAddr {
        match self.v4.get(number) {
            Some(address) => IpAddr::V4(*address),
            None => IpAddr::V6(self.v6[number - self.v4.len()]),
        }
    }

    fn check(&self) -> Result<(), ColumnsError> {
        let LocatorColumns { v4, v6, vteps, vtep_of, macs } = self;
        if !v4.is_sorted_by(|a, b| a < b) || !v6.is_sorted_by(|a, b| a < b) {
            return Err(ColumnsError::Addresses);
        }
        if !vteps.is_sorted_by(|a, b| a < b) {
            return Err(ColumnsError::Vteps);
        }
        let mut used = vec![false; vteps.len()];
        for number in vtep_of {
            *used.get_mut(*number as usize).ok_or(ColumnsError::NoVtep)? = true;
        }
        if vtep_of.len() != self.len() {
            return Err(ColumnsError::NoVtep);
        }
        if used.contains(&false) {
            return Err(ColumnsError::UnusedVtep);
        }
        let is_beyond = macs.last().is_some_and(|(last, _)| *last as usize >= self.len());
        if is_beyond || !macs.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(ColumnsError::Macs);
        }
        let is_derived =
            |(number, mac): &(u32, Mac)| *mac == Mac::derived_from(self.address(*number as usize));
        if macs.iter().any(is_derived) {
            return Err(ColumnsError::DerivedMac);
        }
        Ok(())
    }
}

impl Locators {
    /// Locators of their columns.
    ///
    /// # Errors
    /// What is wrong with the columns.
    pub fn from_columns(columns: LocatorColumns) -> Result<Locators, ColumnsError> {
        columns.check()?;
        Ok(Locators(columns))
    }

    /// The columns.
    pub fn columns(&self) -> &LocatorColumns {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The locator of an address.
    pub fn get(&self, address: IpAddr) -> Option<Locator> {
        let LocatorColumns { v4, v6, macs, .. } = &self.0;
        let number = match address {
            IpAddr::V4(address) => v4.binary_search(&address).ok()?,
            IpAddr::V6(address) => v4.len() + v6.binary_search(&address).ok()?,
        };
        let explicit = macs.binary_search_by_key(&number, |(number, _)| *number as usize);
        let mac = match explicit {
            Ok(at) => macs[at].1,
            Err(_) => Mac::derived_from(address),
        };
        Some(Locator { address, mac, vtep: self.vtep(number) })
    }

    /// Sorted by address.
    pub fn iter(&self) -> Iter<'_> {
        Iter { locators: self, next: 0, next_mac: 0 }
    }

    fn vtep(&self, number: usize) -> IpAddr {
        self.0.vteps[self.0.vtep_of[number] as usize]
    }
}

impl fmt::Debug for Locators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The locators of a domain, sorted by address.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    locators: &'a Locators,
    next: usize,
    /// The next of the explicit MAC addresses.
    next_mac: usize,
}

impl Iterator for Iter<'_> {
    type Item = Locator;

    fn next(&mut self) -> Option<Locator> {
        let number = self.next;
        if number == self.locators.len() {
            return None;
        }
        self.next += 1;
        let address = self.locators.0.address(number);
        let mac = match self.locators.0.macs.get(self.next_mac) {
            Some((of, mac)) if *of as usize == number => {
                self.next_mac += 1;
                *mac
            }
            _ => Mac::derived_from(address),
        };
        Some(Locator { address, mac, vtep: self.locators.vtep(number) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.locators.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Locators {
    type Item = Locator;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<Locator> for Locators {
    /// Locators in any order. Of two for one address the first in their own order is kept.
    fn from_iter<T: IntoIterator<Item = Locator>>(locators: T) -> Locators {
        let mut locators = locators.into_iter();
        let mut building = Building::default();
        while let Some(locator) = locators.next() {
            if !building.push(locator) {
                let before = building.finish();
                let mut list: Vec<Locator> =
                    before.iter().chain([locator]).chain(locators).collect();
                list.sort_unstable();
                list.dedup_by_key(|locator| locator.address);
                return list.into_iter().collect();
            }
        }
        building.finish()
    }
}

/// Locators that come in order.
#[derive(Default)]
struct Building {
    /// Complete, but for the order of the VTEPs.
    columns: LocatorColumns,
    vteps: HashMap<IpAddr, u32, FixedState>,
}

impl Building {
    /// Adds a locator; false if it does not come after those that are there.
    fn push(&mut self, locator: Locator) -> bool {
        let LocatorColumns { v4, v6, vteps, vtep_of, macs } = &mut self.columns;
        let Locator { address, mac, vtep } = locator;
        match address {
            IpAddr::V4(address) if v6.is_empty() && v4.last() < Some(&address) => v4.push(address),
            IpAddr::V6(address) if v6.last() < Some(&address) => v6.push(address),
            IpAddr::V4(_) | IpAddr::V6(_) => return false,
        }
        if mac != Mac::derived_from(address) {
            macs.push((vtep_of.len() as u32, mac));
        }
        vtep_of.push(*self.vteps.entry(vtep).or_insert_with(|| {
            vteps.push(vtep);
            vteps.len() as u32 - 1
        }));
        true
    }

    fn finish(self) -> Locators {
        let mut columns = self.columns;
        let mut order: Vec<u32> = (0..columns.vteps.len() as u32).collect();
        order.sort_unstable_by_key(|&number| columns.vteps[number as usize]);
        if !order.is_sorted() {
            columns.vteps = order.iter().map(|&old| columns.vteps[old as usize]).collect();
            let mut new_of = vec![0; order.len()];
            for (new, &old) in (0..).zip(&order) {
                new_of[old as usize] = new;
            }
            columns.vtep_of.iter_mut().for_each(|number| *number = new_of[*number as usize]);
        }
        // They are held for long, and grew by doubling.
        columns.v4.shrink_to_fit();
        columns.v6.shrink_to_fit();
        columns.vteps.shrink_to_fit();
        columns.vtep_of.shrink_to_fit();
        columns.macs.shrink_to_fit();
        Locators(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn mk_locator((is_v6, host, is_derived, vtep): (bool, u8, bool, u8)) -> Locator {
        let mk_address = |is_v6: bool, low: u8| match is_v6 {
            true => IpAddr::V6(Ipv6Addr::from(u128::from(low))),
            false => IpAddr::V4(Ipv4Addr::new(10, 0, 0, low)),
        };
        let address = mk_address(is_v6, host);
        let derived = Mac::derived_from(address);
        let explicit = Mac::new([2, 0, 0, 0, 0, vtep]).unwrap_or(derived);
        Locator {
            address,
            mac: if is_derived { derived } else { explicit },
            vtep: mk_address(vtep % 2 == 1, vtep),
        }
    }

    fn locators() -> impl Strategy<Value = Vec<Locator>> {
        vec((any::<bool>(), 0..20_u8, any::<bool>(), 0..6_u8).prop_map(mk_locator), 0..30)
    }

    proptest! {
        #[test]
        fn columns_hold_what_a_list_does(list in locators()) {
            let columns: Locators = list.iter().copied().collect();
            let mut sorted = list;
            sorted.sort_unstable();
            sorted.dedup_by_key(|locator| locator.address);
            prop_assert_eq!(columns.iter().collect::<Vec<_>>(), sorted.clone());
            prop_assert_eq!(columns.len(), sorted.len());
            prop_assert_eq!(columns.is_empty(), sorted.is_empty());
            // There is one form: that of the sorted list, which is the form that is checked for.
            prop_assert_eq!(&sorted.iter().copied().collect::<Locators>(), &columns);
            let checked = Locators::from_columns(columns.columns().clone());
            prop_assert_eq!(checked.as_ref(), Ok(&columns));
            for locator in &sorted {
                prop_assert_eq!(columns.get(locator.address), Some(*locator));
            }
            prop_assert_eq!(columns.get(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99))), None);
            prop_assert_eq!(columns.get(IpAddr::V6(Ipv6Addr::from(99_u128))), None);
        }

        #[test]
        fn other_lists_have_other_columns(one in locators(), other in locators()) {
            let [one, other] = [one, other].map(|list| list.into_iter().collect::<Locators>());
            prop_assert_eq!(one == other, one.iter().eq(other.iter()));
        }
    }

    #[test]
    fn columns_that_are_no_locators_are_refused() {
        let list = [(false, 1, true, 2), (false, 2, false, 4), (true, 1, true, 2)];
        let good: Locators = list.map(mk_locator).into_iter().collect();
        let good = good.columns();
        type Spoil = fn(&mut LocatorColumns);
        let cases: [(Spoil, ColumnsError); 10] = [
            (|columns| columns.v4.swap(0, 1), ColumnsError::Addresses),
            (|columns| columns.v6.push(columns.v6[0]), ColumnsError::Addresses),
            (|columns| columns.vteps.swap(0, 1), ColumnsError::Vteps),
            (|columns| columns.vtep_of[2] = 2, ColumnsError::NoVtep),
            (|columns| columns.vtep_of.truncate(2), ColumnsError::NoVtep),
            (|columns| columns.vtep_of.push(0), ColumnsError::NoVtep),
            (|columns| columns.vtep_of.fill(0), ColumnsError::UnusedVtep),
            (|columns| columns.macs.push(columns.macs[0]), ColumnsError::Macs),
            (|columns| columns.macs[0].0 = 3, ColumnsError::Macs),
            (
                |columns| columns.macs[0].1 = Mac::derived_from(columns.address(1)),
                ColumnsError::DerivedMac,
            ),
        ];
        for (n, (spoil, expected)) in cases.into_iter().enumerate() {
            let mut columns = good.clone();
            spoil(&mut columns);
            assert_eq!(Locators::from_columns(columns), Err(expected), "case {n}");
        }
    }
}
