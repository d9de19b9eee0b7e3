//! What a lab shall be: hosts on one underlay, and workloads behind them.

use crate::error::LabError;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use spanwire_topology::model::{
    HostSpec, LogicalPortSpec, LogicalRouterSpec, LogicalSwitchSpec, Mac, ObjectRef,
    PortAttachment, Resource, Spec, derived_device_name,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The longest name of a lab, in bytes: host namespaces carry it before the name of the host.
pub const LAB_NAME_MAX: usize = 20;
/// The longest name of a host in a lab, in bytes: with the lab's it must fit a file name.
pub const LAB_HOST_NAME_MAX: usize = 200;
/// The most hosts of one lab. Each is a namespace with an agent in it.
pub const LAB_HOSTS_MAX: usize = 250;
/// The most workloads of one lab. Each is a namespace with a device pair.
pub const LAB_WORKLOADS_MAX: usize = 5_000;
/// The underlay that labs use unless told otherwise: a part of the range that RFC 2544 sets aside
/// for benchmarks, so that it collides with no network that exists.
pub const DEFAULT_UNDERLAY: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 24);
/// The MTU of the underlay, in bytes: workloads keep the usual 1500.
pub const DEFAULT_UNDERLAY_MTU: u32 = 1600;
/// How much smaller the workloads' MTU is than the underlay's, in bytes: an Ethernet, an IPv6, a
/// UDP and a VXLAN header (14 + 40 + 8 + 8), and room for options.
pub const OVERLAY_OVERHEAD: u32 = 100;
/// The smallest MTU of an underlay: IPv6 needs 1280 bytes inside the overlay (RFC 8200, section 5).
pub const UNDERLAY_MTU_MIN: u32 = 1280 + OVERLAY_OVERHEAD;
/// The largest MTU of an underlay: what a veth device takes.
pub const UNDERLAY_MTU_MAX: u32 = 65_535;

/// A lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabSpec {
    /// The name: at most [`LAB_NAME_MAX`] lower-case letters, digits and underscores.
    pub name: String,
    /// The network between the hosts. The lab itself (the bridge, and what runs beside it, as a
    /// controller) has the [fabric address](LabSpec::fabric_address) in it.
    #[serde(with = "text")]
    pub underlay: Ipv4Net,
    /// The MTU of the underlay, in bytes.
    pub mtu: u32,
    /// The hosts, sorted by name.
    pub hosts: Vec<LabHost>,
    /// The workloads, sorted by project and name.
    pub workloads: Vec<LabWorkload>,
}

/// A host of a lab.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabHost {
    /// The name, as the model has it.
    pub name: String,
    /// The address of the tunnel endpoint, in the underlay.
    pub vtep: Ipv4Addr,
}

/// Names a workload: by the port it is behind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadKey {
    /// The project of the port.
    pub project: String,
    /// The name of the port.
    pub name: String,
}

impl WorkloadKey {
    /// A key from its parts.
    pub fn new(project: impl Into<String>, name: impl Into<String>) -> WorkloadKey {
        WorkloadKey { project: project.into(), name: name.into() }
    }
}

impl std::fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

/// A workload of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabWorkload {
    /// The port it is behind.
    pub key: WorkloadKey,
    /// The host it runs on.
    pub host: String,
    /// The device at the host's end.
    pub device: String,
    /// The MAC address at the workload's end.
    #[serde(with = "text")]
    pub mac: Mac,
    /// The addresses, each with the prefix length of the switch's subnet that holds it, or a full
    /// one if none does.
    #[serde(with = "texts")]
    pub addresses: Vec<IpNet>,
    /// The IPv4 gateway, if the switch has a router. The IPv6 one is always [`crate::GATEWAY_V6`].
    pub gateway_v4: Option<Ipv4Addr>,
}

/// Values that are written as text.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::{fmt::Display, str::FromStr};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Lists of values that are written as text.
mod texts {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::{fmt::Display, str::FromStr};

    pub(super) fn serialize<T: Display, S: Serializer>(
        values: &[T],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Vec::<String>::deserialize(from)?
            .iter()
            .map(|text| text.parse().map_err(D::Error::custom))
            .collect()
    }
}

// ---- From a model ----

/// The parts of a model that a lab is made of.
#[derive(Default)]
struct Model<'a> {
    hosts: BTreeMap<&'a str, &'a HostSpec>,
    switches: BTreeMap<ObjectRef, &'a LogicalSwitchSpec>,
    routers: Vec<&'a LogicalRouterSpec>,
    ports: BTreeMap<WorkloadKey, &'a LogicalPortSpec>,
}

impl<'a> Model<'a> {
    fn of(resources: &'a [Resource]) -> Model<'a> {
        let mut model = Model::default();
        for resource in resources {
            let metadata = &resource.metadata;
            match &*resource.spec {
                Spec::Host(host) => {
                    model.hosts.insert(&metadata.name, host);
                }
                Spec::LogicalSwitch(switch) => {
                    let key = ObjectRef::new(metadata.project.clone(), metadata.name.clone());
                    model.switches.insert(key, switch);
                }
                Spec::LogicalRouter(router) => model.routers.push(router),
                Spec::LogicalPort(port) => {
                    let key = WorkloadKey::new(&*metadata.project, &*metadata.name);
                    model.ports.insert(key, port);
                }
                Spec::Group(_) | Spec::Service(_) | Spec::SecurityPolicy(_) => {}
            }
        }
        model
    }

    /// The first IPv4 address, in order, of a router's interface on the switch.
    fn gateway_v4(&self, switch: &ObjectRef) -> Option<Ipv4Addr> {
        self.routers
            .iter()
            .flat_map(|router| &router.interfaces)
            .filter(|interface| interface.switch == *switch)
            .flat_map(|interface| &interface.addresses)
            .filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
            .min()
    }

    /// The address with the prefix length of the longest subnet that holds it.
    fn with_prefix(&self, switch: &ObjectRef, address: IpAddr) -> IpNet {
        let prefix = self
            .switches
            .get(switch)
            .into_iter()
            .flat_map(|switch| &switch.subnets)
            .filter(|subnet| subnet.contains(&address))
            .map(IpNet::prefix_len)
            .max();
        let full = IpNet::from(address);
        prefix.and_then(|prefix| IpNet::new(address, prefix).ok()).unwrap_or(full)
    }

    /// The workload behind a port, if it is one that a lab makes: bound to a chosen host, and not
    /// that host itself.
    fn workload(&self, key: &WorkloadKey, chosen: &BTreeSet<&str>) -> Option<LabWorkload> {
        let port = *self.ports.get(key)?;
        let host = port.host.as_deref().filter(|host| chosen.contains(host))?;
        let device = match &port.attachment {
            PortAttachment::Derived => derived_device_name(&key.project, &key.name),
            PortAttachment::Interface(device) => device.to_string(),
            PortAttachment::HostStack => return None,
        };
        Some(LabWorkload {
            key: key.clone(),
            host: host.to_owned(),
            device,
            mac: port.mac,
            addresses: port
                .addresses
                .iter()
                .map(|address| self.with_prefix(&port.switch, *address))
                .collect(),
            gateway_v4: self.gateway_v4(&port.switch),
        })
    }
}

impl LabSpec {
    /// The lab for the part of a model that lies on the hosts for which `chosen` is true: those
    /// hosts, and every port bound to them that is not a host's own stack. The underlay is the
    /// smallest network, /24 or wider, that holds all tunnel endpoints. Hosts without one can be
    /// given one by [`assign_vteps`] first.
    pub fn from_resources(
        name: &str,
        resources: &[Resource],
        chosen: impl Fn(&str) -> bool,
    ) -> Result<LabSpec, LabError> {
        let problem = |problem: String| LabError::Spec { lab: name.to_owned(), problem };
        let model = Model::of(resources);
        let mut hosts = Vec::new();
        for (host, spec) in model.hosts.iter().filter(|(host, _)| chosen(host)) {
            match spec.vtep {
                Some(IpAddr::V4(vtep)) => hosts.push(LabHost { name: (*host).to_owned(), vtep }),
                Some(IpAddr::V6(vtep)) => {
                    return Err(problem(format!(
                        "host {host} has the tunnel endpoint {vtep}: labs have an IPv4 underlay"
                    )));
                }
                None => {
                    return Err(problem(format!(
                        "host {host} has no tunnel endpoint: give it one (spec.vtep), as {}",
                        DEFAULT_UNDERLAY.hosts().next().unwrap_or(Ipv4Addr::UNSPECIFIED)
                    )));
                }
            }
        }
        let chosen: BTreeSet<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let workloads =
            model.ports.keys().filter_map(|key| model.workload(key, &chosen)).collect::<Vec<_>>();
        let spec = LabSpec {
            name: name.to_owned(),
            underlay: underlay_of(&hosts),
            mtu: DEFAULT_UNDERLAY_MTU,
            hosts,
            workloads,
        };
        spec.check()?;
        Ok(spec)
    }

    /// The workload behind one port of a model, for [`crate::Lab::add_workload`]. `None` if the
    /// port is not in the model, is bound to no host, or is a host's own stack.
    pub fn workload_from_resources(
        resources: &[Resource],
        key: &WorkloadKey,
    ) -> Option<LabWorkload> {
        let model = Model::of(resources);
        let host = model.ports.get(key)?.host.as_deref()?;
        model.workload(key, &BTreeSet::from([host]))
    }
}

/// The smallest network of /24 or wider that holds all tunnel endpoints.
fn underlay_of(hosts: &[LabHost]) -> Ipv4Net {
    const PREFIX_MAX: u8 = 24;
    let Some(first) = hosts.first() else { return DEFAULT_UNDERLAY };
    let mut net = Ipv4Net::new_assert(first.vtep, PREFIX_MAX).trunc();
    while let Some(wider) = net.supernet()
        && !hosts.iter().all(|host| net.contains(&host.vtep))
    {
        net = wider;
    }
    net
}

/// Gives every host without a tunnel endpoint one in the underlay, in the order of their names.
/// Hosts that have one keep it, and nothing else of the resources changes.
pub fn assign_vteps(resources: &mut [Resource], underlay: Ipv4Net) -> Result<(), LabError> {
    let vtep = |resource: &Resource| match &*resource.spec {
        Spec::Host(host) => Some(host.vtep),
        _ => None,
    };
    let taken: BTreeSet<IpAddr> = resources.iter().filter_map(vtep).flatten().collect();
    let fabric = underlay.hosts().last();
    let mut free = underlay
        .hosts()
        .filter(|address| !taken.contains(&IpAddr::V4(*address)) && Some(*address) != fabric);
    let mut without: Vec<&mut Resource> =
        resources.iter_mut().filter(|resource| vtep(resource) == Some(None)).collect();
    without.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    for resource in without {
        let address = free.next().ok_or_else(|| LabError::Spec {
            lab: String::new(),
            problem: format!("{underlay} has too few addresses for the hosts: take a wider one"),
        })?;
        resource.spec = std::sync::Arc::new(Spec::Host(HostSpec { vtep: Some(address.into()) }));
    }
    Ok(())
}

// ---- Rules ----

impl LabSpec {
    /// Checks the description against every rule that does not depend on the machine.
    pub fn check(&self) -> Result<(), LabError> {
        check_lab_name(&self.name)?;
        let result = self.check_underlay().and_then(|()| self.check_workloads());
        result.map_err(|problem| LabError::Spec { lab: self.name.clone(), problem })
    }

    fn check_underlay(&self) -> Result<(), String> {
        if !(UNDERLAY_MTU_MIN..=UNDERLAY_MTU_MAX).contains(&self.mtu) {
            return Err(format!(
                "an underlay MTU of {} bytes was asked for: expected {UNDERLAY_MTU_MIN} to \
                 {UNDERLAY_MTU_MAX}",
                self.mtu
            ));
        }
        if self.hosts.is_empty() || self.hosts.len() > LAB_HOSTS_MAX {
            return Err(format!(
                "{} hosts were asked for: expected 1 to {LAB_HOSTS_MAX}",
                self.hosts.len()
            ));
        }
        let mut vteps = BTreeMap::new();
        let mut names = BTreeSet::new();
        for host in &self.hosts {
            if !names.insert(&host.name) {
                return Err(format!("host {} is there twice", host.name));
            }
            spanwire_topology::model::check_name("host name", &host.name)
                .map_err(|error| error.to_string())?;
            if host.name.len() > LAB_HOST_NAME_MAX {
                return Err(format!(
                    "host name {:.40}... is too long for a namespace: the most is \
                     {LAB_HOST_NAME_MAX} bytes",
                    host.name
                ));
            }
            if !self.underlay.contains(&host.vtep)
                || host.vtep == self.underlay.network()
                || host.vtep == self.underlay.broadcast()
            {
                return Err(format!(
                    "host {} has the tunnel endpoint {}, which is no host address of the underlay \
                     {}",
                    host.name, host.vtep, self.underlay
                ));
            }
            if let Some(other) = vteps.insert(host.vtep, &host.name) {
                return Err(format!(
                    "hosts {other} and {} both have the tunnel endpoint {}",
                    host.name, host.vtep
                ));
            }
        }
        match self.fabric_address() {
            Some(_) => Ok(()),
            None => Err(format!(
                "the underlay {} has no address left for the fabric: take a wider one",
                self.underlay
            )),
        }
    }

    fn check_workloads(&self) -> Result<(), String> {
        if self.workloads.len() > LAB_WORKLOADS_MAX {
            return Err(format!(
                "{} workloads were asked for: the most is {LAB_WORKLOADS_MAX}; choose fewer hosts",
                self.workloads.len()
            ));
        }
        let mut keys = BTreeSet::new();
        let mut devices = BTreeMap::new();
        for workload in &self.workloads {
            if !keys.insert(&workload.key) {
                return Err(format!("workload {} is there twice", workload.key));
            }
            self.check_workload(workload)?;
            let device = (&workload.host, &workload.device);
            if let Some(other) = devices.insert(device, &workload.key) {
                return Err(format!(
                    "workloads {other} and {} are both behind device {} of host {}",
                    workload.key, workload.device, workload.host
                ));
            }
        }
        Ok(())
    }

    /// Checks one workload against the hosts of the lab.
    pub(crate) fn check_workload(&self, workload: &LabWorkload) -> Result<(), String> {
        let key = &workload.key;
        if self.host(&workload.host).is_none() {
            return Err(format!("workload {key} is on host {}, which is not here", workload.host));
        }
        if !is_device_name(&workload.device) || workload.device == crate::UNDERLAY_DEVICE {
            return Err(format!(
                "workload {key} is behind device {:?}: expected 1 to 15 letters, digits, . _ and \
                 -, and neither lo nor {}",
                workload.device,
                crate::UNDERLAY_DEVICE
            ));
        }
        Ok(())
    }

    /// The host of this name.
    pub fn host(&self, name: &str) -> Option<&LabHost> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// The workload of this key.
    pub fn workload(&self, key: &WorkloadKey) -> Option<&LabWorkload> {
        self.workloads.iter().find(|workload| workload.key == *key)
    }

    /// The lab's own address in the underlay, where hosts reach a controller: the last one that no
    /// host has.
    pub fn fabric_address(&self) -> Option<Ipv4Addr> {
        let (first, last) =
            (u32::from(self.underlay.network()), u32::from(self.underlay.broadcast()));
        (first.saturating_add(1)..last)
            .rev()
            .map(Ipv4Addr::from)
            .find(|address| self.hosts.iter().all(|host| host.vtep != *address))
    }

    /// The MTU of the workloads, in bytes.
    pub fn workload_mtu(&self) -> u32 {
        self.mtu.saturating_sub(OVERLAY_OVERHEAD)
    }
}

/// Checks the name of a lab. It stands in namespace names, where a hyphen separates the parts.
pub(crate) fn check_lab_name(name: &str) -> Result<(), LabError> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > LAB_NAME_MAX || !name.chars().all(fine) {
        return Err(LabError::Spec {
            lab: name.to_owned(),
            problem: format!(
                "bad name: expected 1 to {LAB_NAME_MAX} lower-case letters, digits and underscores"
            ),
        });
    }
    Ok(())
}

/// True for names that the kernel and the `ip` program take without quoting.
fn is_device_name(name: &str) -> bool {
    const DEVICE_NAME_MAX: usize = 15;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= DEVICE_NAME_MAX
        && name.chars().all(fine)
        && !name.starts_with('-')
        && !matches!(name, "." | ".." | "lo" | "all" | "default")
}

#[cfg(test)]
mod tests;
