//! The other end of Antrea's test: one namespace, 10,000 pods, and 10,000 policies that all select
//! and admit one label. Equal selectors share one group, as the importer makes them.

use super::fleet::Flat;
use super::parts::{mk_isolation_spec, mk_ref, mk_resource, mk_selector_spec};
use spanwire_topology::Resource;
use spanwire_topology::model::{ProjectScope, Text};
use std::sync::Arc;

const HOSTS: usize = 1_000;
const PODS: usize = 10_000;

pub(crate) fn resources(seed: u64, scale: f64) -> impl Iterator<Item = Resource> {
    let pods = ((PODS as f64 * scale) as usize).max(1);
    let mut flat = Flat::new(seed, HOSTS);
    let project: Text = "namespace-0".into();
    let labels = flat.texts.labels(&[("app-1", "scale-1")]);
    let name = flat.texts.text("scale-1");
    let spec = mk_selector_spec(flat.texts.selector("app-1=scale-1"), ProjectScope::Own);
    let group = mk_resource(&project, &name, &Arc::default(), spec);
    let prelude = flat.mk_prelude();
    let policies = {
        let (project, peer) = (project.clone(), mk_ref(&project, &name));
        (0..pods).map(move |policy| {
            let spec = mk_isolation_spec(peer.clone(), Some(peer.clone()));
            mk_resource(&project, &format!("policy-{policy}").into(), &Arc::default(), spec)
        })
    };
    let ports = (0..pods).map(move |pod| flat.mk_pod(&project, &format!("pod-{pod}"), &labels));
    prelude.chain(ports).chain(std::iter::once(group)).chain(policies)
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
            ports: 100,
            groups: 1,
            policies: 100,
            rules: 100,
            ..Sizes::default()
        };
        assert_eq!(check(|seed| resources(seed, 0.01)), expected);
    }
}
