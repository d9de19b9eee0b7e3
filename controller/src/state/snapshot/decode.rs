//! A state, from bytes.

use super::super::{End, EndedRequests, Members, RequestId, wire};
use super::ports::PortsReader;
use super::{FORMAT, SnapshotError, State};
use prost::Message;
use spanwire_adminproto::convert;
use spanwire_topology::engine::{self, Object, SnapshotEnd};
use spanwire_topology::model::{Sharing, Uid, Vni};
use spanwire_topology::view::ItemKey;
use wire::snapshot_record::Record;

/// Objects that are handed on together, or a few more.
const OBJECTS_AT_ONCE: usize = 4_096;

/// A state, from bytes.
///
/// # Errors
/// If the bytes are not all of a snapshot, or are of a later release. Whether its objects make a network
/// is not looked at.
pub fn decode_snapshot(bytes: &[u8]) -> Result<State, SnapshotError> {
    let mut objects = Vec::new();
    let Rest { network, members, requests, applied_index } =
        read(bytes, |some| objects.extend(some))?;
    let SnapshotEnd { revision, last_uid, last_vni, vnis, versions } = network;
    let network = engine::Snapshot { revision, last_uid, last_vni, objects, vnis, versions };
    Ok(State { network, members, requests, applied_index })
}

/// What a snapshot has besides the objects of the network.
pub(super) struct Rest {
    pub(super) network: SnapshotEnd,
    pub(super) members: Members,
    pub(super) requests: EndedRequests,
    pub(super) applied_index: u64,
}

/// Reads a snapshot to its end, and hands its objects on, in their order, some at a time.
pub(super) fn read(
    mut bytes: &[u8],
    mut take: impl FnMut(Vec<Object>),
) -> Result<Rest, SnapshotError> {
    let mut reader = Reader::default();
    while !bytes.is_empty() {
        let record = wire::SnapshotRecord::decode_length_delimited(&mut bytes)
            .map_err(|error| reader.malformed(&error.to_string()))?;
        reader.take(record)?;
        reader.records += 1;
        if reader.objects.len() >= OBJECTS_AT_ONCE || reader.is_complete {
            reader.handed += reader.objects.len();
            take(std::mem::take(&mut reader.objects));
        }
    }
    match (reader.is_complete, reader.applied_index) {
        (true, Some(applied_index)) => Ok(Rest {
            network: reader.end,
            members: reader.members,
            requests: reader.requests,
            applied_index,
        }),
        _ => Err(reader.malformed("the snapshot ends before its trailer")),
    }
}

#[derive(Default)]
struct Reader {
    /// Not handed on yet.
    objects: Vec<Object>,
    /// How many were handed on.
    handed: usize,
    end: SnapshotEnd,
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
        self.end.revision = *revision;
        self.end.last_uid = *last_uid;
        self.end.last_vni = *last_vni;
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
        self.objects.push(Object {
            uid: Uid(status.uid),
            created_revision: status.created_revision,
            revision: status.revision,
            resource,
        });
        Ok(())
    }

    fn take_ports(&mut self, ports: &wire::SnapshotPorts) -> Result<(), SnapshotError> {
        let ports = self.ports.read(ports).map_err(|problem| self.malformed(&problem))?;
        self.objects.extend(ports);
        Ok(())
    }

    fn take_domains(&mut self, domains: &wire::SnapshotDomains) -> Result<(), SnapshotError> {
        let wire::SnapshotDomains { uids, vnis } = domains;
        if uids.len() != vnis.len() {
            return Err(self.malformed("its lists differ in length"));
        }
        let pairs = uids.iter().zip(vnis).map(|(uid, vni)| (Uid(*uid), Vni(*vni)));
        self.end.vnis.extend(pairs);
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
            self.end.versions.push((key, versions[n]));
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
        let found = ((self.handed + self.objects.len()) as u64, self.end.versions.len() as u64);
        if found != (*objects, *versions) {
            return Err(self.malformed("objects or versions are missing"));
        }
        self.is_complete = true;
        Ok(())
    }
}
