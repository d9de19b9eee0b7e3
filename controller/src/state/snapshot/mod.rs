//! The state as bytes, and back: what lets the log be cut, and what a new replica starts from.
//!
//! The bytes are a function of the state: every replica makes the same snapshot at the same index.

mod ports;

use super::{End, EndedRequests, Members, RequestId, wire};
use ports::{PORTS_PER_RECORD_MAX, PortsReader, PortsWriter};
use prost::Message;
use spanwire_adminproto::convert;
use spanwire_topology::Engine;
use spanwire_topology::engine::{self, Object};
use spanwire_topology::model::{Revision, Sharing, Spec, Uid, Vni};
use spanwire_topology::view::ItemKey;
use wire::snapshot_record::Record;

/// The format written here, and the newest one that is read.
const FORMAT: u32 = 3;
/// Versions in one record.
const VERSIONS_PER_RECORD_MAX: usize = 65_536;

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

/// A state as bytes.
pub fn encode_snapshot(state: &State) -> Vec<u8> {
    let State { network, members, requests, applied_index } = state;
    let applied_index = *applied_index;
    let engine::Snapshot { revision, last_uid, last_vni, objects, vnis, versions } = network;
    let mut bytes = Vec::new();
    let header = wire::SnapshotHeader {
        format: FORMAT,
        revision: *revision,
        applied_index,
        last_uid: *last_uid,
        last_vni: *last_vni,
    };
    push(&mut bytes, Record::Header(header));
    let mut ports = PortsWriter::default();
    for object in objects {
        if let Spec::LogicalPort(spec) = &*object.resource.spec {
            ports.push(object, spec);
            if ports.len() == PORTS_PER_RECORD_MAX {
                push(&mut bytes, Record::Ports(std::mem::take(&mut ports).finish()));
            }
            continue;
        }
        // Objects keep their order, and with it a state has one encoding.
        if ports.len() > 0 {
            push(&mut bytes, Record::Ports(std::mem::take(&mut ports).finish()));
        }
        push(&mut bytes, Record::Object(convert::from_object(object)));
    }
    if ports.len() > 0 {
        push(&mut bytes, Record::Ports(ports.finish()));
    }
    let domains = wire::SnapshotDomains {
        uids: vnis.iter().map(|(uid, _)| uid.0).collect(),
        vnis: vnis.iter().map(|(_, vni)| vni.0).collect(),
    };
    push(&mut bytes, Record::Domains(domains));
    for chunk in versions.chunks(VERSIONS_PER_RECORD_MAX) {
        push(&mut bytes, Record::Versions(from_versions(chunk)));
    }
    push(&mut bytes, Record::Members(from_members(members)));
    push(&mut bytes, Record::Requests(from_requests(requests)));
    let trailer =
        wire::SnapshotTrailer { objects: objects.len() as u64, versions: versions.len() as u64 };
    push(&mut bytes, Record::Trailer(trailer));
    bytes
}

fn push(bytes: &mut Vec<u8>, record: Record) {
    let record = wire::SnapshotRecord { record: Some(record) };
    // Encoding into a growing vector does not fail.
    let _ = record.encode_length_delimited(bytes);
}

fn from_members(members: &Members) -> wire::SnapshotMembers {
    wire::SnapshotMembers {
        ids: members.addresses.keys().copied().collect(),
        addresses: members.addresses.values().cloned().collect(),
        next_id: members.next_id,
    }
}

fn from_requests(requests: &EndedRequests) -> wire::SnapshotRequests {
    wire::SnapshotRequests {
        ids: requests.iter().flat_map(|(id, _)| id.0).collect(),
        entries: requests.iter().map(|(_, end)| end.index).collect(),
        refused: requests.iter().map(|(_, end)| end.refused).collect(),
        floor: requests.floor(),
    }
}

fn from_versions(versions: &[(ItemKey, Revision)]) -> wire::SnapshotVersions {
    let mut record = wire::SnapshotVersions::default();
    for (key, version) in versions {
        let (kind, uid, vni) = match *key {
            ItemKey::Domain(vni) => (1, Uid(0), vni),
            ItemKey::Port(uid) => (2, uid, Vni(0)),
            ItemKey::Policy(uid) => (3, uid, Vni(0)),
            ItemKey::Blocks(uid) => (4, uid, Vni(0)),
            ItemKey::Shard { group, domain } => (5, group, domain),
            ItemKey::Locators(vni) => (6, Uid(0), vni),
        };
        record.types.push(kind);
        record.uids.push(uid.0);
        record.vnis.push(vni.0);
        record.versions.push(*version);
    }
    record
}

/// A state, from bytes.
pub fn decode_snapshot(mut bytes: &[u8]) -> Result<State, SnapshotError> {
    let mut reader = Reader::default();
    while !bytes.is_empty() {
        let record = wire::SnapshotRecord::decode_length_delimited(&mut bytes)
            .map_err(|error| reader.malformed(&error.to_string()))?;
        reader.take(record)?;
        reader.records += 1;
    }
    match (reader.is_complete, reader.applied_index) {
        (true, Some(applied_index)) => Ok(State {
            network: reader.snapshot,
            members: reader.members,
            requests: reader.requests,
            applied_index,
        }),
        _ => Err(reader.malformed("the snapshot ends before its trailer")),
    }
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

/// The state that some bytes hold, ready to go on.
pub fn restore(bytes: &[u8]) -> Result<Restored, SnapshotError> {
    let State { network, members, requests, applied_index } = decode_snapshot(bytes)?;
    Ok(Restored { engine: Engine::import(network)?, members, requests, applied_index })
}

#[derive(Default)]
struct Reader {
    snapshot: engine::Snapshot,
    ports: PortsReader,
    sharing: Sharing,
    members: Members,
    requests: EndedRequests,
    applied_index: Option<u64>,
    is_complete: bool,
    records: usize,
}

impl Reader {
    fn malformed(&self, problem: &str) -> SnapshotError {
        SnapshotError::Malformed { record: self.records, problem: problem.to_owned() }
    }

    fn take(&mut self, record: wire::SnapshotRecord) -> Result<(), SnapshotError> {
        let record = record.record.ok_or_else(|| self.malformed("its kind is unknown"))?;
        if self.is_complete {
            return Err(self.malformed("it comes after the trailer"));
        }
        if self.applied_index.is_some() == matches!(record, Record::Header(_)) {
            return Err(self.malformed("the header must be the first record, and the only one"));
        }
        match record {
            Record::Header(header) => self.take_header(&header),
            Record::Object(resource) => self.take_object(&resource),
            Record::Ports(ports) => self.take_ports(&ports),
            Record::Domains(domains) => self.take_domains(&domains),
            Record::Versions(versions) => self.take_versions(&versions),
            Record::Members(members) => self.take_members(members),
            Record::Requests(requests) => self.take_requests(&requests),
            Record::Trailer(trailer) => self.take_trailer(&trailer),
        }
    }

    fn take_header(&mut self, header: &wire::SnapshotHeader) -> Result<(), SnapshotError> {
        let wire::SnapshotHeader { format, revision, applied_index, last_uid, last_vni } = header;
        if *format > FORMAT {
            return Err(SnapshotError::Newer { found: *format, newest: FORMAT });
        }
        if applied_index < revision {
            return Err(self.malformed("its revision is later than its last log entry"));
        }
        self.applied_index = Some(*applied_index);
        self.snapshot.revision = *revision;
        self.snapshot.last_uid = *last_uid;
        self.snapshot.last_vni = *last_vni;
        Ok(())
    }

    fn take_object(
        &mut self,
        resource: &spanwire_adminproto::wire::Resource,
    ) -> Result<(), SnapshotError> {
        let status = resource.status.ok_or_else(|| self.malformed("an object has no status"))?;
        let mut resource =
            convert::to_resource(resource).map_err(|error| self.malformed(&error.to_string()))?;
        self.sharing.share(&mut resource);
        self.snapshot.objects.push(Object {
            uid: Uid(status.uid),
            created_revision: status.created_revision,
            revision: status.revision,
            resource,
        });
        Ok(())
    }

    fn take_ports(&mut self, ports: &wire::SnapshotPorts) -> Result<(), SnapshotError> {
        let ports = self.ports.read(ports).map_err(|problem| self.malformed(&problem))?;
        self.snapshot.objects.extend(ports);
        Ok(())
    }

    fn take_domains(&mut self, domains: &wire::SnapshotDomains) -> Result<(), SnapshotError> {
        let wire::SnapshotDomains { uids, vnis } = domains;
        if uids.len() != vnis.len() {
            return Err(self.malformed("its lists differ in length"));
        }
        let pairs = uids.iter().zip(vnis).map(|(uid, vni)| (Uid(*uid), Vni(*vni)));
        self.snapshot.vnis.extend(pairs);
        Ok(())
    }

    fn take_versions(&mut self, record: &wire::SnapshotVersions) -> Result<(), SnapshotError> {
        let wire::SnapshotVersions { types, uids, vnis, versions } = record;
        let length = types.len();
        if [uids.len(), vnis.len(), versions.len()] != [length; 3] {
            return Err(self.malformed("its lists differ in length"));
        }
        for (n, kind) in types.iter().enumerate() {
            let (uid, vni) = (Uid(uids[n]), Vni(vnis[n]));
            let key = match kind {
                1 => ItemKey::Domain(vni),
                2 => ItemKey::Port(uid),
                3 => ItemKey::Policy(uid),
                4 => ItemKey::Blocks(uid),
                5 => ItemKey::Shard { group: uid, domain: vni },
                6 => ItemKey::Locators(vni),
                other => return Err(self.malformed(&format!("unknown type of item {other}"))),
            };
            self.snapshot.versions.push((key, versions[n]));
        }
        Ok(())
    }

    fn take_members(&mut self, members: wire::SnapshotMembers) -> Result<(), SnapshotError> {
        let wire::SnapshotMembers { ids, addresses, next_id } = members;
        if ids.len() != addresses.len() {
            return Err(self.malformed("its lists differ in length"));
        }
        if ids.iter().any(|id| *id == 0 || *id >= next_id) {
            return Err(self.malformed("a member has an identity that was not given out"));
        }
        self.members = Members { addresses: ids.into_iter().zip(addresses).collect(), next_id };
        Ok(())
    }

    fn take_requests(&mut self, record: &wire::SnapshotRequests) -> Result<(), SnapshotError> {
        let wire::SnapshotRequests { ids, entries, refused, floor } = record;
        let (ids, rest) = ids.as_chunks::<16>();
        if [entries.len(), refused.len()] != [ids.len(); 2] || !rest.is_empty() {
            return Err(self.malformed("its lists differ in length"));
        }
        let ends = entries.iter().zip(refused);
        let ends = ends.map(|(index, refused)| End { index: *index, refused: *refused });
        let requests = ids.iter().map(|id| RequestId(*id)).zip(ends);
        self.requests = EndedRequests::from_parts(*floor, requests)
            .ok_or_else(|| self.malformed("its requests are not in order"))?;
        Ok(())
    }

    fn take_trailer(&mut self, trailer: &wire::SnapshotTrailer) -> Result<(), SnapshotError> {
        let wire::SnapshotTrailer { objects, versions } = trailer;
        let found = (self.snapshot.objects.len() as u64, self.snapshot.versions.len() as u64);
        if found != (*objects, *versions) {
            return Err(self.malformed("objects or versions are missing"));
        }
        self.is_complete = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::{HostSpec, Labels, Resource, Spec};

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
