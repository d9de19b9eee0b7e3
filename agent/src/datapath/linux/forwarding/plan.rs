//! From a host's view to what the kernel should have for it. Pure.
//!
//! ```text
//!  table of domain d, which the devices of d lead to; the first that has the address counts
//!    of a local port of d                    dev spw..            neighbour: its MAC address
//!    of a local port of d' (not d)           via spo<d'>          comes out of spi<d'>, in d'
//!    elsewhere, of d' in reaches(d)          via .. dev spx<d'>   VNI d' on the wire
//!    anything else                           dev spnull           the firewall says no route
//! ```

use super::state::{Device, Route, Rule, RuleSelector, Setting, State};
use crate::datapath::evaluate::{domain, locators, ports};
use crate::datapath::linux::family::Family;
use crate::datapath::linux::names::{
    CROSSING_IN_MAC, CROSSING_NEXT_HOP, ERROR_SOURCE_V6, GATEWAY_V4, GATEWAY_V6, NULL_DEVICE,
    crossing_in_device, crossing_out_device, device_of, mark, table, tunnel_device, vtep_mac,
    vtep_next_hop,
};
use crate::datapath::{LinuxConfig, Rejection};
use ipnet::IpNet;
use spanwire_topology::model::{Mac, Text, Uid, Vni};
use spanwire_topology::view::{DomainItem, HostView, ItemKey, Locator, PortItem};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What VXLAN, UDP, IP and the inner Ethernet header take, in bytes.
const OVERHEAD_V4: u32 = 50;
const OVERHEAD_V6: u32 = 70;
/// The smallest MTU that IPv6 works with (RFC 8200, section 5).
const MTU_MIN: u32 = 1280;

/// What the plan depends on besides the view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// The MTU of the network between hosts; `None` if no device of the host has the VTEP's
    /// address.
    pub(crate) underlay_mtu: Option<u32>,
    /// Whether the kernel has IPv6.
    pub(crate) ipv6: bool,
    /// Whether the kernel can forward IPv6 on some devices only (Linux 6.17).
    pub(crate) force_forwarding: bool,
    /// Whether the host has reverse path filtering on for all devices.
    pub(crate) reverse_path_filter: bool,
    /// The addresses of the host's own devices, other than those we gave them.
    pub(crate) own_addresses: BTreeMap<IpAddr, Text>,
}

/// What the kernel should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// All of it.
    pub(crate) state: State,
    /// What is impossible.
    pub(crate) rejections: BTreeSet<Rejection>,
    /// The devices of workloads, which others make.
    pub(crate) workloads: BTreeMap<Text, Uid>,
}

/// Makes the plan.
pub(crate) fn plan(view: &HostView, config: &LinuxConfig, environment: &Environment) -> Plan {
    let mut planner = Planner {
        view,
        config,
        environment,
        plan: Plan::default(),
        local: BTreeMap::new(),
        endpoints: BTreeMap::new(),
    };
    planner.collect_local_ports();
    let domains: Vec<Vni> = planner.local.keys().copied().collect();
    for vni in domains {
        if let Some(item) = domain(view, vni) {
            planner.domain(vni, item);
        }
    }
    if !planner.local.is_empty() {
        planner.host();
    }
    planner.plan
}

struct Planner<'a> {
    view: &'a HostView,
    config: &'a LinuxConfig,
    environment: &'a Environment,
    plan: Plan,
    /// The ports of the host that have a device, by domain.
    local: BTreeMap<Vni, Vec<(Uid, Text, &'a PortItem)>>,
    /// The tunnel endpoint that has a MAC address.
    endpoints: BTreeMap<Mac, IpAddr>,
}

impl<'a> Planner<'a> {
    fn reject(&mut self, key: ItemKey, reason: impl Into<String>) {
        self.plan.rejections.insert(Rejection { key, reason: reason.into() });
    }

    /// What is wrong with a port that the firewall has to refuse as well is reported there.
    fn collect_local_ports(&mut self) {
        for (uid, port) in ports(self.view) {
            let Ok(Some(device)) = device_of(port) else { continue };
            if domain(self.view, port.domain).is_none() || self.plan.workloads.contains_key(&device)
            {
                continue;
            }
            self.plan.workloads.insert(device.clone(), uid);
            self.local.entry(port.domain).or_default().push((uid, device, port));
        }
    }

    fn host(&mut self) {
        self.plan.state.devices.insert(NULL_DEVICE.into(), Device::Null);
        let null = Some(NULL_DEVICE.into());
        self.set(null.clone(), "net/ipv4/conf/{}/ignore_routes_with_linkdown", "0");
        self.set(None, "net/ipv4/fwmark_reflect", "1");
        if self.environment.ipv6 {
            self.set(null, "net/ipv6/conf/{}/ignore_routes_with_linkdown", "0");
            self.set(None, "net/ipv6/fwmark_reflect", "1");
            if !self.environment.force_forwarding {
                self.set(None, "net/ipv6/conf/all/forwarding", "1");
            }
        }
    }

    fn set(&mut self, device: Option<Text>, path: &'static str, value: &str) {
        self.plan.state.settings.insert(Setting { device, path }, value.to_owned());
    }

    fn families(&self) -> &'static [Family] {
        if self.environment.ipv6 { &Family::ALL } else { &Family::ALL[..1] }
    }

    fn domain(&mut self, vni: Vni, item: &DomainItem) {
        for &family in self.families() {
            self.rule(family, RuleSelector::AnswerTo(mark(vni)), vni);
            self.route(vni, default_route(family), NULL_DEVICE.into(), None);
        }
        if self.config.vtep.is_some() && self.environment.underlay_mtu.is_some() {
            self.tunnel(vni);
        }
        let ports = self.local.get(&vni).cloned().unwrap_or_default();
        for (uid, device, port) in &ports {
            self.workload(*uid, device, port);
        }
        // What the own domain has comes first, and a route that is there already stays.
        let others = item.reaches.iter().copied().filter(|&other| other != vni);
        for reached in std::iter::once(vni).chain(others) {
            self.local_addresses(vni, reached);
            self.remote_addresses(vni, reached);
        }
        if self.environment.ipv6 {
            self.neighbour_proxies(vni, &ports);
        }
    }

    fn rule(&mut self, family: Family, selector: RuleSelector, vni: Vni) {
        self.plan.state.rules.insert(Rule { family, selector, table: table(vni) });
    }

    /// Adds a route unless the table has one for the destination.
    fn route(
        &mut self,
        vni: Vni,
        net: IpNet,
        device: Text,
        via: Option<std::net::Ipv6Addr>,
    ) -> bool {
        let routes = &mut self.plan.state.routes;
        match routes.entry((table(vni), net)) {
            std::collections::btree_map::Entry::Occupied(_) => false,
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Route { device, via });
                true
            }
        }
    }

    /// Gives a device by which errors may leave the addresses that they come from.
    fn error_sources(&mut self, device: &Text) {
        let addresses = &mut self.plan.state.addresses;
        addresses.insert((device.clone(), IpAddr::V4(GATEWAY_V4).into()));
        if self.environment.ipv6 {
            addresses.insert((device.clone(), IpAddr::V6(ERROR_SOURCE_V6).into()));
        }
    }

    /// A device by which packets come into a domain.
    fn entrance(&mut self, device: &Text, vni: Vni) {
        for &family in self.families() {
            self.rule(family, RuleSelector::Incoming(device.clone()), vni);
        }
        self.error_sources(device);
        let some = || Some(device.clone());
        // Where the host filters by reverse path on all devices, the larger value counts: 2 asks
        // for a route back in the table of the mark, and every domain has a default route.
        let filter = if self.environment.reverse_path_filter { "2" } else { "0" };
        self.set(some(), "net/ipv4/conf/{}/rp_filter", filter);
        self.set(some(), "net/ipv4/conf/{}/src_valid_mark", "1");
        self.set(some(), "net/ipv4/conf/{}/forwarding", "1");
        self.set(some(), "net/ipv4/conf/{}/send_redirects", "0");
        self.set(some(), "net/ipv4/conf/{}/accept_redirects", "0");
        if self.environment.ipv6 {
            self.set(some(), "net/ipv6/conf/{}/accept_ra", "0");
            self.set(some(), "net/ipv6/conf/{}/accept_redirects", "0");
            self.set(some(), "net/ipv6/conf/{}/forwarding", "1");
            if self.environment.force_forwarding {
                self.set(some(), "net/ipv6/conf/{}/force_forwarding", "1");
            }
        }
    }

    fn tunnel(&mut self, vni: Vni) {
        let (Some(local), Some(underlay)) = (self.config.vtep, self.environment.underlay_mtu)
        else {
            return;
        };
        let device = tunnel_device(vni);
        if self.plan.state.devices.contains_key(&device) {
            return;
        }
        let overhead = if local.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
        let mtu = underlay.saturating_sub(overhead);
        if mtu < MTU_MIN {
            self.reject(
                ItemKey::Locators(vni),
                format!(
                    "the network between hosts has an MTU of {underlay} bytes, which leaves {mtu} \
                     in the overlay: IPv6 needs {MTU_MIN}, so raise it to {}",
                    MTU_MIN + overhead
                ),
            );
        }
        self.plan.state.devices.insert(
            device.clone(),
            Device::Tunnel {
                vni,
                local,
                port: self.config.vxlan_port,
                mac: vtep_mac(local).octets(),
                mtu,
            },
        );
        self.entrance(&device, vni);
        self.accept_error_sources(device);
        // A domain without ports here has a table only so that its packets go nowhere else.
        for &family in self.families() {
            self.route(vni, default_route(family), NULL_DEVICE.into(), None);
        }
    }

    fn crossing(&mut self, vni: Vni) {
        let (near, far) = (crossing_out_device(vni), crossing_in_device(vni));
        if self.plan.state.devices.contains_key(&near) {
            return;
        }
        self.plan.state.devices.insert(near.clone(), Device::Crossing { far: far.clone() });
        // The address is a constant that is valid; without it there would be no crossing.
        if let Ok(mac) = Mac::new(CROSSING_IN_MAC) {
            self.plan.state.neighbours.insert((near.clone(), CROSSING_NEXT_HOP.into()), mac);
        }
        self.error_sources(&near);
        self.entrance(&far, vni);
        self.accept_error_sources(far);
    }

    /// Errors from other hosts, and from other domains of this one, come from an address that is
    /// this host's as well.
    fn accept_error_sources(&mut self, device: Text) {
        self.set(Some(device), "net/ipv4/conf/{}/accept_local", "1");
    }

    fn workload(&mut self, uid: Uid, device: &Text, port: &PortItem) {
        self.entrance(device, port.domain);
        let some = || Some(device.clone());
        self.set(some(), "net/ipv4/conf/{}/proxy_arp", "1");
        self.set(some(), "net/ipv4/neigh/{}/proxy_delay", "0");
        if self.environment.ipv6 {
            self.set(some(), "net/ipv6/conf/{}/proxy_ndp", "1");
            self.set(some(), "net/ipv6/neigh/{}/proxy_delay", "0");
            if let Ok(gateway) = IpNet::new(IpAddr::V6(GATEWAY_V6), 64) {
                self.plan.state.addresses.insert((device.clone(), gateway));
            }
        }
        for &address in &port.addresses {
            self.check_address(ItemKey::Port(uid), address);
            if self.can_route(address) {
                self.plan.state.neighbours.insert((device.clone(), address), port.mac);
            }
        }
    }

    /// The kernel looks into its own addresses before any table, so such a workload address can
    /// never be reached from here.
    fn check_address(&mut self, key: ItemKey, address: IpAddr) {
        if let Some(device) = self.environment.own_addresses.get(&address) {
            let reason = format!(
                "address {address} is also this host's own, on device {device}: packets to it \
                 stay on the host; renumber either"
            );
            self.reject(key, reason);
        } else if address.is_ipv6() && !self.environment.ipv6 {
            let reason = format!("address {address}: IPv6 is switched off on this host");
            self.reject(key, reason);
        }
    }

    fn can_route(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => self.environment.ipv6 && !address.is_unicast_link_local(),
        }
    }

    fn local_addresses(&mut self, vni: Vni, reached: Vni) {
        for (_, device, port) in self.local.get(&reached).cloned().unwrap_or_default() {
            for &address in port.addresses.iter() {
                if !self.can_route(address) {
                    continue;
                }
                if vni == reached {
                    self.route(vni, address.into(), device.clone(), None);
                } else {
                    self.crossing(reached);
                    let near = crossing_out_device(reached);
                    self.route(vni, address.into(), near, Some(CROSSING_NEXT_HOP));
                }
            }
        }
    }

    fn remote_addresses(&mut self, vni: Vni, reached: Vni) {
        let key = ItemKey::Locators(reached);
        let remote: Vec<Locator> = locators(self.view, reached)
            .into_iter()
            .flatten()
            .filter(|locator| Some(locator.vtep) != self.config.vtep)
            .filter(|locator| self.can_route(locator.address))
            .collect();
        if remote.is_empty() {
            return;
        }
        let Some(local) = self.config.vtep else {
            let reason = "this host has no tunnel endpoint, so it cannot reach other hosts: name \
                          its address in the agent's configuration";
            return self.reject(key, reason);
        };
        if self.environment.underlay_mtu.is_none() {
            let reason = format!(
                "the tunnel endpoint {local} is on none of this host's devices: add the address, \
                 or correct the agent's configuration"
            );
            return self.reject(key, reason);
        }
        self.tunnel(reached);
        let device = tunnel_device(reached);
        for locator in remote {
            if locator.vtep.is_ipv4() != local.is_ipv4() {
                let reason = format!(
                    "tunnel endpoint {} cannot be reached from {local}: all hosts of an overlay \
                     need endpoints of one family",
                    locator.vtep
                );
                self.reject(key, reason);
            } else if let Some(next_hop) = self.next_hop(key, &device, locator.vtep) {
                self.check_address(key, locator.address);
                self.route(vni, locator.address.into(), device.clone(), Some(next_hop));
            }
        }
    }

    /// The neighbour behind a tunnel device that stands for a remote host.
    fn next_hop(
        &mut self,
        key: ItemKey,
        device: &Text,
        vtep: IpAddr,
    ) -> Option<std::net::Ipv6Addr> {
        let mac = vtep_mac(vtep);
        let first = *self.endpoints.entry(mac).or_insert(vtep);
        if first != vtep {
            let reason = format!(
                "tunnel endpoints {first} and {vtep} come to the same MAC address {mac}: give one \
                 of the hosts another address"
            );
            self.reject(key, reason);
            return None;
        }
        let next_hop = vtep_next_hop(vtep);
        self.plan.state.neighbours.insert((device.clone(), next_hop.into()), mac);
        self.plan.state.endpoints.insert((device.clone(), mac), vtep);
        Some(next_hop)
    }

    /// Workloads look for the others of their subnet on the link. The kernel answers ARP for all
    /// that it has a route to, but neighbour discovery only for addresses it is given.
    fn neighbour_proxies(&mut self, vni: Vni, ports: &[(Uid, Text, &'a PortItem)]) {
        let local = ports.iter().flat_map(|(_, _, port)| port.addresses.iter().copied());
        let remote = locators(self.view, vni).into_iter().flatten().map(|locator| locator.address);
        let addresses: BTreeSet<IpAddr> =
            local.chain(remote).filter(|address| self.can_route(*address)).collect();
        for (_, device, port) in ports {
            if !port.addresses.iter().any(|a| a.is_ipv6() && self.can_route(*a)) {
                continue;
            }
            for address in &addresses {
                if let IpAddr::V6(address6) = address
                    && !port.addresses.contains(address)
                {
                    self.plan.state.proxies.insert((device.clone(), *address6));
                }
            }
        }
    }
}

fn default_route(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::PortAttachment;
    use spanwire_topology::view::{Item, VersionedItem};
    use std::net::Ipv6Addr;
    use std::sync::Arc;

    const VTEP: &str = "172.30.0.1";

    fn versioned(item: Item) -> VersionedItem {
        VersionedItem { version: 1, item: Arc::new(item) }
    }

    fn mac(last: u8) -> Mac {
        Mac::new([2, 0, 0, 0, 0, last]).unwrap()
    }

    fn domain_item(sees: &[u32]) -> VersionedItem {
        let sees: Vec<Vni> = sees.iter().copied().map(Vni).collect();
        versioned(Item::Domain(DomainItem { reaches: sees.clone(), sees, spoofable: false }))
    }

    fn port_item(name: &str, domain: u32, addresses: &[&str]) -> VersionedItem {
        versioned(Item::Port(PortItem {
            project: "t".into(),
            name: name.into(),
            domain: Vni(domain),
            mac: mac(1),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            attachment: PortAttachment::Interface(name.into()),
            port_security: true,
            groups: Vec::new(),
        }))
    }

    fn locators_item(list: &[(&str, &str)]) -> VersionedItem {
        let locator = |(address, vtep): &(&str, &str)| Locator {
            address: address.parse().unwrap(),
            mac: mac(2),
            vtep: vtep.parse().unwrap(),
        };
        versioned(Item::Locators(list.iter().map(locator).collect()))
    }

    fn config() -> LinuxConfig {
        LinuxConfig { vtep: Some(VTEP.parse().unwrap()), ..LinuxConfig::default() }
    }

    fn environment() -> Environment {
        Environment {
            underlay_mtu: Some(9000),
            ipv6: true,
            force_forwarding: true,
            ..Environment::default()
        }
    }

    /// One port in domain 1, which reaches 2; both have 10.0.0.9 elsewhere.
    fn view() -> HostView {
        HostView {
            revision: 1,
            items: [
                (ItemKey::Domain(Vni(1)), domain_item(&[1, 2])),
                (ItemKey::Port(Uid(10)), port_item("tap0", 1, &["10.0.0.1", "fd00::1"])),
                (
                    ItemKey::Locators(Vni(1)),
                    locators_item(&[
                        ("10.0.0.1", VTEP),
                        ("10.0.0.7", VTEP),
                        ("10.0.0.9", "172.30.0.2"),
                        ("fd00::9", "172.30.0.2"),
                    ]),
                ),
                (
                    ItemKey::Locators(Vni(2)),
                    locators_item(&[("10.0.0.9", "172.30.0.3"), ("10.2.0.9", "172.30.0.3")]),
                ),
            ]
            .into(),
        }
    }

    fn route<'p>(plan: &'p Plan, vni: u32, net: &str) -> Option<&'p Route> {
        plan.state.routes.get(&(table(Vni(vni)), net.parse().unwrap()))
    }

    #[test]
    fn the_own_domain_comes_first_and_what_is_nowhere_has_no_route() {
        let plan = plan(&view(), &config(), &environment());
        assert_eq!(plan.rejections, BTreeSet::new());
        let to = |vni: u32, net: &str| {
            route(&plan, vni, net).map(|route| (route.device.to_string(), route.via))
        };
        let by = |device: &str, via: Option<&str>| {
            let via = via.map(|vtep| vtep_next_hop(vtep.parse().unwrap()));
            Some((device.to_owned(), via))
        };
        assert_eq!(to(1, "10.0.0.1/32"), by("tap0", None));
        assert_eq!(to(1, "10.0.0.9/32"), by("spx1", Some("172.30.0.2")));
        assert_eq!(to(1, "10.2.0.9/32"), by("spx2", Some("172.30.0.3")));
        assert_eq!(to(1, "0.0.0.0/0"), by(NULL_DEVICE, None));
        // An address that is said to be here, and is not, is nowhere.
        assert_eq!(to(1, "10.0.0.7/32"), None);
        // A domain without ports here has a table that leads nowhere.
        assert_eq!(to(2, "0.0.0.0/0"), by(NULL_DEVICE, None));
        assert_eq!(to(2, "10.2.0.9/32"), None);
        let proxy: Ipv6Addr = "fd00::9".parse().unwrap();
        assert_eq!(plan.state.proxies, BTreeSet::from([("tap0".into(), proxy)]));
        let Some(Device::Tunnel { mtu, .. }) = plan.state.devices.get("spx1") else {
            panic!("no tunnel")
        };
        assert_eq!(*mtu, 8950);
    }

    #[test]
    fn domains_of_one_host_meet_only_through_a_crossing() {
        let mut view = view();
        view.items.insert(ItemKey::Domain(Vni(2)), domain_item(&[1, 2]));
        view.items.insert(ItemKey::Port(Uid(20)), port_item("tap1", 2, &["10.2.0.1"]));
        let plan = plan(&view, &config(), &environment());
        let crossed = Route { device: "spo2".into(), via: Some(CROSSING_NEXT_HOP) };
        assert_eq!(route(&plan, 1, "10.2.0.1/32"), Some(&crossed));
        let back = Route { device: "spo1".into(), via: Some(CROSSING_NEXT_HOP) };
        assert_eq!(route(&plan, 2, "10.0.0.1/32"), Some(&back));
        for family in Family::ALL {
            let selector = RuleSelector::Incoming("spi2".into());
            let rule = Rule { family, selector, table: table(Vni(2)) };
            assert!(plan.state.rules.contains(&rule), "{rule:?}");
        }
    }

    #[test]
    fn older_kernels_forward_ipv6_everywhere_or_not_at_all() {
        let all = Setting { device: None, path: "net/ipv6/conf/all/forwarding" };
        let settings = |environment: &Environment| {
            plan(&view(), &config(), environment).state.settings.into_keys().collect::<Vec<_>>()
        };
        assert!(!settings(&environment()).contains(&all));
        let older = Environment { force_forwarding: false, ..environment() };
        assert!(settings(&older).contains(&all));
        assert!(settings(&older).iter().all(|s| !s.path.ends_with("force_forwarding")));
        let none = Environment { ipv6: false, ..older };
        assert!(settings(&none).iter().all(|setting| !setting.path.contains("ipv6")));
        let without = plan(&view(), &config(), &none);
        let reasons: Vec<&str> = without.rejections.iter().map(|r| r.reason.as_str()).collect();
        assert_eq!(reasons, ["address fd00::1: IPv6 is switched off on this host"]);
        assert!(without.state.routes.keys().all(|(_, net)| net.addr().is_ipv4()));
    }

    #[test]
    fn a_host_without_ports_has_nothing() {
        assert_eq!(plan(&HostView::default(), &config(), &environment()), Plan::default());
    }
}
