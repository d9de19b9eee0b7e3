//! The ends of a packet: from how they are named to ports and addresses.

use super::answer::PacketEnd;
use crate::engine::api::{Endpoint, QueryError};
use crate::engine::ids::PortId;
use crate::engine::state::Engine;
use crate::model::{Kind, ObjectKey};
use std::net::IpAddr;

/// One end of the packet, resolved.
pub(super) struct End {
    pub(super) port: Option<PortId>,
    pub(super) address: IpAddr,
}

impl Engine {
    /// The endpoint that an address stands for: the port that has it, or an address outside if
    /// none has.
    pub(in crate::engine) fn find_endpoint(&self, address: IpAddr) -> Result<Endpoint, QueryError> {
        let mut ports = self.find_address(address);
        match ports.len() {
            0 => Ok(Endpoint::Outside(address)),
            1 => Ok(Endpoint::Port(ports.swap_remove(0), Some(address))),
            _ => Err(QueryError::Ambiguous { address, ports }),
        }
    }

    pub(super) fn resolve_ends(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
    ) -> Result<(End, End), QueryError> {
        let one = self.candidates(source)?;
        let two = self.candidates(destination)?;
        let pair = one
            .1
            .iter()
            .find_map(|&a| two.1.iter().find(|b| a.is_ipv4() == b.is_ipv4()).map(|&b| (a, b)));
        match pair {
            Some((a, b)) => Ok((End { port: one.0, address: a }, End { port: two.0, address: b })),
            None => Err(QueryError::Addresses(
                "the two ends have no address family in common: name addresses of one family"
                    .to_owned(),
            )),
        }
    }

    fn candidates(&self, end: &Endpoint) -> Result<(Option<PortId>, Vec<IpAddr>), QueryError> {
        match end {
            Endpoint::Outside(address) => Ok((None, vec![*address])),
            Endpoint::Port(key, address) => {
                let port = self.find_port(key)?;
                let own = &self.ports[port].spec().addresses;
                match address {
                    Some(address) if !own.contains(address) => {
                        Err(QueryError::Addresses(format!("{address} is not an address of {key}")))
                    }
                    Some(address) => Ok((Some(port), vec![*address])),
                    None => Ok((Some(port), own.to_vec())),
                }
            }
        }
    }

    fn find_port(&self, key: &ObjectKey) -> Result<PortId, QueryError> {
        self.slot_of(key)
            .filter(|_| key.kind == Kind::LogicalPort)
            .map(PortId)
            .ok_or_else(|| QueryError::NotFound(key.clone()))
    }

    /// Why nothing can be delivered, whatever the rules say.
    pub(super) fn obstacle(&self, source: &End, destination: &End) -> Option<String> {
        if let Some(port) = self.unbound(source, destination) {
            return Some(format!("{} is not bound to a host", self.port_key(port)));
        }
        let (from, to) = (self.domain_of(source.port?), self.domain_of(destination.port?));
        if self.domains[from].reaches.binary_search(&to).is_ok() {
            return None;
        }
        let (from, to) = (self.domains[from].vni, self.domains[to].vni);
        Some(format!("no path leads from domain {from} to domain {to}"))
    }

    /// The first end that is no host's.
    pub(super) fn unbound(&self, source: &End, destination: &End) -> Option<PortId> {
        [source.port, destination.port]
            .into_iter()
            .flatten()
            .find(|&port| self.ports[port].host.is_none())
    }

    pub(super) fn port_key(&self, port: PortId) -> ObjectKey {
        self.ports[port].object.resource.key()
    }

    pub(super) fn packet_end(&self, end: &End) -> PacketEnd {
        PacketEnd {
            address: end.address,
            port: end.port.map(|port| self.port_key(port)),
            host: end
                .port
                .and_then(|port| self.ports[port].host)
                .and_then(|host| self.host_name(host))
                .map(Into::into),
            domain: end.port.map(|port| self.domains[self.domain_of(port)].vni),
        }
    }
}
