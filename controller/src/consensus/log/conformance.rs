//! What every [`LogStore`] must do. Run by the tests of each implementation.
//!
//! `make` opens an empty store, and `reopen` gives the same store back as it is found after a
//! restart. Panics where the store breaks the contract.

use super::{LogBounds, LogStore, StoreError, Write};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};

/// Runs the whole suite.
pub fn run<S: LogStore>(make: &mut dyn FnMut() -> S, reopen: &mut dyn FnMut(S) -> S) {
    an_empty_store_has_nothing(make());
    what_is_written_is_there_after_a_restart(make(), reopen);
    new_entries_replace_old_ones(make(), reopen);
    reads_are_bounded(make());
    gaps_are_refused(make());
    a_snapshot_allows_compaction(make(), reopen);
    a_received_snapshot_replaces_the_log(make(), reopen);
}

/// An entry whose data names its index and term.
fn mk_entry(index: u64, term: u64) -> Entry {
    Entry { index, term, data: format!("{index}@{term}").into(), ..Entry::default() }
}

fn mk_entries(indices: std::ops::RangeInclusive<u64>, term: u64) -> Write {
    Write { entries: indices.map(|index| mk_entry(index, term)).collect(), ..Write::default() }
}

fn mk_snapshot(index: u64, term: u64) -> Snapshot {
    let conf_state = Some(ConfState::from(([1, 2], [3])));
    // Larger than one chunk of any implementation.
    let data = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<u8>>();
    let metadata = SnapshotMetadata { conf_state, index, term };
    Snapshot { data: data.into(), metadata: Some(metadata) }
}

fn all(store: &impl LogStore) -> Vec<(u64, u64)> {
    let LogBounds { first_index, last_index } = store.bounds();
    let entries = store.entries(first_index, last_index + 1, u64::MAX).expect("entries");
    for entry in &entries {
        assert_eq!(*entry, mk_entry(entry.index, entry.term), "an entry is not what was written");
    }
    entries.iter().map(|entry| (entry.index, entry.term)).collect()
}

fn an_empty_store_has_nothing(store: impl LogStore) {
    let (hard_state, conf_state) = store.initial_state().expect("initial state");
    assert_eq!(hard_state, HardState::default());
    assert_eq!(conf_state, ConfState::default());
    assert_eq!(store.bounds(), LogBounds { first_index: 1, last_index: 0 });
    assert_eq!(store.term(0).expect("the term before the first entry"), 0);
    assert_eq!(store.snapshot_metadata(), None);
    assert_eq!(store.snapshot().expect("snapshot"), None);
    assert!(matches!(store.term(1), Err(StoreError::Unavailable { index: 1, last_index: 0 })));
}

fn what_is_written_is_there_after_a_restart<S: LogStore>(store: S, reopen: &mut dyn FnMut(S) -> S) {
    let hard_state = HardState { term: 3, vote: 1, commit: 2 };
    let conf_state = ConfState::from(([1], []));
    let first = Write {
        hard_state: Some(hard_state),
        conf_state: Some(conf_state.clone()),
        ..mk_entries(1..=2, 3)
    };
    store.write(&first).expect("first write");
    store.write(&mk_entries(3..=5, 4)).expect("second write");
    let store = reopen(store);
    assert_eq!(store.initial_state().expect("initial state"), (hard_state, conf_state));
    assert_eq!(all(&store), [(1, 3), (2, 3), (3, 4), (4, 4), (5, 4)]);
    assert_eq!(store.term(2).expect("term"), 3);
    assert_eq!(store.term(3).expect("term"), 4);
}

fn new_entries_replace_old_ones<S: LogStore>(store: S, reopen: &mut dyn FnMut(S) -> S) {
    store.write(&mk_entries(1..=9, 1)).expect("write");
    store.write(&mk_entries(4..=5, 2)).expect("overwrite");
    let expected = [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)];
    assert_eq!(all(&store), expected);
    let store = reopen(store);
    assert_eq!(all(&store), expected);
    store.write(&mk_entries(6..=6, 2)).expect("write");
    assert_eq!(store.bounds().last_index, 6);
}

fn reads_are_bounded(store: impl LogStore) {
    store.write(&mk_entries(1..=100, 1)).expect("write");
    let one = store.entries(10, 20, 0).expect("entries");
    assert_eq!(one, [mk_entry(10, 1)], "at least one");
    let some = store.entries(10, 101, 100).expect("entries");
    assert!((2..20).contains(&some.len()), "{} entries in 100 bytes", some.len());
    assert_eq!(some[1], mk_entry(11, 1));
    assert_eq!(store.entries(10, 13, u64::MAX).expect("entries").len(), 3);
    let error = store.entries(100, 102, u64::MAX).expect_err("101 is not there");
    assert!(matches!(error, StoreError::Unavailable { index: 101, last_index: 100 }), "{error}");
}

fn gaps_are_refused(store: impl LogStore) {
    store.write(&mk_entries(1..=3, 1)).expect("write");
    let error = store.write(&mk_entries(5..=6, 1)).expect_err("4 is missing");
    assert!(matches!(error, StoreError::Gap { index: 5, expected: 4 }), "{error}");
    let mut holes = mk_entries(4..=6, 1);
    holes.entries.remove(1);
    holes.hard_state = Some(HardState { term: 9, vote: 9, commit: 9 });
    let error = store.write(&holes).expect_err("5 is missing");
    assert!(matches!(error, StoreError::Gap { index: 6, expected: 5 }), "{error}");
    assert_eq!(store.bounds().last_index, 3, "nothing was written");
    assert_eq!(store.initial_state().expect("initial state").0, HardState::default());
}

fn a_snapshot_allows_compaction<S: LogStore>(store: S, reopen: &mut dyn FnMut(S) -> S) {
    store.write(&mk_entries(1..=10, 2)).expect("write");
    let error = store.compact(5).expect_err("no snapshot");
    assert!(matches!(error, StoreError::NotCovered { index: 5, snapshot_index: 0 }), "{error}");
    let error = store.save_snapshot(&mk_snapshot(11, 2)).expect_err("beyond the log");
    assert!(matches!(error, StoreError::Unavailable { index: 11, .. }), "{error}");
    store.save_snapshot(&mk_snapshot(4, 2)).expect("an early snapshot");
    store.save_snapshot(&mk_snapshot(7, 2)).expect("snapshot");
    store.compact(5).expect("compact");
    let store = reopen(store);
    assert_eq!(store.bounds(), LogBounds { first_index: 6, last_index: 10 });
    assert_eq!(store.term(5).expect("the term before the first entry"), 2);
    let error = store.term(4).expect_err("compacted");
    assert!(matches!(error, StoreError::Compacted { index: 4, first_index: 6 }), "{error}");
    assert_eq!(store.snapshot_metadata().map(|m| m.index), Some(7));
    assert_eq!(store.snapshot().expect("snapshot"), Some(mk_snapshot(7, 2)));
    store.compact(3).expect("compacting again changes nothing");
    store.compact(7).expect("compact");
    assert_eq!(store.bounds(), LogBounds { first_index: 8, last_index: 10 });
    assert_eq!(all(&store), [(8, 2), (9, 2), (10, 2)]);
}

fn a_received_snapshot_replaces_the_log<S: LogStore>(store: S, reopen: &mut dyn FnMut(S) -> S) {
    store.write(&mk_entries(1..=3, 1)).expect("write");
    let hard_state = HardState { term: 5, vote: 0, commit: 20 };
    let received = Write {
        snapshot: Some(mk_snapshot(20, 5)),
        hard_state: Some(hard_state),
        ..Write::default()
    };
    store.write(&received).expect("write a snapshot");
    let store = reopen(store);
    assert_eq!(store.bounds(), LogBounds { first_index: 21, last_index: 20 });
    assert_eq!(store.term(20).expect("term"), 5);
    let conf_state = ConfState::from(([1, 2], [3]));
    assert_eq!(store.initial_state().expect("initial state"), (hard_state, conf_state));
    assert_eq!(store.snapshot().expect("snapshot"), Some(mk_snapshot(20, 5)));
    store.write(&mk_entries(21..=22, 5)).expect("the log goes on");
    assert_eq!(all(&reopen(store)), [(21, 5), (22, 5)]);
}
