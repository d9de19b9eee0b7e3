//! How a port is in a group, or by what it is not.

use super::{DEPTH_MAX, Question, STEPS_MAX, names, step};
use crate::engine::api::ExplainStep;
use crate::engine::ids::{GroupId, PortId};
use crate::engine::state::{Engine, Term};
use crate::model::{GroupTerm, Labels, ObjectKey, ProjectScope, Requirement, Selector, Text};

impl Engine {
    pub(super) fn explain_membership(
        &self,
        question: &Question<'_>,
        port: PortId,
        member: &ObjectKey,
        steps: &mut Vec<ExplainStep>,
    ) {
        let (id, group) = (question.group, question.group_key);
        let condition = format!("{member} is a member of {group}");
        let mut objects = vec![group.clone()];
        if self.ports[port].groups.binary_search(&id).is_ok() {
            let mut path = Vec::new();
            self.membership_path(port, id, &mut path, &mut objects);
            steps.push(step(condition, true, path.join(", "), objects, 0));
            return;
        }
        let terms = self.groups[id].terms.len();
        let finding = match terms {
            0 => "the group has no terms, so it has no ports".to_owned(),
            1 => format!("its one term does not hold for {member}"),
            terms => format!("none of its {terms} terms holds for {member}"),
        };
        steps.push(step(condition, false, finding, objects, 0));
        let until = steps.len() + STEPS_MAX;
        self.explain_absence(port, id, 1, until, steps);
    }

    /// The terms by which a port is in a group, from the outside in.
    fn membership_path(
        &self,
        port: PortId,
        id: GroupId,
        path: &mut Vec<String>,
        objects: &mut Vec<ObjectKey>,
    ) {
        let groups = &self.ports[port].groups;
        let within = |group: &GroupId| groups.binary_search(group).is_ok();
        let group = self.key_of_group(id);
        for (at, term) in self.groups[id].terms.iter().enumerate() {
            let inner = match term {
                Term::Selector => match self.selector(id, at) {
                    Some((selector, projects)) if self.selects(id, selector, projects, port) => {
                        path.push(format!(
                            "its labels match the selector {} of {group}",
                            shown(selector)
                        ));
                        return;
                    }
                    _ => continue,
                },
                Term::Switch(switch) if self.ports[port].switch == *switch => {
                    let key = self.switches[*switch].object.resource.key();
                    path.push(format!("it is on {key}"));
                    objects.push(key);
                    return;
                }
                Term::Router(router)
                    if self.switches[self.ports[port].switch]
                        .routers
                        .binary_search(router)
                        .is_ok() =>
                {
                    let key = self.routers[*router].object.resource.key();
                    path.push(format!("it is on a switch of {key}"));
                    objects.push(key);
                    return;
                }
                Term::Port(named) if *named == port => {
                    path.push(format!("{group} names it"));
                    return;
                }
                Term::Group(inner) if within(inner) => *inner,
                Term::Intersection(list) if list.iter().all(within) => list[0],
                Term::Difference(of, minus) if within(of) && !minus.iter().any(within) => *of,
                _ => continue,
            };
            let key = self.key_of_group(inner);
            path.push(format!("{group} takes it from {key}"));
            objects.push(key);
            self.membership_path(port, inner, path, objects);
            return;
        }
    }

    fn selector(&self, id: GroupId, at: usize) -> Option<(&Selector, &ProjectScope)> {
        match self.groups[id].spec().terms.get(at)? {
            GroupTerm::Selector { selector, projects } => Some((selector, projects)),
            _ => None,
        }
    }

    fn selects(
        &self,
        id: GroupId,
        selector: &Selector,
        projects: &ProjectScope,
        port: PortId,
    ) -> bool {
        let own = &self.groups[id].object.resource.metadata.project;
        let metadata = &self.ports[port].object.resource.metadata;
        in_scope(projects, own, &metadata.project) && selector.matches(&metadata.labels)
    }

    /// What each term of a group asks for, and what of it a port does not meet.
    fn explain_absence(
        &self,
        port: PortId,
        id: GroupId,
        depth: u32,
        until: usize,
        steps: &mut Vec<ExplainStep>,
    ) {
        for at in 0..self.groups[id].terms.len() {
            if steps.len() >= until {
                return;
            }
            let (what, finding, objects, next) = self.failing_term(port, id, at);
            let condition = format!("term {} of {}: {what}", at + 1, self.key_of_group(id));
            steps.push(step(condition, false, finding, objects, depth));
            if let Some(next) = next.filter(|_| depth < DEPTH_MAX) {
                self.explain_absence(port, next, depth + 1, until, steps);
            }
        }
    }

    /// A term that does not hold: what it is, why it does not hold, the objects it names, and the
    /// group to look into for more.
    fn failing_term(
        &self,
        port: PortId,
        id: GroupId,
        at: usize,
    ) -> (String, String, Vec<ObjectKey>, Option<GroupId>) {
        let state = &self.ports[port];
        let groups = &state.groups;
        let within = |group: &GroupId| groups.binary_search(group).is_ok();
        let switch = || self.switches[state.switch].object.resource.key();
        match &self.groups[id].terms[at] {
            Term::Selector => {
                let (what, finding) = self.failing_selector(port, id, at);
                (what, finding, Vec::new(), None)
            }
            Term::Switch(wanted) => {
                let key = self.switches[*wanted].object.resource.key();
                (format!("the ports on {key}"), format!("it is on {}", switch()), vec![key], None)
            }
            Term::Router(wanted) => {
                let key = self.routers[*wanted].object.resource.key();
                let finding = format!("it is on {}, where {key} has no interface", switch());
                (format!("the ports on switches of {key}"), finding, vec![key], None)
            }
            Term::Port(named) => {
                let key = self.ports[*named].object.resource.key();
                (format!("{key} by name"), "it is another port".to_owned(), vec![key], None)
            }
            Term::Group(inner) => {
                let key = self.key_of_group(*inner);
                let finding = format!("it is not in {key}");
                (format!("the ports of {key}"), finding, vec![key], Some(*inner))
            }
            Term::Intersection(list) => {
                let all: Vec<ObjectKey> = list.iter().map(|&g| self.key_of_group(g)).collect();
                let missing: Vec<GroupId> =
                    list.iter().copied().filter(|group| !within(group)).collect();
                let keys: Vec<ObjectKey> = missing.iter().map(|&g| self.key_of_group(g)).collect();
                let finding = format!("it is not in {}", names(&keys));
                let what = format!("what {} have in common", names(&all));
                (what, finding, keys, missing.first().copied())
            }
            Term::Difference(of, minus) => {
                let key = self.key_of_group(*of);
                let less: Vec<ObjectKey> = minus.iter().map(|&g| self.key_of_group(g)).collect();
                let what = format!("the ports of {key} that are not in {}", names(&less));
                if !within(of) {
                    return (what, format!("it is not in {key}"), vec![key], Some(*of));
                }
                let taken: Vec<String> = minus
                    .iter()
                    .filter(|group| within(group))
                    .map(|&group| {
                        let mut path = Vec::new();
                        self.membership_path(port, group, &mut path, &mut Vec::new());
                        format!("{} takes it away: {}", self.key_of_group(group), path.join(", "))
                    })
                    .collect();
                (what, taken.join("; "), less, None)
            }
        }
    }

    fn failing_selector(&self, port: PortId, id: GroupId, at: usize) -> (String, String) {
        let Some((selector, projects)) = self.selector(id, at) else {
            return ("a selector".to_owned(), String::new());
        };
        let own = &self.groups[id].object.resource.metadata.project;
        let metadata = &self.ports[port].object.resource.metadata;
        let what = format!("the selector {}", shown(selector));
        if !in_scope(projects, own, &metadata.project) {
            let looked_at = match projects {
                ProjectScope::Own => format!("project {own}"),
                ProjectScope::All => "all projects".to_owned(),
                ProjectScope::Listed(list) if list.is_empty() => "no project".to_owned(),
                ProjectScope::Listed(list) => {
                    format!("project {}", list.iter().map(|p| &**p).collect::<Vec<_>>().join(", "))
                }
            };
            let finding =
                format!("it looks at {looked_at}, and the port is of project {}", metadata.project);
            return (what, finding);
        }
        let failing: Vec<String> = selector
            .requirements()
            .iter()
            .filter(|requirement| !requirement.matches(&metadata.labels))
            .map(|requirement| failing_requirement(requirement, &metadata.labels))
            .collect();
        (what, failing.join("; "))
    }
}

/// For messages: the empty selector matches all.
fn shown(selector: &Selector) -> String {
    match selector.requirements().is_empty() {
        true => "\"\" (everything)".to_owned(),
        false => selector.to_string(),
    }
}

fn failing_requirement(requirement: &Requirement, labels: &Labels) -> String {
    let key = requirement.key();
    let wanted = match requirement {
        Requirement::In(_, values) if values.len() == 1 => format!("be {:?}", values[0]),
        Requirement::In(_, values) => format!("be one of {}", quoted(values)),
        Requirement::NotIn(_, values) if values.len() == 1 => format!("not be {:?}", values[0]),
        Requirement::NotIn(_, values) => format!("be none of {}", quoted(values)),
        Requirement::Exists(_) => "be there".to_owned(),
        Requirement::DoesNotExist(_) => "not be there".to_owned(),
    };
    match labels.get(key) {
        Some(value) => format!("label {key} must {wanted}, and is {value:?}"),
        None => format!("label {key} must {wanted}, and the port has none"),
    }
}

fn quoted(values: &[Text]) -> String {
    values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ")
}

fn in_scope(projects: &ProjectScope, own: &Text, project: &Text) -> bool {
    match projects {
        ProjectScope::Own => own == project,
        ProjectScope::All => true,
        ProjectScope::Listed(list) => list.contains(project),
    }
}
