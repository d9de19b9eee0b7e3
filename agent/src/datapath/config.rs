//! How the linux driver is set up.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The UDP port of VXLAN (RFC 7348).
pub const VXLAN_PORT: u16 = 4789;

/// Who forwards the packets of workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardingMode {
    /// We do, in an overlay: a VXLAN device and a routing table to each routing domain.
    #[default]
    Overlay,
    /// Somebody else does: the host's network is left alone, and only the firewall is ours. It
    /// judges what the host routes to and from the devices of its ports, and what comes to the
    /// host itself; it does not see frames that a bridge passes on between two of its ports.
    None,
}

/// The configuration of the linux driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxConfig {
    /// Who forwards.
    pub forwarding: ForwardingMode,
    /// The address of this host's tunnel endpoint, which must be on one of its devices. Needed
    /// by [`ForwardingMode::Overlay`] as soon as a domain has ports on other hosts.
    pub vtep: Option<IpAddr>,
    /// The UDP port of the overlay, the same on all hosts.
    pub vxlan_port: u16,
    /// The MTU of the network between the hosts, in bytes; `None` takes that of the device that
    /// has the VTEP's address.
    pub underlay_mtu: Option<u32>,
    /// The addresses of the controllers. Policies on the host's own stack never cut them off.
    pub controllers: Vec<SocketAddr>,
    /// The name of our nftables table in family `inet`.
    pub table_name: String,
    /// The `nft` program, looked up in the path if it has no slash.
    pub nft_program: PathBuf,
}

impl Default for LinuxConfig {
    fn default() -> LinuxConfig {
        LinuxConfig {
            forwarding: ForwardingMode::default(),
            vtep: None,
            vxlan_port: VXLAN_PORT,
            underlay_mtu: None,
            controllers: Vec::new(),
            table_name: "spanwire".to_owned(),
            nft_program: PathBuf::from("nft"),
        }
    }
}
