//! Label signatures and the index of selectors.
//!
//! Ports of one project with equal labels share a signature, and selectors are evaluated on
//! signatures. Neither side is ever scanned: the selectors that may match a signature are found
//! under one requirement each (a pair of label and value if there is one, combined with the
//! project), and the signatures that may match a selector under the rarest of its pairs.

use super::ids::{GroupId, IdSet, Map, PortId, SignatureId, Slab};
use super::state::{Engine, Signature, sorted_insert, sorted_remove};
use crate::model::{GroupTerm, Labels, Metadata, ProjectScope, Requirement, Selector, Text};
use std::hash::Hash;
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

/// A [`Posting`] that is only looked up. Hashes as the posting does.
#[derive(Hash)]
struct PostingRef<'a> {
    project: Option<&'a str>,
    term: PostingTermRef<'a>,
}

#[derive(Clone, Copy, Hash)]
enum PostingTermRef<'a> {
    Pair(&'a str, &'a str),
    Key(&'a str),
    Any,
}

impl hashbrown::Equivalent<Posting> for PostingRef<'_> {
    fn equivalent(&self, posting: &Posting) -> bool {
        let same_term = match (self.term, &posting.term) {
            (PostingTermRef::Pair(key, value), PostingTerm::Pair(other_key, other_value)) => {
                *value == **other_value && *key == **other_key
            }
            (PostingTermRef::Key(key), PostingTerm::Key(other)) => *key == **other,
            (PostingTermRef::Any, PostingTerm::Any) => true,
            _ => false,
        };
        same_term && self.project == posting.project.as_deref()
    }
}

/// A pair of label and value that is only looked up.
#[derive(Hash)]
struct PairRef<'a>(&'a str, &'a str);

impl hashbrown::Equivalent<(Text, Text)> for PairRef<'_> {
    fn equivalent(&self, (key, value): &(Text, Text)) -> bool {
        *self.1 == **value && *self.0 == **key
    }
}

/// A project and labels that are only looked up.
#[derive(Hash)]
struct SignatureRef<'a>(&'a str, &'a Labels);

impl hashbrown::Equivalent<(Text, Arc<Labels>)> for SignatureRef<'_> {
    fn equivalent(&self, (project, labels): &(Text, Arc<Labels>)) -> bool {
        *self.0 == **project && *self.1 == **labels
    }
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
    /// The signature for a project and labels, if some port has it.
    pub(super) fn find_signature(&self, project: &Text, labels: &Labels) -> Option<SignatureId> {
        self.signature_ids.get(&SignatureRef(project, labels)).copied()
    }

    /// The signature of a port's project and labels, which is made if there is none.
    pub(super) fn signature_of(&mut self, port: PortId) -> SignatureId {
        let Metadata { project, labels, .. } = &self.ports[port].object.resource.metadata;
        if let Some(signature) = self.find_signature(project, labels) {
            return signature;
        }
        let (project, labels) = (project.clone(), labels.clone());
        self.make_signature(project, labels)
    }

    fn make_signature(&mut self, project: Text, labels: Arc<Labels>) -> SignatureId {
        let groups = self.groups_that_select(&project, &labels);
        let id = self.signatures.insert(Signature {
            project: project.clone(),
            labels: labels.clone(),
            ports: IdSet::default(),
            groups,
        });
        self.signature_ids.insert((project.clone(), labels.clone()), id);
        for &group in &self.signatures[id].groups {
            self.groups[group].signatures.insert(id);
        }
        let index = &mut self.selectors;
        enter(&mut index.by_project, &*project, || project.clone(), id);
        for (key, value) in labels.iter() {
            enter(&mut index.by_key, &**key, || key.clone(), id);
            let pair = || (key.clone(), value.clone());
            enter(&mut index.by_pair, &PairRef(key, value), pair, id);
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
        for scope in [Some(&**project), None] {
            let mut look_up = |term| {
                let posting = PostingRef { project: scope, term };
                if let Some(groups) = self.selectors.postings.get(&posting) {
                    candidates.extend(groups.iter().map(|&(group, _)| group));
                }
            };
            look_up(PostingTermRef::Any);
            for (key, value) in labels {
                look_up(PostingTermRef::Key(key));
                look_up(PostingTermRef::Pair(key, value));
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
        let own = &group.object.resource.metadata.project;
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
            self.selectors.candidates(&self.signatures, selector, projects, own, |signature| {
                let candidate = &self.signatures[signature];
                if in_scope(projects, own, &candidate.project)
                    && selector.matches(&candidate.labels)
                {
                    matched.insert(signature);
                }
            });
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
}

/// What all signatures that match a selector are known to be among.
#[derive(Clone, Copy)]
enum Choice<'a> {
    Pairs(&'a Text, &'a [Text]),
    Key(&'a Text),
    Projects(&'a ProjectScope),
    All,
}

impl SelectorIndex {
    /// Shows `visit` the signatures that may match, from the smallest set that is known to hold
    /// all that do; some of them more than once.
    fn candidates(
        &self,
        signatures: &Slab<SignatureId, Signature>,
        selector: &Selector,
        projects: &ProjectScope,
        own: &Text,
        mut visit: impl FnMut(SignatureId),
    ) {
        let mut best = (u64::MAX, Choice::All);
        let mut offer = |choice| {
            let mut size = 0;
            self.each_set(choice, own, |set| size += set.len());
            if size < best.0 {
                best = (size, choice);
            }
        };
        if *projects != ProjectScope::All {
            offer(Choice::Projects(projects));
        }
        for requirement in selector.requirements() {
            match requirement {
                Requirement::In(key, values) => offer(Choice::Pairs(key, values)),
                Requirement::Exists(key) => offer(Choice::Key(key)),
                Requirement::NotIn(..) | Requirement::DoesNotExist(_) => {}
            }
        }
        match best.1 {
            Choice::All => signatures.iter().for_each(|(id, _)| visit(id)),
            choice => self.each_set(choice, own, |set| set.iter().for_each(&mut visit)),
        }
    }

    fn each_set(&self, choice: Choice<'_>, own: &Text, mut show: impl FnMut(&IdSet<SignatureId>)) {
        match choice {
            Choice::Pairs(key, values) => values
                .iter()
                .filter_map(|value| self.by_pair.get(&PairRef(key, value)))
                .for_each(show),
            Choice::Key(key) => self.by_key.get(key).into_iter().for_each(show),
            Choice::Projects(ProjectScope::Own) => {
                self.by_project.get(own).into_iter().for_each(show);
            }
            Choice::Projects(ProjectScope::Listed(list)) => {
                list.iter().filter_map(|project| self.by_project.get(project)).for_each(show);
            }
            Choice::Projects(ProjectScope::All) | Choice::All => {
                self.by_project.values().for_each(&mut show);
            }
        }
    }
}

/// Enters a signature under a key, which is copied only if it is new.
fn enter<K, Q>(
    map: &mut Map<K, IdSet<SignatureId>>,
    key: &Q,
    to_owned: impl FnOnce() -> K,
    id: SignatureId,
) where
    K: Hash + Eq,
    Q: Hash + hashbrown::Equivalent<K> + ?Sized,
{
    match map.get_mut(key) {
        Some(set) => {
            set.insert(id);
        }
        None => {
            map.insert(to_owned(), std::iter::once(id).collect());
        }
    }
}

fn forget<K: Hash + Eq>(map: &mut Map<K, IdSet<SignatureId>>, key: &K, id: SignatureId) {
    if let Some(set) = map.get_mut(key) {
        set.remove(id);
        if set.is_empty() {
            map.remove(key);
        }
    }
}
