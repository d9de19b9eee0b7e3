//! What a log must hold, and random work for it, for the tests with power cuts.

use super::{FaultDisk, LogBounds, LogStore, RedbLog, StoreError, Write};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use std::fmt;
use std::sync::Arc;

/// Everything that can be read from a log.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Contents {
    pub(super) hard_state: HardState,
    pub(super) conf_state: ConfState,
    /// Index and term of the entry before the first.
    pub(super) compacted: (u64, u64),
    pub(super) entries: Vec<Entry>,
    pub(super) snapshot: Option<Snapshot>,
}

/// One call of a [`LogStore`].
#[derive(Clone)]
pub(super) enum Call {
    Write(Write),
    Save(Snapshot),
    Compact(u64),
}

// Messages are short: of entries their terms, of a snapshot its index and term.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contents { hard_state, conf_state, compacted, entries, snapshot } = self;
        let HardState { term, vote, commit } = hard_state;
        let terms: Vec<u64> = entries.iter().map(|entry| entry.term).collect();
        write!(f, "term {term} vote {vote} commit {commit} voters {:?}", conf_state.voters)?;
        write!(f, " compacted {compacted:?} terms {terms:?} snapshot {:?}", id(snapshot.as_ref()))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Write(write) => {
                let entries: Vec<_> = write.entries.iter().map(|e| (e.index, e.term)).collect();
                write!(f, "write {entries:?}, {:?}", write.hard_state.map(|h| (h.term, h.vote)))?;
                write!(f, ", {:?}, {:?}", write.conf_state, id(write.snapshot.as_ref()))
            }
            Call::Save(snapshot) => write!(f, "save {:?}", id(Some(snapshot))),
            Call::Compact(index) => write!(f, "compact {index}"),
        }
    }
}

fn id(snapshot: Option<&Snapshot>) -> Option<(u64, u64)> {
    snapshot.map(|snapshot| (snapshot.get_metadata().index, snapshot.get_metadata().term))
}

impl Contents {
    pub(super) fn of(log: &impl LogStore) -> Result<Contents, StoreError> {
        let (hard_state, conf_state) = log.initial_state()?;
        let LogBounds { first_index, last_index } = log.bounds();
        let entries = log.entries(first_index, last_index + 1, u64::MAX)?;
        let compacted = (first_index - 1, log.term(first_index - 1)?);
        let snapshot = log.snapshot()?;
        assert_eq!(log.snapshot_metadata(), snapshot.as_ref().map(|s| s.get_metadata().clone()));
        Ok(Contents { hard_state, conf_state, compacted, entries, snapshot })
    }

    pub(super) fn last_index(&self) -> u64 {
        self.compacted.0 + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> u64 {
        match index - self.compacted.0 {
            0 => self.compacted.1,
            n => self.entries[n as usize - 1].term,
        }
    }

    fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.get_metadata().index)
    }

    /// What is there after a call that succeeded.
    pub(super) fn after(&self, call: &Call) -> Contents {
        let mut next = self.clone();
        match call {
            Call::Write(write) => {
                if let Some(snapshot) = &write.snapshot {
                    let metadata = snapshot.get_metadata();
                    next.compacted = (metadata.index, metadata.term);
                    next.conf_state = metadata.get_conf_state().clone();
                    next.entries.clear();
                    next.snapshot = Some(snapshot.clone());
                }
                if let Some(first) = write.entries.first() {
                    next.entries.truncate((first.index - next.compacted.0 - 1) as usize);
                    next.entries.extend_from_slice(&write.entries);
                }
                next.hard_state = write.hard_state.unwrap_or(next.hard_state);
                next.conf_state = write.conf_state.clone().unwrap_or(next.conf_state);
            }
            Call::Save(snapshot) => next.snapshot = Some(snapshot.clone()),
            Call::Compact(index) if *index > self.compacted.0 => {
                next.compacted = (*index, self.term(*index));
                next.entries.drain(..(index - self.compacted.0) as usize);
            }
            Call::Compact(_) => {}
        }
        next
    }

    /// A call that Raft might make.
    pub(super) fn random_call(&self, rng: &mut StdRng) -> Call {
        let last = self.last_index();
        let first = self.compacted.0 + 1;
        let term = self.hard_state.term;
        match rng.random_range(0..20) {
            // A new leader overwrites what was not committed, so never what a snapshot includes.
            0..=2 if first.max(self.snapshot_index() + 1) <= last => {
                let from = rng.random_range(first.max(self.snapshot_index() + 1)..=last);
                let mut write = mk_append(from, term + 1, rng);
                write.hard_state = Some(HardState { term: term + 1, vote: 2, commit: from - 1 });
                Call::Write(write)
            }
            3..=4 => {
                let hard_state =
                    HardState { term: term + 1, vote: rng.random_range(1..4), commit: 0 };
                Call::Write(Write { hard_state: Some(hard_state), ..Write::default() })
            }
            5 => Call::Write(Write {
                conf_state: Some(ConfState::from(([1, rng.random_range(2..9)], []))),
                ..Write::default()
            }),
            6..=7 if first <= last => {
                let index = rng.random_range(first.max(self.snapshot_index()).min(last)..=last);
                Call::Save(mk_snapshot(index, self.term(index)))
            }
            8..=9 if self.snapshot_index() >= first => {
                let newest = self.snapshot_index().min(last);
                Call::Compact(rng.random_range(first..=newest))
            }
            10 => {
                let index = self.snapshot_index().max(first) + rng.random_range(1..20);
                let mut write = match rng.random_bool(0.3) {
                    true => mk_append(index + 1, term + 1, rng),
                    false => Write::default(),
                };
                write.snapshot = Some(mk_snapshot(index, term + 1));
                write.hard_state = Some(HardState { term: term + 1, vote: 0, commit: index });
                Call::Write(write)
            }
            _ => self.random_append(rng),
        }
    }

    /// A call that makes the log longer.
    pub(super) fn random_append(&self, rng: &mut StdRng) -> Call {
        let (term, last) = (self.hard_state.term, self.last_index());
        let mut write = mk_append(last + 1, term, rng);
        if rng.random_bool(0.7) {
            write.hard_state = Some(HardState { term, vote: 1, commit: last });
        }
        Call::Write(write)
    }
}

impl Call {
    pub(super) fn run(&self, log: &impl LogStore) -> Result<(), StoreError> {
        match self {
            Call::Write(write) => log.write(write),
            Call::Save(snapshot) => log.save_snapshot(snapshot),
            Call::Compact(index) => log.compact(*index),
        }
    }
}

fn mk_append(from: u64, term: u64, rng: &mut StdRng) -> Write {
    let mk_entry = |index| {
        let bytes = if rng.random_bool(0.1) { 20_000 } else { 600 };
        let mut data = vec![0; rng.random_range(0..bytes)];
        rng.fill_bytes(&mut data);
        Entry { index, term, data: data.into(), ..Entry::default() }
    };
    let entries = (from..).take(1 + from as usize % 4).map(mk_entry).collect();
    Write { entries, ..Write::default() }
}

/// There is only one state at an index, so there is only one snapshot of it.
pub(super) fn mk_snapshot(index: u64, term: u64) -> Snapshot {
    let conf_state = Some(ConfState::from(([1, 1 + index], [])));
    let data: Vec<u8> = (0..index * 977 % 30_000).map(|n| (n * index) as u8).collect();
    let metadata = SnapshotMetadata { conf_state, index, term };
    Snapshot { data: data.into(), metadata: Some(metadata) }
}

/// So short a journal is full after a few calls.
const JOURNAL_BYTES_MAX: usize = 12_000;

pub(super) fn open(disk: &FaultDisk) -> Result<RedbLog, StoreError> {
    RedbLog::open_with(Arc::new(disk.clone()), JOURNAL_BYTES_MAX)
}

pub(super) fn contents(disk: &FaultDisk) -> Result<Contents, StoreError> {
    Contents::of(&open(disk)?)
}

/// A call that failed.
pub(super) type Failed = Option<(Call, StoreError)>;

/// Makes calls until one fails. Gives what was acknowledged, and the call that failed.
pub(super) fn work(
    log: &RedbLog,
    mut held: Contents,
    calls: usize,
    rng: &mut StdRng,
) -> (Contents, Failed) {
    for _ in 0..calls {
        let call = held.random_call(rng);
        if let Err(error) = call.run(log) {
            return (held, Some((call, error)));
        }
        held = held.after(&call);
    }
    (held, None)
}

/// Makes the log longer.
pub(super) fn append(log: &RedbLog, held: Contents, rng: &mut StdRng) -> (Contents, Failed) {
    let call = held.random_append(rng);
    match call.run(log) {
        Ok(()) => (held.after(&call), None),
        Err(error) => (held, Some((call, error))),
    }
}

/// A log with some history on a disk without faults.
pub(super) fn mk_history(calls: usize, rng: &mut StdRng) -> (FaultDisk, Contents) {
    let disk = FaultDisk::new();
    let log = open(&disk).unwrap();
    let (held, failed) = work(&log, Contents::default(), calls, rng);
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(Contents::of(&log).unwrap(), held);
    (disk, held)
}
