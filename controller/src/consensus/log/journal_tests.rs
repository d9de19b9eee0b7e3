use super::super::FaultDisk;
use super::*;
use raft::eraftpb::HardState;

const BYTES_MAX: usize = 1000;

fn mk_disk() -> FaultDisk {
    let disk = FaultDisk::new();
    Journal::create(&disk).unwrap();
    disk.sync().unwrap();
    disk
}

fn mk_write(term: u64) -> Write {
    let hard_state = Some(HardState { term, vote: 1, commit: 0 });
    Write { hard_state, ..Write::default() }
}

fn open(disk: &FaultDisk) -> Journal {
    Journal::open(disk, BYTES_MAX).unwrap()
}

/// Numbers and terms of what is read after a commit.
fn read(disk: &FaultDisk, commits: u64) -> Vec<(u64, u64)> {
    let writes = open(disk).read(commits, commits).unwrap();
    writes.into_iter().map(|(number, write)| (number, write.hard_state.unwrap().term)).collect()
}

#[test]
fn records_are_read_in_order_after_those_that_the_database_has() {
    let disk = mk_disk();
    let mut journal = open(&disk);
    assert_eq!(journal.read(4, 4).unwrap(), []);
    for number in 5..8 {
        journal.append(number, &mk_write(number * 10)).unwrap();
    }
    assert_eq!(read(&disk, 4), [(5, 50), (6, 60), (7, 70)]);
    assert_eq!(read(&disk, 6), [(7, 70)]);
    assert_eq!(read(&disk, 7), []);
}

#[test]
fn after_a_restart_what_was_there_before_is_not_read() {
    let disk = mk_disk();
    let mut journal = open(&disk);
    journal.read(0, 0).unwrap();
    for number in 1..=5 {
        journal.append(number, &mk_write(number)).unwrap();
    }
    // 6 is the transaction.
    journal.begin().unwrap();
    journal.restart();
    assert_eq!(read(&disk, 6), []);
    journal.append(7, &mk_write(7)).unwrap();
    assert_eq!(read(&disk, 6), [(7, 7)]);
    // Opened again, it goes on behind the last.
    let mut journal = open(&disk);
    journal.read(6, 7).unwrap();
    journal.append(8, &mk_write(8)).unwrap();
    assert_eq!(read(&disk, 6), [(7, 7), (8, 8)]);
    // And if everything in it is old, at the start.
    let mut journal = open(&disk);
    journal.read(9, 9).unwrap();
    journal.append(10, &mk_write(10)).unwrap();
    assert_eq!(read(&disk, 9), [(10, 10)]);
}

#[test]
fn damage_is_found_where_more_follows_or_the_mark_knows_of_it() {
    let disk = mk_disk();
    let mut journal = open(&disk);
    journal.read(0, 0).unwrap();
    let mut starts = Vec::new();
    for number in 1..=3 {
        starts.push(journal.end);
        journal.append(number, &mk_write(number)).unwrap();
    }
    let files = disk.contents();
    let damaged = |at: usize, marked| {
        let mut files = files.clone();
        files.get_mut(JOURNAL).unwrap()[at] ^= 4;
        let disk = FaultDisk::with_contents(files);
        Journal::open(&disk, BYTES_MAX).unwrap().read(0, marked).map(|writes| writes.len())
    };
    for (n, start) in starts.iter().enumerate().take(2) {
        for at in *start..start + HEADER_BYTES + 4 {
            let error = damaged(at, 0).unwrap_err().to_string();
            let expected = format!(
                "the journal of the log in /fault-disk/journal is damaged: commit {} should be at \
                 byte {start}, but only commit {} is there, at byte {}",
                n + 1,
                n + 2,
                starts[n + 1]
            );
            assert!(error.starts_with(&expected), "byte {at}: {error}");
        }
    }
    let last = starts[2] + HEADER_BYTES;
    assert_eq!(damaged(last, 2).unwrap(), 2, "it may have been torn");
    let error = damaged(last, 3).unwrap_err().to_string();
    assert!(error.contains(&format!("commit 3 at byte {} does not match", starts[2])), "{error}");
}

#[test]
fn what_does_not_fit_is_told_before() {
    let disk = mk_disk();
    let mut journal = open(&disk);
    journal.read(0, 0).unwrap();
    let mut number = 0;
    while journal.has_room(&mk_write(1)) {
        number += 1;
        journal.append(number, &mk_write(1)).unwrap();
    }
    assert!(journal.end <= BYTES_MAX && journal.end + record::length(&mk_write(1)) > BYTES_MAX);
    assert_eq!(read(&disk, 0).len() as u64, number);
    // The file grows in few steps, each with a record.
    assert_eq!(disk.contents()[JOURNAL].len(), GROWTH_BYTES);
}

#[test]
fn nothing_is_written_after_a_failure() {
    let disk = mk_disk();
    let mut journal = open(&disk);
    journal.read(0, 0).unwrap();
    disk.fill(0);
    let error = journal.append(1, &mk_write(1)).unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    disk.free();
    let error = journal.append(2, &mk_write(1)).unwrap_err().to_string();
    assert_eq!(error, "could not write /fault-disk/journal: an earlier write failed");
}

#[test]
fn a_file_that_is_no_journal_is_not_read() {
    let disk = mk_disk();
    disk.open(JOURNAL).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    let error = open(&disk).read(0, 0).unwrap_err().to_string();
    assert!(error.contains("more than any journal"), "{error}");
}
