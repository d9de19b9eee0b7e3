//! Services: named protocols and ports.

use std::fmt;

/// Protocols with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportProtocol {
    /// IP protocol 6.
    Tcp,
    /// IP protocol 17.
    Udp,
    /// IP protocol 132.
    Sctp,
}

impl TransportProtocol {
    /// The name in documents and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            TransportProtocol::Tcp => "tcp",
            TransportProtocol::Udp => "udp",
            TransportProtocol::Sctp => "sctp",
        }
    }

    /// The IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            TransportProtocol::Tcp => 6,
            TransportProtocol::Udp => 17,
            TransportProtocol::Sctp => 132,
        }
    }
}

/// Which ICMP: they number their types differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IcmpVersion {
    /// ICMP for IPv4, RFC 792.
    V4,
    /// ICMPv6, RFC 4443.
    V6,
}

/// An inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The range from `first` to `last`, both included; `None` if it would be empty.
    pub fn new(first: u16, last: u16) -> Option<PortRange> {
        (first <= last).then_some(PortRange { first, last })
    }

    /// The range of one port.
    pub fn single(port: u16) -> PortRange {
        PortRange { first: port, last: port }
    }

    /// The first port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// True if the port lies in the range.
    pub fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// One way to match a packet's protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceEntry {
    /// Every IP packet.
    Any,
    /// TCP, UDP or SCTP.
    Transport {
        /// The protocol.
        protocol: TransportProtocol,
        /// Destination ports, any of which matches; empty means all.
        ports: Vec<PortRange>,
        /// Source ports, any of which matches; empty means all.
        source_ports: Vec<PortRange>,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Which of the two.
        version: IcmpVersion,
        /// The type; `None` means all.
        icmp_type: Option<u8>,
        /// The code; `None` means all. Only with a type.
        code: Option<u8>,
    },
}

impl fmt::Display for ServiceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceEntry::Any => f.write_str("any"),
            ServiceEntry::Transport { protocol, ports, source_ports } => {
                f.write_str(protocol.as_str())?;
                for (separator, ranges) in [(":", ports), (" from :", source_ports)] {
                    for (n, range) in ranges.iter().enumerate() {
                        write!(f, "{}{range}", if n == 0 { separator } else { "," })?;
                    }
                }
                Ok(())
            }
            ServiceEntry::Icmp { version, icmp_type, code } => {
                f.write_str(match version {
                    IcmpVersion::V4 => "icmp",
                    IcmpVersion::V6 => "icmpv6",
                })?;
                if let Some(icmp_type) = icmp_type {
                    write!(f, " type {icmp_type}")?;
                }
                if let Some(code) = code {
                    write!(f, " code {code}")?;
                }
                Ok(())
            }
        }
    }
}

/// The largest service, in units: see [`ServiceEntry::size`]. A policy that names a service a
/// thousand times is still told to its hosts.
pub const SERVICE_SIZE_MAX: usize = 1_000;

impl ServiceEntry {
    /// Units that the entry counts as: one, and one for each range of ports.
    pub fn size(&self) -> usize {
        match self {
            ServiceEntry::Any | ServiceEntry::Icmp { .. } => 1,
            ServiceEntry::Transport { ports, source_ports, .. } => {
                1 + ports.len() + source_ports.len()
            }
        }
    }
}

/// The body of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceSpec {
    /// The entries, any of which matches. An empty service matches nothing.
    pub entries: Vec<ServiceEntry>,
}
