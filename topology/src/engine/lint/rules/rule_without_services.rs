//! A rule whose services are all empty: there is no packet that it could match.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about_rule;
use crate::engine::state::Engine;
use crate::model::{Kind, ServiceMatch};

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.policies {
        let rules = scope.rules(engine, id);
        for (position, rule) in rules.iter().enumerate() {
            if rule.entries.as_ref().is_none_or(|entries| !entries.is_empty()) {
                continue;
            }
            let services = &engine.policies[id].spec().rules[position].services;
            let others = services.iter().filter_map(|service| match service {
                ServiceMatch::Service(reference) => Some(reference.to_key(Kind::Service)),
                ServiceMatch::Entry(_) => None,
            });
            findings.push(about_rule(
                engine,
                id,
                position,
                "rule-without-services",
                Severity::Warning,
                "matches no packet: its services have no entries",
                others.collect(),
            ));
        }
    }
}
