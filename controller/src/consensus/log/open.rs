//! Opening and making the files of a log, whole or not at all.

use super::StoreError;
use super::database::{LogDatabase, corrupt, failed, read_carefully};
use super::disk::{Backend, Disk, DiskFile};
use super::journal::Journal;
use super::tables::{JOURNALED, LOG, META, sealed};
use super::tail::{Mark, TailMark, io_error};
use redb::Database;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// The file of the database.
pub(super) const DATABASE: &str = "log.redb";
/// Its name while it is made. A file with the database's name is always a whole one.
const DATABASE_UNFINISHED: &str = "log.tmp";

/// Memory for the database's pages. The log is read from its end, and that is kept besides.
const PAGE_CACHE_BYTES: usize = 8 << 20;

/// The files of a log.
pub(super) struct Opened {
    pub(super) database: LogDatabase,
    pub(super) tail: TailMark,
    pub(super) journal: Journal,
}

/// Opens the log that is there, if there is one.
pub(super) fn open_existing(
    disk: &dyn Disk,
    journal_bytes_max: usize,
) -> Result<Option<Opened>, StoreError> {
    let path = disk.path(DATABASE);
    let file = match disk.open(DATABASE) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, "open", error.into())),
    };
    take(&*file, &path)?;
    // The database takes an empty file for a new one, but whoever made ours filled it.
    if file.len().map_err(|error| failed(&path, "open", error.into()))? == 0 {
        return Err(corrupt(&path, "the log", "the file is empty"));
    }
    let database = open_database(file, &path)?;
    let tail = TailMark::open(disk)?;
    let is_journaled = read_carefully(&path, || database.meta::<bool>(JOURNALED))?.is_some();
    if !is_journaled {
        // An earlier release made it.
        Journal::create(disk)?;
    }
    // Whoever made the log may have been killed before its name was durable.
    disk.sync().map_err(|error| io_error("sync the directory of", &path, error))?;
    if !is_journaled {
        set_journaled(&database)?;
    }
    let journal = Journal::open(disk, journal_bytes_max)?;
    Ok(Some(Opened { database, tail, journal }))
}

/// Makes an empty log. The database gets its name last, so that a crash on the way leaves a whole
/// log or none.
pub(super) fn create(disk: &dyn Disk, journal_bytes_max: usize) -> Result<Opened, StoreError> {
    let path = disk.path(DATABASE);
    let refused = |error: Error| failed(&path, "open", error.into());
    let file = disk.create(DATABASE_UNFINISHED).map_err(refused)?;
    take(&*file, &path)?;
    // Whoever had this file may have given it its name since it was looked for. From here on
    // nobody else can.
    if disk.exists(DATABASE).map_err(refused)? {
        drop(file);
        return open_existing(disk, journal_bytes_max)?.ok_or(StoreError::InUse { path });
    }
    let mark = TailMark::left_behind(disk)?.unwrap_or_default();
    if mark != Mark::default() {
        let Mark { index, commits, .. } = mark;
        let problem =
            format!("the file is missing, but entry {index} and commit {commits} had been written");
        return Err(corrupt(&path, "the log", &problem));
    }
    if Journal::is_left_behind(disk)? {
        let problem = "the file is missing, but its journal has been written to";
        return Err(corrupt(&path, "the log", problem));
    }
    file.set_len(0).map_err(refused)?;
    let database = open_database(file, &path)?;
    set_journaled(&database)?;
    Journal::create(disk)?;
    let tail = TailMark::create(disk)?;
    let named = || -> std::io::Result<()> {
        // A database without its mark or its journal counts as damaged: their names must be durable
        // first.
        disk.sync()?;
        disk.rename(DATABASE_UNFINISHED, DATABASE)?;
        disk.sync()
    };
    named().map_err(|error| io_error("make", &path, error))?;
    let journal = Journal::open(disk, journal_bytes_max)?;
    Ok(Opened { database, tail, journal })
}

/// From now on there is a journal, and a log without it is damaged.
fn set_journaled(database: &LogDatabase) -> Result<(), StoreError> {
    database.write(|transaction| {
        let mut meta = transaction.open_table(META)?;
        meta.insert(JOURNALED, sealed(JOURNALED.as_bytes(), &true).as_slice())?;
        Ok(())
    })
}

/// Keeps others from using the database.
fn take(file: &dyn DiskFile, path: &Path) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed(path, "open", error.into())),
    }
}

fn open_database(file: Arc<dyn DiskFile>, path: &Path) -> Result<LogDatabase, StoreError> {
    read_carefully(path, || {
        let database = Database::builder()
            .set_cache_size(PAGE_CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(Backend(file))
            .map_err(|error| failed(path, "open", error.into()))?;
        create_tables(&database).map_err(|error| failed(path, "write", error))?;
        Ok(LogDatabase::new(database, path))
    })
}

fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(META)?;
    transaction.commit()?;
    Ok(())
}
