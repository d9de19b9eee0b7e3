//! What a crash between two steps leaves, and that running it again ends it.

use super::*;
use crate::data_dir::DataDir;
use crate::state::{RequestId, encode_command, stamp, wire as peer};
use prost::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
use spanwire_adminproto::convert::from_resource;
use spanwire_adminproto::wire;
use spanwire_topology::model::{HostSpec, Labels, Resource, Spec};

/// A state with one host, as of entry 9.
fn mk_state() -> State {
    let mut restored = Restored::default();
    apply(&mut restored, &mk_put(9, 1, "host-1")).unwrap();
    let addresses = [(1, "a:1".to_owned()), (2, "b:1".to_owned())].into();
    State {
        network: restored.engine.export(),
        members: Members { addresses, next_id: 5 },
        requests: restored.requests,
        applied_index: 9,
    }
}

fn mk_put(index: u64, request: u8, host: &str) -> Entry {
    let resource =
        Resource::new("system", host, Labels::new(), Spec::Host(HostSpec { vtep: None }));
    let put = peer::operation::Operation::Put(from_resource(&resource));
    let operation = peer::Operation { operation: Some(put), expected_revision: None };
    let transaction = peer::Transaction { operations: vec![operation], expected_revision: None };
    let command = encode_command(RequestId([request; 16]), 0, transaction);
    Entry { index, term: 3, data: stamp(&command, 1).into(), ..Entry::default() }
}

fn mk_backup(path: &Path, header: wire::BackupHeader) {
    let mut file = backup::Writer::new(File::create(path).unwrap()).unwrap();
    for part in backup::to_parts(header, encode_snapshot(&mk_state())) {
        file.write(&part).unwrap();
    }
}

fn mk_header() -> wire::BackupHeader {
    wire::BackupHeader { revision: 9, index: 9, term: 3, ..wire::BackupHeader::default() }
}

/// What a start finds: identity, snapshot and state.
fn open(data_dir: &Path) -> Result<(Identity, SnapshotMetadata, State), DataDirError> {
    let (directory, log) = DataDir::open(data_dir)?;
    let snapshot = log.snapshot()?.unwrap();
    let state = state::decode_snapshot(&snapshot.data).unwrap();
    Ok((directory.identity(), snapshot.get_metadata().clone(), state))
}

#[test]
fn a_restore_makes_a_cluster_of_one() {
    let root = tempfile::tempdir().unwrap();
    let (backup, data_dir) = (root.path().join("backup"), root.path().join("data"));
    mk_backup(&backup, mk_header());
    let report = restore(&backup, &data_dir).unwrap();
    assert_eq!((report.revision, report.index, report.objects), (9, 9, 1));
    let (identity, metadata, state) = open(&data_dir).unwrap();
    assert_eq!(identity, Identity { cluster_id: report.cluster_id, replica_id: 1 });
    assert_eq!((metadata.index, metadata.get_conf_state().voters.as_slice()), (9, &[1][..]));
    let members = Members { addresses: Default::default(), next_id: 5 };
    assert_eq!(state, State { members, ..mk_state() });
    // Another one is another cluster, and this one is in the way of none.
    let error = restore(&backup, &data_dir).unwrap_err().to_string();
    assert!(error.contains("is not empty (000000"), "{error}");
    let other = restore(&backup, &root.path().join("other")).unwrap();
    assert_ne!(other.cluster_id, report.cluster_id);
}

#[test]
fn a_restore_that_was_cut_off_is_refused_until_it_is_run_again() {
    let root = tempfile::tempdir().unwrap();
    let backup = root.path().join("backup");
    mk_backup(&backup, mk_header());
    for steps in 1..=3 {
        let data_dir = root.path().join(format!("cut-{steps}"));
        make_directory(&data_dir).unwrap();
        mark_restoring(&data_dir).unwrap();
        if steps > 1 {
            let log = RedbLog::open(&data_dir).unwrap();
            if steps > 2 {
                install(&log, &mk_state(), FOUNDER, 3).unwrap();
            }
        }
        let error = DataDir::open(&data_dir).unwrap_err().to_string();
        assert!(error.contains("identity.toml is damaged"), "after {steps}: {error}");
        restore(&backup, &data_dir).unwrap();
        assert_eq!(open(&data_dir).unwrap().1.index, 9);
    }
}

#[test]
fn a_backup_that_contradicts_itself_is_refused_before_anything_is_made() {
    let root = tempfile::tempdir().unwrap();
    let (backup, data_dir) = (root.path().join("backup"), root.path().join("data"));
    let cases = [
        wire::BackupHeader { index: 10, ..mk_header() },
        wire::BackupHeader { revision: 8, ..mk_header() },
    ];
    for header in cases {
        mk_backup(&backup, header);
        let error = restore(&backup, &data_dir).unwrap_err();
        assert!(matches!(error, RecoveryError::Contradiction { .. }), "{error}");
        assert!(!data_dir.exists());
    }
}

/// The directory of replica 2 of 1 and 2: a snapshot at 9, entries to 12, of which 10 is committed.
fn mk_survivor(data_dir: &Path) -> Identity {
    let identity = Identity { cluster_id: ClusterId([5; 16]), replica_id: 2 };
    make_directory(data_dir).unwrap();
    let log = RedbLog::open(data_dir).unwrap();
    let metadata =
        SnapshotMetadata { conf_state: Some(ConfState::from(([1, 2], []))), index: 9, term: 3 };
    let data = encode_snapshot(&mk_state()).into();
    let step = ConfChangeSingle { change_type: ConfChangeType::AddLearnerNode as i32, node_id: 5 };
    let member = peer::Member { id: 5, address: "e:1".to_owned() };
    let context = peer::MembersContext { members: vec![member], next_id: 6, ..Default::default() };
    let change = ConfChangeV2 {
        changes: vec![step],
        context: context.encode_to_vec().into(),
        ..Default::default()
    };
    let change = Entry {
        entry_type: EntryType::EntryConfChangeV2 as i32,
        index: 11,
        term: 3,
        data: change.encode_to_vec().into(),
        ..Entry::default()
    };
    // The last one is the first request again.
    let entries = vec![mk_put(10, 2, "host-2"), change, mk_put(12, 2, "host-2")];
    log.write(&Write {
        snapshot: Some(Snapshot { data, metadata: Some(metadata) }),
        entries,
        hard_state: Some(HardState { term: 4, vote: 1, commit: 10 }),
        ..Write::default()
    })
    .unwrap();
    write_identity(data_dir, identity).unwrap();
    identity
}

#[test]
fn a_recovery_keeps_all_entries_and_leaves_the_old_cluster() {
    let root = tempfile::tempdir().unwrap();
    let old = mk_survivor(root.path());
    let plan = plan_recovery(root.path()).unwrap();
    assert_eq!(plan_recovery(root.path()).unwrap(), plan, "a plan changes nothing");
    assert_eq!(read_identity(root.path()).unwrap(), Some(old));
    let expected = RecoveryReport {
        replica_id: 2,
        old_cluster_id: old.cluster_id,
        new_cluster_id: None,
        others: vec![1, 5],
        last_index: 12,
        last_term: 3,
        committed_index: 10,
        revision: 10,
    };
    assert_eq!(plan, expected);
    let report = recover(root.path()).unwrap();
    let (identity, metadata, state) = open(root.path()).unwrap();
    assert_eq!(Some(identity.cluster_id), report.new_cluster_id);
    assert_ne!(identity.cluster_id, old.cluster_id);
    assert_eq!(identity.replica_id, 2);
    assert_eq!((metadata.index, metadata.term), (13, 5));
    assert_eq!(metadata.get_conf_state(), &ConfState::from(([2], [])));
    assert_eq!(state.members, Members { addresses: Default::default(), next_id: 6 });
    let names =
        state.network.objects.iter().map(|object| object.resource.metadata.name.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["host-1", "host-2"]);
    assert_eq!(state.requests.iter().map(|(_, end)| end.index).collect::<Vec<_>>(), [9, 10]);
}

/// Cut off between its two steps, the replica is of no cluster that could decide anything.
#[test]
fn a_recovery_that_was_cut_off_decides_nothing_and_is_run_again() {
    let root = tempfile::tempdir().unwrap();
    let old = mk_survivor(root.path());
    let mut survivor = Survivor::open(root.path()).unwrap();
    survivor.write_identity().unwrap();
    drop(survivor);
    let (identity, metadata, _) = open(root.path()).unwrap();
    assert_ne!(identity.cluster_id, old.cluster_id, "nobody of the old cluster hears it");
    assert_eq!(metadata.get_conf_state().voters, [1, 2], "alone it is no majority");
    let report = recover(root.path()).unwrap();
    assert_eq!((report.last_index, report.revision), (12, 10));
    let (_, metadata, state) = open(root.path()).unwrap();
    assert_eq!(metadata.get_conf_state().voters, [2]);
    assert_eq!(state.network.objects.len(), 2);
    // And once more, with a log that has nothing after its snapshot.
    let again = recover(root.path()).unwrap();
    assert_eq!((again.last_index, again.others), (13, Vec::new()));
    assert_eq!(open(root.path()).unwrap().2.network, state.network);
}

#[test]
fn what_is_no_survivor_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let empty = root.path().join("empty");
    assert!(matches!(recover(&empty), Err(RecoveryError::NoReplica { .. })));
    assert!(!empty.exists(), "nothing was made");
    fs::create_dir(&empty).unwrap();
    assert!(matches!(recover(&empty), Err(RecoveryError::NoReplica { .. })));
    let new = root.path().join("new");
    drop(DataDir::open(&new).unwrap());
    assert!(matches!(recover(&new), Err(RecoveryError::Empty { .. })));
    let running = DataDir::open(&new).unwrap();
    assert!(recover(&new).unwrap_err().to_string().contains("is in use by another controller"));
    drop(running);
}
