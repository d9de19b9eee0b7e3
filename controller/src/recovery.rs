//! A data directory out of a backup, or out of the one that a disaster left. Offline: no controller may
//! run on it.
//!
//! What comes of both is a *new* cluster of one replica. Hosts that knew the old one take everything
//! anew, and replicas of the old one are refused: what they have is not a later or an earlier state of
//! the same history.
//!
//! Each writes several files, and can be cut off between any two of them:
//!
//! * [`restore`]: mark, log with snapshot, identity, no mark. Cut off before the identity, the directory is
//!   refused until the restore is run again.
//! * [`recover`]: identity, log with snapshot. Cut off before the log, the replica belongs to a cluster that
//!   has no majority: it serves nobody until the recovery is run again.

use crate::consensus::{LogStore, RedbLog, StoreError, Write};
use crate::core::{CoreError, members_context};
use crate::data_dir::{
    DataDirError, Identity, LOCK, RESTORING, make_directory, read_identity, take_lock,
    write_identity,
};
use crate::limits::PAST_READ_BYTES;
use crate::state::{
    self, FOUNDER, Members, Restored, SnapshotError, State, UnknownCommand, encode_snapshot,
};
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot, SnapshotMetadata};
use spanwire_adminproto::backup::{self, BackupError};
use spanwire_hostproto::ClusterId;
use spanwire_topology::Engine;
use spanwire_topology::model::Revision;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Why there is no new data directory.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The backup cannot be opened.
    #[error("could not open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The backup cannot be used.
    #[error("{}: {source}", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BackupError,
    },
    /// There is no state in it, or in the snapshot of the log.
    #[error("{} holds no state: {source}", path.display())]
    State {
        /// The file, or the directory of the log.
        path: PathBuf,
        /// Why.
        source: SnapshotError,
    },
    /// Its header and its state do not fit together.
    #[error("{} is damaged: {problem}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// There is something in the directory already.
    #[error(
        "{} is not empty ({found}): name a directory that is empty or not there. Nothing was changed",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// The first file that is in it.
        found: String,
    },
    /// It is nobody's data directory.
    #[error(
        "{} is no data directory of a replica: identity.toml is missing. Name the one in the \
         configuration of a controller (data_dir)",
        path.display()
    )]
    NoReplica {
        /// The directory.
        path: PathBuf,
    },
    /// The log is empty.
    #[error("{} has nothing in its log: there is nothing to recover", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it was refused.
        source: std::io::Error,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log holds what this release does not know.
    #[error(transparent)]
    UnknownCommand(#[from] UnknownCommand),
    /// A change of members in the log cannot be read.
    #[error(transparent)]
    Members(#[from] CoreError),
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// The cluster that the backup was made of, as it says.
    pub backup_cluster_id: String,
    /// The revision of the state.
    pub revision: Revision,
    /// The last log entry in it.
    pub index: u64,
    /// When the backup was made, in milliseconds since the epoch.
    pub made_at_ms: u64,
    /// Objects in the state.
    pub objects: usize,
}

/// Makes a data directory out of a backup file: that of replica 1, alone in a new cluster, with the
/// backup's state.
///
/// # Errors
/// If the backup is not whole, or the directory is not empty; then nothing was changed. After another error,
/// run it again.
pub fn restore(backup_path: &Path, data_dir: &Path) -> Result<RestoreReport, RecoveryError> {
    let file = File::open(backup_path)
        .map_err(|source| RecoveryError::Open { path: backup_path.to_owned(), source })?;
    let (header, bytes) = backup::read(BufReader::new(file))
        .map_err(|source| RecoveryError::Backup { path: backup_path.to_owned(), source })?;
    let unusable = |source| RecoveryError::State { path: backup_path.to_owned(), source };
    let mut state = state::decode_snapshot(&bytes).map_err(unusable)?;
    let said = (header.revision, header.index);
    if said != (state.network.revision, state.applied_index) || header.index == 0 {
        let problem =
            format!("its header says revision {}, entry {}, and its state another", said.0, said.1);
        return Err(RecoveryError::Contradiction { path: backup_path.to_owned(), problem });
    }
    // Records that decode may still contradict each other: better known now than at the first start.
    Engine::import(state.network.clone()).map_err(|error| unusable(error.into()))?;
    let objects = state.network.objects.len();
    // Whoever was a member belongs to another cluster. Identities are not given out twice all the same.
    state.members.addresses.clear();
    let identity = Identity { cluster_id: ClusterId(rand::random()), replica_id: FOUNDER };

    make_directory(data_dir)?;
    check_empty(data_dir)?;
    let _lock = take_lock(data_dir)?;
    // Somebody else may have begun before the directory was ours.
    for path in check_empty(data_dir)? {
        fs::remove_file(&path).map_err(|source| RecoveryError::Io {
            action: "remove",
            path,
            source,
        })?;
    }
    let mark = mark_restoring(data_dir)?;
    install(&RedbLog::open(data_dir)?, &state, FOUNDER, header.term.max(1))?;
    write_identity(data_dir, identity)?;
    // The directory is whole by now; a mark that stays does no harm.
    let _ = fs::remove_file(mark);
    Ok(RestoreReport {
        cluster_id: identity.cluster_id,
        backup_cluster_id: header.cluster_id,
        revision: header.revision,
        index: header.index,
        made_at_ms: header.made_at_ms,
        objects,
    })
}

/// Refuses a directory with anything in it, but for what a restore left that was cut off. Returns that.
fn check_empty(data_dir: &Path) -> Result<Vec<PathBuf>, RecoveryError> {
    let io = |source| RecoveryError::Io { action: "look into", path: data_dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(data_dir).map_err(io)? {
        names.push(entry.map_err(io)?.file_name());
    }
    names.retain(|name| name != LOCK);
    names.sort_unstable();
    let is_cut_off =
        names.iter().any(|name| name == RESTORING) && read_identity(data_dir)?.is_none();
    if let Some(found) = names.first().filter(|_| !is_cut_off) {
        let found = found.to_string_lossy().into_owned();
        return Err(RecoveryError::NotEmpty { path: data_dir.to_owned(), found });
    }
    // The mark stays: without it the rest would be taken for somebody's.
    names.retain(|name| name != RESTORING);
    Ok(names.into_iter().map(|name| data_dir.join(name)).collect())
}

/// Says, durably, that the directory is not to be used yet.
fn mark_restoring(data_dir: &Path) -> Result<PathBuf, RecoveryError> {
    let path = data_dir.join(RESTORING);
    let write = || -> std::io::Result<()> {
        File::create(&path)?.sync_all()?;
        File::open(data_dir)?.sync_all()
    };
    write().map_err(|source| RecoveryError::Io { action: "write", path: path.clone(), source })?;
    Ok(path)
}

/// Puts a state in place of all that a log has, with one replica as the only member.
fn install(log: &RedbLog, state: &State, replica_id: u64, term: u64) -> Result<(), StoreError> {
    let metadata = SnapshotMetadata {
        conf_state: Some(ConfState::from(([replica_id], []))),
        index: state.applied_index,
        term,
    };
    let snapshot = Snapshot { data: encode_snapshot(state).into(), metadata: Some(metadata) };
    let hard_state = HardState { term, vote: 0, commit: state.applied_index };
    log.write(&Write { snapshot: Some(snapshot), hard_state: Some(hard_state), ..Write::default() })
}

/// A survivor's data directory, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The replica, which keeps its identity.
    pub replica_id: u64,
    /// The cluster that it was of.
    pub old_cluster_id: ClusterId,
    /// The cluster that it is of now; `None` if nothing was done yet.
    pub new_cluster_id: Option<ClusterId>,
    /// The other members, as far as its log knows: none of them can come back with what it has.
    pub others: Vec<u64>,
    /// The last entry in its log, and that entry's term. What was acknowledged after it is lost.
    pub last_index: u64,
    /// The term.
    pub last_term: u64,
    /// The last entry that it knew to be committed. Those after it are kept; whether they were
    /// acknowledged, it does not know.
    pub committed_index: u64,
    /// The revision of the state with all entries applied.
    pub revision: Revision,
}

/// What [`recover`] would do; changes nothing.
///
/// # Errors
/// As those of [`recover`].
pub fn plan_recovery(data_dir: &Path) -> Result<RecoveryReport, RecoveryError> {
    Survivor::open(data_dir).map(|survivor| survivor.report)
}

/// Makes of a survivor's data directory that of the only replica of a new cluster. All entries in its
/// log are kept, committed or not: when the others are lost, they are the best there is.
///
/// # Errors
/// If the directory is in use, nobody's, or damaged; then nothing was changed. After another error, run it
/// again.
pub fn recover(data_dir: &Path) -> Result<RecoveryReport, RecoveryError> {
    let mut survivor = Survivor::open(data_dir)?;
    // First of all it leaves the old cluster. If the log were first, a replica with a majority of its own
    // could come up in a cluster whose others may still be alive.
    survivor.write_identity()?;
    survivor.write_log()?;
    Ok(survivor.report)
}

/// A survivor's data directory, read.
struct Survivor {
    data_dir: PathBuf,
    report: RecoveryReport,
    log: RedbLog,
    state: State,
    term: u64,
    _lock: File,
}

impl Survivor {
    fn open(data_dir: &Path) -> Result<Survivor, RecoveryError> {
        let no_replica = || RecoveryError::NoReplica { path: data_dir.to_owned() };
        if !data_dir.is_dir() {
            return Err(no_replica());
        }
        let identity = read_identity(data_dir)?.ok_or_else(no_replica)?;
        let lock = take_lock(data_dir)?;
        let log = RedbLog::open(data_dir)?;
        let bounds = log.bounds();
        let last_index = bounds.last_index;
        if last_index == 0 {
            return Err(RecoveryError::Empty { path: data_dir.to_owned() });
        }
        let (hard_state, founders) = log.initial_state()?;
        let snapshot = log.snapshot_metadata();
        let snapshot_index = snapshot.as_ref().map_or(0, |metadata| metadata.index);
        let replayed = replay(&log, data_dir)?;
        let Restored { engine, members, requests, .. } = replayed;
        let last_term = log.term(last_index)?;
        let conf_state = snapshot.map_or(founders, |s| s.get_conf_state().clone());
        let known = members.addresses.keys().chain(&conf_state.voters).chain(&conf_state.learners);
        let mut others: Vec<u64> = known.copied().filter(|id| *id != identity.replica_id).collect();
        others.sort_unstable();
        others.dedup();
        let report = RecoveryReport {
            replica_id: identity.replica_id,
            old_cluster_id: identity.cluster_id,
            new_cluster_id: None,
            others,
            last_index,
            last_term,
            committed_index: hard_state.commit.max(snapshot_index),
            revision: engine.revision(),
        };
        let state = State {
            network: engine.export(),
            members: Members { addresses: Default::default(), next_id: members.next_id },
            requests,
            // As by an entry of its own, with which the new cluster begins: a snapshot of the last entry
            // may be there already, with the old members.
            applied_index: last_index + 1,
        };
        let term = hard_state.term.max(last_term) + 1;
        let data_dir = data_dir.to_owned();
        Ok(Survivor { data_dir, report, log, state, term, _lock: lock })
    }

    fn write_identity(&mut self) -> Result<(), RecoveryError> {
        let cluster_id = ClusterId(rand::random());
        let identity = Identity { cluster_id, replica_id: self.report.replica_id };
        write_identity(&self.data_dir, identity)?;
        self.report.new_cluster_id = Some(cluster_id);
        Ok(())
    }

    fn write_log(&self) -> Result<(), RecoveryError> {
        Ok(install(&self.log, &self.state, self.report.replica_id, self.term)?)
    }
}

/// The state after the last entry of a log.
fn replay(log: &RedbLog, data_dir: &Path) -> Result<Restored, RecoveryError> {
    let unusable = |source| RecoveryError::State { path: data_dir.to_owned(), source };
    let restored = log.snapshot()?.map(|snapshot| state::restore(&snapshot.data));
    let mut restored = restored.transpose().map_err(unusable)?.unwrap_or_default();
    let last_index = log.bounds().last_index;
    while restored.applied_index < last_index {
        let entries = log.entries(restored.applied_index + 1, last_index + 1, PAST_READ_BYTES)?;
        for entry in &entries {
            apply(&mut restored, entry)?;
        }
    }
    Ok(restored)
}

fn apply(restored: &mut Restored, entry: &Entry) -> Result<(), RecoveryError> {
    if entry.get_entry_type() == EntryType::EntryNormal {
        return Ok(restored.apply_command(entry)?);
    }
    restored.applied_index = entry.index;
    if let Some(context) = members_context(entry)? {
        let came = context.members.into_iter().map(|member| (member.id, member.address));
        restored.members.addresses.extend(came);
        restored.members.next_id = restored.members.next_id.max(context.next_id);
    }
    Ok(())
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
