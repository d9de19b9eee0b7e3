//! A rule that would need packets of two address families at once: ICMPv6 between IPv4 ports, IPv4
//! peers of IPv6 ports.

use super::super::cover::ResolvedRule;
use super::super::families::Families;
use super::super::scope::Scope;
use super::super::{Finding, Severity};
use super::about_rule;
use crate::engine::state::Engine;

pub(super) fn check(engine: &Engine, scope: &Scope, findings: &mut Vec<Finding>) {
    for &id in &scope.policies {
        let groups = engine.policies[id].applied_to.iter();
        let ports = groups
            .map(|&group| scope.families(engine, group))
            .fold(Families::NONE, Families::union);
        // Without a port, or with ports that have no address yet, another rule has more to say.
        if ports.is_empty() {
            continue;
        }
        for (position, rule) in scope.rules(engine, id).iter().enumerate() {
            let (peers, services) = (of_peers(engine, scope, rule), of_services(rule));
            if peers.is_empty()
                || services.is_empty()
                || !ports.intersection(peers).intersection(services).is_empty()
            {
                continue;
            }
            let message = format!(
                "matches no packet: the ports it is applied to have {} addresses, its peers {}, and \
                 its services match {}",
                ports.name(),
                peers.name(),
                services.name()
            );
            let groups = rule.peers.iter().flatten();
            let others = groups.map(|&(group, _)| engine.groups[group].object.resource.key());
            findings.push(about_rule(
                engine,
                id,
                position,
                "family-mismatch",
                Severity::Warning,
                &message,
                others.collect(),
            ));
        }
    }
}

fn of_peers(engine: &Engine, scope: &Scope, rule: &ResolvedRule) -> Families {
    let Some(peers) = &rule.peers else { return Families::BOTH };
    let each = peers.iter().map(|&(group, negate)| match negate {
        true => Families::BOTH,
        false => scope.families(engine, group).union(Families::of_blocks(engine, group)),
    });
    each.fold(Families::NONE, Families::union)
}

fn of_services(rule: &ResolvedRule) -> Families {
    let Some(entries) = &rule.entries else { return Families::BOTH };
    entries.iter().map(Families::of_entry).fold(Families::NONE, Families::union)
}
