//! Groups: one for each selector and block, whoever uses it.

use super::objects::PolicyPeer;
use super::translate::{NAMESPACE_NAME_LABEL, namespace_label};
use crate::names::short_hash;
use crate::output::Output;
use spanwire_topology::model::{
    CidrBlock, GroupSpec, GroupTerm, Kind, Labels, ObjectRef, ProjectScope, Requirement, Selector,
    Spec, Text,
};
use std::collections::BTreeMap;

/// The most bytes of a selector that go into the name of its group.
const SLUG_MAX: usize = 48;

/// Pods: a selector on the labels of ports, and whose ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pods {
    /// The namespace; `None` means all.
    pub(super) namespace: Option<Text>,
    /// Which of them.
    pub(super) selector: Selector,
}

impl Pods {
    /// The pods that a peer selects, of a policy in `namespace`; `None` if it is a block.
    pub(super) fn of_peer(peer: &PolicyPeer, namespace: &Text) -> Option<Pods> {
        match peer {
            PolicyPeer::Block(_) => None,
            PolicyPeer::Pods { namespaces: None, pods } => {
                Some(Pods { namespace: Some(namespace.clone()), selector: pods.clone() })
            }
            PolicyPeer::Pods { namespaces: Some(namespaces), pods } => {
                let of_namespace = namespaces.requirements().iter().map(on_namespace);
                let requirements = of_namespace.chain(pods.requirements().iter().cloned());
                Some(Pods::everywhere(requirements))
            }
        }
    }

    /// Pods of all namespaces. Every pod has a namespace, so what has none is no pod.
    pub(super) fn everywhere(requirements: impl IntoIterator<Item = Requirement>) -> Pods {
        let is_pod = Requirement::Exists(NAMESPACE_NAME_LABEL.into());
        let requirements: Vec<Requirement> = requirements.into_iter().collect();
        let names_namespace = requirements.iter().any(|requirement| {
            matches!(requirement, Requirement::In(key, _) if key.starts_with("ns.spanwire/"))
        });
        let is_pod = (!names_namespace).then_some(is_pod);
        Pods { namespace: None, selector: selector(requirements.into_iter().chain(is_pod)) }
    }

    /// Those that also meet a requirement.
    pub(super) fn and(&self, requirement: Requirement) -> Pods {
        let requirements = self.selector.requirements().iter().cloned().chain([requirement]);
        Pods { namespace: self.namespace.clone(), selector: selector(requirements) }
    }

    /// True if a port with these labels is among them.
    pub(super) fn contains(&self, namespace: &str, labels: &Labels) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
            && self.selector.matches(labels)
    }
}

/// A selector of requirements that were checked one by one. Were one of them bad all the same, the
/// selector would select nothing: rules allow, so that is the safe side.
fn selector(requirements: impl Iterator<Item = Requirement>) -> Selector {
    let nothing = || Labels::from([("no.spanwire/label".into(), "none".into())]);
    Selector::new(requirements.collect()).unwrap_or_else(|_| Selector::from_labels(&nothing()))
}

/// A requirement on a namespace, as one on the labels that its pods have from it.
fn on_namespace(requirement: &Requirement) -> Requirement {
    let key: Text = namespace_label(requirement.key()).into();
    match requirement {
        Requirement::In(_, values) => Requirement::In(key, values.clone()),
        Requirement::NotIn(_, values) => Requirement::NotIn(key, values.clone()),
        Requirement::Exists(_) => Requirement::Exists(key),
        Requirement::DoesNotExist(_) => Requirement::DoesNotExist(key),
    }
}

/// The groups that were made.
pub(super) struct Groups {
    cluster_project: Text,
    pods: BTreeMap<Pods, ObjectRef>,
    blocks: BTreeMap<CidrBlock, ObjectRef>,
}

impl Groups {
    pub(super) fn new(cluster_project: Text) -> Groups {
        Groups { cluster_project, pods: BTreeMap::new(), blocks: BTreeMap::new() }
    }

    /// The group of some pods.
    pub(super) fn pods(&mut self, out: &mut Output, pods: &Pods) -> ObjectRef {
        if let Some(group) = self.pods.get(pods) {
            return group.clone();
        }
        let (project, projects) = match &pods.namespace {
            Some(namespace) => (namespace.clone(), ProjectScope::Own),
            None => (self.cluster_project.clone(), ProjectScope::All),
        };
        let text = pods.selector.to_string();
        let wanted = match text.as_str() {
            "" => "pods".to_owned(),
            text => format!("pods-{}-{}", slug(text), short_hash(text)),
        };
        let term = GroupTerm::Selector { selector: pods.selector.clone(), projects };
        let spec = GroupSpec { terms: vec![term], blocks: Vec::new() };
        let group = write(out, project, &wanted, spec);
        self.pods.insert(pods.clone(), group.clone());
        group
    }

    /// The group of a block.
    pub(super) fn block(&mut self, out: &mut Output, block: &CidrBlock) -> ObjectRef {
        if let Some(group) = self.blocks.get(block) {
            return group.clone();
        }
        let cidr = block.cidr().to_string().replace('/', "-");
        let except: Vec<String> = block.except().iter().map(ToString::to_string).collect();
        let wanted = match except.is_empty() {
            true => format!("block-{cidr}"),
            false => format!("block-{cidr}-but-{}", short_hash(&except.join(" "))),
        };
        let spec = GroupSpec { terms: Vec::new(), blocks: vec![block.clone()] };
        let group = write(out, self.cluster_project.clone(), &wanted, spec);
        self.blocks.insert(block.clone(), group.clone());
        group
    }
}

fn write(out: &mut Output, project: Text, wanted: &str, spec: GroupSpec) -> ObjectRef {
    let name = out.names.take(Kind::Group, &project, wanted);
    out.resource(&project, &name, Labels::new(), Spec::Group(spec));
    ObjectRef { project, name }
}

/// A selector as words with hyphens.
fn slug(text: &str) -> String {
    let text = text.replace("ns.spanwire/kubernetes.io/metadata.name", "ns");
    let text = text.replace("ns.spanwire/", "ns-").replace(".port.spanwire/", "-");
    let mut slug = String::new();
    for character in text.chars() {
        match character {
            c if c.is_ascii_alphanumeric() || c == '.' || c == '_' => slug.push(c),
            '!' => slug.push_str("not-"),
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
        if slug.len() >= SLUG_MAX {
            break;
        }
    }
    slug.trim_matches('-').to_owned()
}
