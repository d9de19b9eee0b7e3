//! Updates of every kind come back, and other bytes are errors.

use super::*;
use crate::limits::RANGES_MAX;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, IcmpVersion, Mac, PortAttachment, PortRange, ServiceEntry,
    Text, TransportProtocol, Uid, Vni,
};
use spanwire_topology::view::{DomainItem, PeerItem, PolicyItem, PortItem, RuleItem};
use std::net::Ipv4Addr;

fn any_text() -> impl Strategy<Value = Text> {
    "[a-z0-9_][a-z0-9._@:-]{0,12}".prop_map(Text::from)
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..400).prop_map(|n| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))),
        any::<u128>().prop_map(|n| IpAddr::V6(n.into())),
    ]
}

fn any_addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    btree_set(any_address(), 0..20).prop_map(|set| set.into_iter().collect())
}

fn any_mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 5]>().prop_map(|[a, b, c, d, e]| Mac::new([0xfa, a, b, c, d, e]).unwrap())
}

fn any_locators() -> impl Strategy<Value = Vec<Locator>> {
    let rest = (prop::option::of(any_mac()), 0u32..4);
    prop::collection::btree_map(any_address(), rest, 0..20).prop_map(|map| {
        map.into_iter()
            .map(|(address, (mac, vtep))| Locator {
                address,
                mac: mac.unwrap_or(Mac::derived_from(address)),
                vtep: IpAddr::V4(vtep.into()),
            })
            .collect()
    })
}

fn any_vni() -> impl Strategy<Value = Vni> {
    (0..=Vni::MAX.0).prop_map(Vni)
}

fn any_domain() -> impl Strategy<Value = DomainItem> {
    (btree_set(any_vni(), 0..5), btree_set(any_vni(), 0..5), any::<bool>()).prop_map(
        |(sees, reaches, spoofable)| DomainItem {
            sees: sees.into_iter().collect(),
            reaches: reaches.into_iter().collect(),
            spoofable,
        },
    )
}

fn any_port() -> impl Strategy<Value = PortItem> {
    let attachment = prop_oneof![
        Just(PortAttachment::Derived),
        Just(PortAttachment::HostStack),
        "[a-z]{1,15}".prop_map(|device| PortAttachment::Interface(device.into())),
    ];
    (
        any_text(),
        any_text(),
        any_vni(),
        any_mac(),
        any_addresses(),
        attachment,
        any::<bool>(),
        btree_set(any::<u64>().prop_map(Uid), 0..4),
    )
        .prop_map(
            |(project, name, domain, mac, addresses, attachment, port_security, groups)| PortItem {
                project,
                name,
                domain,
                mac,
                addresses,
                attachment,
                port_security,
                groups: groups.into_iter().collect(),
            },
        )
}

fn any_action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![Action::Allow, Action::Drop, Action::Reject, Action::Pass])
}

fn any_service() -> impl Strategy<Value = ServiceEntry> {
    let range = || {
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap())
    };
    let protocol = prop::sample::select(vec![
        TransportProtocol::Tcp,
        TransportProtocol::Udp,
        TransportProtocol::Sctp,
    ]);
    let version = prop::sample::select(vec![IcmpVersion::V4, IcmpVersion::V6]);
    prop_oneof![
        Just(ServiceEntry::Any),
        (protocol, vec(range(), 0..3), vec(range(), 0..3)).prop_map(
            |(protocol, ports, source_ports)| ServiceEntry::Transport {
                protocol,
                ports,
                source_ports
            }
        ),
        (version, any::<Option<(u8, Option<u8>)>>()).prop_map(|(version, icmp)| {
            ServiceEntry::Icmp {
                version,
                icmp_type: icmp.map(|(icmp_type, _)| icmp_type),
                code: icmp.and_then(|(_, code)| code),
            }
        }),
    ]
}

fn any_rule() -> impl Strategy<Value = RuleItem> {
    let direction = prop::sample::select(vec![Direction::In, Direction::Out, Direction::Both]);
    let peer = (any::<u64>(), any::<bool>())
        .prop_map(|(group, negate)| PeerItem { group: Uid(group), negate });
    (
        prop::option::of(any_text()),
        direction,
        prop::option::of(vec(peer, 0..4)),
        prop::option::of(vec(any_service(), 0..4)),
        any_action(),
        any::<bool>(),
    )
        .prop_map(|(name, direction, peers, services, action, log)| RuleItem {
            name,
            direction,
            peers,
            services,
            action,
            log,
        })
}

fn any_policy() -> impl Strategy<Value = PolicyItem> {
    let default = || prop::option::of(any_action());
    (
        any_text(),
        any_text(),
        btree_set(any::<u64>().prop_map(Uid), 0..4),
        any::<u16>(),
        any::<u32>(),
        (default(), default()),
        vec(any_rule(), 0..4),
    )
        .prop_map(|(project, name, groups, tier, priority, (inbound, outbound), rules)| {
            PolicyItem {
                project,
                name,
                applied_to: groups.into_iter().collect(),
                tier,
                priority,
                defaults: DefaultActions { inbound, outbound },
                rules,
            }
        })
}

fn any_blocks() -> impl Strategy<Value = Vec<ipnet::IpNet>> {
    vec((any_address(), 0u8..=32), 0..10).prop_map(|list| {
        let nets = list.into_iter().map(|(address, len)| ipnet::IpNet::new(address, len).unwrap());
        spanwire_topology::model::AddressBlocks::from_nets(nets).to_nets()
    })
}

fn any_list() -> impl Strategy<Value = Item> {
    prop_oneof![
        any_blocks().prop_map(Item::Blocks),
        any_addresses().prop_map(Item::Shard),
        any_locators().prop_map(|list| Item::Locators(list.into_iter().collect())),
    ]
}

fn any_update() -> impl Strategy<Value = ItemUpdate> {
    let shard = |group, domain| ItemKey::Shard { group: Uid(group), domain };
    let content = (any::<u64>(), any_vni()).prop_flat_map(move |(uid, vni)| {
        prop_oneof![
            Just((ItemKey::Port(Uid(uid)), Change::Removed)),
            any_domain()
                .prop_map(move |item| (ItemKey::Domain(vni), Change::Full(Item::Domain(item)))),
            any_port()
                .prop_map(move |item| (ItemKey::Port(Uid(uid)), Change::Full(Item::Port(item)))),
            any_policy().prop_map(move |item| {
                (ItemKey::Policy(Uid(uid)), Change::Full(Item::Policy(item)))
            }),
            any_blocks().prop_map(move |item| {
                (ItemKey::Blocks(Uid(uid)), Change::Full(Item::Blocks(item)))
            }),
            any_addresses()
                .prop_map(move |item| (shard(uid, vni), Change::Full(Item::Shard(item)))),
            any_locators().prop_map(move |list| {
                let item = Item::Locators(list.into_iter().collect());
                (ItemKey::Locators(vni), Change::Full(item))
            }),
            (any_addresses(), any_addresses()).prop_map(move |(removed, mut added)| {
                added.retain(|address| !removed.contains(address));
                let delta = ItemDelta::Shard { removed, added };
                (shard(uid, vni), Change::Delta { base_version: 0, delta })
            }),
            (any_addresses(), any_locators()).prop_map(move |(removed, mut added)| {
                added.retain(|locator| !removed.contains(&locator.address));
                let delta = ItemDelta::Locators { removed, added };
                (ItemKey::Locators(vni), Change::Delta { base_version: 0, delta })
            }),
            (btree_set(any::<u32>(), 0..5), any_list(), any::<u64>()).prop_map(
                move |(replaced, members, digest)| {
                    let key = match &members {
                        Item::Blocks(_) => ItemKey::Blocks(Uid(uid)),
                        Item::Shard(_) => shard(uid, vni),
                        _ => ItemKey::Locators(vni),
                    };
                    let replaced = replaced.into_iter().collect();
                    let delta = RangesDelta { replaced, members, digest };
                    (key, Change::Ranges { base_version: 0, delta })
                }
            ),
        ]
    });
    (content, 1u64..1 << 40, 1u64..1 << 40).prop_map(|((key, mut change), base, more)| {
        let version = match &mut change {
            Change::Removed => 0,
            Change::Full(_) => base,
            Change::Delta { base_version, delta: _ }
            | Change::Ranges { base_version, delta: _ } => {
                *base_version = base;
                base + more
            }
        };
        ItemUpdate { key, version, change }
    })
}

fn encode_update(update: &ItemUpdate) -> Bytes {
    match &update.change {
        Change::Removed => encode_removed(update.key),
        Change::Full(item) => encode_full(update.key, update.version, item),
        Change::Delta { base_version, delta } => {
            encode_delta(update.key, *base_version, update.version, delta)
        }
        Change::Ranges { base_version, delta } => {
            encode_ranges(update.key, *base_version, update.version, delta)
        }
    }
}

proptest! {
    #[test]
    fn updates_come_back(update in any_update()) {
        prop_assert_eq!(decode_update(&encode_update(&update)), Ok(update));
    }

    /// Bytes that are nearly right reach deep into the decoder. What they decode to is well formed:
    /// it survives another round.
    #[test]
    fn damaged_updates_are_errors_or_updates(
        update in any_update(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut bytes = encode_update(&update).to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(update) = decode_update(&bytes) {
            prop_assert_eq!(decode_update(&encode_update(&update)), Ok(update));
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_an_update(bytes in vec(any::<u8>(), 0..60)) {
        if let Ok(update) = decode_update(&bytes) {
            prop_assert_eq!(decode_update(&encode_update(&update)), Ok(update));
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    use wire::item_update::Update;
    let wire = |key, version, base_version, update| wire::ItemUpdate {
        key: Some(key_to_wire(key)),
        version,
        base_version,
        update,
    };
    let port = ItemKey::Port(Uid(1));
    let shard = ItemKey::Shard { group: Uid(1), domain: Vni(1) };
    let delta = |removed: &'static [u8], added: &'static [u8]| {
        Some(Update::ShardDelta(wire::PackedDelta { removed: removed.into(), added: added.into() }))
    };
    let ranges = |replaced: &[u32]| {
        let replaced = replaced.to_vec();
        Some(Update::Ranges(wire::PackedRanges { replaced, ..Default::default() }))
    };
    let cases = [
        (wire(port, 0, 0, None), "content of an update is missing"),
        (wire(port, 0, 0, Some(Update::Removed(false))), "removed is false: expected true"),
        (wire(port, 1, 0, Some(Update::Removed(true))), "version of an update is 1 from 0"),
        (wire(port, 1, 0, Some(Update::Shard(Bytes::new()))), "of another type than its key"),
        (wire(shard, 0, 0, Some(Update::Shard(Bytes::new()))), "version of an update is 0 from 0"),
        (wire(shard, 2, 1, Some(Update::Shard(Bytes::new()))), "version of an update is 2 from 1"),
        (wire(shard, 2, 2, delta(&[], &[])), "version of an update is 2 from 2"),
        (wire(shard, 2, 1, delta(&[4, 0], &[4, 0])), "expected each either removed or added"),
        (wire(shard, 2, 0, delta(&[], &[])), "version of an update is 2 from 0"),
        (wire(shard, 2, 0, ranges(&[])), "version of an update is 2 from 0"),
        (wire(shard, 2, 1, ranges(&[3, 3])), "numbers of ranges is not ascending"),
        (wire(shard, 2, 1, ranges(&[3, 2])), "numbers of ranges is not ascending"),
        (wire(shard, 2, 1, ranges(&[0; RANGES_MAX + 1])), "ranges of a list: 32769 is more than"),
        (wire(port, 2, 1, ranges(&[])), "expected a shard, locators or blocks"),
    ];
    for (update, expected) in cases {
        let error = decode_update(&update.encode_to_vec()).unwrap_err().to_string();
        assert!(error.contains(expected), "{update:?} gave {error}");
    }
    let error = decode_update(&[0xff]).unwrap_err().to_string();
    assert!(error.starts_with("not the message expected, item update: "), "{error}");
}

#[test]
fn policies_and_ports_are_checked_field_by_field() {
    use wire::item_update::Update;
    let check = |update: Update, expected: &str| {
        let key = match &update {
            Update::Port(_) => ItemKey::Port(Uid(1)),
            Update::Domain(_) => ItemKey::Domain(Vni(1)),
            _ => ItemKey::Policy(Uid(1)),
        };
        let key = Some(key_to_wire(key));
        let bytes = wire::ItemUpdate { key, version: 1, base_version: 0, update: Some(update) }
            .encode_to_vec();
        match decode_update(&bytes) {
            Ok(update) => assert_eq!(expected, "", "{update:?}"),
            Err(error) => assert!(
                !expected.is_empty() && error.to_string().contains(expected),
                "{error}, not {expected}"
            ),
        }
    };
    let port = wire::PortItem {
        project: "p".to_owned(),
        name: "n".to_owned(),
        mac: Bytes::from_static(&[2, 0, 0, 0, 0, 1]),
        ..Default::default()
    };
    let of_port = |change: fn(&mut wire::PortItem)| {
        let mut port = port.clone();
        change(&mut port);
        Update::Port(port)
    };
    check(of_port(|_| ()), "");
    check(of_port(|port| port.name = "a/b".to_owned()), "name of port");
    check(of_port(|port| port.project.clear()), "project of port");
    check(of_port(|port| port.domain = 1 << 24), "domain of port is 16777216");
    check(of_port(|port| port.mac = Bytes::from_static(&[2])), "is 1 bytes: expected 6 bytes");
    check(of_port(|port| port.mac = Bytes::from_static(&[1; 6])), "a unicast address");
    check(of_port(|port| port.groups = vec![2, 2]), "group of port is 2");
    check(of_port(|port| port.addresses = Bytes::from_static(&[0])), "addresses of port");
    check(
        of_port(|port| {
            port.attachment = Some(wire::port_item::Attachment::Interface("x".repeat(16)));
        }),
        "expected 1 to 15 bytes",
    );
    check(
        of_port(|port| port.attachment = Some(wire::port_item::Attachment::HostStack(false))),
        "host_stack is false",
    );
    let of_rule = |change: fn(&mut wire::RuleItem)| {
        let mut rule = wire::RuleItem {
            inbound: true,
            action: wire::Action::Allow.into(),
            ..Default::default()
        };
        change(&mut rule);
        let (project, name) = ("p".to_owned(), "n".to_owned());
        Update::Policy(wire::PolicyItem { project, name, rules: vec![rule], ..Default::default() })
    };
    check(of_rule(|_| ()), "");
    check(of_rule(|rule| rule.inbound = false), "direction of rule is none");
    check(of_rule(|rule| rule.action = 0), "action of rule is 0: expected 1 to 4");
    check(of_rule(|rule| rule.action = 9), "action of rule is 9");
    check(of_rule(|rule| rule.peers.push(Default::default())), "number of peers is 1");
    check(of_rule(|rule| rule.services.push(Default::default())), "number of services is 1");
    let of_service = |protocol, ports: &[u32], icmp_type, icmp_code| {
        let ports = ports.to_vec();
        let entry =
            wire::ServiceEntry { protocol, ports, source_ports: vec![], icmp_type, icmp_code };
        let rule = wire::RuleItem {
            outbound: true,
            action: wire::Action::Drop.into(),
            has_services: true,
            services: vec![entry],
            ..Default::default()
        };
        let (project, name) = ("p".to_owned(), "n".to_owned());
        Update::Policy(wire::PolicyItem { project, name, rules: vec![rule], ..Default::default() })
    };
    check(of_service(6, &[80, 80], None, None), "");
    check(of_service(6, &[80], None, None), "number of port limits is 1");
    check(of_service(6, &[81, 80], None, None), "port range is 81-80");
    check(of_service(6, &[80, 65536], None, None), "port range is 80-65536");
    check(of_service(6, &[], Some(8), None), "ICMP type or code is set");
    check(of_service(1, &[80, 80], None, None), "ports is set");
    check(of_service(1, &[], Some(256), None), "ICMP type is 256");
    check(of_service(58, &[], None, Some(1)), "ICMP code is set");
    check(of_service(47, &[], None, None), "protocol is 47");
    let domain = |sees: &[u32]| {
        Update::Domain(wire::DomainItem { sees: sees.to_vec(), reaches: vec![], spoofable: false })
    };
    check(domain(&[1, 2]), "");
    check(domain(&[2, 1]), "domain seen is 1: expected more than the one before");
}

#[test]
fn a_change_of_one_address_is_a_few_bytes() {
    let delta = ItemDelta::Shard { removed: vec![], added: vec!["10.1.2.3".parse().unwrap()] };
    let key = ItemKey::Shard { group: Uid(1234), domain: Vni(1234) };
    let len = encode_delta(key, 123_456, 123_457, &delta).len();
    assert!(len <= 28, "{len} bytes");
    assert!(encode_removed(key).len() <= 12);
}
