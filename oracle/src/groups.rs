//! What is in a group, by going through every port.

use crate::Resources;
use spanwire_topology::model::{
    AddressBlocks, GroupTerm, LogicalPortSpec, ObjectRef, ProjectScope, Selector,
};
use spanwire_topology::{Kind, ObjectKey, Resource, Spec};
use std::collections::{BTreeMap, BTreeSet};

/// What is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Content {
    /// Its ports, bound to a host or not.
    pub(crate) ports: BTreeSet<ObjectKey>,
    /// Its CIDR blocks.
    pub(crate) blocks: AddressBlocks,
}

impl Content {
    fn union(mut self, other: &Content) -> Content {
        self.ports.extend(other.ports.iter().cloned());
        self.blocks = self.blocks.union(&other.blocks);
        self
    }

    fn intersection(mut self, other: &Content) -> Content {
        self.ports.retain(|port| other.ports.contains(port));
        self.blocks = self.blocks.intersection(&other.blocks);
        self
    }

    fn difference(mut self, other: &Content) -> Content {
        self.ports.retain(|port| !other.ports.contains(port));
        self.blocks = self.blocks.difference(&other.blocks);
        self
    }
}

/// The content of every group. A group that contains itself, or one that does not exist, counts
/// as empty where it is met again: such resources are refused, and must only not hang this.
pub(crate) fn contents(resources: &Resources) -> BTreeMap<ObjectKey, Content> {
    let mut search = Search { resources, found: BTreeMap::new(), path: Vec::new() };
    for key in resources.keys().filter(|key| key.kind == Kind::Group) {
        search.content(key);
    }
    search.found
}

/// The ports of a set of resources.
pub(crate) fn ports(
    resources: &Resources,
) -> impl Iterator<Item = (&ObjectKey, &Resource, &LogicalPortSpec)> {
    resources.iter().filter_map(|(key, resource)| match &*resource.spec {
        Spec::LogicalPort(port) => Some((key, resource, port)),
        _ => None,
    })
}

struct Search<'a> {
    resources: &'a Resources,
    found: BTreeMap<ObjectKey, Content>,
    path: Vec<ObjectKey>,
}

impl Search<'_> {
    fn content(&mut self, key: &ObjectKey) -> Content {
        if let Some(content) = self.found.get(key) {
            return content.clone();
        }
        let spec = self.resources.get(key).map(|resource| resource.spec.clone());
        let Some(Spec::Group(group)) = spec.as_deref() else { return Content::default() };
        if self.path.contains(key) {
            return Content::default();
        }
        self.path.push(key.clone());
        let own = Content {
            ports: BTreeSet::new(),
            blocks: AddressBlocks::from_cidr_blocks(&group.blocks),
        };
        let content =
            group.terms.iter().fold(own, |sum, term| sum.union(&self.term(&key.project, term)));
        self.path.pop();
        self.found.insert(key.clone(), content.clone());
        content
    }

    fn group(&mut self, group: &ObjectRef) -> Content {
        self.content(&group.to_key(Kind::Group))
    }

    fn term(&mut self, project: &str, term: &GroupTerm) -> Content {
        match term {
            GroupTerm::Selector { selector, projects } => {
                self.where_port(|_, resource, _| selected(project, selector, projects, resource))
            }
            GroupTerm::Switch(switch) => self.where_port(|_, _, port| port.switch == *switch),
            GroupTerm::Router(router) => {
                let switches = self.switches_of(&router.to_key(Kind::LogicalRouter));
                self.where_port(|_, _, port| switches.contains(&port.switch))
            }
            GroupTerm::Port(name) => {
                // The one scan that is a look-up: groups that name thousands of ports are common.
                let wanted = name.to_key(Kind::LogicalPort);
                let ports = self.resources.get_key_value(&wanted).map(|(key, _)| key.clone());
                Content { ports: ports.into_iter().collect(), ..Content::default() }
            }
            GroupTerm::Group(group) => self.group(group),
            GroupTerm::Intersection(groups) => {
                let mut contents = groups.iter().map(|group| self.group(group));
                let first = contents.next().unwrap_or_default();
                contents.fold(first, |both, content| both.intersection(&content))
            }
            GroupTerm::Difference { of, minus } => {
                let of = self.group(of);
                minus.iter().fold(of, |rest, group| rest.difference(&self.group(group)))
            }
        }
    }

    fn where_port(
        &self,
        holds: impl Fn(&ObjectKey, &Resource, &LogicalPortSpec) -> bool,
    ) -> Content {
        let members =
            ports(self.resources).filter(|(key, resource, port)| holds(key, resource, port));
        Content {
            ports: members.map(|(key, _, _)| key.clone()).collect(),
            blocks: AddressBlocks::default(),
        }
    }

    fn switches_of(&self, router: &ObjectKey) -> BTreeSet<ObjectRef> {
        match self.resources.get(router).map(|resource| &*resource.spec) {
            Some(Spec::LogicalRouter(router)) => {
                router.interfaces.iter().map(|interface| interface.switch.clone()).collect()
            }
            _ => BTreeSet::new(),
        }
    }
}

fn selected(
    project: &str,
    selector: &Selector,
    projects: &ProjectScope,
    resource: &Resource,
) -> bool {
    let in_scope = match projects {
        ProjectScope::Own => *resource.metadata.project == *project,
        ProjectScope::All => true,
        ProjectScope::Listed(listed) => listed.contains(&resource.metadata.project),
    };
    in_scope && selector.matches(&resource.metadata.labels)
}
