//! What the forwarding half of the driver keeps in the kernel, as a value: the plan is one, what
//! the kernel has of ours is another, and the work is the difference.

use crate::datapath::linux::family::Family;
use ipnet::IpNet;
use spanwire_topology::model::{Mac, Text, Vni};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

/// A device that we make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    /// A VXLAN device.
    Tunnel {
        /// Its network identifier.
        vni: Vni,
        /// The tunnel endpoint of this host.
        local: IpAddr,
        /// The UDP port.
        port: u16,
        /// Its MAC address.
        mac: [u8; 6],
        /// Its MTU, in bytes.
        mtu: u32,
    },
    /// A pair of devices, what goes into one comes out of the other. Known by the near end.
    Crossing {
        /// The name of the far end.
        far: Text,
    },
    /// A bridge without ports.
    Null,
    /// Something else that has a name of ours.
    Foreign,
}

impl Device {
    /// True if a device cannot be turned into the wanted one in place. A new MAC address would
    /// cost it its neighbours.
    pub(crate) fn needs_replacement(&self, wanted: &Device) -> bool {
        match (self, wanted) {
            (
                Device::Tunnel { vni, local, port, mac, mtu: _ },
                Device::Tunnel {
                    vni: want_vni,
                    local: want_local,
                    port: want_port,
                    mac: want_mac,
                    mtu: _,
                },
            ) => (vni, local, port, mac) != (want_vni, want_local, want_port, want_mac),
            _ => self != wanted,
        }
    }
}

/// A policy routing rule: what it selects is looked up in the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) family: Family,
    pub(crate) selector: RuleSelector,
    pub(crate) table: u32,
}

/// What a rule selects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RuleSelector {
    /// Packets that come in by a device.
    Incoming(Text),
    /// Packets that this host makes in answer to one with that mark.
    AnswerTo(u32),
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The device.
    pub(crate) device: Text,
    /// The next hop; `None` if the destination is right there.
    pub(crate) via: Option<Ipv6Addr>,
}

/// A file under `/proc/sys`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Setting {
    /// The device it is about; `None` for settings of the whole host.
    pub(crate) device: Option<Text>,
    /// The path, with `{}` where the device stands.
    pub(crate) path: &'static str,
}

impl Setting {
    /// The path below `/proc/sys`.
    pub(crate) fn relative_path(&self) -> String {
        self.path.replace("{}", self.device.as_deref().unwrap_or_default())
    }

    /// The path below `/proc/sys` of the value that new devices get.
    pub(crate) fn default_path(&self) -> String {
        self.path.replace("{}", "default")
    }
}

/// Everything, by what identifies it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Devices by name.
    pub(crate) devices: BTreeMap<Text, Device>,
    /// Those of them that are not up. Never planned.
    pub(crate) down: BTreeSet<Text>,
    /// Addresses on devices, with their prefix length.
    pub(crate) addresses: BTreeSet<(Text, IpNet)>,
    /// Settings and their values.
    pub(crate) settings: BTreeMap<Setting, String>,
    /// Policy routing rules.
    pub(crate) rules: BTreeSet<Rule>,
    /// Routes by table and destination.
    pub(crate) routes: BTreeMap<(u32, IpNet), Route>,
    /// Permanent neighbours by device and address.
    pub(crate) neighbours: BTreeMap<(Text, IpAddr), Mac>,
    /// Addresses answered for by neighbour discovery, by device.
    pub(crate) proxies: BTreeSet<(Text, Ipv6Addr)>,
    /// The tunnel endpoint behind a MAC address, by tunnel device.
    pub(crate) endpoints: BTreeMap<(Text, Mac), IpAddr>,
}

impl State {
    /// Forgets what went with a device that is gone: the kernel removes it together with the
    /// device. Rules stay, they go by the name.
    pub(crate) fn forget_device(&mut self, device: &str) {
        self.devices.remove(device);
        self.down.remove(device);
        self.addresses.retain(|(on, _)| **on != *device);
        self.settings.retain(|setting, _| setting.device.as_deref() != Some(device));
        self.routes.retain(|_, route| *route.device != *device);
        self.neighbours.retain(|(on, _), _| **on != *device);
        self.proxies.retain(|(on, _)| **on != *device);
        self.endpoints.retain(|(on, _), _| **on != *device);
    }
}
