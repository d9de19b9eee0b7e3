//! What an agent logs: each message in one place, with its level and its fields.

use crate::datapath::{Finding, Rejection};
use spanwire_hostproto::{Difference, HeldView};
use spanwire_topology::model::Revision;
use std::io;
use std::path::Path;
use std::time::Duration;

pub(crate) fn started(host: &str, datapath: &str, controllers: &[String]) {
    tracing::info!(host, datapath, ?controllers, "agent started");
}

pub(crate) fn stopped(host: &str, revision: Revision) {
    tracing::info!(host, revision, "agent stopped; the datapath goes on enforcing the last view");
}

pub(crate) fn removed(host: &str) {
    tracing::info!(host, "removed everything from the datapath, and deleted the view");
}

pub(crate) fn held_view(held: &HeldView) {
    let (revision, items) = (held.view.revision, held.view.items.len());
    tracing::info!(revision, items, cluster = %held.cluster_id, "restoring the view from disk");
}

pub(crate) fn nothing_held() {
    tracing::info!("no view on disk: the controller will send all of it");
}

pub(crate) fn store_set_aside(aside: &Path, problem: &str) {
    tracing::error!(
        aside = %aside.display(), problem,
        "the view on disk is damaged and was set aside; what is in the datapath stays in force \
         until the controller has sent the whole view. Check the disk"
    );
}

pub(crate) fn controller_not_found(controller: &str, error: &io::Error) {
    tracing::warn!(
        controller, %error,
        "the name of the controller cannot be looked up now: policies on the host's own stack may \
         cut it off; an address is safer than a name"
    );
}

pub(crate) fn connecting(controller: &str) {
    tracing::debug!(controller, "connecting");
}

pub(crate) fn welcomed(controller: &str, revision: Revision) {
    tracing::info!(controller, revision, "connected");
}

pub(crate) fn disconnected(controller: &str, problem: &str, wait: Duration) {
    tracing::warn!(controller, problem, ?wait, "no controller; the last view stays in force");
}

pub(crate) fn refused(controller: &str, reason: &str, detail: &str, wait: Duration) {
    tracing::warn!(
        controller,
        reason,
        detail,
        ?wait,
        "refused by the controller; the last view stays in force"
    );
}

pub(crate) fn applied(revision: Revision, rejections: usize, applied_in: Duration) {
    tracing::debug!(revision, rejections, ?applied_in, "view in force");
}

pub(crate) fn rejected(rejection: &Rejection) {
    tracing::warn!(item = %rejection.key, reason = rejection.reason, "not in force");
}

pub(crate) fn failed(revision: Revision, problem: &str, wait: Duration) {
    tracing::error!(
        revision,
        problem,
        ?wait,
        "the view could not be put in force; the one before stays in force"
    );
}

pub(crate) fn drift(finding: &Finding) {
    tracing::warn!(
        subject = finding.subject,
        kind = finding.kind.as_str(),
        repaired = finding.repaired,
        "the datapath differed from the view"
    );
}

pub(crate) fn repaired(difference: &Difference) {
    let Difference { key, found, members } = difference;
    tracing::warn!(
        item = %key,
        found = found.as_str(),
        extra = members.extra.join(", "),
        missing = members.missing.join(", "),
        "the view differed from the controller's and is put right"
    );
}

pub(crate) fn audit_failed(problem: &str) {
    tracing::error!(problem, "the datapath could not be compared with the view");
}

pub(crate) fn status_not_written(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "could not be written");
}
