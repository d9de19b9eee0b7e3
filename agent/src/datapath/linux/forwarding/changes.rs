//! From one state to another: the steps, in the order that keeps every packet safe. Pure.
//!
//! What is withdrawn goes first, while the firewall still knows it; what is provided comes when the
//! firewall knows it already; and within either, nothing leads to where nothing is ready (guarantee
//! G4). Rules and devices that are not needed any more go last of all: until then their packets
//! find the table of their domain and not the host's own.

use super::state::{Device, Route, Rule, RuleSelector, Setting, State};
use ipnet::IpNet;
use spanwire_topology::model::{Mac, Text};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    RemoveRoute { table: u32, net: IpNet },
    RemoveProxy { device: Text, address: Ipv6Addr },
    RemoveNeighbour { device: Text, address: IpAddr },
    RemoveEndpoint { device: Text, mac: Mac },
    RemoveAddress { device: Text, address: IpNet },
    ResetSetting(Setting),
    RemoveDevice(Text),
    RemoveRule(Rule),
    AddRule(Rule),
    MakeDevice { name: Text, device: Device },
    AdjustDevice { name: Text, device: Device },
    BringUp(Text),
    WriteSetting(Setting, String),
    AddAddress { device: Text, address: IpNet },
    AddEndpoint { device: Text, mac: Mac, vtep: IpAddr },
    AddNeighbour { device: Text, address: IpAddr, mac: Mac },
    AddProxy { device: Text, address: Ipv6Addr },
    AddRoute { table: u32, net: IpNet, route: Route },
}

impl Step {
    /// The device that the step is about, if it is about one that must exist.
    pub(crate) fn device(&self) -> Option<&Text> {
        match self {
            Step::RemoveProxy { device, .. }
            | Step::RemoveNeighbour { device, .. }
            | Step::RemoveEndpoint { device, .. }
            | Step::RemoveAddress { device, .. }
            | Step::AddAddress { device, .. }
            | Step::AddEndpoint { device, .. }
            | Step::AddNeighbour { device, .. }
            | Step::AddProxy { device, .. }
            | Step::AdjustDevice { name: device, .. }
            | Step::BringUp(device) => Some(device),
            Step::AddRoute { route, .. } => Some(&route.device),
            Step::WriteSetting(setting, _) | Step::ResetSetting(setting) => setting.device.as_ref(),
            Step::RemoveRoute { .. }
            | Step::RemoveDevice(_)
            | Step::RemoveRule(_)
            | Step::AddRule(_)
            | Step::MakeDevice { .. } => None,
        }
    }

    /// True if the step takes something away.
    pub(crate) fn is_removal(&self) -> bool {
        matches!(
            self,
            Step::RemoveRoute { .. }
                | Step::RemoveProxy { .. }
                | Step::RemoveNeighbour { .. }
                | Step::RemoveEndpoint { .. }
                | Step::RemoveAddress { .. }
                | Step::ResetSetting(_)
                | Step::RemoveDevice(_)
                | Step::RemoveRule(_)
        )
    }
}

impl fmt::Display for Step {
    /// The object, not the change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::RemoveRoute { table, net } | Step::AddRoute { table, net, .. } => {
                write!(f, "route {net} in table {table}")
            }
            Step::RemoveProxy { device, address } | Step::AddProxy { device, address } => {
                write!(f, "neighbour proxy {address} on {device}")
            }
            Step::RemoveNeighbour { device, address }
            | Step::AddNeighbour { device, address, .. } => {
                write!(f, "neighbour {address} on {device}")
            }
            Step::RemoveEndpoint { device, mac } | Step::AddEndpoint { device, mac, .. } => {
                write!(f, "forwarding entry {mac} on {device}")
            }
            Step::RemoveAddress { device, address } | Step::AddAddress { device, address } => {
                write!(f, "address {address} on {device}")
            }
            Step::ResetSetting(setting) | Step::WriteSetting(setting, _) => {
                write!(f, "setting {}", setting.relative_path())
            }
            Step::RemoveDevice(name)
            | Step::BringUp(name)
            | Step::MakeDevice { name, .. }
            | Step::AdjustDevice { name, .. } => write!(f, "device {name}"),
            Step::RemoveRule(rule) | Step::AddRule(rule) => match &rule.selector {
                RuleSelector::Incoming(device) => {
                    write!(f, "rule {:?} iif {device} table {}", rule.family, rule.table)
                }
                RuleSelector::AnswerTo(mark) => {
                    write!(f, "rule {:?} fwmark {mark:#x} table {}", rule.family, rule.table)
                }
            },
        }
    }
}

/// The steps from one state to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Before the firewall changes.
    pub(crate) withdraw: Vec<Step>,
    /// After the firewall has changed.
    pub(crate) provide: Vec<Step>,
    /// After everything else.
    pub(crate) finish: Vec<Step>,
}

impl Changes {
    /// All steps in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.withdraw.iter().chain(&self.provide).chain(&self.finish)
    }

    /// The steps from what is there to what should be.
    pub(crate) fn between(present: &State, wanted: &State) -> Changes {
        let mut changes = Changes::default();
        let mut present = Cow::Borrowed(present);
        changes.devices(&mut present, wanted);
        changes.withdrawals(&present, wanted);
        changes.provisions(&present, wanted);
        changes
    }

    fn devices(&mut self, present: &mut Cow<'_, State>, wanted: &State) {
        let mut replaced = Vec::new();
        for (name, device) in &present.devices {
            match wanted.devices.get(name) {
                None => self.finish.push(Step::RemoveDevice(name.clone())),
                Some(want) if device.needs_replacement(want) => replaced.push(name.clone()),
                Some(_) => {}
            }
        }
        for name in replaced {
            let far = match present.devices.get(&name) {
                Some(Device::Crossing { far }) => Some(far.clone()),
                _ => None,
            };
            present.to_mut().forget_device(&name);
            if let Some(far) = far {
                present.to_mut().forget_device(&far);
            }
            self.withdraw.push(Step::RemoveDevice(name));
        }
        for rule in wanted.rules.difference(&present.rules) {
            self.provide.push(Step::AddRule(rule.clone()));
        }
        let mut to_bring_up = Vec::new();
        for (name, device) in &wanted.devices {
            let (name, device) = (name.clone(), device.clone());
            // The two ends of a crossing can go up only when both are there.
            let far = match &device {
                Device::Crossing { far } => Some(far.clone()),
                _ => None,
            };
            match present.devices.get(&name) {
                None => {
                    self.provide.push(Step::MakeDevice { name: name.clone(), device });
                    if let Some(far) = far {
                        to_bring_up.extend([name, far]);
                    }
                }
                Some(have) => {
                    if *have != device {
                        self.provide.push(Step::AdjustDevice { name: name.clone(), device });
                    }
                    if present.down.contains(&name) {
                        to_bring_up.push(name);
                        to_bring_up.extend(far);
                    }
                }
            }
        }
        self.provide.extend(to_bring_up.into_iter().map(Step::BringUp));
    }

    fn withdrawals(&mut self, present: &State, wanted: &State) {
        let gone = |device: &Text| {
            present.devices.contains_key(device) && !wanted.devices.contains_key(device)
        };
        for &(table, net) in present.routes.keys() {
            if !wanted.routes.contains_key(&(table, net)) {
                self.withdraw.push(Step::RemoveRoute { table, net });
            }
        }
        for (device, address) in present.proxies.difference(&wanted.proxies) {
            let device = device.clone();
            self.withdraw.push(Step::RemoveProxy { device, address: *address });
        }
        // What is on a device that goes, goes with it.
        for (device, address) in present.neighbours.keys().filter(|(device, _)| !gone(device)) {
            if !wanted.neighbours.contains_key(&(device.clone(), *address)) {
                let device = device.clone();
                self.withdraw.push(Step::RemoveNeighbour { device, address: *address });
            }
        }
        for (device, mac) in present.endpoints.keys().filter(|(device, _)| !gone(device)) {
            if !wanted.endpoints.contains_key(&(device.clone(), *mac)) {
                self.withdraw.push(Step::RemoveEndpoint { device: device.clone(), mac: *mac });
            }
        }
        for (device, address) in present.addresses.difference(&wanted.addresses) {
            let device = device.clone();
            self.withdraw.push(Step::RemoveAddress { device, address: *address });
        }
        for setting in present.settings.keys() {
            if !wanted.settings.contains_key(setting) {
                self.withdraw.push(Step::ResetSetting(setting.clone()));
            }
        }
        for rule in present.rules.difference(&wanted.rules) {
            self.finish.push(Step::RemoveRule(rule.clone()));
        }
    }

    fn provisions(&mut self, present: &State, wanted: &State) {
        for (setting, value) in &wanted.settings {
            if present.settings.get(setting) != Some(value) {
                self.provide.push(Step::WriteSetting(setting.clone(), value.clone()));
            }
        }
        for (device, address) in wanted.addresses.difference(&present.addresses) {
            let device = device.clone();
            self.provide.push(Step::AddAddress { device, address: *address });
        }
        for (key @ (device, mac), vtep) in &wanted.endpoints {
            if present.endpoints.get(key) != Some(vtep) {
                let (device, mac, vtep) = (device.clone(), *mac, *vtep);
                self.provide.push(Step::AddEndpoint { device, mac, vtep });
            }
        }
        for (key @ (device, address), mac) in &wanted.neighbours {
            if present.neighbours.get(key) != Some(mac) {
                let (device, address, mac) = (device.clone(), *address, *mac);
                self.provide.push(Step::AddNeighbour { device, address, mac });
            }
        }
        for (device, address) in wanted.proxies.difference(&present.proxies) {
            self.provide.push(Step::AddProxy { device: device.clone(), address: *address });
        }
        for (key @ (table, net), route) in &wanted.routes {
            if present.routes.get(key) != Some(route) {
                let (table, net, route) = (*table, *net, route.clone());
                self.provide.push(Step::AddRoute { table, net, route });
            }
        }
    }
}

impl State {
    /// Takes note of a step that was done.
    pub(crate) fn record(&mut self, step: &Step) {
        match step.clone() {
            Step::RemoveRoute { table, net } => {
                self.routes.remove(&(table, net));
            }
            Step::RemoveProxy { device, address } => {
                self.proxies.remove(&(device, address));
            }
            Step::RemoveNeighbour { device, address } => {
                self.neighbours.remove(&(device, address));
            }
            Step::RemoveEndpoint { device, mac } => {
                self.endpoints.remove(&(device, mac));
            }
            Step::RemoveAddress { device, address } => {
                self.addresses.remove(&(device, address));
            }
            Step::ResetSetting(setting) => {
                self.settings.remove(&setting);
            }
            Step::RemoveDevice(name) => {
                if let Some(Device::Crossing { far }) = self.devices.get(&name).cloned() {
                    self.forget_device(&far);
                }
                self.forget_device(&name);
            }
            Step::RemoveRule(rule) => {
                self.rules.remove(&rule);
            }
            Step::AddRule(rule) => {
                self.rules.insert(rule);
            }
            Step::MakeDevice { name, device } | Step::AdjustDevice { name, device } => {
                self.devices.insert(name, device);
            }
            Step::BringUp(name) => {
                self.down.remove(&name);
            }
            Step::WriteSetting(setting, value) => {
                self.settings.insert(setting, value);
            }
            Step::AddAddress { device, address } => {
                self.addresses.insert((device, address));
            }
            Step::AddEndpoint { device, mac, vtep } => {
                self.endpoints.insert((device, mac), vtep);
            }
            Step::AddNeighbour { device, address, mac } => {
                self.neighbours.insert((device, address), mac);
            }
            Step::AddProxy { device, address } => {
                self.proxies.insert((device, address));
            }
            Step::AddRoute { table, net, route } => {
                self.routes.insert((table, net), route);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::linux::family::Family;
    use proptest::prelude::*;
    use spanwire_topology::model::Vni;

    fn any_device() -> impl Strategy<Value = (Text, Device)> {
        (0u32..3, 0u32..2, 0u32..2).prop_map(|(vni, kind, mtu)| {
            let mac = [2, 0, 0, 0, 0, (vni + 1) as u8];
            let device = match kind {
                0 => Device::Tunnel {
                    vni: Vni(vni + mtu),
                    local: IpAddr::from([172, 30, 0, 1]),
                    port: 4789,
                    mac,
                    mtu: 1400 + mtu,
                },
                _ => Device::Crossing { far: format!("spi{vni}").into() },
            };
            let name = if kind == 0 { format!("spx{vni}") } else { format!("spo{vni}") };
            (name.into(), device)
        })
    }

    fn on() -> impl Strategy<Value = Text> {
        prop::sample::select(vec!["spx0", "spx1", "spo0", "spi0", "spw1", "spw2"])
            .prop_map(Text::from)
    }

    prop_compose! {
        /// What is on a device is there only if the device is, as in the kernel.
        fn any_state()(
            devices in prop::collection::btree_map(0u32..4, any_device(), 0..4),
            routes in prop::collection::btree_map((0u32..2, 0u8..4), (on(), any::<bool>()), 0..6),
            neighbours in prop::collection::btree_map((on(), 0u8..3), 1u8..3, 0..6),
            endpoints in prop::collection::btree_map((on(), 1u8..3), 0u8..2, 0..4),
            settings in prop::collection::btree_map(on(), 0u8..2, 0..4),
            rules in prop::collection::btree_set((on(), 0u32..2), 0..4),
            down in prop::collection::btree_set(on(), 0..2),
        ) -> State {
            let mac = |last: u8| Mac::new([2, 0, 0, 0, 0, last]).unwrap();
            let mut state = State {
                devices: devices.into_values().collect(),
                ..State::default()
            };
            state.down = down.into_iter().filter(|d| state.devices.contains_key(d)).collect();
            let there = |device: &Text| {
                let made = state.devices.contains_key(device);
                let far = state.devices.values().any(
                    |d| matches!(d, Device::Crossing { far } if far == device));
                made || far || device.starts_with("spw")
            };
            let via = |via: bool| via.then_some(Ipv6Addr::LOCALHOST);
            let net = |last: u8| IpNet::from(IpAddr::from([10, 0, 0, last]));
            state.routes = routes.into_iter().filter(|(_, (device, _))| there(device))
                .map(|((t, last), (device, v))| ((t, net(last)), Route { device, via: via(v) }))
                .collect();
            state.neighbours = neighbours.into_iter().filter(|((device, _), _)| there(device))
                .map(|((device, last), m)| ((device, IpAddr::from([10, 0, 0, last])), mac(m)))
                .collect();
            state.endpoints = endpoints.into_iter().filter(|((device, _), _)| there(device))
                .map(|((device, m), v)| ((device, mac(m)), IpAddr::from([172, 30, 0, v])))
                .collect();
            state.settings = settings.into_iter().filter(|(device, _)| there(device))
                .map(|(device, value)| {
                    let path = "net/ipv4/conf/{}/forwarding";
                    (Setting { device: Some(device), path }, value.to_string())
                })
                .collect();
            state.rules = rules.into_iter().map(|(device, table)| Rule {
                family: Family::V4,
                selector: RuleSelector::Incoming(device),
                table,
            }).collect();
            state
        }
    }

    proptest! {
        /// All steps in order lead from one state to the other, and then there is nothing to do.
        #[test]
        fn the_steps_lead_to_what_is_wanted(present in any_state(), wanted in any_state()) {
            let wanted = State { down: Default::default(), ..wanted };
            let mut state = present.clone();
            for step in Changes::between(&present, &wanted).steps() {
                state.record(step);
            }
            prop_assert_eq!(&state, &wanted);
            prop_assert_eq!(Changes::between(&state, &wanted), Changes::default());
        }

        /// A rule outlives every device whose packets it holds back, and a replaced rule is there
        /// before the old one goes.
        #[test]
        fn rules_go_last(present in any_state(), wanted in any_state()) {
            let changes = Changes::between(&present, &wanted);
            let is_rule = |step: &Step| matches!(step, Step::RemoveRule(_));
            prop_assert!(!changes.withdraw.iter().chain(&changes.provide).any(is_rule));
            let first_rule = changes.finish.iter().position(is_rule);
            if let Some(first) = first_rule {
                prop_assert!(changes.finish[first..].iter().all(is_rule));
            }
        }
    }
}
