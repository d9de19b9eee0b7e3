//! Sets of files: every document of each, and every error.

use crate::error::{ManifestError, ManifestErrors, Place};
use crate::read::{Context, Found, read_document};
use crate::tree::{Node, Position, TreeError, parse_documents};
use spanwire_topology::model::{
    NameError, ObjectKey, Resource, Revision, TRANSACTION_OPERATIONS_MAX, Text, check_name,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The biggest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// A resource as a document describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The resource.
    pub resource: Resource,
    /// The revision of `metadata.revision`: the object must have changed last at that revision,
    /// or not exist if it is 0.
    pub expected_revision: Option<Revision>,
    /// Where the document begins.
    pub origin: Place,
}

/// Reads files and directories. Of a directory, the files in it that end in `.yaml`, `.yml` or
/// `.json` are read, by name. A document without a project belongs to `default_project`.
///
/// # Errors
///
/// Everything that is wrong with any of them. If there is an error, there are no documents.
pub fn read_files<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
    default_project: &str,
) -> Result<Vec<Document>, ManifestErrors> {
    let mut reader = ManifestReader::new(default_project);
    for path in paths {
        reader.read_path(path.as_ref());
    }
    reader.finish()
}

/// Reads the documents of a text, which messages call `name`.
///
/// # Errors
///
/// Everything that is wrong with them. If there is an error, there are no documents.
pub fn read_str(
    name: &str,
    text: &str,
    default_project: &str,
) -> Result<Vec<Document>, ManifestErrors> {
    let mut reader = ManifestReader::new(default_project);
    reader.read_str(name, text);
    reader.finish()
}

/// Reads the documents of some bytes, which messages call `name`.
///
/// # Errors
///
/// Everything that is wrong with them. If there is an error, there are no documents.
pub fn read_bytes(
    name: &str,
    bytes: &[u8],
    default_project: &str,
) -> Result<Vec<Document>, ManifestErrors> {
    let mut reader = ManifestReader::new(default_project);
    reader.read_bytes(name, bytes);
    reader.finish()
}

/// Reads one set of files, from wherever they come.
#[derive(Debug)]
pub struct ManifestReader {
    /// The project of documents that name none, or why it is none.
    default_project: Result<Text, NameError>,
    documents: Vec<Document>,
    /// The most documents there may be, if there is a most.
    documents_max: Option<usize>,
    errors: ManifestErrors,
}

impl ManifestReader {
    /// A reader that has read nothing yet.
    pub fn new(default_project: &str) -> ManifestReader {
        ManifestReader {
            default_project: check_name("default project", default_project)
                .map(|()| default_project.into()),
            documents: Vec::new(),
            documents_max: Some(TRANSACTION_OPERATIONS_MAX),
            errors: ManifestErrors::default(),
        }
    }

    /// The same for any number of documents: they are a state, and no transaction.
    pub fn of_state(mut self) -> ManifestReader {
        self.documents_max = None;
        self
    }

    /// Reads a file, or the files of a directory.
    pub fn read_path(&mut self, path: &Path) {
        if !path.is_dir() {
            return self.read_file(path);
        }
        match documents_in(path) {
            Err(reason) => self.read_error(path, reason),
            Ok(files) if files.is_empty() => {
                self.errors.push(ManifestError::NoFiles { path: path.display().to_string() });
            }
            Ok(files) => files.iter().for_each(|file| self.read_file(file)),
        }
    }

    fn read_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match read_limited(path) {
            Err(reason) => self.read_error(path, reason),
            Ok(bytes) => self.read_bytes(&name, &bytes),
        }
    }

    fn read_error(&mut self, path: &Path, reason: io::Error) {
        self.errors.push(ManifestError::Read { path: path.display().to_string(), reason });
    }

    /// Reads some bytes, which messages call `name`.
    pub fn read_bytes(&mut self, name: &str, bytes: &[u8]) {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > FILE_BYTES_MAX {
            let file = name.to_owned();
            return self.errors.push(ManifestError::TooLarge {
                file,
                bytes: size,
                max: FILE_BYTES_MAX,
            });
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.read_text(name, text),
            Err(error) => {
                let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let place = end_of(name, &before);
                self.errors.push(ManifestError::NotText { place });
            }
        }
    }

    /// Reads a text, which messages call `name`.
    pub fn read_str(&mut self, name: &str, text: &str) {
        self.read_bytes(name, text.as_bytes());
    }

    fn read_text(&mut self, name: &str, text: &str) {
        let file: Arc<str> = name.into();
        let json = name.ends_with(".json");
        if json && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            // Read as YAML, a slip in JSON gives puzzling messages.
            let place = Place { file, line: error.line(), column: error.column() };
            let problem = error.to_string();
            let problem = problem.split(" at line ").next().unwrap_or_default().to_owned();
            return self.errors.push(ManifestError::Syntax { place, format: "JSON", problem });
        }
        let errors_before = self.errors.errors().len();
        let mut empty = true;
        parse_documents(text, |document| {
            match document {
                // A document without content, as between two ---.
                Ok(node) if node.is_null() => {}
                Ok(node) => {
                    empty = false;
                    self.read_document(&file, &node);
                }
                Err(TreeError { position: Position { line, column }, problem }) => {
                    empty = false;
                    let place = Place { file: file.clone(), line, column };
                    let format = if json { "JSON" } else { "YAML" };
                    self.errors.push(ManifestError::Syntax { place, format, problem });
                }
            }
        });
        self.errors.sort_from(errors_before);
        if empty {
            self.errors.push(ManifestError::Empty { file: name.to_owned() });
        }
    }

    fn read_document(&mut self, file: &Arc<str>, root: &Node) {
        // A default project that is no name has its own error; "default" stands in for it, so
        // that the errors of the documents are found as well.
        let project = match &self.default_project {
            Ok(project) => project.clone(),
            Err(_) => spanwire_topology::model::DEFAULT_PROJECT.into(),
        };
        let errors = RefCell::new(std::mem::take(&mut self.errors));
        let context = Context { file, root, errors: &errors };
        let mut found = Vec::new();
        read_document(&context, &project, &mut found);
        for Found { resource, expected_revision, node } in found {
            let origin = context.place(node.position);
            self.documents.push(Document { resource, expected_revision, origin });
        }
        self.errors = errors.into_inner();
    }

    /// The documents, in the order in which they were read.
    ///
    /// # Errors
    ///
    /// Everything that was wrong. If there is an error, there are no documents.
    pub fn finish(mut self) -> Result<Vec<Document>, ManifestErrors> {
        if let Err(error) = &self.default_project {
            self.errors.push(ManifestError::Project { problem: error.clone() });
        }
        self.check_unique();
        let found = self.documents.len();
        if let Some(max) = self.documents_max.filter(|&max| found > max) {
            self.errors.push(ManifestError::TooManyDocuments { found, max });
        }
        if self.errors.count() == 0 { Ok(self.documents) } else { Err(self.errors) }
    }

    fn check_unique(&mut self) {
        let mut first: BTreeMap<ObjectKey, &Place> = BTreeMap::new();
        for Document { resource, expected_revision: _, origin } in &self.documents {
            let key = resource.key();
            if let Some(first) = first.get(&key) {
                self.errors.push(ManifestError::Duplicate {
                    key,
                    first: (*first).clone(),
                    second: origin.clone(),
                });
            } else {
                first.insert(key, origin);
            }
        }
    }
}

/// The files of a directory that hold documents, by name. Hidden ones are left out.
fn documents_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("yaml" | "yml" | "json")) && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The bytes of a file, and no more than one beyond the limit: a device may have no end.
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The place after a text.
fn end_of(file: &str, text: &str) -> Place {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place {
        file: file.into(),
        line: text.matches('\n').count() + 1,
        column: last.chars().count() + 1,
    }
}
