//! Generators of resources for property tests, of this crate and of others.
//!
//! Everything they make is well formed on its own: conversions and documents must carry it
//! unchanged. References point anywhere, so most of it would be refused by the engine.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use spanwire_topology::model::{
    Action, CidrBlock, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, IcmpVersion,
    Labels, LogicalPortSpec, LogicalRouterSpec, LogicalSwitchSpec, Mac, ObjectRef, Peer,
    PortAttachment, PortRange, ProjectScope, Requirement, Resource, RouterInterface, Rule,
    SYSTEM_PROJECT, SecurityPolicySpec, Selector, ServiceEntry, ServiceMatch, ServiceSpec, Spec,
    Text, TransportProtocol,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A resource of any kind.
pub fn any_resource() -> impl Strategy<Value = Resource> {
    (any_name(), any_project(), any_labels(), any_spec()).prop_map(
        |(name, project, labels, spec)| {
            let project = match spec {
                Spec::Host(_) => SYSTEM_PROJECT.into(),
                _ => project,
            };
            Resource::new(project, name, labels, spec)
        },
    )
}

/// The body of a resource of any kind.
pub fn any_spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        option::of(any_address()).prop_map(|vtep| Spec::Host(HostSpec { vtep })),
        vec(any_cidr(), 0..3)
            .prop_map(|subnets| { Spec::LogicalSwitch(LogicalSwitchSpec { subnets }) }),
        any_router().prop_map(Spec::LogicalRouter),
        any_port().prop_map(Spec::LogicalPort),
        any_group().prop_map(Spec::Group),
        vec(any_entry(), 0..4).prop_map(|entries| Spec::Service(ServiceSpec { entries })),
        any_policy().prop_map(Spec::SecurityPolicy),
    ]
}

/// A name, some of which look like something else in a document.
pub fn any_name() -> impl Strategy<Value = Text> {
    prop_oneof![
        6 => "[a-z0-9_][a-z0-9._:@-]{0,12}",
        1 => prop::sample::select(vec![
            "null", "true", "no", "on", "1", "0x1f", "1e3", "1.0", "010", "1_000", "12:30:45",
            "2026-11-22", "a:", "_", "NaN", "Host", "y",
        ]).prop_map(str::to_owned),
    ]
    .prop_map(Text::from)
}

/// A project: mostly one of a few, so that references within one project are common.
pub fn any_project() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => Just(Text::from("default")),
        4 => Just(Text::from("t00")),
        1 => Just(Text::from(SYSTEM_PROJECT)),
        2 => any_name(),
    ]
}

/// A reference.
pub fn any_ref() -> impl Strategy<Value = ObjectRef> {
    (any_project(), any_name()).prop_map(|(project, name)| ObjectRef { project, name })
}

/// Labels.
pub fn any_labels() -> impl Strategy<Value = Labels> {
    btree_map(any_label_key(), any_label_value(), 0..4)
}

fn any_label_key() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => prop::sample::select(vec!["app", "tier", "env", "example.org/role", "true", "1.0"])
            .prop_map(str::to_owned),
        1 => "[A-Za-z0-9_][A-Za-z0-9._/:@-]{0,12}",
    ]
    .prop_map(Text::from)
}

fn any_label_value() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => prop::sample::select(vec!["web", "", "null", "yes", "1.10", "~", "=", "-", "0o17"])
            .prop_map(str::to_owned),
        1 => "[A-Za-z0-9._/:@+=~-]{0,12}",
    ]
    .prop_map(Text::from)
}

/// A unicast address of either family.
pub fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1..224_u8, any::<[u8; 3]>())
            .prop_map(|(a, [b, c, d])| IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        any::<[u8; 15]>().prop_map(|rest| {
            let mut octets = [0xfd; 16];
            octets[1..].copy_from_slice(&rest);
            IpAddr::V6(Ipv6Addr::from(octets))
        }),
    ]
}

/// A CIDR of either family, without host bits.
pub fn any_cidr() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<[u8; 4]>(), 0..=32_u8).prop_filter_map("prefix", |(address, prefix)| {
            Ipv4Net::new(address.into(), prefix).ok().map(|net| IpNet::V4(net.trunc()))
        }),
        (any::<[u8; 16]>(), 0..=128_u8).prop_filter_map("prefix", |(address, prefix)| {
            Ipv6Net::new(address.into(), prefix).ok().map(|net| IpNet::V6(net.trunc()))
        }),
    ]
}

fn any_router() -> impl Strategy<Value = LogicalRouterSpec> {
    let interface = (any_ref(), vec(any_address(), 0..3))
        .prop_map(|(switch, addresses)| RouterInterface { switch, addresses });
    (vec(interface, 0..3), any::<bool>(), vec(any_ref(), 0..3), vec(any_ref(), 0..3)).prop_map(
        |(interfaces, advertise, uplinks, peerings)| LogicalRouterSpec {
            interfaces,
            advertise,
            uplinks,
            peerings,
        },
    )
}

fn any_port() -> impl Strategy<Value = LogicalPortSpec> {
    let attachment = prop_oneof![
        Just(PortAttachment::Derived),
        Just(PortAttachment::HostStack),
        "[a-z0-9][a-z0-9._-]{0,14}".prop_map(|name| PortAttachment::Interface(name.into())),
    ];
    let mac = any::<[u8; 6]>().prop_filter_map("unicast", |bytes| Mac::new(bytes).ok());
    (
        any_ref(),
        mac,
        vec(any_address(), 0..4),
        any::<bool>(),
        option::of(any_name()),
        attachment,
        any::<bool>(),
    )
        .prop_map(|(switch, mac, addresses, derived, host, attachment, port_security)| {
            let mac = match addresses.first() {
                Some(address) if derived => Mac::derived_from(*address),
                _ => mac,
            };
            let addresses = addresses.into_iter().collect();
            LogicalPortSpec { switch, mac, addresses, host, attachment, port_security }
        })
}

/// A selector.
pub fn any_selector() -> impl Strategy<Value = Selector> {
    let values = || vec(any_label_value(), 1..3);
    let requirement = prop_oneof![
        (any_label_key(), values()).prop_map(|(key, values)| Requirement::In(key, values)),
        (any_label_key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        any_label_key().prop_map(Requirement::Exists),
        any_label_key().prop_map(Requirement::DoesNotExist),
    ];
    vec(requirement, 0..4)
        .prop_filter_map("well formed", |requirements| Selector::new(requirements).ok())
}

fn any_term() -> impl Strategy<Value = GroupTerm> {
    let projects = prop_oneof![
        2 => Just(ProjectScope::Own),
        1 => Just(ProjectScope::All),
        1 => btree_set(any_project(), 1..3).prop_map(ProjectScope::Listed),
    ];
    prop_oneof![
        3 => (any_selector(), projects)
            .prop_map(|(selector, projects)| GroupTerm::Selector { selector, projects }),
        1 => any_ref().prop_map(GroupTerm::Switch),
        1 => any_ref().prop_map(GroupTerm::Router),
        1 => any_ref().prop_map(GroupTerm::Port),
        1 => any_ref().prop_map(GroupTerm::Group),
        1 => vec(any_ref(), 1..3).prop_map(GroupTerm::Intersection),
        1 => (any_ref(), vec(any_ref(), 0..3))
            .prop_map(|(of, minus)| GroupTerm::Difference { of, minus }),
    ]
}

fn any_group() -> impl Strategy<Value = GroupSpec> {
    (vec(any_term(), 0..5), vec(any_block(), 0..3))
        .prop_map(|(terms, blocks)| GroupSpec { terms, blocks })
}

fn any_block() -> impl Strategy<Value = CidrBlock> {
    let exception = (any::<[u8; 16]>(), 0..=64_u8);
    (any_cidr(), vec(exception, 0..3)).prop_filter_map("within", |(cidr, exceptions)| {
        let except = exceptions.into_iter().filter_map(|(bits, more)| part_of(cidr, bits, more));
        CidrBlock::new(cidr, except.collect()).ok()
    })
}

/// A part of a CIDR whose prefix is `more` bits longer, and filled up from `bits`.
fn part_of(cidr: IpNet, bits: [u8; 16], more: u8) -> Option<IpNet> {
    let prefix = cidr.prefix_len().saturating_add(more).min(cidr.max_prefix_len());
    let part = match cidr {
        IpNet::V4(net) => {
            let host = u32::from_be_bytes([bits[0], bits[1], bits[2], bits[3]]);
            let address = u32::from(net.network()) | (host & u32::from(net.hostmask()));
            IpNet::new(IpAddr::V4(address.into()), prefix)
        }
        IpNet::V6(net) => {
            let host = u128::from_be_bytes(bits);
            let address = u128::from(net.network()) | (host & u128::from(net.hostmask()));
            IpNet::new(IpAddr::V6(address.into()), prefix)
        }
    };
    part.ok().map(|part| part.trunc())
}

/// An entry of a service.
pub fn any_entry() -> impl Strategy<Value = ServiceEntry> {
    let range = || {
        (any::<u16>(), any::<u16>())
            .prop_filter_map("ordered", |(a, b)| PortRange::new(a.min(b), a.max(b)))
    };
    let range = move || prop_oneof![any::<u16>().prop_map(PortRange::single), range()];
    let protocol = prop::sample::select(vec![
        TransportProtocol::Tcp,
        TransportProtocol::Udp,
        TransportProtocol::Sctp,
    ]);
    let version = prop::sample::select(vec![IcmpVersion::V4, IcmpVersion::V6]);
    let icmp = option::of((any::<u8>(), option::of(any::<u8>())));
    prop_oneof![
        Just(ServiceEntry::Any),
        (protocol, vec(range(), 0..3), vec(range(), 0..3)).prop_map(
            |(protocol, ports, source_ports)| ServiceEntry::Transport {
                protocol,
                ports,
                source_ports
            }
        ),
        (version, icmp).prop_map(|(version, icmp)| ServiceEntry::Icmp {
            version,
            icmp_type: icmp.map(|(icmp_type, _)| icmp_type),
            code: icmp.and_then(|(_, code)| code),
        }),
    ]
}

/// An action.
pub fn any_action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![Action::Allow, Action::Drop, Action::Reject, Action::Pass])
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let direction = prop::sample::select(vec![Direction::In, Direction::Out, Direction::Both]);
    let peer = (any_ref(), any::<bool>()).prop_map(|(group, negate)| Peer { group, negate });
    let service = prop_oneof![
        any_ref().prop_map(ServiceMatch::Service),
        any_entry().prop_map(ServiceMatch::Entry),
    ];
    (
        option::of(any_name()),
        direction,
        vec(peer, 0..3),
        vec(service, 0..3),
        any_action(),
        any::<bool>(),
    )
        .prop_map(|(name, direction, peers, services, action, log)| Rule {
            name,
            direction,
            peers,
            services,
            action,
            log,
        })
}

fn any_policy() -> impl Strategy<Value = SecurityPolicySpec> {
    let tier = prop_oneof![Just(SecurityPolicySpec::TIER_DEFAULT), any::<u16>()];
    let priority = prop_oneof![Just(SecurityPolicySpec::PRIORITY_DEFAULT), any::<u32>()];
    (
        vec(any_ref(), 0..3),
        tier,
        priority,
        option::of(any_action()),
        option::of(any_action()),
        vec(any_rule(), 0..4),
    )
        .prop_map(|(applied_to, tier, priority, inbound, outbound, rules)| {
            SecurityPolicySpec {
                applied_to,
                tier,
                priority,
                defaults: DefaultActions { inbound, outbound },
                rules,
            }
        })
}
