//! The view on disk: what a host enforces before any controller answers (guarantee G9).
//!
//! A redb database in the state directory. For each item there is a row with the item as a whole,
//! and behind it a row for each difference that came since, as they came over the wire, each with a
//! checksum; so what is written for a batch is as large as the batch. When the differences of an
//! item outgrow the item, it is written whole again. One row, the head, says what all this stands
//! for: the host, the cluster, the revision, and a digest of all keys and versions. A batch is one
//! durable transaction.
//!
//! A store that does not hold what it should, whatever the reason, is set aside under another name
//! and a new one is begun: the controller then sends the whole view.

mod rows;

use crate::error::StoreError;
use crate::state_dir::StateDir;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use rows::{Head, RowKey, RowUpdate};
use spanwire_hostproto::digest::digest;
use spanwire_hostproto::{ClusterId, HeldView, ViewChange, codec, staging};
use spanwire_topology::model::Revision;
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the database in the state directory.
pub const STORE_FILE: &str = "view.redb";
/// What is in the name of a store that was set aside.
const ASIDE_INFIX: &str = ".aside-";
/// Stores set aside that are kept, for whoever wants to know what happened to them.
const ASIDE_KEPT_MAX: usize = 3;
/// Memory for pages of the database. It is read once and then only written.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// The most differences kept behind an item.
const DELTA_ROWS_MAX: u32 = 64;
/// Differences that together are smaller than this are kept whatever the size of the item, because
/// a row costs about a page anyway.
const DELTA_BYTES_MIN: usize = 4096;

const ITEMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("items");
const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("head");
const HEAD_KEY: &str = "head";

/// What a store held when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Store,
    /// The view, if there is one.
    pub(crate) held: Option<HeldView>,
    /// Where the store was put that did not hold what it should, and what was wrong with it.
    pub(crate) set_aside: Option<(PathBuf, String)>,
}

/// The view on disk.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    host: String,
    /// `None` after an error: then the next write opens it again and looks what it holds.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    database: Database,
    revision: Revision,
    cluster_id: Option<ClusterId>,
    items: BTreeMap<ItemKey, Extent>,
}

/// How much there is of an item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Extent {
    /// Rows, the first of which has the whole.
    rows: u32,
    whole_bytes: usize,
    delta_bytes: usize,
}

/// Why a store could not be read.
enum Unreadable {
    /// It does not hold what it should.
    Corrupt(String),
    /// It could not be asked.
    Failed(StoreError),
}

// ---- Reading ----

impl Store {
    /// Opens the store of a host, or begins one.
    pub(crate) fn open(directory: &StateDir, host: &str) -> Result<Opened, StoreError> {
        let path = directory.path().join(STORE_FILE);
        let mut set_aside = None;
        let (open, held) = match open(&path, host) {
            Ok(opened) => opened,
            Err(Unreadable::Failed(error)) => return Err(error),
            Err(Unreadable::Corrupt(problem)) => {
                set_aside = Some((put_aside(&path)?, problem));
                open(&path, host).map_err(|unreadable| match unreadable {
                    Unreadable::Failed(error) => error,
                    Unreadable::Corrupt(problem) => {
                        database_error("could not begin", &path)(problem)
                    }
                })?
            }
        };
        let store = Store { path, host: host.to_owned(), open: Some(open) };
        Ok(Opened { store, held, set_aside })
    }

    /// The revision that the store holds; 0 if it holds none, or an error has left that open.
    #[cfg(test)]
    fn revision(&self) -> Revision {
        self.open.as_ref().map_or(0, |open| open.revision)
    }
}

/// Opens the database and reads all of it.
fn open(path: &Path, host: &str) -> Result<(Open, Option<HeldView>), Unreadable> {
    // The checks below find what is wrong with a file; should one get past them and make the
    // library panic, that is a damaged file as well, and no reason to leave the host alone.
    let opened = catch_unwind(AssertUnwindSafe(|| read_all(path)));
    let opened = opened.unwrap_or_else(|_| {
        Err(Unreadable::Corrupt("reading it made the database library panic".to_owned()))
    });
    let (database, head, rows) = opened?;
    let empty = |database| Open { database, revision: 0, cluster_id: None, items: BTreeMap::new() };
    let Some(head) = head else {
        return match rows.is_empty() {
            true => Ok((empty(database), None)),
            false => Err(Unreadable::Corrupt("it has items and no head".to_owned())),
        };
    };
    let Head { host: found, cluster_id, revision, digest: expected } = head;
    if found != host {
        return Err(Unreadable::Failed(StoreError::OtherHost {
            path: path.to_owned(),
            found,
            host: host.to_owned(),
        }));
    }
    let (view, items) = mk_view(revision, &rows).map_err(Unreadable::Corrupt)?;
    let found = digest(view.items.iter().map(|(key, item)| (*key, item.version)));
    if found != expected {
        return Err(Unreadable::Corrupt(format!(
            "its items have the digest {found:016x}, and its head says {expected:016x}"
        )));
    }
    let open = Open { database, revision, cluster_id: Some(cluster_id), items };
    Ok((open, Some(HeldView { cluster_id, view: Arc::new(view) })))
}

type Rows = Vec<(RowKey, bytes::Bytes)>;

fn read_all(path: &Path) -> Result<(Database, Option<Head>, Rows), Unreadable> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        // A file that somebody else has changed is found out here, not by a panic later.
        .set_check_integrity_on_open(true)
        .create(path)
        .map_err(|error| unreadable(path, error.into()))?;
    let (head, rows) = read_tables(&database).map_err(|error| match error {
        ReadError::Database(error) => unreadable(path, *error),
        ReadError::Row(problem) => Unreadable::Corrupt(problem),
    })?;
    Ok((database, head, rows))
}

enum ReadError {
    Database(Box<redb::Error>),
    Row(String),
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> ReadError {
        ReadError::Database(Box::new(error.into()))
    }
}

fn read_tables(database: &Database) -> Result<(Option<Head>, Rows), ReadError> {
    let transaction = database.begin_read()?;
    let head = match transaction.open_table(HEAD) {
        Ok(table) => match table.get(HEAD_KEY)? {
            Some(row) => Some(Head::decode(row.value()).map_err(ReadError::Row)?),
            None => None,
        },
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let mut rows = Rows::new();
    match transaction.open_table(ITEMS) {
        Ok(table) => {
            for row in table.iter()? {
                let (key, value) = row?;
                let key = RowKey::decode(key.value()).map_err(ReadError::Row)?;
                let update = rows::unseal(value.value())
                    .map_err(|problem| ReadError::Row(format!("{}: {problem}", key.item)))?;
                rows.push((key, update));
            }
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok((head, rows))
}

/// The view that the rows stand for, and how much there is of each item.
fn mk_view(
    revision: Revision,
    rows: &Rows,
) -> Result<(HostView, BTreeMap<ItemKey, Extent>), String> {
    let mut items: BTreeMap<ItemKey, Extent> = BTreeMap::new();
    for (key, update) in rows {
        let extent = items.entry(key.item).or_default();
        if key.sequence != extent.rows {
            return Err(format!("{}: row {} is missing", key.item, extent.rows));
        }
        let update = RowUpdate::of(update.clone()).map_err(|error| error.to_string())?;
        if update.key != key.item {
            return Err(format!("{}: its row holds {}", key.item, update.key));
        }
        extent.add(update.is_whole, update.bytes.len());
    }
    let mut view = HostView::default();
    let updates = rows.iter().map(|(_, update)| update);
    staging::apply_updates(&mut view, revision, true, updates)
        .map_err(|error| error.to_string())?;
    Ok((view, items))
}

fn unreadable(path: &Path, error: redb::Error) -> Unreadable {
    use redb::Error;
    match error {
        Error::Io(source) if !is_about_content(&source) => Unreadable::Failed(StoreError::Io {
            action: "could not open",
            path: path.to_owned(),
            source,
        }),
        Error::DatabaseAlreadyOpen => Unreadable::Failed(StoreError::InUse {
            directory: path.parent().unwrap_or(path).to_owned(),
            pid: "(unknown)".to_owned(),
        }),
        error => Unreadable::Corrupt(error.to_string()),
    }
}

/// True if an error is owed to what is in the file, or to a part of it that cannot be read: a new
/// file will do. Others (no right to open it, no room) would be the same with a new file.
fn is_about_content(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    // What the library finds out by itself has no number of the system.
    let found_by_library = error.raw_os_error().is_none();
    let nonsense = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::FileTooLarge);
    found_by_library || nonsense || error.raw_os_error() == Some(nix::libc::EIO)
}

impl Extent {
    fn add(&mut self, is_whole: bool, bytes: usize) {
        self.rows += 1;
        match is_whole {
            true => self.whole_bytes += bytes,
            false => self.delta_bytes += bytes,
        }
    }

    fn is_overgrown(&self) -> bool {
        self.rows > DELTA_ROWS_MAX || self.delta_bytes > self.whole_bytes.max(DELTA_BYTES_MIN)
    }
}

// ---- Writing ----

/// What a transaction does to the rows of one item.
#[derive(Debug, Default)]
struct ItemWrite {
    /// How many of the old rows stay.
    keep: u32,
    /// How many of the old rows behind those go.
    drop: u32,
    /// New rows, behind those that stay.
    add: Vec<bytes::Bytes>,
    /// How much there will be; `None` if the item is gone.
    extent: Option<Extent>,
}

impl Store {
    /// Keeps a step of the view. After `Ok` it survives a power cut. After an error the store holds
    /// either the old view or the new one, whole, and the same step may be written again.
    pub(crate) fn write(&mut self, change: &ViewChange) -> Result<(), StoreError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.reopen()?,
        };
        let same = open.cluster_id == Some(change.cluster_id);
        // A repair need not move the revision, and what is stored may be what is wrong.
        let moves = change.from != change.to && !change.replace;
        let is_written = moves || (!change.replace && change.updates.is_empty());
        if same && open.revision == change.to && is_written {
            // An earlier attempt got through after all.
            self.open = Some(open);
            return Ok(());
        }
        let fits = same && open.revision == change.from && moves;
        let writes = if fits { plan(&open.items, change) } else { None };
        let writes = writes.unwrap_or_else(|| plan_whole(&change.view));
        let head = Head {
            host: self.host.clone(),
            cluster_id: change.cluster_id,
            revision: change.to,
            digest: digest(change.view.items.iter().map(|(key, item)| (*key, item.version))),
        };
        commit(&open.database, &head, &writes, !fits)
            .map_err(|error| database_error("could not write", &self.path)(error.to_string()))?;
        if !fits {
            open.items.clear();
        }
        for (key, write) in writes {
            match write.extent {
                Some(extent) => open.items.insert(key, extent),
                None => open.items.remove(&key),
            };
        }
        open.revision = change.to;
        open.cluster_id = Some(change.cluster_id);
        self.open = Some(open);
        Ok(())
    }

    /// After an error the library refuses everything until the database is opened again.
    fn reopen(&self) -> Result<Open, StoreError> {
        match open(&self.path, &self.host) {
            Ok((open, _)) => Ok(open),
            Err(Unreadable::Failed(error)) => Err(error),
            Err(Unreadable::Corrupt(problem)) => {
                let aside = put_aside(&self.path)?;
                crate::log::store_set_aside(&aside, &problem);
                match open(&self.path, &self.host) {
                    Ok((open, _)) => Ok(open),
                    Err(Unreadable::Failed(error)) => Err(error),
                    Err(Unreadable::Corrupt(problem)) => {
                        Err(database_error("could not begin", &self.path)(problem))
                    }
                }
            }
        }
    }
}

/// What a step does to the rows. `None` if the updates do not lead there, which would be a fault of
/// ours; then everything is written anew, from the view.
fn plan(
    items: &BTreeMap<ItemKey, Extent>,
    change: &ViewChange,
) -> Option<BTreeMap<ItemKey, ItemWrite>> {
    let mut writes: BTreeMap<ItemKey, ItemWrite> = BTreeMap::new();
    for update in &change.updates {
        let update = RowUpdate::of(update.clone()).ok()?;
        let before = items.get(&update.key).copied();
        let rows = before.map_or(0, |extent| extent.rows);
        let write = writes.entry(update.key).or_insert_with(|| ItemWrite {
            keep: rows,
            drop: 0,
            add: Vec::new(),
            extent: before,
        });
        if update.is_removed || update.is_whole {
            *write = ItemWrite { keep: 0, drop: rows, add: Vec::new(), extent: None };
        }
        if !update.is_removed {
            // A difference needs something that it differs from.
            if !update.is_whole && write.extent.is_none() {
                return None;
            }
            write.extent.get_or_insert_default().add(update.is_whole, update.bytes.len());
            write.add.push(update.bytes);
        }
    }
    for (key, write) in &mut writes {
        if write.extent.is_some_and(|extent| extent.is_overgrown()) {
            let held = change.view.items.get(key)?;
            let whole = codec::encode_full(*key, held.version, &held.item);
            let mut extent = Extent::default();
            extent.add(true, whole.len());
            let drop = write.keep + write.drop;
            *write = ItemWrite { keep: 0, drop, add: vec![whole], extent: Some(extent) };
        }
    }
    // What the step says is gone must be gone here, and the other way round.
    let agrees = |key: &ItemKey| {
        let kept = match writes.get(key) {
            Some(write) => write.extent.is_some(),
            None => items.contains_key(key),
        };
        kept == change.view.items.contains_key(key)
    };
    change.changed.iter().all(agrees).then_some(writes)
}

/// Every item of a view, as a whole.
fn plan_whole(view: &HostView) -> BTreeMap<ItemKey, ItemWrite> {
    view.items
        .iter()
        .map(|(key, held)| {
            let whole = codec::encode_full(*key, held.version, &held.item);
            let mut extent = Extent::default();
            extent.add(true, whole.len());
            (*key, ItemWrite { keep: 0, drop: 0, add: vec![whole], extent: Some(extent) })
        })
        .collect()
}

fn commit(
    database: &Database,
    head: &Head,
    writes: &BTreeMap<ItemKey, ItemWrite>,
    replace: bool,
) -> Result<(), Box<redb::Error>> {
    let boxed = |error: redb::Error| Box::new(error);
    let mut transaction = database.begin_write().map_err(|error| boxed(error.into()))?;
    transaction.set_durability(Durability::Immediate).map_err(|error| boxed(error.into()))?;
    let fill = || -> Result<(), redb::Error> {
        if replace {
            transaction.delete_table(ITEMS)?;
        }
        let mut table = transaction.open_table(ITEMS)?;
        for (key, write) in writes {
            for sequence in write.keep..write.keep + write.drop {
                table.remove(RowKey { item: *key, sequence }.encode().as_slice())?;
            }
            for (sequence, update) in (write.keep..).zip(&write.add) {
                let row = RowKey { item: *key, sequence }.encode();
                table.insert(row.as_slice(), rows::seal(update).as_slice())?;
            }
        }
        let mut table = transaction.open_table(HEAD)?;
        table.insert(HEAD_KEY, head.encode().as_slice())?;
        Ok(())
    };
    fill().map_err(boxed)?;
    transaction.commit().map_err(|error| boxed(error.into()))
}

// ---- Setting aside and deleting ----

/// Deletes the view in a state directory, and every store that was set aside.
pub(crate) fn delete_store(directory: &StateDir) -> Result<(), StoreError> {
    let store = directory.path().join(STORE_FILE);
    for path in asides(&store)?.into_iter().chain([store]) {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Io { action: "could not delete", path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Renames a store that does not hold what it should, and deletes the oldest of earlier ones.
fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    // Seconds are names enough; two stores in one second would be two in one start.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!("{ASIDE_INFIX}{seconds:012}"));
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside).map_err(|source| StoreError::Io {
        action: "could not set aside",
        path: path.to_owned(),
        source,
    })?;
    let old = asides(path)?;
    for path in old.iter().take(old.len().saturating_sub(ASIDE_KEPT_MAX)) {
        fs::remove_file(path).map_err(|source| StoreError::Io {
            action: "could not delete",
            path: path.clone(),
            source,
        })?;
    }
    Ok(aside)
}

/// The stores that were set aside, the oldest first.
fn asides(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let io =
        |source| StoreError::Io { action: "could not read", path: directory.to_owned(), source };
    let prefix = format!("{STORE_FILE}{ASIDE_INFIX}");
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn database_error(action: &'static str, path: &Path) -> impl FnOnce(String) -> StoreError {
    let path = path.to_owned();
    move |problem| StoreError::Database { action, path, problem }
}

#[cfg(test)]
mod tests;
