//! Values of documents, printed as YAML and as JSON.
//!
//! The YAML is a small part of the language that every reader takes the same way: a text stands
//! without quotes only if no version of YAML, and no reader of it, can take it for anything else.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// A value of a document.
pub(crate) enum Out {
    Text(String),
    Number(u64),
    Boolean(bool),
    /// Scalars, printed on one line.
    Line(Vec<Out>),
    /// Printed with a line for each entry.
    List(Vec<Out>),
    /// Printed in the order of the entries.
    Map(Vec<(String, Out)>),
}

/// A document in YAML, with a line feed at the end.
pub(crate) fn to_yaml(document: &Out) -> String {
    let mut yaml = String::new();
    match document {
        Out::Map(entries) if !entries.is_empty() => push_entries(&mut yaml, entries, 0),
        other => {
            yaml.push_str(&inline(other, false));
            yaml.push('\n');
        }
    }
    yaml
}

/// A document in JSON.
pub(crate) fn to_json(value: &Out) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Out::Text(text) => Value::from(text.as_str()),
        Out::Number(number) => Value::from(*number),
        Out::Boolean(boolean) => Value::from(*boolean),
        Out::Line(list) | Out::List(list) => list.iter().map(to_json).collect(),
        Out::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.clone(), to_json(value)));
            Value::Object(entries.collect())
        }
    }
}

/// The entries of a mapping; the first begins where the text ends, the others on lines of their
/// own.
fn push_entries(yaml: &mut String, entries: &[(String, Out)], indent: usize) {
    for (n, (key, value)) in entries.iter().enumerate() {
        if n > 0 {
            push_indent(yaml, indent);
        }
        yaml.push_str(&scalar(key, true));
        yaml.push(':');
        match value {
            Out::Map(entries) if !entries.is_empty() => {
                yaml.push('\n');
                push_indent(yaml, indent + 2);
                push_entries(yaml, entries, indent + 2);
            }
            Out::List(list) if !list.is_empty() => {
                yaml.push('\n');
                push_list(yaml, list, indent);
            }
            other => {
                yaml.push(' ');
                yaml.push_str(&inline(other, false));
                yaml.push('\n');
            }
        }
    }
}

fn push_list(yaml: &mut String, list: &[Out], indent: usize) {
    for entry in list {
        push_indent(yaml, indent);
        yaml.push_str("- ");
        match entry {
            Out::Map(entries) if !entries.is_empty() => push_entries(yaml, entries, indent + 2),
            other => {
                yaml.push_str(&inline(other, false));
                yaml.push('\n');
            }
        }
    }
}

fn push_indent(yaml: &mut String, indent: usize) {
    yaml.extend(std::iter::repeat_n(' ', indent));
}

/// A value on one line; `nested` within brackets.
fn inline(value: &Out, nested: bool) -> String {
    match value {
        Out::Text(text) => scalar(text, nested),
        Out::Number(number) => number.to_string(),
        Out::Boolean(boolean) => boolean.to_string(),
        Out::Line(list) | Out::List(list) => {
            let list: Vec<String> = list.iter().map(|entry| inline(entry, true)).collect();
            format!("[{}]", list.join(", "))
        }
        Out::Map(entries) => {
            let entry = |(key, value): &(String, Out)| {
                format!("{}: {}", scalar(key, true), inline(value, true))
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text, in quotes if there is any doubt.
fn scalar(text: &str, nested: bool) -> String {
    if is_plain(text, nested) {
        text.to_owned()
    } else {
        // What JSON escapes, YAML understands in double quotes.
        serde_json::Value::from(text).to_string()
    }
}

/// True if every reader takes the text for a text.
fn is_plain(text: &str, nested: bool) -> bool {
    if text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv4Net>().is_ok() {
        return true;
    }
    // Words of YAML 1.1, which many readers still speak.
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let special = if nested { "" } else { " :=,()!" };
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./@".contains(c) || special.contains(c))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stand_where_there_is_doubt() {
        for plain in ["web", "10.20.0.1", "10.0.0.0/8", "fd00::1", "a=b,c in (d,e),!f", "t00/web-1"]
        {
            assert_eq!(scalar(plain, false), plain);
        }
        for quoted in [
            "",
            "no",
            "Off",
            "1",
            "1.0",
            "0x1f",
            "2001:db8::1",
            "fd00::",
            "~",
            "a: b",
            "!a",
            "-",
            "8000-8080",
            "*",
            "2026-11-22",
            "a#b",
            "null",
            "0a:58:00:00:00:01",
            "a\n",
        ] {
            assert!(scalar(quoted, false).starts_with('"'), "{quoted}");
        }
        for quoted in ["fd00::1", "a=b", "a,b", "a b"] {
            assert!(scalar(quoted, true).starts_with('"'), "{quoted}");
        }
    }

    #[test]
    fn empty_values_stand_on_the_line() {
        let document = Out::Map(vec![
            ("a".to_owned(), Out::Map(vec![])),
            ("b".to_owned(), Out::List(vec![])),
            ("c".to_owned(), Out::List(vec![Out::Map(vec![]), Out::Line(vec![Out::Number(1)])])),
        ]);
        assert_eq!(to_yaml(&document), "a: {}\nb: []\nc:\n- {}\n- [1]\n");
        assert_eq!(to_yaml(&Out::Map(vec![])), "{}\n");
    }
}
