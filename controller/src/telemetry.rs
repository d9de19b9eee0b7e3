//! Every log message of the controller, with its level and fields, in one place.
//!
//! ERROR: an operator must act. WARN: something is wrong with a host, or will be. INFO: the course
//! of things, a few lines a host. DEBUG: each revision of each host. What the Raft core says comes
//! with the target `spanwire::raft`, one level below its own; all else has `spanwire::controller`.

use spanwire_hostproto::message::Drift;
use spanwire_hostproto::{CheckReport, Difference};
use spanwire_topology::model::Revision;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

/// What log filters name.
const TARGET: &str = "spanwire::controller";

pub(crate) fn controller_serves(cluster: impl Display, address: SocketAddr, revision: Revision) {
    tracing::info!(target: TARGET, %cluster, %address, revision, "controller serves");
}

pub(crate) fn controller_stops() {
    tracing::info!(target: TARGET, "controller stops");
}

pub(crate) fn core_stopped(error: &dyn Display) {
    tracing::error!(target: TARGET, %error, "the core stopped: nothing more is written");
}

pub(crate) fn accept_failed(error: &dyn Display) {
    tracing::warn!(target: TARGET, %error, "a connection could not be accepted: are there too many?");
}

pub(crate) fn request_broke_off(error: &dyn Display) {
    tracing::error!(target: TARGET, %error, "a request broke off: this is a defect");
}

pub(crate) fn metrics_stopped(error: &dyn Display) {
    tracing::error!(target: TARGET, %error, "the metrics are not served any more");
}

pub(crate) fn snapshot_taken(index: u64) {
    tracing::info!(target: TARGET, index, "took a snapshot and cut the log");
}

pub(crate) fn snapshot_restored(index: u64) {
    tracing::info!(target: TARGET, index, "caught up by a snapshot of another replica");
}

pub(crate) fn snapshot_part_refused(problem: &str) {
    tracing::warn!(target: TARGET, problem, "a snapshot of another replica came damaged: asked again");
}

pub(crate) fn message_refused(error: &dyn Display) {
    tracing::debug!(target: TARGET, %error, "the Raft core did not take a message");
}

pub(crate) fn past_state_made(revision: Revision, took: Duration) {
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(target: TARGET, revision, took_ms, "made a state of the past from the log");
}

pub(crate) fn snapshot_failed(error: &dyn Display) {
    tracing::error!(target: TARGET, %error, "could not take a snapshot: the log is kept whole");
}

pub(crate) fn host_connected(host: &str, instance: u64, held: Revision) {
    tracing::info!(target: TARGET, host, instance, held, "host connected");
}

pub(crate) fn host_disconnected(host: &str, instance: u64) {
    tracing::info!(target: TARGET, host, instance, "host disconnected");
}

pub(crate) fn host_refused(detail: &str) {
    tracing::info!(target: TARGET, detail, "refused a host");
}

pub(crate) fn host_realized(host: &str, revision: Revision) {
    tracing::debug!(target: TARGET, host, revision, "host realized a revision");
}

pub(crate) fn host_drifted(host: &str, drift: &Drift) {
    let newest = drift.findings.last().map_or("", String::as_str);
    tracing::warn!(target: TARGET, host, repaired = drift.repaired_total, newest, "host put drift right");
}

pub(crate) fn host_repaired(host: &str, report: &CheckReport) {
    let (differed, items) = (report.found(), report.items);
    tracing::warn!(target: TARGET, host, differed, items, "host held what it should not, and was put right");
    for Difference { key, found, members } in &report.differences {
        tracing::warn!(
            target: TARGET,
            host,
            item = %key,
            found = found.as_str(),
            extra = members.extra.join(", "),
            extra_count = members.extra_count,
            missing = members.missing.join(", "),
            missing_count = members.missing_count,
            "an item of a host differed"
        );
    }
}

pub(crate) fn host_complained(host: &str, detail: &str) {
    tracing::warn!(target: TARGET, host, detail, "host could not use a batch");
}

pub(crate) fn host_broke_protocol(host: &str, detail: &str) {
    tracing::warn!(target: TARGET, host, detail, "host broke the protocol");
}

pub(crate) fn hosts_released(replica: u64, hosts: usize) {
    tracing::warn!(target: TARGET, replica, hosts, "no leader is known: hosts are let go");
}

pub(crate) fn waits_to_be_added(address: SocketAddr) {
    tracing::info!(target: TARGET, %address, "waits to be added to a cluster");
}

pub(crate) fn admitted(cluster: impl Display, replica: u64) {
    tracing::info!(target: TARGET, %cluster, replica, "was added to a cluster");
}

pub(crate) fn peer_lost(replica: u64, address: &str, problem: &str) {
    tracing::info!(target: TARGET, replica, address, problem, "no connection to a replica");
}

pub(crate) fn peer_refuses(replica: u64, address: &str, problem: &str) {
    tracing::warn!(target: TARGET, replica, address, problem, "a replica refuses this one");
}

pub(crate) fn peer_refused(status: &tonic::Status) {
    tracing::info!(target: TARGET, problem = status.message(), "refused a replica");
}

pub(crate) fn peer_message_refused(replica: u64, error: &dyn Display) {
    tracing::warn!(target: TARGET, replica, %error, "ended the stream of a replica");
}

pub(crate) fn hands_over(to: u64) {
    tracing::info!(target: TARGET, to, "hands leadership over");
}
