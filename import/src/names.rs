//! Texts of other tools as names and labels.

use spanwire_topology::model::{Kind, LABEL_TEXT_MAX, NAME_MAX, Text};
use std::collections::{BTreeMap, BTreeSet};

/// The longest suffix that [`Names::take`] appends to tell equal names apart.
const SUFFIX_MAX: usize = 12;

/// Replaces what is not allowed by `_` and cuts what is too long.
fn sanitized(text: &str, extra: &str, first_is_word: bool, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max));
    for character in text.chars() {
        let word = character.is_ascii_alphanumeric() || character == '_';
        let fine = word || (extra.contains(character) && !(clean.is_empty() && first_is_word));
        clean.push(if fine { character } else { '_' });
        if clean.len() == max {
            break;
        }
    }
    clean
}

/// The nearest text that may be the name of an object or project.
pub(crate) fn to_name(text: &str) -> String {
    let name = sanitized(text, ".-:@", true, NAME_MAX);
    if name.is_empty() { "_".to_owned() } else { name }
}

/// The nearest text that may be a label key.
pub(crate) fn to_label_key(text: &str) -> String {
    let key = sanitized(text, ".-/:@", true, LABEL_TEXT_MAX);
    if key.is_empty() { "_".to_owned() } else { key }
}

/// The nearest text that may be a label value.
pub(crate) fn to_label_value(text: &str) -> String {
    sanitized(text, ".-/:@+=~", false, LABEL_TEXT_MAX)
}

/// FNV-1a, 64 bits: names that are made from contents must be the same on every machine.
pub(crate) fn fnv64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Eight hexadecimal digits that stand for a text.
pub(crate) fn short_hash(text: &str) -> String {
    format!("{:08x}", fnv64(text) >> 32)
}

/// Gives out names, none twice to one kind in one project.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: BTreeSet<(Kind, Text, Text)>,
    /// The last suffix tried for a name, so that a thousand equal names cost a thousand steps.
    suffixes: BTreeMap<(Kind, Text, Text), u64>,
}

impl Names {
    /// The nearest name to `wanted` that nobody has.
    pub(crate) fn take(&mut self, kind: Kind, project: &Text, wanted: &str) -> Text {
        let wanted: Text = to_name(wanted).into();
        if self.taken.insert((kind, project.clone(), wanted.clone())) {
            return wanted;
        }
        let stem = &wanted[..wanted.len().min(NAME_MAX - SUFFIX_MAX)];
        let suffix = self.suffixes.entry((kind, project.clone(), wanted.clone())).or_insert(1);
        loop {
            *suffix += 1;
            let name: Text = format!("{stem}-{suffix}").into();
            if self.taken.insert((kind, project.clone(), name.clone())) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::{check_label_key, check_label_value, check_name};

    #[test]
    fn what_is_not_allowed_is_replaced() {
        for (text, expected) in
            [("web-0", "web-0"), ("a/b c", "a_b_c"), ("", "_"), ("-x", "_x"), ("ä", "_")]
        {
            assert_eq!(to_name(text), expected);
        }
        assert_eq!(to_label_key("neutron:device_id"), "neutron:device_id");
        assert_eq!(to_label_value("two words"), "two_words");
    }

    #[test]
    fn every_result_is_allowed() {
        for text in ["", "-", "/", "\u{0}", "日本", &"x".repeat(999), &"é".repeat(400)] {
            check_name("name", &to_name(text)).unwrap();
            check_label_key(&to_label_key(text)).unwrap();
            check_label_value(&to_label_value(text)).unwrap();
        }
    }

    #[test]
    fn nobody_gets_a_name_twice() {
        let mut names = Names::default();
        let project: Text = "p".into();
        let mut take = |wanted: &str| names.take(Kind::Group, &project, wanted).to_string();
        assert_eq!(take("a"), "a");
        assert_eq!(take("a"), "a-2");
        assert_eq!(take("a-3"), "a-3");
        assert_eq!(take("a"), "a-4");
        let long = "x".repeat(NAME_MAX);
        assert_eq!(take(&long), long);
        assert!(take(&long).len() <= NAME_MAX);
    }
}
