//! Security policies.

use super::error::{ConvertError, Path, Problem};
use super::fields::{Referrer, from_ref, from_refs, to_list, to_name};
use super::service::{from_entry, to_entry};
use crate::wire;
use crate::wire::service_match::Match;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, Peer, Rule, SecurityPolicySpec, ServiceMatch,
};

type Result<T> = std::result::Result<T, ConvertError>;

pub(super) fn to_policy(
    spec: &wire::SecurityPolicySpec,
    referrer: Referrer<'_>,
    path: &Path<'_>,
) -> Result<SecurityPolicySpec> {
    let wire::SecurityPolicySpec { applied_to, tier, priority, default_in, default_out, rules } =
        spec;
    Ok(SecurityPolicySpec {
        applied_to: referrer.to_refs(applied_to, &path.field("applied_to"))?,
        tier: u16::try_from(*tier).map_err(|_| {
            path.field("tier").error(Problem::OutOfRange {
                found: (*tier).into(),
                min: 0,
                max: u16::MAX.into(),
            })
        })?,
        priority: *priority,
        defaults: DefaultActions {
            inbound: to_default(*default_in, &path.field("default_in"))?,
            outbound: to_default(*default_out, &path.field("default_out"))?,
        },
        rules: to_list(rules, &path.field("rules"), |rule, path| to_rule(rule, referrer, path))?,
    })
}

pub(super) fn from_policy(spec: &SecurityPolicySpec) -> wire::SecurityPolicySpec {
    let SecurityPolicySpec { applied_to, tier, priority, defaults, rules } = spec;
    let DefaultActions { inbound, outbound } = defaults;
    wire::SecurityPolicySpec {
        applied_to: from_refs(applied_to),
        tier: (*tier).into(),
        priority: *priority,
        default_in: from_default(*inbound),
        default_out: from_default(*outbound),
        rules: rules.iter().map(from_rule).collect(),
    }
}

fn to_rule(rule: &wire::Rule, referrer: Referrer<'_>, path: &Path<'_>) -> Result<Rule> {
    let wire::Rule { name, direction, peers, services, action, log } = rule;
    let name = match name.as_str() {
        "" => None,
        name => Some(to_name("rule name", name, &path.field("name"))?),
    };
    let to_peer = |peer: &wire::Peer, path: &Path<'_>| {
        let wire::Peer { group, negate } = peer;
        let expected = "the group whose members the rule looks for";
        let group = referrer.to_required_ref(group.as_ref(), expected, &path.field("group"))?;
        Ok(Peer { group, negate: *negate })
    };
    let to_match = |service: &wire::ServiceMatch, path: &Path<'_>| match &service.r#match {
        Some(Match::Service(service)) => {
            Ok(ServiceMatch::Service(referrer.to_ref(service, &path.field("service"))?))
        }
        Some(Match::Entry(entry)) => {
            Ok(ServiceMatch::Entry(to_entry(entry, &path.field("entry"))?))
        }
        None => Err(path.missing("a service, or an entry written in place")),
    };
    Ok(Rule {
        name,
        direction: to_direction(*direction, &path.field("direction"))?,
        peers: to_list(peers, &path.field("peers"), to_peer)?,
        services: to_list(services, &path.field("services"), to_match)?,
        action: to_action(*action, &path.field("action"))?,
        log: *log,
    })
}

fn from_rule(rule: &Rule) -> wire::Rule {
    let Rule { name, direction, peers, services, action, log } = rule;
    wire::Rule {
        name: name.as_deref().unwrap_or_default().to_owned(),
        direction: from_direction(*direction).into(),
        peers: peers
            .iter()
            .map(|Peer { group, negate }| wire::Peer {
                group: Some(from_ref(group)),
                negate: *negate,
            })
            .collect(),
        services: services
            .iter()
            .map(|service| wire::ServiceMatch {
                r#match: Some(match service {
                    ServiceMatch::Service(service) => Match::Service(from_ref(service)),
                    ServiceMatch::Entry(entry) => Match::Entry(from_entry(entry)),
                }),
            })
            .collect(),
        action: from_action(*action).into(),
        log: *log,
    }
}

fn to_direction(number: i32, path: &Path<'_>) -> Result<Direction> {
    match wire::Direction::try_from(number) {
        Ok(wire::Direction::In) => Ok(Direction::In),
        Ok(wire::Direction::Out) => Ok(Direction::Out),
        Ok(wire::Direction::Both) => Ok(Direction::Both),
        Ok(wire::Direction::Unspecified) | Err(_) => {
            Err(path.error(Problem::UnknownEnum { number, expected: "IN, OUT or BOTH" }))
        }
    }
}

/// A direction as the wire has it.
pub fn from_direction(direction: Direction) -> wire::Direction {
    match direction {
        Direction::In => wire::Direction::In,
        Direction::Out => wire::Direction::Out,
        Direction::Both => wire::Direction::Both,
    }
}

fn to_action(number: i32, path: &Path<'_>) -> Result<Action> {
    match wire::Action::try_from(number) {
        Ok(wire::Action::Allow) => Ok(Action::Allow),
        Ok(wire::Action::Drop) => Ok(Action::Drop),
        Ok(wire::Action::Reject) => Ok(Action::Reject),
        Ok(wire::Action::Pass) => Ok(Action::Pass),
        Ok(wire::Action::Unspecified) | Err(_) => {
            Err(path
                .error(Problem::UnknownEnum { number, expected: "ALLOW, DROP, REJECT or PASS" }))
        }
    }
}

/// An action as the wire has it.
pub fn from_action(action: Action) -> wire::Action {
    match action {
        Action::Allow => wire::Action::Allow,
        Action::Drop => wire::Action::Drop,
        Action::Reject => wire::Action::Reject,
        Action::Pass => wire::Action::Pass,
    }
}

fn to_default(number: i32, path: &Path<'_>) -> Result<Option<Action>> {
    if number == i32::from(wire::Action::Unspecified) {
        return Ok(None);
    }
    to_action(number, path).map(Some)
}

pub(super) fn from_default(action: Option<Action>) -> i32 {
    action.map_or(wire::Action::Unspecified, from_action).into()
}
