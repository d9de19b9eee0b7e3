//! One number for a set of keys and versions, and one for a set of items with their contents.
//!
//! Two ends compare it instead of the set: if the numbers are equal, so are the sets, but for one
//! chance in 2⁶⁴. It guards against mistakes, not against forgery.

use spanwire_topology::model::{Revision, Uid, Vni};
use spanwire_topology::view::ItemKey;

/// The digest of a set of keys and versions.
///
/// Each entry is mixed into 64 bits, the results are added up without carry out, and the sum is
/// mixed with the number of entries. So it depends neither on the order nor on the platform, and
/// the digest of nothing is a number like any other. It is part of the protocol: it never changes.
pub fn digest(items: impl IntoIterator<Item = (ItemKey, Revision)>) -> u64 {
    let (mut sum, mut count) = (0_u64, 0_u64);
    for (key, version) in items {
        sum = sum.wrapping_add(entry(key, version));
        count = count.wrapping_add(1);
    }
    mix(sum ^ mix(count))
}

/// The version of [`content`]: of how items are encoded, and how the bytes are made into a number. It
/// grows with every field that the encoding of an item gains, for an end that does not know the field
/// would take another digest of the same item.
pub const CHECK_VERSION: u32 = 1;

/// The digest of an item as [`encode_full`](crate::codec::encode_full) encodes it: key, version and
/// content.
///
/// The length and then each 8 bytes, the last ones filled up with zeros, are mixed in one after the
/// other. It is the same on every platform.
pub fn content(encoded: &[u8]) -> u64 {
    let mut state = mix(encoded.len() as u64);
    let (words, rest) = encoded.as_chunks::<8>();
    for word in words {
        state = mix(state ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(state ^ u64::from_le_bytes(last))
}

/// The digest of a set of items by their [`content`]s. It does not depend on the order.
pub fn contents(items: impl IntoIterator<Item = u64>) -> u64 {
    let (mut sum, mut count) = (0_u64, 0_u64);
    for item in items {
        sum = sum.wrapping_add(item);
        count = count.wrapping_add(1);
    }
    mix(sum ^ mix(count))
}

fn entry(key: ItemKey, version: Revision) -> u64 {
    // The numbers of the types are those of the wire.
    let (kind, uid, vni) = match key {
        ItemKey::Domain(Vni(vni)) => (1_u64, 0, vni),
        ItemKey::Port(Uid(uid)) => (2, uid, 0),
        ItemKey::Policy(Uid(uid)) => (3, uid, 0),
        ItemKey::Blocks(Uid(uid)) => (4, uid, 0),
        ItemKey::Shard { group: Uid(uid), domain: Vni(vni) } => (5, uid, vni),
        ItemKey::Locators(Vni(vni)) => (6, 0, vni),
    };
    let with_domain = mix((kind << 32 | u64::from(vni)) ^ 0x7370_616e_7769_7265);
    mix(mix(with_domain ^ uid) ^ version)
}

/// The finalizer of SplitMix64: every bit of the input moves half the bits of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn items() -> Vec<(ItemKey, Revision)> {
        vec![
            (ItemKey::Domain(Vni(1)), 3),
            (ItemKey::Port(Uid(1)), 3),
            (ItemKey::Policy(Uid(1)), 3),
            (ItemKey::Blocks(Uid(1)), 3),
            (ItemKey::Shard { group: Uid(1), domain: Vni(1) }, 3),
            (ItemKey::Locators(Vni(1)), 3),
        ]
    }

    /// Computed by a second implementation, in another language. Part of the protocol.
    #[test]
    fn digests_never_change() {
        assert_eq!(digest([]), 0xa706_dd2f_4d19_7e6f);
        assert_eq!(digest(items()), 0x2f62_fa53_4c18_1fce);
    }

    /// Computed by a second implementation as well. Part of the protocol, by [`CHECK_VERSION`].
    #[test]
    fn contents_never_change() {
        let cases: [(&[u8], u64); 4] = [
            (b"", 0xa706_dd2f_4d19_7e6f),
            (b"span", 0x68d7_4c2a_edcf_99f6),
            (b"spanwire", 0xff8b_3a25_3c4b_4f33),
            (b"spanwire host check", 0x2309_f56a_7601_c6a3),
        ];
        for (bytes, expected) in cases {
            assert_eq!(content(bytes), expected, "{bytes:?}");
        }
        assert_eq!(contents([]), digest([]));
        assert_eq!(contents([0xa706_dd2f_4d19_7e6f, 0x68d7_4c2a_edcf_99f6]), 0x3c2f_1cf4_c21c_e9c4);
        assert_eq!(contents([0x68d7_4c2a_edcf_99f6, 0xa706_dd2f_4d19_7e6f]), 0x3c2f_1cf4_c21c_e9c4);
    }

    #[test]
    fn every_bit_of_a_content_matters() {
        let bytes: Vec<u8> = (0..37).collect();
        let mut digests = BTreeSet::from([content(&bytes)]);
        for at in 0..bytes.len() {
            digests.insert(content(&bytes[..at]));
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                digests.insert(content(&other));
            }
        }
        // One that ends in a zero is not the one without it.
        digests.insert(content(&[&bytes[..], &[0]].concat()));
        assert_eq!(digests.len(), 1 + bytes.len() * 9 + 1);
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let items = items();
        let mut reversed = items.clone();
        reversed.reverse();
        assert_eq!(digest(reversed), digest(items.clone()));
        let mut digests = BTreeSet::from([digest(items.clone()), digest([])]);
        for at in 0..items.len() {
            let mut without = items.clone();
            let (key, version) = without.remove(at);
            digests.insert(digest(without.clone()));
            without.push((key, version + 1));
            digests.insert(digest(without));
            digests.insert(digest([(key, version)]));
        }
        let mut twice = items.clone();
        twice.push(items[0]);
        digests.insert(digest(twice));
        assert_eq!(digests.len(), 2 + 3 * items.len() + 1);
    }
}
