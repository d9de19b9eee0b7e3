//! What a transaction would do.

use super::fields::from_key;
use super::transaction::from_change;
use crate::wire;
use spanwire_topology::engine::{
    Decision, DomainMove, DomainMoveKind, Endpoint, HostImpact, Impact, PacketKind, Verdict,
    VerdictFlip, VerdictReport,
};
use spanwire_topology::model::Vni;

/// A forecast as a message.
pub fn from_impact(impact: &Impact) -> wire::ImpactResponse {
    let Impact { revision, objects, hosts, domain_moves, verdicts } = impact;
    let VerdictReport { flips, flips_cut, compared, is_cut } = verdicts;
    wire::ImpactResponse {
        hosts: hosts.iter().map(from_host).collect(),
        results: objects.iter().map(from_change).collect(),
        total_bytes: hosts.iter().map(|host| host.bytes).sum(),
        revision: *revision,
        domain_moves: domain_moves.iter().map(from_move).collect(),
        flips: flips.iter().map(from_flip).collect(),
        flips_cut: *flips_cut,
        verdicts_compared: *compared,
        verdicts_cut: *is_cut,
    }
}

fn from_host(host: &HostImpact) -> wire::HostImpact {
    let HostImpact { host, items, members_added, members_removed, bytes } = host;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    wire::HostImpact {
        host: host.clone(),
        items: count(*items),
        members_added: count(*members_added),
        members_removed: count(*members_removed),
        bytes: *bytes,
    }
}

fn from_move(part: &DomainMove) -> wire::DomainMove {
    let DomainMove { kind, from: Vni(from), to: Vni(to), switches, switches_count } = part;
    let kind = match kind {
        DomainMoveKind::Merge => wire::domain_move::Kind::Merge,
        DomainMoveKind::Split => wire::domain_move::Kind::Split,
        DomainMoveKind::Move => wire::domain_move::Kind::Move,
    };
    wire::DomainMove {
        kind: kind.into(),
        from: *from,
        to: *to,
        switches: switches.iter().map(from_key).collect(),
        switches_count: *switches_count,
    }
}

fn from_flip(flip: &VerdictFlip) -> wire::VerdictFlip {
    let VerdictFlip { source, destination, packet, before, after } = flip;
    wire::VerdictFlip {
        source: end_text(source),
        destination: end_text(destination),
        packet: packet_text(*packet),
        before: verdict_text(before),
        after: verdict_text(after),
    }
}

/// `shop/web-0`, or an address.
fn end_text(end: &Endpoint) -> String {
    match end {
        Endpoint::Port(key, None) => format!("{}/{}", key.project, key.name),
        Endpoint::Port(key, Some(address)) => format!("{}/{} ({address})", key.project, key.name),
        Endpoint::Outside(address) => address.to_string(),
    }
}

/// `tcp:443`, `icmp type 8`
fn packet_text(packet: PacketKind) -> String {
    match packet {
        PacketKind::Transport { protocol, source_port: _, port } => {
            format!("{}:{port}", protocol.as_str())
        }
        PacketKind::Icmp { icmp_type, code: 0 } => format!("icmp type {icmp_type}"),
        PacketKind::Icmp { icmp_type, code } => format!("icmp type {icmp_type} code {code}"),
    }
}

fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Unreachable { reason } => format!("unreachable: {reason}"),
        Verdict::DeniedAtSource(decision) => {
            format!("denied at the source by {}", decision_text(decision))
        }
        Verdict::DeniedAtDestination(_, decision) => {
            format!("denied at the destination by {}", decision_text(decision))
        }
        Verdict::Allowed(_, _) => "allowed".to_owned(),
    }
}

/// `rule 1 (web) of policy shop/db`
fn decision_text(decision: &Decision) -> String {
    match decision {
        Decision::Rule { policy, index, name: Some(name), action: _ } => {
            format!("rule {} ({name}) of {policy}", index + 1)
        }
        Decision::Rule { policy, index, name: None, action: _ } => {
            format!("rule {} of {policy}", index + 1)
        }
        Decision::Default { policy, action: _ } => format!("the default of {policy}"),
        Decision::NoneApplies => "no policy".to_owned(),
    }
}
