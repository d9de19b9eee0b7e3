//! Fields of an object, with their paths for messages.

use super::KubernetesError;
use serde_json::Value;
use std::collections::BTreeMap;

/// A value somewhere in an object.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    value: &'a Value,
    path: String,
    file: &'a str,
    object: &'a str,
}

impl<'a> Field<'a> {
    /// An object as a whole.
    pub(super) fn root(value: &'a Value, file: &'a str, object: &'a str) -> Field<'a> {
        Field { value, path: String::new(), file, object }
    }

    /// An error about this field.
    pub(super) fn bad(&self, problem: impl Into<String>) -> KubernetesError {
        KubernetesError::Object {
            file: self.file.to_owned(),
            object: self.object.to_owned(),
            field: if self.path.is_empty() { "the object".to_owned() } else { self.path.clone() },
            problem: problem.into(),
        }
    }

    fn is_not(&self, expected: &str) -> KubernetesError {
        const SHOWN_MAX: usize = 60;
        let text = self.value.to_string();
        let shown: String = text.chars().take(SHOWN_MAX).collect();
        let more = if shown.len() < text.len() { "..." } else { "" };
        self.bad(format!("{shown}{more} is not {expected}"))
    }

    /// A field of this object; `None` if it is missing or null. Fails if this is no object.
    pub(super) fn get(&self, name: &str) -> Result<Option<Field<'a>>, KubernetesError> {
        let Value::Object(fields) = self.value else { return Err(self.is_not("an object")) };
        Ok(fields.get(name).filter(|value| !value.is_null()).map(|value| {
            let path = match self.path.is_empty() {
                true => name.to_owned(),
                false => format!("{}.{name}", self.path),
            };
            Field { value, path, ..self.clone() }
        }))
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &str) -> Result<Field<'a>, KubernetesError> {
        self.get(name)?.ok_or_else(|| self.bad(format!("the field {name} is missing")))
    }

    /// The items of a list; none if it is missing.
    pub(super) fn list(&self, name: &str) -> Result<Vec<Field<'a>>, KubernetesError> {
        let Some(field) = self.get(name)? else { return Ok(Vec::new()) };
        let Value::Array(values) = field.value else { return Err(field.is_not("a list")) };
        let item =
            |(n, value)| Field { value, path: format!("{}[{n}]", field.path), ..self.clone() };
        Ok(values.iter().enumerate().map(item).collect())
    }

    /// This text.
    pub(super) fn text(&self) -> Result<&'a str, KubernetesError> {
        self.value.as_str().ok_or_else(|| self.is_not("a text"))
    }

    /// A text; `None` if it is missing or empty.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, KubernetesError> {
        match self.get(name)? {
            Some(field) => Ok(Some(field.text()?).filter(|text| !text.is_empty())),
            None => Ok(None),
        }
    }

    /// A flag; false if it is missing.
    pub(super) fn flag(&self, name: &str) -> Result<bool, KubernetesError> {
        match self.get(name)? {
            Some(field) => field.value.as_bool().ok_or_else(|| field.is_not("true or false")),
            None => Ok(false),
        }
    }

    /// This number, if it is one.
    pub(super) fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// This number, from 1 to 65535.
    pub(super) fn port_number(&self) -> Result<u16, KubernetesError> {
        let number = self.number().and_then(|number| u16::try_from(number).ok());
        number.filter(|port| *port > 0).ok_or_else(|| self.is_not("a port number from 1 to 65535"))
    }

    /// This text as something that is parsed.
    pub(super) fn parsed<T: std::str::FromStr>(&self, what: &str) -> Result<T, KubernetesError> {
        self.text()?.parse().map_err(|_| self.is_not(what))
    }

    /// A map of texts; empty if it is missing. Numbers and booleans, which YAML makes of texts
    /// without quotes, are refused as the API server does.
    pub(super) fn texts(&self, name: &str) -> Result<BTreeMap<String, String>, KubernetesError> {
        let Some(field) = self.get(name)? else { return Ok(BTreeMap::new()) };
        let Value::Object(entries) = field.value else { return Err(field.is_not("a map")) };
        let entry = |(key, value): (&String, &'a Value)| {
            let entry = Field { value, path: format!("{}[{key:?}]", field.path), ..self.clone() };
            Ok((key.clone(), entry.text()?.to_owned()))
        };
        entries.iter().map(entry).collect()
    }
}
