//! One file of a [`FaultDisk`](super::FaultDisk): what programs read of it, and what of that would
//! survive a power cut.

use rand::{Rng, RngExt as _};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

/// What a disk writes whole or not at all, in bytes.
pub(super) const SECTOR_BYTES: u64 = 512;
/// What a file system allots to a file at a time, in bytes.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// A change that was not synced.
#[derive(Debug)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    SetLen(u64),
}

/// A file, whatever its name is.
#[derive(Debug, Default)]
pub(super) struct FaultFile {
    /// What survives a power cut for certain.
    durable: Vec<u8>,
    /// What programs read.
    content: Vec<u8>,
    /// What was done since the last sync, in order.
    unsynced: Vec<Change>,
    /// A sync failed.
    is_poisoned: bool,
    /// Somebody holds the lock.
    pub(super) is_locked: bool,
    /// How often the file is open.
    pub(super) handles: usize,
    /// The blocks that take room on the disk. A file extended by `set_len` has holes.
    blocks: BTreeSet<u64>,
}

/// What a power cut leaves of what was not synced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Survival {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// Each change on its own, with this probability in percent.
    Percent(u32),
}

impl FaultFile {
    /// A file with durable content.
    pub(super) fn with_content(content: Vec<u8>) -> FaultFile {
        let blocks = blocks(0, content.len()).collect();
        FaultFile { durable: content.clone(), content, blocks, ..FaultFile::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.content.len() as u64
    }

    pub(super) fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let start = to_index(at)?;
        let source = start.checked_add(bytes.len()).and_then(|end| self.content.get(start..end));
        match source {
            Some(source) => bytes.copy_from_slice(source),
            None => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file ends before")),
        }
        Ok(())
    }

    /// How many bytes of room a write takes that the file does not have yet.
    pub(super) fn room_for(&self, at: u64, length: usize) -> u64 {
        blocks(at, length).filter(|block| !self.blocks.contains(block)).count() as u64 * BLOCK_BYTES
    }

    /// How much room the file takes.
    pub(super) fn room(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_BYTES
    }

    pub(super) fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        put(&mut self.content, to_index(at)?, bytes);
        self.blocks.extend(blocks(at, bytes.len()));
        self.unsynced.push(Change::Write { at, bytes: bytes.to_vec() });
        Ok(())
    }

    pub(super) fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.content.resize(to_index(length)?, 0);
        self.blocks.split_off(&length.div_ceil(BLOCK_BYTES));
        self.unsynced.push(Change::SetLen(length));
        Ok(())
    }

    /// False if an earlier sync failed.
    pub(super) fn sync(&mut self) -> bool {
        if !self.is_poisoned {
            for change in std::mem::take(&mut self.unsynced) {
                change.apply(&mut self.durable);
            }
        }
        !self.is_poisoned
    }

    /// What a failed sync does on Linux: what was to be written is still read, but counts as
    /// written and is never tried again.
    pub(super) fn poison(&mut self) {
        self.is_poisoned = true;
        self.unsynced.clear();
    }

    /// The file after a power cut.
    pub(super) fn crash(self, survival: Survival, rng: &mut impl Rng) -> FaultFile {
        let mut durable = self.durable;
        for change in self.unsynced {
            if let Some(kept) = change.survive(survival, rng) {
                kept.apply(&mut durable);
            }
        }
        let mut blocks = self.blocks;
        blocks.split_off(&(durable.len() as u64).div_ceil(BLOCK_BYTES));
        FaultFile { content: durable.clone(), durable, blocks, ..FaultFile::default() }
    }

    /// The file as another process finds it after the death of the one that had it.
    pub(super) fn closed(self) -> FaultFile {
        FaultFile { is_locked: false, handles: 0, ..self }
    }

    /// How many durable bytes are not zero.
    pub(super) fn nonzero(&self) -> usize {
        self.durable.iter().filter(|byte| **byte != 0).count()
    }

    /// Alters one bit of the `n`th durable byte that is not zero. Gives where that is.
    pub(super) fn flip(&mut self, n: usize, bit: u32) -> Option<u64> {
        let (at, _) = self.durable.iter().enumerate().filter(|(_, byte)| **byte != 0).nth(n)?;
        let old = self.durable[at];
        self.durable[at] ^= 1 << bit;
        // What was written over it since, and not synced, is still read.
        if let Some(byte) = self.content.get_mut(at)
            && *byte == old
        {
            *byte = self.durable[at];
        }
        Some(at as u64)
    }

    /// All that is read of it.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            // These were checked when they were made.
            Change::Write { at, bytes: new } => put(bytes, at as usize, &new),
            Change::SetLen(length) => bytes.resize(length as usize, 0),
        }
    }

    /// What is left of it: all, nothing, or what is before or after a boundary of sectors.
    fn survive(self, survival: Survival, rng: &mut impl Rng) -> Option<Change> {
        let percent = match survival {
            Survival::None => return None,
            Survival::All => return Some(self),
            Survival::Percent(percent) => percent,
        };
        if rng.random_range(0..100) < percent {
            return Some(self);
        }
        let Change::Write { at, mut bytes } = self else { return None };
        let first = at / SECTOR_BYTES + 1;
        let last = (at + bytes.len() as u64).saturating_sub(1) / SECTOR_BYTES;
        if first > last || rng.random_bool(0.5) {
            return None;
        }
        let boundary = rng.random_range(first..=last) * SECTOR_BYTES;
        let after = bytes.split_off((boundary - at) as usize);
        if rng.random_bool(0.5) {
            Some(Change::Write { at, bytes })
        } else {
            Some(Change::Write { at: boundary, bytes: after })
        }
    }
}

fn blocks(at: u64, length: usize) -> std::ops::Range<u64> {
    let end = at.saturating_add(length as u64);
    if length == 0 { 0..0 } else { at / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The largest file, in bytes: all of it is in memory.
const FILE_BYTES_MAX: u64 = 1 << 34;

fn to_index(at: u64) -> io::Result<usize> {
    let at = Some(at).filter(|at| *at <= FILE_BYTES_MAX).and_then(|at| usize::try_from(at).ok());
    at.ok_or_else(|| ErrorKind::FileTooLarge.into())
}
