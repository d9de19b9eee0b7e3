//! From a host's view to our nftables table. Pure.
//!
//! ```text
//!  prerouting   anti-spoofing; mark and conntrack zone of the domain that the device belongs to
//!  forward      from workloads: their outbound policies       ┐ two base chains each: what the
//!  forward_in   to workloads: their inbound policies          ┘ first accepts, the second judges
//!  input(_in)   to the host itself, output(_in) from it
//!  postrouting  MSS of TCP in the overlay
//! ```
//!
//! With [`ForwardingMode::None`] marks, zones and MSS are left alone: the network is somebody
//! else's, and a zone that only one side of a connection is in would tear it apart.

use super::json;
use super::overlap::Overlap;
use super::policies::{CLOSED, PolicyCompiler, REFUSE, blocks_set, shard_set};
use super::ruleset::{Chain, Content, Element, Hook, Rule, Ruleset, SetKind};
use super::zones::Zones;
use crate::datapath::evaluate::{ICMPV6_LINK_TYPES, domain, ports};
use crate::datapath::linux::family::Family;
use crate::datapath::linux::names::{
    GATEWAY_V4, GATEWAY_V6, NULL_DEVICE, WORKLOAD_PREFIX, crossing_in_device, crossing_out_device,
    device_of, mark, tunnel_device,
};
use crate::datapath::{ForwardingMode, LinuxConfig, Rejection};
use serde_json::{Value, json};
use spanwire_topology::model::{Direction, Text, Uid, Vni};
use spanwire_topology::view::{HostView, Item, ItemKey, PortItem};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Devices of workloads with a port.
const WORKLOADS: &str = "workloads";
/// Those with port security.
const SECURED: &str = "secured";
/// The MAC addresses of workloads, and their addresses.
const OWN_MAC: &str = "own_mac";
const OWN_V4: &str = "own_v4";
const OWN_V6: &str = "own_v6";
/// All devices that packets of workloads may come by.
const INSIDE: &str = "inside";
/// By device: the chain of its domain, of its outbound policies, of its inbound policies.
const ENTRANCES: &str = "entrances";
const OUTBOUND: &str = "outbound";
const INBOUND: &str = "inbound";

/// What a domain's chain is called, and what its rule's comment begins with: the zone is read back
/// from there.
const FROM_DOMAIN: &str = "from_d";
const ZONE_LABEL: &str = "zone ";

/// Priorities of base chains. Conntrack has −200: zones must be set before it. The second chain of
/// a hook comes right after the first.
const PRIORITY_RAW: i32 = -300;
const PRIORITY_MANGLE: i32 = -150;
const PRIORITY_FILTER: i32 = 0;
const PRIORITY_FILTER_NEXT: i32 = 1;

/// Compiles the table. `excluded` are items that the kernel refused before.
pub(crate) fn compile(
    view: &HostView,
    config: &LinuxConfig,
    excluded: &BTreeSet<ItemKey>,
    zones: &mut Zones,
) -> (Ruleset, BTreeSet<Rejection>) {
    let mut compiler = Compiler {
        view,
        config,
        excluded,
        ruleset: Ruleset::default(),
        rejections: BTreeSet::new(),
        workloads: BTreeMap::new(),
        host: None,
    };
    compiler.members();
    compiler.ports();
    compiler.domains(zones);
    compiler.common_chains();
    compiler.prerouting();
    compiler.forward();
    compiler.host_hooks();
    (compiler.ruleset, compiler.rejections)
}

/// The domain and the zone that a chain and the comment of its rule are about, if they are of
/// those that [`compile`] makes.
pub(crate) fn zone_of(chain: &str, comment: &str) -> Option<(Vni, u16)> {
    let domain = chain.strip_prefix(FROM_DOMAIN)?.parse().ok()?;
    let zone = comment.strip_prefix(ZONE_LABEL)?.split(' ').next()?.parse().ok()?;
    Some((Vni(domain), zone))
}

/// The domain of each device, out of the maps that [`compile`] makes.
pub(crate) fn homes(maps: &BTreeMap<String, BTreeMap<Text, String>>) -> BTreeMap<Text, Vni> {
    let domain_of = |chain: &String| chain.strip_prefix(FROM_DOMAIN)?.parse().ok().map(Vni);
    let entrances = maps.get(ENTRANCES).into_iter().flatten();
    entrances.filter_map(|(device, chain)| Some((device.clone(), domain_of(chain)?))).collect()
}

struct Compiler<'a> {
    view: &'a HostView,
    config: &'a LinuxConfig,
    excluded: &'a BTreeSet<ItemKey>,
    ruleset: Ruleset,
    rejections: BTreeSet<Rejection>,
    workloads: BTreeMap<Text, (Uid, &'a PortItem)>,
    host: Option<(Uid, &'a PortItem)>,
}

impl<'a> Compiler<'a> {
    fn overlay(&self) -> bool {
        self.config.forwarding == ForwardingMode::Overlay
    }

    fn reject(&mut self, key: ItemKey, reason: impl Into<String>) {
        self.rejections.insert(Rejection { key, reason: reason.into() });
    }

    /// Sets of group members and blocks.
    fn members(&mut self) {
        use SetKind::{Ipv4, Ipv4Blocks, Ipv6, Ipv6Blocks};
        for (key, versioned) in &self.view.items {
            if self.excluded.contains(key) {
                continue;
            }
            let content = || Content::Shared(Arc::clone(&versioned.item));
            let ruleset = &mut self.ruleset;
            match (key, &*versioned.item) {
                (ItemKey::Shard { group, domain }, Item::Shard(_)) => {
                    ruleset.set(shard_set(*group, *domain, Family::V4), Ipv4, content());
                    ruleset.set(shard_set(*group, *domain, Family::V6), Ipv6, content());
                }
                (ItemKey::Blocks(group), Item::Blocks(_)) => {
                    ruleset.set(blocks_set(*group, Family::V4), Ipv4Blocks, content());
                    ruleset.set(blocks_set(*group, Family::V6), Ipv6Blocks, content());
                }
                _ => {}
            }
        }
    }

    /// Sets and maps of devices, and the chains of policies.
    fn ports(&mut self) {
        for (uid, port) in ports(self.view) {
            let key = ItemKey::Port(uid);
            match device_of(port) {
                Err(reason) => self.reject(key, reason),
                Ok(None) => match self.host {
                    Some((first, _)) => self.reject(
                        key,
                        format!("the host's own stack is already guarded as port {first}"),
                    ),
                    None => self.host = Some((uid, port)),
                },
                Ok(Some(device)) => match self.workloads.get(&device) {
                    Some((first, _)) => {
                        let reason = format!(
                            "device {device} already belongs to port {first}: a device can have \
                             one port"
                        );
                        self.reject(key, reason);
                    }
                    None => drop(self.workloads.insert(device, (uid, port))),
                },
            }
        }
        let mut outbound = BTreeMap::new();
        let mut inbound = BTreeMap::new();
        for (device, (uid, port)) in self.workloads.clone() {
            for (direction, map) in [(Direction::Out, &mut outbound), (Direction::In, &mut inbound)]
            {
                if let Some(chain) = self.port_chain(uid, port, direction) {
                    map.insert(device.clone(), chain);
                }
            }
        }
        self.ruleset.maps.insert(OUTBOUND.to_owned(), outbound);
        self.ruleset.maps.insert(INBOUND.to_owned(), inbound);
        self.port_security();
    }

    /// A port of which it is not known what applies to it is closed, not open.
    fn port_chain(&mut self, uid: Uid, port: &PortItem, direction: Direction) -> Option<String> {
        if self.excluded.contains(&ItemKey::Port(uid)) {
            return Some(CLOSED.to_owned());
        }
        let mut policies = PolicyCompiler::new(self.view, self.excluded, &mut self.ruleset);
        match policies.port_chain(uid, port, direction) {
            Ok(chain) => chain,
            Err(reason) => {
                self.reject(ItemKey::Port(uid), format!("closed, because {reason}"));
                Some(CLOSED.to_owned())
            }
        }
    }

    fn port_security(&mut self) {
        let (mut all, mut secured) = (BTreeSet::new(), BTreeSet::new());
        let (mut macs, mut v4, mut v6) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (device, (_, port)) in &self.workloads {
            all.insert(Element::Device(device.clone()));
            if !port.port_security {
                continue;
            }
            secured.insert(Element::Device(device.clone()));
            macs.insert(Element::DeviceMac(device.clone(), port.mac));
            for &address in &port.addresses {
                let of_family = if address.is_ipv4() { &mut v4 } else { &mut v6 };
                of_family.insert(Element::DeviceMacAddress(device.clone(), port.mac, address));
            }
        }
        let ruleset = &mut self.ruleset;
        ruleset.set(WORKLOADS, SetKind::Device, Content::Own(all));
        ruleset.set(SECURED, SetKind::Device, Content::Own(secured));
        ruleset.set(OWN_MAC, SetKind::DeviceMac, Content::Own(macs));
        ruleset.set(OWN_V4, SetKind::DeviceMacIpv4, Content::Own(v4));
        ruleset.set(OWN_V6, SetKind::DeviceMacIpv6, Content::Own(v6));
    }

    /// The devices of each domain, and its mark and zone.
    fn domains(&mut self, zones: &mut Zones) {
        if !self.overlay() {
            return;
        }
        let own: BTreeSet<Vni> = self
            .workloads
            .values()
            .map(|(_, port)| port.domain)
            .filter(|vni| domain(self.view, *vni).is_some())
            .collect();
        let homes = self.workloads.iter().map(|(device, (_, port))| (device.clone(), port.domain));
        let homes = homes.filter(|(_, vni)| own.contains(vni)).collect();
        let overlap = Overlap::new(self.view, &self.workloads);
        for vni in zones.assign(homes, |left, right| overlap.between(left, right)) {
            self.reject(ItemKey::Domain(vni), "all 65,535 conntrack zones are taken");
        }
        let mut entrances = BTreeMap::new();
        let mut inside: BTreeSet<Text> = BTreeSet::from([NULL_DEVICE.into()]);
        for (device, (_, port)) in &self.workloads {
            inside.insert(device.clone());
            if own.contains(&port.domain) {
                entrances.insert(device.clone(), from_domain(port.domain));
            }
        }
        for &vni in &own {
            for device in [tunnel_device(vni), crossing_in_device(vni)] {
                entrances.insert(device, from_domain(vni));
            }
            let reached = domain(self.view, vni).map(|item| item.reaches.clone());
            for other in reached.unwrap_or_default().into_iter().chain([vni]) {
                inside.insert(tunnel_device(other));
                inside.insert(crossing_in_device(other));
                inside.insert(crossing_out_device(other));
            }
            let mut actions = vec![json!({ "mangle": {
                "key": { "meta": { "key": "mark" } }, "value": mark(vni),
            } })];
            let mut label = format!("domain {vni} has no zone");
            match zones.of(vni) {
                Some(zone) => {
                    actions.push(json!({ "mangle": {
                        "key": { "ct": { "key": "zone" } }, "value": zone,
                    } }));
                    label = format!("{ZONE_LABEL}{zone} of domain {vni}");
                }
                // Without a zone its connections could not be told from others.
                None => actions = vec![json::drop()],
            }
            self.ruleset.chain(from_domain(vni), vec![Rule::new(&label, actions)]);
        }
        let inside = inside.into_iter().map(Element::Device).collect();
        self.ruleset.set(INSIDE, SetKind::Device, Content::Own(inside));
        self.ruleset.maps.insert(ENTRANCES.to_owned(), entrances);
    }

    fn common_chains(&mut self) {
        let reset = json!({ "reject": { "type": "tcp reset" } });
        let prohibited = json!({ "reject": { "type": "icmpx", "expr": "admin-prohibited" } });
        let is_tcp = json::equal(json::meta("l4proto"), 6);
        self.ruleset.chain(
            REFUSE,
            vec![
                Rule::new("refuse TCP", vec![is_tcp, reset]),
                Rule::new("refuse others", vec![prohibited]),
            ],
        );
        self.ruleset.chain(CLOSED, vec![Rule::new("closed", vec![json::drop()])]);
    }

    fn base(&mut self, name: &str, hook: &'static str, priority: i32, rules: Vec<Rule>) {
        let hook = Some(Hook { hook, priority });
        self.ruleset.chains.insert(name.to_owned(), Chain { hook, rules });
    }

    fn prerouting(&mut self) {
        let mut rules = vec![Rule::new(
            "port security",
            vec![
                json::equal(json::meta("iifname"), json::in_set(SECURED)),
                json::jump("no_spoofing"),
            ],
        )];
        if self.overlay() {
            let to_domain = json::by_device("iifname", ENTRANCES);
            rules.push(Rule::new("mark and zone of the domain", vec![to_domain]));
        }
        self.base("prerouting", "prerouting", PRIORITY_RAW, rules);
        self.ruleset.chain("no_spoofing", no_spoofing());
    }

    fn forward(&mut self) {
        let (incoming, outgoing) = (|| json::meta("iifname"), || json::meta("oifname"));
        let ours = if self.overlay() { INSIDE } else { WORKLOADS };
        let mut rules = unplugged("iifname");
        rules.extend(unplugged("oifname"));
        rules.push(Rule::new(
            "traffic of others",
            vec![
                json::differs(incoming(), json::in_set(ours)),
                json::differs(outgoing(), json::in_set(ours)),
                json::accept(),
            ],
        ));
        if self.overlay() {
            rules.extend(overlay_only());
        }
        rules.push(Rule::new("connections", vec![json::is_established(), json::accept()]));
        rules.push(Rule::new("no connection", vec![json::is_invalid(), json::drop()]));
        rules.push(Rule::new("outbound policies", vec![json::by_device("iifname", OUTBOUND)]));
        self.base("forward", "forward", PRIORITY_FILTER, rules);
        let rules = vec![
            Rule::new("connections", vec![json::is_established(), json::accept()]),
            Rule::new("inbound policies", vec![json::by_device("oifname", INBOUND)]),
        ];
        self.base("forward_in", "forward", PRIORITY_FILTER_NEXT, rules);
        if self.overlay() {
            self.base("postrouting", "postrouting", PRIORITY_MANGLE, leaving_by_tunnel());
        }
    }

    /// What comes to the host itself and from it.
    fn host_hooks(&mut self) {
        let host = self.host;
        let chain_of = |compiler: &mut Compiler<'a>, direction| {
            host.map(|(uid, port)| compiler.port_chain(uid, port, direction))
        };
        let (inbound, outbound) = (chain_of(self, Direction::In), chain_of(self, Direction::Out));
        let mut rules = unplugged("iifname");
        if self.overlay() {
            rules.extend(workload_to_host());
        } else {
            rules.extend(judged_by_device("iifname", OUTBOUND));
        }
        self.base("input", "input", PRIORITY_FILTER, rules);
        if let Some(chain) = inbound {
            let rules = self.host_rules("iifname", chain.as_deref());
            self.base("input_in", "input", PRIORITY_FILTER_NEXT, rules);
        }
        if let Some(chain) = outbound {
            let rules = self.host_rules("oifname", chain.as_deref());
            self.base("output", "output", PRIORITY_FILTER, rules);
        }
        if !self.overlay() {
            let rules = judged_by_device("oifname", INBOUND);
            self.base("output_in", "output", PRIORITY_FILTER_NEXT, rules);
        }
    }

    /// The policies of the host's own port, and before them what keeps the host manageable: its
    /// connection to the controllers, the overlay, neighbour discovery and DHCP are never judged.
    fn host_rules(&self, device: &str, chain: Option<&str>) -> Vec<Rule> {
        let inbound = device == "iifname";
        let (near, far) = if inbound { ("dport", "sport") } else { ("sport", "dport") };
        let peer = if inbound { "saddr" } else { "daddr" };
        let field = json::payload;
        let mut rules = vec![Rule::new(
            "loopback",
            vec![json::equal(json::meta(device), "lo"), json::accept()],
        )];
        if self.overlay() {
            let inside = json::equal(json::meta(device), json::in_set(INSIDE));
            rules.push(Rule::new("judged as a workload's", vec![inside, json::accept()]));
            let overlay = json::equal(field("udp", "dport"), self.config.vxlan_port);
            rules.push(Rule::new("overlay", vec![overlay, json::accept()]));
        }
        for controller in &self.config.controllers {
            let protocol = if controller.is_ipv4() { "ip" } else { "ip6" };
            let address = json::equal(field(protocol, peer), controller.ip().to_string());
            let port = json::equal(field("tcp", far), controller.port());
            rules.push(Rule::new("controller", vec![address, port, json::accept()]));
        }
        for (client, server) in [(68, 67), (546, 547)] {
            let client = json::equal(field("udp", near), client);
            let server = json::equal(field("udp", far), server);
            rules.push(Rule::new("DHCP client", vec![client, server, json::accept()]));
        }
        rules.push(Rule::new("neighbour discovery", vec![is_link_traffic(), json::accept()]));
        rules.push(Rule::new("connections", vec![json::is_established(), json::accept()]));
        rules.extend(chain.map(|chain| Rule::new("policies", vec![json::goto(chain)])));
        rules
    }
}

fn from_domain(vni: Vni) -> String {
    format!("{FROM_DOMAIN}{vni}")
}

/// Devices that are workloads' by their name, but have no port (not yet, or not any more): nothing
/// is known about them, so nothing passes.
fn unplugged(device: &str) -> Vec<Rule> {
    vec![Rule::new(
        "workload without a port",
        vec![
            json::equal(json::meta(device), format!("{WORKLOAD_PREFIX}*")),
            json::differs(json::meta(device), json::in_set(WORKLOADS)),
            json::drop(),
        ],
    )]
}

/// Packets from a device with port security that are not its port's own.
fn no_spoofing() -> Vec<Rule> {
    let with_mac = |rest: Option<Value>| {
        let parts = [json::meta("iifname"), json::payload("ether", "saddr")];
        json::concat(parts.into_iter().chain(rest).collect())
    };
    let source = |protocol: &str| json::payload(protocol, "saddr");
    let own = |protocol: &str, set: &str| {
        json::equal(with_mac(Some(source(protocol))), json::in_set(set))
    };
    let own_mac = || json::equal(with_mac(None), json::in_set(OWN_MAC));
    let link_local = || json::prefix(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
    let on_link = || {
        let multicast = json::prefix(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0)), 16);
        let members = json::any_of([link_local(), multicast]);
        json::equal(json::payload("ip6", "daddr"), members)
    };
    let udp = |field: &str, port: u16| json::equal(json::payload("udp", field), port);
    vec![
        Rule::new("own IPv4 address", vec![own("ip", OWN_V4), json::back()]),
        Rule::new("own IPv6 address", vec![own("ip6", OWN_V6), json::back()]),
        // Neighbour discovery and the like use addresses that no port has, and never leave the
        // link.
        Rule::new(
            "on the link",
            vec![own_mac(), json::equal(source("ip6"), link_local()), on_link(), json::back()],
        ),
        Rule::new(
            "before it has an IPv6 address",
            vec![own_mac(), json::equal(source("ip6"), "::"), on_link(), json::back()],
        ),
        Rule::new(
            "before it has an IPv4 address",
            vec![
                own_mac(),
                json::equal(source("ip"), "0.0.0.0"),
                udp("sport", 68),
                udp("dport", 67),
                json::back(),
            ],
        ),
        Rule::new("forged source", vec![json::drop()]),
    ]
}

/// What holds packets of workloads in the overlay, whatever the routing tables say.
fn overlay_only() -> Vec<Rule> {
    let (incoming, outgoing) = (|| json::meta("iifname"), || json::meta("oifname"));
    let no_route = json!({ "reject": { "type": "icmpx", "expr": "no-route" } });
    vec![
        Rule::new(
            "out of the overlay",
            vec![json::differs(outgoing(), json::in_set(INSIDE)), json::drop()],
        ),
        Rule::new(
            "into the overlay",
            vec![json::differs(incoming(), json::in_set(INSIDE)), json::drop()],
        ),
        // Another host takes an address for one of ours. It learns better by itself, and two that
        // are wrong about each other must not play ball with the packet.
        Rule::new(
            "from a tunnel to nowhere",
            vec![
                json::equal(incoming(), "spx*"),
                json::equal(outgoing(), NULL_DEVICE),
                json::drop(),
            ],
        ),
        Rule::new(
            "from a tunnel to a tunnel",
            vec![json::equal(incoming(), "spx*"), json::equal(outgoing(), "spx*"), json::drop()],
        ),
        Rule::new("no route", vec![json::equal(outgoing(), NULL_DEVICE), no_route]),
    ]
}

/// In the overlay the host is no neighbour of its workloads: they can find their gateway and ask it
/// for a sign of life, and nothing more.
fn workload_to_host() -> Vec<Rule> {
    let from_workload = || json::equal(json::meta("iifname"), json::in_set(WORKLOADS));
    let echo = |protocol: &str, address: IpAddr| {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        vec![
            from_workload(),
            json::equal(json::payload(family, "daddr"), address.to_string()),
            json::equal(json::payload(protocol, "type"), "echo-request"),
            json::accept(),
        ]
    };
    vec![
        Rule::new("neighbour discovery", vec![from_workload(), is_link_traffic(), json::accept()]),
        Rule::new("ping of the gateway", echo("icmp", GATEWAY_V4.into())),
        Rule::new("ping of the gateway", echo("icmpv6", GATEWAY_V6.into())),
        Rule::new(
            "workload to the host",
            vec![json::equal(json::meta("iifname"), json::in_set(INSIDE)), json::drop()],
        ),
    ]
}

/// Without forwarding of ours, workloads and host are neighbours, and policies are between them.
fn judged_by_device(device: &str, map: &str) -> Vec<Rule> {
    vec![
        Rule::new("neighbour discovery", vec![is_link_traffic(), json::accept()]),
        Rule::new("connections", vec![json::is_established(), json::accept()]),
        Rule::new("policies", vec![json::by_device(device, map)]),
    ]
}

/// TCP is told how much fits into the overlay. The mark stays inside: the tunnel's own packets must
/// be routed by the host's tables.
fn leaving_by_tunnel() -> Vec<Rule> {
    let by_tunnel = || json::equal(json::meta("oifname"), "spx*");
    let flags = json!({ "&": [json::payload("tcp", "flags"), ["syn", "rst"]] });
    let clamp = json!({ "mangle": {
        "key": { "tcp option": { "name": "maxseg", "field": "size" } },
        "value": { "rt": { "key": "mtu" } },
    } });
    let unmark = json!({ "mangle": { "key": { "meta": { "key": "mark" } }, "value": 0 } });
    vec![
        Rule::new("segment size", vec![by_tunnel(), json::equal(flags, "syn"), clamp]),
        Rule::new("no mark outside", vec![by_tunnel(), unmark]),
    ]
}

fn is_link_traffic() -> Value {
    let types = ICMPV6_LINK_TYPES.iter().map(|number| json!(number));
    json::equal(json::payload("icmpv6", "type"), json::any_of(types))
}
