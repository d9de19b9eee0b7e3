//! From names to slots, and the order in which objects are listed.
//!
//! Names are kept by project: most lookups of one transaction are for a few projects, whose tables
//! are small and stay in the processor's caches, whatever the size of the network.

use super::ids::{Map, Slab};
use crate::model::{Kind, Text};
use std::collections::BTreeMap;
use std::ops::Bound;

super::ids::ids! {
    /// A project that has objects.
    ProjectId,
}

/// The names of one project.
#[derive(Debug)]
struct Project {
    name: Text,
    /// How many objects it has, of all kinds.
    objects: usize,
    slots: [BTreeMap<Text, u32>; Kind::ALL.len()],
}

/// The slot of each object in the slab of its kind, by project and name.
#[derive(Debug, Default)]
pub(super) struct Names {
    projects: Slab<ProjectId, Project>,
    by_name: Map<Text, ProjectId>,
    in_order: BTreeMap<Text, ProjectId>,
}

impl Names {
    /// The slot of an object.
    pub(super) fn get(&self, kind: Kind, project: &str, name: &str) -> Option<u32> {
        let project = &self.projects[*self.by_name.get(project)?];
        project.slots[kind as usize].get(name).copied()
    }

    /// Enters an object's name. Returns the one copy of its project's name that all objects share, and
    /// whether the name is new.
    pub(super) fn insert(
        &mut self,
        kind: Kind,
        project: &Text,
        name: &Text,
        slot: u32,
    ) -> (&Text, bool) {
        let id = match self.by_name.get(project) {
            Some(&id) => id,
            None => {
                let id = self.projects.insert(Project {
                    name: project.clone(),
                    objects: 0,
                    slots: Default::default(),
                });
                self.by_name.insert(project.clone(), id);
                self.in_order.insert(project.clone(), id);
                id
            }
        };
        let project = &mut self.projects[id];
        let is_new = project.slots[kind as usize].insert(name.clone(), slot).is_none();
        if is_new {
            project.objects += 1;
        }
        (&project.name, is_new)
    }

    /// The copy of a project's name that its objects share; the one given, if it has none yet.
    pub(super) fn share(&self, project: &Text) -> Text {
        let known = self.by_name.get(project).map(|&id| &self.projects[id].name);
        known.unwrap_or(project).clone()
    }

    /// Takes an object's name out, and with its last object its project.
    pub(super) fn remove(&mut self, kind: Kind, project: &str, name: &str) {
        let Some(&id) = self.by_name.get(project) else { return };
        let state = &mut self.projects[id];
        if state.slots[kind as usize].remove(name).is_some() {
            state.objects -= 1;
        }
        if state.objects == 0 {
            self.projects.remove(id);
            self.by_name.remove(project);
            self.in_order.remove(project);
        }
    }

    /// The slots of a kind, of one project or of all, sorted by project and name, starting after
    /// `after` (project, name) if that is given.
    pub(super) fn list<'a>(
        &'a self,
        kind: Kind,
        project: Option<&str>,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let first = match (project, after) {
            (Some(project), Some((after, _))) => Some(project.max(after)),
            (project, after) => project.or(after.map(|(after, _)| after)),
        };
        let start = first.map_or(Bound::Unbounded, Bound::Included);
        let end = project.map_or(Bound::Unbounded, Bound::Included);
        // A range that ends before it starts is no range: the last page lies behind the project.
        let none = matches!((first, project), (Some(first), Some(project)) if first > project);
        let projects =
            (!none).then(|| self.in_order.range::<str, _>((start, end))).into_iter().flatten();
        let after = after.map(|(project, name)| (Text::from(project), Text::from(name)));
        projects.flat_map(move |(name, &id)| {
            let start = match &after {
                Some((project, after)) if project == name => Bound::Excluded(&**after),
                _ => Bound::Unbounded,
            };
            self.projects[id].slots[kind as usize]
                .range::<str, _>((start, Bound::Unbounded))
                .map(|(_, &slot)| slot)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_names() -> Names {
        let mut names = Names::default();
        for (slot, (project, name)) in
            [("b", "x"), ("a", "y"), ("c", "x"), ("a", "x"), ("b", "z")].into_iter().enumerate()
        {
            names.insert(Kind::Group, &project.into(), &name.into(), slot as u32);
        }
        names.insert(Kind::Service, &"b".into(), &"x".into(), 9);
        names
    }

    #[test]
    fn lists_are_sorted_and_go_on_after_a_name() {
        let names = mk_names();
        let list = |project, after| names.list(Kind::Group, project, after).collect::<Vec<_>>();
        assert_eq!(list(None, None), [3, 1, 0, 4, 2]);
        assert_eq!(list(Some("b"), None), [0, 4]);
        assert_eq!(list(Some("b"), Some(("b", "x"))), [4]);
        assert_eq!(list(Some("b"), Some(("a", "x"))), [0, 4]);
        assert_eq!(list(Some("b"), Some(("c", "x"))), [0; 0]);
        assert_eq!(list(None, Some(("a", "xx"))), [1, 0, 4, 2]);
        assert_eq!(list(None, Some(("b", "z"))), [2]);
        assert_eq!(list(None, Some(("aa", ""))), [0, 4, 2]);
    }

    #[test]
    fn a_project_goes_with_its_last_object() {
        let mut names = mk_names();
        for name in ["x", "z"] {
            names.remove(Kind::Group, "b", name);
        }
        assert_eq!(names.get(Kind::Group, "b", "x"), None);
        assert_eq!(names.get(Kind::Service, "b", "x"), Some(9));
        names.remove(Kind::Service, "b", "x");
        names.remove(Kind::Service, "b", "x");
        assert_eq!(names.get(Kind::Service, "b", "x"), None);
        assert!(!names.by_name.contains_key("b") && !names.in_order.contains_key("b"));
        assert_eq!(names.get(Kind::Group, "a", "x"), Some(3));
    }
}
