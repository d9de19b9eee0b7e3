//! Resources in transactions.

use spanwire_topology::{Resource, Spec, Transaction};

/// Operations in one transaction: what a client that loads a network sends at a time.
const OPERATIONS: usize = 10_000;

/// How much was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) hosts: usize,
    pub(crate) switches: usize,
    pub(crate) routers: usize,
    pub(crate) ports: usize,
    pub(crate) groups: usize,
    pub(crate) policies: usize,
    pub(crate) rules: usize,
}

impl Sizes {
    fn count(&mut self, resource: &Resource) {
        match &*resource.spec {
            Spec::Host(_) => self.hosts += 1,
            Spec::LogicalSwitch(_) => self.switches += 1,
            Spec::LogicalRouter(_) => self.routers += 1,
            Spec::LogicalPort(_) => self.ports += 1,
            Spec::Group(_) => self.groups += 1,
            Spec::Service(_) => {}
            Spec::SecurityPolicy(policy) => {
                self.policies += 1;
                self.rules += policy.rules.len();
            }
        }
    }
}

/// Makes the transactions of a workload, one at a time.
pub(crate) struct Batches<I> {
    resources: I,
    sizes: Sizes,
}

impl<I: Iterator<Item = Resource>> Batches<I> {
    pub(crate) fn new(resources: I) -> Batches<I> {
        Batches { resources, sizes: Sizes::default() }
    }

    /// How much was made so far.
    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }
}

impl<I: Iterator<Item = Resource>> Iterator for Batches<I> {
    type Item = Transaction;

    fn next(&mut self) -> Option<Transaction> {
        let batch: Vec<Resource> = self.resources.by_ref().take(OPERATIONS).collect();
        batch.iter().for_each(|resource| self.sizes.count(resource));
        (!batch.is_empty()).then(|| Transaction::put(batch))
    }
}

/// What tests of workloads ask: that two runs from one seed are equal and that another seed gives
/// another, that the engine takes all of it, and how much it is.
#[cfg(test)]
pub(crate) fn check<I: Iterator<Item = Resource>>(make: impl Fn(u64) -> I) -> Sizes {
    let all = |seed| make(seed).collect::<Vec<Resource>>();
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
    let mut engine = spanwire_topology::Engine::new();
    let mut batches = Batches::new(make(1));
    for (transaction, revision) in batches.by_ref().zip(1..) {
        assert!(transaction.operations.len() <= OPERATIONS);
        engine.apply(&transaction, revision).unwrap();
    }
    let sizes = batches.sizes();
    let hosts = (0..sizes.hosts as u32).map(spanwire_topology::engine::HostId);
    assert!(hosts.into_iter().all(|host| engine.host_name(host).is_some()), "hosts come first");
    sizes
}
