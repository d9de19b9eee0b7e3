//! YAML and JSON texts as trees in which every node knows its place.
//!
//! Scalars keep the text they were written with, so `version: 1.10` and `mac: 12:34:56:...` are
//! what they look like, whatever YAML would make of them: the reader of a field decides.

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, ScanError, Span, Tag};
use spanwire_topology::model::quoted;
use std::borrow::Cow;
use std::collections::HashMap;

/// The deepest nesting of a document. Real ones need 8.
pub(crate) const DEPTH_MAX: usize = 64;
/// The most nodes that the aliases of one file may copy: a few lines of aliases to aliases
/// otherwise grow without bound ("billion laughs").
pub(crate) const ALIAS_NODES_MAX: usize = 100_000;

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

impl Node {
    /// True if there is nothing here.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, number or boolean.
    Scalar {
        /// The text, without quotes.
        text: Box<str>,
        /// True if there were no quotes around it, so that it may be a number or boolean.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text. No key is there twice.
    Map(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Box<str>,
    pub(crate) key_position: Position,
    pub(crate) value: Node,
}

/// Why a text, or one document in it, has no tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TreeError {
    pub(crate) position: Position,
    pub(crate) problem: String,
}

/// Reads all documents of a text, and gives each to `take`. After one that cannot be read it goes
/// on with the next.
pub(crate) fn parse_documents(text: &str, mut take: impl FnMut(Result<Node, TreeError>)) {
    let mut options = granit_parser::options! {
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    options.set_emit_comments(false);
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    loop {
        let problem = match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => return,
            Some(Ok((event, span))) => match builder.process_event(event, span) {
                Ok(None) => continue,
                Ok(Some(document)) => {
                    take(Ok(document));
                    continue;
                }
                Err(problem) => problem,
            },
            Some(Err(error)) => to_tree_error(&error),
        };
        take(Err(problem));
        builder.reset();
        match parser.proceed_next_document() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return take(Err(to_tree_error(&error))),
        }
    }
}

fn to_tree_error(error: &ScanError) -> TreeError {
    let marker = error.marker();
    TreeError {
        position: Position { line: marker.line(), column: marker.col() + 1 },
        problem: error.kind().to_string(),
    }
}

/// A collection whose end has not come yet.
struct Open {
    position: Position,
    anchor: usize,
    items: Items,
    /// How deep the deepest node below it goes.
    height: usize,
    /// How many nodes lie below it.
    nodes: usize,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(Box<str>, Position)> },
}

/// A node that an alias can stand for.
struct Anchored {
    node: Node,
    height: usize,
    nodes: usize,
}

/// Builds trees from events, without recursion.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    document: Option<Node>,
    /// Nodes copied by aliases, over all documents.
    copied: usize,
}

impl Builder {
    /// Forgets the current document.
    fn reset(&mut self) {
        self.open.clear();
        self.anchors.clear();
        self.document = None;
    }

    fn process_event(&mut self, event: Event<'_>, span: Span) -> Result<Option<Node>, TreeError> {
        let position = Position { line: span.start.line(), column: span.start.col() + 1 };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = to_scalar(text, style, check_tag(tag, position)?);
                self.complete(Node { position, value }, anchor, 0, 1)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag, position)?;
                self.start(position, anchor, Items::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag, position)?;
                self.start(position, anchor, Items::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(anchor) => self.alias(anchor, position)?,
            Event::DocumentEnd => {
                let document = self.document.take();
                self.reset();
                return Ok(document);
            }
            // Comments are switched off, and nothing else carries data.
            _ => {}
        }
        Ok(None)
    }

    fn start(&mut self, position: Position, anchor: usize, items: Items) -> Result<(), TreeError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(position));
        }
        self.open.push(Open { position, anchor, items, height: 0, nodes: 0 });
        Ok(())
    }

    fn end(&mut self) -> Result<(), TreeError> {
        let Some(Open { position, anchor, items, height, nodes }) = self.open.pop() else {
            return Ok(());
        };
        let value = match items {
            Items::List(list) => Value::List(list),
            Items::Map { entries, key: _ } => {
                check_unique(&entries)?;
                Value::Map(entries)
            }
        };
        self.complete(Node { position, value }, anchor, height + 1, nodes + 1)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<(), TreeError> {
        let Some(Anchored { node, height, nodes }) = self.anchors.get(&anchor) else {
            let problem = "the alias stands within what it stands for".to_owned();
            return Err(TreeError { position, problem });
        };
        self.copied = self.copied.saturating_add(*nodes);
        if self.copied > ALIAS_NODES_MAX {
            let problem = format!(
                "aliases copy more than {ALIAS_NODES_MAX} values: write the document without them"
            );
            return Err(TreeError { position, problem });
        }
        if self.open.len() + height > DEPTH_MAX {
            return Err(too_deep(position));
        }
        let (height, nodes) = (*height, *nodes);
        // Messages point at the alias; below it they point at the original.
        let node = Node { position, value: node.value.clone() };
        self.complete(node, 0, height, nodes)
    }

    /// Puts a complete node where it belongs.
    fn complete(
        &mut self,
        node: Node,
        anchor: usize,
        height: usize,
        nodes: usize,
    ) -> Result<(), TreeError> {
        if anchor != 0 {
            self.copied = self.copied.saturating_add(nodes);
            self.anchors.insert(anchor, Anchored { node: node.clone(), height, nodes });
        }
        let Some(parent) = self.open.last_mut() else {
            self.document = Some(node);
            return Ok(());
        };
        parent.height = parent.height.max(height);
        parent.nodes = parent.nodes.saturating_add(nodes);
        match &mut parent.items {
            Items::List(list) => list.push(node),
            Items::Map { entries, key } => match key.take() {
                Some((key, key_position)) => entries.push(Entry { key, key_position, value: node }),
                None => *key = Some(to_key(node)?),
            },
        }
        Ok(())
    }
}

fn too_deep(position: Position) -> TreeError {
    TreeError { position, problem: format!("nested more than {DEPTH_MAX} deep") }
}

fn to_key(node: Node) -> Result<(Box<str>, Position), TreeError> {
    let position = node.position;
    let problem = match node.value {
        Value::Scalar { text, plain: true } if &*text == "<<" => {
            "merge keys (<<) are not supported: write the fields out".to_owned()
        }
        Value::Scalar { text, .. } => return Ok((text, position)),
        Value::Null => "a key is empty: expected the name of a field".to_owned(),
        Value::List(_) => "a key is a list: expected the name of a field".to_owned(),
        Value::Map(_) => "a key is a mapping: expected the name of a field".to_owned(),
    };
    Err(TreeError { position, problem })
}

fn check_unique(entries: &[Entry]) -> Result<(), TreeError> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&n| (&entries[n].key, n));
    let twice = order.windows(2).find(|pair| entries[pair[0]].key == entries[pair[1]].key);
    match twice {
        None => Ok(()),
        Some(pair) => {
            let (first, second) = (&entries[pair[0]], &entries[pair[1]]);
            Err(TreeError {
                position: second.key_position,
                problem: format!(
                    "field {} is there twice, first in line {}: keep one of the two",
                    quoted(&second.key),
                    first.key_position.line
                ),
            })
        }
    }
}

/// What a tag says about the scalar that carries it.
enum TagMeaning {
    /// Nothing: there is none, or it says what the value looks like anyway.
    None,
    /// It is a text, whatever it looks like.
    Text,
}

fn check_tag(tag: Option<Cow<'_, Tag>>, position: Position) -> Result<TagMeaning, TreeError> {
    let Some(tag) = tag else {
        return Ok(TagMeaning::None);
    };
    match tag.core_suffix() {
        Some("str") => Ok(TagMeaning::Text),
        Some(_) => Ok(TagMeaning::None),
        None if tag.handle().is_empty() && tag.suffix() == "!" => Ok(TagMeaning::Text),
        None => {
            let problem = format!(
                "the tag {} means nothing here: write the value without it",
                quoted(&tag.original())
            );
            Err(TreeError { position, problem })
        }
    }
}

fn to_scalar(text: Cow<'_, str>, style: ScalarStyle, tag: TagMeaning) -> Value {
    let plain = style == ScalarStyle::Plain && matches!(tag, TagMeaning::None);
    if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar { text: text.into(), plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Scalar { text, plain: true } => text.to_string(),
            Value::Scalar { text, plain: false } => format!("{text:?}"),
            Value::List(list) => {
                format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(","))
            }
            Value::Map(entries) => {
                let entry = |e: &Entry| format!("{}:{}", e.key, show(&e.value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
            }
        }
    }

    fn parse(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        parse_documents(text, |document| {
            found.push(match document {
                Ok(node) => show(&node),
                Err(TreeError { position: Position { line, column }, problem }) => {
                    format!("{line}:{column}: {problem}")
                }
            });
        });
        found
    }

    #[test]
    fn texts_stay_as_they_were_written() {
        let cases = [
            ("a: 1.10", "{a:1.10}"),
            ("a: '1'", "{a:\"1\"}"),
            ("a: !!str 1", "{a:\"1\"}"),
            ("a: ! 1", "{a:\"1\"}"),
            ("a: 0a:58:00:00:00:01", "{a:0a:58:00:00:00:01}"),
            ("a: 12:30", "{a:12:30}"),
            ("a:\nb: ~", "{a:null,b:null}"),
            ("a: \"null\"", "{a:\"null\"}"),
            ("{\"a\":[1,\"b\",null,true]}", "{a:[1,\"b\",null,true]}"),
            ("{\n\t\"a\": [\n\t\t1,\n\t\t2\n\t]\n}\n", "{a:[1,2]}"),
            ("{\"a\": \"\\ud83d\\ude00\\/\"}", "{a:\"\u{1f600}/\"}"),
            ("a: &x [1]\nb: *x", "{a:[1],b:[1]}"),
            ("yes: no", "{yes:no}"),
            ("\u{feff}a: 1", "{a:1}"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), [expected], "{text:?}");
        }
    }

    #[test]
    fn a_broken_document_does_not_hide_the_next() {
        let found = parse("a: [1\n---\nb: 2\n---\nc: {\n---\nd: 4\n");
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!((found[1].as_str(), found[3].as_str()), ("{b:2}", "{d:4}"));
        assert!(parse("").is_empty());
        assert!(parse("# nothing\n").is_empty());
    }

    #[test]
    fn what_yaml_can_do_beyond_documents_is_refused() {
        let cases = [
            ("a: 1\na: 2", "2:1: field \"a\" is there twice, first in line 1: keep one of the two"),
            ("<<: {a: 1}", "1:1: merge keys (<<) are not supported: write the fields out"),
            ("[a]: 1", "1:1: a key is a list: expected the name of a field"),
            (
                "a: !secret x",
                "1:12: the tag \"!secret\" means nothing here: write the value without it",
            ),
            ("a: &x [*x]", "1:8: the alias stands within what it stands for"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), [expected], "{text:?}");
        }
    }

    #[test]
    fn depth_and_copies_are_bounded() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(parse(&deep).len(), 1);
        let deep = (0..200).map(|n| format!("{}- \n", " ".repeat(n))).collect::<String>();
        assert_eq!(parse(&deep).len(), 1);

        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..20 {
            let list = vec![format!("*a{}", n - 1); 9].join(", ");
            laughs.push_str(&format!("a{n}: &a{n} [{list}]\n"));
        }
        let found = parse(&laughs);
        assert!(found[0].contains("aliases copy more than 100000 values"), "{found:?}");

        let mut chain = "a0: &a0 [x]\n".to_owned();
        for n in 1..100 {
            chain.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
        }
        let found = parse(&chain);
        assert!(found[0].contains("nested more than 64 deep"), "{found:?}");
    }
}
