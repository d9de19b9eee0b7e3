//! A log in memory, for tests and simulations.

use super::{LogBounds, LogStore, StoreError, Write, check_continues, check_range};
use parking_lot::Mutex;
use prost::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};

/// A [`LogStore`] that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hard_state: HardState,
    conf_state: ConfState,
    /// Index and term of the entry before the first.
    compacted: (u64, u64),
    entries: Vec<Entry>,
    snapshot: Option<Snapshot>,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }
}

impl State {
    fn bounds(&self) -> LogBounds {
        let (index, _) = self.compacted;
        LogBounds { first_index: index + 1, last_index: index + self.entries.len() as u64 }
    }

    /// Where in `entries` an index lies, which the caller has checked.
    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.compacted.0 - 1).unwrap_or(usize::MAX)
    }

    fn term(&self, index: u64) -> Result<u64, StoreError> {
        if index == self.compacted.0 {
            return Ok(self.compacted.1);
        }
        check_range(self.bounds(), index, index + 1)?;
        Ok(self.entries[self.position(index)].term)
    }

    fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let keep = self.position(first.index);
        self.entries.truncate(keep);
        self.entries.extend_from_slice(entries);
    }
}

impl LogStore for MemoryLog {
    fn initial_state(&self) -> Result<(HardState, ConfState), StoreError> {
        let state = self.state.lock();
        Ok((state.hard_state, state.conf_state.clone()))
    }

    fn bounds(&self) -> LogBounds {
        self.state.lock().bounds()
    }

    fn term(&self, index: u64) -> Result<u64, StoreError> {
        self.state.lock().term(index)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: u64) -> Result<Vec<Entry>, StoreError> {
        let state = self.state.lock();
        check_range(state.bounds(), low, high)?;
        let range = state.position(low)..state.position(high);
        let mut bytes = 0;
        Ok(state.entries[range]
            .iter()
            .enumerate()
            .take_while(|(n, entry)| {
                bytes += entry.encoded_len() as u64;
                *n == 0 || bytes <= bytes_max
            })
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    fn write(&self, write: &Write) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let metadata = write.snapshot.as_ref().map(Snapshot::get_metadata);
        let bounds = match metadata {
            Some(metadata) => {
                LogBounds { first_index: metadata.index + 1, last_index: metadata.index }
            }
            None => state.bounds(),
        };
        check_continues(bounds, &write.entries)?;
        if let (Some(snapshot), Some(metadata)) = (&write.snapshot, metadata) {
            state.compacted = (metadata.index, metadata.term);
            state.conf_state = metadata.get_conf_state().clone();
            state.entries.clear();
            state.snapshot = Some(snapshot.clone());
        }
        state.append(&write.entries);
        if let Some(hard_state) = write.hard_state {
            state.hard_state = hard_state;
        }
        if let Some(conf_state) = &write.conf_state {
            state.conf_state = conf_state.clone();
        }
        Ok(())
    }

    fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        state.term(snapshot.get_metadata().index)?;
        state.snapshot = Some(snapshot.clone());
        Ok(())
    }

    fn compact(&self, index: u64) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let snapshot_index = state.snapshot.as_ref().map_or(0, |s| s.get_metadata().index);
        if index > snapshot_index {
            return Err(StoreError::NotCovered { index, snapshot_index });
        }
        if index > state.compacted.0 {
            let term = state.term(index)?;
            let removed = state.position(index + 1);
            state.entries.drain(..removed);
            state.compacted = (index, term);
        }
        Ok(())
    }

    fn snapshot_metadata(&self) -> Option<SnapshotMetadata> {
        self.state.lock().snapshot.as_ref().map(|snapshot| snapshot.get_metadata().clone())
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.state.lock().snapshot.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::log::conformance;

    #[test]
    fn conforms() {
        conformance::run(&mut || MemoryLog::new(), &mut |log| log);
    }
}
