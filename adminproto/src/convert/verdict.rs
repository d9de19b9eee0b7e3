//! Verdicts: what is asked, and what is answered.
//!
//! A controller and a client without one answer alike: both ask an engine through
//! [`answer_verdicts`].

use super::error::{ConvertError, Path, Problem};
use super::fields::{from_key, to_address, to_key_at, to_list};
use super::policy::from_action;
use super::refusal::query_status;
use super::service::{from_entry, to_byte};
use crate::wire;
use spanwire_topology::Engine;
use spanwire_topology::engine::{
    Decider, Decision, Endpoint, ExplainedVerdict, Hop, HostDecision, MatchedEntry, MatchedPeer,
    Membership, MembershipStep, PacketEnd, PacketKind, PathEnd, PathLink, PeerContent, QueryError,
    Verdict,
};
use spanwire_topology::model::{Kind, ObjectKey, TransportProtocol, Vni};
use std::net::IpAddr;

type Result<T> = std::result::Result<T, ConvertError>;

/// The most queries in one request: bounds how long their answers hold the state.
pub const VERDICT_QUERIES_MAX: usize = 1_000;
/// The source port of packets whose query names none: the first of the dynamic ports, from which
/// clients choose theirs (RFC 6335, section 6).
pub const SOURCE_PORT_DEFAULT: u16 = 49_152;

/// The types of echo requests: RFC 792 and RFC 4443.
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

/// A question for a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictQuery {
    /// Who sends.
    pub source: VerdictEnd,
    /// Who receives.
    pub destination: VerdictEnd,
    /// What is sent.
    pub packet: VerdictPacket,
}

/// The packet of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictPacket {
    /// This one.
    Kind(PacketKind),
    /// An echo request: type 8 of ICMP or 128 of ICMPv6, by the family of the addresses.
    Echo,
}

/// An end as a question names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerdictEnd {
    /// A port, perhaps with one of its addresses.
    Port(ObjectKey, Option<IpAddr>),
    /// Whatever has this address.
    Address(IpAddr),
}

/// The questions of a request.
///
/// Errors name the query by its position.
pub fn to_verdict_queries(request: &wire::VerdictRequest) -> Result<Vec<VerdictQuery>> {
    let wire::VerdictRequest { queries, at_revision: _ } = request;
    let path = Path::Root("queries");
    if queries.is_empty() {
        return Err(path.missing("at least one query"));
    }
    if queries.len() > VERDICT_QUERIES_MAX {
        let (found, max) = (queries.len(), VERDICT_QUERIES_MAX);
        return Err(path.error(Problem::TooMany { found, max }));
    }
    to_list(queries, &path, to_query)
}

fn to_query(query: &wire::VerdictQuery, path: &Path<'_>) -> Result<VerdictQuery> {
    let wire::VerdictQuery { source, destination, packet } = query;
    Ok(VerdictQuery {
        source: to_end(source.as_ref(), &path.field("source"))?,
        destination: to_end(destination.as_ref(), &path.field("destination"))?,
        packet: to_packet(packet.as_ref(), &path.field("packet"))?,
    })
}

fn to_end(end: Option<&wire::VerdictEnd>, path: &Path<'_>) -> Result<VerdictEnd> {
    const EXPECTED: &str = "a port or an address";
    let Some(wire::VerdictEnd { port, address }) = end else {
        return Err(path.missing(EXPECTED));
    };
    let address = match address.is_empty() {
        true => None,
        false => Some(to_address(address, &path.field("address"))?),
    };
    match (port, address) {
        (Some(port), address) => {
            let port_path = path.field("port");
            let key = to_key_at(port, &port_path)?;
            if key.kind != Kind::LogicalPort {
                return Err(port_path.error(Problem::Contradiction(
                    "it is no port: name a LogicalPort, or an address",
                )));
            }
            Ok(VerdictEnd::Port(key, address))
        }
        (None, Some(address)) => Ok(VerdictEnd::Address(address)),
        (None, None) => Err(path.missing(EXPECTED)),
    }
}

fn to_packet(packet: Option<&wire::Packet>, path: &Path<'_>) -> Result<VerdictPacket> {
    use wire::packet::{Icmp, Kind, Transport};
    use wire::service_entry::Protocol;
    let number = |value: u32, path: &Path<'_>| {
        u16::try_from(value).map_err(|_| {
            let (found, max) = (value.into(), u16::MAX.into());
            path.error(Problem::OutOfRange { found, min: 0, max })
        })
    };
    match packet.and_then(|packet| packet.kind.as_ref()) {
        None => Err(path.missing("transport or icmp")),
        Some(Kind::Transport(Transport { protocol, port, source_port })) => {
            let path = path.field("transport");
            let protocol = match Protocol::try_from(*protocol) {
                Ok(Protocol::Tcp) => TransportProtocol::Tcp,
                Ok(Protocol::Udp) => TransportProtocol::Udp,
                Ok(Protocol::Sctp) => TransportProtocol::Sctp,
                _ => {
                    return Err(path.field("protocol").error(Problem::UnknownEnum {
                        number: *protocol,
                        expected: "TCP, UDP or SCTP",
                    }));
                }
            };
            let source_port = match source_port {
                Some(port) => number(*port, &path.field("source_port"))?,
                None => SOURCE_PORT_DEFAULT,
            };
            let port = number(*port, &path.field("port"))?;
            Ok(VerdictPacket::Kind(PacketKind::Transport { protocol, source_port, port }))
        }
        Some(Kind::Icmp(Icmp { icmp_type, icmp_code })) => {
            let path = path.field("icmp");
            let code = to_byte(*icmp_code, &path.field("icmp_code"))?;
            match icmp_type {
                Some(icmp_type) => {
                    let icmp_type = to_byte(*icmp_type, &path.field("icmp_type"))?;
                    Ok(VerdictPacket::Kind(PacketKind::Icmp { icmp_type, code }))
                }
                None if code == 0 => Ok(VerdictPacket::Echo),
                None => Err(path.field("icmp_code").error(Problem::Contradiction(
                    "a code means nothing without a type: set icmp_type as well",
                ))),
            }
        }
    }
}

/// A question as a message.
pub fn from_verdict_query(query: &VerdictQuery) -> wire::VerdictQuery {
    let VerdictQuery { source, destination, packet } = query;
    wire::VerdictQuery {
        source: Some(from_end(source)),
        destination: Some(from_end(destination)),
        packet: Some(from_packet(*packet)),
    }
}

fn from_end(end: &VerdictEnd) -> wire::VerdictEnd {
    let (port, address) = match end {
        VerdictEnd::Port(key, address) => (Some(from_key(key)), address.as_ref()),
        VerdictEnd::Address(address) => (None, Some(address)),
    };
    wire::VerdictEnd { port, address: address.map(ToString::to_string).unwrap_or_default() }
}

fn from_packet(packet: VerdictPacket) -> wire::Packet {
    use wire::packet::{Icmp, Kind, Transport};
    use wire::service_entry::Protocol;
    let kind = match packet {
        VerdictPacket::Kind(PacketKind::Transport { protocol, source_port, port }) => {
            Kind::Transport(Transport {
                protocol: match protocol {
                    TransportProtocol::Tcp => Protocol::Tcp,
                    TransportProtocol::Udp => Protocol::Udp,
                    TransportProtocol::Sctp => Protocol::Sctp,
                }
                .into(),
                port: port.into(),
                source_port: Some(source_port.into()),
            })
        }
        VerdictPacket::Kind(PacketKind::Icmp { icmp_type, code }) => {
            Kind::Icmp(Icmp { icmp_type: Some(icmp_type.into()), icmp_code: code.into() })
        }
        VerdictPacket::Echo => Kind::Icmp(Icmp::default()),
    };
    wire::Packet { kind: Some(kind) }
}

/// The answers of a state to some questions, in order.
pub fn answer_verdicts(engine: &Engine, queries: &[VerdictQuery]) -> wire::VerdictResponse {
    let answer = |query: &VerdictQuery| {
        let result = match ask(engine, query) {
            Ok(explained) => wire::verdict_result::Result::Answer(from_explained(&explained)),
            Err(error) => wire::verdict_result::Result::Error(from_error(&error)),
        };
        wire::VerdictResult { result: Some(result) }
    };
    wire::VerdictResponse {
        results: queries.iter().map(answer).collect(),
        revision: engine.revision(),
    }
}

fn ask(engine: &Engine, query: &VerdictQuery) -> std::result::Result<ExplainedVerdict, QueryError> {
    let endpoint = |end: &VerdictEnd| match end {
        VerdictEnd::Port(key, address) => Ok(Endpoint::Port(key.clone(), *address)),
        VerdictEnd::Address(address) => engine.endpoint_with_address(*address),
    };
    let (source, destination) = (endpoint(&query.source)?, endpoint(&query.destination)?);
    if let (Endpoint::Outside(one), Endpoint::Outside(two)) = (&source, &destination) {
        return Err(QueryError::Addresses(format!(
            "neither {one} nor {two} is the address of a port: no host here decides about packets \
             between them; name a port at one end"
        )));
    }
    match query.packet {
        VerdictPacket::Kind(packet) => engine.explain_verdict(&source, &destination, packet),
        VerdictPacket::Echo => {
            let echo = |icmp_type| {
                let packet = PacketKind::Icmp { icmp_type, code: 0 };
                engine.explain_verdict(&source, &destination, packet)
            };
            // Which family it is shows in the answer.
            let explained = echo(ECHO_REQUEST_V4)?;
            if explained.source.address.is_ipv4() { Ok(explained) } else { echo(ECHO_REQUEST_V6) }
        }
    }
}

fn from_error(error: &QueryError) -> wire::VerdictError {
    let status = query_status(error);
    let ports = match error {
        QueryError::Ambiguous { address: _, ports } => ports.iter().map(from_key).collect(),
        QueryError::NotFound(_) | QueryError::NoSuchAddress(_) | QueryError::Addresses(_) => {
            Vec::new()
        }
    };
    wire::VerdictError { code: status.code().into(), message: status.message().to_owned(), ports }
}

fn from_explained(explained: &ExplainedVerdict) -> wire::VerdictAnswer {
    let ExplainedVerdict {
        source,
        destination,
        verdict,
        unbound: _,
        path,
        at_source,
        at_destination,
    } = explained;
    wire::VerdictAnswer {
        verdict: from_verdict(verdict).into(),
        source: Some(from_packet_end(source)),
        destination: Some(from_packet_end(destination)),
        path: path.iter().flat_map(|path| &path.hops).map(from_hop).collect(),
        path_end: from_path_end(explained),
        at_source: at_source.as_ref().map(from_host_decision),
        at_destination: at_destination.as_ref().map(from_host_decision),
    }
}

fn from_verdict(verdict: &Verdict) -> wire::verdict_answer::Verdict {
    match verdict {
        Verdict::Allowed(..) => wire::verdict_answer::Verdict::Allowed,
        Verdict::DeniedAtSource(_) | Verdict::DeniedAtDestination(..) => {
            wire::verdict_answer::Verdict::Denied
        }
        Verdict::Unreachable { reason: _ } => wire::verdict_answer::Verdict::Unreachable,
    }
}

fn from_packet_end(end: &PacketEnd) -> wire::PacketEnd {
    let PacketEnd { address, port, host, domain } = end;
    wire::PacketEnd {
        address: address.to_string(),
        port: port.as_ref().map(from_key),
        host: host.as_deref().unwrap_or_default().to_owned(),
        domain: domain.map_or(0, |Vni(vni)| vni),
    }
}

fn from_hop(hop: &Hop) -> wire::PathStep {
    let Hop { link, object } = hop;
    let link = match link {
        None => "start",
        Some(PathLink::Interface) => "interface",
        Some(PathLink::Uplink) => "uplink",
        Some(PathLink::Downlink) => "downlink",
        Some(PathLink::Peering) => "peering",
    };
    wire::PathStep { link: link.to_owned(), object: Some(from_key(object)) }
}

fn from_path_end(explained: &ExplainedVerdict) -> Option<wire::PathEnd> {
    let reason = explained.obstacle()?;
    if let Some(port) = &explained.unbound {
        let place = Some(from_key(port));
        return Some(wire::PathEnd { kind: "unbound".to_owned(), place, beyond: None, reason });
    }
    let path = explained.path.as_ref()?;
    let end = path.end.as_ref()?;
    let kind = match end {
        PathEnd::NoRouter => "no-router",
        PathEnd::NoLink => "no-link",
        PathEnd::NotAdvertised { next: _ } => "not-advertised",
        PathEnd::PeeringEnds { next: _ } => "peering-ends",
        PathEnd::BeyondPeering { next: _ } => "beyond-peering",
        PathEnd::GaveUp => "gave-up",
    };
    Some(wire::PathEnd {
        kind: kind.to_owned(),
        place: path.hops.last().map(|hop| from_key(&hop.object)),
        beyond: end.next().map(from_key),
        reason,
    })
}

fn from_host_decision(decision: &HostDecision) -> wire::HostDecision {
    let HostDecision { decided, passed, next } = decision;
    wire::HostDecision {
        decided: Some(from_decider(decided)),
        passed: passed.iter().map(from_decider).collect(),
        next: next.as_ref().map(from_decider),
    }
}

fn from_decider(decider: &Decider) -> wire::Decider {
    use wire::decider::Kind;
    let Decider { decision, revision, tier, priority, applied, peer, entry } = decider;
    let mut message = wire::Decider {
        revision: *revision,
        tier: (*tier).into(),
        priority: *priority,
        applied: applied.as_ref().map(from_membership),
        peer: peer.as_ref().map(from_peer),
        entry: entry.as_ref().map(from_matched_entry),
        ..wire::Decider::default()
    };
    match decision {
        Decision::Rule { policy, index, name, action } => {
            message.set_kind(Kind::Rule);
            message.policy = Some(from_key(policy));
            message.rule = u32::try_from(*index).unwrap_or(u32::MAX);
            message.rule_name = name.as_deref().unwrap_or_default().to_owned();
            message.set_action(from_action(*action));
        }
        Decision::Default { policy, action } => {
            message.set_kind(Kind::Default);
            message.policy = Some(from_key(policy));
            message.set_action(from_action(*action));
        }
        Decision::NoneApplies => message.set_kind(Kind::None),
    }
    message
}

fn from_membership(membership: &Membership) -> wire::Membership {
    let Membership { group, revision, steps } = membership;
    wire::Membership { group: Some(from_key(group)), revision: *revision, steps: from_steps(steps) }
}

fn from_steps(steps: &[MembershipStep]) -> Vec<wire::MembershipStep> {
    let step = |MembershipStep { depth, finding, objects }: &MembershipStep| wire::MembershipStep {
        depth: *depth,
        finding: finding.clone(),
        objects: objects.iter().map(from_key).collect(),
    };
    steps.iter().map(step).collect()
}

fn from_peer(peer: &MatchedPeer) -> wire::MatchedPeer {
    let MatchedPeer { group, revision, negated, content } = peer;
    let mut message = wire::MatchedPeer {
        group: Some(from_key(group)),
        revision: *revision,
        negated: *negated,
        ..wire::MatchedPeer::default()
    };
    match content {
        PeerContent::Port { port, in_sight, membership } => {
            message.port = Some(from_key(port));
            message.out_of_sight = !in_sight;
            message.steps = from_steps(&membership.steps);
        }
        PeerContent::Block { steps } => message.steps = from_steps(steps),
        PeerContent::Absent => {}
    }
    message
}

fn from_matched_entry(matched: &MatchedEntry) -> wire::MatchedEntry {
    let MatchedEntry { service, revision, entry } = matched;
    wire::MatchedEntry {
        service: service.as_ref().map(from_key),
        revision: *revision,
        entry: Some(from_entry(entry)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_survive_the_wire() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let key = ObjectKey::new(Kind::LogicalPort, "shop", "web-0");
        let ends = [
            VerdictEnd::Port(key.clone(), None),
            VerdictEnd::Port(key, Some(address)),
            VerdictEnd::Address(address),
        ];
        let mut packets = vec![
            VerdictPacket::Echo,
            VerdictPacket::Kind(PacketKind::Icmp { icmp_type: 0, code: 255 }),
        ];
        for protocol in [TransportProtocol::Tcp, TransportProtocol::Udp, TransportProtocol::Sctp] {
            let packet = PacketKind::Transport { protocol, source_port: 0, port: u16::MAX };
            packets.push(VerdictPacket::Kind(packet));
        }
        for source in &ends {
            for destination in &ends {
                for &packet in &packets {
                    let (source, destination) = (source.clone(), destination.clone());
                    let query = VerdictQuery { source, destination, packet };
                    let queries = vec![from_verdict_query(&query)];
                    let request = wire::VerdictRequest { queries, at_revision: None };
                    assert_eq!(to_verdict_queries(&request), Ok(vec![query]));
                }
            }
        }
    }

    #[test]
    fn an_echo_request_has_the_type_of_its_family() {
        use spanwire_topology::model::{
            Action, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, IcmpVersion,
            LogicalPortSpec, LogicalSwitchSpec, Mac, ObjectRef, PortAttachment, Rule,
            SecurityPolicySpec, ServiceEntry, ServiceMatch, Spec,
        };
        use spanwire_topology::{Engine, Resource};
        let mk = |name: &str, spec: Spec| {
            let project = if spec.kind().is_fleet_wide() { "system" } else { "p" };
            Resource::new(project, name, Default::default(), spec)
        };
        let echo = |version, icmp_type| {
            ServiceMatch::Entry(ServiceEntry::Icmp {
                version,
                icmp_type: Some(icmp_type),
                code: None,
            })
        };
        let port = LogicalPortSpec {
            switch: ObjectRef::new("p", "s"),
            mac: Mac::derived_from("10.0.0.1".parse().unwrap()),
            addresses: ["10.0.0.1", "fd00::1"].iter().map(|a| a.parse().unwrap()).collect(),
            host: Some("h".into()),
            attachment: PortAttachment::Derived,
            port_security: true,
        };
        let rule = Rule {
            name: None,
            direction: Direction::In,
            peers: Vec::new(),
            services: vec![echo(IcmpVersion::V4, 8), echo(IcmpVersion::V6, 128)],
            action: Action::Allow,
            log: false,
        };
        let policy = SecurityPolicySpec {
            applied_to: vec![ObjectRef::new("p", "g")],
            tier: 1,
            priority: 1,
            defaults: DefaultActions { inbound: Some(Action::Drop), outbound: None },
            rules: vec![rule],
        };
        let group = GroupSpec {
            terms: vec![GroupTerm::Switch(ObjectRef::new("p", "s"))],
            blocks: Vec::new(),
        };
        let engine = Engine::load([
            mk("h", Spec::Host(HostSpec::default())),
            mk("s", Spec::LogicalSwitch(LogicalSwitchSpec::default())),
            mk("a", Spec::LogicalPort(port)),
            mk("g", Spec::Group(group)),
            mk("policy", Spec::SecurityPolicy(policy)),
        ])
        .unwrap();
        let verdict = |source: &str, packet| {
            let source = VerdictEnd::Address(source.parse().unwrap());
            let key = ObjectKey::new(Kind::LogicalPort, "p", "a");
            let query = VerdictQuery { source, destination: VerdictEnd::Port(key, None), packet };
            ask(&engine, &query).map(|explained| from_verdict(&explained.verdict))
        };
        use wire::verdict_answer::Verdict::{Allowed, Denied};
        assert_eq!(verdict("192.0.2.1", VerdictPacket::Echo), Ok(Allowed));
        assert_eq!(verdict("2001:db8::1", VerdictPacket::Echo), Ok(Allowed));
        let of_v4 = VerdictPacket::Kind(PacketKind::Icmp { icmp_type: 8, code: 0 });
        assert_eq!(verdict("192.0.2.1", of_v4), Ok(Allowed));
        assert_eq!(verdict("2001:db8::1", of_v4), Ok(Denied));
    }
}
