//! MAC addresses, and sets of IP addresses.

use super::group::CidrBlock;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A unicast MAC address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

/// Why a text or six bytes are no MAC address of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six pairs of hexadecimal digits.
    #[error(
        "{0:?} is not a MAC address: expected six pairs of hexadecimal digits, as 0a:58:0a:14:00:0a"
    )]
    Form(String),
    /// A group address or zero.
    #[error("{0} is not the address of one interface: it is zero, or a multicast address")]
    NotUnicast(String),
}

impl Mac {
    /// A MAC address from its bytes.
    pub fn new(bytes: [u8; 6]) -> Result<Mac, MacError> {
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(MacError::NotUnicast(Mac(bytes).to_string()));
        }
        Ok(Mac(bytes))
    }

    /// The locally administered address that a workload without a MAC of its own is given:
    /// `0a:58` and the IPv4 address, or `0a:59` and four bytes mixed from the IPv6 address.
    pub fn derived_from(address: IpAddr) -> Mac {
        let (second, [a, b, c, d]) = match address {
            IpAddr::V4(address) => (0x58, address.octets()),
            IpAddr::V6(address) => {
                // FNV-1a: any function would do that spreads the interface identifiers of a
                // subnet and is the same everywhere.
                let hash = address.octets().iter().fold(0x811c_9dc5_u32, |hash, byte| {
                    (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
                });
                (0x59, hash.to_be_bytes())
            }
        };
        Mac([0x0a, second, a, b, c, d])
    }

    /// The bytes, in transmission order.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Mac, MacError> {
        let form = || MacError::Form(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(form)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(form());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| form())?;
        }
        if parts.next().is_some() {
            return Err(form());
        }
        Mac::new(bytes)
    }
}

/// A set of addresses of both families, kept as sorted, disjoint, inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressBlocks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Sorted, disjoint and non-adjacent inclusive ranges.
type Ranges<T> = Vec<(T, T)>;

impl AddressBlocks {
    /// The union of blocks, each without its exceptions.
    pub fn from_cidr_blocks<'a>(blocks: impl IntoIterator<Item = &'a CidrBlock>) -> AddressBlocks {
        let mut union = AddressBlocks::default();
        for block in blocks {
            let whole = AddressBlocks::from_nets([block.cidr()]);
            let except = AddressBlocks::from_nets(block.except().iter().copied());
            union = union.union(&whole.difference(&except));
        }
        union
    }

    /// The union of CIDRs.
    pub fn from_nets(nets: impl IntoIterator<Item = IpNet>) -> AddressBlocks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((u32::from(net.network()), u32::from(net.broadcast()))),
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()))),
            }
        }
        AddressBlocks { v4: normalize(v4), v6: normalize(v6) }
    }

    /// True if there is no address in the set.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// True if there is an IPv4 address in the set.
    pub fn has_ipv4(&self) -> bool {
        !self.v4.is_empty()
    }

    /// True if there is an IPv6 address in the set.
    pub fn has_ipv6(&self) -> bool {
        !self.v6.is_empty()
    }

    /// True if every address of both families is in the set.
    pub fn is_everything(&self) -> bool {
        self.v4 == [(0, u32::MAX)] && self.v6 == [(0, u128::MAX)]
    }

    /// True if the address is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => contains(&self.v4, u32::from(address)),
            IpAddr::V6(address) => contains(&self.v6, u128::from(address)),
        }
    }

    /// Addresses in either.
    pub fn union(&self, other: &AddressBlocks) -> AddressBlocks {
        AddressBlocks {
            v4: normalize(self.v4.iter().chain(&other.v4).copied().collect()),
            v6: normalize(self.v6.iter().chain(&other.v6).copied().collect()),
        }
    }

    /// Addresses in both.
    pub fn intersection(&self, other: &AddressBlocks) -> AddressBlocks {
        AddressBlocks {
            v4: intersection(&self.v4, &other.v4),
            v6: intersection(&self.v6, &other.v6),
        }
    }

    /// Addresses in this set and not in the other.
    pub fn difference(&self, other: &AddressBlocks) -> AddressBlocks {
        AddressBlocks {
            v4: intersection(&self.v4, &complement(&other.v4)),
            v6: intersection(&self.v6, &complement(&other.v6)),
        }
    }

    /// The smallest sorted list of CIDRs that cover exactly the set, IPv4 first.
    pub fn to_nets(&self) -> Vec<IpNet> {
        let v4 = self.v4.iter().flat_map(|&(first, last)| {
            Ipv4Subnets::new(Ipv4Addr::from(first), Ipv4Addr::from(last), 0).map(IpNet::V4)
        });
        let v6 = self.v6.iter().flat_map(|&(first, last)| {
            Ipv6Subnets::new(Ipv6Addr::from(first), Ipv6Addr::from(last), 0).map(IpNet::V6)
        });
        v4.chain(v6).collect()
    }
}

/// The arithmetic that ranges need of an address.
trait Number: Copy + Ord {
    const MAX: Self;
    fn next(self) -> Option<Self>;
    fn previous(self) -> Option<Self>;
    fn zero() -> Self;
}

impl Number for u32 {
    const MAX: u32 = u32::MAX;
    fn next(self) -> Option<u32> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<u32> {
        self.checked_sub(1)
    }
    fn zero() -> u32 {
        0
    }
}

impl Number for u128 {
    const MAX: u128 = u128::MAX;
    fn next(self) -> Option<u128> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<u128> {
        self.checked_sub(1)
    }
    fn zero() -> u128 {
        0
    }
}

/// Sorts and joins ranges that overlap or touch.
fn normalize<T: Number>(mut ranges: Ranges<T>) -> Ranges<T> {
    ranges.sort_unstable();
    let mut joined: Ranges<T> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if end.next().is_none_or(|next| first <= next) => {
                *end = (*end).max(last);
            }
            _ => joined.push((first, last)),
        }
    }
    joined
}

fn contains<T: Number>(ranges: &Ranges<T>, value: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= value);
    after > 0 && value <= ranges[after - 1].1
}

fn intersection<T: Number>(left: &Ranges<T>, right: &Ranges<T>) -> Ranges<T> {
    let (mut l, mut r, mut both) = (0, 0, Vec::new());
    while l < left.len() && r < right.len() {
        let first = left[l].0.max(right[r].0);
        let last = left[l].1.min(right[r].1);
        if first <= last {
            both.push((first, last));
        }
        if left[l].1 < right[r].1 {
            l += 1;
        } else {
            r += 1;
        }
    }
    both
}

fn complement<T: Number>(ranges: &Ranges<T>) -> Ranges<T> {
    let mut gaps = Vec::with_capacity(ranges.len() + 1);
    let mut start = Some(T::zero());
    for &(first, last) in ranges {
        if let (Some(start), Some(before)) = (start, first.previous())
            && start <= before
        {
            gaps.push((start, before));
        }
        start = last.next();
    }
    if let Some(start) = start {
        gaps.push((start, T::MAX));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::Ipv4Net;
    use proptest::prelude::*;

    fn nets(text: &str) -> AddressBlocks {
        AddressBlocks::from_nets(text.split_whitespace().map(|net| net.parse().unwrap()))
    }

    #[test]
    fn macs_are_checked() {
        assert_eq!("0a:58:00:00:00:01".parse::<Mac>().unwrap().to_string(), "0a:58:00:00:00:01");
        for bad in [
            "",
            "0a:58",
            "0a:58:00:00:00:0g",
            "0a58.0000.0001",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "0a:58:00:00:00:01:02",
            "+a:58:00:00:00:01",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn exceptions_are_cut_out_exactly() {
        let block =
            CidrBlock::new("10.0.0.0/30".parse().unwrap(), vec!["10.0.0.1/32".parse().unwrap()])
                .unwrap();
        let blocks = AddressBlocks::from_cidr_blocks([&block]);
        let list: Vec<String> = blocks.to_nets().iter().map(ToString::to_string).collect();
        assert_eq!(list, ["10.0.0.0/32", "10.0.0.2/31"]);
        assert_eq!(nets("10.0.0.0/32 10.0.0.2/31"), blocks);
    }

    #[test]
    fn the_whole_space_is_one_net() {
        assert_eq!(nets("0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1"), nets("0.0.0.0/0 ::/0"));
        assert_eq!(nets("0.0.0.0/0").to_nets().len(), 1);
        assert!(nets("0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1").is_everything());
        assert!(!nets("0.0.0.0/0").is_everything() && nets("0.0.0.0/0").has_ipv4());
        assert!(!nets("::/1 0.0.0.0/0").is_everything() && !nets("0.0.0.0/0").has_ipv6());
        assert!(nets("0.0.0.0/0").difference(&nets("0.0.0.0/0")).is_empty());
    }

    prop_compose! {
        fn any_blocks()(list in prop::collection::vec((0u8..16, 28u8..=32), 0..6)) -> AddressBlocks {
            AddressBlocks::from_nets(list.into_iter().map(|(last, prefix)| {
                IpNet::V4(Ipv4Net::new(Ipv4Addr::new(10, 0, 0, last), prefix).unwrap())
            }))
        }
    }

    proptest! {
        /// The algebra is that of sets, checked address by address.
        #[test]
        fn the_algebra_is_that_of_sets(a in any_blocks(), b in any_blocks()) {
            for last in 0..20 {
                let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
                let (in_a, in_b) = (a.contains(address), b.contains(address));
                prop_assert_eq!(a.union(&b).contains(address), in_a || in_b);
                prop_assert_eq!(a.intersection(&b).contains(address), in_a && in_b);
                prop_assert_eq!(a.difference(&b).contains(address), in_a && !in_b);
            }
            prop_assert_eq!(AddressBlocks::from_nets(a.to_nets()), a);
        }
    }
}
