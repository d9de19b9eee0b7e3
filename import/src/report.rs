//! What an import gives back.

use spanwire_topology::model::Resource;
use std::fmt;

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Import {
    /// The resources, sorted by kind (in the order of `Kind::ALL`, so that nothing refers to
    /// what comes later, groups and routers apart), project and name.
    pub resources: Vec<Resource>,
    /// What could not be carried over, sorted. Empty means that the resources say everything
    /// the input said, as far as Spanwire is concerned.
    pub unsupported: Vec<Unsupported>,
    /// What was decided or changed on the way, sorted. Nothing is lost in a note.
    pub notes: Vec<Note>,
}

/// Something in the input that the resources do not say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsupported {
    /// The table or kind of the row or object.
    pub kind: String,
    /// The name of the row or object; its identifier if it has no name.
    pub row: String,
    /// Which part of it.
    pub what: String,
    /// Why it could not be carried over, and what was done instead.
    pub why: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}: {}", self.kind, self.row, self.what, self.why)
    }
}

/// A decision of the importer that whoever runs it may want to know of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The table or kind it is about.
    pub kind: String,
    /// The row or object it is about; empty if it is about several.
    pub row: String,
    /// The decision.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.row.is_empty() {
            write!(f, "{}: {}", self.kind, self.text)
        } else {
            write!(f, "{} {}: {}", self.kind, self.row, self.text)
        }
    }
}
