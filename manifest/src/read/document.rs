//! Documents: kind, metadata and spec.

use super::context::{Context, Fields};
use super::group::read_group;
use super::network::{read_host, read_port, read_router, read_switch};
use super::policy::read_policy;
use super::service::read_service;
use crate::tree::{Node, Value};
use spanwire_topology::model::{
    Kind, LABELS_MAX, Labels, Resource, Revision, SYSTEM_PROJECT, Spec, Text, check_label_key,
    check_label_value, quoted,
};

/// A document that could be read.
pub(crate) struct Found<'n> {
    /// The resource.
    pub(crate) resource: Resource,
    /// The revision at which the object is expected.
    pub(crate) expected_revision: Option<Revision>,
    /// Where the document stands.
    pub(crate) node: &'n Node,
}

/// What a document is called in a list of documents.
const LIST: &str = "List";

/// Reads a document, or a list of documents (`kind: List` with `items`, as kubectl has it).
pub(crate) fn read_document<'n>(
    context: &Context<'n>,
    default_project: &Text,
    found: &mut Vec<Found<'n>>,
) {
    let root = context.root;
    match list_items(root) {
        None => found.extend(read_one(context, root, default_project)),
        Some(items) => {
            let Some(mut fields) = context.fields(root, "a document") else { return };
            fields.optional("kind");
            fields.optional("items");
            fields.finish();
            for node in context.list(items, "documents") {
                found.extend(read_one(context, node, default_project));
            }
        }
    }
}

/// The items of a list of documents; `None` if the node is something else.
fn list_items(root: &Node) -> Option<&Node> {
    let Value::Map(entries) = &root.value else { return None };
    let get = |name: &str| entries.iter().find(|entry| &*entry.key == name);
    match &get("kind")?.value.value {
        Value::Scalar { text, .. } if &**text == LIST => get("items").map(|entry| &entry.value),
        _ => None,
    }
}

/// What comes from the metadata of a document.
struct Metadata {
    project: Text,
    name: Text,
    labels: Labels,
    expected_revision: Option<Revision>,
}

fn read_one<'n>(
    context: &Context<'_>,
    node: &'n Node,
    default_project: &Text,
) -> Option<Found<'n>> {
    let errors_before = context.errors.borrow().count();
    let mut fields = context.fields(node, "a document with kind, metadata and spec")?;
    let kind = fields.required("kind", "the kind of the object, such as LogicalPort");
    let kind = kind.and_then(|node| read_kind(context, node));
    let metadata =
        fields.required("metadata", "the name of the object, and its project and labels");
    let spec = fields.required("spec", "the body of the object, or {} if it is empty");
    fields.finish();
    let metadata = metadata.and_then(|node| read_metadata(context, node, kind, default_project));
    // The project of a document whose metadata is wrong serves only to find more errors.
    let project = metadata.as_ref().map_or(default_project, |metadata| &metadata.project);
    let spec = kind.zip(spec).and_then(|(kind, node)| read_spec(context, node, kind, project));
    let Metadata { project, name, labels, expected_revision } = metadata?;
    let resource = Resource::new(project, name, labels, spec?);
    // Parts that could not be read were left out above, so this is not what was written.
    let complete = context.errors.borrow().count() == errors_before;
    complete.then_some(Found { resource, expected_revision, node })
}

fn read_kind(context: &Context<'_>, node: &Node) -> Option<Kind> {
    let text = context.text(node, "a kind")?;
    match text.parse::<Kind>() {
        Ok(kind) if kind.as_str() == text => Some(kind),
        Ok(kind) => {
            let problem = format_args!("unknown kind {}: did you mean {kind}?", quoted(text));
            context.error(node, problem);
            None
        }
        Err(_) => {
            let names = Kind::ALL.iter().map(|kind| kind.as_str());
            let hint = super::context::did_you_mean(text, names);
            let problem = format_args!(
                "unknown kind {}: expected Host, LogicalSwitch, LogicalRouter, LogicalPort, \
                 Group, Service or SecurityPolicy{hint}",
                quoted(text)
            );
            context.error(node, problem);
            None
        }
    }
}

fn read_metadata(
    context: &Context<'_>,
    node: &Node,
    kind: Option<Kind>,
    default_project: &Text,
) -> Option<Metadata> {
    let mut fields = context.fields(node, "a mapping with name, project and labels")?;
    let name = fields.required("name", "the name of the object");
    let name = name.and_then(|node| context.name(node, "name"));
    let project = read_project(context, &mut fields, kind, default_project);
    let labels = fields.optional("labels").map(|node| read_labels(context, node));
    let expected_revision =
        fields.optional("revision").and_then(|node| context.number(node, Revision::MAX));
    fields.finish();
    Some(Metadata {
        project: project?,
        name: name?,
        labels: labels.unwrap_or_default(),
        expected_revision,
    })
}

fn read_project(
    context: &Context<'_>,
    fields: &mut Fields<'_, '_>,
    kind: Option<Kind>,
    default_project: &Text,
) -> Option<Text> {
    let node = fields.optional("project");
    let project = node.map(|node| context.name(node, "project"));
    let Some(kind) = kind.filter(|kind| kind.is_fleet_wide()) else {
        return project.unwrap_or_else(|| Some(default_project.clone()));
    };
    if let (Some(node), Some(Some(project))) = (node, &project)
        && &**project != SYSTEM_PROJECT
    {
        let problem = format_args!(
            "{}: a {kind} belongs to no project; leave the field out",
            quoted(project)
        );
        context.error(node, problem);
        return None;
    }
    Some(SYSTEM_PROJECT.into())
}

fn read_labels(context: &Context<'_>, node: &Node) -> Labels {
    let mut labels = Labels::new();
    let Value::Map(entries) = &node.value else {
        context.fields(node, "a mapping of label keys to values");
        return labels;
    };
    if entries.len() > LABELS_MAX {
        let problem = format_args!("{} labels: the most is {LABELS_MAX}", entries.len());
        context.error(node, problem);
        return labels;
    }
    for entry in entries {
        if let Err(error) = check_label_key(&entry.key) {
            context.key_error(entry, error);
            continue;
        }
        let value = read_label_value(context, &entry.value);
        if let Some(value) = value {
            labels.insert(Text::from(&*entry.key), value);
        }
    }
    labels
}

/// The value of a label, which may be empty but must be there.
pub(super) fn read_label_value(context: &Context<'_>, node: &Node) -> Option<Text> {
    let expected = "a label value; for an empty one write \"\"";
    context.parse(node, expected, |text| check_label_value(text).map(|()| Text::from(text)))
}

fn read_spec(context: &Context<'_>, node: &Node, kind: Kind, project: &Text) -> Option<Spec> {
    Some(match kind {
        Kind::Host => Spec::Host(read_host(context, node)?),
        Kind::LogicalSwitch => Spec::LogicalSwitch(read_switch(context, node)?),
        Kind::LogicalRouter => Spec::LogicalRouter(read_router(context, node, project)?),
        Kind::LogicalPort => Spec::LogicalPort(read_port(context, node, project)?),
        Kind::Group => Spec::Group(read_group(context, node, project)?),
        Kind::Service => Spec::Service(read_service(context, node)?),
        Kind::SecurityPolicy => Spec::SecurityPolicy(read_policy(context, node, project)?),
    })
}
