//! A router with an uplink or a peer that leads nowhere else.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::ids::RouterId;
use crate::engine::state::Engine;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.routers {
        let router = &engine.routers[id];
        let links = &router.links;
        for (what, list) in
            [("uplink", &links.joined), ("uplink", &links.silent), ("peer", &links.peers)]
        {
            for &other in list.iter().filter(|&&other| is_dead_end(engine, id, other)) {
                let key = engine.routers[other].object.resource.key();
                let message = format!(
                    "its {what} {key} leads nowhere: it has no switch, and no other router is \
                     linked with it"
                );
                let object = router.object.resource.key();
                let rule = "uplink-to-nothing";
                findings.push(about(object, rule, Severity::Warning, message, vec![key]));
            }
        }
    }
}

/// True if a router leads to nothing but the one that one comes from.
fn is_dead_end(engine: &Engine, from: RouterId, id: RouterId) -> bool {
    let router = &engine.routers[id];
    let links = &router.links;
    let mut lists = [
        &links.joined,
        &links.silent,
        &links.peers,
        &router.joined_by,
        &router.silent_by,
        &router.peered_by,
    ]
    .into_iter();
    links.switches.is_empty()
        && lists.all(|list| list.iter().all(|&other| other == from || other == id))
}
