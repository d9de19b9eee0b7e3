//! Counters for Prometheus: a registry of their own for each controller, for tests run many in one
//! process.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of what happens with each other replica, by its identity.
pub type PerReplica = Family<Vec<(&'static str, String)>, Counter>;

/// The counters of a controller.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Transactions applied.
    pub transactions_committed: Counter,
    /// Transactions that reached the log and were refused.
    pub transactions_rejected: Counter,
    /// Time that the state was held to apply transactions.
    pub apply_seconds: Histogram,
    /// Time of one synced write to the log.
    pub log_write_seconds: Histogram,
    /// Transactions written with one sync.
    pub log_batch_transactions: Histogram,
    /// Snapshots taken.
    pub snapshots: Counter,
    /// Time from the commit of the oldest change in a batch until its host had it in the datapath.
    pub host_convergence_seconds: Histogram,
    /// Streams of hosts that were opened.
    pub host_streams_opened: Counter,
    /// Hosts woken by transactions: one for each host that a transaction, or several that were applied
    /// together, had news for.
    pub host_wakes: Counter,
    /// Messages that were handed to the connections of hosts.
    pub host_messages_sent: Counter,
    /// Bytes of these, without the frames of gRPC and HTTP/2.
    pub host_bytes_sent: Counter,
    /// Checks of what hosts hold that came to their end.
    pub host_checks: Counter,
    /// Items that these found to differ and repaired.
    pub host_check_repairs: Counter,
    /// Messages to other replicas that were given to a connection.
    pub peer_messages_sent: PerReplica,
    /// Messages to other replicas that were dropped, without a connection or room in it.
    pub peer_messages_dropped: PerReplica,
    /// Sampled when asked for: see [`Sample`].
    sampled: Sampled,
}

#[derive(Debug, Clone, Default)]
struct Sampled {
    deltas_encoded: Counter,
    items_encoded: Counter,
    revision: Gauge<u64, AtomicU64>,
    applied_index: Gauge<u64, AtomicU64>,
    hosts_connected: Gauge<u64, AtomicU64>,
    hosts_behind: Gauge<u64, AtomicU64>,
    change_log_bytes: Gauge<u64, AtomicU64>,
    item_cache_bytes: Gauge<u64, AtomicU64>,
}

/// What is looked up when the metrics are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Revision of the state.
    pub revision: u64,
    /// The last log entry applied.
    pub applied_index: u64,
    /// Hosts with an open stream.
    pub hosts_connected: u64,
    /// Those of them that do not have the newest revision in their datapath.
    pub hosts_behind: u64,
    /// Deltas encoded since the start: one for each change of an item, however many hosts have it.
    pub deltas_encoded: u64,
    /// Items encoded whole since the start.
    pub items_encoded: u64,
    /// Bytes of the deltas kept.
    pub change_log_bytes: u64,
    /// What the encoded items kept take.
    pub item_cache_bytes: u64,
}

impl Metrics {
    /// Counters at zero, in a registry of their own.
    pub fn new() -> (Metrics, Registry) {
        // 50 us to 26 s.
        let mk_seconds = || Histogram::new(exponential_buckets(50e-6, 2.0, 20));
        let metrics = Metrics {
            transactions_committed: Counter::default(),
            transactions_rejected: Counter::default(),
            apply_seconds: mk_seconds(),
            log_write_seconds: mk_seconds(),
            log_batch_transactions: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            snapshots: Counter::default(),
            host_convergence_seconds: mk_seconds(),
            host_streams_opened: Counter::default(),
            host_wakes: Counter::default(),
            host_messages_sent: Counter::default(),
            host_bytes_sent: Counter::default(),
            host_checks: Counter::default(),
            host_check_repairs: Counter::default(),
            peer_messages_sent: PerReplica::default(),
            peer_messages_dropped: PerReplica::default(),
            sampled: Sampled::default(),
        };
        let registry = metrics.mk_registry();
        (metrics, registry)
    }

    fn mk_registry(&self) -> Registry {
        let mut all = Registry::with_prefix("spanwire_controller");
        let Metrics {
            transactions_committed,
            transactions_rejected,
            apply_seconds,
            log_write_seconds,
            log_batch_transactions,
            snapshots,
            host_convergence_seconds,
            host_streams_opened,
            host_wakes,
            host_messages_sent,
            host_bytes_sent,
            host_checks,
            host_check_repairs,
            peer_messages_sent,
            peer_messages_dropped,
            sampled,
        } = self.clone();
        let Sampled {
            deltas_encoded,
            items_encoded,
            revision,
            applied_index,
            hosts_connected,
            hosts_behind,
            change_log_bytes,
            item_cache_bytes,
        } = sampled;
        all.register("transactions_committed", "Transactions applied", transactions_committed);
        let help = "Transactions that reached the log and were refused";
        all.register("transactions_rejected", help, transactions_rejected);
        let help = "Time that the state was held to apply transactions";
        all.register_with_unit("apply", help, Unit::Seconds, apply_seconds);
        let help = "Time of one synced write to the log";
        all.register_with_unit("log_write", help, Unit::Seconds, log_write_seconds);
        let help = "Transactions written with one sync";
        all.register("log_batch_transactions", help, log_batch_transactions);
        all.register("snapshots", "Snapshots taken", snapshots);
        let help = "Time from the commit of a change until a host had it in its datapath";
        all.register_with_unit("host_convergence", help, Unit::Seconds, host_convergence_seconds);
        all.register("host_streams_opened", "Streams of hosts opened", host_streams_opened);
        all.register(
            "host_wakes",
            "Hosts woken by transactions that have news for them",
            host_wakes,
        );
        all.register("host_messages_sent", "Messages to hosts", host_messages_sent);
        let help = "Messages to hosts, without frames";
        all.register_with_unit("host_sent", help, Unit::Bytes, host_bytes_sent);
        all.register("host_checks", "Checks of what hosts hold", host_checks);
        let help = "Items of hosts that a check found to differ and repaired";
        all.register("host_check_repairs", help, host_check_repairs);
        let help = "Messages to another replica given to a connection";
        all.register("peer_messages_sent", help, peer_messages_sent);
        let help = "Messages to another replica dropped, without a connection or room in it";
        all.register("peer_messages_dropped", help, peer_messages_dropped);
        all.register("revision", "Revision of the state", revision);
        all.register("applied_index", "The last log entry applied", applied_index);
        all.register("hosts_connected", "Hosts with an open stream", hosts_connected);
        let help = "Connected hosts without the newest revision in their datapath";
        all.register("hosts_behind", help, hosts_behind);
        let help = "Changes of items encoded, each once for all hosts";
        all.register("deltas_encoded", help, deltas_encoded);
        let help = "Items encoded whole, each once for all hosts while it is kept";
        all.register("items_encoded", help, items_encoded);
        let help = "Encoded deltas kept";
        all.register_with_unit("change_log", help, Unit::Bytes, change_log_bytes);
        let help = "Encoded items kept";
        all.register_with_unit("item_cache", help, Unit::Bytes, item_cache_bytes);
        all
    }

    /// Takes what was looked up.
    pub fn set(&self, sample: Sample) {
        let Sample {
            deltas_encoded,
            items_encoded,
            revision,
            applied_index,
            hosts_connected,
            hosts_behind,
            change_log_bytes,
            item_cache_bytes,
        } = sample;
        // Counted elsewhere, and growing there alone.
        self.sampled.deltas_encoded.inner().store(deltas_encoded, Ordering::Relaxed);
        self.sampled.items_encoded.inner().store(items_encoded, Ordering::Relaxed);
        self.sampled.revision.set(revision);
        self.sampled.applied_index.set(applied_index);
        self.sampled.hosts_connected.set(hosts_connected);
        self.sampled.hosts_behind.set(hosts_behind);
        self.sampled.change_log_bytes.set(change_log_bytes);
        self.sampled.item_cache_bytes.set(item_cache_bytes);
    }
}
