//! Where translators put what they make.

use crate::names::Names;
use crate::report::{Import, Note, Unsupported};
use spanwire_topology::model::{Kind, Labels, Resource, Spec, Text};

/// An import in the making.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The names that are taken.
    pub(crate) names: Names,
    import: Import,
}

impl Output {
    /// Adds a resource under a name that was taken from [`Output::names`].
    pub(crate) fn resource(&mut self, project: &Text, name: &Text, labels: Labels, spec: Spec) {
        self.import.resources.push(Resource::new(project.clone(), name.clone(), labels, spec));
    }

    /// Takes a name, and says so if it is not the one that was wanted.
    pub(crate) fn take_name(
        &mut self,
        kind: Kind,
        project: &Text,
        wanted: &str,
        table: &str,
    ) -> Text {
        let name = self.names.take(kind, project, wanted);
        if &*name != wanted {
            self.note(table, wanted, format!("is {} {project}/{name} here", kind.short()));
        }
        name
    }

    /// Lists something that is not carried over.
    pub(crate) fn unsupported(
        &mut self,
        kind: &str,
        row: &str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.import.unsupported.push(Unsupported {
            kind: kind.to_owned(),
            row: row.to_owned(),
            what: what.into(),
            why: why.into(),
        });
    }

    /// Notes a decision.
    pub(crate) fn note(&mut self, kind: &str, row: &str, text: impl Into<String>) {
        self.import.notes.push(Note {
            kind: kind.to_owned(),
            row: row.to_owned(),
            text: text.into(),
        });
    }

    /// The import, sorted.
    pub(crate) fn finish(self) -> Import {
        let mut import = self.import;
        import.resources.sort_by(|a, b| {
            let key =
                |r: &Resource| (r.spec.kind(), r.metadata.project.clone(), r.metadata.name.clone());
            key(a).cmp(&key(b))
        });
        import.unsupported.sort();
        import.unsupported.dedup();
        import.notes.sort();
        import.notes.dedup();
        import
    }
}
