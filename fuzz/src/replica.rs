//! What a replica reads of others, and of its own disk. The first byte of an input chooses the reader, so
//! that small ones share a target.

use crate::split;
use prost::Message;
use raft::eraftpb::Entry;
use spanwire_adminproto::backup::{self, Checker};
use spanwire_adminproto::wire::backup_part::Part;
use spanwire_adminproto::wire::{BackupPart, BackupTrailer};
use spanwire_controller::consensus::log::journal_record;
use spanwire_controller::peer::PeerMessage;
use spanwire_controller::state::{self, prepare, stamp, wire};
use spanwire_topology::Engine;

/// The replicas that messages are from and to.
pub(crate) const FROM_TO: (u64, u64) = (1, 2);
/// What a record of a journal is written as.
pub(crate) const RECORD_NUMBER: u64 = 9;

/// What the first byte of an input of [`peer`] chooses.
const PEER_READERS: [fn(&[u8]); 3] = [envelope, journal, command];
/// What the first byte of an input of [`state`] chooses.
const STATE_READERS: [fn(&[u8]); 3] = [snapshot, backup_file, backup_parts];

/// Messages of other replicas, records of the journal, commands in the log.
pub fn peer(data: &[u8]) {
    choose(&PEER_READERS, data);
}

/// Snapshots and backups.
pub fn state(data: &[u8]) {
    choose(&STATE_READERS, data);
}

fn choose(readers: &[fn(&[u8])], data: &[u8]) {
    if let Some((chosen, rest)) = data.split_first() {
        readers[usize::from(*chosen) % readers.len()](rest);
    }
}

/// A message: what is taken can be sent on, and is taken as the same.
fn envelope(data: &[u8]) {
    let (from, to) = FROM_TO;
    let read = |bytes: &[u8]| {
        let envelope = wire::Envelope::decode(bytes).ok()?;
        PeerMessage::from_wire(envelope, from, to).ok()
    };
    if let Some(message) = read(data) {
        let again = read(&message.to_wire().encode_to_vec());
        assert_eq!(again.as_ref(), Some(&message));
    }
}

/// A journal: whatever is in it a record is found or not; and what a record says can be written, and is
/// found and read as the same.
fn journal(data: &[u8]) {
    let mut at = 0;
    while let Some(record) = journal_record::find(data, at) {
        assert!(record.end > at, "a record ends where it begins");
        let _parts = journal_record::decode(record.parts);
        at = record.end;
    }
    if let Ok(write) = journal_record::decode(data) {
        let mut bytes = Vec::new();
        journal_record::encode(RECORD_NUMBER, &write, &mut bytes);
        assert_eq!(bytes.len(), journal_record::length(&write));
        let record = journal_record::find(&bytes, 0).unwrap_or_else(|| panic!("no record"));
        assert_eq!((record.number, record.end), (RECORD_NUMBER, bytes.len()));
        assert_eq!(journal_record::decode(record.parts), Ok(write));
    }
}

/// A command: the time that the leader adds is in it, and the state takes or refuses it.
fn command(data: &[u8]) {
    const PROPOSED_AT_MS: u64 = 1_700_000_000_000;
    let mk_entry =
        |data: Vec<u8>| Entry { index: 7, term: 3, data: data.into(), ..Entry::default() };
    if data.is_empty() || prepare(&mk_entry(data.to_vec())).is_err() {
        return;
    }
    let stamped = prepare(&mk_entry(stamp(data, PROPOSED_AT_MS)));
    let Ok(Some(prepared)) = stamped else { panic!("a stamp made {stamped:?} of a command") };
    assert_eq!(prepared.proposed_at_ms, PROPOSED_AT_MS);
    if let Ok(transaction) = prepared.transaction {
        // Refused or not, the replica goes on.
        let _outcome = Engine::new().apply(&transaction, prepared.index);
    }
}

/// A snapshot: what is read is written so that it is read as the same; and if it makes a state, then that
/// state's own snapshot makes the same.
fn snapshot(data: &[u8]) {
    let Ok(read) = state::decode_snapshot(data) else { return };
    let encoded = state::encode_snapshot(&read);
    let again = state::decode_snapshot(&encoded).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, read);
    if let Ok(engine) = Engine::import(read.network) {
        let exported = engine.export();
        let again = Engine::import(exported.clone()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.export(), exported);
    }
}

/// A backup file: it gives as many bytes as its header says.
fn backup_file(data: &[u8]) {
    if let Ok((header, bytes)) = backup::read(data) {
        assert_eq!(bytes.len() as u64, header.bytes);
        snapshot(&bytes);
    }
}

/// The parts of a backup, with the checksums that they should have: a chance input has others.
fn backup_parts(data: &[u8]) {
    let mut checker = Checker::default();
    let mut bytes = Vec::new();
    for part in split(data) {
        let Ok(BackupPart { part: Some(part) }) = BackupPart::decode(part) else { continue };
        let part = match part {
            Part::Chunk(mut chunk) => {
                chunk.checksum = crc32c::crc32c(&chunk.data);
                Part::Chunk(chunk)
            }
            Part::Trailer(trailer) => {
                Part::Trailer(BackupTrailer { checksum: crc32c::crc32c(&bytes), ..trailer })
            }
            header => header,
        };
        match checker.take(BackupPart { part: Some(part) }) {
            Ok(more) => bytes.extend(more),
            Err(_) => return,
        }
    }
    if let Ok(header) = checker.finish() {
        assert_eq!(bytes.len() as u64, header.bytes);
    }
}
