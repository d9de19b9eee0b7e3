//! `Port_Group` and `Address_Set` to groups, and the groups that rules need besides.

use super::super::error::OvnError;
use super::super::expr::parse_block;
use super::ports::Ports;
use super::{Context, row_error};
use crate::names::short_hash;
use crate::output::Output;
use ipnet::IpNet;
use spanwire_topology::model::{
    CidrBlock, GroupSpec, GroupTerm, Kind, Labels, ObjectRef, Spec, Text,
};
use std::collections::{BTreeMap, BTreeSet};

/// A port group that became a group.
#[derive(Debug)]
pub(super) struct PortGroup {
    pub(super) object: ObjectRef,
    /// Its ports, by their index in `Northbound::switch_ports`.
    pub(super) ports: BTreeSet<usize>,
}

/// An address set that became a group.
#[derive(Debug)]
pub(super) struct AddressSet {
    pub(super) object: ObjectRef,
    pub(super) blocks: Vec<IpNet>,
}

/// What `$name` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetRef {
    /// An address set, by index.
    Set(usize),
    /// The addresses of one family of a port group's ports, by index.
    PortGroup {
        /// The index.
        group: usize,
        /// True for IPv4.
        is_v4: bool,
    },
}

/// The groups of an import.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) port_groups: Vec<PortGroup>,
    pub(super) sets: Vec<AddressSet>,
    port_group_by_name: BTreeMap<String, usize>,
    set_by_name: BTreeMap<String, usize>,
    /// Groups that rules need besides, by project and content.
    besides: BTreeMap<(Text, String), ObjectRef>,
    /// The same, in the order in which they were made: one refers only to earlier ones.
    made: Vec<(ObjectRef, GroupSpec)>,
}

/// Makes a group of every port group and address set.
pub(super) fn translate(context: &mut Context<'_>, ports: &Ports) -> Result<Groups, OvnError> {
    let mut groups = Groups::default();
    for (index, row) in context.nb.port_groups.iter().enumerate() {
        let members: BTreeSet<usize> =
            row.ports.iter().copied().filter(|port| ports.contains_key(port)).collect();
        let projects = members.iter().map(|port| ports[port].object.project.clone());
        let project = context.project(&row.external_ids, projects);
        let name = context.out.take_name(Kind::Group, &project, &row.name, "Port_Group");
        let terms = members.iter().map(|port| GroupTerm::Port(ports[port].object.clone()));
        let spec = Spec::Group(GroupSpec { terms: terms.collect(), blocks: Vec::new() });
        context.out.resource(&project, &name, Labels::new(), spec);
        let object = ObjectRef { project, name };
        groups.port_groups.push(PortGroup { object, ports: members });
        groups.port_group_by_name.insert(row.name.clone(), index);
    }
    for (index, row) in context.nb.address_sets.iter().enumerate() {
        let mut nets = BTreeSet::new();
        for text in &row.addresses {
            match parse_block(text) {
                Some(net) => {
                    nets.insert(net);
                }
                None if is_ethernet(text) => {
                    let why = "groups have IP addresses only";
                    context.out.unsupported("Address_Set", &row.name, text.as_str(), why);
                }
                None => {
                    let problem = format!("{text:?} is no address or block");
                    return Err(row_error("Address_Set", &row.name, "addresses", problem));
                }
            }
        }
        let project = context.project(&row.external_ids, std::iter::empty());
        let name = context.out.take_name(Kind::Group, &project, &row.name, "Address_Set");
        let blocks: Vec<IpNet> = nets.into_iter().collect();
        let spec = Spec::Group(GroupSpec { terms: Vec::new(), blocks: whole_blocks(&blocks) });
        context.out.resource(&project, &name, Labels::new(), spec);
        groups.sets.push(AddressSet { object: ObjectRef { project, name }, blocks });
        groups.set_by_name.insert(row.name.clone(), index);
    }
    Ok(groups)
}

fn is_ethernet(text: &str) -> bool {
    let text = text.split('/').next().unwrap_or_default();
    let hexadecimal = |part: &str| {
        (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    text.split(':').count() == 6 && text.split(':').all(hexadecimal)
}

/// Blocks without exceptions.
pub(super) fn whole_blocks(nets: &[IpNet]) -> Vec<CidrBlock> {
    // A block without exceptions cannot have one that lies outside.
    nets.iter().filter_map(|net| CidrBlock::new(*net, Vec::new()).ok()).collect()
}

impl Groups {
    /// The port group of a name.
    pub(super) fn port_group(&self, name: &str) -> Option<usize> {
        self.port_group_by_name.get(name).copied()
    }

    /// What `$name` stands for: an address set, or one that ovn-northd keeps for a port group.
    pub(super) fn set(&self, name: &str) -> Option<SetRef> {
        if let Some(set) = self.set_by_name.get(name) {
            return Some(SetRef::Set(*set));
        }
        let (stem, is_v4) = match name.strip_suffix("_ip4") {
            Some(stem) => (stem, true),
            None => (name.strip_suffix("_ip6")?, false),
        };
        self.port_group(stem).map(|group| SetRef::PortGroup { group, is_v4 })
    }

    /// A group with this content in the project, under a name like `wanted` unless it is there
    /// already. It becomes a resource in [`Groups::finish`].
    pub(super) fn besides(
        &mut self,
        out: &mut Output,
        project: &Text,
        wanted: &str,
        spec: GroupSpec,
    ) -> ObjectRef {
        let content = format!("{spec:?}");
        let besides = self.besides.entry((project.clone(), content)).or_insert_with(|| {
            let name = out.names.take(Kind::Group, project, wanted);
            let object = ObjectRef { project: project.clone(), name };
            self.made.push((object.clone(), spec));
            object
        });
        besides.clone()
    }

    /// Makes resources of the groups besides that something refers to. Some were made for an ACL
    /// that turned out to have no counterpart.
    pub(super) fn finish(self, out: &mut Output, mut referred: BTreeSet<ObjectRef>) {
        for (object, spec) in self.made.into_iter().rev() {
            if referred.contains(&object) {
                referred.extend(spec.group_refs().cloned());
                out.resource(&object.project, &object.name, Labels::new(), Spec::Group(spec));
            }
        }
    }

    /// The group of some blocks.
    pub(super) fn blocks(&mut self, out: &mut Output, project: &Text, nets: &[IpNet]) -> ObjectRef {
        let text: Vec<String> = nets.iter().map(ToString::to_string).collect();
        let wanted = match nets {
            [IpNet::V4(net)] if net.prefix_len() == 0 => "any-ipv4".to_owned(),
            [IpNet::V6(net)] if net.prefix_len() == 0 => "any-ipv6".to_owned(),
            [net] => format!("net-{}", net.to_string().replace('/', "-")),
            _ => format!("nets-{}", short_hash(&text.join(" "))),
        };
        let spec = GroupSpec { terms: Vec::new(), blocks: whole_blocks(nets) };
        self.besides(out, project, &wanted, spec)
    }

    /// The group of some terms, under a name that starts with `prefix`.
    pub(super) fn terms(
        &mut self,
        out: &mut Output,
        project: &Text,
        prefix: &str,
        terms: Vec<GroupTerm>,
    ) -> ObjectRef {
        let wanted = format!("{prefix}-{}", short_hash(&format!("{terms:?}")));
        self.besides(out, project, &wanted, GroupSpec { terms, blocks: Vec::new() })
    }
}
