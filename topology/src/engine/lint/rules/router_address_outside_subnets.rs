//! A router whose address on a switch lies in no subnet of it: workloads cannot use it as gateway.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use super::address_outside_subnets::{is_outside, lies, subnets};
use crate::engine::ids::SwitchId;
use crate::engine::state::Engine;
use crate::model::Kind;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.routers {
        let router = &engine.routers[id];
        for interface in &router.spec().interfaces {
            let reference = &interface.switch;
            let slot = engine.slot(Kind::LogicalSwitch, &reference.project, &reference.name);
            let Some(switch) = slot.map(SwitchId) else { continue };
            let subnets = subnets(engine, switch);
            let outside: Vec<String> = interface
                .addresses
                .iter()
                .filter(|address| is_outside(subnets, **address))
                .map(ToString::to_string)
                .collect();
            if outside.is_empty() {
                continue;
            }
            let switch = engine.switches[switch].object.resource.key();
            let message = format!("its address on {switch}: {} in no subnet of it", lies(&outside));
            let object = router.object.resource.key();
            let rule = "router-address-outside-subnets";
            findings.push(about(object, rule, Severity::Warning, message, vec![switch]));
        }
    }
}
