use super::*;
use crate::consensus::log::conformance;
use crate::consensus::log::tables::{COMMITS, JOURNALED};
use crate::consensus::log::tail::Mark;
use redb::Database;
use std::fs;

/// The files of a log without a snapshot.
const FILES: [&str; 3] = ["log.redb", "journal", "tail"];

fn mk_directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Twenty entries in several writes, a hard state and members.
fn fill(directory: &Path) {
    let log = RedbLog::open(directory).unwrap();
    let conf_state = Some(ConfState::from(([1], [])));
    log.write(&Write { conf_state, ..Write::default() }).unwrap();
    for index in 1..=20 {
        log.write(&mk_write(index)).unwrap();
    }
}

fn mk_write(index: u64) -> Write {
    let data = format!("entry {index}").repeat(20);
    Write {
        entries: vec![Entry { index, term: 1, data: data.into(), ..Entry::default() }],
        hard_state: Some(HardState { term: 1, vote: 1, commit: index - 1 }),
        ..Write::default()
    }
}

/// Puts all that the journal has into the database.
fn save(log: &RedbLog) {
    log.commit(&mut log.journal.lock(), None, |_| Ok(())).unwrap();
}

type Contents = (HardState, ConfState, Vec<Entry>);

fn contents(directory: &Path) -> Result<Contents, StoreError> {
    let log = RedbLog::open(directory)?;
    let (hard_state, conf_state) = log.initial_state()?;
    let bounds = log.bounds();
    let entries = log.entries(bounds.first_index, bounds.last_index + 1, u64::MAX)?;
    Ok((hard_state, conf_state, entries))
}

#[test]
fn conforms() {
    let root = mk_directory();
    let mut stores = 0;
    conformance::run(
        &mut || {
            stores += 1;
            let directory = root.path().join(stores.to_string());
            fs::create_dir(&directory).unwrap();
            RedbLog::open(&directory).unwrap()
        },
        &mut |log| {
            let directory = log.disk.path(DATABASE).parent().unwrap().to_owned();
            drop(log);
            RedbLog::open(&directory).unwrap()
        },
    );
}

#[test]
fn conforms_without_its_cache() {
    let root = mk_directory();
    fill(root.path());
    let log = RedbLog::open(root.path()).unwrap();
    let cached = log.entries(3, 9, 700).unwrap();
    assert_eq!(cached.len(), 4);
    let all = log.entries(1, 21, u64::MAX).unwrap();
    save(&log);
    log.write(&mk_write(21)).unwrap();
    // Half of them are in the database only, and then all but the newest, which is not in it at all.
    for _ in 0..2 {
        log.state.lock().cache.drain(..10);
        assert_eq!(log.entries(3, 9, 700).unwrap(), cached);
        assert_eq!(log.term(5).unwrap(), 1);
        let both = log.entries(1, 22, u64::MAX).unwrap();
        assert_eq!((both.len(), &both[..20]), (21, &all[..]));
        assert_eq!(both[20], mk_write(21).entries[0]);
        let bytes = both[..15].iter().map(|entry| entry.encoded_len() as u64).sum();
        assert_eq!(log.entries(1, 22, bytes).unwrap(), both[..15]);
    }
}

#[test]
fn two_processes_cannot_use_one_log() {
    let root = mk_directory();
    let _first = RedbLog::open(root.path()).unwrap();
    let error = RedbLog::open(root.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

/// Whatever single byte of the files is altered, the log is found whole or damaged: never
/// different, never a panic.
#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let root = mk_directory();
    fill(root.path());
    let expected = contents(root.path()).unwrap();
    let mut found = 0;
    for name in FILES {
        let original = fs::read(root.path().join(name)).unwrap();
        // Every byte that is not zero, thinned out, and some that are.
        let places = original.iter().enumerate().filter(|(at, byte)| {
            if name == "tail" {
                true
            } else if name == "journal" && *at < 5_000 {
                at % 7 == 0
            } else if **byte == 0 {
                at % 16381 == 0
            } else {
                at % 53 == 0
            }
        });
        for (at, _) in places {
            let mut altered = original.clone();
            altered[at] ^= 0x10;
            let directory = mk_directory();
            for file in FILES {
                fs::copy(root.path().join(file), directory.path().join(file)).unwrap();
            }
            fs::write(directory.path().join(name), altered).unwrap();
            match contents(directory.path()) {
                Ok(same) => assert_eq!(same, expected, "{name}, byte {at}"),
                Err(error) => {
                    let named = matches!(error, StoreError::Corrupt { .. });
                    assert!(named, "{name}, byte {at}: {error}");
                    found += 1;
                }
            }
        }
    }
    assert!(found > 40, "only {found} were found: the test alters the wrong places");
}

#[test]
fn a_truncated_log_is_found() {
    let root = mk_directory();
    fill(root.path());
    for name in ["log.redb", "journal"] {
        let original = fs::read(root.path().join(name)).unwrap();
        let used = original.len() - original.iter().rev().take_while(|byte| **byte == 0).count();
        for length in [0, 1, 100, used / 4, used / 2, used - 1] {
            fs::write(root.path().join(name), &original[..length]).unwrap();
            let error = contents(root.path()).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{name}, {length}: {error}");
        }
        fs::write(root.path().join(name), &original).unwrap();
        contents(root.path()).unwrap();
    }
}

#[test]
fn a_log_that_lost_its_end_is_found() {
    // The journal as it was before the last write: whole in itself, but shorter than its mark.
    let root = mk_directory();
    fill(root.path());
    let before = fs::read(root.path().join("journal")).unwrap();
    RedbLog::open(root.path()).unwrap().write(&mk_write(21)).unwrap();
    fs::write(root.path().join("journal"), before).unwrap();
    let error = contents(root.path()).unwrap_err().to_string();
    let expected = "it ends with entry 20, but entry 21 of term 1 had been written";
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("on an empty directory with --join and add it anew"), "{error}");
}

#[test]
fn a_database_that_its_journal_does_not_continue_is_found() {
    let root = mk_directory();
    fill(root.path());
    let [database, _, mark] = FILES.map(|name| fs::read(root.path().join(name)).unwrap());
    let log = RedbLog::open(root.path()).unwrap();
    save(&log);
    log.write(&mk_write(21)).unwrap();
    drop(log);
    fs::write(root.path().join("log.redb"), database).unwrap();
    fs::write(root.path().join("tail"), mark).unwrap();
    let error = contents(root.path()).unwrap_err().to_string();
    let expected = "it begins with commit 23, but the database ends with 0";
    assert!(error.contains(expected), "{error}");
}

/// A crash between the two steps leaves in the journal what the database has, too.
#[test]
fn a_journal_that_the_database_has_already_changes_nothing() {
    let root = mk_directory();
    fill(root.path());
    let expected = contents(root.path()).unwrap();
    let log = RedbLog::open(root.path()).unwrap();
    save(&log);
    drop(log);
    let log = RedbLog::open(root.path()).unwrap();
    assert_eq!(log.state.lock().unsaved_from, None);
    assert_eq!(log.entries(1, 21, u64::MAX).unwrap(), expected.2);
    // The next record is shorter than the one that it is written over, whose rest stays behind it.
    let hard_state = HardState { term: 1, vote: 1, commit: 20 };
    log.write(&Write { hard_state: Some(hard_state), ..Write::default() }).unwrap();
    drop(log);
    assert_eq!(contents(root.path()).unwrap(), (hard_state, expected.1, expected.2));
}

#[test]
fn an_older_mark_does_no_harm() {
    // A power cut may lose the mark's last writes, which were not synced.
    let root = mk_directory();
    fill(root.path());
    let mark = fs::read(root.path().join("tail")).unwrap();
    RedbLog::open(root.path()).unwrap().write(&mk_write(21)).unwrap();
    fs::write(root.path().join("tail"), mark).unwrap();
    assert_eq!(contents(root.path()).unwrap().2.len(), 21);
}

#[test]
fn a_vote_that_is_gone_is_found() {
    // The journal as it was before the vote: whole in itself, and as long as its mark.
    let root = mk_directory();
    fill(root.path());
    let before = fs::read(root.path().join("journal")).unwrap();
    let hard_state = Some(HardState { term: 2, vote: 3, commit: 20 });
    let log = RedbLog::open(root.path()).unwrap();
    log.write(&Write { hard_state, ..Write::default() }).unwrap();
    drop(log);
    fs::write(root.path().join("journal"), before).unwrap();
    let error = contents(root.path()).unwrap_err().to_string();
    let expected = "it ends with commit 21, but commit 22 had been written";
    assert!(error.contains(expected), "{error}");
}

/// The log as earlier releases have it: no journal, no numbers of commits.
fn make_older(directory: &Path) {
    save(&RedbLog::open(directory).unwrap());
    fs::remove_file(directory.join("journal")).unwrap();
    let database = Database::open(directory.join("log.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    for key in [COMMITS, JOURNALED] {
        transaction.open_table(META).unwrap().remove(key).unwrap().unwrap();
    }
    transaction.commit().unwrap();
    let mark = fs::read(directory.join("tail")).unwrap();
    fs::write(directory.join("tail"), &mark[..20]).unwrap();
}

#[test]
fn a_log_of_an_earlier_release_is_taken_over() {
    let root = mk_directory();
    fill(root.path());
    let expected = contents(root.path()).unwrap();
    make_older(root.path());
    assert_eq!(contents(root.path()).unwrap(), expected);
    assert_eq!(fs::read(root.path().join("tail")).unwrap().len(), 20, "nothing was written");
    RedbLog::open(root.path()).unwrap().write(&mk_write(21)).unwrap();
    let log = RedbLog::open(root.path()).unwrap();
    assert_eq!(log.tail.get(), Mark { index: 21, term: 1, commits: 1 });
    assert_eq!(log.state.lock().commits, 1);
    drop(log);
    // What was cut off before its line was there, and what was left of the file's growth.
    let mark = fs::read(root.path().join("tail")).unwrap();
    let zeros = [&mark[..20], &[0; 12]].concat();
    for older in [&mark[..20], &zeros] {
        fs::write(root.path().join("tail"), older).unwrap();
        RedbLog::open(root.path()).unwrap();
        assert_eq!(fs::read(root.path().join("tail")).unwrap(), mark, "as the log is");
    }
    for length in [0, 19, 21, 31] {
        fs::write(root.path().join("tail"), &mark[..length]).unwrap();
        let error = contents(root.path()).unwrap_err().to_string();
        assert!(error.contains("the file is too short"), "{length} bytes: {error}");
    }
}

#[test]
fn a_damaged_snapshot_is_found() {
    let root = mk_directory();
    fill(root.path());
    let log = RedbLog::open(root.path()).unwrap();
    let metadata = SnapshotMetadata { conf_state: None, index: 10, term: 1 };
    let data = vec![7; 3 << 20];
    let snapshot = Snapshot { data: data.into(), metadata: Some(metadata) };
    log.save_snapshot(&snapshot).unwrap();
    drop(log);
    let path = root.path().join(snapshot_file::file_name(10));
    let original = fs::read(&path).unwrap();
    let load = || RedbLog::open(root.path()).and_then(|log| log.snapshot());
    assert_eq!(load().unwrap(), Some(snapshot));
    for at in [0, 9, 17, 30, 1 << 20, (1 << 20) + 60, original.len() - 1] {
        let mut altered = original.clone();
        altered[at] ^= 1;
        fs::write(&path, altered).unwrap();
        let error = load().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "byte {at}: {error}");
    }
    for length in [0, 7, 12, 40, (1 << 20) + 50, original.len() - 8] {
        fs::write(&path, &original[..length]).unwrap();
        let error = load().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{length} bytes: {error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(load().is_err(), "a snapshot that is missing");
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let root = mk_directory();
    fs::write(root.path().join("log.redb"), vec![0x55; 20_000]).unwrap();
    let error = RedbLog::open(root.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}
