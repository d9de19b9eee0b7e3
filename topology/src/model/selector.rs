//! Label selectors, with the semantics of Kubernetes.

use super::name::{Labels, NameError, check_label_key, check_label_value};
use super::object::Text;
use std::fmt;
use std::str::FromStr;

/// One requirement on labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Requirement {
    /// The label is there and its value is one of these (sorted, not empty).
    In(Text, Vec<Text>),
    /// The label is missing, or its value is none of these (sorted, not empty).
    NotIn(Text, Vec<Text>),
    /// The label is there.
    Exists(Text),
    /// The label is missing.
    DoesNotExist(Text),
}

impl Requirement {
    /// The key it looks at.
    pub fn key(&self) -> &Text {
        match self {
            Requirement::In(key, _)
            | Requirement::NotIn(key, _)
            | Requirement::Exists(key)
            | Requirement::DoesNotExist(key) => key,
        }
    }

    /// True if the labels meet the requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key());
        match self {
            Requirement::In(_, values) => value.is_some_and(|value| values.contains(value)),
            Requirement::NotIn(_, values) => value.is_none_or(|value| !values.contains(value)),
            Requirement::Exists(_) => value.is_some(),
            Requirement::DoesNotExist(_) => value.is_none(),
        }
    }
}

/// A label selector: labels match if they meet every requirement. No requirement matches all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// Why a selector was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A key or value is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `In` or `NotIn` without values.
    #[error("{operator} on label {key:?} has no values: give at least one")]
    NoValues {
        /// The operator.
        operator: &'static str,
        /// The key.
        key: String,
    },
    /// A text that is not in the selector syntax.
    #[error(
        "selector {text:?}: {problem} at byte {at}; expected terms such as a=b, a!=b, a in (b,c), \
         a notin (b,c), a, !a, separated by commas"
    )]
    Syntax {
        /// The whole text.
        text: String,
        /// What is wrong.
        problem: &'static str,
        /// Where, in bytes from the start.
        at: usize,
    },
}

impl Selector {
    /// A selector from its requirements, which are checked, sorted and made unique.
    pub fn new(requirements: Vec<Requirement>) -> Result<Selector, SelectorError> {
        let mut requirements = requirements;
        for requirement in &mut requirements {
            check_label_key(requirement.key())?;
            let key = requirement.key().to_string();
            let (operator, values) = match requirement {
                Requirement::In(_, values) => ("In", values),
                Requirement::NotIn(_, values) => ("NotIn", values),
                Requirement::Exists(_) | Requirement::DoesNotExist(_) => continue,
            };
            if values.is_empty() {
                return Err(SelectorError::NoValues { operator, key });
            }
            for value in values.iter() {
                check_label_value(value)?;
            }
            values.sort_unstable();
            values.dedup();
        }
        requirements.sort_unstable();
        requirements.dedup();
        Ok(Selector { requirements })
    }

    /// A selector for one value of each of some labels.
    pub fn from_labels(labels: &Labels) -> Selector {
        let requirements =
            labels.iter().map(|(k, v)| Requirement::In(k.clone(), vec![v.clone()])).collect();
        Selector { requirements }
    }

    /// The requirements, sorted.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The requirements, to put equal texts in place of theirs.
    pub(super) fn requirements_mut(&mut self) -> &mut [Requirement] {
        &mut self.requirements
    }

    /// True if the labels meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, requirement) in self.requirements.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => {
                    write!(f, "{key}={}", values[0])?;
                }
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) if values.len() == 1 => {
                    write!(f, "{key}!={}", values[0])?;
                }
                Requirement::NotIn(key, values) => {
                    write!(f, "{key} notin ({})", values.join(","))?;
                }
                Requirement::Exists(key) => write!(f, "{key}")?,
                Requirement::DoesNotExist(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    /// Parses kubectl's syntax: `app=web,tier!=db,env in (prod,test),!legacy,owner`.
    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        parser.skip_space();
        while !parser.rest().is_empty() {
            requirements.push(parser.requirement()?);
            parser.skip_space();
            if parser.rest().is_empty() {
                break;
            }
            if !parser.take(",") {
                return Err(parser.error("unexpected text"));
            }
            parser.skip_space();
            if parser.rest().is_empty() {
                return Err(parser.error("a term is missing after the comma"));
            }
        }
        Selector::new(requirements)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, problem: &'static str) -> SelectorError {
        SelectorError::Syntax { text: self.text.to_owned(), problem, at: self.at }
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// A run of anything but the characters that have a meaning.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '=' | '!'))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.take("!") {
            self.skip_space();
            return Ok(Requirement::DoesNotExist(self.key()?));
        }
        let key = self.key()?;
        self.skip_space();
        if self.take("!=") {
            return Ok(Requirement::NotIn(key, vec![self.value()]));
        }
        if self.take("==") || self.take("=") {
            return Ok(Requirement::In(key, vec![self.value()]));
        }
        if self.rest().is_empty() || self.rest().starts_with(',') {
            return Ok(Requirement::Exists(key));
        }
        let before = self.at;
        match self.word() {
            "in" => Ok(Requirement::In(key, self.values()?)),
            "notin" => Ok(Requirement::NotIn(key, self.values()?)),
            _ => {
                self.at = before;
                Err(self.error("an operator is missing after the key"))
            }
        }
    }

    fn key(&mut self) -> Result<Text, SelectorError> {
        match self.word() {
            "" => Err(self.error("a key is missing")),
            key => Ok(key.into()),
        }
    }

    fn value(&mut self) -> Text {
        self.skip_space();
        self.word().into()
    }

    fn values(&mut self) -> Result<Vec<Text>, SelectorError> {
        self.skip_space();
        if !self.take("(") {
            return Err(self.error("( is missing"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value());
            self.skip_space();
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(self.error(", or ) is missing"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split_whitespace()
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap();
                (key.into(), value.into())
            })
            .collect()
    }

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let cases = [
            ("", "", true),
            ("", "a=b", true),
            ("a=b", "a=b c=d", true),
            ("a==b", "a=b", true),
            ("a=b", "a=c", false),
            ("a=b", "", false),
            ("a!=b", "", true),
            ("a!=b", "a=b", false),
            ("a!=b", "a=c", true),
            ("a in (b,c)", "a=c", true),
            ("a in (b, c)", "a=d", false),
            ("a notin (b,c)", "a=b", false),
            ("a notin (b,c)", "", true),
            ("a", "a=", true),
            ("a", "b=", false),
            ("!a", "b=", true),
            ("!a", "a=x", false),
            ("a=", "a=", true),
            ("a=b,c!=d", "a=b c=e", true),
            ("a=b,c!=d", "a=b c=d", false),
        ];
        for (selector, set, expected) in cases {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.matches(&labels(set)), expected, "{selector:?} on {set:?}");
            let again: Selector = parsed.to_string().parse().unwrap();
            assert_eq!(again, parsed, "{selector:?} does not survive printing");
        }
    }

    #[test]
    fn bad_selectors_say_where() {
        let cases = [
            ("a=b,", "a term is missing after the comma at byte 4"),
            ("a b", "an operator is missing after the key at byte 2"),
            ("a in b", "( is missing at byte 5"),
            ("a in (b", ", or ) is missing at byte 7"),
            ("=b", "a key is missing at byte 0"),
            ("a=b)", "unexpected text at byte 3"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error}");
        }
    }
}
