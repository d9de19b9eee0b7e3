//! Antrea's published test of its network policy controller: 25,000 namespaces of 4 pods and 3
//! network policies on 1,000 hosts. Pods 1 and 2 carry `app-1=scale-1`, 3 and 4 `app-2=scale-2`;
//! the policies are a default deny, and one each that selects and admits its own label. Both
//! directions are isolated. Every pod has a random IPv4 address and a random host.

use super::fleet::Flat;
use super::parts::{mk_isolation_spec, mk_ref, mk_resource, mk_selector_spec};
use spanwire_topology::Resource;
use spanwire_topology::model::{ProjectScope, Text};
use std::sync::Arc;

const HOSTS: usize = 1_000;
const NAMESPACES: usize = 25_000;
const APPS: [(&str, &str); 2] = [("app-1", "scale-1"), ("app-2", "scale-2")];

pub(crate) fn resources(seed: u64, scale: f64) -> impl Iterator<Item = Resource> {
    let namespaces = ((NAMESPACES as f64 * scale) as usize).max(1);
    let mut flat = Flat::new(seed, HOSTS);
    let prelude = flat.mk_prelude();
    prelude.chain((0..namespaces).flat_map(move |namespace| mk_namespace(&mut flat, namespace)))
}

fn mk_namespace(flat: &mut Flat, namespace: usize) -> Vec<Resource> {
    let project: Text = format!("namespace-{namespace}").into();
    let none = Arc::default();
    let mut resources = Vec::with_capacity(10);
    for pod in 0..4 {
        let labels = flat.texts.labels(&[APPS[pod / 2]]);
        resources.push(flat.mk_pod(&project, &format!("pod-{}", pod + 1), &labels));
    }
    let all = flat.texts.text("all");
    let spec = mk_selector_spec(flat.texts.selector(""), ProjectScope::Own);
    resources.push(mk_resource(&project, &all, &none, spec));
    let deny = flat.texts.text("default-deny");
    let spec = mk_isolation_spec(mk_ref(&project, &all), None);
    resources.push(mk_resource(&project, &deny, &none, spec));
    for (label, value) in APPS {
        let name = flat.texts.text(value);
        let selector = flat.texts.selector(&format!("{label}={value}"));
        let spec = mk_selector_spec(selector, ProjectScope::Own);
        resources.push(mk_resource(&project, &name, &none, spec));
        let group = mk_ref(&project, &name);
        let spec = mk_isolation_spec(group.clone(), Some(group));
        resources.push(mk_resource(&project, &name, &none, spec));
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::super::batches::{Sizes, check};
    use super::*;

    #[test]
    fn a_hundredth_of_it() {
        let expected = Sizes {
            hosts: 1_000,
            switches: 1,
            ports: 1_000,
            groups: 750,
            policies: 750,
            rules: 500,
            ..Sizes::default()
        };
        assert_eq!(check(|seed| resources(seed, 0.01)), expected);
    }
}
