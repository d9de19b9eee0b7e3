//! What was altered behind the log's back is found, and named.

use super::crash_model::{Contents, contents, mk_history, open, work};
use super::disk::Disk as _;
use super::{FaultDisk, StoreError};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;

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
                    Err(StoreError::Corrupt { path, .. }) if path == disk.path(name) => {
                        let kind = name.rsplit('.').next().unwrap().to_owned();
                        *found.entry(kind).or_insert(0) += 1;
                    }
                    Err(error) => panic!("seed {seed}: {flipped:?}: {error}"),
                }
            }
        }
    }
    let kinds: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["redb", "snapshot", "tail"], "{found:?}");
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

/// The limit of what can be found. Damage to the newest commit looks like a commit that a crash tore,
/// if the log was not closed since, and the database goes back to the one before. The tail mark
/// finds that if the log became shorter by it, unless the power cut took the mark's last write too.
#[test]
fn damage_after_a_crash_is_found_or_costs_the_last_call() {
    let (mut found, mut undone) = (0, 0);
    for seed in 0..24 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = FaultDisk::new();
        let log = open(&disk).unwrap();
        let (before, _) = work(&log, Contents::default(), 20, &mut rng);
        let (held, failed) = work(&log, before.clone(), 1, &mut rng);
        assert!(failed.is_none(), "{failed:?}");
        let has_power = seed % 2 == 0;
        let disk = if has_power { disk.kill() } else { disk.crash(&mut rng) };
        drop(log);
        let files = disk.contents();
        for _ in 0..20 {
            let disk = FaultDisk::with_contents(files.clone());
            let flipped = disk.flip_bit(Some("log.redb"), &mut rng).unwrap();
            match contents(&disk) {
                Ok(same) if same == held => {}
                Ok(other) => {
                    assert_eq!(other, before, "seed {seed}: {flipped:?}");
                    let is_shorter = other.last_index() < held.last_index();
                    assert!(!(has_power && is_shorter), "seed {seed}: {flipped:?}: {other:?}");
                    undone += 1;
                }
                Err(StoreError::Corrupt { .. }) => found += 1,
                Err(error) => panic!("seed {seed}: {flipped:?}: {error}"),
            }
        }
    }
    assert!(found > undone && undone > 0, "{found} found, {undone} undone");
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
