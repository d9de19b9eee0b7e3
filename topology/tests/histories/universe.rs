//! A small universe: few enough objects and addresses that everything soon meets everything.

use ipnet::IpNet;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use spanwire_topology::model::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How many objects of each kind there can be.
pub(crate) fn count(kind: Kind) -> u8 {
    match kind {
        Kind::Host => 4,
        Kind::LogicalSwitch => 6,
        Kind::LogicalRouter => 6,
        Kind::LogicalPort => 14,
        Kind::Group => 8,
        Kind::Service => 3,
        Kind::SecurityPolicy => 5,
    }
}

const PROJECTS: [&str; 3] = ["a", "b", "c"];

/// The reference to the object with this number. Numbers go round the projects, so that objects
/// of different projects share names.
pub(crate) fn reference(kind: Kind, number: u8) -> ObjectRef {
    let letter = kind.short().chars().next().unwrap_or('x');
    if kind.is_fleet_wide() {
        return ObjectRef::new(SYSTEM_PROJECT, format!("{letter}{number}"));
    }
    let projects = PROJECTS.len() as u8;
    let project = PROJECTS[usize::from(number % projects)];
    ObjectRef::new(project, format!("{letter}{}", number / projects))
}

/// The key of the object with this number.
pub(crate) fn key(kind: Kind, number: u8) -> ObjectKey {
    reference(kind, number).to_key(kind)
}

/// An object by number.
fn number(kind: Kind) -> impl Strategy<Value = u8> {
    0..count(kind)
}

/// References to objects. One may stand there twice.
fn references(kind: Kind, max: usize) -> impl Strategy<Value = Vec<ObjectRef>> {
    vec(one(kind), 0..=max)
}

fn one(kind: Kind) -> impl Strategy<Value = ObjectRef> {
    number(kind).prop_map(move |number| reference(kind, number))
}

/// One change of the network, before it is known what the network is like.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Create an object, or replace all of it.
    Put { kind: Kind, number: u8, labels: Arc<Labels>, spec: Arc<Spec> },
    /// Change one thing about an object, if it exists.
    Edit { kind: Kind, number: u8, edit: Edit },
    /// Delete an object.
    Delete { kind: Kind, number: u8, cascade: bool },
}

/// One thing about an object.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    /// Nothing: the object is put as it is.
    Nothing,
    Labels(Arc<Labels>),
    Vtep(Option<IpAddr>),
    ToggleInterface(ObjectRef),
    ToggleUplink(ObjectRef),
    TogglePeering(ObjectRef),
    ToggleAdvertise,
    MoveTo(ObjectRef),
    BindTo(Option<Text>),
    /// Bound to another host if it is on a certain one.
    Rebind {
        from: Text,
        to: Text,
    },
    ToggleSecurity,
    Mac(Mac),
    Addresses(Vec<IpAddr>),
    Attachment(PortAttachment),
    Terms(Vec<GroupTerm>),
    Blocks(Vec<CidrBlock>),
    AppliedTo(Vec<ObjectRef>),
    Rules(Vec<Rule>),
    Order(u16, u32),
    Entries(Vec<ServiceEntry>),
}

/// An address of the small pool that all ports share.
pub(crate) fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        2 => (1u8..=4).prop_map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))),
        1 => (1u16..=2).prop_map(|last| {
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last))
        }),
    ]
}

/// The addresses of the port with this number: its own ones, or some of the pool, or both. Were
/// they all of the pool, hardly two switches could ever be joined.
fn any_addresses(number: u8) -> impl Strategy<Value = Vec<IpAddr>> {
    let own_v4 = IpAddr::V4(Ipv4Addr::new(10, 0, 1, number + 1));
    let own_v6 = IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, u16::from(number) + 1));
    let pool = || btree_set(any_address(), 0..=2).prop_map(|set| set.into_iter().collect());
    prop_oneof![
        4 => Just(vec![own_v4]),
        // Not sorted: the order in which they are written must not matter.
        2 => Just(vec![own_v6, own_v4]).prop_shuffle(),
        2 => pool().prop_map(move |mut pool: Vec<IpAddr>| {
            pool.insert(0, own_v6);
            pool
        }),
        2 => pool(),
    ]
}

fn any_labels() -> impl Strategy<Value = Arc<Labels>> {
    (0u8..4, 0u8..3).prop_map(|(app, tier)| {
        let mut labels = Labels::new();
        if app > 0 {
            labels.insert("app".into(), ["web", "db", "dns"][usize::from(app) - 1].into());
        }
        if tier > 0 {
            labels.insert("tier".into(), tier.to_string().into());
        }
        Arc::new(labels)
    })
}

fn any_vtep() -> impl Strategy<Value = Option<IpAddr>> {
    proptest::option::weighted(
        0.8,
        (1u8..=6).prop_map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))),
    )
}

fn any_mac() -> impl Strategy<Value = Mac> {
    (1u8..=3).prop_filter_map("not a MAC address", |last| Mac::new([2, 0, 0, 0, 0, last]).ok())
}

fn any_host() -> impl Strategy<Value = Option<Text>> {
    proptest::option::weighted(
        0.85,
        number(Kind::Host).prop_map(|host| reference(Kind::Host, host).name),
    )
}

fn any_attachment() -> impl Strategy<Value = PortAttachment> {
    prop_oneof![
        Just(PortAttachment::Derived),
        Just(PortAttachment::Interface("eth1".into())),
        Just(PortAttachment::HostStack),
    ]
}

fn any_router() -> impl Strategy<Value = LogicalRouterSpec> {
    let switches = prop_oneof![1 => Just(Vec::new()), 4 => vec(one(Kind::LogicalSwitch), 1..=2)];
    (
        switches,
        prop::bool::weighted(0.35),
        references(Kind::LogicalRouter, 2),
        references(Kind::LogicalRouter, 1),
    )
        .prop_map(|(switches, advertise, uplinks, peerings)| LogicalRouterSpec {
            interfaces: switches.into_iter().map(interface).collect(),
            advertise,
            uplinks,
            peerings,
        })
}

fn interface(switch: ObjectRef) -> RouterInterface {
    RouterInterface { switch, addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254))] }
}

fn any_port(number: u8) -> impl Strategy<Value = LogicalPortSpec> {
    (
        one(Kind::LogicalSwitch),
        any_mac(),
        any_addresses(number),
        any_host(),
        any_attachment(),
        prop::bool::weighted(0.93),
    )
        .prop_map(|(switch, mac, addresses, host, attachment, port_security)| {
            LogicalPortSpec {
                switch,
                mac,
                addresses: addresses.into_iter().collect(),
                host,
                attachment,
                port_security,
            }
        })
}

const SELECTORS: [&str; 11] = [
    "",
    "app=web",
    "app!=web",
    "app in (web,db)",
    "app notin (db,dns)",
    "app",
    "!app",
    "tier=1",
    "app=web,tier",
    "app,tier!=2",
    "app=dns,!tier",
];

fn any_selector() -> impl Strategy<Value = Selector> {
    prop::sample::select(&SELECTORS[..]).prop_filter_map("not a selector", |text| text.parse().ok())
}

fn any_scope() -> impl Strategy<Value = ProjectScope> {
    prop_oneof![
        2 => Just(ProjectScope::Own),
        2 => Just(ProjectScope::All),
        1 => btree_set(prop::sample::select(&PROJECTS[..]), 0..=2)
            .prop_map(|set| ProjectScope::Listed(set.into_iter().map(Text::from).collect())),
    ]
}

fn any_term() -> impl Strategy<Value = GroupTerm> {
    prop_oneof![
        4 => (any_selector(), any_scope())
            .prop_map(|(selector, projects)| GroupTerm::Selector { selector, projects }),
        2 => one(Kind::LogicalSwitch).prop_map(GroupTerm::Switch),
        2 => one(Kind::LogicalRouter).prop_map(GroupTerm::Router),
        2 => one(Kind::LogicalPort).prop_map(GroupTerm::Port),
        2 => one(Kind::Group).prop_map(GroupTerm::Group),
        2 => (one(Kind::Group), references(Kind::Group, 2)).prop_map(|(first, mut rest)| {
            rest.push(first);
            GroupTerm::Intersection(rest)
        }),
        2 => (one(Kind::Group), references(Kind::Group, 2))
            .prop_map(|(of, minus)| GroupTerm::Difference { of, minus }),
    ]
}

fn any_terms() -> impl Strategy<Value = Vec<GroupTerm>> {
    vec(any_term(), 0..=3)
}

const NETS: [&str; 6] =
    ["10.0.0.0/30", "10.0.0.4/30", "10.0.0.2/32", "0.0.0.0/0", "fd00::/127", "::/0"];

fn any_blocks() -> impl Strategy<Value = Vec<CidrBlock>> {
    let net = || prop::sample::select(&NETS[..]);
    let block = (net(), vec(net(), 0..=2)).prop_map(|(net, except)| {
        let whole: IpNet = net.parse().unwrap();
        let except = except.iter().map(|net| net.parse().unwrap());
        CidrBlock::new(whole, except.filter(|net| whole.contains(net)).collect()).unwrap()
    });
    prop_oneof![2 => Just(Vec::new()), 1 => vec(block, 1..=2)]
}

fn any_group() -> impl Strategy<Value = GroupSpec> {
    (any_terms(), any_blocks()).prop_map(|(terms, blocks)| GroupSpec { terms, blocks })
}

fn any_entry() -> impl Strategy<Value = ServiceEntry> {
    let range = || (1u16..4).prop_map(PortRange::single);
    prop_oneof![
        Just(ServiceEntry::Any),
        (any_protocol(), vec(range(), 0..=2), vec(range(), 0..=1)).prop_map(
            |(protocol, ports, source_ports)| ServiceEntry::Transport {
                protocol,
                ports,
                source_ports
            }
        ),
        (prop::bool::ANY, proptest::option::of(0u8..3)).prop_map(|(v4, icmp_type)| {
            let version = if v4 { IcmpVersion::V4 } else { IcmpVersion::V6 };
            ServiceEntry::Icmp { version, icmp_type, code: icmp_type.map(|_| 0) }
        }),
    ]
}

pub(crate) fn any_protocol() -> impl Strategy<Value = TransportProtocol> {
    prop_oneof![Just(TransportProtocol::Tcp), Just(TransportProtocol::Udp)]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Allow),
        2 => Just(Action::Drop),
        1 => Just(Action::Reject),
        1 => Just(Action::Pass),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let direction = prop_oneof![Just(Direction::In), Just(Direction::Out), Just(Direction::Both)];
    let peer = (one(Kind::Group), prop::bool::weighted(0.2))
        .prop_map(|(group, negate)| Peer { group, negate });
    let service = prop_oneof![
        one(Kind::Service).prop_map(ServiceMatch::Service),
        any_entry().prop_map(ServiceMatch::Entry),
    ];
    (
        proptest::option::of(Just(Text::from("rule"))),
        direction,
        vec(peer, 0..=3),
        vec(service, 0..=2),
        any_action(),
        prop::bool::ANY,
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

fn any_order() -> impl Strategy<Value = (u16, u32)> {
    (1u16..=2, 1u32..=2)
}

fn any_policy() -> impl Strategy<Value = SecurityPolicySpec> {
    let default = || proptest::option::weighted(0.3, any_action());
    (references(Kind::Group, 4), any_order(), (default(), default()), vec(any_rule(), 1..=3))
        .prop_map(|(applied_to, (tier, priority), (inbound, outbound), rules)| SecurityPolicySpec {
            applied_to,
            tier,
            priority,
            defaults: DefaultActions { inbound, outbound },
            rules,
        })
}

/// A whole object.
pub(crate) fn any_put(kind: Kind, number: u8) -> impl Strategy<Value = Change> {
    let spec = match kind {
        Kind::Host => any_vtep().prop_map(|vtep| Spec::Host(HostSpec { vtep })).boxed(),
        Kind::LogicalSwitch => {
            Just(Spec::LogicalSwitch(LogicalSwitchSpec { subnets: Vec::new() })).boxed()
        }
        Kind::LogicalRouter => any_router().prop_map(Spec::LogicalRouter).boxed(),
        Kind::LogicalPort => any_port(number).prop_map(Spec::LogicalPort).boxed(),
        Kind::Group => any_group().prop_map(Spec::Group).boxed(),
        Kind::Service => vec(any_entry(), 0..=2)
            .prop_map(|entries| Spec::Service(ServiceSpec { entries }))
            .boxed(),
        Kind::SecurityPolicy => any_policy().prop_map(Spec::SecurityPolicy).boxed(),
    };
    (any_labels(), spec).prop_map(move |(labels, spec)| Change::Put {
        kind,
        number,
        labels,
        spec: Arc::new(spec),
    })
}

fn put_of(kind: Kind) -> impl Strategy<Value = Change> {
    number(kind).prop_flat_map(move |number| any_put(kind, number))
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::ALL[..])
}

fn any_edit(kind: Kind, number: u8) -> BoxedStrategy<Edit> {
    let common = prop_oneof![
        1 => Just(Edit::Nothing),
        3 => any_labels().prop_map(Edit::Labels),
    ];
    match kind {
        Kind::Host => prop_oneof![common, any_vtep().prop_map(Edit::Vtep)].boxed(),
        Kind::LogicalSwitch => common.boxed(),
        Kind::LogicalRouter => prop_oneof![
            1 => common,
            4 => one(Kind::LogicalSwitch).prop_map(Edit::ToggleInterface),
            3 => one(Kind::LogicalRouter).prop_map(Edit::ToggleUplink),
            2 => one(Kind::LogicalRouter).prop_map(Edit::TogglePeering),
            2 => Just(Edit::ToggleAdvertise),
        ]
        .boxed(),
        Kind::LogicalPort => prop_oneof![
            3 => common,
            2 => one(Kind::LogicalSwitch).prop_map(Edit::MoveTo),
            3 => any_host().prop_map(Edit::BindTo),
            1 => Just(Edit::ToggleSecurity),
            1 => any_mac().prop_map(Edit::Mac),
            3 => any_addresses(number).prop_map(Edit::Addresses),
            1 => any_attachment().prop_map(Edit::Attachment),
        ]
        .boxed(),
        Kind::Group => prop_oneof![
            1 => common,
            4 => any_terms().prop_map(Edit::Terms),
            2 => any_blocks().prop_map(Edit::Blocks),
        ]
        .boxed(),
        Kind::Service => {
            prop_oneof![1 => common, 3 => vec(any_entry(), 0..=2).prop_map(Edit::Entries)].boxed()
        }
        Kind::SecurityPolicy => prop_oneof![
            1 => common,
            3 => references(Kind::Group, 2).prop_map(Edit::AppliedTo),
            3 => vec(any_rule(), 0..=2).prop_map(Edit::Rules),
            1 => any_order().prop_map(|(tier, priority)| Edit::Order(tier, priority)),
        ]
        .boxed(),
    }
}

/// Everything about where a port is and what it is like, anew.
pub(crate) fn port_edits(number: u8) -> impl Strategy<Value = [Edit; 4]> {
    let edits = (any_labels(), any_addresses(number), any_host(), one(Kind::LogicalSwitch));
    edits.prop_map(|(labels, addresses, host, switch)| {
        [Edit::Labels(labels), Edit::Addresses(addresses), Edit::BindTo(host), Edit::MoveTo(switch)]
    })
}

fn edit_of(kind: Kind) -> impl Strategy<Value = Change> {
    number(kind).prop_flat_map(move |number| {
        any_edit(kind, number).prop_map(move |edit| Change::Edit { kind, number, edit })
    })
}

fn delete_of(kind: Kind, cascade: f64) -> impl Strategy<Value = Change> {
    (number(kind), prop::bool::weighted(cascade))
        .prop_map(move |(number, cascade)| Change::Delete { kind, number, cascade })
}

/// Any change; edits of ports and routers are the most frequent, as in life. Deletions are rare
/// enough that the network does not dwindle.
pub(crate) fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        20 => edit_of(Kind::LogicalPort),
        20 => edit_of(Kind::LogicalRouter),
        10 => edit_of(Kind::Group),
        10 => edit_of(Kind::SecurityPolicy),
        10 => any_kind().prop_flat_map(edit_of),
        10 => put_of(Kind::LogicalPort),
        20 => any_kind().prop_flat_map(put_of),
        3 => delete_of(Kind::LogicalPort, 0.5),
        2 => delete_of(Kind::LogicalRouter, 0.5),
        2 => delete_of(Kind::Group, 0.2),
        2 => delete_of(Kind::SecurityPolicy, 0.5),
        2 => any_kind().prop_flat_map(|kind| delete_of(kind, 0.3)),
    ]
}

/// An object with one thing about it changed; the same if it has no such thing.
pub(crate) fn edited(resource: &Resource, edit: &Edit) -> Resource {
    let mut resource = resource.clone();
    if let Edit::Labels(labels) = edit {
        resource.metadata.labels = labels.clone();
        return resource;
    }
    let mut spec = (*resource.spec).clone();
    match (&mut spec, edit) {
        (Spec::Host(host), Edit::Vtep(vtep)) => host.vtep = *vtep,
        (Spec::LogicalRouter(router), Edit::ToggleInterface(switch)) => {
            let before = router.interfaces.len();
            router.interfaces.retain(|interface| interface.switch != *switch);
            if router.interfaces.len() == before {
                router.interfaces.push(interface(switch.clone()));
            }
        }
        (Spec::LogicalRouter(router), Edit::ToggleUplink(other)) => {
            toggle(&mut router.uplinks, other);
        }
        (Spec::LogicalRouter(router), Edit::TogglePeering(other)) => {
            toggle(&mut router.peerings, other);
        }
        (Spec::LogicalRouter(router), Edit::ToggleAdvertise) => {
            router.advertise = !router.advertise;
        }
        (Spec::LogicalPort(port), Edit::MoveTo(switch)) => port.switch = switch.clone(),
        (Spec::LogicalPort(port), Edit::BindTo(host)) => port.host = host.clone(),
        (Spec::LogicalPort(port), Edit::Rebind { from, to })
            if port.host.as_ref() == Some(from) =>
        {
            port.host = Some(to.clone());
        }
        (Spec::LogicalPort(port), Edit::ToggleSecurity) => {
            port.port_security = !port.port_security;
        }
        (Spec::LogicalPort(port), Edit::Mac(mac)) => port.mac = *mac,
        (Spec::LogicalPort(port), Edit::Addresses(addresses)) => {
            port.addresses = addresses.iter().copied().collect();
        }
        (Spec::LogicalPort(port), Edit::Attachment(attachment)) => {
            port.attachment = attachment.clone();
        }
        (Spec::Group(group), Edit::Terms(terms)) => group.terms = terms.clone(),
        (Spec::Group(group), Edit::Blocks(blocks)) => group.blocks = blocks.clone(),
        (Spec::Service(service), Edit::Entries(entries)) => service.entries = entries.clone(),
        (Spec::SecurityPolicy(policy), Edit::AppliedTo(groups)) => {
            policy.applied_to = groups.clone();
        }
        (Spec::SecurityPolicy(policy), Edit::Rules(rules)) => policy.rules = rules.clone(),
        (Spec::SecurityPolicy(policy), Edit::Order(tier, priority)) => {
            (policy.tier, policy.priority) = (*tier, *priority);
        }
        _ => {}
    }
    resource.spec = Arc::new(spec);
    resource
}

fn toggle(list: &mut Vec<ObjectRef>, reference: &ObjectRef) {
    match list.iter().position(|other| other == reference) {
        Some(at) => {
            list.remove(at);
        }
        None => list.push(reference.clone()),
    }
}
