//! Tables of resources: one a kind, each with the columns that tell its objects apart.

use super::table::{Table, abbreviate};
use crate::verbs::get::Stored;
use spanwire_adminproto::wire::HostAgentStatus;
use spanwire_topology::model::{
    Action, GroupSpec, GroupTerm, Kind, LogicalPortSpec, LogicalRouterSpec, ObjectRef,
    PortAttachment, ProjectScope, SecurityPolicySpec, Spec, derived_device_name,
};
use std::collections::BTreeMap;

/// More entries of a list than these are counted and not shown.
const SHOWN_MAX: usize = 2;
/// The same in wide tables.
const SHOWN_WIDE_MAX: usize = 8;

/// What a table shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableOptions {
    /// More columns.
    pub(crate) wide: bool,
    /// A column with the project.
    pub(crate) projects: bool,
    /// A line with the kind above each table.
    pub(crate) titles: bool,
}

/// The objects, one table a kind, in the order of the kinds.
pub(crate) fn tables(
    stored: &[Stored],
    hosts: &BTreeMap<String, HostAgentStatus>,
    options: &TableOptions,
) -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let of_kind: Vec<&Stored> =
            stored.iter().filter(|stored| stored.resource.spec.kind() == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        if options.titles {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{kind}\n"));
        }
        text.push_str(&table(kind, &of_kind, hosts, options).to_text());
    }
    if text.is_empty() { "nothing found\n".to_owned() } else { text }
}

fn table(
    kind: Kind,
    stored: &[&Stored],
    hosts: &BTreeMap<String, HostAgentStatus>,
    options: &TableOptions,
) -> Table {
    let projects = options.projects && !kind.is_fleet_wide();
    let mut headings = if projects { vec!["PROJECT", "NAME"] } else { vec!["NAME"] };
    headings.extend(headings_of(kind, options.wide));
    if options.wide {
        headings.extend(["LABELS", "REVISION"]);
    }
    let mut table = Table::new(&headings);
    for stored in stored {
        let metadata = &stored.resource.metadata;
        let mut row = Vec::new();
        if projects {
            row.push(metadata.project.to_string());
        }
        row.push(metadata.name.to_string());
        row.extend(cells(stored, hosts.get(&*metadata.name), options.wide));
        if options.wide {
            let labels: Vec<String> =
                metadata.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            row.push(abbreviate(&labels, SHOWN_WIDE_MAX));
            row.push(stored.status.revision.to_string());
        }
        table.row(row);
    }
    table
}

const HOST_HEADINGS: [&str; 7] =
    ["VTEP", "AGENT", "SINCE", "VERSION", "REALIZED", "LAG", "REJECTED"];
const HOST_HEADINGS_WIDE: [&str; 13] = [
    "VTEP", "AGENT", "SINCE", "VERSION", "REALIZED", "LAG", "REJECTED", "DATAPATH", "REPLICA",
    "SENT", "BATCHES", "DRIFT", "REPAIRED",
];

fn headings_of(kind: Kind, wide: bool) -> &'static [&'static str] {
    match (kind, wide) {
        (Kind::Host, false) => &HOST_HEADINGS,
        (Kind::Host, true) => &HOST_HEADINGS_WIDE,
        (Kind::LogicalSwitch, _) => &["SUBNETS"],
        (Kind::LogicalRouter, _) => &["SWITCHES", "UPLINKS", "PEERINGS", "ADVERTISES"],
        (Kind::LogicalPort, false) => &["SWITCH", "ADDRESSES", "HOST"],
        (Kind::LogicalPort, true) => &["SWITCH", "ADDRESSES", "HOST", "MAC", "DEVICE", "SECURITY"],
        (Kind::Group, _) => &["MEMBERS", "BLOCKS"],
        (Kind::Service, _) => &["ENTRIES"],
        (Kind::SecurityPolicy, _) => &["TIER", "PRIORITY", "APPLIED TO", "RULES", "DEFAULTS"],
    }
}

fn cells(stored: &Stored, agent: Option<&HostAgentStatus>, wide: bool) -> Vec<String> {
    let shown = if wide { SHOWN_WIDE_MAX } else { SHOWN_MAX };
    let own = &stored.resource.metadata.project;
    match &*stored.resource.spec {
        Spec::Host(host) => {
            let vtep = host.vtep.map_or_else(|| "-".to_owned(), |vtep| vtep.to_string());
            host_cells(vtep, agent, wide)
        }
        Spec::LogicalSwitch(switch) => vec![abbreviate(&switch.subnets, shown)],
        Spec::LogicalRouter(router) => router_cells(router, own, shown),
        Spec::LogicalPort(port) => port_cells(port, stored, shown, wide),
        Spec::Group(group) => group_cells(group, own, shown),
        Spec::Service(service) => vec![abbreviate(&service.entries, shown)],
        Spec::SecurityPolicy(policy) => policy_cells(policy, own, shown),
    }
}

/// A reference as its documents write it: without the project where it is the object's own.
fn reference(reference: &ObjectRef, own: &str) -> String {
    if *reference.project == *own { reference.name.to_string() } else { reference.to_string() }
}

fn references(list: &[ObjectRef], own: &str, shown: usize) -> String {
    abbreviate(&list.iter().map(|one| reference(one, own)).collect::<Vec<_>>(), shown)
}

fn host_cells(vtep: String, agent: Option<&HostAgentStatus>, wide: bool) -> Vec<String> {
    let dash = || "-".to_owned();
    let Some(agent) = agent else {
        let headings = if wide { HOST_HEADINGS_WIDE.len() } else { HOST_HEADINGS.len() };
        let mut row = vec![vtep, "unknown".to_owned()];
        row.resize_with(headings, dash);
        return row;
    };
    let or_dash = |text: &str| if text.is_empty() { dash() } else { text.to_owned() };
    let (state, since) = match agent.connected {
        true => ("connected", super::render::since(agent.connected_since_ms)),
        false => ("absent", dash()),
    };
    let mut row = vec![
        vtep,
        state.to_owned(),
        since,
        or_dash(&agent.agent_version),
        agent.realized_revision.to_string(),
        // The revisions between what is wanted of it and what it has.
        agent.view_revision.saturating_sub(agent.realized_revision).to_string(),
        agent.rejections.len().to_string(),
    ];
    if wide {
        let replica = (agent.replica != 0).then(|| agent.replica.to_string());
        row.extend([
            or_dash(&agent.datapath),
            replica.unwrap_or_else(dash),
            super::render::bytes(agent.bytes_sent),
            agent.batches_sent.to_string(),
            agent.drift_repaired.to_string(),
            agent.check_repaired.to_string(),
        ]);
    }
    row
}

fn router_cells(router: &LogicalRouterSpec, own: &str, shown: usize) -> Vec<String> {
    let switches: Vec<String> =
        router.interfaces.iter().map(|interface| reference(&interface.switch, own)).collect();
    vec![
        abbreviate(&switches, shown),
        references(&router.uplinks, own, shown),
        references(&router.peerings, own, shown),
        if router.advertise { "yes" } else { "no" }.to_owned(),
    ]
}

fn port_cells(port: &LogicalPortSpec, stored: &Stored, shown: usize, wide: bool) -> Vec<String> {
    let metadata = &stored.resource.metadata;
    let mut row = vec![
        reference(&port.switch, &metadata.project),
        abbreviate(&port.addresses, shown),
        port.host.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
    ];
    if wide {
        row.push(port.mac.to_string());
        row.push(match &port.attachment {
            PortAttachment::Derived => derived_device_name(&metadata.project, &metadata.name),
            PortAttachment::Interface(device) => device.to_string(),
            PortAttachment::HostStack => "host stack".to_owned(),
        });
        row.push(if port.port_security { "on" } else { "off" }.to_owned());
    }
    row
}

fn group_cells(group: &GroupSpec, own: &str, shown: usize) -> Vec<String> {
    let terms: Vec<String> = group.terms.iter().map(|term| term_text(term, own)).collect();
    let blocks: Vec<String> = group
        .blocks
        .iter()
        .map(|block| match block.except().len() {
            0 => block.cidr().to_string(),
            n => format!("{} except {n}", block.cidr()),
        })
        .collect();
    // Members are long words: one of them and a number, or the table is too wide.
    vec![abbreviate(&terms, shown.div_ceil(2)), abbreviate(&blocks, shown)]
}

fn term_text(term: &GroupTerm, own: &str) -> String {
    match term {
        GroupTerm::Selector { selector, projects } => {
            let selector = match selector.to_string() {
                text if text.is_empty() => "all ports".to_owned(),
                text => text,
            };
            match projects {
                ProjectScope::Own => selector,
                ProjectScope::All => format!("{selector} (all projects)"),
                ProjectScope::Listed(projects) => {
                    format!("{selector} ({} projects)", projects.len())
                }
            }
        }
        GroupTerm::Switch(switch) => format!("switch {}", reference(switch, own)),
        GroupTerm::Router(router) => format!("router {}", reference(router, own)),
        GroupTerm::Port(port) => format!("port {}", reference(port, own)),
        GroupTerm::Group(group) => format!("group {}", reference(group, own)),
        GroupTerm::Intersection(groups) => {
            groups.iter().map(|group| reference(group, own)).collect::<Vec<_>>().join(" & ")
        }
        GroupTerm::Difference { of, minus } => {
            let minus: Vec<String> = minus.iter().map(|group| reference(group, own)).collect();
            format!("{} minus {}", reference(of, own), minus.join(" "))
        }
    }
}

fn policy_cells(policy: &SecurityPolicySpec, own: &str, shown: usize) -> Vec<String> {
    let default = |action: Option<Action>| action.map_or("-", Action::as_str);
    let (inbound, outbound) = (policy.defaults.inbound, policy.defaults.outbound);
    vec![
        policy.tier.to_string(),
        policy.priority.to_string(),
        references(&policy.applied_to, own, shown),
        policy.rules.len().to_string(),
        match (inbound, outbound) {
            (None, None) => "-".to_owned(),
            _ => format!("in {}, out {}", default(inbound), default(outbound)),
        },
    ]
}
