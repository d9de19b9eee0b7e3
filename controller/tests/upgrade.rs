//! A data directory of an earlier release: data/snapshot-format-2/README.md says what is in it.

#![allow(clippy::unwrap_used)] // a panic here is a failed test

mod common;

use common::{
    Client, apply, as_wire, connect, mk_config, mk_host, mk_port, network, start, stripped,
};
use spanwire_adminproto::wire;
use spanwire_controller::consensus::{LogStore as _, RedbLog};
use spanwire_controller::{Controller, RunningController};
use spanwire_topology::model::{Kind, Resource};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SNAPSHOT: &str = "00000000000000000030.snapshot";
const FILES: [&str; 4] = ["identity.toml", "log.redb", "tail", SNAPSHOT];
const CLUSTER_ID: &str = "11be02e2ac0f375dcc4c162991c697e9";
/// Of the last transaction in it.
const REVISION: u64 = 48;

/// Kind, project and name, with the revisions of creation and last change.
type Objects = BTreeMap<(String, String, String), (u64, u64)>;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/snapshot-format-2")
}

fn copy() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in FILES {
        fs::copy(fixture().join("data").join(name), root.path().join(name)).unwrap();
    }
    root
}

fn identity(data_dir: &Path) -> String {
    fs::read_to_string(data_dir.join("identity.toml")).unwrap()
}

fn expected() -> Objects {
    let text = fs::read_to_string(fixture().join("objects.txt")).unwrap();
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, project, name, created, changed] = fields[..] else { panic!("{line:?}") };
        let key = (kind.to_owned(), project.to_owned(), name.to_owned());
        (key, (created.parse().unwrap(), changed.parse().unwrap()))
    };
    text.lines().map(parse).collect()
}

/// The objects that README.md lists, as they were applied last.
fn resources() -> Vec<Resource> {
    let mut all = network();
    all.push(mk_host("host-4", "192.0.2.4"));
    for n in (1..=30).filter(|n| ![2, 20].contains(n)) {
        let labels = if (3..=12).contains(&n) { "app=db tier=2" } else { "app=web" };
        let address = format!("10.0.1.{}", 10 + n);
        all.push(mk_port("a", &format!("app-{n}"), &address, "host-2", labels));
    }
    all
}

async fn list(client: &mut Client) -> Vec<wire::Resource> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let request = wire::ListRequest {
            kind: kind.as_str().to_owned(),
            all_projects: true,
            ..wire::ListRequest::default()
        };
        let response = client.list(request).await.unwrap().into_inner();
        assert_eq!(response.next_page_token, "");
        all.extend(response.resources);
    }
    all
}

fn to_objects(listed: &[wire::Resource]) -> Objects {
    let to_object = |resource: &wire::Resource| {
        let (key, status) = (resource.key.clone().unwrap(), resource.status.unwrap());
        ((key.kind, key.project, key.name), (status.created_revision, status.revision))
    };
    listed.iter().map(to_object).collect()
}

/// Everything is there, and nothing else.
async fn check(controller: &RunningController, expected: &Objects, resources: &[Resource]) {
    assert_eq!(controller.identity().cluster_id.to_string(), CLUSTER_ID);
    assert_eq!(controller.identity().replica_id, 1);
    let listed = list(&mut connect(controller).await).await;
    assert_eq!(to_objects(&listed), *expected);
    let sorted = |mut all: Vec<wire::Resource>| {
        all.sort_by_key(|resource| {
            let key = resource.key.clone().unwrap();
            (key.kind, key.project, key.name)
        });
        all
    };
    let specs = sorted(listed.iter().map(stripped).collect());
    assert_eq!(specs, sorted(resources.iter().map(as_wire).collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_an_earlier_release_goes_on() {
    let root = copy();
    assert_eq!(fs::read(root.path().join("tail")).unwrap().len(), 20);
    assert!(identity(root.path()).contains("\nformat = 1\n"));
    let (mut expected, mut resources) = (expected(), resources());
    assert_eq!(expected.len(), resources.len());
    let controller = start(root.path()).await;
    check(&controller, &expected, &resources).await;
    // An earlier release reads format 1: it refuses, rather than not see what the journal has.
    assert!(identity(root.path()).contains("\nformat = 2\n"));
    assert!(fs::metadata(root.path().join("journal")).unwrap().len() > 0);

    let port = mk_port("a", "new-1", "10.0.1.101", "host-1", "app=web");
    let revision = apply(&mut connect(&controller).await, [port.clone()]).await.unwrap();
    assert!(revision > REVISION);
    let mut add = |port: Resource, revision: u64| {
        let key = ("LogicalPort".to_owned(), "a".to_owned(), port.key().name.to_string());
        expected.insert(key, (revision, revision));
        resources.push(port);
        (expected.clone(), resources.clone())
    };
    let (objects, specs) = add(port, revision);
    check(&controller, &objects, &specs).await;
    controller.shutdown().await.unwrap();

    // The old snapshot still, and old and new entries after it.
    assert!(root.path().join(SNAPSHOT).exists());
    let mut config = mk_config(root.path());
    config.limits.snapshot_entries = 2;
    config.limits.log_entries_kept = 0;
    let controller = Controller::start(config).await.unwrap();
    check(&controller, &objects, &specs).await;
    let port = mk_port("a", "new-2", "10.0.1.102", "host-1", "app=web");
    let later = apply(&mut connect(&controller).await, [port.clone()]).await.unwrap();
    assert!(later > revision);
    let (objects, specs) = add(port, later);
    controller.shutdown().await.unwrap();

    // A snapshot of this release in its place.
    assert!(!root.path().join(SNAPSHOT).exists());
    let controller = start(root.path()).await;
    check(&controller, &objects, &specs).await;
    controller.shutdown().await.unwrap();
}

/// A start of this release that ended before it wrote anything: the format is raised before that.
#[test]
fn a_log_that_was_only_opened_is_still_one_of_the_earlier_release() {
    let root = copy();
    let log = RedbLog::open(root.path()).unwrap();
    assert_eq!(log.bounds().last_index, 48);
    drop(log);
    assert!(identity(root.path()).contains("\nformat = 1\n"));
    assert_eq!(fs::metadata(root.path().join("journal")).unwrap().len(), 0);
    assert_eq!(fs::read(root.path().join("tail")).unwrap().len(), 20);
    // Killed before the database said that there is a journal, or after: the next start goes on.
    fs::remove_file(root.path().join("journal")).unwrap();
    let error = RedbLog::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("journal is damaged: the file is missing"), "{error}");
    let root = copy();
    fs::write(root.path().join("journal"), []).unwrap();
    assert_eq!(RedbLog::open(root.path()).unwrap().bounds().last_index, 48);
}

/// The mark of the earlier release is heeded: a log without its end is not taken for a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn the_mark_of_an_earlier_release_is_heeded() {
    let root = copy();
    let mut mark = fs::read(root.path().join("tail")).unwrap();
    mark[0] += 1;
    fs::write(root.path().join("tail"), &mark).unwrap();
    let error = Controller::start(mk_config(root.path())).await.unwrap_err().to_string();
    assert!(error.contains("checksum does not match"), "{error}");
    // Of a log that had one entry more.
    let checksum = crc32c::crc32c(&mark[..16]);
    mark[16..].copy_from_slice(&checksum.to_le_bytes());
    fs::write(root.path().join("tail"), &mark).unwrap();
    let error = Controller::start(mk_config(root.path())).await.unwrap_err().to_string();
    assert!(error.contains("it ends with entry 48, but entry 49 of term 2 had been"), "{error}");
}
