//! What was altered behind the log's back is found, and named.

use super::crash_model::{Call, Contents, append, contents, mk_history, open, work};
use super::disk::Disk as _;
use super::{FaultDisk, RedbLog, StoreError, Write};
use raft::eraftpb::HardState;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Seeds that are tried.
const CASES: u64 = 60;
/// Bits that are altered for each.
const FLIPS: usize = 10;

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let mut found = BTreeMap::new();
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (disk, held) = mk_history(60, &mut rng);
        let files = disk.contents();
        for name in files.keys().filter(|name| !name.ends_with(".tmp")) {
            for _ in 0..40 {
                let disk = FaultDisk::with_contents(files.clone());
                let flipped = disk.flip_bit(Some(name), &mut rng).unwrap();
                match contents(&disk) {
                    Ok(same) => assert_eq!(same, held, "seed {seed}: {flipped:?}"),
                    // The last commit is looked for in the journal and in the database.
                    Err(StoreError::Corrupt { path, .. })
                        if path == disk.path(name)
                            || (name == "journal" && path == disk.path("log.redb")) =>
                    {
                        let kind = name.rsplit('.').next().unwrap().to_owned();
                        *found.entry(kind).or_insert(0) += 1;
                    }
                    Err(error) => panic!("seed {seed}: {flipped:?}: {error}"),
                }
            }
        }
    }
    let kinds: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["journal", "redb", "snapshot", "tail"], "{found:?}");
}

/// The first bytes of the database say which of two commits counts.
#[test]
fn a_flipped_bit_in_the_header_is_found_or_harmless() {
    let (disk, held) = mk_history(60, &mut StdRng::seed_from_u64(9));
    let files = disk.contents();
    let mut found = 0;
    for at in 0..320 {
        let bits = if at < 64 { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            let mut altered = files.clone();
            altered.get_mut("log.redb").unwrap()[at] ^= 1 << bit;
            match contents(&FaultDisk::with_contents(altered)) {
                Ok(same) => assert_eq!(same, held, "byte {at}, bit {bit}"),
                Err(StoreError::Corrupt { .. }) => found += 1,
                Err(error) => panic!("byte {at}, bit {bit}: {error}"),
            }
        }
    }
    assert!(found > 100, "only {found}");
}

/// Damage to the newest commit looks like a commit that a crash tore, if the log was not closed
/// since: the journal ends before it, and the database goes back to the one before. The tail mark
/// finds that, unless a power cut took the mark's last write too: then it costs the last call. It
/// never costs a vote.
#[test]
fn damage_after_a_crash_is_found_or_costs_one_call_without_a_vote() {
    let (mut found, mut votes_found, mut undone) = (0, 0, 0);
    for seed in 0..CASES {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = FaultDisk::new();
        let log = open(&disk).unwrap();
        let (before, _) = work(&log, Contents::default(), 20, &mut rng);
        let (held, failed) = work(&log, before.clone(), 1, &mut rng);
        assert!(failed.is_none(), "{failed:?}");
        let is_vote = vote(&held) != vote(&before);
        let has_power = seed % 2 == 0;
        let disk = if has_power { disk.kill() } else { disk.crash(&mut rng) };
        drop(log);
        let files = disk.contents();
        // Few bytes of the journal are of its last record.
        for name in ["journal", "journal", "journal", "log.redb"].repeat(FLIPS) {
            let disk = FaultDisk::with_contents(files.clone());
            let Some(flipped) = disk.flip_bit(Some(name), &mut rng) else { continue };
            match contents(&disk) {
                Ok(same) if same == held => {}
                Ok(other) => {
                    assert_eq!(other, before, "seed {seed}: {flipped:?}");
                    assert!(!has_power && !is_vote, "seed {seed}: {flipped:?}: {other:?}");
                    undone += 1;
                }
                Err(StoreError::Corrupt { .. }) if is_vote && !has_power => votes_found += 1,
                Err(StoreError::Corrupt { .. }) => found += 1,
                Err(error) => panic!("seed {seed}: {flipped:?}: {error}"),
            }
        }
    }
    assert!(
        found > undone && votes_found > 0 && undone > 0,
        "{found} found, {votes_found} votes found after a power cut, {undone} undone"
    );
}

fn vote(contents: &Contents) -> (u64, u64) {
    (contents.hard_state.term, contents.hard_state.vote)
}

/// All that follows the last whole commit is gone, from the journal and the database: the mark alone
/// knows of it. Each kind of call, by a process that was killed; votes after a power cut too.
#[test]
fn a_commit_that_is_gone_is_found() {
    let mut kinds = BTreeMap::new();
    for seed in 0..CASES {
        let mut rng = StdRng::seed_from_u64(seed);
        let (disk, before) = mk_history(12, &mut rng);
        let older = disk.contents();
        let log = open(&disk).unwrap();
        let call = before.random_call(&mut rng);
        call.run(&log).unwrap();
        let held = before.after(&call);
        if held == before {
            continue;
        }
        let has_power = vote(&held) == vote(&before);
        let disk = if has_power { disk.kill() } else { disk.crash(&mut rng) };
        drop(log);
        let mut files = disk.contents();
        for name in ["journal", "log.redb"] {
            files.insert(name.to_owned(), older[name].clone());
        }
        let Err(error) = contents(&FaultDisk::with_contents(files)) else {
            panic!("seed {seed}: {call:?} is forgotten");
        };
        let text = error.to_string();
        assert!(text.contains(" had been written. The disk or a program"), "seed {seed}: {text}");
        let kind = match &call {
            Call::Write(_) if has_power => "write",
            Call::Write(_) => "vote",
            Call::Save(_) => "save",
            Call::Compact(_) => "compact",
        };
        *kinds.entry(kind).or_insert(0) += 1;
    }
    assert_eq!(kinds.len(), 4, "{kinds:?}");
}

/// A process is killed at each step of a vote, and the next one finds it: from then on it counts,
/// whatever a power cut takes.
#[test]
fn a_vote_that_was_found_is_not_forgotten() {
    let (before, _) = mk_history(12, &mut StdRng::seed_from_u64(1));
    let before = before.contents();
    let hard_state = Some(HardState { term: 1000, vote: 3, commit: 0 });
    let call = Call::Write(Write { hard_state, ..Write::default() });
    let mut votes = 0;
    for (step, seed) in (1..40).flat_map(|step| (0..8).map(move |seed| (step, seed))) {
        let disk = FaultDisk::with_contents(before.clone());
        disk.stop_after(step);
        let _ = open(&disk).and_then(|log| call.run(&log));
        let disk = disk.kill();
        let log = open(&disk).unwrap();
        let found = Contents::of(&log).unwrap();
        let disk = disk.crash(&mut StdRng::seed_from_u64(seed));
        drop(log);
        if vote(&found) != (1000, 3) {
            continue;
        }
        let mut files = disk.contents();
        for name in ["journal", "log.redb"] {
            files.insert(name.to_owned(), before[name].clone());
        }
        let forgotten = contents(&FaultDisk::with_contents(files));
        assert!(
            matches!(forgotten, Err(StoreError::Corrupt { .. })),
            "step {step}, seed {seed}: {forgotten:?}"
        );
        votes += 1;
    }
    assert!(votes > 0, "no vote was found");
}

#[test]
fn reads_that_fail_are_no_damage() {
    let (disk, held) = mk_history(20, &mut StdRng::seed_from_u64(1));
    disk.fail_reads();
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains("Input/output error"), "{error}");
    disk.heal();
    assert_eq!(contents(&disk).unwrap(), held);
}

#[test]
fn a_log_that_is_gone_is_not_taken_for_a_new_one() {
    let (disk, _) = mk_history(10, &mut StdRng::seed_from_u64(1));
    let mut files = disk.contents();
    files.remove("log.redb");
    let error = open(&FaultDisk::with_contents(files)).unwrap_err().to_string();
    assert!(
        error.contains("/fault-disk/log.redb is damaged: the file is missing, but entry"),
        "{error}"
    );
}

#[test]
fn a_journal_that_is_gone_is_found() {
    for seed in 0..CASES {
        let (disk, _) = mk_history(10, &mut StdRng::seed_from_u64(seed));
        let mut files = disk.contents();
        files.remove("journal");
        let error = open(&FaultDisk::with_contents(files)).unwrap_err().to_string();
        let expected =
            "the journal of the log in /fault-disk/journal is damaged: the file is missing";
        assert!(error.contains(expected), "seed {seed}: {error}");
    }
}

/// Every byte of the journal, after a power cut that took the mark's last writes: whatever is damaged
/// before the last record is found.
#[test]
fn only_the_last_record_of_a_journal_can_be_taken_for_torn() {
    let (mut found, mut undone) = (0, 0);
    for seed in 0..4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (disk, _) = mk_history(12, &mut rng);
        let mark = disk.contents()["tail"].clone();
        let log = RedbLog::open_on(Arc::new(disk.clone())).unwrap();
        let mut held = vec![Contents::of(&log).unwrap()];
        for _ in 0..6 {
            let (next, failed) = append(&log, held[held.len() - 1].clone(), &mut rng);
            assert!(failed.is_none(), "{failed:?}");
            held.push(next);
        }
        drop(log);
        let mut files = disk.contents();
        files.insert("tail".to_owned(), mark);
        let [before, last] = &held[held.len() - 2..] else { panic!("two at least") };
        let length =
            files["journal"].len() - files["journal"].iter().rev().take_while(|b| **b == 0).count();
        for at in (0..length).step_by(41) {
            let mut altered = files.clone();
            altered.get_mut("journal").unwrap()[at] ^= 1 << (at % 8);
            match contents(&FaultDisk::with_contents(altered)) {
                Ok(same) if same == *last => {}
                Ok(other) => {
                    assert_eq!(other, *before, "seed {seed}, byte {at}");
                    undone += 1;
                }
                Err(StoreError::Corrupt { .. }) => found += 1,
                Err(error) => panic!("seed {seed}, byte {at}: {error}"),
            }
        }
    }
    assert!(found > undone && undone > 0, "{found} found, {undone} undone");
}
