//! Where data directories are: on a disk, because what is measured waits for it.

use super::ClusterOptions;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::TempDir;

use crate::measure::Percentiles;

/// Bytes that are written with each sync that is timed.
const SYNC_BYTES: usize = 512;
/// Syncs that are timed.
const SYNCS: usize = 100;

/// A directory that is removed with everything in it.
pub(crate) struct Directory(TempDir);

impl Directory {
    /// Makes one.
    ///
    /// # Errors
    /// If it would lie in memory.
    pub(crate) fn make(options: &ClusterOptions) -> Result<Directory, String> {
        let parent = match &options.dir {
            Some(parent) => parent.clone(),
            None => build_directory()?,
        };
        let refused = |error: &dyn std::fmt::Display| {
            format!("no directory can be made in {}: {error}", parent.display())
        };
        std::fs::create_dir_all(&parent).map_err(|error| refused(&error))?;
        let kind = statfs(&parent).map_err(|error| refused(&error))?.filesystem_type();
        if kind == TMPFS_MAGIC {
            return Err(format!(
                "{} is in memory, where a sync costs nothing: name a directory on a disk with --dir",
                parent.display()
            ));
        }
        let made = tempfile::Builder::new().prefix("spanwire-bench-").tempdir_in(&parent);
        Ok(Directory(made.map_err(|error| refused(&error))?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// How long it takes to append a few bytes to a file and sync it: nothing that is acknowledged
    /// when it is durable can be faster.
    pub(crate) fn time_syncs(&self) -> Result<Percentiles, String> {
        let path = self.path().join("syncs");
        let time = || -> std::io::Result<Percentiles> {
            let mut file = File::create(&path)?;
            let mut times = Percentiles::default();
            for _ in 0..SYNCS {
                let started = Instant::now();
                file.write_all(&[1; SYNC_BYTES])?;
                file.sync_data()?;
                times.add(started.elapsed());
            }
            Ok(times)
        };
        time().map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The directory that the build puts its directories in: this program lies in one of them.
fn build_directory() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = program.parent().and_then(Path::parent);
    target.map(Path::to_owned).ok_or_else(|| "name a directory on a disk with --dir".to_owned())
}
