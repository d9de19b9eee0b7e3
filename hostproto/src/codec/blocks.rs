//! Packed lists of CIDR blocks.
//!
//! ```text
//! list    = nothing, if it is empty
//!         | number (IPv4 count << 1 | IPv6 follows), blocks, [ number (IPv6 count), blocks ]
//! block   = byte (prefix length), number (gap)
//! ```
//!
//! Blocks are sorted and do not overlap. The gap is counted in blocks of the same prefix length,
//! from the first that lies wholly behind the block before: nothing that is unsorted, overlaps or
//! has host bits can be written.

use super::error::DecodeError;
use super::varint::{Reader, put_varint};
use crate::limits::ADDRESSES_MAX;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Packs blocks. They should be sorted and disjoint already; if not, they are after it.
pub fn encode_blocks(blocks: &[IpNet]) -> Vec<u8> {
    let mut out = Vec::new();
    if blocks.is_empty() {
        return out;
    }
    let blocks = disjoint(blocks);
    let v4_count = blocks.partition_point(|block| matches!(block, IpNet::V4(_)));
    let v6_count = blocks.len() - v4_count;
    put_varint(&mut out, (v4_count as u128) << 1 | u128::from(v6_count > 0));
    put_part(&mut out, &blocks[..v4_count], 32);
    if v6_count > 0 {
        put_varint(&mut out, v6_count as u128);
        put_part(&mut out, &blocks[v4_count..], 128);
    }
    out
}

/// Unpacks blocks: sorted, disjoint, without host bits.
pub fn decode_blocks(what: &'static str, bytes: &[u8]) -> Result<Vec<IpNet>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(what, bytes);
    let header = reader.take_varint()?;
    let count = reader.check_limit(header >> 1, ADDRESSES_MAX)?;
    let mut blocks = Vec::new();
    take_part(&mut reader, count, 32, &mut blocks)?;
    if header & 1 != 0 {
        let count = reader.take_varint()?;
        let count = reader.check_limit(count, ADDRESSES_MAX - blocks.len())?;
        if count == 0 {
            return Err(reader.error("an IPv6 part has no blocks"));
        }
        take_part(&mut reader, count, 128, &mut blocks)?;
    }
    if blocks.is_empty() {
        return Err(reader.error("an empty list is written as nothing"));
    }
    reader.finish()?;
    Ok(blocks)
}

/// Sorted, without host bits, and without what lies in another block. Two blocks are disjoint, or
/// one lies in the other.
fn disjoint(blocks: &[IpNet]) -> Vec<IpNet> {
    let mut sorted: Vec<IpNet> = blocks.iter().map(IpNet::trunc).collect();
    sorted.sort_unstable();
    let mut kept: Vec<IpNet> = Vec::with_capacity(sorted.len());
    for block in sorted {
        // The wider of two with the same network comes first.
        if !kept.last().is_some_and(|last| last.contains(&block)) {
            kept.push(block);
        }
    }
    kept
}

/// How many of the `bits` of an address lie behind the prefix.
fn host_bits(bits: u32, prefix_len: u8) -> u32 {
    bits - u32::from(prefix_len)
}

/// The largest host part.
fn host_mask(host_bits: u32) -> u128 {
    1_u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1)
}

/// The number of the first block of this size that lies at or behind an address.
fn first_index(address: u128, host_bits: u32) -> u128 {
    let floor = address.checked_shr(host_bits).unwrap_or(0);
    floor + u128::from(address & host_mask(host_bits) != 0)
}

fn put_part(out: &mut Vec<u8>, blocks: &[IpNet], bits: u32) {
    let mut free = 0_u128;
    for block in blocks {
        let network = match block {
            IpNet::V4(block) => u128::from(u32::from(block.network())),
            IpNet::V6(block) => u128::from(block.network()),
        };
        let host_bits = host_bits(bits, block.prefix_len());
        let index = network.checked_shr(host_bits).unwrap_or(0);
        out.push(block.prefix_len());
        put_varint(out, index - first_index(free, host_bits));
        // Behind the last block of all this wraps around, and is not used.
        free = (network | host_mask(host_bits)).wrapping_add(1);
    }
}

fn take_part(
    reader: &mut Reader<'_>,
    count: usize,
    bits: u32,
    blocks: &mut Vec<IpNet>,
) -> Result<(), DecodeError> {
    let address_max = host_mask(bits);
    // `None` once the last address of the family is taken.
    let mut free = Some(0_u128);
    for _ in 0..count {
        let prefix_len = reader.take_byte()?;
        if u32::from(prefix_len) > bits {
            return Err(reader.error("a prefix is longer than an address"));
        }
        let gap = reader.take_varint()?;
        let host_bits = host_bits(bits, prefix_len);
        let index = free
            .and_then(|free| first_index(free, host_bits).checked_add(gap))
            .filter(|&index| index <= address_max.checked_shr(host_bits).unwrap_or(0));
        let Some(index) = index else {
            return Err(reader.error("a block is beyond the last of its family"));
        };
        let network = index.checked_shl(host_bits).unwrap_or(0);
        let net = if bits == 32 {
            Ipv4Net::new(Ipv4Addr::from(network as u32), prefix_len).map(IpNet::V4)
        } else {
            Ipv6Net::new(Ipv6Addr::from(network), prefix_len).map(IpNet::V6)
        };
        blocks.push(net.map_err(|_| reader.error("a prefix is longer than an address"))?);
        let last = network | host_mask(host_bits);
        free = last.checked_add(1).filter(|&free| free <= address_max);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use spanwire_topology::model::AddressBlocks;

    fn list(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn lists_have_the_documented_form() {
        let cases: [(&str, &[u8]); 8] = [
            ("", &[]),
            ("0.0.0.0/0", &[2, 0, 0]),
            ("::/0", &[1, 1, 0, 0]),
            ("0.0.0.0/0 ::/0", &[3, 0, 0, 1, 0, 0]),
            ("0.0.0.0/8 1.0.0.0/8 3.0.0.0/8", &[6, 8, 0, 8, 0, 8, 1]),
            ("0.0.0.0/32 1.0.0.0/8", &[4, 32, 0, 8, 0]),
            ("255.255.255.255/32", &[2, 32, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            ("8000::/1", &[1, 1, 1, 1]),
        ];
        for (text, expected) in cases {
            assert_eq!(encode_blocks(&list(text)), expected, "{text}");
            assert_eq!(decode_blocks("list", expected), Ok(list(text)), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let cases: [(&[u8], &str); 8] = [
            (&[0], "an empty list is written as nothing"),
            (&[1, 0], "an IPv6 part has no blocks"),
            (&[2], "it ends early"),
            (&[2, 33, 0], "a prefix is longer than an address"),
            (&[2, 0, 1], "a block is beyond the last of its family"),
            (&[4, 0, 0, 32, 0], "a block is beyond the last of its family"),
            (&[1, 2, 0, 0, 128, 0], "a block is beyond the last of its family"),
            (&[2, 8, 0, 0], "unexpected bytes follow"),
        ];
        for (bytes, expected) in cases {
            let error = decode_blocks("list", bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:x?} gave {error}");
        }
    }

    #[test]
    fn what_overlaps_is_written_once() {
        let blocks = list("10.0.0.0/8 10.1.0.0/16 10.0.0.0/24 9.0.0.1/8");
        let back = decode_blocks("list", &encode_blocks(&blocks)).unwrap();
        assert_eq!(back, list("9.0.0.0/8 10.0.0.0/8"));
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<u32>(), 0u8..=32)
                .prop_map(|(a, len)| IpNet::V4(Ipv4Net::new(a.into(), len).unwrap().trunc())),
            (0u32..64, 26u8..=32)
                .prop_map(|(a, len)| IpNet::V4(Ipv4Net::new(a.into(), len).unwrap().trunc())),
            (any::<u128>(), 0u8..=128)
                .prop_map(|(a, len)| IpNet::V6(Ipv6Net::new(a.into(), len).unwrap().trunc())),
            (0u128..64, 122u8..=128)
                .prop_map(|(a, len)| IpNet::V6(Ipv6Net::new(a.into(), len).unwrap().trunc())),
        ]
    }

    proptest! {
        #[test]
        fn lists_come_back(nets in vec(any_net(), 0..60)) {
            let blocks = AddressBlocks::from_nets(nets.iter().copied());
            // The form that the engine hands out.
            let minimal = blocks.to_nets();
            prop_assert_eq!(decode_blocks("list", &encode_blocks(&minimal)), Ok(minimal));
            // Anything else means the same addresses afterwards.
            let back = decode_blocks("list", &encode_blocks(&nets)).unwrap();
            prop_assert_eq!(AddressBlocks::from_nets(back), blocks);
        }

        #[test]
        fn any_bytes_are_an_encoding_or_an_error(bytes in vec(any::<u8>(), 0..40)) {
            if let Ok(blocks) = decode_blocks("list", &bytes) {
                prop_assert_eq!(encode_blocks(&blocks), bytes);
            }
        }
    }
}
