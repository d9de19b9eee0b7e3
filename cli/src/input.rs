//! Resources from files, directories and stdin.

use crate::failure::{Failure, FailureKind};
use spanwire_adminproto::{convert, wire};
use spanwire_manifest::{Document, FILE_BYTES_MAX, ManifestReader};
use spanwire_topology::model::DEFAULT_PROJECT;
use std::io::Read;
use std::path::Path;

/// Reads every document of the files, directories and `-` for stdin.
pub(crate) fn read_documents(
    files: &[String],
    project: Option<&str>,
) -> Result<Vec<Document>, Failure> {
    read_with(ManifestReader::new(project.unwrap_or(DEFAULT_PROJECT)), files)
}

/// The same of files that hold a whole state: it may be larger than one transaction.
pub(crate) fn read_state(
    files: &[String],
    project: Option<&str>,
) -> Result<Vec<Document>, Failure> {
    read_with(ManifestReader::new(project.unwrap_or(DEFAULT_PROJECT)).of_state(), files)
}

fn read_with(mut reader: ManifestReader, files: &[String]) -> Result<Vec<Document>, Failure> {
    let mut stdin_read = false;
    for file in files {
        if file == "-" {
            if stdin_read {
                return Err(Failure::new(FailureKind::Usage, "stdin is named twice: it ends once"));
            }
            stdin_read = true;
            reader.read_bytes("stdin", &stdin()?);
        } else {
            reader.read_path(Path::new(file));
        }
    }
    reader.finish().map_err(|errors| {
        let mut lines: Vec<String> = errors.errors().iter().map(ToString::to_string).collect();
        if errors.omitted() > 0 {
            lines.push(format!("and {} more", errors.omitted()));
        }
        match lines.as_slice() {
            [line] => Failure::refused(line.clone()),
            lines => Failure::refused(format!("{} errors\n  {}", lines.len(), lines.join("\n  "))),
        }
    })
}

/// The documents as items of a request.
pub(crate) fn to_items(documents: Vec<Document>) -> Vec<wire::apply_request::Item> {
    convert::from_puts(
        documents.into_iter().map(|document| (document.resource, document.expected_revision)),
    )
}

/// All of stdin, and no more than one byte beyond the limit.
pub(crate) fn stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::caused("stdin cannot be read", &error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_told_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        std::fs::write(
            &path,
            "kind: Hots\n---\nkind: Host\nmetadata: {name: h}\nspec: {vtpe: 1}\n",
        )
        .unwrap();
        let files = [path.display().to_string()];
        let text = read_documents(&files, None).unwrap_err().to_text();
        assert!(text.contains("a.yaml:1"), "{text}");
        assert!(text.contains("Hots") && text.contains("vtpe"), "{text}");
        let missing = [directory.path().join("b.yaml").display().to_string()];
        assert!(read_documents(&missing, None).unwrap_err().to_text().contains("b.yaml"));
    }
}
