//! A router that can see no one, or that joins nothing.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::state::{Engine, Router};

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.routers {
        let router = &engine.routers[id];
        let (severity, message) = match (router.links.switches.len(), has_links(router)) {
            (0, false) => {
                (Severity::Warning, "can see no one: it has no interface, uplink or peering")
            }
            _ if !sees_ports(engine, router) => (
                Severity::Warning,
                "can see no one: no port lies on a switch that it leads to, directly or over other \
                 routers",
            ),
            (1, false) => (
                Severity::Info,
                "joins nothing: it has an interface on one switch, and no uplink or peering, nor \
                 is it another's",
            ),
            _ => continue,
        };
        let object = router.object.resource.key();
        findings.push(about(object, "isolated-router", severity, message, Vec::new()));
    }
}

fn has_links(router: &Router) -> bool {
    let links = &router.links;
    [
        &links.joined,
        &links.silent,
        &links.peers,
        &router.joined_by,
        &router.silent_by,
        &router.peered_by,
    ]
    .into_iter()
    .any(|list| !list.is_empty())
}

/// True if there is a port in the router's domain, or in one that it has a one-way path or a peering
/// with.
fn sees_ports(engine: &Engine, router: &Router) -> bool {
    let here = &engine.domains[router.domain];
    here.ports > 0
        || [&here.up, &here.down, &here.peers]
            .into_iter()
            .flatten()
            .any(|&domain| engine.domains[domain].ports > 0)
}
