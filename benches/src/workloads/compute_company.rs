//! Selectors across namespaces: 1,000 namespaces on 1,000 hosts, each of one of 100 companies
//! (`company=company-(i mod 100)`), with 10 pods for each of 10 labels and 10 policies. Policy j of
//! a namespace is applied to its pods labelled `app=scale-j`, and admits those in all namespaces of
//! its company.
//!
//! Namespaces have no labels here, so the peers are the groups that an importer makes of such a
//! selector: one for each company and label, over the namespaces of the company. They are applied
//! when the namespaces are there.

use super::fleet::Flat;
use super::parts::{mk_isolation_spec, mk_ref, mk_resource, mk_selector_spec};
use spanwire_topology::Resource;
use spanwire_topology::model::{ProjectScope, Text};
use std::sync::Arc;

const HOSTS: usize = 1_000;
const NAMESPACES: usize = 1_000;
const COMPANIES: usize = 100;
const LABELS: usize = 10;
const PODS_PER_LABEL: usize = 10;

pub(crate) fn resources(seed: u64, scale: f64) -> impl Iterator<Item = Resource> {
    let namespaces = ((NAMESPACES as f64 * scale) as usize).max(1);
    let mut flat = Flat::new(seed, HOSTS);
    let projects: Vec<Text> =
        (0..namespaces).map(|namespace| format!("namespace-{namespace}").into()).collect();
    let companies: Vec<Text> =
        (0..COMPANIES.min(namespaces)).map(|company| format!("company-{company}").into()).collect();
    let prelude = flat.mk_prelude();
    let rest = (0..namespaces + companies.len() + namespaces).flat_map(move |part| {
        let groups = namespaces + companies.len();
        if part < namespaces {
            mk_pods(&mut flat, &projects[part])
        } else if part < groups {
            mk_company(&mut flat, &projects, &companies, part - namespaces)
        } else {
            let namespace = part - groups;
            mk_policies(&mut flat, &projects[namespace], &companies[namespace % companies.len()])
        }
    });
    prelude.chain(rest)
}

fn mk_pods(flat: &mut Flat, project: &Text) -> Vec<Resource> {
    let mut resources = Vec::with_capacity(LABELS * PODS_PER_LABEL);
    for label in 0..LABELS {
        let labels = flat.texts.labels(&[("app", &mk_value(label))]);
        for pod in 0..PODS_PER_LABEL {
            resources.push(flat.mk_pod(project, &format!("pod-{label}-{pod}"), &labels));
        }
    }
    resources
}

fn mk_company(
    flat: &mut Flat,
    projects: &[Text],
    companies: &[Text],
    company: usize,
) -> Vec<Resource> {
    let theirs = projects.iter().skip(company).step_by(companies.len()).cloned().collect();
    let scope = ProjectScope::Listed(theirs);
    (0..LABELS)
        .map(|label| {
            let value = mk_value(label);
            let selector = flat.texts.selector(&format!("app={value}"));
            let spec = mk_selector_spec(selector, scope.clone());
            mk_resource(&companies[company], &flat.texts.text(&value), &Arc::default(), spec)
        })
        .collect()
}

fn mk_policies(flat: &mut Flat, project: &Text, company: &Text) -> Vec<Resource> {
    let mut resources = Vec::with_capacity(2 * LABELS);
    for label in 0..LABELS {
        let value = mk_value(label);
        let name = flat.texts.text(&value);
        let selector = flat.texts.selector(&format!("app={value}"));
        let spec = mk_selector_spec(selector, ProjectScope::Own);
        resources.push(mk_resource(project, &name, &Arc::default(), spec));
        let spec = mk_isolation_spec(mk_ref(project, &name), Some(mk_ref(company, &name)));
        resources.push(mk_resource(project, &name, &Arc::default(), spec));
    }
    resources
}

fn mk_value(label: usize) -> String {
    format!("scale-{label}")
}

#[cfg(test)]
mod tests {
    use super::super::batches::{Sizes, check};
    use super::*;

    #[test]
    fn a_fifth_of_it() {
        let expected = Sizes {
            hosts: 1_000,
            switches: 1,
            ports: 20_000,
            groups: 2_000 + 1_000,
            policies: 2_000,
            rules: 2_000,
            ..Sizes::default()
        };
        assert_eq!(check(|seed| resources(seed, 0.2)), expected);
    }

    #[test]
    fn a_company_is_every_hundredth_namespace() {
        let projects: Vec<Text> = (0..1_000).map(|n| format!("n-{n}").into()).collect();
        let companies: Vec<Text> = (0..100).map(|n| format!("c-{n}").into()).collect();
        let groups = mk_company(&mut Flat::new(1, 1), &projects, &companies, 42);
        let spanwire_topology::Spec::Group(group) = &*groups[0].spec else { unreachable!() };
        let theirs = (0..10).map(|n| format!("n-{}", n * 100 + 42).into()).collect();
        let spanwire_topology::model::GroupTerm::Selector { projects, .. } = &group.terms[0] else {
            unreachable!()
        };
        assert_eq!((groups.len(), projects), (10, &ProjectScope::Listed(theirs)));
    }
}
