//! How rows are written: every row can tell whether it is as it was written.

use bytes::Bytes;
use spanwire_hostproto::{Change, ClusterId, DecodeError, decode_update};
use spanwire_topology::model::{Revision, Uid, Vni};
use spanwire_topology::view::ItemKey;

/// The format of the store. A store of another format is set aside.
const FORMAT: u32 = 2;
/// Bytes of a checksum before what it is of.
const CHECKSUM_BYTES: usize = 4;
/// Bytes of a row key: type, uid, domain, sequence.
const KEY_BYTES: usize = 1 + 8 + 4 + 4;
/// Bytes of a head before the name of the host: format, revision, digest, cluster.
const HEAD_BYTES: usize = 4 + 8 + 8 + 16;

/// Where a row is: rows of an item lie together, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowKey {
    pub(super) item: ItemKey,
    /// 0 for the whole, 1 and up for the differences.
    pub(super) sequence: u32,
}

impl RowKey {
    pub(super) fn encode(self) -> [u8; KEY_BYTES] {
        let (kind, uid, vni) = match self.item {
            ItemKey::Domain(Vni(vni)) => (1, 0, vni),
            ItemKey::Port(Uid(uid)) => (2, uid, 0),
            ItemKey::Policy(Uid(uid)) => (3, uid, 0),
            ItemKey::Blocks(Uid(uid)) => (4, uid, 0),
            ItemKey::Shard { group: Uid(uid), domain: Vni(vni) } => (5, uid, vni),
            ItemKey::Locators(Vni(vni)) => (6, 0, vni),
        };
        let mut bytes = [0; KEY_BYTES];
        bytes[0] = kind;
        bytes[1..9].copy_from_slice(&u64::to_be_bytes(uid));
        bytes[9..13].copy_from_slice(&u32::to_be_bytes(vni));
        bytes[13..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<RowKey, String> {
        let key = <&[u8; KEY_BYTES]>::try_from(bytes)
            .map_err(|_| format!("a row key has {} bytes, not {KEY_BYTES}", bytes.len()))?;
        let [kind, rest @ ..] = key;
        let [u0, u1, u2, u3, u4, u5, u6, u7, v0, v1, v2, v3, s0, s1, s2, s3] = *rest;
        let uid = Uid(u64::from_be_bytes([u0, u1, u2, u3, u4, u5, u6, u7]));
        let vni = Vni(u32::from_be_bytes([v0, v1, v2, v3]));
        let item = match kind {
            1 => ItemKey::Domain(vni),
            2 => ItemKey::Port(uid),
            3 => ItemKey::Policy(uid),
            4 => ItemKey::Blocks(uid),
            5 => ItemKey::Shard { group: uid, domain: vni },
            6 => ItemKey::Locators(vni),
            _ => return Err(format!("a row key is of the unknown type {kind}")),
        };
        Ok(RowKey { item, sequence: u32::from_be_bytes([s0, s1, s2, s3]) })
    }
}

/// What the whole store stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) host: String,
    pub(super) cluster_id: ClusterId,
    pub(super) revision: Revision,
    /// Of all keys and versions.
    pub(super) digest: u64,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.host.len());
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&self.revision.to_be_bytes());
        bytes.extend_from_slice(&self.digest.to_be_bytes());
        bytes.extend_from_slice(&self.cluster_id.0);
        bytes.extend_from_slice(self.host.as_bytes());
        seal(&bytes)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Head, String> {
        let bytes = unseal(row).map_err(|problem| format!("head: {problem}"))?;
        let (format, rest) = split(&bytes)?;
        let format = u32::from_be_bytes(format);
        if format != FORMAT {
            return Err(format!("its format is {format}, and this release reads {FORMAT}"));
        }
        let (revision, rest) = split(rest)?;
        let (digest, rest) = split(rest)?;
        let (cluster_id, host) = split(rest)?;
        Ok(Head {
            host: String::from_utf8(host.to_vec()).map_err(|error| format!("head: {error}"))?,
            cluster_id: ClusterId(cluster_id),
            revision: u64::from_be_bytes(revision),
            digest: u64::from_be_bytes(digest),
        })
    }
}

fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), String> {
    let (first, rest) = bytes.split_first_chunk::<N>().ok_or("head: it is cut off")?;
    Ok((*first, rest))
}

/// Puts a checksum before a row.
pub(super) fn seal(row: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CHECKSUM_BYTES + row.len());
    bytes.extend_from_slice(&crc32c::crc32c(row).to_be_bytes());
    bytes.extend_from_slice(row);
    bytes
}

/// Takes a row that was written with [`seal`].
pub(super) fn unseal(bytes: &[u8]) -> Result<Bytes, String> {
    let (checksum, row) = bytes.split_first_chunk::<CHECKSUM_BYTES>().ok_or("a row is cut off")?;
    let (written, found) = (u32::from_be_bytes(*checksum), crc32c::crc32c(row));
    if written != found {
        return Err(format!("a row has the checksum {found:08x}, and {written:08x} was written"));
    }
    Ok(Bytes::copy_from_slice(row))
}

/// An encoded update with what the store needs to know of it.
#[derive(Debug)]
pub(super) struct RowUpdate {
    pub(super) key: ItemKey,
    pub(super) is_whole: bool,
    pub(super) is_removed: bool,
    pub(super) bytes: Bytes,
}

impl RowUpdate {
    pub(super) fn of(bytes: Bytes) -> Result<RowUpdate, DecodeError> {
        let update = decode_update(&bytes)?;
        let (is_whole, is_removed) = match update.change {
            Change::Full(_) => (true, false),
            Change::Delta { .. } => (false, false),
            // What comes by ranges is stored whole: this is of a release that did otherwise.
            Change::Ranges { .. } => (false, false),
            Change::Removed => (false, true),
        };
        Ok(RowUpdate { key: update.key, is_whole, is_removed, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = ItemKey> {
        (1..=6_u8, any::<u64>(), any::<u32>()).prop_map(|(kind, uid, vni)| match kind {
            1 => ItemKey::Domain(Vni(vni)),
            2 => ItemKey::Port(Uid(uid)),
            3 => ItemKey::Policy(Uid(uid)),
            4 => ItemKey::Blocks(Uid(uid)),
            5 => ItemKey::Shard { group: Uid(uid), domain: Vni(vni) },
            _ => ItemKey::Locators(Vni(vni)),
        })
    }

    proptest! {
        #[test]
        fn keys_and_heads_come_back(
            item in any_key(), sequence: u32, revision: u64, digest: u64, id: [u8; 16],
            host in "[a-z0-9.-]{0,80}",
        ) {
            let key = RowKey { item, sequence };
            prop_assert_eq!(RowKey::decode(&key.encode()), Ok(key));
            let head = Head { host, cluster_id: ClusterId(id), revision, digest };
            prop_assert_eq!(Head::decode(&head.encode()), Ok(head));
        }

        #[test]
        fn keys_sort_by_item_and_then_by_sequence(item in any_key(), a: u32, b: u32) {
            let row = |sequence| RowKey { item, sequence }.encode();
            prop_assert_eq!(row(a).cmp(&row(b)), a.cmp(&b));
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = RowKey::decode(&bytes);
            let _ = Head::decode(&bytes);
            let _ = Head::decode(&seal(&bytes));
            let _ = unseal(&bytes);
        }

        #[test]
        fn one_changed_bit_is_noticed(
            row in prop::collection::vec(any::<u8>(), 0..40), bit: usize,
        ) {
            let mut sealed = seal(&row);
            prop_assert_eq!(unseal(&sealed).unwrap(), row);
            let bit = bit % (sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(unseal(&sealed).is_err());
        }
    }
}
