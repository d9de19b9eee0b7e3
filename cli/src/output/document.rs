//! Resources as documents: what `apply` takes again.

use crate::verbs::get::Stored;
use serde_json::{Value, json};
use spanwire_manifest::{to_json_value, to_json_value_at, write_yaml, write_yaml_at};
use spanwire_topology::Resource;

/// One YAML document each.
pub(crate) fn to_yaml<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> String {
    join(resources.into_iter().map(write_yaml))
}

/// The same with the revision of each object: applying them is refused if one has changed since.
pub(crate) fn to_yaml_at<'a>(stored: impl IntoIterator<Item = &'a Stored>) -> String {
    join(stored.into_iter().map(|one| write_yaml_at(&one.resource, one.status.revision)))
}

fn join(documents: impl Iterator<Item = String>) -> String {
    documents.collect::<Vec<_>>().join("---\n")
}

/// A `List` of JSON documents.
pub(crate) fn to_json_list<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Value {
    list(resources.into_iter().map(to_json_value).collect())
}

/// The same with the revision of each object.
pub(crate) fn to_json_list_at<'a>(stored: impl IntoIterator<Item = &'a Stored>) -> Value {
    list(
        stored
            .into_iter()
            .map(|one| to_json_value_at(&one.resource, one.status.revision))
            .collect(),
    )
}

fn list(items: Vec<Value>) -> Value {
    json!({ "kind": "List", "items": items })
}
