//! From rows to resources.

mod acls;
mod addresses;
mod applied;
mod groups;
mod layout;
mod leftovers;
mod peers;
mod policies;
mod ports;
mod routers;
mod routes;
mod services;
mod switches;

use super::error::OvnError;
use super::tables::{Northbound, TextMap};
use super::{OvnOptions, ProjectRule};
use crate::Import;
use crate::names::to_name;
use crate::output::Output;
use layout::Layout;
use spanwire_topology::model::{ObjectRef, Text, check_name};

/// What every step of the translation needs.
struct Context<'a> {
    nb: &'a Northbound,
    options: &'a OvnOptions,
    layout: Layout,
    out: Output,
}

/// Everything that a northbound database comes to.
pub(super) fn translate(nb: &Northbound, options: &OvnOptions) -> Result<Import, OvnError> {
    check_name("project", &options.project)?;
    let layout = Layout::new(nb)?;
    let mut context = Context { nb, options, layout, out: Output::default() };
    leftovers::list(&mut context);
    let switches = switches::translate(&mut context)?;
    let ports = ports::translate(&mut context, &switches)?;
    routers::translate(&mut context, &switches);
    let groups = groups::translate(&mut context, &ports)?;
    acls::translate(&mut context, &switches, &ports, groups);
    Ok(context.out.finish())
}

/// An error about a row that was read already.
fn row_error(table: &str, row: &str, column: &str, problem: impl Into<String>) -> OvnError {
    OvnError::Row {
        table: table.to_owned(),
        row: row.to_owned(),
        column: column.to_owned(),
        problem: problem.into(),
    }
}

impl Context<'_> {
    /// The project that the identifiers of a row name, if they do.
    fn named_project(&self, external_ids: &TextMap) -> Option<Text> {
        match &self.options.project_rule {
            ProjectRule::Single => None,
            ProjectRule::ExternalId(key) => {
                external_ids.get(key).map(|project| to_name(project).into())
            }
        }
    }

    /// The project of a row: what it names itself; else what all its members agree on; else the
    /// default.
    fn project(&self, external_ids: &TextMap, mut members: impl Iterator<Item = Text>) -> Text {
        if let Some(named) = self.named_project(external_ids) {
            return named;
        }
        match members.next() {
            Some(first) if members.all(|member| member == first) => first,
            _ => self.default_project(),
        }
    }

    fn default_project(&self) -> Text {
        self.options.project.as_str().into()
    }

    /// The project of a switch port.
    fn port_project(&self, row: usize) -> Text {
        let named = self.named_project(&self.nb.switch_ports[row].external_ids);
        named.unwrap_or_else(|| self.default_project())
    }
}

/// The switches that became resources; `None` for those that only join routers.
type Switches = Vec<Option<ObjectRef>>;

/// Some words of a list, and how many more there are.
fn some_of(words: &[String]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown = words[..words.len().min(SHOWN_MAX)].join(", ");
    match words.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
