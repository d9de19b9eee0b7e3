//! A service without entries, which matches nothing.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::state::Engine;
use crate::model::Spec;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.services {
        let object = &engine.services[id].object;
        if matches!(&*object.resource.spec, Spec::Service(spec) if spec.entries.is_empty()) {
            let (key, message) = (object.resource.key(), "has no entries, so it matches nothing");
            findings.push(about(key, "empty-service", Severity::Warning, message, Vec::new()));
        }
    }
}
