//! The address families that a packet can have.

use crate::engine::ids::GroupId;
use crate::engine::state::Engine;
use crate::model::{IcmpVersion, ServiceEntry};

/// The most ports of a group whose addresses are looked at. Beyond it, a group counts as one with
/// both families.
const PORTS_MAX: usize = 4_096;

/// A set of address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Families {
    pub(super) v4: bool,
    pub(super) v6: bool,
}

impl Families {
    pub(super) const BOTH: Families = Families { v4: true, v6: true };
    pub(super) const NONE: Families = Families { v4: false, v6: false };

    pub(super) fn union(self, other: Families) -> Families {
        Families { v4: self.v4 || other.v4, v6: self.v6 || other.v6 }
    }

    pub(super) fn intersection(self, other: Families) -> Families {
        Families { v4: self.v4 && other.v4, v6: self.v6 && other.v6 }
    }

    pub(super) fn is_empty(self) -> bool {
        self == Families::NONE
    }

    /// The families of a group's ports.
    pub(super) fn of_ports(engine: &Engine, group: GroupId) -> Families {
        let mut families = Families::NONE;
        let shards = engine.groups[group].shards.iter();
        let ports = shards.flat_map(|&(_, shard)| engine.shards[shard].members.iter());
        for (seen, port) in ports.enumerate() {
            for address in &engine.ports[port].spec().addresses {
                families.v4 |= address.is_ipv4();
                families.v6 |= address.is_ipv6();
            }
            if families == Families::BOTH || seen >= PORTS_MAX {
                return Families::BOTH;
            }
        }
        families
    }

    /// The families of a group's CIDR blocks.
    pub(super) fn of_blocks(engine: &Engine, group: GroupId) -> Families {
        let blocks = &engine.groups[group].blocks;
        Families { v4: blocks.has_ipv4(), v6: blocks.has_ipv6() }
    }

    /// The families of packets that a service entry matches.
    pub(super) fn of_entry(entry: &ServiceEntry) -> Families {
        match entry {
            ServiceEntry::Any | ServiceEntry::Transport { .. } => Families::BOTH,
            ServiceEntry::Icmp { version: IcmpVersion::V4, .. } => Families { v4: true, v6: false },
            ServiceEntry::Icmp { version: IcmpVersion::V6, .. } => Families { v4: false, v6: true },
        }
    }

    /// For messages.
    pub(super) fn name(self) -> &'static str {
        match (self.v4, self.v6) {
            (true, true) => "IPv4 and IPv6",
            (true, false) => "IPv4",
            (false, true) => "IPv6",
            (false, false) => "no",
        }
    }
}
