//! A backup: the whole state as a stream of parts, and the file they are kept in.
//!
//! ```text
//! stream  BackupHeader, BackupChunk..., BackupTrailer
//! file    "SPWBKUP1" │ part │ part ... │ part      part = length (varint) │ BackupPart
//! ```
//!
//! Each chunk has the checksum of its data, the trailer that of all of it: a part that is damaged, missing
//! or out of its place is found.

use crate::wire;
use prost::Message as _;
use std::io::{BufRead, ErrorKind, Read as _, Write};
use wire::backup_part::Part;

/// The format that is written here, and the newest that is read.
pub const FORMAT: u32 = 1;
/// Bytes in one chunk, at most. Below the 4 MiB that gRPC clients accept by default.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// The first bytes of a file.
const MAGIC: &[u8; 8] = b"SPWBKUP1";
/// The longest part in a file: a chunk, and what is around its data.
const PART_BYTES_MAX: u64 = CHUNK_BYTES_MAX as u64 + 1024;

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A later release made it.
    #[error(
        "the backup has format {found}, and this release reads up to {newest}: use the release \
             that made it, or a later one"
    )]
    Newer {
        /// The format found.
        found: u32,
        /// The newest that is read.
        newest: u32,
    },
    /// It is not what was written.
    #[error("the backup is damaged: {0}. Use another copy, or make a new one")]
    Damaged(String),
    /// It ends too early.
    #[error(
        "the backup is not whole: it ends before its trailer. Use another copy, or make a new one"
    )]
    Cut,
    /// It is no backup.
    #[error("the file is no backup: it does not begin with SPWBKUP1")]
    NoBackup,
    /// The operating system refused.
    #[error("could not read the backup: {0}")]
    Io(#[from] std::io::Error),
}

/// Cuts a state into the parts of a backup, made as they are taken.
pub fn to_parts(
    header: wire::BackupHeader,
    state: Vec<u8>,
) -> impl Iterator<Item = wire::BackupPart> {
    let bytes = state.len() as u64;
    let header = wire::BackupHeader { format: FORMAT, bytes, ..header };
    let trailer = wire::BackupTrailer { bytes, checksum: crc32c::crc32c(&state) };
    let chunks = (0..state.len()).step_by(CHUNK_BYTES_MAX).map(move |offset| {
        let data = &state[offset..state.len().min(offset + CHUNK_BYTES_MAX)];
        let checksum = crc32c::crc32c(data);
        Part::Chunk(wire::BackupChunk { offset: offset as u64, data: data.to_vec(), checksum })
    });
    std::iter::once(Part::Header(header))
        .chain(chunks)
        .chain(std::iter::once(Part::Trailer(trailer)))
        .map(|part| wire::BackupPart { part: Some(part) })
}

/// Checks a backup part by part.
#[derive(Debug, Default)]
pub struct Checker {
    header: Option<wire::BackupHeader>,
    bytes: u64,
    checksum: u32,
    is_complete: bool,
}

impl Checker {
    /// Takes the next part. Returns its data, empty if it has none.
    ///
    /// # Errors
    /// If it is damaged, or does not come here.
    pub fn take(&mut self, part: wire::BackupPart) -> Result<Vec<u8>, BackupError> {
        let damaged = |problem: String| Err(BackupError::Damaged(problem));
        if self.is_complete {
            return damaged("something follows its trailer".to_owned());
        }
        match (part.part, &self.header) {
            (Some(Part::Header(header)), None) => {
                if header.format > FORMAT {
                    return Err(BackupError::Newer { found: header.format, newest: FORMAT });
                }
                if header.format == 0 {
                    return damaged("format is 0, the first is 1".to_owned());
                }
                self.header = Some(header);
                Ok(Vec::new())
            }
            (Some(Part::Chunk(chunk)), Some(header)) => {
                let wire::BackupChunk { offset, data, checksum } = chunk;
                if offset != self.bytes || offset + data.len() as u64 > header.bytes {
                    return damaged(format!(
                        "after {} bytes comes a chunk for {offset}",
                        self.bytes
                    ));
                }
                if crc32c::crc32c(&data) != checksum {
                    return damaged(format!(
                        "the checksum of the chunk at {offset} does not match"
                    ));
                }
                self.bytes += data.len() as u64;
                self.checksum = crc32c::crc32c_append(self.checksum, &data);
                Ok(data)
            }
            (Some(Part::Trailer(trailer)), Some(header)) => {
                let wire::BackupTrailer { bytes, checksum } = trailer;
                if (bytes, header.bytes) != (self.bytes, self.bytes) {
                    return damaged(format!("it has {} bytes of {}", self.bytes, header.bytes));
                }
                if checksum != self.checksum {
                    return damaged("its checksum does not match".to_owned());
                }
                self.is_complete = true;
                Ok(Vec::new())
            }
            (Some(_), Some(_)) => damaged("it has a second header".to_owned()),
            (Some(_), None) => damaged("it does not begin with its header".to_owned()),
            (None, _) => damaged("it has a part of an unknown kind".to_owned()),
        }
    }

    /// What the header says, if the backup was whole.
    ///
    /// # Errors
    /// If the trailer did not come.
    pub fn finish(self) -> Result<wire::BackupHeader, BackupError> {
        self.header.filter(|_| self.is_complete).ok_or(BackupError::Cut)
    }
}

/// Writes a backup into a file, part by part.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// A file that begins.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(mut out: W) -> std::io::Result<Writer<W>> {
        out.write_all(MAGIC)?;
        Ok(Writer { out })
    }

    /// Writes the next part.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, part: &wire::BackupPart) -> std::io::Result<()> {
        self.out.write_all(&part.encode_length_delimited_to_vec())
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// Reads a backup file whole: what its header says, and the state.
///
/// # Errors
/// If it is no backup, not whole, or damaged.
pub fn read(mut file: impl BufRead) -> Result<(wire::BackupHeader, Vec<u8>), BackupError> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => BackupError::NoBackup,
        _ => BackupError::Io(error),
    })?;
    if &magic != MAGIC {
        return Err(BackupError::NoBackup);
    }
    let mut checker = Checker::default();
    let mut state = Vec::new();
    while let Some(length) = read_length(&mut file)? {
        let mut bytes = Vec::new();
        (&mut file).take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(BackupError::Cut);
        }
        let part = wire::BackupPart::decode(bytes.as_slice())
            .map_err(|error| BackupError::Damaged(error.to_string()))?;
        state.extend_from_slice(&checker.take(part)?);
    }
    Ok((checker.finish()?, state))
}

/// The length of the next part; `None` at the end of the file.
fn read_length(file: &mut impl BufRead) -> Result<Option<u64>, BackupError> {
    let mut length = 0_u64;
    // Lengths take three bytes: PART_BYTES_MAX has 21 bits.
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        if file.read(&mut byte)? == 0 {
            return if shift == 0 { Ok(None) } else { Err(BackupError::Cut) };
        }
        length |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return match length <= PART_BYTES_MAX {
                true => Ok(Some(length)),
                false => Err(BackupError::Damaged(format!("a part has {length} bytes"))),
            };
        }
    }
    Err(BackupError::Damaged("the length of a part makes no sense".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_header() -> wire::BackupHeader {
        wire::BackupHeader { revision: 7, index: 9, ..wire::BackupHeader::default() }
    }

    fn mk_file(state: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for part in to_parts(mk_header(), state.to_vec()) {
            writer.write(&part).unwrap();
        }
        writer.into_inner()
    }

    #[test]
    fn a_backup_is_read_as_it_was_made() {
        let large: Vec<u8> = (0..2 * CHUNK_BYTES_MAX + 5).map(|n| n as u8).collect();
        for state in [&[][..], b"x", &large[..CHUNK_BYTES_MAX], &large] {
            let (header, read) = read(mk_file(state).as_slice()).unwrap();
            assert!(read == state, "{} bytes", state.len());
            assert_eq!((header.revision, header.index, header.format), (7, 9, FORMAT));
        }
    }

    #[test]
    fn what_is_cut_off_or_altered_anywhere_is_refused() {
        let good = mk_file(b"a state of some bytes");
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut to {length}");
        }
        let header_end = MAGIC.len() + 1 + good[MAGIC.len()] as usize;
        for position in (0..MAGIC.len()).chain(header_end..good.len()) {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert!(read(bad.as_slice()).is_err(), "altered at {position}");
        }
        let twice = [good.as_slice(), &good[MAGIC.len()..]].concat();
        let error = read(twice.as_slice()).unwrap_err().to_string();
        assert!(error.contains("follows its trailer"), "{error}");
    }

    #[test]
    fn parts_out_of_their_place_are_refused() {
        let state = vec![1; CHUNK_BYTES_MAX + 1];
        let parts: Vec<_> = to_parts(mk_header(), state).collect();
        let check = |order: &[usize]| {
            let mut checker = Checker::default();
            for position in order {
                checker.take(parts[*position].clone())?;
            }
            checker.finish()
        };
        assert!(check(&[0, 1, 2, 3]).is_ok());
        let cases: [(&[usize], &str); 6] = [
            (&[0, 2, 1, 3], "after 0 bytes comes a chunk for 1048576"),
            (&[0, 1, 3], "it has 1048576 bytes of 1048577"),
            (&[1, 2, 3], "does not begin with its header"),
            (&[0, 0], "second header"),
            (&[0, 1, 1], "comes a chunk for 0"),
            (&[0, 1, 2], "ends before its trailer"),
        ];
        for (order, expected) in cases {
            let error = check(order).unwrap_err().to_string();
            assert!(error.contains(expected), "{order:?}: {error}");
        }
        let newer = wire::BackupHeader { format: FORMAT + 1, ..mk_header() };
        let part = wire::BackupPart { part: Some(Part::Header(newer)) };
        assert!(matches!(Checker::default().take(part), Err(BackupError::Newer { .. })));
    }
}
