//! The data directory: one controller's, of one cluster, in a format this release knows.
//!
//! ```text
//! DATA_DIR/lock             held while a controller runs
//! DATA_DIR/identity.toml    format, cluster, replica: written last of all at the first start, and
//!                           again when a later release takes the directory over
//! DATA_DIR/restoring        there while a backup is restored into it
//! DATA_DIR/log.redb ...     see consensus::log
//! ```

use crate::consensus::{LogStore, log::LogBounds};
use crate::consensus::{RedbLog, StoreError, Write, node};
use raft::eraftpb::ConfState;
use serde::Deserialize;
use spanwire_hostproto::ClusterId;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The format of the directory that is written here, and the newest that is read. Format 1 has no
/// journal: a release that knows only that would not see what is in it.
const FORMAT: u32 = 2;
/// The file that says whose directory it is.
const IDENTITY: &str = "identity.toml";
/// The file that is locked while somebody uses the directory.
pub(crate) const LOCK: &str = "lock";
/// A file that is there while a backup is restored into the directory.
pub(crate) const RESTORING: &str = "restoring";
/// The replica that founds a cluster.
const FOUNDER: u64 = 1;

/// Who the owner of a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster: random, made at the first start.
    pub cluster_id: ClusterId,
    /// The replica in the cluster.
    pub replica_id: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another controller runs on it.
    #[error(
        "{} is in use by another controller: stop that one, or use another data directory",
        path.display()
    )]
    InUse {
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
    /// A later release wrote it.
    #[error(
        "{} has format {found}, and this release reads up to {newest}: run the release that wrote \
         it, or a later one",
        path.display()
    )]
    Newer {
        /// The identity file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest that is read.
        newest: u32,
    },
    /// The identity cannot be read.
    #[error(
        "{} is damaged: {problem}. Restore it from a backup: it says whose log this is",
        path.display()
    )]
    Identity {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    identity: Identity,
    _lock: File,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    format: u32,
    cluster_id: String,
    replica_id: u64,
}

/// A data directory without an identity that is ours until this is dropped.
#[derive(Debug)]
pub struct EmptyDataDir {
    path: PathBuf,
    log: RedbLog,
    lock: File,
}

/// A data directory that was taken.
#[derive(Debug)]
pub enum Taken {
    /// It has an owner.
    Owned(DataDir, RedbLog),
    /// It has none yet.
    Empty(EmptyDataDir),
}

impl EmptyDataDir {
    /// Founds a cluster of one. A crash on the way leaves a log without entries, and the next start
    /// does this again.
    pub fn found(self) -> Result<(DataDir, RedbLog), DataDirError> {
        node::bootstrap(&self.log, &[FOUNDER])?;
        self.own(Identity { cluster_id: ClusterId(rand::random()), replica_id: FOUNDER })
    }

    /// Makes it that of a replica which was added to a cluster: what the log has, others will say. A
    /// crash on the way leaves a directory without an identity.
    pub fn admit(self, identity: Identity) -> Result<(DataDir, RedbLog), DataDirError> {
        // A cluster may have been founded here, and not to the end.
        let conf_state = Some(ConfState::default());
        self.log.write(&Write { conf_state, ..Write::default() })?;
        self.own(identity)
    }

    fn own(self, identity: Identity) -> Result<(DataDir, RedbLog), DataDirError> {
        let EmptyDataDir { path, log, lock } = self;
        write_identity(&path, identity)?;
        Ok((DataDir { identity, _lock: lock }, log))
    }
}

impl DataDir {
    /// Takes a data directory, and founds a cluster if there is nothing in it.
    pub fn open(path: &Path) -> Result<(DataDir, RedbLog), DataDirError> {
        match DataDir::take(path)? {
            Taken::Owned(data_dir, log) => Ok((data_dir, log)),
            Taken::Empty(empty) => empty.found(),
        }
    }

    /// Takes a data directory.
    pub fn take(path: &Path) -> Result<Taken, DataDirError> {
        make_directory(path)?;
        let lock = take_lock(path)?;
        let found = read_identity_file(path)?;
        let log = RedbLog::open(path)?;
        if let Some((format, identity)) = found {
            if format < FORMAT {
                // Before anything is written that an earlier release would not find.
                write_identity(path, identity)?;
            }
            return Ok(Taken::Owned(DataDir { identity, _lock: lock }, log));
        }
        let unfinished = |problem: &str| {
            let (path, problem) = (path.join(IDENTITY), problem.to_owned());
            Err(DataDirError::Identity { path, problem })
        };
        if log.bounds() != (LogBounds { first_index: 1, last_index: 0 }) {
            return unfinished("it is missing, but there is a log with entries");
        }
        if path.join(RESTORING).exists() {
            return unfinished("a restore into this directory was broken off: run it again");
        }
        Ok(Taken::Empty(EmptyDataDir { path: path.to_owned(), log, lock }))
    }

    /// Whose directory it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }
}

/// Takes the directory for as long as the file is held.
pub(crate) fn take_lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join(LOCK);
    let io = |action, source| DataDirError::Io { action, path: path.clone(), source };
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let lock = opened.map_err(|source| io("open", source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io("lock", source)),
    }
}

fn parse_identity(path: &Path, text: &str) -> Result<(u32, Identity), DataDirError> {
    let damaged = |problem: String| DataDirError::Identity { path: path.to_owned(), problem };
    // Before anything else: what a later format means by its other fields is not known.
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| damaged(e.to_string()))?;
    let format = table.get("format").and_then(toml::Value::as_integer).unwrap_or_default();
    let found = u32::try_from(format).unwrap_or(u32::MAX);
    if found > FORMAT {
        return Err(DataDirError::Newer { path: path.to_owned(), found, newest: FORMAT });
    }
    let file: IdentityFile = toml::from_str(text).map_err(|error| damaged(error.to_string()))?;
    let IdentityFile { format, cluster_id, replica_id } = file;
    if format == 0 {
        return Err(damaged("format is 0, the first is 1".to_owned()));
    }
    let cluster_id = parse_cluster_id(&cluster_id)
        .ok_or_else(|| damaged("cluster_id is not 32 hexadecimal digits".to_owned()))?;
    if replica_id == 0 {
        return Err(damaged("replica_id is 0, the first is 1".to_owned()));
    }
    Ok((format, Identity { cluster_id, replica_id }))
}

fn parse_cluster_id(text: &str) -> Option<ClusterId> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(|number| ClusterId(number.to_be_bytes()))
}

/// Makes a data directory that nobody else has business with: its log holds every tenant's addresses.
pub(crate) fn make_directory(path: &Path) -> Result<(), DataDirError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DataDirError::Io {
        action: "make the data directory",
        path: path.to_owned(),
        source,
    })
}

/// Whose directory it is; `None` if nobody's yet.
pub(crate) fn read_identity(directory: &Path) -> Result<Option<Identity>, DataDirError> {
    Ok(read_identity_file(directory)?.map(|(_, identity)| identity))
}

/// The format of the directory, and whose it is.
fn read_identity_file(directory: &Path) -> Result<Option<(u32, Identity)>, DataDirError> {
    let path = directory.join(IDENTITY);
    match fs::read_to_string(&path) {
        Ok(text) => parse_identity(&path, &text).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::Io { action: "read the identity in", path, source }),
    }
}

/// Says whose directory it is, in place of whose it was. All of it or nothing survives a crash.
pub(crate) fn write_identity(directory: &Path, identity: Identity) -> Result<(), DataDirError> {
    let path = directory.join(IDENTITY);
    let text = format!(
        "# Whose data this is. Do not edit.\n\
         format = {FORMAT}\ncluster_id = \"{}\"\nreplica_id = {}\n",
        identity.cluster_id, identity.replica_id
    );
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| DataDirError::Io { action: "write", path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<Identity, DataDirError> {
        DataDir::open(path).map(|(data_dir, _)| data_dir.identity())
    }

    #[test]
    fn an_identity_is_made_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let first = open(&path).unwrap();
        assert_eq!(open(&path).unwrap(), first);
        let other = open(&root.path().join("c")).unwrap();
        assert_ne!(other.cluster_id, first.cluster_id);
        assert_eq!(first.replica_id, 1);
    }

    #[test]
    fn a_second_controller_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let _first = DataDir::open(root.path()).unwrap();
        let error = open(root.path()).unwrap_err().to_string();
        assert!(error.contains("is in use by another controller"), "{error}");
    }

    #[test]
    fn an_interrupted_first_start_is_done_again() {
        let root = tempfile::tempdir().unwrap();
        open(root.path()).unwrap();
        fs::remove_file(root.path().join("identity.toml")).unwrap();
        open(root.path()).unwrap();
    }

    #[test]
    fn whoever_is_admitted_has_its_identity_and_no_members() {
        let root = tempfile::tempdir().unwrap();
        // A founding that was cut off leaves its members.
        open(root.path()).unwrap();
        fs::remove_file(root.path().join("identity.toml")).unwrap();
        let Taken::Empty(empty) = DataDir::take(root.path()).unwrap() else {
            panic!("it has no identity")
        };
        assert!(matches!(DataDir::take(root.path()), Err(DataDirError::InUse { .. })));
        let identity = Identity { cluster_id: ClusterId([7; 16]), replica_id: 3 };
        drop(empty.admit(identity).unwrap());
        let (data_dir, log) = DataDir::open(root.path()).unwrap();
        assert_eq!(data_dir.identity(), identity);
        assert_eq!(log.initial_state().unwrap().1, ConfState::default());
    }

    #[test]
    fn a_directory_of_an_earlier_release_gets_this_format() {
        let root = tempfile::tempdir().unwrap();
        let identity = open(root.path()).unwrap();
        let path = root.path().join("identity.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("format = 2", "format = 1")).unwrap();
        assert_eq!(read_identity(root.path()).unwrap(), Some(identity), "a look changes nothing");
        assert_eq!(open(root.path()).unwrap(), identity);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let root = tempfile::tempdir().unwrap();
        open(root.path()).unwrap();
        let path = root.path().join("identity.toml");
        let good = fs::read_to_string(&path).unwrap();
        let cases = [
            (good.replace("format = 2", "format = 3\nnew = 1"), "has format 3"),
            (good.replace("cluster_id = \"", "cluster_id = \"x"), "32 hexadecimal digits"),
            (good.replace("replica_id = 1", "replica_id = 0"), "replica_id is 0"),
            (good.replace("replica_id = 1", ""), "missing field `replica_id`"),
            (String::from("\u{0}"), "is damaged"),
        ];
        for (text, expected) in cases {
            fs::write(&path, &text).unwrap();
            let error = open(root.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error}");
        }
    }
}
