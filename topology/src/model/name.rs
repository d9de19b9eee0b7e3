//! Names, projects and labels: what they may be made of.

use super::object::Text;
use super::parse::quoted;
use std::collections::BTreeMap;

/// The longest name of an object or a project, in bytes.
pub const NAME_MAX: usize = 253;
/// The longest label key or value, in bytes.
pub const LABEL_TEXT_MAX: usize = 317;
/// The most labels one object may carry.
pub const LABELS_MAX: usize = 128;
/// The project of a resource that names none.
pub const DEFAULT_PROJECT: &str = "default";
/// The project of everything that belongs to the fleet and not to a tenant: hosts.
pub const SYSTEM_PROJECT: &str = "system";

/// Labels of an object, sorted by key.
pub type Labels = BTreeMap<Text, Text>;

/// Why a name, a label key or a label value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("{what} is empty: give it at least one character")]
    Empty {
        /// What the text was meant to be.
        what: &'static str,
    },
    /// The text is too long.
    #[error("{what} {} has {len} bytes: the most is {max}", quoted(text))]
    TooLong {
        /// What the text was meant to be.
        what: &'static str,
        /// The text.
        text: String,
        /// Its length in bytes.
        len: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// The text has a character that is not allowed, or not there.
    #[error("{what} {text:?} has {character:?} at byte {at}: {expected}")]
    Character {
        /// What the text was meant to be.
        what: &'static str,
        /// The text.
        text: String,
        /// The offending character.
        character: char,
        /// Where it stands, in bytes from the start.
        at: usize,
        /// What is allowed.
        expected: &'static str,
    },
}

const NAME_EXPECTED: &str =
    "letters, digits and . _ - : @ are allowed, and the first must be a letter, a digit or _";
const LABEL_KEY_EXPECTED: &str =
    "letters, digits and . _ - / : @ are allowed, and the first must be a letter, a digit or _";
const LABEL_VALUE_EXPECTED: &str = "letters, digits and . _ - / : @ + = ~ are allowed";

fn check(
    what: &'static str,
    text: &str,
    max: usize,
    extra: &str,
    first_is_word: bool,
    expected: &'static str,
) -> Result<(), NameError> {
    if text.len() > max {
        return Err(NameError::TooLong { what, text: text.to_owned(), len: text.len(), max });
    }
    for (at, character) in text.char_indices() {
        let word = character.is_ascii_alphanumeric() || character == '_';
        let fine = word || (extra.contains(character) && !(at == 0 && first_is_word));
        if !fine {
            return Err(NameError::Character {
                what,
                text: text.to_owned(),
                character,
                at,
                expected,
            });
        }
    }
    Ok(())
}

/// Checks the name of an object or a project: 1 to [`NAME_MAX`] bytes of letters, digits and
/// `. _ - : @`, the first a letter, a digit or `_`. There is no `/`, which separates project and
/// name in a reference.
pub fn check_name(what: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    check(what, text, NAME_MAX, ".-:@", true, NAME_EXPECTED)
}

/// Checks a label key: 1 to [`LABEL_TEXT_MAX`] bytes, as a name with `/` for a prefix.
pub fn check_label_key(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what: "label key" });
    }
    check("label key", text, LABEL_TEXT_MAX, ".-/:@", true, LABEL_KEY_EXPECTED)
}

/// Checks a label value: 0 to [`LABEL_TEXT_MAX`] bytes. Unlike a name it may be empty, as in
/// Kubernetes.
pub fn check_label_value(text: &str) -> Result<(), NameError> {
    check("label value", text, LABEL_TEXT_MAX, ".-/:@+=~", false, LABEL_VALUE_EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "web-0", "t00_web.1", "0a:58", "_x", "a@b"] {
            assert_eq!(check_name("name", good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a/b", "a b", "ä", ".x", &"x".repeat(NAME_MAX + 1)] {
            assert!(check_name("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_says_where_and_what_is_allowed() {
        let error = check_name("port name", "web/0").unwrap_err().to_string();
        assert_eq!(
            error,
            "port name \"web/0\" has '/' at byte 3: letters, digits and . _ - : @ are allowed, \
             and the first must be a letter, a digit or _"
        );
    }
}
