//! An engine with a workload in it.

use crate::measure::{Report, Spent, Stopwatch, Views};
use crate::workloads::{Batches, Sizes};
use spanwire_topology::{Engine, Resource, Revision};

/// An engine, what it was told, and how long it took over it.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) sizes: Sizes,
    /// Of the engine: from the empty one, the changes dropped that it reported. Making and dropping
    /// the input does not count.
    pub(crate) spent: Spent,
    /// The revision for the next transaction.
    pub(crate) next_revision: Revision,
}

impl Loaded {
    /// Applies resources to an empty engine, in transactions that are made while they are applied.
    pub(crate) fn from_resources(
        resources: impl Iterator<Item = Resource>,
    ) -> Result<Loaded, String> {
        let mut watch = Stopwatch::default();
        let mut engine = Engine::new();
        let mut batches = Batches::new(resources);
        let mut next_revision = 1;
        for transaction in batches.by_ref() {
            watch
                .time(|| engine.apply(&transaction, next_revision).map(drop))
                .map_err(|refusal| refusal.to_string())?;
            next_revision += 1;
        }
        Ok(Loaded { engine, sizes: batches.sizes(), spent: watch.spent(), next_revision })
    }

    /// Has every host served, as a controller does that they are all connected to: what each gains
    /// and loses is reported with every change.
    pub(crate) fn watch_all(&mut self) {
        for host in 0..self.sizes.hosts as u32 {
            self.engine.set_watched(spanwire_topology::engine::HostId(host), true);
        }
    }
}

/// The figures that every run has.
pub(crate) fn describe(report: &mut Report, sizes: &Sizes, views: &Views) {
    report.set("ports", sizes.ports);
    report.set("hosts", sizes.hosts);
    report.set("switches", sizes.switches);
    report.set("routers", sizes.routers);
    report.set("groups", sizes.groups);
    report.set("policies", sizes.policies);
    report.set("rules", sizes.rules);
    report.set("shards", views.shards);
    report.set("subscriptions", views.subscriptions);
    report.set("items", views.items);
}
