//! Groups and selectors.

use super::error::{ConvertError, Path, Problem};
use super::fields::{Referrer, from_all, from_ref, from_refs, to_cidr, to_list, to_name};
use crate::wire;
use crate::wire::group_term::Term;
use crate::wire::label_requirement::Operator;
use spanwire_topology::model::{
    CidrBlock, GroupSpec, GroupTerm, ProjectScope, Requirement, Selector, Text,
};

type Result<T> = std::result::Result<T, ConvertError>;

pub(super) fn to_group(
    spec: &wire::GroupSpec,
    referrer: Referrer<'_>,
    path: &Path<'_>,
) -> Result<GroupSpec> {
    let wire::GroupSpec { terms, blocks } = spec;
    Ok(GroupSpec {
        terms: to_list(terms, &path.field("terms"), |term, path| to_term(term, referrer, path))?,
        blocks: to_list(blocks, &path.field("blocks"), to_block)?,
    })
}

pub(super) fn from_group(spec: &GroupSpec) -> wire::GroupSpec {
    let GroupSpec { terms, blocks } = spec;
    wire::GroupSpec {
        terms: terms.iter().filter_map(from_term).collect(),
        blocks: blocks.iter().map(from_block).collect(),
    }
}

fn to_term(term: &wire::GroupTerm, referrer: Referrer<'_>, path: &Path<'_>) -> Result<GroupTerm> {
    let wire::GroupTerm { term } = term;
    let Some(term) = term else {
        return Err(
            path.missing("a selector, switch, router, port, group, intersection or difference")
        );
    };
    Ok(match term {
        Term::Selector(term) => to_selector_term(term, &path.field("selector"))?,
        Term::Switch(switch) => GroupTerm::Switch(referrer.to_ref(switch, &path.field("switch"))?),
        Term::Router(router) => GroupTerm::Router(referrer.to_ref(router, &path.field("router"))?),
        Term::Port(port) => GroupTerm::Port(referrer.to_ref(port, &path.field("port"))?),
        Term::Group(group) => GroupTerm::Group(referrer.to_ref(group, &path.field("group"))?),
        Term::Intersection(wire::GroupIntersection { groups }) => {
            let path = path.field("intersection");
            let path = path.field("groups");
            if groups.is_empty() {
                return Err(path
                    .missing("at least one group: the intersection of none would be everything"));
            }
            GroupTerm::Intersection(referrer.to_refs(groups, &path)?)
        }
        Term::Difference(wire::GroupDifference { of, minus }) => {
            let path = path.field("difference");
            let expected = "the group to take from";
            GroupTerm::Difference {
                of: referrer.to_required_ref(of.as_ref(), expected, &path.field("of"))?,
                minus: referrer.to_refs(minus, &path.field("minus"))?,
            }
        }
    })
}

/// `None` for a selector over no project at all: it selects nothing and adds nothing to the union,
/// and on the wire an empty list of projects means the group's own.
fn from_term(term: &GroupTerm) -> Option<wire::GroupTerm> {
    let term = match term {
        GroupTerm::Selector { selector, projects } => {
            let (all_projects, projects) = match projects {
                ProjectScope::Own => (false, Vec::new()),
                ProjectScope::All => (true, Vec::new()),
                ProjectScope::Listed(projects) if projects.is_empty() => return None,
                ProjectScope::Listed(projects) => (false, from_all(projects)),
            };
            Term::Selector(wire::SelectorTerm {
                selector: Some(from_selector(selector)),
                all_projects,
                projects,
            })
        }
        GroupTerm::Switch(switch) => Term::Switch(from_ref(switch)),
        GroupTerm::Router(router) => Term::Router(from_ref(router)),
        GroupTerm::Port(port) => Term::Port(from_ref(port)),
        GroupTerm::Group(group) => Term::Group(from_ref(group)),
        GroupTerm::Intersection(groups) => {
            Term::Intersection(wire::GroupIntersection { groups: from_refs(groups) })
        }
        GroupTerm::Difference { of, minus } => Term::Difference(wire::GroupDifference {
            of: Some(from_ref(of)),
            minus: from_refs(minus),
        }),
    };
    Some(wire::GroupTerm { term: Some(term) })
}

fn to_selector_term(term: &wire::SelectorTerm, path: &Path<'_>) -> Result<GroupTerm> {
    let wire::SelectorTerm { selector, all_projects, projects } = term;
    // An absent selector is refused and not read as the empty one, which selects every port.
    let Some(selector) = selector else {
        return Err(path.field("selector").missing("a selector; an empty one selects every port"));
    };
    let listed = path.field("projects");
    let projects = match (all_projects, projects.is_empty()) {
        (false, true) => ProjectScope::Own,
        (true, true) => ProjectScope::All,
        (true, false) => {
            return Err(listed.error(Problem::Contradiction(
                "all_projects is set, and projects are listed: keep one of the two",
            )));
        }
        (false, false) => {
            let projects =
                to_list(projects, &listed, |project, path| to_name("project", project, path))?;
            ProjectScope::Listed(projects.into_iter().collect())
        }
    };
    Ok(GroupTerm::Selector { selector: to_selector(selector, &path.field("selector"))?, projects })
}

fn to_selector(selector: &wire::LabelSelector, path: &Path<'_>) -> Result<Selector> {
    let wire::LabelSelector { requirements } = selector;
    let path = path.field("requirements");
    let requirements = to_list(requirements, &path, to_requirement)?;
    Selector::new(requirements).map_err(|error| path.error(error))
}

fn to_requirement(requirement: &wire::LabelRequirement, path: &Path<'_>) -> Result<Requirement> {
    let wire::LabelRequirement { key, operator: number, values } = requirement;
    let key: Text = key.as_str().into();
    let texts = || values.iter().map(|value| value.as_str().into()).collect();
    let without_values = |requirement| {
        if values.is_empty() {
            return Ok(requirement);
        }
        Err(path.field("values").error(Problem::Contradiction(
            "EXISTS and DOES_NOT_EXIST look at no value: leave the values out",
        )))
    };
    match Operator::try_from(*number) {
        Ok(Operator::In) => Ok(Requirement::In(key, texts())),
        Ok(Operator::NotIn) => Ok(Requirement::NotIn(key, texts())),
        Ok(Operator::Exists) => without_values(Requirement::Exists(key)),
        Ok(Operator::DoesNotExist) => without_values(Requirement::DoesNotExist(key)),
        Ok(Operator::Unspecified) | Err(_) => {
            Err(path.field("operator").error(Problem::UnknownEnum {
                number: *number,
                expected: "IN, NOT_IN, EXISTS or DOES_NOT_EXIST",
            }))
        }
    }
}

fn from_selector(selector: &Selector) -> wire::LabelSelector {
    let requirements = selector
        .requirements()
        .iter()
        .map(|requirement| {
            let (key, operator, values) = match requirement {
                Requirement::In(key, values) => (key, Operator::In, values.as_slice()),
                Requirement::NotIn(key, values) => (key, Operator::NotIn, values.as_slice()),
                Requirement::Exists(key) => (key, Operator::Exists, [].as_slice()),
                Requirement::DoesNotExist(key) => (key, Operator::DoesNotExist, [].as_slice()),
            };
            wire::LabelRequirement {
                key: key.to_string(),
                operator: operator.into(),
                values: from_all(values),
            }
        })
        .collect();
    wire::LabelSelector { requirements }
}

fn to_block(block: &wire::CidrBlock, path: &Path<'_>) -> Result<CidrBlock> {
    let wire::CidrBlock { cidr, except } = block;
    let cidr = to_cidr(cidr, &path.field("cidr"))?;
    let except_path = path.field("except");
    let except = to_list(except, &except_path, to_cidr)?;
    CidrBlock::new(cidr, except).map_err(|error| except_path.error(error))
}

fn from_block(block: &CidrBlock) -> wire::CidrBlock {
    wire::CidrBlock { cidr: block.cidr().to_string(), except: from_all(block.except()) }
}
