//! The examples can be read, name nothing that is not there, and survive being written.

use spanwire_manifest::{Document, read_files, read_str, write_yaml};
use spanwire_topology::ObjectKey;
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

#[test]
fn all_examples_can_be_applied_together() {
    let documents =
        read_files([directory()], "default").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(dangling(&documents), []);
}
