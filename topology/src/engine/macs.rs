//! Which bound ports of a switch have a MAC address.
//!
//! Nothing that hosts are told depends on it: two ports with one address are a mistake, and whoever adds the
//! second is told so, without a look at all ports of the switch.

use super::ids::{PortId, SwitchId};
use super::state::Engine;
use crate::model::Mac;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

/// Of an address that more ports of a switch have, so many are looked at.
const TWINS_MAX: usize = 1_000;

/// Bound ports, by switch and MAC address. What these are, the ports themselves know.
#[derive(Debug, Default)]
pub(super) struct Macs(HashTable<Entry>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// A port is entered and left while it changes, so what it has cannot be asked of it.
    hash: u32,
    port: PortId,
}

impl Macs {
    pub(super) fn reserve(&mut self, ports: usize) {
        self.0.reserve(ports, |entry| spread(entry.hash));
    }

    pub(super) fn insert(&mut self, switch: SwitchId, mac: Mac, port: PortId) {
        let hash = hash_of(switch, mac);
        self.0.insert_unique(spread(hash), Entry { hash, port }, |entry| spread(entry.hash));
    }

    pub(super) fn remove(&mut self, switch: SwitchId, mac: Mac, port: PortId) {
        let hash = hash_of(switch, mac);
        if let Ok(entry) = self.0.find_entry(spread(hash), |entry| entry.port == port) {
            entry.remove();
        }
    }
}

fn hash_of(switch: SwitchId, mac: Mac) -> u32 {
    // The lower half is as good as any.
    FixedState::default().hash_one((switch, mac)) as u32
}

/// A table looks at the uppermost bits as well.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Engine {
    /// The bound ports of a switch that have a MAC address, in no order that matters.
    pub(super) fn ports_with_mac(&self, switch: SwitchId, mac: Mac) -> Vec<PortId> {
        let hash = hash_of(switch, mac);
        let has_it = |port: &PortId| {
            let port = &self.ports[*port];
            port.switch == switch && port.spec().mac == mac
        };
        let entries = self.macs.0.iter_hash(spread(hash)).filter(|entry| entry.hash == hash);
        entries.map(|entry| entry.port).filter(has_it).take(TWINS_MAX).collect()
    }
}
