//! Snapshots on disk: one file each, in chunks with checksums, replaced atomically.
//!
//! ```text
//! "SPWSNAP1" │ chunk: metadata │ chunk │ chunk ... │ empty chunk
//!              chunk = length u32 │ crc32c(position u64 ‖ bytes) u32 │ bytes
//! ```
//!
//! The position in the checksum is the number of the chunk, so chunks that changed places are
//! found. A file without the empty chunk at its end was never finished, or was cut off.

use super::StoreError;
use super::disk::{Cursor, Disk};
use super::tail::io_error;
use prost::Message as _;
use raft::eraftpb::{Snapshot, SnapshotMetadata};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SPWSNAP1";
/// Bytes in one chunk, at most: what a reader must hold before it can check it.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The file name of the snapshot that includes the log up to `index`.
pub(super) fn file_name(index: u64) -> String {
    format!("{index:020}.snapshot")
}

/// Writes a snapshot and makes it durable: under another name first, so that a file with a
/// snapshot's name is always a whole one.
pub(super) fn save(disk: &dyn Disk, snapshot: &Snapshot) -> Result<(), StoreError> {
    let index = snapshot.get_metadata().index;
    let name = file_name(index);
    let temporary = format!("{index:020}.tmp");
    let write = || -> std::io::Result<()> {
        let file = disk.create(&temporary)?;
        // An attempt that a crash broke off may have left one.
        file.set_len(0)?;
        let mut out = BufWriter::new(Cursor::new(file)?);
        out.write_all(MAGIC)?;
        let metadata = snapshot.get_metadata().encode_to_vec();
        let chunks = std::iter::once(metadata.as_slice())
            .chain(snapshot.data.chunks(CHUNK_BYTES_MAX))
            .chain(std::iter::once([].as_slice()));
        for (position, chunk) in chunks.enumerate() {
            // A chunk has CHUNK_BYTES_MAX bytes at most, and metadata a few for each member.
            let length = u32::try_from(chunk.len()).map_err(std::io::Error::other)?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(&checksum(position as u64, chunk).to_le_bytes())?;
            out.write_all(chunk)?;
        }
        out.into_inner()?.into_file().sync()?;
        disk.rename(&temporary, &name)?;
        disk.sync()
    };
    write().map_err(|error| io_error("write the snapshot", &disk.path(&name), error))
}

/// Reads what the snapshot of an index stands for.
pub(super) fn load_metadata(disk: &dyn Disk, index: u64) -> Result<SnapshotMetadata, StoreError> {
    Reader::open(disk, index)?.metadata()
}

/// Reads the snapshot of an index whole.
pub(super) fn load(disk: &dyn Disk, index: u64) -> Result<Snapshot, StoreError> {
    let mut reader = Reader::open(disk, index)?;
    let metadata = reader.metadata()?;
    let mut data = Vec::new();
    loop {
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            return Ok(Snapshot { data: data.into(), metadata: Some(metadata) });
        }
        data.extend_from_slice(&chunk);
    }
}

/// Removes the snapshots other than the one of index `keep`, and what unfinished writes left. What
/// cannot be removed is left: it does no harm.
pub(super) fn remove_others(disk: &dyn Disk, keep: u64) {
    let Ok(names) = disk.list() else { return };
    let keep = file_name(keep);
    for name in names {
        if (name.ends_with(".snapshot") || name.ends_with(".tmp")) && name != keep {
            let _ = disk.remove(&name);
        }
    }
}

fn checksum(position: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&position.to_le_bytes()), bytes)
}

struct Reader {
    path: PathBuf,
    file: BufReader<Cursor>,
    position: u64,
}

impl Reader {
    fn open(disk: &dyn Disk, index: u64) -> Result<Reader, StoreError> {
        let name = file_name(index);
        let path = disk.path(&name);
        let opened = disk.open(&name).and_then(Cursor::new);
        let file = opened.map_err(|error| match error.kind() {
            // Whoever asks for it has a record of it.
            ErrorKind::NotFound => corrupt(&path, "the file is missing"),
            _ => io_error("open the snapshot", &path, error),
        })?;
        let mut reader = Reader { path, file: BufReader::new(file), position: 0 };
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic)?;
        if &magic != MAGIC {
            return Err(reader.corrupt("it does not start with SPWSNAP1"));
        }
        Ok(reader)
    }

    fn metadata(&mut self) -> Result<SnapshotMetadata, StoreError> {
        let chunk = self.chunk()?;
        SnapshotMetadata::decode(chunk.as_slice()).map_err(|error| self.corrupt(&error.to_string()))
    }

    fn chunk(&mut self) -> Result<Vec<u8>, StoreError> {
        let mut word = [0; 4];
        self.fill(&mut word)?;
        let length = u32::from_le_bytes(word) as usize;
        if length > CHUNK_BYTES_MAX {
            return Err(self.corrupt(&format!("chunk {} is too long", self.position)));
        }
        self.fill(&mut word)?;
        let expected = u32::from_le_bytes(word);
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        if checksum(self.position, &bytes) != expected {
            let problem = format!("the checksum of chunk {} does not match", self.position);
            return Err(self.corrupt(&problem));
        }
        self.position += 1;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.corrupt("it ends too early"),
            _ => io_error("read the snapshot", &self.path, error),
        })
    }

    fn corrupt(&self, problem: &str) -> StoreError {
        corrupt(&self.path, problem)
    }
}

fn corrupt(path: &Path, problem: &str) -> StoreError {
    StoreError::Corrupt {
        what: "the snapshot".to_owned(),
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}
