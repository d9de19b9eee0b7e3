//! A selector whose requirements contradict each other: no port can ever have such labels.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::state::Engine;
use crate::model::{GroupTerm, ProjectScope, Requirement, Selector};

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.groups {
        let group = &engine.groups[id];
        for term in &group.spec().terms {
            let GroupTerm::Selector { selector, projects } = term else { continue };
            let problem = match projects {
                ProjectScope::Listed(list) if list.is_empty() => {
                    format!("selector {selector} looks at the ports of no project")
                }
                _ => match contradiction(selector) {
                    Some((one, two)) => format!(
                        "selector {selector} matches no labels: {} and {} exclude each other",
                        text(one),
                        text(two)
                    ),
                    None => continue,
                },
            };
            findings.push(about(
                group.object.resource.key(),
                "contradictory-selector",
                Severity::Error,
                problem,
                Vec::new(),
            ));
        }
    }
}

fn text(requirement: &Requirement) -> String {
    // A requirement on its own is always a valid selector: it stands in one.
    Selector::new(vec![requirement.clone()]).map_or_else(|_| String::new(), |s| s.to_string())
}

/// Two requirements that no value of a label meets.
fn contradiction(selector: &Selector) -> Option<(&Requirement, &Requirement)> {
    let list = selector.requirements();
    list.iter().enumerate().find_map(|(at, one)| {
        list[at + 1..]
            .iter()
            .find(|two| one.key() == two.key() && excludes(one, two))
            .map(|two| (one, two))
    })
}

fn excludes(one: &Requirement, two: &Requirement) -> bool {
    match (one, two) {
        (Requirement::In(_, a), Requirement::In(_, b)) => !a.iter().any(|value| b.contains(value)),
        (Requirement::In(_, values), Requirement::NotIn(_, not))
        | (Requirement::NotIn(_, not), Requirement::In(_, values)) => {
            values.iter().all(|value| not.contains(value))
        }
        (Requirement::DoesNotExist(_), Requirement::In(..) | Requirement::Exists(_))
        | (Requirement::In(..) | Requirement::Exists(_), Requirement::DoesNotExist(_)) => true,
        _ => false,
    }
}
