//! From bytes to objects: JSON or YAML, one document or several, alone or in lists.

use super::KubernetesError;
use serde_json::Value;

/// One object, and the file it is from.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) file: String,
    /// `kind`; for an object of a typed list that has none, that of the list's items.
    pub(super) kind: String,
    pub(super) value: Value,
}

/// Appends the objects of a file.
pub(super) fn items(
    file: &str,
    bytes: &[u8],
    items: &mut Vec<Item>,
) -> Result<(), KubernetesError> {
    let text = std::str::from_utf8(bytes).map_err(|error| KubernetesError::Encoding {
        file: file.to_owned(),
        at: error.valid_up_to(),
    })?;
    let documents = match text.trim_start().starts_with(['{', '[']) {
        true => json(file, text)?,
        false => yaml(file, text)?,
    };
    for (n, document) in documents.into_iter().enumerate() {
        take_document(file, n, document, items)?;
    }
    Ok(())
}

fn json(file: &str, text: &str) -> Result<Vec<Value>, KubernetesError> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    values
        .map(|value| {
            value.map_err(|error| KubernetesError::Json {
                file: file.to_owned(),
                line: error.line(),
                column: error.column(),
                problem: error.to_string(),
            })
        })
        .collect()
}

fn yaml(file: &str, text: &str) -> Result<Vec<Value>, KubernetesError> {
    // The size of the file is limited already, and aliases are limited by their own defaults.
    let most = text.len().max(1024);
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: most,
            max_nodes: most,
            max_documents: most,
            max_total_scalar_bytes: most,
            max_total_comment_bytes: most,
        },
        // YAML 1.2: a node may be called n. What kubectl prints has quotes where it matters.
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| KubernetesError::Yaml {
        file: file.to_owned(),
        problem: error.to_string(),
    })
}

fn take_document(
    file: &str,
    n: usize,
    document: Value,
    items: &mut Vec<Item>,
) -> Result<(), KubernetesError> {
    let bad = |problem: &str| KubernetesError::Object {
        file: file.to_owned(),
        object: format!("document {}", n + 1),
        field: "kind".to_owned(),
        problem: problem.to_owned(),
    };
    let Value::Object(mut fields) = document else {
        return Err(bad("it is no object: expected the output of kubectl get -o json or yaml"));
    };
    let kind = match fields.get("kind") {
        Some(Value::String(kind)) => kind.clone(),
        _ => return Err(bad("it is missing: expected the output of kubectl get -o json or yaml")),
    };
    let Some(item_kind) = kind.strip_suffix("List") else {
        items.push(Item { file: file.to_owned(), kind, value: Value::Object(fields) });
        return Ok(());
    };
    let listed = match fields.remove("items") {
        Some(Value::Array(listed)) => listed,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err(bad("a list whose items are no list")),
    };
    for value in listed {
        let kind = match value.get("kind") {
            Some(Value::String(kind)) => kind.clone(),
            _ if !item_kind.is_empty() => item_kind.to_owned(),
            _ => return Err(bad("an item of the list has none")),
        };
        items.push(Item { file: file.to_owned(), kind, value });
    }
    Ok(())
}
