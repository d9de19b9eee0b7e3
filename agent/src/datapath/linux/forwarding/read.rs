//! What the kernel has of ours.

use super::netlink::Netlink;
use super::plan::Environment;
use super::state::{Device, Route, Rule, RuleSelector, State};
use crate::datapath::linux::family::Family;
use crate::datapath::linux::names::{
    NULL_DEVICE, PROTOCOL, crossing_in_device, crossing_out_device, is_made_by_us,
};
use crate::datapath::{DatapathError, LinuxConfig};
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType, RouteVia,
};
use rtnetlink::packet_route::rule::{RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use spanwire_topology::model::{Mac, Text, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The devices of the host.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Their indexes, by name.
    pub(crate) index: BTreeMap<Text, u32>,
    names: BTreeMap<u32, Text>,
    mtu: BTreeMap<u32, u32>,
    /// Those with a name of ours, and those of them that are down.
    ours: State,
    /// The note on the null device.
    pub(crate) note: Option<String>,
}

/// Reads the devices.
pub(crate) fn links(netlink: &mut Netlink) -> Result<Links, DatapathError> {
    let mut links = Links::default();
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    for message in netlink.dump("list devices", request)? {
        if let RouteNetlinkMessage::NewLink(message) = message {
            links.add(&message);
        }
    }
    // A crossing is known by its near end; if the far end is down or gone, so is the crossing.
    for (name, device) in &links.ours.devices {
        if let Device::Crossing { far } = device
            && links.ours.down.contains(far)
        {
            links.ours.down.insert(name.clone());
        }
    }
    let State { devices, down, .. } = &mut links.ours;
    devices.retain(|name, _| !name.starts_with("spi"));
    down.retain(|name| devices.contains_key(name));
    Ok(links)
}

impl Links {
    fn add(&mut self, message: &LinkMessage) {
        let index = message.header.index;
        let (mut name, mut alias, mut kind, mut tunnel) = (None, None, None, Vec::new());
        let (mut mac, mut mtu) = ([0; 6], 0);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(Text::from(text.as_str())),
                LinkAttribute::Mtu(value) => mtu = *value,
                LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().unwrap_or(mac),
                LinkAttribute::IfAlias(text) => alias = Some(text.clone()),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(found) => kind = Some(found.clone()),
                            LinkInfo::Data(InfoData::Vxlan(data)) => tunnel.clone_from(data),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let Some(name) = name else { return };
        self.index.insert(name.clone(), index);
        self.names.insert(index, name.clone());
        self.mtu.insert(index, mtu);
        if &*name == NULL_DEVICE {
            self.note = alias;
        }
        if is_made_by_us(&name) {
            if !message.header.flags.contains(LinkFlags::Up) {
                self.ours.down.insert(name.clone());
            }
            let device = device(&name, kind.as_ref(), &tunnel, mac, mtu);
            self.ours.devices.insert(name, device);
        }
    }
}

fn device(
    name: &Text,
    kind: Option<&InfoKind>,
    tunnel: &[InfoVxlan],
    mac: [u8; 6],
    mtu: u32,
) -> Device {
    match kind {
        Some(InfoKind::Bridge) if &**name == NULL_DEVICE => Device::Null,
        Some(InfoKind::Veth) => {
            let domain = name.get(3..).and_then(|vni| u32::from_str_radix(vni, 16).ok()).map(Vni);
            match domain {
                Some(domain) if *name == crossing_out_device(domain) => {
                    Device::Crossing { far: crossing_in_device(domain) }
                }
                _ => Device::Foreign,
            }
        }
        Some(InfoKind::Vxlan) => {
            let (mut vni, mut local, mut port) = (None, None, None);
            for info in tunnel {
                match info {
                    InfoVxlan::Id(id) => vni = Some(Vni(*id)),
                    InfoVxlan::Local(address) => local = Some(IpAddr::V4(*address)),
                    InfoVxlan::Local6(address) => local = Some(IpAddr::V6(*address)),
                    InfoVxlan::Port(number) => port = Some(*number),
                    _ => {}
                }
            }
            match (vni, local, port) {
                (Some(vni), Some(local), Some(port)) => {
                    Device::Tunnel { vni, local, port, mac, mtu }
                }
                _ => Device::Foreign,
            }
        }
        _ => Device::Foreign,
    }
}

/// Whether the kernel has IPv6, whether it can forward that on some devices only, and whether it
/// filters by reverse path on all devices.
pub(crate) fn host_settings() -> (bool, bool, bool) {
    let has = |path: &str| Path::new(path).exists();
    let filter = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
    (
        has("/proc/sys/net/ipv6/conf/all/forwarding"),
        has("/proc/sys/net/ipv6/conf/all/force_forwarding"),
        filter.is_ok_and(|value| value.trim() != "0"),
    )
}

/// Reads what the plan depends on.
pub(crate) fn environment(
    netlink: &mut Netlink,
    links: &Links,
    config: &LinuxConfig,
) -> Result<Environment, DatapathError> {
    let (ipv6, force_forwarding, reverse_path_filter) = host_settings();
    let mut environment =
        Environment { ipv6, force_forwarding, reverse_path_filter, ..Environment::default() };
    for (index, address, ours) in addresses(netlink)? {
        if Some(address.addr()) == config.vtep {
            let mtu = config.underlay_mtu.or_else(|| links.mtu.get(&index).copied());
            environment.underlay_mtu = mtu;
        }
        if !ours && let Some(device) = links.names.get(&index) {
            environment.own_addresses.insert(address.addr(), device.clone());
        }
    }
    Ok(environment)
}

/// The addresses of the host: device, address, whether it is of ours.
fn addresses(netlink: &mut Netlink) -> Result<Vec<(u32, IpNet, bool)>, DatapathError> {
    let mut found = Vec::new();
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    for message in netlink.dump("list addresses", request)? {
        let RouteNetlinkMessage::NewAddress(message) = message else { continue };
        let (mut address, mut local, mut ours) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(value) => address = Some(*value),
                AddressAttribute::Local(value) => local = Some(*value),
                AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)) => ours = true,
                _ => {}
            }
        }
        if let Some(address) = local.or(address)
            && let Ok(net) = IpNet::new(address, message.header.prefix_len)
        {
            found.push((message.header.index, net, ours));
        }
    }
    Ok(found)
}

/// Reads what is ours, except for settings.
pub(crate) fn state(netlink: &mut Netlink, links: &Links) -> Result<State, DatapathError> {
    let mut state = State {
        devices: links.ours.devices.clone(),
        down: links.ours.down.clone(),
        ..State::default()
    };
    for (index, address, ours) in addresses(netlink)? {
        if ours && let Some(device) = links.names.get(&index) {
            state.addresses.insert((device.clone(), address));
        }
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        rules(netlink, family, &mut state)?;
        routes(netlink, family, links, &mut state)?;
        neighbours(netlink, family, links, &mut state)?;
    }
    state.proxies = proxies(netlink, &links.names)?;
    endpoints(netlink, links, &mut state)?;
    Ok(state)
}

fn rules(
    netlink: &mut Netlink,
    family: AddressFamily,
    state: &mut State,
) -> Result<(), DatapathError> {
    let mut request = RuleMessage::default();
    request.header.family = family;
    for message in netlink.dump("list rules", RouteNetlinkMessage::GetRule(request))? {
        let RouteNetlinkMessage::NewRule(message) = message else { continue };
        let mut table = u32::from(message.header.table);
        let (mut ours, mut incoming, mut mark) = (false, None, None);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Table(value) => table = *value,
                RuleAttribute::Iifname(name) => incoming = Some(Text::from(name.as_str())),
                RuleAttribute::FwMark(value) => mark = Some(*value),
                RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)) => ours = true,
                _ => {}
            }
        }
        let selector = match (mark, incoming) {
            (Some(mark), _) => RuleSelector::AnswerTo(mark),
            (None, Some(device)) => RuleSelector::Incoming(device),
            (None, None) => continue,
        };
        if ours {
            let family = if family == AddressFamily::Inet { Family::V4 } else { Family::V6 };
            state.rules.insert(Rule { family, selector, table });
        }
    }
    Ok(())
}

fn routes(
    netlink: &mut Netlink,
    family: AddressFamily,
    links: &Links,
    state: &mut State,
) -> Result<(), DatapathError> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    request.header.protocol = RouteProtocol::Other(PROTOCOL);
    request.header.kind = RouteType::Unspec;
    for message in netlink.dump("list routes", RouteNetlinkMessage::GetRoute(request))? {
        let RouteNetlinkMessage::NewRoute(message) = message else { continue };
        if message.header.protocol != RouteProtocol::Other(PROTOCOL) {
            continue;
        }
        let unspecified: IpAddr = match family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            _ => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (mut table, mut address) = (u32::from(message.header.table), unspecified);
        let (mut index, mut via) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Table(value) => table = *value,
                RouteAttribute::Destination(RouteAddress::Inet(value)) => address = (*value).into(),
                RouteAttribute::Destination(RouteAddress::Inet6(value)) => {
                    address = (*value).into();
                }
                RouteAttribute::Oif(value) => index = Some(*value),
                RouteAttribute::Via(RouteVia::Inet6(value))
                | RouteAttribute::Gateway(RouteAddress::Inet6(value)) => via = Some(*value),
                _ => {}
            }
        }
        if let Ok(net) = IpNet::new(address, message.header.destination_prefix_length) {
            let device = index.and_then(|index| links.names.get(&index)).cloned();
            let device = device.unwrap_or_else(|| Text::from(""));
            state.routes.insert((table, net), Route { device, via });
        }
    }
    Ok(())
}

fn parts(message: &NeighbourMessage) -> (Option<IpAddr>, Option<Mac>, bool) {
    let (mut address, mut mac, mut ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => {
                address = Some(IpAddr::V4(*value));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => {
                address = Some(IpAddr::V6(*value));
            }
            // Forwarding entries carry the endpoint without saying of which family it is.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                address = <[u8; 4]>::try_from(bytes.as_slice())
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
                    .ok();
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = bytes.as_slice().try_into().ok().and_then(|bytes| Mac::new(bytes).ok());
            }
            NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)) => ours = true,
            _ => {}
        }
    }
    (address, mac, ours)
}

fn neighbours(
    netlink: &mut Netlink,
    family: AddressFamily,
    links: &Links,
    state: &mut State,
) -> Result<(), DatapathError> {
    let mut request = NeighbourMessage::default();
    request.header.family = family;
    for message in netlink.dump("list neighbours", RouteNetlinkMessage::GetNeighbour(request))? {
        let RouteNetlinkMessage::NewNeighbour(message) = message else { continue };
        let device = links.names.get(&message.header.ifindex);
        let permanent = message.header.state == NeighbourState::Permanent;
        if let (Some(address), Some(mac), true) = parts(&message)
            && permanent
            && let Some(device) = device
        {
            state.neighbours.insert((device.clone(), address), mac);
        }
    }
    Ok(())
}

/// Reads the neighbour proxies of ours on devices with these indexes.
pub(crate) fn proxies(
    netlink: &mut Netlink,
    names: &BTreeMap<u32, Text>,
) -> Result<BTreeSet<(Text, Ipv6Addr)>, DatapathError> {
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Inet6;
    request.header.flags = NeighbourFlags::Proxy;
    let request = RouteNetlinkMessage::GetNeighbour(request);
    let mut proxies = BTreeSet::new();
    for message in netlink.dump("list neighbour proxies", request)? {
        let RouteNetlinkMessage::NewNeighbour(message) = message else { continue };
        if let (Some(IpAddr::V6(address)), _, true) = parts(&message)
            && let Some(device) = names.get(&message.header.ifindex)
        {
            proxies.insert((device.clone(), address));
        }
    }
    Ok(proxies)
}

fn endpoints(netlink: &mut Netlink, links: &Links, state: &mut State) -> Result<(), DatapathError> {
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Bridge;
    let request = RouteNetlinkMessage::GetNeighbour(request);
    for message in netlink.dump("list forwarding entries", request)? {
        let RouteNetlinkMessage::NewNeighbour(message) = message else { continue };
        let Some(device) = links.names.get(&message.header.ifindex) else { continue };
        let tunnel = matches!(links.ours.devices.get(device), Some(Device::Tunnel { .. }));
        if let (Some(vtep), Some(mac), _) = parts(&message)
            && tunnel
        {
            state.endpoints.insert((device.clone(), mac), vtep);
        }
    }
    Ok(())
}
