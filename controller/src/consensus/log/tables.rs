//! The tables of the database, and the records in them.
//!
//! Each record is `crc32c(key ‖ message) ‖ message`, so a record that was altered, or stands under
//! another key, is found when it is read.

use super::Write;
use prost::Message;
use raft::eraftpb::SnapshotMetadata;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

/// Entries by their index.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// One of each of the records below.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Term, vote and commit index.
pub(super) const HARD_STATE: &str = "hard_state";
/// Members.
pub(super) const CONF_STATE: &str = "conf_state";
/// Index and term of the last entry that was compacted away.
pub(super) const COMPACTED: &str = "compacted";
/// What the kept snapshot stands for.
pub(super) const SNAPSHOT: &str = "snapshot";
/// How many commits there were, up to the last that is in the database; missing in a log of an earlier
/// release.
pub(super) const COMMITS: &str = "commits";
/// There is a journal; missing in a log of an earlier release.
pub(super) const JOURNALED: &str = "journaled";

/// Puts the parts of a write into the tables. Entries from `replaced_from` on are removed first.
pub(super) fn put(
    transaction: &WriteTransaction,
    replaced_from: u64,
    write: &Write,
    snapshot: Option<&SnapshotMetadata>,
) -> Result<(), redb::Error> {
    let mut log = transaction.open_table(LOG)?;
    let mut meta = transaction.open_table(META)?;
    if let Some(metadata) = snapshot {
        log.retain(|_, _| false)?;
        let compacted = SnapshotMetadata { conf_state: None, ..metadata.clone() };
        meta.insert(COMPACTED, sealed(COMPACTED.as_bytes(), &compacted).as_slice())?;
        meta.insert(SNAPSHOT, sealed(SNAPSHOT.as_bytes(), metadata).as_slice())?;
        let members = sealed(CONF_STATE.as_bytes(), metadata.get_conf_state());
        meta.insert(CONF_STATE, members.as_slice())?;
    }
    let last = log.last()?.map(|(key, _)| key.value());
    if last.is_some_and(|last| last >= replaced_from) {
        log.retain_in(replaced_from.., |_, _| false)?;
    }
    for entry in &write.entries {
        log.insert(entry.index, sealed(&entry.index.to_be_bytes(), entry).as_slice())?;
    }
    if let Some(hard_state) = &write.hard_state {
        meta.insert(HARD_STATE, sealed(HARD_STATE.as_bytes(), hard_state).as_slice())?;
    }
    if let Some(conf_state) = &write.conf_state {
        meta.insert(CONF_STATE, sealed(CONF_STATE.as_bytes(), conf_state).as_slice())?;
    }
    Ok(())
}

/// A record: the checksum, then the message.
pub(super) fn sealed(key: &[u8], message: &impl Message) -> Vec<u8> {
    let mut record = vec![0; 4];
    record.reserve(message.encoded_len());
    // Encoding into a growing vector does not fail.
    let _ = message.encode(&mut record);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(key), &record[4..]);
    record[..4].copy_from_slice(&checksum.to_le_bytes());
    record
}

/// The message of a record, if its checksum matches.
pub(super) fn opened<'a>(key: &[u8], record: &'a [u8]) -> Option<&'a [u8]> {
    let (checksum, message) = record.split_first_chunk::<4>()?;
    let found = crc32c::crc32c_append(crc32c::crc32c(key), message);
    (found == u32::from_le_bytes(*checksum)).then_some(message)
}
