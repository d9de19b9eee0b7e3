//! What every reader of a field needs: where errors go, and checked access to nodes.
//!
//! Readers go on after an error, so that one run reports all of them. A reader returns `None` for
//! what it could not read, after it has reported why.

use crate::error::{ManifestError, ManifestErrors, Place};
use crate::tree::{Entry, Node, Position, Value};
use spanwire_topology::model::{ObjectRef, Text, check_name, quoted};
use std::cell::RefCell;
use std::fmt::Display;
use std::fmt::Write as _;
use std::sync::Arc;

/// One document that is being read.
pub(crate) struct Context<'n> {
    /// The file.
    pub(crate) file: &'n Arc<str>,
    /// The whole document, in which errors look up the path of their node.
    pub(crate) root: &'n Node,
    /// Where errors go.
    pub(crate) errors: &'n RefCell<ManifestErrors>,
}

impl Context<'_> {
    /// Where a position of this file is.
    pub(crate) fn place(&self, position: Position) -> Place {
        let Position { line, column } = position;
        Place { file: self.file.clone(), line, column }
    }

    /// Reports an error about a node.
    pub(crate) fn error(&self, node: &Node, problem: impl Display) {
        self.report(node.position, node, None, problem);
    }

    /// Reports an error about the key of an entry.
    pub(super) fn key_error(&self, entry: &Entry, problem: impl Display) {
        self.report(entry.key_position, &entry.value, None, problem);
    }

    /// Reports an error about a node, or about a field that it lacks.
    fn report(&self, position: Position, node: &Node, field: Option<&str>, problem: impl Display) {
        let mut errors = self.errors.borrow_mut();
        if errors.is_full() {
            return errors.omit();
        }
        let mut path = path_of(self.root, node).unwrap_or_default();
        if let Some(field) = field {
            push_field(&mut path, field);
        }
        errors.push(ManifestError::Field {
            place: self.place(position),
            field: path,
            problem: problem.to_string(),
        });
    }

    /// The fields of a mapping.
    pub(super) fn fields<'c, 'm>(
        &'c self,
        node: &'m Node,
        expected: &str,
    ) -> Option<Fields<'c, 'm>> {
        let Value::Map(entries) = &node.value else {
            self.error(node, format_args!("expected {expected}, found {}", found(node)));
            return None;
        };
        Some(Fields { context: self, node, entries, known: Vec::new() })
    }

    /// The entries of a list.
    pub(super) fn list<'m>(&self, node: &'m Node, expected: &str) -> &'m [Node] {
        match &node.value {
            Value::List(list) => list,
            _ => {
                self.error(
                    node,
                    format_args!("expected a list of {expected}, found {}", found(node)),
                );
                &[]
            }
        }
    }

    /// A text, number or boolean, as it was written.
    pub(super) fn text<'m>(&self, node: &'m Node, expected: &str) -> Option<&'m str> {
        match &node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => {
                self.error(node, format_args!("expected {expected}, found {}", found(node)));
                None
            }
        }
    }

    /// A text that something can be made of.
    pub(super) fn parse<T, E: Display>(
        &self,
        node: &Node,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(node, expected)?;
        parse(text).map_err(|error| self.error(node, error)).ok()
    }

    /// A name.
    pub(super) fn name(&self, node: &Node, what: &'static str) -> Option<Text> {
        self.parse(node, "a name", |text| check_name(what, text).map(|()| Text::from(text)))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        node: &Node,
        words: &[(&str, T)],
        expected: &str,
    ) -> Option<T> {
        let text = self.text(node, expected)?;
        let word = words.iter().find(|(word, _)| *word == text);
        if word.is_none() {
            let names = words.iter().map(|(word, _)| *word);
            let hint = did_you_mean(text, names);
            self.error(
                node,
                format_args!("unknown value {}: expected {expected}{hint}", quoted(text)),
            );
        }
        word.map(|(_, value)| *value)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, node: &Node) -> Option<bool> {
        if let Value::Scalar { text, plain: true } = &node.value {
            match &**text {
                "true" | "True" | "TRUE" => return Some(true),
                "false" | "False" | "FALSE" => return Some(false),
                _ => {}
            }
        }
        self.error(node, format_args!("expected true or false, found {}", found(node)));
        None
    }

    /// A whole number from 0 to `max`.
    pub(super) fn number(&self, node: &Node, max: u64) -> Option<u64> {
        let number = match &node.value {
            Value::Scalar { text, plain: true } => text.parse::<i128>().ok(),
            _ => None,
        };
        let Some(number) = number else {
            let problem = format_args!("expected a number from 0 to {max}, found {}", found(node));
            self.error(node, problem);
            return None;
        };
        let fitting = u64::try_from(number).ok().filter(|number| *number <= max);
        if fitting.is_none() {
            self.error(node, format_args!("{number} is out of range: expected 0 to {max}"));
        }
        fitting
    }

    /// A reference, as `name` (in `project`) or `project/name`.
    pub(super) fn reference(
        &self,
        node: &Node,
        project: &Text,
        what: &'static str,
    ) -> Option<ObjectRef> {
        let expected = format!("a {what} as name or project/name");
        let text = self.text(node, &expected)?;
        let (project, name) = match text.split_once('/') {
            Some((project, name)) => (self.checked("project", project, node)?, name),
            None => (project.clone(), text),
        };
        Some(ObjectRef { project, name: self.checked(what, name, node)? })
    }

    fn checked(&self, what: &'static str, text: &str, node: &Node) -> Option<Text> {
        check_name(what, text).map_err(|error| self.error(node, error)).ok()?;
        Some(text.into())
    }
}

/// The fields of a mapping. [`Fields::finish`] refuses those that nobody asked for.
pub(super) struct Fields<'c, 'm> {
    context: &'c Context<'c>,
    node: &'m Node,
    entries: &'m [Entry],
    known: Vec<&'static str>,
}

impl<'m> Fields<'_, 'm> {
    /// A field that need not be there.
    pub(super) fn optional(&mut self, name: &'static str) -> Option<&'m Node> {
        self.get(name, "give it one, or leave the field out")
    }

    fn get(&mut self, name: &'static str, remedy: &str) -> Option<&'m Node> {
        self.known.push(name);
        let entry = self.entries.iter().find(|entry| &*entry.key == name)?;
        if entry.value.is_null() {
            // Never read as "not there": an empty list of peers must not become everyone because
            // its entries were commented out.
            self.context.key_error(entry, format_args!("has no value: {remedy}"));
            return None;
        }
        Some(&entry.value)
    }

    /// A field that must be there.
    pub(super) fn required(&mut self, name: &'static str, expected: &str) -> Option<&'m Node> {
        if !self.has(name) {
            self.known.push(name);
            let problem = format_args!("missing: expected {expected}");
            self.context.report(self.node.position, self.node, Some(name), problem);
            return None;
        }
        self.get(name, &format!("expected {expected}"))
    }

    /// A list that may be missing, entry by entry.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnMut(&'m Node) -> Option<T>,
    ) -> Vec<T> {
        match self.optional(name) {
            Some(node) => self.context.list(node, expected).iter().filter_map(read).collect(),
            None => Vec::new(),
        }
    }

    /// True if the field is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| &*entry.key == name)
    }

    /// Reports an error about a field that is there.
    pub(super) fn error(&self, name: &str, problem: impl Display) {
        match self.entries.iter().find(|entry| &*entry.key == name) {
            Some(entry) => self.context.key_error(entry, problem),
            None => self.context.report(self.node.position, self.node, Some(name), problem),
        }
    }

    /// Refuses the fields that nobody asked for.
    pub(super) fn finish(self) {
        for Entry { key, key_position, value: _ } in self.entries {
            if self.known.iter().any(|known| **known == **key) {
                continue;
            }
            let hint = did_you_mean(key, self.known.iter().copied());
            let fields = self.known.join(", ");
            let one_of = if self.known.len() > 1 { "one of " } else { "" };
            let problem =
                format_args!("unknown field {}: expected {one_of}{fields}{hint}", quoted(key));
            self.context.report(*key_position, self.node, None, problem);
        }
    }
}

/// What a node is, for messages.
pub(super) fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Scalar { text, plain: true } => quoted(text),
        Value::Scalar { text, plain: false } => format!("the text {}", quoted(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    }
}

/// The way from `root` to `target`, as in `spec.rules[0].action`. Found by looking for the node
/// itself: paths are needed only when something is wrong, so nobody carries them along.
fn path_of(root: &Node, target: &Node) -> Option<String> {
    if std::ptr::eq(root, target) {
        return Some(String::new());
    }
    match &root.value {
        Value::Null | Value::Scalar { .. } => None,
        Value::List(list) => list.iter().enumerate().find_map(|(n, node)| {
            let rest = path_of(node, target)?;
            Some(join(&format!("[{n}]"), &rest))
        }),
        Value::Map(entries) => entries.iter().find_map(|entry| {
            let rest = path_of(&entry.value, target)?;
            let mut path = String::new();
            push_field(&mut path, &entry.key);
            Some(join(&path, &rest))
        }),
    }
}

fn join(path: &str, rest: &str) -> String {
    let dot = if rest.is_empty() || rest.starts_with('[') { "" } else { "." };
    format!("{path}{dot}{rest}")
}

/// Appends a field to a path; one whose name is no word is quoted.
fn push_field(path: &mut String, field: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    if !field.is_empty() && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        path.push_str(field);
    } else {
        // Writing to a String cannot fail.
        let _ = write!(path, "{}", quoted(field));
    }
}

/// `; did you mean X?`, if one of the words is close to the text.
pub(super) fn did_you_mean<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> String {
    const DISTANCE_MAX: usize = 2;
    const LENGTH_MAX: usize = 32;
    if text.len() > LENGTH_MAX {
        return String::new();
    }
    let lower = text.to_lowercase();
    let closest = words
        .map(|word| (distance(&lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= DISTANCE_MAX && *distance < word.len())
        .min();
    closest.map(|(_, word)| format!("; did you mean {word}?")).unwrap_or_default()
}

/// How many letters must be added, removed or changed to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (n, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = n + 1;
        for (m, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[m + 1];
            row[m + 1] = changed.min(row[m] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
