//! A state as bytes.

use super::ports::{PORTS_PER_RECORD_MAX, PortsWriter};
use super::{FORMAT, State};
use crate::state::{EndedRequests, Members, wire};
use prost::Message;
use spanwire_adminproto::convert;
use spanwire_topology::engine;
use spanwire_topology::model::{Revision, Spec, Uid, Vni};
use spanwire_topology::view::ItemKey;
use wire::snapshot_record::Record;

/// Versions in one record.
const VERSIONS_PER_RECORD_MAX: usize = 65_536;

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

pub(super) fn push(bytes: &mut Vec<u8>, record: Record) {
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
