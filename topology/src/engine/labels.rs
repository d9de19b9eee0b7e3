//! Label signatures and the index of selectors.
//!
//! Ports of one project with equal labels share a signature, and selectors are evaluated on
//! signatures. Neither side is ever scanned: the selectors that may match a signature are found
//! under one requirement each (a pair of label and value if there is one, combined with the
//! project), and the signatures that may match a selector under the rarest of its pairs.

use super::ids::{GroupId, IdSet, Map, PortId, SignatureId};
use super::state::{Engine, Signature, sorted_insert, sorted_remove};
use crate::model::{GroupTerm, Labels, ProjectScope, Requirement, Selector, Text};
use std::sync::Arc;

/// Where a selector is posted: the project it is confined to, and what it asks for there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Posting {
    project: Option<Text>,
    term: PostingTerm,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PostingTerm {
    Pair(Text, Text),
    Key(Text),
    Any,
}

/// Finds selectors by signature, and signatures by label.
#[derive(Debug, Default)]
pub(super) struct SelectorIndex {
    /// Groups by posting, each with how many of its postings are here.
    postings: Map<Posting, Vec<(GroupId, u32)>>,
    by_pair: Map<(Text, Text), IdSet<SignatureId>>,
    by_key: Map<Text, IdSet<SignatureId>>,
    by_project: Map<Text, IdSet<SignatureId>>,
}

/// The projects a selector is confined to; `None` if it is not.
fn scopes(projects: &ProjectScope, own: &Text) -> Vec<Option<Text>> {
    match projects {
        ProjectScope::Own => vec![Some(own.clone())],
        ProjectScope::All => vec![None],
        ProjectScope::Listed(list) => list.iter().cloned().map(Some).collect(),
    }
}

/// What a selector is posted under: the requirement with the fewest values, as most selective.
fn posting_terms(selector: &Selector) -> Vec<PostingTerm> {
    let fewest = selector
        .requirements()
        .iter()
        .filter_map(|requirement| match requirement {
            Requirement::In(key, values) => Some((values.len(), key, values)),
            _ => None,
        })
        .min_by_key(|(len, ..)| *len);
    if let Some((_, key, values)) = fewest {
        return values.iter().map(|v| PostingTerm::Pair(key.clone(), v.clone())).collect();
    }
    let exists = selector.requirements().iter().find_map(|requirement| match requirement {
        Requirement::Exists(key) => Some(key.clone()),
        _ => None,
    });
    vec![exists.map_or(PostingTerm::Any, PostingTerm::Key)]
}

fn postings_of(selector: &Selector, projects: &ProjectScope, own: &Text) -> Vec<Posting> {
    let terms = posting_terms(selector);
    scopes(projects, own)
        .into_iter()
        .flat_map(|project| {
            terms.iter().map(move |term| Posting { project: project.clone(), term: term.clone() })
        })
        .collect()
}

fn in_scope(projects: &ProjectScope, own: &Text, project: &Text) -> bool {
    match projects {
        ProjectScope::Own => own == project,
        ProjectScope::All => true,
        ProjectScope::Listed(list) => list.contains(project),
    }
}

/// True if one of a group's selectors matches a signature.
fn selected(terms: &[GroupTerm], own: &Text, project: &Text, labels: &Labels) -> bool {
    terms.iter().any(|term| match term {
        GroupTerm::Selector { selector, projects } => {
            in_scope(projects, own, project) && selector.matches(labels)
        }
        _ => false,
    })
}

impl Engine {
    /// The signature for a project and labels; made if there is none.
    pub(super) fn signature(&mut self, project: &Text, labels: &Arc<Labels>) -> SignatureId {
        let key = (project.clone(), labels.clone());
        if let Some(&id) = self.signature_ids.get(&key) {
            return id;
        }
        let groups = self.groups_that_select(project, labels);
        let id = self.signatures.insert(Signature {
            project: project.clone(),
            labels: labels.clone(),
            ports: IdSet::default(),
            groups,
        });
        self.signature_ids.insert(key, id);
        for &group in &self.signatures[id].groups {
            self.groups[group].signatures.insert(id);
        }
        let index = &mut self.selectors;
        index.by_project.entry(project.clone()).or_default().insert(id);
        for (key, value) in labels.iter() {
            index.by_key.entry(key.clone()).or_default().insert(id);
            index.by_pair.entry((key.clone(), value.clone())).or_default().insert(id);
        }
        id
    }

    /// Takes a port out of its signature, and forgets the signature with its last port.
    pub(super) fn leave_signature(&mut self, id: SignatureId, port: PortId) {
        let signature = &mut self.signatures[id];
        signature.ports.remove(port);
        if !signature.ports.is_empty() {
            return;
        }
        let Some(signature) = self.signatures.remove(id) else { return };
        for &group in &signature.groups {
            self.groups[group].signatures.remove(id);
        }
        let index = &mut self.selectors;
        forget(&mut index.by_project, &signature.project, id);
        for (key, value) in signature.labels.iter() {
            forget(&mut index.by_key, key, id);
            forget(&mut index.by_pair, &(key.clone(), value.clone()), id);
        }
        self.signature_ids.remove(&(signature.project, signature.labels));
    }

    fn groups_that_select(&self, project: &Text, labels: &Labels) -> Vec<GroupId> {
        let mut candidates = Vec::new();
        for scope in [Some(project.clone()), None] {
            let mut look_up = |term| {
                let posting = Posting { project: scope.clone(), term };
                if let Some(groups) = self.selectors.postings.get(&posting) {
                    candidates.extend(groups.iter().map(|&(group, _)| group));
                }
            };
            look_up(PostingTerm::Any);
            for (key, value) in labels {
                look_up(PostingTerm::Key(key.clone()));
                look_up(PostingTerm::Pair(key.clone(), value.clone()));
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|&group| {
            let group = &self.groups[group];
            selected(&group.spec().terms, &group.object.resource.metadata.project, project, labels)
        });
        candidates
    }

    /// Posts a group's selectors and finds the signatures they match.
    pub(super) fn index_selectors(&mut self, id: GroupId) {
        let group = &self.groups[id];
        let resource = group.object.resource.clone();
        let own = &resource.metadata.project;
        let mut matched = IdSet::default();
        for term in &group.spec().terms {
            let GroupTerm::Selector { selector, projects } = term else { continue };
            for posting in postings_of(selector, projects, own) {
                let groups = self.selectors.postings.entry(posting).or_default();
                match groups.binary_search_by_key(&id, |&(group, _)| group) {
                    Ok(at) => groups[at].1 += 1,
                    Err(at) => groups.insert(at, (id, 1)),
                }
            }
            for signature in self.candidate_signatures(selector, projects, own) {
                let candidate = &self.signatures[signature];
                if in_scope(projects, own, &candidate.project)
                    && selector.matches(&candidate.labels)
                {
                    matched.insert(signature);
                }
            }
        }
        for signature in matched.iter() {
            sorted_insert(&mut self.signatures[signature].groups, id);
        }
        self.groups[id].signatures = matched;
    }

    /// Undoes [`Engine::index_selectors`]; the group's spec must still be the one it was done for.
    pub(super) fn unindex_selectors(&mut self, id: GroupId) {
        let resource = self.groups[id].object.resource.clone();
        let crate::model::Spec::Group(spec) = &*resource.spec else { return };
        for term in &spec.terms {
            let GroupTerm::Selector { selector, projects } = term else { continue };
            for posting in postings_of(selector, projects, &resource.metadata.project) {
                let Some(groups) = self.selectors.postings.get_mut(&posting) else { continue };
                if let Ok(at) = groups.binary_search_by_key(&id, |&(group, _)| group) {
                    groups[at].1 -= 1;
                    if groups[at].1 == 0 {
                        groups.remove(at);
                    }
                }
                if groups.is_empty() {
                    self.selectors.postings.remove(&posting);
                }
            }
        }
        let matched = std::mem::take(&mut self.groups[id].signatures);
        for signature in matched.iter() {
            sorted_remove(&mut self.signatures[signature].groups, &id);
        }
    }

    /// Signatures that may match, from the smallest set that is known to hold all that do.
    fn candidate_signatures(
        &self,
        selector: &Selector,
        projects: &ProjectScope,
        own: &Text,
    ) -> Vec<SignatureId> {
        let index = &self.selectors;
        let mut choices: Vec<Vec<&IdSet<SignatureId>>> = Vec::new();
        for requirement in selector.requirements() {
            match requirement {
                Requirement::In(key, values) => choices.push(
                    values
                        .iter()
                        .filter_map(|value| index.by_pair.get(&(key.clone(), value.clone())))
                        .collect(),
                ),
                Requirement::Exists(key) => {
                    choices.push(index.by_key.get(key).into_iter().collect());
                }
                Requirement::NotIn(..) | Requirement::DoesNotExist(_) => {}
            }
        }
        if *projects != ProjectScope::All {
            let scopes = scopes(projects, own);
            choices.push(scopes.iter().flatten().filter_map(|p| index.by_project.get(p)).collect());
        }
        let smallest =
            choices.into_iter().min_by_key(|sets| sets.iter().map(|set| set.len()).sum::<u64>());
        match smallest {
            Some(sets) => IdSet::union_of(sets).iter().collect(),
            None => self.signatures.iter().map(|(id, _)| id).collect(),
        }
    }
}

fn forget<K: std::hash::Hash + Eq>(map: &mut Map<K, IdSet<SignatureId>>, key: &K, id: SignatureId) {
    if let Some(set) = map.get_mut(key) {
        set.remove(id);
        if set.is_empty() {
            map.remove(key);
        }
    }
}
