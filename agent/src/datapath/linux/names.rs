//! What the driver calls things in the kernel. Everything here is computed from the model alone, so
//! that another run, another host and an operator at a shell come to the same names.

use spanwire_topology::model::{Mac, PortAttachment, Text, Vni, derived_device_name};
use spanwire_topology::view::PortItem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The routing protocol number on routes, rules, neighbours and addresses of ours: how they are
/// told from those of others.
pub(crate) const PROTOCOL: u8 = 91;
/// The priority of our policy routing rules: before everybody's but the kernel's own local table,
/// for a packet of a workload must never be routed by somebody else's rule.
pub(crate) const RULE_PRIORITY: u32 = 500;
/// The upper byte of the packet marks and routing tables of ours; the VNI is in the lower 24 bits.
const DOMAIN_BASE: u32 = 0x5b00_0000;

/// What the names of all devices that workloads are plugged into begin with, unless they have a
/// name of their own.
pub(crate) const WORKLOAD_PREFIX: &str = "spw";
/// A bridge without ports. The default route of every domain leads there, so that the kernel
/// answers ARP for whatever a workload believes to be its gateway, and the firewall tells the
/// sender that there is no route.
pub(crate) const NULL_DEVICE: &str = "spnull";
const TUNNEL_PREFIX: &str = "spx";
const CROSSING_OUT_PREFIX: &str = "spo";
const CROSSING_IN_PREFIX: &str = "spi";

/// The gateway that workloads have for IPv4 if they have none in their subnet, and the source of
/// the ICMP errors they are sent: the kernel would otherwise show them an address of the underlay.
pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The gateway that workloads have for IPv6.
pub(crate) const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The source of the ICMPv6 errors that workloads are sent: a link-local address does not get from
/// one host to another. From a random prefix of RFC 4193.
pub(crate) const ERROR_SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0xfd73, 0x7061, 0x6e77, 0, 0, 0, 0, 1);

/// The far end of a crossing, as the near end addresses it.
pub(crate) const CROSSING_NEXT_HOP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5b, 0, 2);
/// The MAC address of the near end of a crossing.
pub(crate) const CROSSING_OUT_MAC: [u8; 6] = [0x02, 0x5d, 0, 0, 0, 1];
/// The MAC address of the far end of a crossing.
pub(crate) const CROSSING_IN_MAC: [u8; 6] = [0x02, 0x5d, 0, 0, 0, 2];

/// The longest name that the kernel takes for a device, in bytes.
const DEVICE_NAME_MAX: usize = 15;

/// The VXLAN device whose packets carry the VNI of a domain.
pub(crate) fn tunnel_device(domain: Vni) -> Text {
    format!("{TUNNEL_PREFIX}{:x}", domain.0).into()
}

/// Where packets from another domain of this host leave for a domain of this host.
pub(crate) fn crossing_out_device(domain: Vni) -> Text {
    format!("{CROSSING_OUT_PREFIX}{:x}", domain.0).into()
}

/// Where packets from another domain of this host come into a domain of this host.
pub(crate) fn crossing_in_device(domain: Vni) -> Text {
    format!("{CROSSING_IN_PREFIX}{:x}", domain.0).into()
}

/// True for the names of devices that the driver makes and removes itself.
pub(crate) fn is_made_by_us(device: &str) -> bool {
    device == NULL_DEVICE
        || [TUNNEL_PREFIX, CROSSING_OUT_PREFIX, CROSSING_IN_PREFIX].iter().any(|prefix| {
            device.strip_prefix(prefix).is_some_and(|vni| {
                (1..=6).contains(&vni.len())
                    && vni.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
        })
}

/// The mark on packets of a domain: by it the kernel finds the domain again when it answers one of
/// them itself (ICMP errors, TCP resets).
pub(crate) fn mark(domain: Vni) -> u32 {
    DOMAIN_BASE | (domain.0 & Vni::MAX.0)
}

/// The routing table of a domain.
pub(crate) fn table(domain: Vni) -> u32 {
    mark(domain)
}

/// The device behind a port, `None` if it is the host's own stack.
///
/// # Errors
///
/// Says why the name that the port gives cannot be that of a workload's device.
pub(crate) fn device_of(port: &PortItem) -> Result<Option<Text>, String> {
    match &port.attachment {
        PortAttachment::HostStack => Ok(None),
        PortAttachment::Derived => Ok(Some(derived_device_name(&port.project, &port.name).into())),
        PortAttachment::Interface(name) => check_device_name(name).map(|()| Some(name.clone())),
    }
}

/// Names go into firewall rules and file paths, where `*` and `/` would mean something else.
fn check_device_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'*' | b'"' | b'\\');
    if name.is_empty() || name.len() > DEVICE_NAME_MAX {
        return Err(format!(
            "interface {name:?} cannot exist: names have 1 to {DEVICE_NAME_MAX} bytes"
        ));
    }
    if !name.bytes().all(plain) || matches!(name, "." | ".." | "all" | "default") {
        return Err(format!(
            "interface {name:?} cannot be guarded: expected a name of printable ASCII characters \
             without / : * \" \\"
        ));
    }
    if name == "lo" || is_made_by_us(name) {
        return Err(format!(
            "interface {name:?} is no workload's: it belongs to the host or to the overlay"
        ));
    }
    Ok(())
}

/// The MAC address that a host has on its tunnel devices, known to all from its VTEP.
pub(crate) fn vtep_mac(vtep: IpAddr) -> Mac {
    let bytes = match vtep {
        IpAddr::V4(vtep) => {
            let [a, b, c, d] = vtep.octets();
            [0x02, 0x5b, a, b, c, d]
        }
        IpAddr::V6(vtep) => {
            // FNV-1a, 64 bits, folded to 40: two of 10,000 hosts meet with a probability of
            // 1 in 20,000, and the plan then refuses the second.
            let hash = fnv1a(&vtep.octets());
            let [_, _, _, a, b, c, d, e] = (hash ^ (hash >> 40)).to_be_bytes();
            [0x06, a, b, c, d, e]
        }
    };
    // The first byte of either is that of a locally administered unicast address.
    Mac::new(bytes).unwrap_or_else(|_| Mac::derived_from(vtep))
}

/// The link-local address under which a host is the next hop on tunnel devices. Never on the wire.
pub(crate) fn vtep_next_hop(vtep: IpAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = vtep_mac(vtep).octets();
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5b, pair(a, b), pair(c, d), pair(e, f))
}

/// FNV-1a, 64 bits: the same everywhere and in every version.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_are_recognized() {
        for device in [
            tunnel_device(Vni::MAX),
            crossing_in_device(Vni::MAX),
            crossing_out_device(Vni(1)),
            NULL_DEVICE.into(),
        ] {
            assert!(device.len() <= DEVICE_NAME_MAX, "{device}");
            assert!(is_made_by_us(&device), "{device}");
        }
        for other in ["spx", "spxg", "spw000000000001", "eth0", "spx1234567", "spx-1"] {
            assert!(!is_made_by_us(other), "{other}");
        }
    }

    #[test]
    fn device_names_that_mean_something_else_are_refused() {
        for bad in ["", "spw*", "a/b", "a b", "lo", "spx1", "0123456789abcdef", "..", "a\u{e9}"] {
            assert!(check_device_name(bad).is_err(), "{bad:?}");
        }
        for good in ["eth0", "tap-1.2", "veth@x"] {
            assert!(check_device_name(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn tunnel_endpoints_have_addresses_of_their_own() {
        let v4 = vtep_mac("172.30.0.1".parse().unwrap());
        assert_eq!(v4.to_string(), "02:5b:ac:1e:00:01");
        let next_hop = vtep_next_hop("172.30.0.1".parse().unwrap());
        assert_eq!(next_hop.to_string(), "fe80::5b:25b:ac1e:1");
        let one = vtep_mac("fd00::1".parse().unwrap());
        assert_ne!(one, vtep_mac("fd00::2".parse().unwrap()));
        assert_eq!(one.octets()[0], 0x06);
    }
}
