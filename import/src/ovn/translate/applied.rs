//! To which ports a conjunct applies.

use super::super::expr::{AddressTerm, PortTerm};
use super::groups::{Groups, SetRef};
use super::ports::{Port, Ports};
use super::services::Family;
use super::{Context, Switches};
use ipnet::IpNet;
use spanwire_topology::model::{GroupSpec, GroupTerm, ObjectRef, Text};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The row that an ACL belongs to, and so the switches whose packets it judges.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Indices into `Northbound::switches`.
    pub(super) switches: BTreeSet<usize>,
    /// All workload ports on them, by their index in `Northbound::switch_ports`.
    pub(super) ports: BTreeSet<usize>,
}

impl Scope {
    pub(super) fn new(switches: BTreeSet<usize>, ports: &Ports) -> Scope {
        let on = ports.iter().filter(|(_, port)| switches.contains(&port.switch));
        Scope { ports: on.map(|(index, _)| *index).collect(), switches }
    }
}

/// The groups that a rule is applied to.
#[derive(Debug, PartialEq)]
pub(super) enum Applied {
    /// These.
    To(Vec<ObjectRef>),
    /// No port can meet the conditions; why.
    Nowhere(&'static str),
}

/// Everything that turning conditions into groups needs.
pub(super) struct Builder<'a, 'b> {
    pub(super) context: &'a mut Context<'b>,
    pub(super) switches: &'a Switches,
    pub(super) ports: &'a Ports,
    pub(super) groups: &'a mut Groups,
}

/// Whether the addresses of one port meet conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meets {
    All,
    None,
    Some,
    /// It has no address of the family.
    NoAddress,
}

impl Builder<'_, '_> {
    /// The groups of the ports that a rule is applied to: those in the scope that are all of
    /// `terms`, and whose own addresses meet `own`. `sends` is true for rules about packets from
    /// the ports.
    pub(super) fn applied(
        &mut self,
        scope: &Scope,
        terms: &[Arc<PortTerm>],
        own: &[Arc<AddressTerm>],
        family: Family,
        sends: bool,
    ) -> Result<Applied, String> {
        let (ports, whole) = self.ports_of_terms(scope, terms)?;
        let kept = self.with_addresses(&ports, own, family, sends)?;
        if kept.len() == ports.len()
            && let Some(whole) = whole
        {
            return Ok(Applied::To(whole));
        }
        if kept.is_empty() {
            return Ok(Applied::Nowhere("no port meets its conditions"));
        }
        if kept.len() == ports.len() && terms.is_empty() {
            return Ok(Applied::To(vec![self.switch_group(scope)]));
        }
        Ok(Applied::To(vec![self.ports_group(&kept)]))
    }

    /// The ports that are all of `terms`, and the port groups they are, if they are whole groups.
    #[allow(clippy::type_complexity)] // Two results of one search.
    fn ports_of_terms(
        &self,
        scope: &Scope,
        terms: &[Arc<PortTerm>],
    ) -> Result<(BTreeSet<usize>, Option<Vec<ObjectRef>>), String> {
        let mut ports = scope.ports.clone();
        for term in terms {
            let mut named = BTreeSet::new();
            for name in &term.names {
                let row = self.context.nb.switch_ports.binary_search_by(|r| r.name.cmp(name));
                let row = row.map_err(|_| format!("there is no port {name:?}"))?;
                if !self.ports.contains_key(&row) {
                    return Err(format!("port {name:?} is no workload that was carried over"));
                }
                named.insert(row);
            }
            for group in &term.groups {
                let group = self.groups.port_group(group);
                let group =
                    group.ok_or_else(|| format!("there is no port group {:?}", term.groups))?;
                named.extend(&self.groups.port_groups[group].ports);
            }
            ports = &ports & &named;
        }
        let whole = match terms {
            [term] if term.names.is_empty() => {
                let groups = term.groups.iter().filter_map(|name| self.groups.port_group(name));
                let groups: Vec<usize> = groups.collect();
                let inside =
                    |group: &usize| self.groups.port_groups[*group].ports.is_subset(&scope.ports);
                let all_inside = groups.iter().all(inside);
                let objects = groups.iter().map(|g| self.groups.port_groups[*g].object.clone());
                all_inside.then(|| objects.collect())
            }
            _ => None,
        };
        Ok((ports, whole))
    }

    /// Those ports whose addresses all meet the conditions. A port of which some do and some do
    /// not cannot be in a group or out of it.
    pub(super) fn with_addresses(
        &self,
        ports: &BTreeSet<usize>,
        terms: &[Arc<AddressTerm>],
        family: Family,
        sends: bool,
    ) -> Result<BTreeSet<usize>, String> {
        if terms.is_empty() {
            return Ok(ports.clone());
        }
        let mut kept = BTreeSet::new();
        for &index in ports {
            let port = &self.ports[&index];
            if sends && !port.port_security {
                return Err(format!(
                    "port {} may send from any address, as its port security is off",
                    port.object
                ));
            }
            match self.meets(index, port, terms, family)? {
                Meets::All | Meets::NoAddress => {
                    kept.insert(index);
                }
                Meets::None => {}
                Meets::Some => {
                    return Err(format!(
                        "some addresses of port {} match and some do not",
                        port.object
                    ));
                }
            }
        }
        Ok(kept)
    }

    pub(super) fn meets(
        &self,
        index: usize,
        port: &Port,
        terms: &[Arc<AddressTerm>],
        family: Family,
    ) -> Result<Meets, String> {
        let of_family = |address: &&IpAddr| match family {
            Family::Both => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let (mut yes, mut no) = (0, 0);
        for address in port.addresses.iter().filter(of_family) {
            let mut all = true;
            for term in terms {
                all &= self.address_meets(index, *address, term)?;
            }
            match all {
                true => yes += 1,
                false => no += 1,
            }
        }
        Ok(match (yes, no) {
            (0, 0) => Meets::NoAddress,
            (_, 0) => Meets::All,
            (0, _) => Meets::None,
            _ => Meets::Some,
        })
    }

    /// Whether the address of a port meets one condition. The addresses of a port group are those
    /// of its ports: an equal address of another port, in another routing domain, is another.
    fn address_meets(
        &self,
        index: usize,
        address: IpAddr,
        term: &AddressTerm,
    ) -> Result<bool, String> {
        let mut found = term.blocks.iter().any(|net| net.contains(&address));
        for name in &term.sets {
            found |= match self.set(name)? {
                SetRef::Set(set) => {
                    self.groups.sets[set].blocks.iter().any(|net| net.contains(&address))
                }
                SetRef::PortGroup { group, is_v4 } => {
                    is_v4 == address.is_ipv4()
                        && self.groups.port_groups[group].ports.contains(&index)
                }
            };
        }
        Ok(found != term.negated)
    }

    /// What `$name` stands for.
    pub(super) fn set(&self, name: &str) -> Result<SetRef, String> {
        self.groups.set(name).ok_or_else(|| format!("there is no address set {name:?}"))
    }

    /// The group of all ports of the switches of a scope.
    fn switch_group(&mut self, scope: &Scope) -> ObjectRef {
        let objects = scope.switches.iter().filter_map(|switch| self.switches[*switch].clone());
        let objects: Vec<ObjectRef> = objects.collect();
        let project = self.common_project(objects.iter().map(|object| &object.project));
        let wanted = match objects.as_slice() {
            [only] => Some(format!("switch-{}", only.name)),
            _ => None,
        };
        let terms: Vec<GroupTerm> = objects.into_iter().map(GroupTerm::Switch).collect();
        let out = &mut self.context.out;
        match wanted {
            Some(name) => {
                let spec = GroupSpec { terms, blocks: Vec::new() };
                self.groups.besides(out, &project, &name, spec)
            }
            None => self.groups.terms(out, &project, "switches", terms),
        }
    }

    /// The group of some ports.
    pub(super) fn ports_group(&mut self, ports: &BTreeSet<usize>) -> ObjectRef {
        let projects = ports.iter().map(|port| &self.ports[port].object.project);
        let project = self.common_project(projects);
        let terms = ports.iter().map(|port| GroupTerm::Port(self.ports[port].object.clone()));
        let terms: Vec<GroupTerm> = terms.collect();
        self.groups.terms(&mut self.context.out, &project, "ports", terms)
    }

    /// The project that all agree on, or the default.
    pub(super) fn common_project<'t>(&self, mut projects: impl Iterator<Item = &'t Text>) -> Text {
        match projects.next() {
            Some(first) if projects.all(|project| project == first) => first.clone(),
            _ => self.context.default_project(),
        }
    }

    /// The group of some blocks. It is in the default project: blocks belong to no tenant, and
    /// hosts need them once.
    pub(super) fn blocks_group(&mut self, nets: &[IpNet]) -> ObjectRef {
        let project = self.context.default_project();
        self.groups.blocks(&mut self.context.out, &project, nets)
    }
}
