//! The rules: one file and one function each.

mod address_outside_subnets;
mod contradictory_selector;
mod duplicate_mac;
mod empty_group;
mod empty_service;
mod family_mismatch;
mod idle_policy;
mod isolated_router;
mod router_address_outside_subnets;
mod rule_without_peers;
mod rule_without_services;
mod shadowed_rule;
mod unbound_group;
mod unreachable_default;
mod unreachable_peers;
mod unused_group;
mod unused_service;
mod uplink_to_nothing;
mod useless_applied_to;

use super::report::Collector;
use super::scope::Scope;
use super::{Finding, Severity};
use crate::engine::ids::PolicyId;
use crate::engine::state::Engine;
use crate::model::ObjectKey;

/// A rule: it looks at the objects of a scope and says what it finds.
type Check = fn(&Engine, &Scope, &mut Vec<Finding>);

/// What is told of a rule.
#[derive(Debug, Clone, Copy)]
pub struct RuleInfo {
    /// The identifier.
    pub id: &'static str,
    /// The severity of its worst finding.
    pub severity: Severity,
    /// What it finds, in one line.
    pub summary: &'static str,
    check: Check,
}

macro_rules! rules {
    ($($severity:ident $module:ident $id:literal $summary:literal;)*) => {
        /// All rules, sorted by identifier.
        pub const RULES: &[RuleInfo] = &[$(
            RuleInfo {
                id: $id,
                severity: Severity::$severity,
                summary: $summary,
                check: $module::check,
            },
        )*];
    };
}

rules! {
    Warning address_outside_subnets "address-outside-subnets"
        "a port's address lies in no subnet of its switch";
    Error contradictory_selector "contradictory-selector"
        "a selector asks for what no port can have";
    Error duplicate_mac "duplicate-mac"
        "two bound ports of one switch have the same MAC address";
    Warning empty_group "empty-group"
        "a group matches nothing";
    Warning empty_service "empty-service"
        "a service has no entries";
    Warning family_mismatch "family-mismatch"
        "a rule's ports, peers and services have no address family in common";
    Warning idle_policy "idle-policy"
        "a policy is applied to no port";
    Warning isolated_router "isolated-router"
        "a router can see no one";
    Warning router_address_outside_subnets "router-address-outside-subnets"
        "a router's address on a switch lies in no subnet of it";
    Warning rule_without_peers "rule-without-peers"
        "all peers of a rule are empty";
    Warning rule_without_services "rule-without-services"
        "all services of a rule are empty";
    Warning shadowed_rule "shadowed-rule"
        "an earlier rule matches everything that a rule matches";
    Warning unbound_group "unbound-group"
        "policies are applied to a group none of whose ports is bound to a host";
    Warning unreachable_default "unreachable-default"
        "something before it always decides, so a policy's default never does";
    Warning unreachable_peers "unreachable-peers"
        "none of a rule's peers can ever meet a port that the rule is applied to";
    Info unused_group "unused-group"
        "nothing refers to a group";
    Info unused_service "unused-service"
        "nothing refers to a service";
    Warning uplink_to_nothing "uplink-to-nothing"
        "a router's uplink or peer leads nowhere else";
    Warning useless_applied_to "useless-applied-to"
        "a policy is applied to a group that has CIDR blocks and no ports";
}

/// Runs every rule that may find what is asked for.
pub(super) fn run(engine: &Engine, scope: &Scope, collector: &mut Collector) {
    let mut findings = Vec::new();
    for rule in RULES {
        if collector.wants(rule.severity) {
            (rule.check)(engine, scope, &mut findings);
            debug_assert!(
                findings.iter().all(|f| f.rule == rule.id && f.severity <= rule.severity)
            );
            collector.take(&mut findings);
        }
    }
}

/// A finding about an object.
fn about(
    object: ObjectKey,
    rule: &'static str,
    severity: Severity,
    message: impl Into<String>,
    others: Vec<ObjectKey>,
) -> Finding {
    Finding { object, position: None, rule, severity, message: message.into(), others }
}

/// A finding about a policy's rule, whose message starts with which rule it is.
fn about_rule(
    engine: &Engine,
    policy: PolicyId,
    position: usize,
    rule: &'static str,
    severity: Severity,
    message: &str,
    others: Vec<ObjectKey>,
) -> Finding {
    let policy = &engine.policies[policy];
    let message = format!("{} {message}", rule_name(policy, position));
    let object = policy.object.resource.key();
    Finding { object, position: Some(position), rule, severity, message, others }
}

/// `rule 2 (web)`: rules are counted from 1 for people, and have a name or not.
pub(in crate::engine) fn rule_name(
    policy: &crate::engine::state::Policy,
    position: usize,
) -> String {
    match policy.spec().rules.get(position).and_then(|rule| rule.name.as_ref()) {
        Some(name) => format!("rule {} ({name})", position + 1),
        None => format!("rule {}", position + 1),
    }
}

/// True if a policy is applied to at least one port.
fn has_ports(engine: &Engine, policy: PolicyId) -> bool {
    let applied_to = &engine.policies[policy].applied_to;
    applied_to.iter().any(|&group| !engine.groups[group].shards.is_empty())
}
