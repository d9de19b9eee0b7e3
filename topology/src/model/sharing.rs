//! Equal texts and labels as one.
//!
//! Whoever decodes resources gets every text anew: the name of a host with each of its ports, equal labels
//! with each port that has them. Kept so, they would be the larger part of a network in memory.

use super::group::{GroupSpec, GroupTerm};
use super::name::Labels;
use super::object::{ObjectRef, Text};
use super::policy::{SecurityPolicySpec, ServiceMatch};
use super::resource::{LogicalRouterSpec, PortAttachment, Resource, Spec};
use super::selector::{Requirement, Selector};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Texts that are remembered since the last change of generations; there are two of these.
const TEXTS_MAX: usize = 32_768;
/// Sets of labels, likewise.
const LABELS_MAX: usize = 8_192;
/// Bodies of groups, likewise.
const GROUPS_MAX: usize = 8_192;

/// Remembers what resources said lately, and has the next ones say it with the same copies.
#[derive(Debug, Default)]
pub struct Sharing {
    texts: Recent<Text, TEXTS_MAX>,
    labels: Recent<Arc<Labels>, LABELS_MAX>,
    groups: Recent<SharedGroup, GROUPS_MAX>,
}

impl Sharing {
    /// Puts copies that others have, too, in place of the texts, labels and group bodies of a resource. It
    /// stays equal to what it was. A body that others hold already stays as it is.
    pub fn share(&mut self, resource: &mut Resource) {
        let Sharing { texts, labels, groups } = self;
        let metadata = &mut resource.metadata;
        texts.share(&mut metadata.project);
        texts.share(&mut metadata.name);
        labels.share_made(&mut metadata.labels, |labels| {
            let mut share = |text: &Text| {
                let mut text = text.clone();
                texts.share(&mut text);
                text
            };
            Arc::new(labels.iter().map(|(key, value)| (share(key), share(value))).collect())
        });
        if let Some(spec) = Arc::get_mut(&mut resource.spec) {
            visit(spec, &mut |text| texts.share(text));
        }
        if matches!(*resource.spec, Spec::Group(_)) {
            let mut group = SharedGroup(resource.spec.clone());
            groups.share(&mut group);
            resource.spec = group.0;
        }
    }
}

/// What was used lately. There are two generations: when the young one is full, it becomes the old one,
/// and what is used again comes back from there.
#[derive(Debug)]
struct Recent<T, const MAX: usize> {
    young: HashSet<T, FixedState>,
    old: HashSet<T, FixedState>,
}

impl<T, const MAX: usize> Default for Recent<T, MAX> {
    fn default() -> Self {
        Recent { young: HashSet::default(), old: HashSet::default() }
    }
}

impl<T: Clone + Eq + Hash, const MAX: usize> Recent<T, MAX> {
    /// Puts the known copy of a value in its place.
    fn share(&mut self, value: &mut T) {
        self.share_made(value, T::clone);
    }

    /// The same; `make` makes the copy to be known of a value that is not.
    fn share_made(&mut self, value: &mut T, make: impl FnOnce(&T) -> T) {
        if let Some(known) = self.young.get(value) {
            *value = known.clone();
            return;
        }
        *value = self.old.take(value).unwrap_or_else(|| make(value));
        if self.young.len() >= MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(value.clone());
    }
}

/// The body of a group: those made from one template are equal in all projects.
#[derive(Debug, Clone)]
struct SharedGroup(Arc<Spec>);

impl SharedGroup {
    fn body(&self) -> Option<&GroupSpec> {
        match &*self.0 {
            Spec::Group(spec) => Some(spec),
            _ => None,
        }
    }
}

impl PartialEq for SharedGroup {
    fn eq(&self, other: &SharedGroup) -> bool {
        self.body() == other.body()
    }
}

impl Eq for SharedGroup {}

impl Hash for SharedGroup {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.body().hash(state);
    }
}

/// Gives `each` the texts of a body, to put equal ones in their place.
fn visit(spec: &mut Spec, each: &mut dyn FnMut(&mut Text)) {
    match spec {
        Spec::Host(_) | Spec::LogicalSwitch(_) | Spec::Service(_) => {}
        Spec::LogicalRouter(LogicalRouterSpec { interfaces, uplinks, peerings, advertise: _ }) => {
            let switches = interfaces.iter_mut().map(|interface| &mut interface.switch);
            switches.chain(uplinks).chain(peerings).for_each(|object| visit_ref(object, each));
        }
        Spec::LogicalPort(port) => {
            visit_ref(&mut port.switch, each);
            port.host.iter_mut().for_each(&mut *each);
            if let PortAttachment::Interface(device) = &mut port.attachment {
                each(device);
            }
        }
        Spec::Group(group) => group.terms.iter_mut().for_each(|term| visit_term(term, each)),
        Spec::SecurityPolicy(policy) => visit_policy(policy, each),
    }
}

fn visit_ref(ObjectRef { project, name }: &mut ObjectRef, each: &mut dyn FnMut(&mut Text)) {
    each(project);
    each(name);
}

fn visit_term(term: &mut GroupTerm, each: &mut dyn FnMut(&mut Text)) {
    match term {
        // Listed projects are few, and the set they are in has no room to change them in place.
        GroupTerm::Selector { selector, projects: _ } => visit_selector(selector, each),
        GroupTerm::Switch(object)
        | GroupTerm::Router(object)
        | GroupTerm::Port(object)
        | GroupTerm::Group(object) => visit_ref(object, each),
        GroupTerm::Intersection(groups) => {
            groups.iter_mut().for_each(|group| visit_ref(group, each));
        }
        GroupTerm::Difference { of, minus } => {
            visit_ref(of, each);
            minus.iter_mut().for_each(|group| visit_ref(group, each));
        }
    }
}

fn visit_selector(selector: &mut Selector, each: &mut dyn FnMut(&mut Text)) {
    for requirement in selector.requirements_mut() {
        match requirement {
            Requirement::In(key, values) | Requirement::NotIn(key, values) => {
                each(key);
                values.iter_mut().for_each(&mut *each);
            }
            Requirement::Exists(key) | Requirement::DoesNotExist(key) => each(key),
        }
    }
}

fn visit_policy(policy: &mut SecurityPolicySpec, each: &mut dyn FnMut(&mut Text)) {
    policy.applied_to.iter_mut().for_each(|group| visit_ref(group, each));
    for rule in &mut policy.rules {
        rule.name.iter_mut().for_each(&mut *each);
        rule.peers.iter_mut().for_each(|peer| visit_ref(&mut peer.group, each));
        for service in &mut rule.services {
            if let ServiceMatch::Service(service) = service {
                visit_ref(service, each);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LogicalPortSpec, Mac, ProjectScope};

    fn mk_ref(name: &str) -> ObjectRef {
        ObjectRef { project: "shop".into(), name: name.into() }
    }

    fn mk_port() -> Resource {
        let spec = LogicalPortSpec {
            switch: mk_ref("net"),
            mac: Mac::new([2, 0, 0, 0, 0, 1]).unwrap(),
            addresses: Default::default(),
            host: Some("host-1".into()),
            attachment: PortAttachment::Interface("eth1".into()),
            port_security: true,
        };
        let labels = [("app".into(), "web".into())].into();
        Resource::new("shop", "port-1", labels, Spec::LogicalPort(spec))
    }

    fn mk_group(project: &str) -> Resource {
        let selector = Selector::new(vec![Requirement::In("app".into(), vec!["web".into()])]);
        let (selector, projects) = (selector.unwrap(), ProjectScope::Own);
        let terms = vec![
            GroupTerm::Selector { selector, projects },
            GroupTerm::Difference { of: mk_ref("all"), minus: vec![mk_ref("some")] },
        ];
        let spec = GroupSpec { terms, blocks: Vec::new() };
        Resource::new(project, "web", Labels::new(), Spec::Group(spec))
    }

    fn texts(resource: &mut Resource) -> Vec<Text> {
        let mut texts = vec![resource.metadata.project.clone(), resource.metadata.name.clone()];
        let spec = Arc::get_mut(&mut resource.spec).unwrap();
        visit(spec, &mut |text| texts.push(text.clone()));
        texts
    }

    #[test]
    fn equal_resources_share_all_their_texts() {
        let mut sharing = Sharing::default();
        let (mut one, mut two) = (mk_port(), mk_port());
        sharing.share(&mut one);
        sharing.share(&mut two);
        assert_eq!((&one, &two), (&mk_port(), &mk_port()));
        assert!(Arc::ptr_eq(&one.metadata.labels, &two.metadata.labels));
        let (one, two) = (texts(&mut one), texts(&mut two));
        assert_eq!(one.len(), 6);
        assert!(one.iter().zip(&two).all(|(one, two)| Arc::ptr_eq(one, two)));
    }

    #[test]
    fn groups_of_one_template_share_their_body() {
        let mut sharing = Sharing::default();
        let (mut one, mut two) = (mk_group("shop"), mk_group("bank"));
        sharing.share(&mut one);
        sharing.share(&mut two);
        assert_eq!((&one, &two), (&mk_group("shop"), &mk_group("bank")));
        assert!(Arc::ptr_eq(&one.spec, &two.spec));
    }

    #[test]
    fn what_is_used_again_is_kept_and_the_rest_is_bounded() {
        let mut recent = Recent::<Text, 4>::default();
        let hot: Text = "hot".into();
        recent.share(&mut hot.clone());
        for n in 0..100 {
            recent.share(&mut n.to_string().into());
            let mut again = Text::from("hot");
            recent.share(&mut again);
            assert!(Arc::ptr_eq(&hot, &again), "after {n}");
            assert!(recent.young.len() + recent.old.len() <= 8);
        }
        assert_eq!(Arc::strong_count(&hot), 2);
    }
}
