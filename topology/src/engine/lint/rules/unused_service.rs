//! A service that nothing refers to.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::state::Engine;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.services {
        let service = &engine.services[id];
        if service.users.is_empty() {
            let object = service.object.resource.key();
            let message = "no policy refers to it";
            findings.push(about(object, "unused-service", Severity::Info, message, Vec::new()));
        }
    }
}
