//! The state as bytes, and back: what lets the log be cut, and what a new replica starts from.
//!
//! The bytes are a function of the state: every replica makes the same snapshot at the same index.

mod decode;
mod encode;
mod ports;
mod restore;

use super::{EndedRequests, Members};
use spanwire_topology::Engine;
use spanwire_topology::engine;

pub use decode::decode_snapshot;
pub use encode::encode_snapshot;
pub use restore::restore;

/// The format written here, and the newest one that is read.
const FORMAT: u32 = 3;

/// Bytes that are no snapshot of a state.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The snapshot was made by a later release.
    #[error("the snapshot has format {found}, this release reads up to {newest}: upgrade it")]
    Newer {
        /// The format found.
        found: u32,
        /// The newest that is read.
        newest: u32,
    },
    /// The bytes do not decode.
    #[error("record {record} of the snapshot: {problem}")]
    Malformed {
        /// Which record, from 0.
        record: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The records decode but do not make a state.
    #[error(transparent)]
    Contradiction(#[from] engine::SnapshotError),
}

/// All of the replicated state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// The network.
    pub network: engine::Snapshot,
    /// The members of the cluster.
    pub members: Members,
    /// The requests that came to their end.
    pub requests: EndedRequests,
    /// The last log entry that is included.
    pub applied_index: u64,
}

/// A state that is ready to go on.
#[derive(Debug, Default)]
pub struct Restored {
    /// The network.
    pub engine: Engine,
    /// The members of the cluster.
    pub members: Members,
    /// The requests that came to their end.
    pub requests: EndedRequests,
    /// The last log entry that is included.
    pub applied_index: u64,
}

#[cfg(test)]
mod tests {
    use super::encode::push;
    use super::*;
    use crate::state::wire::snapshot_record::Record;
    use crate::state::{End, RequestId, wire};
    use spanwire_topology::engine::Object;
    use spanwire_topology::model::{HostSpec, Labels, Resource, Spec, Uid, Vni};
    use spanwire_topology::view::ItemKey;

    fn mk_state() -> State {
        let mut requests = EndedRequests::default();
        requests.insert(RequestId([1; 16]), End { index: 5, refused: false });
        requests.insert(RequestId([2; 16]), End { index: 9, refused: true });
        let addresses = [(1, "a:1".to_owned()), (4, "b:1".to_owned())].into();
        let members = Members { addresses, next_id: 5 };
        State { network: mk_network(), members, requests, applied_index: 21 }
    }

    fn mk_network() -> engine::Snapshot {
        let mk_object = |n: u64| Object {
            uid: Uid(n),
            created_revision: n,
            revision: n + 1,
            resource: Resource::new(
                "system",
                format!("host-{n}"),
                Labels::new(),
                Spec::Host(HostSpec::default()),
            ),
        };
        let keys = [
            ItemKey::Domain(Vni(3)),
            ItemKey::Port(Uid(4)),
            ItemKey::Policy(Uid(5)),
            ItemKey::Blocks(Uid(6)),
            ItemKey::Shard { group: Uid(6), domain: Vni(3) },
            ItemKey::Locators(Vni(3)),
        ];
        engine::Snapshot {
            revision: 20,
            last_uid: 9,
            last_vni: 7,
            objects: (1..=3).map(mk_object).collect(),
            vnis: vec![(Uid(1), Vni(3)), (Uid(2), Vni(4))],
            versions: keys.into_iter().zip(10..).collect(),
        }
    }

    #[test]
    fn a_snapshot_survives() {
        let bytes = encode_snapshot(&mk_state());
        let state = decode_snapshot(&bytes).unwrap();
        assert_eq!(state, mk_state());
        assert_eq!(encode_snapshot(&state), bytes, "the same state gives the same bytes");
    }

    #[test]
    fn no_part_of_a_snapshot_passes_for_a_whole_one() {
        let bytes = encode_snapshot(&mk_state());
        for length in 0..bytes.len() {
            assert!(decode_snapshot(&bytes[..length]).is_err(), "{length} bytes");
        }
        let twice = [bytes.as_slice(), &bytes].concat();
        let error = decode_snapshot(&twice).unwrap_err().to_string();
        assert!(error.contains("it comes after the trailer"), "{error}");
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut bytes = Vec::new();
        let header = wire::SnapshotHeader { format: 4, ..wire::SnapshotHeader::default() };
        push(&mut bytes, Record::Header(header));
        let error = decode_snapshot(&bytes).unwrap_err().to_string();
        assert_eq!(error, "the snapshot has format 4, this release reads up to 3: upgrade it");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(
            position in 0_usize..10_000,
            flips in proptest::collection::vec(proptest::num::u8::ANY, 1..8),
        ) {
            let mut bytes = encode_snapshot(&mk_state());
            for (n, flip) in flips.iter().enumerate() {
                let at = (position + n * 13) % bytes.len();
                bytes[at] ^= flip;
            }
            // Refused or not: it comes to an end, and says so.
            let _ = restore(&bytes);
        }
    }
}
