//! How addresses, CIDRs and devices are written, wherever they come from.

use ipnet::IpNet;
use std::net::IpAddr;

/// The longest name of a network device, in bytes (the kernel's `IFNAMSIZ` less its final zero).
pub const DEVICE_NAME_MAX: usize = 15;

/// How much of a bad text a message shows, in characters.
const QUOTED_MAX: usize = 60;

/// A text as messages show it: in quotes, escaped, and cut if it is long.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Why a text is no address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address.
    #[error("{} is not an IP address: expected one such as 10.20.0.10 or fd00:20::10", quoted(.0))]
    Form(String),
    /// A CIDR where an address was expected.
    #[error("{cidr} has a prefix length: expected the address alone, {address}")]
    Prefix {
        /// The text.
        cidr: IpNet,
        /// Its address.
        address: IpAddr,
    },
    /// Not the address of one interface.
    #[error("{0} is not the address of one interface: it is unspecified, multicast or broadcast")]
    NotUnicast(IpAddr),
}

/// Why a text is no CIDR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not a CIDR.
    #[error("{} is not a CIDR: expected one such as 10.20.0.0/24 or fd00:20::/64", quoted(.0))]
    Form(String),
    /// An address without a prefix length.
    #[error("{address} has no prefix length: for this address alone write {single}")]
    NoPrefix {
        /// The address.
        address: IpAddr,
        /// The CIDR that holds nothing else.
        single: IpNet,
    },
    /// Bits are set beyond the prefix.
    #[error("{cidr} has host bits set: the network is {network}")]
    HostBits {
        /// The text.
        cidr: IpNet,
        /// The same without host bits.
        network: IpNet,
    },
}

/// Why a text is no name of a network device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} cannot be the name of a network device: expected 1 to {DEVICE_NAME_MAX} bytes without \
     spaces, / or :, and neither . nor ..",
    quoted(.0)
)]
pub struct DeviceNameError(pub String);

/// The unicast address that a text stands for.
pub fn parse_address(text: &str) -> Result<IpAddr, AddressError> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(match text.parse::<IpNet>() {
            Ok(cidr) => AddressError::Prefix { cidr, address: cidr.addr() },
            Err(_) => AddressError::Form(text.to_owned()),
        });
    };
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(AddressError::NotUnicast(address));
    }
    Ok(address)
}

/// The CIDR that a text stands for; it has no host bits.
pub fn parse_cidr(text: &str) -> Result<IpNet, CidrError> {
    let Ok(cidr) = text.parse::<IpNet>() else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => CidrError::NoPrefix { address, single: IpNet::from(address) },
            Err(_) => CidrError::Form(text.to_owned()),
        });
    };
    let network = cidr.trunc();
    if network != cidr {
        return Err(CidrError::HostBits { cidr, network });
    }
    Ok(cidr)
}

/// Checks the name of a network device by the kernel's own rule (`dev_valid_name`).
pub fn check_device_name(text: &str) -> Result<(), DeviceNameError> {
    let shaped = !text.is_empty() && text.len() <= DEVICE_NAME_MAX && text != "." && text != "..";
    let clean = !text.chars().any(|c| c == '/' || c == ':' || c == '\0' || c.is_whitespace());
    if shaped && clean { Ok(()) } else { Err(DeviceNameError(text.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_one_interface() {
        for good in ["10.0.0.1", "fd00::1", "127.0.0.1"] {
            assert_eq!(parse_address(good).unwrap().to_string(), good);
        }
        for bad in
            ["", "10.0.0", "10.0.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "010.0.0.1"]
        {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_address("10.0.0.1/24").unwrap_err().to_string(),
            "10.0.0.1/24 has a prefix length: expected the address alone, 10.0.0.1"
        );
    }

    #[test]
    fn cidrs_have_no_host_bits() {
        assert_eq!(parse_cidr("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        let cases = [
            ("10.0.0.1/8", "10.0.0.1/8 has host bits set: the network is 10.0.0.0/8"),
            ("fd00::1", "fd00::1 has no prefix length: for this address alone write fd00::1/128"),
            (
                "10.0.0.0/33",
                "\"10.0.0.0/33\" is not a CIDR: expected one such as 10.20.0.0/24 or fd00:20::/64",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_cidr(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted(&"ä".repeat(100)), format!("\"{}\"...", "ä".repeat(60)));
    }

    #[test]
    fn device_names_are_the_kernels() {
        for good in ["eth0", "a", "fifteen-bytes-x", "br.100"] {
            assert_eq!(check_device_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:1", "sixteen-bytes-xy", "a\tb"] {
            assert!(check_device_name(bad).is_err(), "{bad}");
        }
    }
}
