//! Packed lists of addresses.
//!
//! ```text
//! list    = nothing, if it is empty
//!         | number (IPv4 count << 2 | raw << 1 | IPv6 follows), IPv4 part,
//!           [ number (IPv6 count << 1 | raw), IPv6 part ]
//! part    = raw: the addresses, 4 or 16 bytes each
//!         | not raw: runs
//! run     = first byte (more << 7 | low 6 bits of gap << 1 | long), [ number (gap >> 6) ],
//!           long: [ number (addresses in the run - 2) ]
//! ```
//!
//! Addresses are sorted and unique. A run is a maximal stretch of consecutive ones; its gap is the
//! distance from the smallest address that can start it: the one after next behind the run before.
//! So nothing unsorted can be written, and nothing twice. A part is raw when that is shorter, which
//! bounds it by 4 and 16 bytes an address. There is one encoding of a list.

use super::error::DecodeError;
use super::varint::{Reader, put_varint, varint_len};
use crate::limits::ADDRESSES_MAX;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the two families have in common: addresses are numbers of a fixed length.
trait Number: Copy + Ord {
    /// Length in bytes.
    const BYTES: usize;
    /// The largest.
    const MAX: u128;
    fn to_number(self) -> u128;
    /// `number` is at most [`Number::MAX`].
    fn from_number(number: u128) -> Self;
}

impl Number for Ipv4Addr {
    const BYTES: usize = 4;
    const MAX: u128 = u32::MAX as u128;
    fn to_number(self) -> u128 {
        u32::from(self).into()
    }
    fn from_number(number: u128) -> Ipv4Addr {
        Ipv4Addr::from(number as u32)
    }
}

impl Number for Ipv6Addr {
    const BYTES: usize = 16;
    const MAX: u128 = u128::MAX;
    fn to_number(self) -> u128 {
        self.into()
    }
    fn from_number(number: u128) -> Ipv6Addr {
        Ipv6Addr::from(number)
    }
}

/// Packs addresses. They should be sorted and unique already; if not, they are after it.
pub fn encode_addresses(addresses: &[IpAddr]) -> Vec<u8> {
    let mut out = Vec::new();
    if !addresses.is_empty() {
        put_addresses(&mut out, addresses);
    }
    out
}

/// Unpacks addresses: sorted, unique.
pub fn decode_addresses(what: &'static str, bytes: &[u8]) -> Result<Vec<IpAddr>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(what, bytes);
    let addresses = take_addresses(&mut reader)?;
    if addresses.is_empty() {
        return Err(reader.error("an empty list is written as nothing"));
    }
    reader.finish()?;
    Ok(addresses)
}

/// The addresses, sorted and unique.
pub(super) fn sorted<T: Ord + Clone>(list: &[T]) -> Cow<'_, [T]> {
    if list.is_sorted_by(|a, b| a < b) {
        return Cow::Borrowed(list);
    }
    let mut list = list.to_vec();
    list.sort_unstable();
    list.dedup();
    Cow::Owned(list)
}

/// Packs addresses so that what follows can be told from them.
pub(super) fn put_addresses(out: &mut Vec<u8>, addresses: &[IpAddr]) {
    let addresses = sorted(addresses);
    let (mut v4, mut v6) = (Vec::with_capacity(addresses.len()), Vec::new());
    for address in addresses.iter() {
        match *address {
            IpAddr::V4(address) => v4.push(address),
            IpAddr::V6(address) => v6.push(address),
        }
    }
    put_families(out, &v4, &v6);
}

/// As [`put_addresses`], of addresses that are sorted and unique.
pub(super) fn put_families(out: &mut Vec<u8>, v4: &[Ipv4Addr], v6: &[Ipv6Addr]) {
    let raw = is_raw(v4);
    let header = (v4.len() as u128) << 2 | u128::from(raw) << 1 | u128::from(!v6.is_empty());
    put_varint(out, header);
    put_part(out, v4, raw);
    if !v6.is_empty() {
        let raw = is_raw(v6);
        put_varint(out, (v6.len() as u128) << 1 | u128::from(raw));
        put_part(out, v6, raw);
    }
}

/// Unpacks addresses, and stops behind them.
pub(super) fn take_addresses(reader: &mut Reader<'_>) -> Result<Vec<IpAddr>, DecodeError> {
    let (v4, v6) = take_families(reader)?;
    let v4 = v4.into_iter().map(IpAddr::V4);
    Ok(v4.chain(v6.into_iter().map(IpAddr::V6)).collect())
}

/// As [`take_addresses`], those of each family by themselves.
pub(super) fn take_families(
    reader: &mut Reader<'_>,
) -> Result<(Vec<Ipv4Addr>, Vec<Ipv6Addr>), DecodeError> {
    let header = reader.take_varint()?;
    let (count, raw, more) = (header >> 2, header & 2 != 0, header & 1 != 0);
    let count = reader.check_limit(count, ADDRESSES_MAX)?;
    let v4 = take_part(reader, count, raw)?;
    let mut v6 = Vec::new();
    if more {
        let header = reader.take_varint()?;
        let count = reader.check_limit(header >> 1, ADDRESSES_MAX - v4.len())?;
        if count == 0 {
            return Err(reader.error("an IPv6 part has no addresses"));
        }
        v6 = take_part(reader, count, header & 1 != 0)?;
    }
    Ok((v4, v6))
}

/// Calls `run` with the gap and the length of each run.
fn for_each_run<N: Number>(numbers: &[N], mut run: impl FnMut(u128, usize)) {
    let (mut start, mut lowest) = (0, 0_u128);
    while start < numbers.len() {
        let first = numbers[start].to_number();
        let mut length = 1;
        while start + length < numbers.len()
            && numbers[start + length].to_number() - first == length as u128
        {
            length += 1;
        }
        run(first - lowest, length);
        // If there is another run, it starts at least two behind the end of this one, so this does
        // not wrap around where it is used.
        lowest = (first + (length as u128 - 1)).wrapping_add(2);
        start += length;
    }
}

/// The length of a part that is not raw.
fn runs_len<N: Number>(numbers: &[N]) -> usize {
    let mut len = 0;
    for_each_run(numbers, |gap, length| {
        len += 1;
        if gap >> 6 > 0 {
            len += varint_len(gap >> 6);
        }
        if length > 1 {
            len += varint_len(length as u128 - 2);
        }
    });
    len
}

fn is_raw<N: Number>(numbers: &[N]) -> bool {
    numbers.len() * N::BYTES < runs_len(numbers)
}

fn put_part<N: Number>(out: &mut Vec<u8>, numbers: &[N], raw: bool) {
    if raw {
        for number in numbers {
            out.extend_from_slice(&number.to_number().to_be_bytes()[16 - N::BYTES..]);
        }
        return;
    }
    for_each_run(numbers, |gap, length| {
        let long = u8::from(length > 1);
        let low = (gap as u8 & 0x3f) << 1 | long;
        if gap >> 6 > 0 {
            out.push(0x80 | low);
            put_varint(out, gap >> 6);
        } else {
            out.push(low);
        }
        if length > 1 {
            put_varint(out, length as u128 - 2);
        }
    });
}

fn take_part<N: Number>(
    reader: &mut Reader<'_>,
    count: usize,
    raw: bool,
) -> Result<Vec<N>, DecodeError> {
    if raw { take_raw(reader, count) } else { take_runs(reader, count) }
}

fn take_raw<N: Number>(reader: &mut Reader<'_>, count: usize) -> Result<Vec<N>, DecodeError> {
    let bytes = reader.take_bytes(count * N::BYTES)?;
    let mut numbers: Vec<N> = Vec::with_capacity(count);
    for chunk in bytes.chunks_exact(N::BYTES) {
        let number = chunk.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let number = N::from_number(number);
        if numbers.last().is_some_and(|last| *last >= number) {
            return Err(reader.error("addresses are not sorted, or one is there twice"));
        }
        numbers.push(number);
    }
    if !is_raw(&numbers) {
        return Err(reader.error("addresses are raw though runs are not longer"));
    }
    Ok(numbers)
}

fn take_runs<N: Number>(reader: &mut Reader<'_>, count: usize) -> Result<Vec<N>, DecodeError> {
    let before = reader.at();
    let mut addresses = Vec::new();
    let (mut left, mut lowest) = (count, Some(0_u128));
    while left > 0 {
        let byte = reader.take_byte()?;
        let mut gap = u128::from(byte >> 1 & 0x3f);
        if byte & 0x80 != 0 {
            let high = reader.take_varint()?;
            if high == 0 {
                return Err(reader.error("a number is longer than it needs to be"));
            }
            if high > u128::MAX >> 6 {
                return Err(reader.error("a number is too large"));
            }
            gap |= high << 6;
        }
        let length = if byte & 1 != 0 { reader.take_varint()?.saturating_add(2) } else { 1 };
        if length > left as u128 {
            return Err(reader.error("a run is longer than the list"));
        }
        let last = lowest
            .and_then(|lowest| lowest.checked_add(gap))
            .and_then(|first| Some((first, first.checked_add(length - 1)?)))
            .filter(|&(_, last)| last <= N::MAX);
        let Some((first, last)) = last else {
            return Err(reader.error("an address is beyond the last of its family"));
        };
        addresses.extend((first..=last).map(N::from_number));
        left -= length as usize;
        lowest = last.checked_add(2);
    }
    if reader.at() - before > count * N::BYTES {
        return Err(reader.error("addresses are in runs though raw ones are shorter"));
    }
    // It grew by doubling, as a count that is not true must not take memory, and may be held for long.
    addresses.shrink_to_fit();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn v6(number: u128) -> IpAddr {
        IpAddr::V6(number.into())
    }

    fn list(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn lists_have_the_documented_form() {
        let cases: [(&str, &[u8]); 8] = [
            ("", &[]),
            ("0.0.0.0", &[4, 0]),
            ("0.0.0.0 0.0.0.1", &[8, 1, 0]),
            ("0.0.0.0 0.0.0.2 0.0.0.3 0.0.0.4", &[16, 0, 1, 1]),
            ("0.0.1.64", &[4, 0x80, 5]),
            ("255.255.255.255", &[6, 255, 255, 255, 255]),
            ("::1", &[1, 2, 2]),
            ("0.0.0.9 ::1 ::2", &[5, 18, 4, 3, 0]),
        ];
        for (text, expected) in cases {
            assert_eq!(encode_addresses(&list(text)), expected, "{text}");
            assert_eq!(decode_addresses("list", expected), Ok(list(text)), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let cases: [(&[u8], &str); 12] = [
            (&[0], "an empty list is written as nothing"),
            (&[4], "it ends early"),
            (&[4, 0, 0], "unexpected bytes follow"),
            (&[1, 0], "an IPv6 part has no addresses"),
            (&[4, 0x80, 0], "a number is longer than it needs to be"),
            (&[4, 1, 0], "a run is longer than the list"),
            (&[8, 1, 1], "a run is longer than the list"),
            (&[6, 0, 0, 0, 1], "addresses are raw though runs are not longer"),
            (&[10, 255, 0, 0, 1, 254, 0, 0, 1], "addresses are not sorted"),
            (&[10, 255, 0, 0, 1, 255, 0, 0, 1], "addresses are not sorted"),
            // 255.255.255.255 and one more.
            (&[8, 0xff, 0xff, 0xff, 0xff, 0x1f, 0], "beyond the last of its family"),
            // 255.255.255.255 in runs.
            (&[4, 0xfe, 0xff, 0xff, 0xff, 0x1f], "in runs though raw ones are shorter"),
        ];
        for (bytes, expected) in cases {
            let error = decode_addresses("list", bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:x?} gave {error}");
        }
        let mut many = Vec::new();
        put_varint(&mut many, (ADDRESSES_MAX as u128 + 1) << 2);
        let error = decode_addresses("list", &many).unwrap_err().to_string();
        assert_eq!(error, "list: 4194305 is more than the limit of 4194304");
    }

    #[test]
    fn sizes_are_what_the_design_promises() {
        // Half of a /16, spread by a multiplication that permutes it.
        let dense: Vec<IpAddr> =
            (0..32_768_u32).map(|n| v4(0x0a14_0000 | n.wrapping_mul(40_503) & 0xffff)).collect();
        let thin: Vec<IpAddr> =
            (0..500_u32).map(|n| v4(0x0a14_0000 | n.wrapping_mul(40_503) & 0xffff)).collect();
        let whole: Vec<IpAddr> = (0..65_536_u32).map(|n| v4(0x0a14_0000 | n)).collect();
        let stripes: Vec<IpAddr> = (0..1000_u32).map(|n| v4(0x0a14_0000 | n << 1)).collect();
        let spread: Vec<IpAddr> =
            (0..1000_u32).map(|n| v4(n.wrapping_mul(2_654_435_761))).collect();
        let interfaces: Vec<IpAddr> = (0..1000_u64)
            .map(|n| v6(0xfd00 << 112 | u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
            .collect();
        let v6_spread: Vec<IpAddr> = (0..1000_u128)
            .map(|n| v6(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)))
            .collect();
        for (what, addresses, bytes_max) in [
            ("half of a /16, at random", &dense, 32_768 * 3 / 2),
            ("a few of a /16, at random", &thin, 500 * 2 + 10),
            ("a whole /16", &whole, 12),
            ("every other address", &stripes, 1010),
            ("all over IPv4", &spread, 4 * 1000 + 4),
            ("random interface identifiers", &interfaces, 9 * 1000 + 16),
            ("all over IPv6", &v6_spread, 16 * 1000 + 4),
        ] {
            let mut addresses = addresses.clone();
            addresses.sort_unstable();
            let len = encode_addresses(&addresses).len();
            assert!(len <= bytes_max, "{what}: {len} bytes, more than {bytes_max}");
        }
        assert!(encode_addresses(&list("10.20.0.10")).len() <= 5);
        assert!(encode_addresses(&list("2001:db8::a:1")).len() <= 18);
    }

    /// Addresses that lie close together, far apart, and at the ends.
    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..300).prop_map(v4),
            any::<u32>().prop_map(v4),
            (0u32..3).prop_map(|n| v4(u32::MAX - n)),
            (0u128..300).prop_map(v6),
            any::<u128>().prop_map(v6),
            any::<u64>().prop_map(|n| v6(0xfd00 << 112 | u128::from(n))),
            (0u128..3).prop_map(|n| v6(u128::MAX - n)),
        ]
    }

    proptest! {
        #[test]
        fn lists_come_back_sorted(addresses in vec(any_address(), 0..200)) {
            let bytes = encode_addresses(&addresses);
            let v4_count = addresses.iter().filter(|address| address.is_ipv4()).count();
            prop_assert!(bytes.len() <= 4 * v4_count + 16 * (addresses.len() - v4_count) + 4);
            let expected = sorted(&addresses).into_owned();
            prop_assert_eq!(decode_addresses("list", &bytes), Ok(expected));
        }

        /// What decodes is the encoding of what it decodes to: there is no second form.
        #[test]
        fn any_bytes_are_an_encoding_or_an_error(bytes in vec(any::<u8>(), 0..40)) {
            // A run may be long; keep the test quick.
            if let Ok(addresses) = decode_addresses("list", &bytes) {
                prop_assert_eq!(encode_addresses(&addresses), bytes);
            }
        }

        #[test]
        fn nearly_right_bytes_are_an_encoding_or_an_error(
            addresses in vec(any_address(), 1..20),
            at: prop::sample::Index,
            flip in 1u8..,
        ) {
            let mut bytes = encode_addresses(&addresses);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(addresses) = decode_addresses("list", &bytes) {
                prop_assert_eq!(encode_addresses(&addresses), bytes);
            }
        }
    }
}
