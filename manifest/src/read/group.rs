//! Groups and selectors.
//!
//! A group can be written with one field for each sort of term, which stand for their union in the
//! order of [`read_friendly`], or with the list `terms`, which keeps any order.

use super::context::{Context, Fields, found};
use super::document::read_label_value;
use crate::tree::{Entry, Node, Value};
use spanwire_topology::model::{
    CidrBlock, GroupSpec, GroupTerm, ProjectScope, Requirement, Selector, Text, check_label_key,
    parse_cidr,
};
use std::collections::BTreeSet;

/// Stands for every project.
pub(crate) const ALL_PROJECTS: &str = "*";

const GROUP: &str = "a mapping with selector, switches, routers, ports, groups or cidrs";

pub(super) fn read_group(context: &Context<'_>, node: &Node, project: &Text) -> Option<GroupSpec> {
    let mut fields = context.fields(node, GROUP)?;
    let friendly = read_friendly(context, &mut fields, project);
    let general = fields.has("terms");
    let terms = fields.list("terms", "terms", |node| read_term(context, node, project));
    let blocks = fields.list("cidrs", "CIDRs", |node| read_block(context, node));
    if general && !friendly.is_empty() {
        let problem = "stands beside other fields of the group: write all of it as terms, or none";
        fields.error("terms", problem);
    }
    fields.finish();
    Some(GroupSpec { terms: if general { terms } else { friendly }, blocks })
}

/// The terms that stand in fields of their own, in the order in which a group has them.
fn read_friendly(
    context: &Context<'_>,
    fields: &mut Fields<'_, '_>,
    project: &Text,
) -> Vec<GroupTerm> {
    let reference = |what| move |node: &Node| context.reference(node, project, what);
    let mut terms = Vec::new();
    terms.extend(read_selector_term(context, fields));
    terms.extend(fields.list("selectors", "selectors", |node| {
        let mut fields = context.fields(node, "a mapping with selector and projects")?;
        fields.required("selector", "a selector; {} selects every port")?;
        let term = read_selector_term(context, &mut fields);
        fields.finish();
        term
    }));
    let switches = fields.list("switches", "switches", reference("switch"));
    terms.extend(switches.into_iter().map(GroupTerm::Switch));
    let routers = fields.list("routers", "routers", reference("router"));
    terms.extend(routers.into_iter().map(GroupTerm::Router));
    let ports = fields.list("ports", "ports", reference("port"));
    terms.extend(ports.into_iter().map(GroupTerm::Port));
    let groups = fields.list("groups", "groups", reference("group"));
    terms.extend(groups.into_iter().map(GroupTerm::Group));
    terms.extend(
        fields.optional("intersection").and_then(|node| read_intersection(context, node, project)),
    );
    terms.extend(
        fields.optional("difference").and_then(|node| read_difference(context, node, project)),
    );
    terms
}

fn read_term(context: &Context<'_>, node: &Node, project: &Text) -> Option<GroupTerm> {
    const TERM: &str = "one of selector, switch, router, port, group, intersection or difference";
    let mut fields = context.fields(node, &format!("a mapping with {TERM}"))?;
    let mut found = Vec::new();
    found.extend(read_selector_term(context, &mut fields));
    let mut reference = |name, what, term: fn(_) -> GroupTerm| {
        let node = fields.optional(name)?;
        context.reference(node, project, what).map(term)
    };
    found.extend(reference("switch", "switch", GroupTerm::Switch));
    found.extend(reference("router", "router", GroupTerm::Router));
    found.extend(reference("port", "port", GroupTerm::Port));
    found.extend(reference("group", "group", GroupTerm::Group));
    let intersection = fields.optional("intersection");
    found.extend(intersection.and_then(|node| read_intersection(context, node, project)));
    let difference = fields.optional("difference");
    found.extend(difference.and_then(|node| read_difference(context, node, project)));
    let count = TERM_FIELDS.iter().filter(|name| fields.has(name)).count();
    fields.finish();
    if count != 1 {
        context.error(node, format_args!("{count} terms in one entry: expected {TERM}"));
        return None;
    }
    found.pop()
}

const TERM_FIELDS: [&str; 7] =
    ["selector", "switch", "router", "port", "group", "intersection", "difference"];

/// `selector`, with `projects` beside it.
fn read_selector_term(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<GroupTerm> {
    let selector = fields.optional("selector").and_then(|node| read_selector(context, node));
    let projects = match fields.optional("projects") {
        Some(node) => read_projects(context, node)?,
        None => ProjectScope::Own,
    };
    if fields.has("projects") && !fields.has("selector") {
        fields
            .error("projects", "stands without a selector: expected the field selector beside it");
        return None;
    }
    Some(GroupTerm::Selector { selector: selector?, projects })
}

fn read_projects(context: &Context<'_>, node: &Node) -> Option<ProjectScope> {
    let list = match &node.value {
        Value::Scalar { text, .. } if &**text == ALL_PROJECTS => return Some(ProjectScope::All),
        Value::List(list) => list,
        _ => {
            let problem = format_args!(
                "expected a list of projects, or \"*\" for all of them, found {}",
                found(node)
            );
            context.error(node, problem);
            return None;
        }
    };
    if list.is_empty() {
        let problem = "names no project: name one, or leave the field out for the group's own";
        context.error(node, problem);
        return None;
    }
    let projects: BTreeSet<Text> =
        list.iter().filter_map(|node| context.name(node, "project")).collect();
    Some(ProjectScope::Listed(projects))
}

/// A selector as kubectl writes it, or `{matchLabels, matchExpressions}`.
fn read_selector(context: &Context<'_>, node: &Node) -> Option<Selector> {
    if let Value::Scalar { .. } = &node.value {
        return context.parse(node, "a selector", str::parse);
    }
    let mut fields = context.fields(
        node,
        "a selector such as \"app=web,tier in (a,b)\", or a mapping with matchLabels and \
         matchExpressions",
    )?;
    let mut requirements = Vec::new();
    if let Some(labels) = fields.optional("matchLabels") {
        requirements.extend(read_match_labels(context, labels));
    }
    requirements.extend(
        fields.list("matchExpressions", "requirements", |node| read_requirement(context, node)),
    );
    fields.finish();
    Selector::new(requirements).map_err(|error| context.error(node, error)).ok()
}

fn read_match_labels(context: &Context<'_>, node: &Node) -> Vec<Requirement> {
    let Value::Map(entries) = &node.value else {
        context.fields(node, "a mapping of label keys to values");
        return Vec::new();
    };
    let requirement = |entry: &Entry| {
        if let Err(error) = check_label_key(&entry.key) {
            context.key_error(entry, error);
            return None;
        }
        let value = read_label_value(context, &entry.value)?;
        Some(Requirement::In(Text::from(&*entry.key), vec![value]))
    };
    entries.iter().filter_map(requirement).collect()
}

#[derive(Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

const OPERATORS: [(&str, Operator); 4] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

fn read_requirement(context: &Context<'_>, node: &Node) -> Option<Requirement> {
    const EXPECTED: &str = "In, NotIn, Exists or DoesNotExist";
    let mut fields = context.fields(node, "a mapping with key, operator and values")?;
    let key = fields.required("key", "the key of a label");
    let key = key.and_then(|node| {
        context.parse(node, "the key of a label", |text| {
            check_label_key(text).map(|()| Text::from(text))
        })
    });
    let operator = fields.required("operator", EXPECTED);
    let operator = operator.and_then(|node| context.word(node, &OPERATORS, EXPECTED));
    let values: Vec<Text> =
        fields.list("values", "label values", |node| read_label_value(context, node));
    let valueless = matches!(operator, Some(Operator::Exists | Operator::DoesNotExist));
    if valueless && !values.is_empty() {
        fields.error("values", "Exists and DoesNotExist look at no value: leave the field out");
    }
    fields.finish();
    let key = key?;
    Some(match operator? {
        Operator::In => Requirement::In(key, values),
        Operator::NotIn => Requirement::NotIn(key, values),
        Operator::Exists => Requirement::Exists(key),
        Operator::DoesNotExist => Requirement::DoesNotExist(key),
    })
}

fn read_intersection(context: &Context<'_>, node: &Node, project: &Text) -> Option<GroupTerm> {
    let list = match &node.value {
        Value::List(list) => list,
        _ => {
            context.list(node, "groups");
            return None;
        }
    };
    if list.is_empty() {
        let problem =
            "names no group: expected at least one, as the intersection of none is everything";
        context.error(node, problem);
        return None;
    }
    let groups = list.iter().filter_map(|node| context.reference(node, project, "group"));
    Some(GroupTerm::Intersection(groups.collect()))
}

fn read_difference(context: &Context<'_>, node: &Node, project: &Text) -> Option<GroupTerm> {
    let mut fields = context.fields(node, "a mapping with of and minus")?;
    let of = fields.required("of", "the group to take from");
    let of = of.and_then(|node| context.reference(node, project, "group"));
    let minus = fields.list("minus", "groups", |node| context.reference(node, project, "group"));
    fields.finish();
    Some(GroupTerm::Difference { of: of?, minus })
}

/// A CIDR, or `{cidr, except}`.
fn read_block(context: &Context<'_>, node: &Node) -> Option<CidrBlock> {
    let (cidr, except) = match &node.value {
        Value::Map(_) => {
            let mut fields = context.fields(node, "a mapping with cidr and except")?;
            let cidr = fields.required("cidr", "a CIDR such as 10.0.0.0/8");
            let cidr = cidr.and_then(|node| context.parse(node, "a CIDR", parse_cidr));
            let except =
                fields.list("except", "CIDRs", |node| context.parse(node, "a CIDR", parse_cidr));
            fields.finish();
            (cidr?, except)
        }
        _ => {
            (context.parse(node, "a CIDR, or a mapping with cidr and except", parse_cidr)?, vec![])
        }
    };
    CidrBlock::new(cidr, except).map_err(|error| context.error(node, error)).ok()
}
