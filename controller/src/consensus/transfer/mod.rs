//! Snapshots on their way from one replica to another: in parts, each checked, from where it stopped.
//!
//! A leader's Raft core offers a snapshot, without its data, to a replica that is too far behind for
//! log entries. That replica asks for the data part by part, at its own pace, and gives the offer to its
//! own Raft core once all of it is there. Parts that get lost are asked for again, of whoever offers
//! the same snapshot by then: every replica makes the same one of the same log entries.
//!
//! Both ends are state machines without I/O.

mod incoming;
mod outgoing;

pub use incoming::{Incoming, IncomingEvent};
pub use outgoing::{Outgoing, Part};

use bytes::Bytes;
use std::time::Duration;

/// Bytes in one part.
pub const CHUNK_BYTES: usize = 512 * 1024;
/// Parts on their way at one time.
pub const CHUNKS_IN_FLIGHT: usize = 4;
/// The largest snapshot that is taken from another replica.
pub const SNAPSHOT_BYTES_MAX: u64 = 16 << 30;
/// How long a part may take before it is asked for again.
pub const CHUNK_WAIT: Duration = Duration::from_secs(1);
/// How long a replica that takes a snapshot waits without any part of it before it gives up: whoever
/// leads then offers it one again.
pub const TRANSFER_WAIT: Duration = Duration::from_secs(20);
/// How long a snapshot is held for a replica that does not ask for more of it. The log is not cut
/// behind it meanwhile.
pub const TRANSFER_HELD: Duration = Duration::from_secs(30);
/// Snapshots held for others at one time.
pub const TRANSFERS_HELD_MAX: usize = 2;

/// Which snapshot. One state belongs to each index and term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// The last log entry that is included.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// Asks for a part of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRequest {
    /// The snapshot.
    pub name: SnapshotName,
    /// Bytes that are held already.
    pub offset: u64,
}

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The snapshot.
    pub name: SnapshotName,
    /// Bytes of the whole snapshot.
    pub total: u64,
    /// CRC-32C of the whole snapshot.
    pub total_checksum: u32,
    /// Where in the snapshot the part begins.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// CRC-32C of the bytes.
    pub checksum: u32,
}

#[cfg(test)]
mod tests;
