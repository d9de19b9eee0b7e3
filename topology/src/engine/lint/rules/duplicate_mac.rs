//! Two bound ports of one switch with one MAC address: frames for one get to the other.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::ids::{Map, PortId};
use crate::engine::state::Engine;
use crate::model::Mac;

/// A switch with more ports is not looked at for the sake of a few that were touched.
const TOUCHED_PORTS_MAX: u64 = 4_096;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.switches {
        let switch = &engine.switches[id];
        if scope.is_touched && switch.ports.len() > TOUCHED_PORTS_MAX + scope.ports.len() as u64 {
            continue;
        }
        let mut by_mac: Map<Mac, PortId> = Map::default();
        for port in switch.ports.iter() {
            let state = &engine.ports[port];
            if state.host.is_none() {
                continue;
            }
            let mac = state.spec().mac;
            let &mut first = by_mac.entry(mac).or_insert(port);
            if first == port {
                continue;
            }
            // The newer of the two is more likely the one to change.
            let age = |port: PortId| engine.ports[port].object.uid;
            let (old, new) = if age(first) < age(port) { (first, port) } else { (port, first) };
            by_mac.insert(mac, old);
            let key = |port: PortId| engine.ports[port].object.resource.key();
            let message = format!(
                "has MAC address {mac} on {}, as {} has",
                switch.object.resource.key(),
                key(old)
            );
            let others = vec![key(old)];
            findings.push(about(key(new), "duplicate-mac", Severity::Error, message, others));
        }
    }
}
