//! Security policies.

use super::context::{Context, found};
use super::service::read_entry;
use crate::tree::{Node, Value};
use spanwire_topology::model::{
    Action, DefaultActions, Direction, Peer, Rule, SecurityPolicySpec, ServiceMatch, Text,
};

const ACTIONS: [(&str, Action); 4] = [
    ("allow", Action::Allow),
    ("drop", Action::Drop),
    ("reject", Action::Reject),
    ("pass", Action::Pass),
];
const ACTIONS_EXPECTED: &str = "allow, drop, reject or pass";

const DIRECTIONS: [(&str, Direction); 3] =
    [("in", Direction::In), ("out", Direction::Out), ("both", Direction::Both)];
const DIRECTIONS_EXPECTED: &str = "in, out or both";

pub(super) fn read_policy(
    context: &Context<'_>,
    node: &Node,
    project: &Text,
) -> Option<SecurityPolicySpec> {
    let mut fields = context.fields(node, "a mapping with appliedTo, defaults and rules")?;
    // Required, because a policy that applies to nothing does nothing, and looks as if it did.
    let applied_to = fields.required("appliedTo", "the groups whose ports the policy guards");
    let applied_to = applied_to.map(|node| {
        let groups = context.list(node, "groups").iter();
        groups.filter_map(|node| context.reference(node, project, "group")).collect()
    });
    let tier = fields.optional("tier").and_then(|node| context.number(node, u16::MAX.into()));
    let priority =
        fields.optional("priority").and_then(|node| context.number(node, u32::MAX.into()));
    let defaults = fields.optional("defaults").and_then(|node| read_defaults(context, node));
    let rules = fields.list("rules", "rules", |node| read_rule(context, node, project));
    fields.finish();
    Some(SecurityPolicySpec {
        applied_to: applied_to?,
        tier: tier
            .and_then(|tier| u16::try_from(tier).ok())
            .unwrap_or(SecurityPolicySpec::TIER_DEFAULT),
        priority: priority
            .and_then(|priority| u32::try_from(priority).ok())
            .unwrap_or(SecurityPolicySpec::PRIORITY_DEFAULT),
        defaults: defaults.unwrap_or_default(),
        rules,
    })
}

fn read_defaults(context: &Context<'_>, node: &Node) -> Option<DefaultActions> {
    let mut fields = context.fields(node, "a mapping with in and out")?;
    let inbound = fields.optional("in").and_then(|node| read_action(context, node));
    let outbound = fields.optional("out").and_then(|node| read_action(context, node));
    fields.finish();
    Some(DefaultActions { inbound, outbound })
}

fn read_action(context: &Context<'_>, node: &Node) -> Option<Action> {
    context.word(node, &ACTIONS, ACTIONS_EXPECTED)
}

fn read_rule(context: &Context<'_>, node: &Node, project: &Text) -> Option<Rule> {
    let mut fields = context.fields(node, "a mapping with direction and action")?;
    let name = fields.optional("name").and_then(|node| context.name(node, "rule name"));
    let direction = fields.required("direction", DIRECTIONS_EXPECTED);
    let direction = direction.and_then(|node| context.word(node, &DIRECTIONS, DIRECTIONS_EXPECTED));
    let peers = fields.list("peers", "groups", |node| read_peer(context, node, project));
    let services =
        fields.list("services", "services", |node| read_service_match(context, node, project));
    let action = fields.required("action", ACTIONS_EXPECTED);
    let action = action.and_then(|node| read_action(context, node));
    let log = fields.optional("log").and_then(|node| context.boolean(node));
    fields.finish();
    Some(Rule {
        name,
        direction: direction?,
        peers,
        services,
        action: action?,
        log: log.unwrap_or(false),
    })
}

/// A group by name, or `{group, negate}`.
fn read_peer(context: &Context<'_>, node: &Node, project: &Text) -> Option<Peer> {
    match &node.value {
        Value::Scalar { .. } => {
            Some(Peer { group: context.reference(node, project, "group")?, negate: false })
        }
        Value::Map(_) => {
            let mut fields = context.fields(node, "a mapping with group and negate")?;
            let group = fields.required("group", "the group, as name or project/name");
            let group = group.and_then(|node| context.reference(node, project, "group"));
            let negate = fields.optional("negate").and_then(|node| context.boolean(node));
            fields.finish();
            Some(Peer { group: group?, negate: negate.unwrap_or(false) })
        }
        Value::Null | Value::List(_) => {
            let problem = format_args!(
                "expected a group as name or project/name, or a mapping with group and negate, \
                 found {}",
                found(node)
            );
            context.error(node, problem);
            None
        }
    }
}

/// A service by name, or an entry written in place.
fn read_service_match(context: &Context<'_>, node: &Node, project: &Text) -> Option<ServiceMatch> {
    match &node.value {
        Value::Scalar { .. } => {
            context.reference(node, project, "service").map(ServiceMatch::Service)
        }
        Value::Map(_) => read_entry(context, node).map(ServiceMatch::Entry),
        Value::Null | Value::List(_) => {
            let problem = format_args!(
                "expected a service as name or project/name, or a mapping with a protocol, found \
                 {}",
                found(node)
            );
            context.error(node, problem);
            None
        }
    }
}
