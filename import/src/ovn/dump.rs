//! Tables as `ovsdb-client -f json dump` prints them: one JSON object after the other, each with a
//! caption, headings and rows.

use super::error::OvnError;
use super::value::{Atom, Datum, Uuid, shown};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most tables a dump may have. OVN has about 40.
const TABLES_MAX: usize = 1000;

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows: a value for each column.
    pub rows: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct DumpTable {
    caption: String,
    headings: Vec<String>,
    data: Vec<Vec<Value>>,
}

/// The tables of a dump.
pub fn parse_dump(bytes: &[u8]) -> Result<Vec<Table>, OvnError> {
    let mut tables: Vec<Table> = Vec::new();
    for table in serde_json::Deserializer::from_slice(bytes).into_iter::<DumpTable>() {
        let DumpTable { caption, headings, data } = table.map_err(|error| OvnError::Json {
            line: error.line(),
            column: error.column(),
            problem: error.to_string(),
        })?;
        let name = caption.strip_suffix(" table").unwrap_or(&caption).to_owned();
        let problem = |problem: String| OvnError::Table { table: name.clone(), problem };
        if tables.len() == TABLES_MAX {
            return Err(problem(format!("there are more than {TABLES_MAX} tables")));
        }
        if tables.iter().any(|table| table.name == name) {
            return Err(problem("it is there twice: give one dump at a time".to_owned()));
        }
        if let Some((n, row)) = data.iter().enumerate().find(|(_, r)| r.len() != headings.len()) {
            return Err(problem(format!(
                "row {} has {} values and there are {} columns",
                n + 1,
                row.len(),
                headings.len()
            )));
        }
        tables.push(Table { name, columns: headings, rows: data });
    }
    Ok(tables)
}

/// A table whose rows are about to be read.
pub(super) struct Reader<'a> {
    table: &'a Table,
    columns: BTreeMap<&'a str, usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'a Table) -> Reader<'a> {
        let columns = table.columns.iter().enumerate().map(|(n, name)| (name.as_str(), n));
        Reader { table, columns: columns.collect() }
    }

    /// Fails unless the table has these columns.
    pub(super) fn require(&self, columns: &[&str]) -> Result<(), OvnError> {
        match columns.iter().find(|column| !self.columns.contains_key(*column)) {
            None => Ok(()),
            Some(column) => Err(OvnError::Table {
                table: self.table.name.clone(),
                problem: format!("there is no column {column}: dump the whole table"),
            }),
        }
    }

    /// The rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.table.rows.iter().enumerate().map(|(n, values)| {
            let mut row = Row { reader: self, values, label: String::new() };
            row.label = row.find_label().unwrap_or_else(|| format!("number {}", n + 1));
            row
        })
    }
}

/// A row and typed access to its columns. A column that the schema of the database does not have
/// yet, or no more, is empty.
pub(super) struct Row<'a> {
    reader: &'a Reader<'a>,
    values: &'a [Value],
    /// The name of the row, or its UUID.
    pub(super) label: String,
}

impl<'a> Row<'a> {
    fn value(&self, column: &str) -> Option<&'a Value> {
        self.reader.columns.get(column).and_then(|n| self.values.get(*n))
    }

    fn find_label(&self) -> Option<String> {
        let name = self.value("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let uuid = || self.value("_uuid")?.get(1)?.as_str();
        name.or_else(uuid).map(str::to_owned)
    }

    /// An error about a column.
    pub(super) fn bad(&self, column: &str, problem: impl Into<String>) -> OvnError {
        OvnError::Row {
            table: self.reader.table.name.clone(),
            row: self.label.clone(),
            column: column.to_owned(),
            problem: problem.into(),
        }
    }

    fn datum(&self, column: &str) -> Result<Datum, OvnError> {
        match self.value(column) {
            None => Ok(Datum::Set(Vec::new())),
            Some(value) => Datum::from_json(value).map_err(|problem| self.bad(column, problem)),
        }
    }

    fn set(&self, column: &str) -> Result<Vec<Atom>, OvnError> {
        self.datum(column)?.into_set().map_err(|problem| self.bad(column, problem))
    }

    /// The one value of a column, if it has one.
    fn optional(&self, column: &str, expected: &str) -> Result<Option<Atom>, OvnError> {
        let mut set = self.set(column)?;
        match set.len() {
            0 | 1 => Ok(set.pop()),
            n => Err(self.bad(column, format!("there are {n} values: expected {expected}"))),
        }
    }

    fn mismatch(&self, column: &str, expected: &str) -> OvnError {
        let found = self.value(column).map_or_else(|| "nothing".to_owned(), shown);
        self.bad(column, format!("{found} is not {expected}"))
    }

    /// The row's own identity.
    pub(super) fn uuid(&self) -> Result<Uuid, OvnError> {
        match self.optional("_uuid", "one UUID")? {
            Some(Atom::Uuid(uuid)) => Ok(uuid),
            _ => Err(self.mismatch("_uuid", "a UUID")),
        }
    }

    /// References to other rows.
    pub(super) fn uuids(&self, column: &str) -> Result<Vec<Uuid>, OvnError> {
        let each = |atom| match atom {
            Atom::Uuid(uuid) => Ok(uuid),
            _ => Err(self.mismatch(column, "a set of UUIDs")),
        };
        self.set(column)?.into_iter().map(each).collect()
    }

    /// Texts.
    pub(super) fn texts(&self, column: &str) -> Result<Vec<String>, OvnError> {
        let each = |atom| match atom {
            Atom::Text(text) => Ok(text),
            _ => Err(self.mismatch(column, "a set of texts")),
        };
        self.set(column)?.into_iter().map(each).collect()
    }

    /// A text, if there is one.
    pub(super) fn optional_text(&self, column: &str) -> Result<Option<String>, OvnError> {
        match self.optional(column, "at most one text")? {
            None => Ok(None),
            Some(Atom::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.mismatch(column, "a text")),
        }
    }

    /// A text; empty if there is none.
    pub(super) fn text(&self, column: &str) -> Result<String, OvnError> {
        Ok(self.optional_text(column)?.unwrap_or_default())
    }

    /// A whole number; 0 if there is none.
    pub(super) fn integer(&self, column: &str) -> Result<i64, OvnError> {
        match self.optional(column, "at most one number")? {
            None => Ok(0),
            Some(Atom::Integer(number)) => Ok(number),
            Some(_) => Err(self.mismatch(column, "a whole number")),
        }
    }

    /// A flag, if there is one.
    pub(super) fn flag(&self, column: &str) -> Result<Option<bool>, OvnError> {
        match self.optional(column, "at most one boolean")? {
            None => Ok(None),
            Some(Atom::Boolean(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.mismatch(column, "true or false")),
        }
    }

    /// A map of texts.
    pub(super) fn map(&self, column: &str) -> Result<BTreeMap<String, String>, OvnError> {
        self.datum(column)?.into_text_map().map_err(|problem| self.bad(column, problem))
    }
}
