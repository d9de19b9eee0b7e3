//! What can be wrong with documents, and where.

use spanwire_topology::ObjectKey;
use spanwire_topology::model::NameError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The most errors that are kept of one set of files. The rest is counted.
pub const ERRORS_MAX: usize = 100;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the caller named it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column } = self;
        write!(f, "{file}:{line}:{column}")
    }
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or directory cannot be read.
    #[error("{path}: cannot be read: {reason}")]
    Read {
        /// The file or directory.
        path: String,
        /// Why.
        #[source]
        reason: io::Error,
    },
    /// A directory without documents.
    #[error("{path}: holds no file that ends in .yaml, .yml or .json")]
    NoFiles {
        /// The directory.
        path: String,
    },
    /// A file that is too big.
    #[error("{file}: has {bytes} bytes: the most is {max}; split it")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// The largest size there may be.
        max: u64,
    },
    /// A file that is no text.
    #[error("{place}: not UTF-8 text: is this a YAML or JSON file?")]
    NotText {
        /// The first byte that is wrong.
        place: Place,
    },
    /// A file without a document.
    #[error("{file}: holds no document: expected at least one with kind, metadata and spec")]
    Empty {
        /// The file.
        file: String,
    },
    /// A text that cannot be read as YAML or JSON.
    #[error("{place}: not valid {format}: {problem}")]
    Syntax {
        /// Where reading stopped.
        place: Place,
        /// YAML or JSON.
        format: &'static str,
        /// What is wrong there.
        problem: String,
    },
    /// A document, or a field of it, that is wrong.
    #[error("{place}: {}{problem}", prefix(.field))]
    Field {
        /// Where it stands.
        place: Place,
        /// The path of the field, as in `spec.rules[0].action`; empty for the document.
        field: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// An object that two documents describe.
    #[error("{second}: {key} stands at {first} already: keep one of the two")]
    Duplicate {
        /// The object.
        key: ObjectKey,
        /// The document that came first.
        first: Place,
        /// The one that came second.
        second: Place,
    },
    /// The project of documents without one is no name.
    #[error("{problem}")]
    Project {
        /// What is wrong with it.
        problem: NameError,
    },
    /// More documents than one transaction can hold.
    #[error("{found} documents: one transaction takes {max} at most; apply them in parts")]
    TooManyDocuments {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
}

fn prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

/// Everything that is wrong with a set of files, file by file in the order of the text.
#[derive(Debug, Default)]
pub struct ManifestErrors {
    errors: Vec<ManifestError>,
    omitted: usize,
}

impl ManifestErrors {
    /// The errors: at least one, at most [`ERRORS_MAX`].
    pub fn errors(&self) -> &[ManifestError] {
        &self.errors
    }

    /// How many more there were.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    pub(crate) fn push(&mut self, error: ManifestError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        } else {
            self.omitted += 1;
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }

    pub(crate) fn omit(&mut self) {
        self.omitted += 1;
    }

    /// Brings the errors from `start` on, which are all about one file, into the order of the text.
    pub(crate) fn sort_from(&mut self, start: usize) {
        let position = |error: &ManifestError| match error {
            ManifestError::NotText { place }
            | ManifestError::Syntax { place, .. }
            | ManifestError::Field { place, .. } => (place.line, place.column),
            _ => (usize::MAX, usize::MAX),
        };
        if let Some(errors) = self.errors.get_mut(start..) {
            errors.sort_by_key(position);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.errors.len() + self.omitted
    }
}

impl fmt::Display for ManifestErrors {
    /// One error a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        match self.omitted {
            0 => Ok(()),
            1 => f.write_str("\n... and 1 more error"),
            more => write!(f, "\n... and {more} more errors"),
        }
    }
}

impl std::error::Error for ManifestErrors {}
