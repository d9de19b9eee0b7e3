//! One write as a record of the journal.
//!
//! ```text
//! number u64 │ length u32 │ crc32c(number ‖ length ‖ parts) u32 │ part │ part ... │ zeros
//! part = kind u8 │ message, with its length before it
//! ```
//!
//! The number is that of the commit: it was never given before, so a record that was left by an
//! earlier use of the file is not taken for one of now. Numbers are little-endian. `length` is that of
//! the parts; zeros make the record's length a multiple of [`ALIGNMENT`], so that records can be
//! found behind one whose length is damaged.

use super::Write;
use prost::Message;
use raft::eraftpb::{ConfState, Entry, HardState};

/// Records start at multiples of this.
pub const ALIGNMENT: usize = 8;
/// Bytes before the parts.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the header that the checksum covers.
const CHECKED_HEADER_BYTES: usize = 12;

/// Kinds of parts.
const ENTRY: u8 = 1;
const HARD_STATE: u8 = 2;
const CONF_STATE: u8 = 3;

/// A record with the right checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The number of the commit.
    pub number: u64,
    /// What was written.
    pub parts: &'a [u8],
    /// Where the next record would start.
    pub end: usize,
}

/// How long the record of a write will be.
pub fn length(write: &Write) -> usize {
    let part = |length: usize| 1 + prost::length_delimiter_len(length) + length;
    let entries: usize = write.entries.iter().map(|entry| part(entry.encoded_len())).sum();
    let hard_state = write.hard_state.map_or(0, |hard_state| part(hard_state.encoded_len()));
    let conf_state = write.conf_state.as_ref().map_or(0, |members| part(members.encoded_len()));
    (HEADER_BYTES + entries + hard_state + conf_state).next_multiple_of(ALIGNMENT)
}

/// Puts the record of a write without a snapshot into `bytes`, in place of what is in it.
pub fn encode(number: u64, write: &Write, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(HEADER_BYTES, 0);
    for entry in &write.entries {
        put(ENTRY, entry, bytes);
    }
    if let Some(hard_state) = &write.hard_state {
        put(HARD_STATE, hard_state, bytes);
    }
    if let Some(conf_state) = &write.conf_state {
        put(CONF_STATE, conf_state, bytes);
    }
    // A journal is much shorter than that.
    let length = u32::try_from(bytes.len() - HEADER_BYTES).unwrap_or(u32::MAX);
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..CHECKED_HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    let (header, parts) = bytes.split_at(HEADER_BYTES);
    let checksum = checksum(header, parts);
    bytes[CHECKED_HEADER_BYTES..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

fn put(kind: u8, message: &impl Message, bytes: &mut Vec<u8>) {
    bytes.push(kind);
    // Encoding into a growing vector does not fail.
    let _ = message.encode_length_delimited(bytes);
}

/// The number of what starts `at`, whether it is a record or not.
pub fn number(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|number| u64::from_le_bytes(*number))
}

/// The record that starts `at`, if there is one and its checksum matches.
pub fn find(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let number = number(bytes, at).filter(|number| *number > 0)?;
    let (header, rest) = bytes.get(at..)?.split_first_chunk::<HEADER_BYTES>()?;
    let length = u32::from_le_bytes(*header[8..].first_chunk()?) as usize;
    let parts = rest.get(..length)?;
    let expected = u32::from_le_bytes(*header[CHECKED_HEADER_BYTES..].first_chunk()?);
    let end = at + (HEADER_BYTES + length).next_multiple_of(ALIGNMENT);
    (checksum(header, parts) == expected).then_some(Record { number, parts, end })
}

/// What a record says.
///
/// # Errors
/// What in it is not known, or does not decode.
pub fn decode(mut parts: &[u8]) -> Result<Write, String> {
    let mut write = Write::default();
    while let Some((kind, rest)) = parts.split_first() {
        parts = rest;
        let decoded = match *kind {
            ENTRY => {
                Entry::decode_length_delimited(&mut parts).map(|entry| write.entries.push(entry))
            }
            HARD_STATE => HardState::decode_length_delimited(&mut parts)
                .map(|hard_state| write.hard_state = Some(hard_state)),
            CONF_STATE => ConfState::decode_length_delimited(&mut parts)
                .map(|conf_state| write.conf_state = Some(conf_state)),
            kind => return Err(format!("it has a part of kind {kind}, which is not known")),
        };
        decoded.map_err(|error| error.to_string())?;
    }
    Ok(write)
}

fn checksum(header: &[u8], parts: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..CHECKED_HEADER_BYTES]), parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_write() -> Write {
        let mk_entry =
            |index| Entry { index, term: 3, data: vec![7; 300].into(), ..Entry::default() };
        Write {
            snapshot: None,
            entries: (4..7).map(mk_entry).collect(),
            hard_state: Some(HardState { term: 3, vote: 1, commit: 4 }),
            conf_state: Some(ConfState::from(([1, 2], [3]))),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for write in [mk_write(), Write::default()] {
            let mut bytes = vec![1; 5];
            encode(9, &write, &mut bytes);
            assert_eq!(bytes.len(), length(&write));
            let record = find(&bytes, 0).unwrap();
            assert_eq!((record.number, record.end), (9, bytes.len()));
            assert_eq!(decode(record.parts).unwrap(), write);
        }
    }

    #[test]
    fn whatever_bit_is_altered_it_is_no_record() {
        let mut bytes = Vec::new();
        encode(9, &mk_write(), &mut bytes);
        let end = HEADER_BYTES + u32::from_le_bytes(*bytes[8..].first_chunk().unwrap()) as usize;
        for bit in 0..end * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(find(&bytes, 0).is_none(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for end in 0..end {
            assert!(find(&bytes[..end], 0).is_none(), "cut off after {end}");
        }
        assert!(find(&[0; 64], 0).is_none(), "zeros are no record");
    }

    #[test]
    fn a_part_that_is_not_known_is_named() {
        assert_eq!(decode(&[9]).unwrap_err(), "it has a part of kind 9, which is not known");
        assert!(decode(&[ENTRY, 200]).is_err());
    }
}
