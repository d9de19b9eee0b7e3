//! Which port is on which switch, which router port is attached where, and which switches do
//! nothing but join routers.

use super::super::error::OvnError;
use super::super::tables::Northbound;
use super::row_error;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// A place where routers meet: a switch, or a direct link. The routers on it with their addresses
/// there, sorted by router.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// The switch; `None` for a direct link.
    pub(super) switch: Option<usize>,
    pub(super) routers: BTreeMap<usize, Vec<IpNet>>,
}

/// How the rows hang together. All numbers are indices into the tables of [`Northbound`].
#[derive(Debug)]
pub(super) struct Layout {
    /// The switch of each switch port.
    pub(super) switch_of_port: Vec<Option<usize>>,
    /// The router of each router port, if both are enabled.
    pub(super) router_of_port: Vec<Option<usize>>,
    /// The router ports attached to each switch, of enabled routers only.
    pub(super) attachments: Vec<Vec<usize>>,
    /// The switch that each router port is attached to.
    pub(super) switch_of_router_port: Vec<Option<usize>>,
    /// The segments on which at least two routers meet: switches first, then direct links.
    pub(super) segments: Vec<Segment>,
    /// True for each switch that at least two routers are attached to and no workload.
    pub(super) is_transit: Vec<bool>,
}

impl Layout {
    pub(super) fn new(nb: &Northbound) -> Result<Layout, OvnError> {
        let mut layout = Layout {
            switch_of_port: vec![None; nb.switch_ports.len()],
            router_of_port: vec![None; nb.router_ports.len()],
            attachments: vec![Vec::new(); nb.switches.len()],
            switch_of_router_port: vec![None; nb.router_ports.len()],
            segments: Vec::new(),
            is_transit: vec![false; nb.switches.len()],
        };
        layout.find_router_ports(nb)?;
        layout.find_switch_ports(nb)?;
        layout.find_segments(nb)?;
        Ok(layout)
    }

    fn find_router_ports(&mut self, nb: &Northbound) -> Result<(), OvnError> {
        let mut owner = BTreeMap::new();
        for (router, row) in nb.routers.iter().enumerate() {
            for &port in &row.ports {
                if let Some(other) = owner.insert(port, router) {
                    let problem = format!(
                        "the port {} belongs to router {} as well",
                        nb.router_ports[port].name, nb.routers[other].name
                    );
                    return Err(row_error("Logical_Router", &row.name, "ports", problem));
                }
                if row.enabled && nb.router_ports[port].enabled {
                    self.router_of_port[port] = Some(router);
                }
            }
        }
        Ok(())
    }

    fn find_switch_ports(&mut self, nb: &Northbound) -> Result<(), OvnError> {
        for (switch, row) in nb.switches.iter().enumerate() {
            let mut workloads = false;
            for &port in &row.ports {
                if let Some(other) = self.switch_of_port[port].replace(switch) {
                    let problem = format!(
                        "the port {} belongs to switch {} as well",
                        nb.switch_ports[port].name, nb.switches[other].name
                    );
                    return Err(row_error("Logical_Switch", &row.name, "ports", problem));
                }
                match nb.switch_ports[port].kind.as_str() {
                    "" => workloads = true,
                    "router" => self.attach(nb, switch, port)?,
                    _ => {}
                }
            }
            let routers: BTreeSet<_> =
                self.attachments[switch].iter().map(|port| self.router_of_port[*port]).collect();
            self.is_transit[switch] = !workloads && routers.len() >= 2;
        }
        Ok(())
    }

    fn attach(&mut self, nb: &Northbound, switch: usize, port: usize) -> Result<(), OvnError> {
        let row = &nb.switch_ports[port];
        let bad = |problem| row_error("Logical_Switch_Port", &row.name, "options", problem);
        let name = row
            .options
            .get("router-port")
            .ok_or_else(|| bad("a port of type router needs the option router-port".to_owned()))?;
        let router_port = find_router_port(nb, name)
            .ok_or_else(|| bad(format!("router-port {name:?} is no row of Logical_Router_Port")))?;
        if self.switch_of_router_port[router_port].replace(switch).is_some() {
            return Err(bad(format!("router-port {name:?} is attached to another port as well")));
        }
        if self.router_of_port[router_port].is_some() {
            self.attachments[switch].push(router_port);
        }
        Ok(())
    }

    fn find_segments(&mut self, nb: &Northbound) -> Result<(), OvnError> {
        for switch in 0..nb.switches.len() {
            let mut segment = Segment { switch: Some(switch), ..Segment::default() };
            for &port in &self.attachments[switch] {
                if let Some(router) = self.router_of_port[port] {
                    let networks = &nb.router_ports[port].networks;
                    segment.routers.entry(router).or_default().extend(networks);
                }
            }
            if segment.routers.len() >= 2 {
                self.segments.push(segment);
            }
        }
        for (port, row) in nb.router_ports.iter().enumerate() {
            let Some(name) = &row.peer else { continue };
            let peer = find_router_port(nb, name).ok_or_else(|| {
                let problem = format!("peer {name:?} is no row of Logical_Router_Port");
                row_error("Logical_Router_Port", &row.name, "peer", problem)
            })?;
            let mutual = nb.router_ports[peer].peer.as_ref() == Some(&row.name);
            // Each link is found from both ends: take it once.
            if let (Some(router), Some(other), true) =
                (self.router_of_port[port], self.router_of_port[peer], mutual && port < peer)
                && router != other
            {
                let ends = [(router, row), (other, &nb.router_ports[peer])];
                let routers = ends.map(|(router, row)| (router, row.networks.clone())).into();
                self.segments.push(Segment { switch: None, routers });
            }
        }
        Ok(())
    }
}

/// The router port of a name. The rows are sorted by name.
fn find_router_port(nb: &Northbound, name: &str) -> Option<usize> {
    nb.router_ports.binary_search_by(|row| row.name.as_str().cmp(name)).ok()
}
