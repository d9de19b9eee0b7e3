//! Two bound ports of one switch with one MAC address: frames for one get to the other.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::ids::PortId;
use crate::engine::state::Engine;
use std::collections::BTreeSet;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    // The newer of two is more likely the one to change.
    let age = |port: &PortId| engine.ports[*port].object.uid;
    let key = |port: PortId| engine.ports[port].object.resource.key();
    // Of ports that were touched, and both have it, each finds the other.
    let mut found: BTreeSet<(PortId, PortId)> = BTreeSet::new();
    for &id in &scope.ports {
        let port = &engine.ports[id];
        if port.host.is_none() {
            continue;
        }
        let twins = engine.ports_with_mac(port.switch, port.spec().mac);
        let Some(oldest) = twins.iter().copied().min_by_key(age) else { continue };
        // Of the whole network each port is looked at.
        let newer = twins.into_iter().filter(|&twin| twin != oldest);
        found.extend(newer.filter(|&twin| scope.is_touched || twin == id).map(|id| (id, oldest)));
    }
    for (id, oldest) in found {
        let port = &engine.ports[id];
        let message = format!(
            "has MAC address {} on {}, as {} has",
            port.spec().mac,
            engine.switches[port.switch].object.resource.key(),
            key(oldest)
        );
        let others = vec![key(oldest)];
        findings.push(about(key(id), "duplicate-mac", Severity::Error, message, others));
    }
}
