//! The log on a disk with faults: what was acknowledged is there, whatever happens.

use super::crash_model::{Call, Contents, append, contents, mk_history, mk_snapshot, open, work};
use super::disk::{Backend, Disk as _};
use super::journal::JOURNAL;
use super::open::DATABASE;
use super::tables::{JOURNALED, META};
use super::{FaultDisk, LogBounds, LogStore as _, RedbLog, StoreError, Write, conformance};
use raft::eraftpb::{Entry, Snapshot, SnapshotMetadata};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redb::Database;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Seeds that are tried.
const CASES: u64 = 200;

/// Everything acknowledged is there, and of the call that was not, all or nothing.
#[track_caller]
fn check(found: &Contents, acknowledged: &Contents, last: Option<&Call>, what: &str) {
    let is_after = last.is_some_and(|call| acknowledged.after(call) == *found);
    if found != acknowledged && !is_after {
        panic!("{what}: after {last:?}\nfound {found:#?}\nneither {acknowledged:#?}");
    }
}

#[test]
fn conforms_with_a_power_cut_at_each_restart() {
    for seed in 0..2 {
        let disk = RefCell::new(FaultDisk::new());
        let mut rng = StdRng::seed_from_u64(seed);
        conformance::run(
            &mut || {
                disk.replace(FaultDisk::new());
                open(&disk.borrow()).unwrap()
            },
            &mut |log| {
                let crashed = disk.borrow().crash(&mut rng);
                drop(log);
                disk.replace(crashed);
                open(&disk.borrow()).unwrap()
            },
        );
    }
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..CASES {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut disk = FaultDisk::new();
        let mut held = Contents::default();
        // Several lives of one replica; the disk stops in the middle of each.
        for life in 0..4 {
            let what = format!("seed {seed}, life {life}");
            disk.stop_after(rng.random_range(1..120));
            let failed = match open(&disk) {
                // Stopped while it was made, or repaired after the crash before.
                Err(error) => (None, error),
                Ok(log) => {
                    let found = Contents::of(&log).unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert_eq!(found, held, "{what}");
                    let (acknowledged, failed) = work(&log, held, usize::MAX, &mut rng);
                    held = acknowledged;
                    failed.map(|(call, error)| (Some(call), error)).unwrap()
                }
            };
            let (call, error) = failed;
            assert!(disk.is_stopped(), "{what}: {error}");
            assert!(error.to_string().contains(FaultDisk::STOPPED_MESSAGE), "{what}: {error}");
            assert!(matches!(error, StoreError::Io { .. }), "{what}: {error}");
            disk = if rng.random_bool(0.9) { disk.crash(&mut rng) } else { disk.kill() };
            let found = contents(&disk).unwrap_or_else(|e| panic!("{what}: after {call:?}: {e}"));
            check(&found, &held, call.as_ref(), &what);
            if found == held {
                lost += 1
            } else {
                kept += 1
            }
            held = found;
        }
    }
    assert!(
        lost > 0 && kept > 0,
        "{lost} calls were lost and {kept} kept: the test cuts too little"
    );
}

/// The process that makes the log is killed at every step, and the power cut comes after the next
/// has used it.
#[test]
fn a_log_whose_making_was_killed_keeps_its_name() {
    for (step, seed) in (1..50).flat_map(|step| (0..4).map(move |seed| (step, seed))) {
        let disk = FaultDisk::new();
        disk.stop_after(step);
        let _ = open(&disk);
        let disk = disk.kill();
        let mut rng = StdRng::seed_from_u64(seed);
        let (held, failed) = append(&open(&disk).unwrap(), Contents::default(), &mut rng);
        assert!(failed.is_none(), "step {step}: {failed:?}");
        let disk = disk.crash(&mut rng);
        assert_eq!(contents(&disk).unwrap(), held, "step {step}");
    }
}

/// Every step of making a log, and of each kind of call.
#[test]
fn a_power_cut_at_every_step_is_survived() {
    for seed in 0..8 {
        let mut calls = StdRng::seed_from_u64(seed);
        let (before, held) = mk_history(if seed == 0 { 0 } else { 12 }, &mut calls);
        let before = if seed == 0 { BTreeMap::new() } else { before.contents() };
        let call = held.random_call(&mut calls);
        for step in 1.. {
            let what = format!("seed {seed}, step {step}");
            let mut rng = StdRng::seed_from_u64(step);
            let disk = FaultDisk::with_contents(before.clone());
            disk.stop_after(step);
            let done = open(&disk).and_then(|log| call.run(&log)).is_ok();
            let crashed = disk.crash(&mut rng);
            let found = contents(&crashed).unwrap_or_else(|e| panic!("{what}: {call:?}: {e}"));
            check(&found, &held, Some(&call), &what);
            if done {
                assert_eq!(found, held.after(&call), "{what}");
                if disk.counters().operations < step {
                    break;
                }
            }
        }
    }
}

/// What an earlier release left, which had no journal.
fn mk_older(rng: &mut StdRng) -> (BTreeMap<String, Vec<u8>>, Contents) {
    let (disk, held) = mk_history(12, rng);
    let log = open(&disk).unwrap();
    // A snapshot that is saved again takes what the journal has into the database.
    let saved = Call::Save(mk_snapshot(held.last_index(), held.entries.last().unwrap().term));
    saved.run(&log).unwrap();
    drop(log);
    let backend = Backend(disk.open(DATABASE).unwrap());
    let database = Database::builder().create_with_backend(backend).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().remove(JOURNALED).unwrap().unwrap();
    transaction.commit().unwrap();
    drop(database);
    disk.remove(JOURNAL).unwrap();
    (disk.contents(), held.after(&saved))
}

#[test]
fn a_power_cut_at_every_step_of_taking_over_an_older_log_is_survived() {
    for seed in 0..4 {
        let mut calls = StdRng::seed_from_u64(seed);
        let (before, held) = mk_older(&mut calls);
        let call = held.random_append(&mut calls);
        for step in 1.. {
            let what = format!("seed {seed}, step {step}");
            let disk = FaultDisk::with_contents(before.clone());
            disk.stop_after(step);
            let done = open(&disk).and_then(|log| call.run(&log)).is_ok();
            let crashed = disk.crash(&mut StdRng::seed_from_u64(step));
            let found = contents(&crashed).unwrap_or_else(|e| panic!("{what}: {e}"));
            check(&found, &held, Some(&call), &what);
            if done {
                assert_eq!(found, held.after(&call), "{what}");
                break;
            }
        }
    }
}

/// Replacing a snapshot by another of the same state, which names its members in another order.
#[test]
fn a_power_cut_while_a_snapshot_is_saved_again_is_survived() {
    let (before, held) = mk_history(40, &mut StdRng::seed_from_u64(3));
    let mut again = held.snapshot.clone().unwrap();
    let metadata = again.metadata.as_mut().unwrap();
    metadata.conf_state.as_mut().unwrap().voters.reverse();
    let mut found = BTreeSet::new();
    for step in 1..80 {
        let disk = FaultDisk::with_contents(before.contents());
        disk.stop_after(step);
        let _ = open(&disk).and_then(|log| Call::Save(again.clone()).run(&log));
        let left = contents(&disk.crash(&mut StdRng::seed_from_u64(step))).unwrap();
        let snapshot = left.snapshot.unwrap();
        assert_eq!(snapshot.data, again.data);
        found.insert(snapshot.get_metadata().get_conf_state().voters.clone());
    }
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    for seed in 0..CASES / 4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (disk, held) = mk_history(5, &mut rng);
        let log = open(&disk).unwrap();
        disk.fill(rng.random_range(0..100_000));
        let (mut held, mut failed) = work(&log, held, 20, &mut rng);
        while failed.is_none() {
            (held, failed) = append(&log, held, &mut rng);
        }
        let (call, error) = failed.unwrap();
        let text = error.to_string();
        assert!(matches!(error, StoreError::Io { .. }), "seed {seed}: {text}");
        assert!(text.contains("No space left on device"), "seed {seed}: {text}");
        assert!(text.starts_with("could not write"), "seed {seed}: {text}");
        drop(log);
        // A start on a disk that is still full may fail, but finds no damage.
        let held = match contents(&disk) {
            Ok(found) => {
                check(&found, &held, Some(&call), &format!("seed {seed}, full"));
                found
            }
            Err(StoreError::Io { .. }) => held,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        disk.free();
        let disk = if rng.random_bool(0.5) { disk.crash(&mut rng) } else { disk };
        let found = contents(&disk).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        check(&found, &held, Some(&call), &format!("seed {seed}"));
        let (held, failed) = work(&open(&disk).unwrap(), found, 10, &mut rng);
        assert!(failed.is_none(), "seed {seed}: {failed:?}");
        assert_eq!(contents(&disk).unwrap(), held, "seed {seed}");
    }
}

#[test]
fn a_sync_that_fails_is_never_acknowledged() {
    for seed in 0..CASES / 4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (disk, held) = mk_history(8, &mut rng);
        let log = open(&disk).unwrap();
        disk.fail_next_sync();
        let (held, failed) = work(&log, held, 1, &mut rng);
        let Some((call, error)) = failed else { continue };
        assert!(error.to_string().contains("Input/output error"), "seed {seed}: {error}");
        assert!(matches!(error, StoreError::Io { .. }), "seed {seed}: {error}");
        let disk = disk.crash(&mut rng);
        drop(log);
        let found = contents(&disk).unwrap_or_else(|e| panic!("seed {seed}, {call:?}: {e}"));
        check(&found, &held, Some(&call), &format!("seed {seed}"));
    }
}

/// The record and the mark are written, the record is synced; a vote's mark is synced, too.
#[test]
fn a_write_costs_two_small_writes_and_one_sync() {
    let mut rng = StdRng::seed_from_u64(1);
    let (disk, mut held) = (FaultDisk::new(), Contents::default());
    let log = RedbLog::open_on(Arc::new(disk.clone())).unwrap();
    // The first record makes the file longer.
    (held, _) = append(&log, held, &mut rng);
    let cost = |call: &Call| {
        let before = disk.counters();
        call.run(&log).unwrap();
        let after = disk.counters();
        (after.writes - before.writes, after.syncs - before.syncs, after.bytes - before.bytes)
    };
    // Few enough that the file stays as it is.
    for _ in 0..10 {
        let vote = (held.hard_state.term, held.hard_state.vote);
        let call = held.random_append(&mut rng);
        held = held.after(&call);
        let is_vote = (held.hard_state.term, held.hard_state.vote) != vote;
        let Call::Write(write) = &call else { panic!("{call:?}") };
        let data: usize = write.entries.iter().map(|entry| entry.data.len()).sum();
        let (writes, syncs, bytes) = cost(&call);
        assert_eq!((writes, syncs), (2, 1 + u64::from(is_vote)), "{call:?}");
        assert!(bytes < data as u64 + 200, "{bytes} bytes for {data}");
    }
}

#[test]
fn a_second_opening_is_refused() {
    let disk = FaultDisk::new();
    let log = open(&disk).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(log);
    open(&disk).unwrap();
}

/// A simulation can be run again only if this holds.
#[test]
fn the_same_calls_leave_the_same_bytes() {
    let run = || {
        let mut rng = StdRng::seed_from_u64(7);
        let (disk, held) = mk_history(80, &mut rng);
        disk.stop_after(60);
        let log = open(&disk).unwrap();
        work(&log, held, usize::MAX, &mut rng);
        let crashed = disk.crash(&mut rng);
        drop(log);
        let left = crashed.contents();
        let found = contents(&crashed).unwrap();
        let (_, failed) = work(&open(&crashed).unwrap(), found, 40, &mut rng);
        assert!(failed.is_none(), "{failed:?}");
        (disk.counters(), left, crashed.counters(), crashed.contents())
    };
    let (first, second) = (run(), run());
    assert!(first == second, "{:?} and {:?}", (first.0, first.2), (second.0, second.2));
}

/// Reads from other threads while snapshots come and the log is cut.
#[test]
fn readers_see_whole_writes() {
    let log = open(&FaultDisk::new()).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !is_done.load(Ordering::Relaxed) || reads == 0 {
                let snapshot = log.snapshot().unwrap();
                assert!(snapshot.is_none_or(|snapshot| !snapshot.data.is_empty()));
                let LogBounds { first_index, last_index } = log.bounds();
                match log.entries(first_index, last_index + 1, u64::MAX) {
                    Ok(entries) => {
                        let indices: Vec<u64> = entries.iter().map(|entry| entry.index).collect();
                        assert_eq!(indices, (first_index..=last_index).collect::<Vec<_>>());
                    }
                    Err(StoreError::Compacted { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                reads += 1;
            }
        });
        for index in 1..=300 {
            let entry = Entry { index, term: 1, ..Entry::default() };
            log.write(&Write { entries: vec![entry], ..Write::default() }).unwrap();
            let metadata = SnapshotMetadata { index, term: 1, ..SnapshotMetadata::default() };
            let data = vec![1; 10_000].into();
            log.save_snapshot(&Snapshot { data, metadata: Some(metadata) }).unwrap();
            log.compact(index.saturating_sub(3)).unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

/// A snapshot that was received while one of our own was written stays.
#[test]
fn snapshots_from_two_threads_do_not_remove_each_other() {
    for seed in 0..40 {
        let disk = FaultDisk::new();
        let (log, held) = (open(&disk).unwrap(), Contents::default());
        let (held, _) = append(&log, held, &mut StdRng::seed_from_u64(seed));
        let save = Call::Save(mk_snapshot(held.last_index(), 0));
        let received = Call::Write(Write {
            snapshot: Some(mk_snapshot(held.last_index() + 1 + seed, 1)),
            ..Write::default()
        });
        std::thread::scope(|scope| {
            scope.spawn(|| received.run(&log).unwrap());
            match save.run(&log) {
                // The log it stood for has gone before, or goes after it.
                Ok(()) | Err(StoreError::Compacted { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        });
        drop(log);
        assert_eq!(contents(&disk).unwrap(), held.after(&received), "seed {seed}");
    }
}
