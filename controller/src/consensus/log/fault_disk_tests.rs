//! The disk with faults has the faults it promises, and no others.

use super::disk::{Disk, DiskFile};
use super::{FaultDisk, Flipped};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A file whose name and content are durable.
fn mk_file(disk: &FaultDisk, name: &str, content: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(name).unwrap();
    file.write_at(0, content).unwrap();
    file.sync().unwrap();
    disk.sync().unwrap();
    file
}

fn read(disk: &FaultDisk, name: &str) -> Option<Vec<u8>> {
    disk.contents().remove(name)
}

/// What is found after power cuts with many seeds, once `work` was done on a new disk.
fn outcomes<T: Ord>(work: impl Fn(&FaultDisk), look: impl Fn(&FaultDisk) -> T) -> BTreeSet<T> {
    (0..200)
        .map(|seed| {
            let disk = FaultDisk::new();
            work(&disk);
            look(&disk.crash(&mut rng(seed)))
        })
        .collect()
}

#[test]
fn what_is_synced_is_kept() {
    let found = outcomes(|disk| drop(mk_file(disk, "a", b"abc")), |disk| read(disk, "a"));
    assert_eq!(found, [Some(b"abc".to_vec())].into());
}

#[test]
fn unsynced_writes_are_kept_or_lost_each_on_its_own() {
    let work = |disk: &FaultDisk| {
        let file = mk_file(disk, "a", b"..");
        file.write_at(0, b"x").unwrap();
        file.write_at(1, b"y").unwrap();
        assert_eq!(read(disk, "a").unwrap(), b"xy", "it is read before it is durable");
    };
    let found = outcomes(work, |disk| String::from_utf8(read(disk, "a").unwrap()).unwrap());
    assert_eq!(found, ["..", "x.", ".y", "xy"].map(str::to_owned).into());
}

#[test]
fn a_write_tears_between_sectors_only() {
    let work = |disk: &FaultDisk| {
        let file = mk_file(disk, "a", &[0; 1536]);
        file.write_at(100, &[1; 1300]).unwrap();
    };
    // How much of each sector has been written.
    let look = |disk: &FaultDisk| {
        let content = read(disk, "a").unwrap();
        let sectors = content.chunks(512).map(|s| s.iter().filter(|byte| **byte == 1).count());
        sectors.collect::<Vec<_>>()
    };
    let (a, b, c) = (412, 512, 376);
    let expected =
        [[0, 0, 0], [a, 0, 0], [a, b, 0], [a, b, c], [0, b, c], [0, 0, c]].map(Vec::from);
    assert_eq!(outcomes(work, look), expected.into());
}

#[test]
fn an_unsynced_length_is_kept_or_lost() {
    let work = |disk: &FaultDisk| mk_file(disk, "a", b"abcd").set_len(2).unwrap();
    let found = outcomes(work, |disk| read(disk, "a").unwrap().len());
    assert_eq!(found, [2, 4].into());
}

#[test]
fn of_unsynced_names_the_first_are_kept() {
    let work = |disk: &FaultDisk| {
        drop(mk_file(disk, "a", b"1"));
        disk.rename("a", "b").unwrap();
        drop(disk.create("c").unwrap());
        disk.remove("b").unwrap();
        assert_eq!(disk.list().unwrap(), ["c"]);
    };
    let found = outcomes(work, |disk| disk.list().unwrap().join(" "));
    assert_eq!(found, ["a", "b", "b c", "c"].map(str::to_owned).into());
}

#[test]
fn a_rename_replaces_whole_files() {
    let work = |disk: &FaultDisk| {
        drop(mk_file(disk, "a", b"old"));
        drop(mk_file(disk, "b", b"new"));
        disk.rename("b", "a").unwrap();
    };
    let found = outcomes(work, |disk| read(disk, "a").unwrap());
    assert_eq!(found, [b"old".to_vec(), b"new".to_vec()].into());
}

#[test]
fn a_failed_sync_loses_its_writes_and_poisons_the_file() {
    let work = |disk: &FaultDisk| {
        let file = mk_file(disk, "a", b"old");
        file.write_at(0, b"new").unwrap();
        disk.fail_next_sync();
        file.sync().unwrap_err();
        assert_eq!(read(disk, "a").unwrap(), b"new", "the page cache has it");
        file.sync().unwrap_err();
        mk_file(disk, "b", b"another file").sync().unwrap();
    };
    let found = outcomes(work, |disk| (read(disk, "a").unwrap(), read(disk, "b").unwrap()));
    assert_eq!(found, [(b"old".to_vec(), b"another file".to_vec())].into());
}

#[test]
fn a_full_disk_takes_what_has_room() {
    let disk = FaultDisk::new();
    let file = mk_file(&disk, "a", b"abc");
    disk.fill(4096);
    file.write_at(3, b"in the same block").unwrap();
    file.set_len(1 << 20).unwrap();
    file.write_at(8192, b"a hole takes a block").unwrap();
    let error = file.write_at(4096, b"and there is none left").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(read(&disk, "a").unwrap()[4096..8192].iter().all(|byte| *byte == 0));
    file.set_len(4096).unwrap();
    file.write_at(4096, b"what was cut off makes room").unwrap();
    file.write_at(8192, b"x").unwrap_err();
    disk.free();
    file.write_at(8192, b"x").unwrap();
}

#[test]
fn a_removed_file_gives_its_room_back() {
    let disk = FaultDisk::new();
    drop(mk_file(&disk, "a", &[1; 8000]));
    disk.fill(0);
    let file = disk.create("b").unwrap();
    file.write_at(0, &[1; 8000]).unwrap_err();
    disk.remove("a").unwrap();
    file.write_at(0, &[1; 8000]).unwrap();
}

#[test]
fn a_flipped_bit_is_one_bit_of_the_named_file() {
    let disk = FaultDisk::new();
    drop(mk_file(&disk, "a", &[7; 100]));
    let mut content = vec![0; 1000];
    content[500] = 0xff;
    drop(mk_file(&disk, "b", &content));
    let flipped = disk.flip_bit(Some("b"), &mut rng(1)).unwrap();
    assert_eq!(flipped, Flipped { name: "b".into(), offset: 500 }, "the only one that is not zero");
    assert_eq!(read(&disk, "b").unwrap()[500].count_ones(), 7);
    assert_eq!(read(&disk.crash(&mut rng(1)), "b").unwrap()[500].count_ones(), 7, "it is durable");
    assert_eq!(disk.flip_bit(None, &mut rng(1)), None, "a disk that was replaced has nothing");
}

#[test]
fn a_stopped_disk_refuses_everything() {
    let disk = FaultDisk::new();
    let file = mk_file(&disk, "a", b"abc");
    disk.stop_after(3);
    file.write_at(0, b"x").unwrap();
    file.read_at(0, &mut [0]).unwrap();
    file.sync().unwrap();
    assert!(!disk.is_stopped());
    let kinds = [
        disk.rename("a", "b").unwrap_err().kind(),
        file.read_at(0, &mut [0]).unwrap_err().kind(),
        file.sync().unwrap_err().kind(),
        disk.list().unwrap_err().kind(),
    ];
    assert_eq!(kinds, [FaultDisk::STOPPED; 4]);
    assert!(disk.is_stopped());
    let next = disk.crash(&mut rng(1));
    assert_eq!(read(&next, "a").unwrap(), b"xbc");
    file.write_at(0, b"y").unwrap_err();
    assert_eq!(read(&next, "a").unwrap(), b"xbc", "a dead process writes nothing");
}

#[test]
fn a_killed_process_leaves_what_it_wrote_and_no_lock() {
    let disk = FaultDisk::new();
    let file = mk_file(&disk, "a", b"abc");
    file.write_at(0, b"x").unwrap();
    assert!(file.try_lock().unwrap());
    assert!(file.try_lock().unwrap(), "it has it already");
    assert!(!disk.open("a").unwrap().try_lock().unwrap());
    let next = disk.kill();
    assert_eq!(read(&next, "a").unwrap(), b"xbc");
    assert!(next.open("a").unwrap().try_lock().unwrap());
    drop(file);
    let found: BTreeSet<_> = (0..50)
        .map(|seed| {
            let disk = FaultDisk::new();
            mk_file(&disk, "a", b"abc").write_at(0, b"x").unwrap();
            read(&disk.kill().crash(&mut rng(seed)), "a").unwrap()
        })
        .collect();
    assert_eq!(found, [b"abc".to_vec(), b"xbc".to_vec()].into(), "it was not synced");
}

#[test]
fn reads_fail_until_the_disk_heals() {
    let disk = FaultDisk::new();
    let file = mk_file(&disk, "a", b"abc");
    disk.fail_reads();
    file.read_at(0, &mut [0]).unwrap_err();
    disk.heal();
    file.read_at(0, &mut [0]).unwrap();
    let error = file.read_at(1, &mut [0; 3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_asked_for_is_counted() {
    let disk = FaultDisk::new();
    drop(mk_file(&disk, "a", b"abc"));
    let counters = disk.counters();
    assert_eq!((counters.writes, counters.syncs, counters.bytes), (1, 2, 3));
    assert_eq!(counters.operations, 4, "with the name that was made");
    assert_eq!(disk.crash(&mut rng(1)).counters(), counters);
}
