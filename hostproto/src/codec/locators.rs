//! Packed lists of locators.
//!
//! ```text
//! list    = nothing, if it is empty
//!         | addresses          where the locators are for, see `addresses`
//!           addresses          the distinct VTEPs
//!           bits               for each locator, the number of its VTEP, in as many bits as needed
//!           byte               MAC addresses: 0 all derived, 1 some, 2 none
//!           [ bits ]           if some: for each locator, 1 if its MAC address is explicit
//!           [ macs ]           unless all: the explicit ones
//! macs    = byte (length of the longest common prefix), prefix, the rest of each
//! ```
//!
//! A MAC address is derived if it is what `Mac::derived_from` makes of the locator's address.
//! Columns instead of rows, because each column by itself packs well.

use super::addresses::{put_addresses, put_families, take_addresses, take_families};
use super::error::DecodeError;
use super::varint::{Reader, put_bits, take_bits};
use spanwire_topology::model::Mac;
use spanwire_topology::view::{LocatorColumns, Locators};

const MACS_ALL_DERIVED: u8 = 0;
const MACS_SOME_DERIVED: u8 = 1;
const MACS_NONE_DERIVED: u8 = 2;

/// Packs locators.
pub fn encode_locators(locators: &Locators) -> Vec<u8> {
    let mut out = Vec::new();
    if locators.is_empty() {
        return out;
    }
    let LocatorColumns { v4, v6, vteps, vtep_of, macs } = locators.columns();
    put_families(&mut out, v4, v6);
    put_addresses(&mut out, vteps);
    put_bits(&mut out, index_width(vteps.len()), vtep_of.iter().copied());
    put_macs(&mut out, locators.len(), macs);
    out
}

/// Unpacks locators.
pub fn decode_locators(what: &'static str, bytes: &[u8]) -> Result<Locators, DecodeError> {
    if bytes.is_empty() {
        return Ok(Locators::default());
    }
    let mut reader = Reader::new(what, bytes);
    let (v4, v6) = take_families(&mut reader)?;
    let count = v4.len() + v6.len();
    if count == 0 {
        return Err(reader.error("an empty list is written as nothing"));
    }
    let vteps = take_addresses(&mut reader)?;
    let vtep_of = take_bits(&mut reader, index_width(vteps.len()), count)?;
    let macs = take_macs(&mut reader, count)?;
    let columns = LocatorColumns { v4, v6, vteps, vtep_of, macs };
    let locators = Locators::from_columns(columns);
    let locators = locators.map_err(|error| reader.error(error.as_str()))?;
    reader.finish()?;
    Ok(locators)
}

/// The bits that the numbers of a table of so many take.
fn index_width(count: usize) -> u32 {
    usize::BITS - count.saturating_sub(1).leading_zeros()
}

/// Packs the MAC addresses of `count` locators; those that are not `explicit` are derived.
fn put_macs(out: &mut Vec<u8>, count: usize, explicit: &[(u32, Mac)]) {
    if explicit.is_empty() {
        out.push(MACS_ALL_DERIVED);
        return;
    }
    if explicit.len() == count {
        out.push(MACS_NONE_DERIVED);
    } else {
        out.push(MACS_SOME_DERIVED);
        let mut numbers = explicit.iter().map(|(number, _)| *number).peekable();
        let bits = (0..count as u32).map(|n| u32::from(numbers.next_if_eq(&n).is_some()));
        put_bits(out, 1, bits);
    }
    let macs: Vec<[u8; 6]> = explicit.iter().map(|(_, mac)| mac.octets()).collect();
    let prefix_len = common_prefix_len(&macs);
    out.push(prefix_len as u8);
    out.extend_from_slice(&macs[0][..prefix_len]);
    for mac in &macs {
        out.extend_from_slice(&mac[prefix_len..]);
    }
}

/// The explicit MAC addresses of `count` locators, with the numbers of those.
fn take_macs(reader: &mut Reader<'_>, count: usize) -> Result<Vec<(u32, Mac)>, DecodeError> {
    let numbers: Vec<u32> = match reader.take_byte()? {
        MACS_ALL_DERIVED => return Ok(Vec::new()),
        MACS_SOME_DERIVED => {
            let bits = take_bits(reader, 1, count)?;
            let explicit: Vec<u32> =
                (0..).zip(bits).filter(|(_, bit)| *bit == 1).map(|(number, _)| number).collect();
            if explicit.is_empty() || explicit.len() == count {
                let problem = "all MAC addresses are alike, and written as if they were not";
                return Err(reader.error(problem));
            }
            explicit
        }
        MACS_NONE_DERIVED => (0..count as u32).collect(),
        _ => return Err(reader.error("unknown form of MAC addresses")),
    };
    let macs = take_explicit(reader, numbers.len())?;
    let macs = numbers.into_iter().zip(macs).map(|(number, octets)| {
        let mac = Mac::new(octets);
        let mac = mac.map_err(|_| reader.error("a MAC address is zero, or a multicast address"))?;
        Ok((number, mac))
    });
    macs.collect()
}

fn common_prefix_len(macs: &[[u8; 6]]) -> usize {
    let first = macs.first().copied().unwrap_or_default();
    let common = |mac: &[u8; 6]| mac.iter().zip(&first).take_while(|(a, b)| a == b).count();
    macs.iter().map(common).min().unwrap_or(0)
}

fn take_explicit(reader: &mut Reader<'_>, count: usize) -> Result<Vec<[u8; 6]>, DecodeError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let prefix_len = usize::from(reader.take_byte()?);
    if prefix_len > 6 {
        return Err(reader.error("a prefix is longer than a MAC address"));
    }
    let mut mac = [0; 6];
    mac[..prefix_len].copy_from_slice(reader.take_bytes(prefix_len)?);
    let mut macs = Vec::with_capacity(count.min(reader.remaining()));
    for _ in 0..count {
        mac[prefix_len..].copy_from_slice(reader.take_bytes(6 - prefix_len)?);
        macs.push(mac);
    }
    if common_prefix_len(&macs) != prefix_len {
        return Err(reader.error("MAC addresses have a longer prefix in common"));
    }
    Ok(macs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use spanwire_topology::view::Locator;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn columns(list: &[Locator]) -> Locators {
        list.iter().copied().collect()
    }

    fn locator(address: &str, mac: &str, vtep: &str) -> Locator {
        Locator {
            address: address.parse().unwrap(),
            mac: mac.parse().unwrap(),
            vtep: vtep.parse().unwrap(),
        }
    }

    #[test]
    fn lists_have_the_documented_form() {
        let derived = locator("0.0.0.1", "0a:58:00:00:00:01", "0.0.0.9");
        let explicit = locator("0.0.0.2", "02:00:00:00:00:07", "0.0.0.9");
        let elsewhere = locator("0.0.0.3", "02:00:00:00:00:08", "0.0.0.11");
        let cases: [(&[Locator], &[u8]); 4] = [
            (&[], &[]),
            (&[derived], &[4, 2, 4, 18, 0]),
            (&[derived, explicit], &[8, 3, 0, 4, 18, 1, 0b10, 6, 2, 0, 0, 0, 0, 7]),
            (&[explicit, elsewhere], &[8, 5, 0, 8, 18, 0, 0b10, 2, 5, 2, 0, 0, 0, 0, 7, 8]),
        ];
        for (list, expected) in cases {
            assert_eq!(encode_locators(&columns(list)), expected, "{list:?}");
            assert_eq!(decode_locators("list", expected).unwrap(), columns(list));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let cases: [(&[u8], &str); 13] = [
            (&[0], "an empty list is written as nothing"),
            (&[4, 2], "it ends early"),
            (&[4, 2, 0, 0], "a VTEP that is not in the table"),
            (&[4, 2, 8, 18, 0, 0, 0], "a VTEP in the table has no locator"),
            (&[8, 3, 0, 12, 19, 1, 0b1110, 0], "a VTEP that is not in the table"),
            (&[4, 2, 8, 18, 0, 2, 0], "a bit is set behind the last number"),
            (&[4, 2, 4, 18, 3], "unknown form of MAC addresses"),
            (&[4, 2, 4, 18, 1, 0], "all MAC addresses are alike"),
            (&[4, 2, 4, 18, 2, 7], "a prefix is longer than a MAC address"),
            (&[4, 2, 4, 18, 2, 5, 2, 0, 0, 0, 0, 7], "a longer prefix in common"),
            (&[4, 2, 4, 18, 2, 6, 1, 0, 0, 0, 0, 7], "zero, or a multicast address"),
            (&[4, 2, 4, 18, 2, 6, 10, 0x58, 0, 0, 0, 1], "explicit though it is derived"),
            (&[4, 2, 4, 18, 0, 0], "unexpected bytes follow"),
        ];
        for (bytes, expected) in cases {
            let error = decode_locators("list", bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:x?} gave {error}");
        }
    }

    #[test]
    fn sizes_are_small() {
        let locators = |vteps: u32, mac: fn(u32, IpAddr) -> Mac| -> Locators {
            (0..1000_u32)
                .map(|n| {
                    let address = IpAddr::V4(Ipv4Addr::from(0x0a14_0000 + n * 7));
                    let vtep = IpAddr::V4(Ipv4Addr::from(0xc0a8_0000 + n % vteps));
                    Locator { address, mac: mac(n, address), vtep }
                })
                .collect()
        };
        let mac = |octets| Mac::new(octets).unwrap();
        let derived = |_, address| Mac::derived_from(address);
        for (what, list, bytes_max) in [
            ("derived, one host", locators(1, derived), 1000 + 20),
            ("derived, 100 hosts", locators(100, derived), 1000 + 1000 * 7 / 8 + 20),
            (
                "one vendor's, one host",
                locators(1, |n, _| {
                    let [_, a, b, c] = n.wrapping_mul(2_654_435_761).to_be_bytes();
                    Mac::new([0xfa, 0x16, 0x3e, a, b, c]).unwrap()
                }),
                1000 * 4 + 20,
            ),
        ] {
            let len = encode_locators(&list).len();
            assert!(len <= bytes_max, "{what}: {len} bytes, more than {bytes_max}");
            assert_eq!(decode_locators("list", &encode_locators(&list)).unwrap(), list);
        }
        let one = Locator {
            address: "10.0.0.1".parse().unwrap(),
            mac: mac([2, 0, 0, 0, 0, 1]),
            vtep: "192.168.0.1".parse().unwrap(),
        };
        assert!(encode_locators(&columns(&[one])).len() <= 18);
    }

    fn any_locator() -> impl Strategy<Value = Locator> {
        let address = prop_oneof![
            (0u32..200).prop_map(|n| IpAddr::V4(Ipv4Addr::from(n))),
            any::<u32>().prop_map(|n| IpAddr::V4(Ipv4Addr::from(n))),
            any::<u128>().prop_map(|n| IpAddr::V6(Ipv6Addr::from(n))),
        ];
        let vtep = prop_oneof![
            (0u32..5).prop_map(|n| IpAddr::V4(Ipv4Addr::from(n))),
            any::<u128>().prop_map(|n| IpAddr::V6(Ipv6Addr::from(n))),
        ];
        (address, vtep, any::<Option<[u8; 5]>>()).prop_map(|(address, vtep, octets)| {
            let mac = match octets {
                Some([a, b, c, d, e]) => Mac::new([2, a, b, c, d, e]).unwrap(),
                None => Mac::derived_from(address),
            };
            Locator { address, mac, vtep }
        })
    }

    proptest! {
        #[test]
        fn lists_come_back(locators in vec(any_locator(), 0..60)) {
            let locators = columns(&locators);
            let bytes = encode_locators(&locators);
            prop_assert_eq!(decode_locators("list", &bytes), Ok(locators));
        }

        #[test]
        fn nearly_right_bytes_are_an_encoding_or_an_error(
            locators in vec(any_locator(), 1..10),
            at: prop::sample::Index,
            flip in 1u8..,
        ) {
            let mut bytes = encode_locators(&columns(&locators));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(locators) = decode_locators("list", &bytes) {
                prop_assert_eq!(encode_locators(&locators), bytes);
            }
        }

        #[test]
        fn any_bytes_are_an_encoding_or_an_error(bytes in vec(any::<u8>(), 0..40)) {
            if let Ok(locators) = decode_locators("list", &bytes) {
                prop_assert_eq!(encode_locators(&locators), bytes);
            }
        }
    }
}
