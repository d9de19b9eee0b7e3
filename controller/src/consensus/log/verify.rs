//! Reading every record of a log once, before anything is built on it.

use super::database::{LogDatabase, corrupt};
use super::disk::Disk;
use super::journal::Journal;
use super::snapshot_file;
use super::state::State;
use super::tables::{COMMITS, COMPACTED, CONF_STATE, HARD_STATE, SNAPSHOT};
use super::tail::Mark;
use super::{StoreError, check_continues};
use raft::eraftpb::SnapshotMetadata;

/// What the database has and the journal adds.
///
/// # Errors
/// [`StoreError::Corrupt`] if anything is not as it was written, or is gone that `mark` says had
/// been.
pub(super) fn verify(
    disk: &dyn Disk,
    database: &LogDatabase,
    journal: &mut Journal,
    mark: Mark,
) -> Result<State, StoreError> {
    let mut state = read(database)?;
    for (number, write) in journal.read(state.commits, mark.commits)? {
        check_continues(state.bounds(), &write.entries).map_err(|error| {
            database.corrupt("the log", &format!("commit {number} of its journal: {error}"))
        })?;
        state.apply(&write, false);
        state.commits = number;
    }
    check_mark(database, &state, mark)?;
    if let Some(metadata) = &mut state.snapshot {
        let found = snapshot_file::load_metadata(disk, metadata.index)?;
        if (found.index, found.term) != (metadata.index, metadata.term) {
            let path = disk.path(&snapshot_file::file_name(metadata.index));
            return Err(corrupt(&path, "the snapshot", "it is not the one in the log"));
        }
        // A crash can leave a newer snapshot of the same state, with its members in another
        // order.
        *metadata = found;
    } else if state.compacted.0 > 0 {
        return Err(database.corrupt("the log", "its start is gone and there is no snapshot"));
    }
    Ok(state)
}

/// What the database has.
fn read(database: &LogDatabase) -> Result<State, StoreError> {
    let compacted = database.meta::<SnapshotMetadata>(COMPACTED)?.unwrap_or_default();
    let mut state = State {
        compacted: (compacted.index, compacted.term),
        last_index: compacted.index,
        snapshot: database.meta(SNAPSHOT)?,
        hard_state: database.meta(HARD_STATE)?.unwrap_or_default(),
        conf_state: database.meta(CONF_STATE)?.unwrap_or_default(),
        commits: database.meta(COMMITS)?.unwrap_or_default(),
        ..State::default()
    };
    database.entries(&database.begin_read()?, .., |entry| {
        if entry.index != state.last_index + 1 {
            let problem = format!("entry {} is missing", state.last_index + 1);
            return Err(database.corrupt("the log", &problem));
        }
        state.remember(entry);
        Ok(true)
    })?;
    Ok(state)
}

/// Checks that nothing is gone that had been written.
fn check_mark(database: &LogDatabase, state: &State, mark: Mark) -> Result<(), StoreError> {
    let Mark { index, term, commits } = mark;
    if index > state.last_index {
        let problem = format!(
            "it ends with entry {}, but entry {index} of term {term} had been written",
            state.last_index
        );
        return Err(database.corrupt("the log", &problem));
    }
    if commits > state.commits {
        let problem =
            format!("it ends with commit {}, but commit {commits} had been written", state.commits);
        return Err(database.corrupt("the log", &problem));
    }
    Ok(())
}
