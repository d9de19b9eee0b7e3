//! OVSDB values in JSON (RFC 7047, section 5.1).

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The identity of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub u128);

impl Uuid {
    /// Parses the usual form of 32 hexadecimal digits in five parts.
    pub fn parse(text: &str) -> Option<Uuid> {
        let parts: Vec<&str> = text.split('-').take(6).collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        let digits = parts.concat();
        if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(Uuid)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        f.write_str(&parts.join("-"))
    }
}

/// One value of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Atom {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// True or false.
    Boolean(bool),
    /// A reference to a row, or its own identity.
    Uuid(Uuid),
}

/// The content of a column: a set of atoms (a scalar is a set of one), or a map.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// A set.
    Set(Vec<Atom>),
    /// A map.
    Map(Vec<(Atom, Atom)>),
}

/// The most characters of a bad value that a message shows.
const SHOWN_MAX: usize = 60;

/// A value for a message, cut if it is long.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl Datum {
    /// A datum from its JSON. The error says what is wrong.
    pub fn from_json(value: &Value) -> Result<Datum, String> {
        let Value::Array(parts) = value else {
            return Ok(Datum::Set(vec![atom(value)?]));
        };
        match parts.as_slice() {
            [Value::String(tag), Value::Array(atoms)] if tag == "set" => {
                Ok(Datum::Set(atoms.iter().map(atom).collect::<Result<_, _>>()?))
            }
            [Value::String(tag), Value::Array(pairs)] if tag == "map" => {
                let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
                    Some([key, value]) => Ok((atom(key)?, atom(value)?)),
                    _ => Err(format!("{} is no pair of key and value", shown(pair))),
                };
                Ok(Datum::Map(pairs.iter().map(pair).collect::<Result<_, _>>()?))
            }
            _ => Ok(Datum::Set(vec![atom(value)?])),
        }
    }

    /// The datum as a map of texts.
    pub fn into_text_map(self) -> Result<BTreeMap<String, String>, String> {
        let pairs = match self {
            Datum::Map(pairs) => pairs,
            Datum::Set(atoms) if atoms.is_empty() => Vec::new(),
            Datum::Set(_) => return Err("expected [\"map\", [...]]".to_owned()),
        };
        pairs
            .into_iter()
            .map(|pair| match pair {
                (Atom::Text(key), Atom::Text(value)) => Ok((key, value)),
                (key, value) => Err(format!("expected a map of texts, not {key:?}: {value:?}")),
            })
            .collect()
    }

    /// The datum as a set.
    pub fn into_set(self) -> Result<Vec<Atom>, String> {
        match self {
            Datum::Set(atoms) => Ok(atoms),
            Datum::Map(_) => Err("expected a value or [\"set\", [...]], not a map".to_owned()),
        }
    }
}

fn atom(value: &Value) -> Result<Atom, String> {
    let bad = || {
        format!(
            "{} is no OVSDB value: expected a text, number, boolean or [\"uuid\", ...]",
            shown(value)
        )
    };
    match value {
        Value::String(text) => Ok(Atom::Text(text.clone())),
        Value::Bool(flag) => Ok(Atom::Boolean(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Ok(Atom::Integer(integer)),
            (None, Some(real)) => Ok(Atom::Real(real)),
            (None, None) => Err(bad()),
        },
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(tag), Value::String(text)] if tag == "uuid" => {
                Uuid::parse(text).map(Atom::Uuid).ok_or_else(|| format!("{text:?} is no UUID"))
            }
            _ => Err(bad()),
        },
        Value::Null | Value::Object(_) => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn values_are_read() {
        let uuid = "7143a7d3-c679-42dd-b933-b1425117eec0";
        let text = |text: &str| Atom::Text(text.to_owned());
        let cases = [
            (json!("a"), Datum::Set(vec![text("a")])),
            (json!(-3), Datum::Set(vec![Atom::Integer(-3)])),
            (json!(0.5), Datum::Set(vec![Atom::Real(0.5)])),
            (json!(true), Datum::Set(vec![Atom::Boolean(true)])),
            (json!(["uuid", uuid]), Datum::Set(vec![Atom::Uuid(Uuid::parse(uuid).unwrap())])),
            (json!(["set", []]), Datum::Set(vec![])),
            (json!(["set", ["a", "b"]]), Datum::Set(vec![text("a"), text("b")])),
            (json!(["map", []]), Datum::Map(vec![])),
            (json!(["map", [["k", "v"]]]), Datum::Map(vec![(text("k"), text("v"))])),
        ];
        for (value, expected) in cases {
            assert_eq!(Datum::from_json(&value), Ok(expected), "{value}");
        }
        assert_eq!(Uuid::parse(uuid).unwrap().to_string(), uuid);
    }

    #[test]
    fn bad_values_are_refused() {
        for value in [
            json!(null),
            json!({}),
            json!([]),
            json!(["uuid", "x"]),
            json!(["uuid", "7143a7d3-c679-42dd-b933-b1425117eec"]),
            json!(["uuid", "+143a7d3-c679-42dd-b933-b1425117eec0"]),
            json!(["set", [["set", []]]]),
            json!(["map", [["k"]]]),
            json!(["bag", []]),
        ] {
            assert!(Datum::from_json(&value).is_err(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn uuids_survive_printing(number: u128) {
            prop_assert_eq!(Uuid::parse(&Uuid(number).to_string()), Some(Uuid(number)));
        }

        #[test]
        fn any_text_is_a_uuid_or_not(text in "\\PC*") {
            let _ = Uuid::parse(&text);
        }
    }
}
