//! What an agent counts. Written as Prometheus text to [`METRICS_FILE`] in the state directory,
//! where a node exporter's textfile collector finds it: an agent listens on no port.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The name of the file in the state directory.
pub const METRICS_FILE: &str = "spanwire-agent.prom";

/// The metrics of one agent, with a registry of their own.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connected: Gauge,
    pub(crate) connections: Counter,
    pub(crate) revision: Gauge,
    pub(crate) items: Gauge,
    pub(crate) rejections: Gauge,
    pub(crate) batches: Counter,
    pub(crate) failures: Counter,
    pub(crate) repairs: Counter,
    pub(crate) store_seconds: Histogram,
    pub(crate) apply_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        // 100 us to 26 s.
        let seconds = || Histogram::new(exponential_buckets(0.000_1, 4.0, 10));
        let mut registry = Registry::with_prefix("spanwire_agent");
        let metrics = Metrics {
            connected: Gauge::default(),
            connections: Counter::default(),
            revision: Gauge::default(),
            items: Gauge::default(),
            rejections: Gauge::default(),
            batches: Counter::default(),
            failures: Counter::default(),
            repairs: Counter::default(),
            store_seconds: seconds(),
            apply_seconds: seconds(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register("connected", "1 if a controller has welcomed us", metrics.connected.clone());
        r.register("connections", "Welcomes since the start", metrics.connections.clone());
        r.register("revision", "Revision in force", metrics.revision.clone());
        r.register("items", "Items of the view", metrics.items.clone());
        r.register("rejections", "Items not in force", metrics.rejections.clone());
        r.register("batches", "Steps of the view since the start", metrics.batches.clone());
        r.register("failures", "Steps that had to be tried again", metrics.failures.clone());
        r.register("repairs", "Differences of the datapath put right", metrics.repairs.clone());
        let (store, apply) = (metrics.store_seconds.clone(), metrics.apply_seconds.clone());
        r.register_with_unit("store", "Time to keep a step on disk", Unit::Seconds, store);
        r.register_with_unit("apply", "Time to put a step in force", Unit::Seconds, apply);
        Metrics { registry, ..metrics }
    }

    /// All metrics as text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_and_counted() {
        let metrics = Metrics::new();
        metrics.revision.set(7);
        metrics.batches.inc();
        metrics.apply_seconds.observe(0.001);
        let text = metrics.to_text();
        for line in [
            "spanwire_agent_revision 7",
            "spanwire_agent_batches_total 1",
            "spanwire_agent_apply_seconds_count 1",
            "spanwire_agent_connected 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line:?} is not in\n{text}");
        }
    }
}
