//! A port whose address lies in no subnet of its switch.

use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about;
use crate::engine::ids::SwitchId;
use crate::engine::state::Engine;
use crate::model::Spec;
use ipnet::IpNet;
use std::net::IpAddr;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.ports {
        let port = &engine.ports[id];
        let subnets = subnets(engine, port.switch);
        let outside: Vec<String> = port
            .spec()
            .addresses
            .iter()
            .filter(|address| is_outside(subnets, **address))
            .map(ToString::to_string)
            .collect();
        if outside.is_empty() {
            continue;
        }
        let switch = engine.switches[port.switch].object.resource.key();
        let message = format!("{} in no subnet of {switch}", lies(&outside));
        let object = port.object.resource.key();
        let rule = "address-outside-subnets";
        findings.push(about(object, rule, Severity::Warning, message, vec![switch]));
    }
}

pub(super) fn subnets(engine: &Engine, switch: SwitchId) -> &[IpNet] {
    match &*engine.switches[switch].object.resource.spec {
        Spec::LogicalSwitch(spec) => &spec.subnets,
        _ => &[],
    }
}

/// True if there are subnets of the address's family, and it is in none of them.
pub(super) fn is_outside(subnets: &[IpNet], address: IpAddr) -> bool {
    let mut family = subnets
        .iter()
        .filter(|subnet| matches!(subnet, IpNet::V4(_)) == address.is_ipv4())
        .peekable();
    family.peek().is_some() && !family.any(|subnet| subnet.contains(&address))
}

/// `10.0.0.1 lies`, `10.0.0.1 and 10.0.0.2 lie`
pub(super) fn lies(addresses: &[String]) -> String {
    let verb = if addresses.len() == 1 { "lies" } else { "lie" };
    format!("{} {verb}", addresses.join(" and "))
}
