//! OVN as a witness: what `ovn-trace` says of a packet, [`Engine::verdict`] says of it too.
//!
//! The campus is loaded into a real northbound database and compiled by a real `ovn-northd`, once
//! as it is and once with IPv6 routed and filtered like IPv4. Two things differ by design, and each is checked
//! to be just that:
//!
//! * **Addresses of isolated networks.** A rule about `$pg_ip4` in OVN is about addresses, so it
//!   matches an equal address of any network; a rule of Spanwire is about the ports (G6). So OVN
//!   must agree without exception with the campus whose groups are read as lists of addresses, and
//!   may disagree with the campus as it is imported only about a source whose address is also that
//!   of another port.
//! * **Families of a path.** A router of Spanwire joins its switches for both families. The
//!   campus as it is gives its routers IPv4 alone, so OVN must deliver no IPv6 beyond a switch.

use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spanwire_import::ovn::{OvnOptions, Table, import_tables, parse_dump};
use spanwire_oracle::{Network, Resources};
use spanwire_tests::northbound::{Attachment, attachments, packet, with_ipv6, without_member};
use spanwire_tests::ovn::{Stand, missing};
use spanwire_tests::step_aside;
use spanwire_topology::engine::{Endpoint, PacketKind, Verdict};
use spanwire_topology::model::{
    CidrBlock, GroupSpec, LogicalPortSpec, ObjectRef, Spec, TransportProtocol,
};
use spanwire_topology::{Engine, Kind, ObjectKey, Resource, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// Packets on each of the two networks.
const SAMPLES: usize = 2_000;
const SEED: u64 = 0x0_5ca1e;

/// Ports that the campus has rules about, and one that it has none about.
const PORTS: [u16; 11] = [22, 53, 80, 443, 5432, 6379, 7000, 7010, 8080, 9100, 12_345];
/// An ephemeral port, as the source of every connection.
const SOURCE_PORT: u16 = 40_000;
const ECHO_REQUEST: [(u8, &str); 2] = [(8, "icmp4"), (128, "icmp6")];

/// What the rules of the campus allow, roughly: tiers of source and destination (any if empty),
/// and port (an echo request if 0). Half of the packets are taken from here, so that deliveries
/// are not rare.
const LIKELY: [(&str, &str, u16); 9] = [
    ("", "web", 80),
    ("", "web", 443),
    ("web", "app", 8080),
    ("app", "db", 5432),
    ("app", "cache", 6379),
    ("db", "db", 7000),
    ("cache", "cache", 7010),
    ("ops", "", 9100),
    ("ops", "", 0),
];
/// How many pairs of ports are looked at for one whose tiers fit.
const TRIES_MAX: usize = 100;

/// A monitor of an isolated tenant, with the address of a monitor of another.
const ODD_ONE: &str = "t11-ops-001";
const MONITORED_PORT: u16 = 9100;

const NOT_ROUTED: &str = "IPv6 not routed";

/// How the two ends of a packet lie to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    SameSwitch,
    /// Another switch of the same tenant.
    SameTenant,
    /// Two tenants that the provider joins.
    Routed,
    /// Two tenants of which one at least is on its own.
    Isolated,
}

/// A packet to ask about.
#[derive(Debug, Clone)]
struct Sample {
    place: Place,
    from: (ObjectKey, IpAddr),
    to: (ObjectKey, IpAddr),
    packet: PacketKind,
}

/// The ports of the campus, by key.
type Ports = BTreeMap<ObjectKey, LogicalPortSpec>;

/// Pairs of ports by how they lie to one another, and whether both have IPv4 or both IPv6.
type Pairs<'a> = BTreeMap<(Place, bool), Vec<(&'a ObjectKey, &'a ObjectKey)>>;

/// What was found, and how often.
type Counts = BTreeMap<(Place, bool, &'static str), usize>;

#[test]
fn ovn_trace_agrees_about_the_campus_with_ipv6_as_well() {
    let Some(tables) = campus("ovn_trace_agrees_about_the_campus_with_ipv6_as_well") else {
        return;
    };
    // In the campus, ports of equal addresses are all in a group or none is.
    let tables = without_member(&with_ipv6(&tables), "pg_monitoring", ODD_ONE);
    let (counts, by_address) = compare(&tables, SEED, |_| false);
    for place in [Place::SameSwitch, Place::SameTenant, Place::Routed] {
        for v4 in [true, false] {
            for found in ["delivered", "denied at the destination"] {
                let count = counts.get(&(place, v4, found)).copied().unwrap_or(0);
                assert!(count >= 25, "{place:?}, IPv4 {v4}: {found} {count} times: {counts:?}");
            }
        }
    }
    let at_the_source: usize = counts
        .iter()
        .filter(|((.., found), _)| *found == "denied at the source")
        .map(|(_, n)| n)
        .sum();
    assert!(at_the_source >= 10, "denied at the source {at_the_source} times: {counts:?}");
    let isolated = counts.iter().filter(|((place, ..), _)| *place == Place::Isolated);
    for ((.., found), count) in isolated {
        assert!(*found == "unreachable" && *count >= 100, "{found} {count} times: {counts:?}");
    }
    assert!(by_address > 0, "no packet shows what equal addresses do");
}

#[test]
fn ovn_trace_agrees_about_the_campus_as_it_is() {
    let Some(tables) = campus("ovn_trace_agrees_about_the_campus_as_it_is") else { return };
    let (counts, by_address) = compare(&tables, SEED + 1, |sample| {
        sample.from.1.is_ipv6() && sample.place != Place::SameSwitch
    });
    let excluded: usize =
        counts.iter().filter(|((.., found), _)| *found == NOT_ROUTED).map(|(_, n)| n).sum();
    assert!(excluded * 4 < SAMPLES, "{excluded} of {SAMPLES} are excluded: {counts:?}");
    assert_eq!(by_address, 0);
}

/// The tables of the campus, if OVN can be run.
fn campus(test: &str) -> Option<Vec<Table>> {
    if let Some(missing) = missing() {
        step_aside(test, &missing);
        return None;
    }
    let dump =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/data/campus-12-tenants.json");
    let bytes = std::fs::read(dump).expect("the dump is there");
    Some(parse_dump(&bytes).expect("the dump is one"))
}

/// Asks both about every sample. `unrouted` says what OVN is known to deliver nowhere. Gives back
/// what was found, and how often an equal address of another network decided in OVN.
fn compare(tables: &[Table], seed: u64, unrouted: impl Fn(&Sample) -> bool) -> (Counts, usize) {
    let import = import_tables(tables, &OvnOptions::default()).expect("the campus imports");
    assert!(import.unsupported.is_empty(), "{:?}", import.unsupported);
    let resources: Resources = import.resources.into_iter().map(|r| (r.key(), r)).collect();
    let (engine, literal) = (load(&resources), load(&read_as_addresses(&resources)));
    let ports = ports_of(&resources);
    let attachments = attachments(tables);
    let samples = samples(&engine, &ports, seed);

    let stand = Stand::start(tables);
    let mut tracer = stand.tracer(samples.len());
    let mut counts = Counts::new();
    let mut by_address = 0;
    println!("seed {seed:#x}: {} packets", samples.len());
    for sample in &samples {
        let (switch, question) = question(sample, &ports, &attachments);
        let outputs = tracer.outputs(&switch, &question);
        let delivered = outputs.iter().any(|port| *port == *sample.to.0.name);
        let verdict = ask(&engine, sample);
        let found = if unrouted(sample) {
            assert!(!delivered, "OVN delivers {sample:?}, for which it has no route");
            NOT_ROUTED
        } else {
            let read_literally = ask(&literal, sample);
            assert_eq!(
                matches!(read_literally, Verdict::Allowed(..)),
                delivered,
                "{sample:?}\n{question}\nOVN outputs to {outputs:?}\nSpanwire: {read_literally:?}"
            );
            if matches!(verdict, Verdict::Allowed(..)) != delivered {
                let bearers = engine.ports_with_address(sample.from.1);
                assert!(bearers.len() > 1, "{sample:?}\nOVN {outputs:?}\nSpanwire: {verdict:?}");
                by_address += 1;
            }
            match verdict {
                Verdict::Allowed(..) => "delivered",
                Verdict::Unreachable { .. } => "unreachable",
                Verdict::DeniedAtSource(_) => "denied at the source",
                Verdict::DeniedAtDestination(..) => "denied at the destination",
            }
        };
        *counts.entry((sample.place, sample.from.1.is_ipv4(), found)).or_default() += 1;
    }
    for ((place, v4, found), count) in &counts {
        println!("{place:?}, IPv{}: {found}: {count}", if *v4 { 4 } else { 6 });
    }
    println!("decided by an equal address of another network: {by_address}");
    (counts, by_address)
}

fn load(resources: &Resources) -> Engine {
    let mut engine = Engine::new();
    engine.apply(&Transaction::put(resources.values().cloned()), 1).expect("the campus applies");
    engine
}

fn ports_of(resources: &Resources) -> Ports {
    let port = |resource: &Resource| match &*resource.spec {
        Spec::LogicalPort(port) => Some(port.clone()),
        _ => None,
    };
    resources.iter().filter_map(|(key, r)| Some((key.clone(), port(r)?))).collect()
}

/// The same network with every peer of a rule replaced by the addresses of its members: what OVN
/// makes of `$pg_ip4`.
fn read_as_addresses(resources: &Resources) -> Resources {
    let ports = ports_of(resources);
    let network = Network::new(resources);
    let mut literal = resources.clone();
    let mut needed: BTreeSet<ObjectRef> = BTreeSet::new();
    for resource in literal.values_mut() {
        let mut spec = (*resource.spec).clone();
        if let Spec::SecurityPolicy(policy) = &mut spec {
            for peer in policy.rules.iter_mut().flat_map(|rule| &mut rule.peers) {
                needed.insert(peer.group.clone());
                peer.group = addresses_of(&peer.group);
            }
        }
        resource.spec = Arc::new(spec);
    }
    for group in needed {
        let key = group.to_key(Kind::Group);
        let Spec::Group(spec) = &*resources[&key].spec else { panic!("{key} is a group") };
        let members = network.group_ports(&key).into_iter().flatten();
        let addresses = members.flat_map(|port| ports[port].addresses.iter().copied());
        let mut blocks = spec.blocks.clone();
        blocks.extend(addresses.map(|address| {
            CidrBlock::new(address.into(), Vec::new()).expect("an address is a block")
        }));
        let ObjectRef { project, name } = addresses_of(&group);
        let spec = Spec::Group(GroupSpec { terms: Vec::new(), blocks });
        let resource = Resource::new(project, name, Default::default(), spec);
        literal.insert(resource.key(), resource);
    }
    literal
}

fn addresses_of(group: &ObjectRef) -> ObjectRef {
    ObjectRef::new(group.project.clone(), format!("addresses-of-{}", group.name))
}

/// Packets between random ports, so that every place and family has its share.
fn samples(engine: &Engine, ports: &Ports, seed: u64) -> Vec<Sample> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let domains: BTreeMap<ObjectKey, usize> = engine
        .domains()
        .into_iter()
        .enumerate()
        .flat_map(|(n, domain)| domain.switches.into_iter().map(move |switch| (switch, n)))
        .collect();
    let mut by_place = Pairs::new();
    for (from, one) in ports {
        for (to, two) in ports.iter().filter(|(to, _)| *to != from) {
            let domain = |port: &LogicalPortSpec| domains[&port.switch.to_key(Kind::LogicalSwitch)];
            let place = if one.switch == two.switch {
                Place::SameSwitch
            } else if from.project == to.project {
                Place::SameTenant
            } else if domain(one) == domain(two) {
                Place::Routed
            } else {
                Place::Isolated
            };
            for v4 in [true, false] {
                let has = |port: &LogicalPortSpec| port.addresses.iter().any(|a| a.is_ipv4() == v4);
                if has(one) && has(two) {
                    by_place.entry((place, v4)).or_default().push((from, to));
                }
            }
        }
    }
    let mut samples: Vec<Sample> =
        (0..SAMPLES).map(|n| sample(&mut random, ports, &by_place, n)).collect();
    samples.extend(odd_samples(ports));
    samples
}

/// What the odd one may no longer do.
fn odd_samples(ports: &Ports) -> Vec<Sample> {
    let Some((odd, source)) = ports.iter().find(|(key, _)| &*key.name == ODD_ONE) else {
        panic!("there is no {ODD_ONE}")
    };
    let v4 = |port: &LogicalPortSpec| {
        let mut v4 = port.addresses.iter().copied().filter(IpAddr::is_ipv4);
        v4.next().expect("every port of the campus has an IPv4 address")
    };
    let same_tenant = |(key, port): &(&ObjectKey, &LogicalPortSpec)| {
        key.project == odd.project && port.switch != source.switch
    };
    ports
        .iter()
        .filter(same_tenant)
        .map(|(key, port)| Sample {
            place: Place::SameTenant,
            from: (odd.clone(), v4(source)),
            to: (key.clone(), v4(port)),
            packet: tcp(MONITORED_PORT),
        })
        .collect()
}

fn sample(random: &mut ChaCha8Rng, ports: &Ports, pairs: &Pairs<'_>, number: usize) -> Sample {
    let places = [Place::SameSwitch, Place::SameTenant, Place::Routed, Place::Isolated];
    let place = places[number % places.len()];
    let v4 = random.random_bool(0.7);
    let pairs = &pairs[&(place, v4)];
    let mut any =
        (pairs.choose(random).copied().expect("there are such pairs"), any_packet(random, v4));
    if random.random_bool(0.5) {
        let likely = (0..TRIES_MAX).find_map(|_| {
            let (from, to) = *pairs.choose(random)?;
            let (source, destination, port) = *LIKELY.choose(random)?;
            let fits = |key: &ObjectKey, tier: &str| key.name.contains(tier);
            (fits(from, source) && fits(to, destination))
                .then(|| ((from, to), if port == 0 { echo(v4) } else { tcp(port) }))
        });
        any = likely.unwrap_or(any);
    }
    let ((from, to), packet) = any;
    let mut address = |port: &ObjectKey| {
        let own = ports[port].addresses.iter().filter(|address| address.is_ipv4() == v4);
        *own.choose(random).expect("the pair was chosen by it")
    };
    let (source, destination) = (address(from), address(to));
    Sample { place, from: (from.clone(), source), to: (to.clone(), destination), packet }
}

fn any_packet(random: &mut ChaCha8Rng, v4: bool) -> PacketKind {
    let port = *PORTS.choose(random).expect("there are ports");
    match random.random_range(0..10) {
        0..7 => tcp(port),
        7..8 => PacketKind::Transport {
            protocol: TransportProtocol::Udp,
            source_port: SOURCE_PORT,
            port,
        },
        _ => echo(v4),
    }
}

fn tcp(port: u16) -> PacketKind {
    PacketKind::Transport { protocol: TransportProtocol::Tcp, source_port: SOURCE_PORT, port }
}

fn echo(v4: bool) -> PacketKind {
    PacketKind::Icmp { icmp_type: ECHO_REQUEST[usize::from(!v4)].0, code: 0 }
}

/// The question for `ovn-trace`: the switch the packet starts on, and the packet. It goes to the
/// MAC address that the source would find: the destination's on its own switch, else the router's.
fn question(
    sample: &Sample,
    ports: &Ports,
    attachments: &BTreeMap<String, Attachment>,
) -> (String, String) {
    let (from, to) = (&ports[&sample.from.0], &ports[&sample.to.0]);
    let name = &*sample.from.0.name;
    let Attachment { switch, gateway } = &attachments[name];
    let destination = if from.switch == to.switch { to.mac.to_string() } else { gateway.clone() };
    let transport = match sample.packet {
        PacketKind::Transport { protocol, source_port, port } => {
            let protocol = match protocol {
                TransportProtocol::Tcp => "tcp",
                TransportProtocol::Udp => "udp",
                TransportProtocol::Sctp => "sctp",
            };
            format!("{protocol}.src == {source_port} && {protocol}.dst == {port}")
        }
        PacketKind::Icmp { icmp_type, code } => {
            let version = ECHO_REQUEST[usize::from(sample.from.1.is_ipv6())].1;
            format!("{version}.type == {icmp_type} && {version}.code == {code}")
        }
    };
    let macs = (&*from.mac.to_string(), &*destination);
    (switch.clone(), packet(name, macs, (sample.from.1, sample.to.1), &transport))
}

fn ask(engine: &Engine, sample: &Sample) -> Verdict {
    let end = |(port, address): &(ObjectKey, IpAddr)| Endpoint::Port(port.clone(), Some(*address));
    engine
        .verdict(&end(&sample.from), &end(&sample.to), sample.packet)
        .expect("both ends are there")
}
