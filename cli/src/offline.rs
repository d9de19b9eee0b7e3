//! Questions about resource files, answered by an engine in this process: no controller is needed,
//! so that a check of policies can run wherever the files are.
//!
//! ```text
//!  -f FILE|DIR|- ──► documents, each with its place ──► Engine::load ──► the verb asks
//!                                      └─► what is refused is told with file and line
//! ```

use crate::cli::Global;
use crate::failure::Failure;
use crate::input;
use clap::Args;
use spanwire_manifest::{Document, Place};
use spanwire_topology::engine::Refusal;
use spanwire_topology::{Engine, ObjectKey};
use std::collections::BTreeMap;

/// What it takes to answer without a controller. Verbs that can do so flatten this in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OfflineArgs {
    /// Answer from the files of -f alone, as if all of them were applied to an empty network. Needs
    /// no controller.
    #[arg(long, requires = "files")]
    offline: bool,
    /// With --offline: a file of resources (YAML or JSON), a directory of such files, or - for
    /// stdin. Repeatable: all of it is one state.
    #[arg(short, long = "file", requires = "offline", value_name = "FILE|DIR|-")]
    files: Vec<String>,
}

impl OfflineArgs {
    /// The state of the files; nothing if a controller shall be asked.
    pub(crate) fn load(&self, global: &Global) -> Result<Option<OfflineState>, Failure> {
        if !self.offline {
            return Ok(None);
        }
        OfflineState::load(&self.files, global.project.as_deref()).map(Some)
    }

    /// True if the state, or a part of it, is to be read from stdin.
    pub(crate) fn reads_stdin(&self) -> bool {
        self.files.iter().any(|file| file == "-")
    }
}

/// A state that was made of files.
#[derive(Debug)]
pub(crate) struct OfflineState {
    /// The engine that holds it, at revision 1.
    pub(crate) engine: Engine,
    /// Where each object stands.
    places: BTreeMap<ObjectKey, Place>,
}

impl OfflineState {
    /// The state of files, directories and `-` for stdin. Documents without a project belong to
    /// `project`. The revisions that documents may carry are those of another state, and mean
    /// nothing here.
    pub(crate) fn load(files: &[String], project: Option<&str>) -> Result<OfflineState, Failure> {
        let documents = input::read_state(files, project)?;
        let mut places = BTreeMap::new();
        let mut resources = Vec::with_capacity(documents.len());
        for Document { resource, expected_revision: _, origin } in documents {
            places.insert(resource.key(), origin);
            resources.push(resource);
        }
        match Engine::load(resources) {
            Ok(engine) => Ok(OfflineState { engine, places }),
            Err(refusal) => Err(refused(&refusal, &places)),
        }
    }

    /// Where an object stands, as `FILE:LINE:COLUMN`.
    pub(crate) fn place_of(&self, key: &ObjectKey) -> Option<&Place> {
        self.places.get(key)
    }
}

/// A refusal with the places of the objects it is about.
fn refused(refusal: &Refusal, places: &BTreeMap<ObjectKey, Place>) -> Failure {
    let (at_fault, others) = refusal.objects();
    let mut text = match at_fault.and_then(|key| places.get(key)) {
        Some(place) => format!("{place}: {refusal}"),
        None => refusal.to_string(),
    };
    for key in others {
        // A cycle of groups ends where it began.
        if let Some(place) = places.get(key).filter(|_| Some(key) != at_fault) {
            text.push_str(&format!("\n  {place}: {key}"));
        }
    }
    Failure::refused(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::Kind;

    /// A directory with these files, and the state of it.
    fn load(files: &[(&str, &str)]) -> Result<OfflineState, String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let path = directory.path().display().to_string();
        OfflineState::load(std::slice::from_ref(&path), Some("shop"))
            .map_err(|failure| failure.to_text().replace(&format!("{path}/"), ""))
    }

    const HOST: &str = "kind: Host\nmetadata: {name: h}\nspec: {vtep: 192.0.2.1}\n";
    const SWITCH: &str = "kind: LogicalSwitch\nmetadata: {name: s}\nspec: {}\n";

    fn port(name: &str, address: &str) -> String {
        format!(
            "kind: LogicalPort\nmetadata: {{name: {name}}}\nspec:\n  switch: s\n  host: h\n  \
             mac: 02:00:00:00:00:01\n  addresses: [{address}]\n"
        )
    }

    #[test]
    fn references_may_point_into_files_that_come_later() {
        let state =
            load(&[("a.yaml", &port("p", "10.0.0.1")), ("b.yaml", SWITCH), ("c.yaml", HOST)])
                .unwrap();
        assert_eq!(state.engine.revision(), 1);
        let key = ObjectKey::new(Kind::LogicalPort, "shop", "p");
        assert!(state.engine.get(&key).is_some());
        assert_eq!(state.place_of(&key).unwrap().line, 1);
    }

    #[test]
    fn what_is_refused_is_told_with_its_places() {
        let text = load(&[("a.yaml", &format!("{HOST}---\n{}", port("p", "10.0.0.1")))]);
        let text = text.unwrap_err();
        assert!(text.starts_with("a.yaml:5:1: port shop/p refers to switch shop/s"), "{text}");

        let twins = format!("{}---\n{}", port("p", "10.0.0.1"), port("q", "10.0.0.1"));
        let text = load(&[("a.yaml", HOST), ("b.yaml", SWITCH), ("c.yaml", &twins)]).unwrap_err();
        assert!(text.contains("10.0.0.1") && text.contains("c.yaml:1:1"), "{text}");
        assert!(text.contains("\n  c.yaml:9:1: port shop/"), "{text}");

        let groups = "kind: Group\nmetadata: {name: a}\nspec: {terms: [{group: b}]}\n---\n\
                      kind: Group\nmetadata: {name: b}\nspec: {terms: [{group: a}]}\n";
        let text = load(&[("g.yaml", groups)]).unwrap_err();
        assert!(text.contains("cycle") && text.contains("g.yaml:5:1: group shop/b"), "{text}");
    }

    #[test]
    fn bad_documents_are_told_as_apply_tells_them() {
        let text = load(&[("a.yaml", "kind: Hots\n")]).unwrap_err();
        assert!(text.contains("a.yaml:1"), "{text}");
    }
}
