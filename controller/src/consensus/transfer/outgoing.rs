//! The end that has the snapshot.

use super::{Chunk, ChunkRequest, SnapshotName, TRANSFER_HELD, TRANSFERS_HELD_MAX};
use bytes::Bytes;
use std::time::Duration;

/// Snapshots that others take from here, held until they have them.
#[derive(Debug)]
pub struct Outgoing {
    chunk_bytes: usize,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    name: SnapshotName,
    data: Bytes,
    checksum: u32,
    used_at: Duration,
}

/// What a request for a part came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// The part.
    Chunk(Chunk),
    /// There is no such snapshot here: see [`Outgoing::hold`].
    NotHeld,
}

impl Outgoing {
    /// None are held yet. They will go in parts of so many bytes.
    pub fn new(chunk_bytes: usize) -> Outgoing {
        Outgoing { chunk_bytes, held: Vec::new() }
    }

    /// Holds a snapshot, in place of the one that was used least recently if there are many.
    pub fn hold(&mut self, name: SnapshotName, data: Bytes, now: Duration) {
        let checksum = crc32c::crc32c(&data);
        self.held.retain(|held| held.name != name);
        if self.held.len() >= TRANSFERS_HELD_MAX {
            let oldest = self.held.iter().enumerate().min_by_key(|(_, held)| held.used_at);
            if let Some((position, _)) = oldest {
                self.held.remove(position);
            }
        }
        self.held.push(Held { name, data, checksum, used_at: now });
    }

    /// The part that is asked for.
    pub fn part(&mut self, request: ChunkRequest, now: Duration) -> Part {
        let ChunkRequest { name, offset } = request;
        let Some(held) = self.held.iter_mut().find(|held| held.name == name) else {
            return Part::NotHeld;
        };
        held.used_at = now;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(held.data.len());
        let end = held.data.len().min(begin + self.chunk_bytes);
        let data = held.data.slice(begin..end);
        Part::Chunk(Chunk {
            name,
            total: held.data.len() as u64,
            total_checksum: held.checksum,
            offset: begin as u64,
            checksum: crc32c::crc32c(&data),
            data,
        })
    }

    /// Lets go of what nobody has asked for in a while.
    pub fn process_time(&mut self, now: Duration) {
        self.held.retain(|held| held.used_at + TRANSFER_HELD > now);
    }

    /// The index of the oldest snapshot that is being taken: whoever takes it needs the log from there.
    pub fn oldest_index(&self) -> Option<u64> {
        self.held.iter().map(|held| held.name.index).min()
    }
}
