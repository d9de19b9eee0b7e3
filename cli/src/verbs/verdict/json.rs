//! One answer as JSON.

use super::text::{action, entry};
use super::verdict_name;
use crate::output::render;
use serde_json::{Value, json};
use spanwire_adminproto::convert::{VerdictPacket, VerdictQuery};
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::decider::Kind;
use spanwire_topology::engine::PacketKind;

/// The whole answer.
pub(super) fn to_json(answer: &wire::VerdictAnswer, query: &VerdictQuery, revision: u64) -> Value {
    json!({
        "verdict": verdict_name(answer),
        "source": end(answer.source.as_ref()),
        "destination": end(answer.destination.as_ref()),
        "packet": packet(query.packet),
        "path": answer.path.iter().map(|step| json!({
            "link": step.link, "object": object(step.object.as_ref()),
        })).collect::<Vec<_>>(),
        "pathEnd": answer.path_end.as_ref().map(|end| json!({
            "kind": end.kind, "place": object(end.place.as_ref()),
            "beyond": object(end.beyond.as_ref()), "reason": end.reason,
        })),
        "atSource": answer.at_source.as_ref().map(host_decision),
        "atDestination": answer.at_destination.as_ref().map(host_decision),
        "revision": revision,
    })
}

/// A packet.
pub(super) fn packet(packet: VerdictPacket) -> Value {
    match packet {
        VerdictPacket::Kind(PacketKind::Transport { protocol, source_port, port }) => {
            json!({ "protocol": protocol.as_str(), "port": port, "sourcePort": source_port })
        }
        VerdictPacket::Kind(PacketKind::Icmp { icmp_type, code }) => {
            json!({ "protocol": "icmp", "type": icmp_type, "code": code })
        }
        VerdictPacket::Echo => json!({ "protocol": "icmp", "type": "echo" }),
    }
}

/// An object whose kind is plain from where it stands, as `project/name`.
fn name(key: Option<&wire::ObjectKey>) -> Value {
    match key {
        None => Value::Null,
        Some(key) => json!(format!("{}/{}", key.project, key.name)),
    }
}

/// An object of any kind, as `kind project/name`.
fn object(key: Option<&wire::ObjectKey>) -> Value {
    key.map_or(Value::Null, |key| json!(render::key(key)))
}

fn end(end: Option<&wire::PacketEnd>) -> Value {
    match end {
        None => Value::Null,
        Some(wire::PacketEnd { address, port: None, host: _, domain: _ }) => {
            json!({ "address": address, "port": null, "host": null, "domain": null })
        }
        Some(wire::PacketEnd { address, port: Some(port), host, domain }) => json!({
            "address": address,
            "port": name(Some(port)),
            "host": if host.is_empty() { Value::Null } else { json!(host) },
            "domain": domain,
        }),
    }
}

fn host_decision(decision: &wire::HostDecision) -> Value {
    json!({
        "decided": decision.decided.as_ref().map(decider),
        "passed": decision.passed.iter().map(decider).collect::<Vec<_>>(),
        "next": decision.next.as_ref().map(decider),
    })
}

fn decider(decider: &wire::Decider) -> Value {
    let by = match decider.kind() {
        Kind::Rule => "rule",
        Kind::Default => "default",
        Kind::None => return json!({ "by": "none", "action": "allow" }),
        Kind::Unspecified => "unknown to this client",
    };
    let mut value = json!({
        "by": by,
        "action": action(decider),
        "policy": name(decider.policy.as_ref()),
        "revision": decider.revision,
        "tier": decider.tier,
        "priority": decider.priority,
        "applied": decider.applied.as_ref().map(|applied| json!({
            "group": name(applied.group.as_ref()), "revision": applied.revision,
            "steps": steps(&applied.steps),
        })),
    });
    if decider.kind() == Kind::Rule {
        let rule_name = (!decider.rule_name.is_empty()).then_some(&decider.rule_name);
        value["rule"] = json!({ "index": decider.rule, "name": rule_name });
        value["peer"] = decider.peer.as_ref().map_or(Value::Null, peer);
        value["service"] = decider.entry.as_ref().map_or(Value::Null, |matched| {
            json!({
                "service": name(matched.service.as_ref()),
                "revision": matched.service.as_ref().map(|_| matched.revision),
                "entry": matched.entry.as_ref().map(entry),
            })
        });
    }
    value
}

fn peer(peer: &wire::MatchedPeer) -> Value {
    json!({
        "group": name(peer.group.as_ref()),
        "revision": peer.revision,
        "negated": peer.negated,
        "port": name(peer.port.as_ref()),
        "outOfSight": peer.out_of_sight,
        "steps": steps(&peer.steps),
    })
}

fn steps(steps: &[wire::MembershipStep]) -> Vec<Value> {
    let step = |step: &wire::MembershipStep| {
        let objects: Vec<Value> = step.objects.iter().map(|key| object(Some(key))).collect();
        json!({ "depth": step.depth, "finding": step.finding, "objects": objects })
    };
    steps.iter().map(step).collect()
}
