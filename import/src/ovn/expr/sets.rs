//! Sets of small numbers: port numbers, and everything that fits a byte.

use spanwire_topology::model::PortRange;
use std::fmt;

/// A set of port numbers, as sorted, disjoint and non-adjacent ranges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    /// All port numbers.
    pub fn all() -> PortSet {
        PortSet(vec![(0, u16::MAX)])
    }

    /// The union of inclusive ranges; empty ones count for nothing.
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>) -> PortSet {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => joined.push((first, last)),
            }
        }
        PortSet(joined)
    }

    /// The ranges, sorted.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// True if there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if it has every port number.
    pub fn is_all(&self) -> bool {
        self.0 == [(0, u16::MAX)]
    }

    /// True if it has the port number.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// What is not in it.
    pub fn complement(&self) -> PortSet {
        let mut gaps = Vec::new();
        let mut next = Some(0);
        for (first, last) in &self.0 {
            if let (Some(next), Some(before)) = (next, first.checked_sub(1)) {
                gaps.push((next, before));
            }
            next = last.checked_add(1);
        }
        gaps.extend(next.map(|next| (next, u16::MAX)));
        PortSet::new(gaps)
    }

    /// What is in both.
    pub fn intersection(&self, other: &PortSet) -> PortSet {
        let (mut left, mut right, mut both) = (0, 0, Vec::new());
        while let (Some(a), Some(b)) = (self.0.get(left), other.0.get(right)) {
            both.push((a.0.max(b.0), a.1.min(b.1)));
            match a.1 < b.1 {
                true => left += 1,
                false => right += 1,
            }
        }
        PortSet::new(both)
    }

    /// The ranges for a service: empty if it has every port number, as a service has it.
    pub fn to_service(&self) -> Vec<PortRange> {
        if self.is_all() {
            return Vec::new();
        }
        self.0.iter().filter_map(|(first, last)| PortRange::new(*first, *last)).collect()
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "," })?;
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// A set of numbers from 0 to 255: IP protocols, ICMP types and codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes([u128; 2]);

impl Bytes {
    /// All numbers.
    pub const ALL: Bytes = Bytes([u128::MAX; 2]);

    /// The set of some numbers.
    pub fn new(numbers: impl IntoIterator<Item = u8>) -> Bytes {
        let mut set = Bytes([0; 2]);
        for number in numbers {
            set.0[usize::from(number >> 7)] |= 1 << (number & 127);
        }
        set
    }

    /// True if it has the number.
    pub fn contains(self, number: u8) -> bool {
        self.0[usize::from(number >> 7)] >> (number & 127) & 1 == 1
    }

    /// True if there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 2]
    }

    /// What is not in it.
    pub fn complement(self) -> Bytes {
        Bytes([!self.0[0], !self.0[1]])
    }

    /// What is in both.
    pub fn intersection(self, other: Bytes) -> Bytes {
        Bytes([self.0[0] & other.0[0], self.0[1] & other.0[1]])
    }

    /// The numbers, sorted.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |number| self.contains(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_join_when_they_touch() {
        assert_eq!(PortSet::new([(5, 9), (1, 2), (3, 4), (20, 19)]).to_string(), "1-9");
        assert_eq!(PortSet::all().complement(), PortSet::new([]));
        assert!(PortSet::new([]).complement().is_all());
        assert_eq!(PortSet::new([(0, 0), (65535, 65535)]).complement().to_string(), "1-65534");
    }

    fn any_ports() -> impl Strategy<Value = PortSet> {
        prop::collection::vec((0u16..40, 0u16..40), 0..5).prop_map(PortSet::new)
    }

    proptest! {
        #[test]
        fn port_sets_are_sets(a in any_ports(), b in any_ports(), port in 0u16..45) {
            prop_assert_eq!(a.complement().contains(port), !a.contains(port));
            prop_assert_eq!(
                a.intersection(&b).contains(port), a.contains(port) && b.contains(port));
            prop_assert_eq!(a.complement().complement(), a);
        }

        #[test]
        fn byte_sets_are_sets(a: Vec<u8>, b: Vec<u8>, number: u8) {
            let (x, y) = (Bytes::new(a.clone()), Bytes::new(b.clone()));
            prop_assert_eq!(x.contains(number), a.contains(&number));
            prop_assert_eq!(x.complement().contains(number), !a.contains(&number));
            prop_assert_eq!(
                x.intersection(y).contains(number), a.contains(&number) && b.contains(&number));
            let mut sorted = a;
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(x.iter().collect::<Vec<_>>(), sorted);
        }
    }
}
