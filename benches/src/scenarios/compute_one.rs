//! The other end of Antrea's test: one namespace, 10,000 pods, and 10,000 policies that all select
//! and admit one label. Equal selectors share one group, as the importer makes them.

use super::compute::{mk_fleet, mk_group, mk_labels, mk_pod, mk_policy};
use super::engine_run;
use crate::report::Report;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

const HOSTS: usize = 1_000;
const PODS: usize = 10_000;

pub(crate) fn run(seed: u64, scale: f64) -> Result<Report, String> {
    let pods = ((PODS as f64 * scale) as usize).max(1);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut addresses = HashSet::new();
    let mut resources = mk_fleet(HOSTS);
    for pod in 0..pods {
        let labels = mk_labels("app-1", "scale-1");
        let name = format!("pod-{pod}");
        resources.push(mk_pod("namespace-0", &name, labels, &mut random, &mut addresses));
    }
    resources.push(mk_group("namespace-0", "scale-1", "app-1=scale-1"));
    for policy in 0..pods {
        let name = format!("policy-{policy}");
        resources.push(mk_policy("namespace-0", &name, "scale-1", Some("scale-1")));
    }
    engine_run::run("compute-one", resources)
}
