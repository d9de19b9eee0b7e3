//! The examples can be read and applied, survive being written, and do what they say.
#![allow(clippy::unwrap_used)] // in what tests share

use spanwire_manifest::{Document, read_files, read_str, write_yaml};
use spanwire_topology::engine::{Endpoint, PacketKind, Verdict};
use spanwire_topology::model::TransportProtocol;
use spanwire_topology::{Engine, Kind, ObjectKey, Transaction};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort_unstable();
    files
}

/// References that lead to no document of the set.
fn dangling(documents: &[Document]) -> Vec<(ObjectKey, ObjectKey)> {
    let keys: BTreeSet<ObjectKey> = documents.iter().map(|d| d.resource.key()).collect();
    documents
        .iter()
        .flat_map(|document| {
            let key = document.resource.key();
            document.resource.spec.references().into_iter().map(move |target| (key.clone(), target))
        })
        .filter(|(_, target)| !keys.contains(target))
        .collect()
}

#[test]
fn each_example_stands_on_its_own() {
    let files = files();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let documents = read_files([&file], "default").unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(dangling(&documents), [], "{}", file.display());
        for Document { resource, .. } in documents {
            let yaml = write_yaml(&resource);
            let again = read_str("written", &yaml, "default").unwrap();
            assert_eq!(again[0].resource, resource, "{yaml}");
        }
    }
}

/// An engine with the documents of some files or directories.
fn mk_engine(path: &Path) -> Engine {
    let documents = read_files([path], "default").unwrap_or_else(|errors| panic!("{errors}"));
    let mut engine = Engine::new();
    let transaction = Transaction::put(documents.into_iter().map(|document| document.resource));
    if let Err(refusal) = engine.apply(&transaction, 1) {
        panic!("{}: {refusal}", path.display());
    }
    engine
}

#[test]
fn each_example_can_be_applied() {
    for file in files() {
        mk_engine(&file);
    }
}

/// What becomes of a TCP connection between two ports, given as project/name.
fn verdict(engine: &Engine, from: &str, to: &str, port: u16) -> &'static str {
    let endpoint = |text: &str| {
        let (project, name) = text.split_once('/').unwrap();
        Endpoint::Port(ObjectKey::new(Kind::LogicalPort, project, name), None)
    };
    let protocol = TransportProtocol::Tcp;
    let packet = PacketKind::Transport { protocol, source_port: 40_000, port };
    match engine.verdict(&endpoint(from), &endpoint(to), packet).unwrap() {
        Verdict::Unreachable { .. } => "unreachable",
        Verdict::DeniedAtSource(..) => "denied at source",
        Verdict::DeniedAtDestination(..) => "denied at destination",
        Verdict::Allowed(..) => "allowed",
    }
}

#[test]
fn all_examples_together_do_what_they_say() {
    let documents =
        read_files([directory()], "default").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(dangling(&documents), []);
    let engine = mk_engine(&directory());
    let cases = [
        ("shop/app-0", "shop/web-0", 443, "allowed"),
        ("shop/app-0", "shop/web-0", 80, "denied at destination"),
        ("shop/web-0", "shop/app-0", 8080, "allowed"),
        ("shop/app-0", "shop/db-0", 5432, "allowed"),
        ("shop/web-0", "shop/db-0", 5432, "denied at destination"),
        ("shop/db-0", "shop/web-0", 443, "denied at source"),
        ("red/vm-0", "infra/dns-0", 53, "allowed"),
        ("blue/vm-0", "infra/dns-0", 53, "allowed"),
        ("red/vm-0", "infra/dns-0", 22, "denied at destination"),
        ("infra/dns-0", "red/vm-0", 22, "denied at source"),
        ("red/vm-0", "blue/vm-0", 80, "unreachable"),
        ("north/a", "north/b", 8080, "allowed"),
        ("north/a", "north/b", 22, "denied at destination"),
        ("south/a", "south/b", 22, "allowed"),
        ("north/a", "south/b", 80, "unreachable"),
        ("bank/desk-1", "bank/ledger", 7443, "allowed"),
        ("bank/desk-1", "bank/ledger", 22, "denied at source"),
        ("bank/ledger", "bank/desk-1", 7443, "denied at source"),
        ("bank/desk-2", "bank/ledger", 7443, "denied at source"),
        ("bank/desk-3", "bank/ledger", 7443, "unreachable"),
    ];
    for (from, to, port, expected) in cases {
        assert_eq!(verdict(&engine, from, to, port), expected, "{from} to {to}:{port}");
    }
}
