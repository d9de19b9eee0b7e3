//! Steps as netlink messages.

use super::changes::Step;
use super::netlink::Request;
use super::state::{Device, Route, Rule, RuleSelector};
use crate::datapath::linux::family::Family;
use crate::datapath::linux::names::{CROSSING_IN_MAC, CROSSING_OUT_MAC, PROTOCOL, RULE_PRIORITY};
use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope,
};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use spanwire_topology::model::{Mac, Text};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The MTU of a crossing, in bytes: the largest there is. What is too large for the receiver's
/// device is refused there.
const CROSSING_MTU: u32 = 65_535;
/// The input device of packets that the host makes itself.
const LOOPBACK: &str = "lo";

/// The request for a step; `None` if a device it is about does not exist, or if it is a setting.
pub(crate) fn request(step: &Step, index: &BTreeMap<Text, u32>) -> Option<Request> {
    const ADD: u16 = NLM_F_CREATE | NLM_F_EXCL;
    const REPLACE: u16 = NLM_F_CREATE | NLM_F_REPLACE;
    let on = |device: &Text| index.get(device).copied();
    let (message, flags) = match step {
        Step::WriteSetting(..) | Step::ResetSetting(_) => return None,
        Step::AddRule(rule) => (RouteNetlinkMessage::NewRule(rule_message(rule)), ADD),
        Step::RemoveRule(rule) => (RouteNetlinkMessage::DelRule(rule_message(rule)), 0),
        Step::MakeDevice { name, device } => {
            (RouteNetlinkMessage::NewLink(link_message(name, device)?), ADD)
        }
        Step::AdjustDevice { name, device } => {
            (RouteNetlinkMessage::NewLink(link_adjustment(on(name)?, device)), 0)
        }
        Step::BringUp(name) => {
            let mut message = LinkMessage::default();
            message.header.index = on(name)?;
            bring_up(&mut message);
            (RouteNetlinkMessage::NewLink(message), 0)
        }
        Step::RemoveDevice(name) => {
            let mut message = LinkMessage::default();
            message.header.index = on(name)?;
            (RouteNetlinkMessage::DelLink(message), 0)
        }
        Step::AddAddress { device, address } => {
            (RouteNetlinkMessage::NewAddress(address_message(on(device)?, *address)), REPLACE)
        }
        Step::RemoveAddress { device, address } => {
            (RouteNetlinkMessage::DelAddress(address_message(on(device)?, *address)), 0)
        }
        Step::AddEndpoint { device, mac, vtep } => (
            RouteNetlinkMessage::NewNeighbour(endpoint_message(on(device)?, *mac, Some(*vtep))),
            REPLACE,
        ),
        Step::RemoveEndpoint { device, mac } => {
            (RouteNetlinkMessage::DelNeighbour(endpoint_message(on(device)?, *mac, None)), 0)
        }
        Step::AddNeighbour { device, address, mac } => (
            RouteNetlinkMessage::NewNeighbour(neighbour_message(on(device)?, *address, Some(*mac))),
            REPLACE,
        ),
        Step::RemoveNeighbour { device, address } => {
            (RouteNetlinkMessage::DelNeighbour(neighbour_message(on(device)?, *address, None)), 0)
        }
        Step::AddProxy { device, address } => {
            let message = proxy_message(on(device)?, (*address).into());
            (RouteNetlinkMessage::NewNeighbour(message), REPLACE)
        }
        Step::RemoveProxy { device, address } => {
            let message = proxy_message(on(device)?, (*address).into());
            (RouteNetlinkMessage::DelNeighbour(message), 0)
        }
        Step::AddRoute { table, net, route } => {
            let message = route_message(*table, *net, Some((route, on(&route.device)?)));
            (RouteNetlinkMessage::NewRoute(message), REPLACE)
        }
        Step::RemoveRoute { table, net } => {
            (RouteNetlinkMessage::DelRoute(route_message(*table, *net, None)), 0)
        }
    };
    Some(Request { message, flags })
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message.header.action = RuleAction::ToTable;
    let attributes = &mut message.attributes;
    match &rule.selector {
        RuleSelector::Incoming(device) => {
            attributes.push(RuleAttribute::Iifname(device.to_string()));
        }
        RuleSelector::AnswerTo(mark) => {
            // Only packets of the host itself: those of others are told by their device, and a
            // tunnel's outer packets must not be caught by the mark of the inner ones.
            attributes.push(RuleAttribute::Iifname(LOOPBACK.to_owned()));
            attributes.push(RuleAttribute::FwMark(*mark));
        }
    }
    attributes.push(RuleAttribute::Priority(RULE_PRIORITY));
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    message
}

fn link_message(name: &Text, device: &Device) -> Option<LinkMessage> {
    let mut message = new_link(name);
    let attributes = &mut message.attributes;
    let info = match device {
        Device::Tunnel { vni, local, port, mac, mtu } => {
            attributes.push(LinkAttribute::Address(mac.to_vec()));
            attributes.push(LinkAttribute::Mtu(*mtu));
            let local = match local {
                IpAddr::V4(local) => InfoVxlan::Local(*local),
                IpAddr::V6(local) => InfoVxlan::Local6(*local),
            };
            let data = vec![
                InfoVxlan::Id(vni.0),
                local,
                InfoVxlan::Learning(false),
                InfoVxlan::Port(*port),
            ];
            bring_up(&mut message);
            vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(data))]
        }
        Device::Crossing { far } => {
            attributes.push(LinkAttribute::Address(CROSSING_OUT_MAC.to_vec()));
            attributes.push(LinkAttribute::Mtu(CROSSING_MTU));
            let mut peer = new_link(far);
            peer.attributes.push(LinkAttribute::Address(CROSSING_IN_MAC.to_vec()));
            peer.attributes.push(LinkAttribute::Mtu(CROSSING_MTU));
            let data = InfoData::Veth(InfoVeth::Peer(peer));
            vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)]
        }
        Device::Null => {
            bring_up(&mut message);
            vec![LinkInfo::Kind(InfoKind::Bridge)]
        }
        Device::Foreign => return None,
    };
    message.attributes.push(LinkAttribute::LinkInfo(info));
    Some(message)
}

fn new_link(name: &Text) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    message
}

fn bring_up(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

fn link_adjustment(index: u32, device: &Device) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    if let Device::Tunnel { mtu, .. } = device {
        message.attributes.push(LinkAttribute::Mtu(*mtu));
    }
    message
}

/// A note on a device, as `ip link` shows it.
pub(crate) fn alias_request(index: u32, alias: &str) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
    Request { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = address_family(Family::of(address.addr()));
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    if address.addr().is_ipv6() {
        // The same address is on every workload's device, and nobody else can have it.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    message
}

fn endpoint_message(index: u32, mac: Mac, vtep: Option<IpAddr>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    if let Some(vtep) = vtep {
        message.attributes.push(NeighbourAttribute::Destination(neighbour_address(vtep)));
    }
    message
}

fn neighbour_message(index: u32, address: IpAddr, mac: Option<Mac>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = address_family(Family::of(address));
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(neighbour_address(address)));
    if let Some(mac) = mac {
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
        message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    }
    message
}

fn proxy_message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = neighbour_message(index, address, None);
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    message
}

fn neighbour_address(address: IpAddr) -> NeighbourAddress {
    match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }
}

fn route_message(table: u32, net: IpNet, to: Option<(&Route, u32)>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = address_family(Family::of(net.addr()));
    header.destination_prefix_length = net.prefix_len();
    header.protocol = RouteProtocol::Other(PROTOCOL);
    header.kind = RouteType::Unicast;
    // A route is found for removal by any scope only if none is named.
    header.scope = RouteScope::NoWhere;
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(table));
    if net.prefix_len() > 0 {
        let destination = match net.addr() {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        };
        attributes.push(RouteAttribute::Destination(destination));
    }
    if let Some((route, index)) = to {
        attributes.push(RouteAttribute::Oif(index));
        header.scope = match (route.via, net) {
            (None, IpNet::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        if let Some(via) = route.via {
            // The next hop is on the device, though no address there says so.
            header.flags = RouteFlags::Onlink;
            attributes.push(match net {
                IpNet::V4(_) => RouteAttribute::Via(RouteVia::Inet6(via)),
                IpNet::V6(_) => RouteAttribute::Gateway(RouteAddress::Inet6(via)),
            });
        }
    }
    message
}
