//! From resources to documents.
//!
//! Documents are built as values whose fields have an order, then printed. What has its default
//! value is left out, and a reference within a project is the bare name.

use crate::emit::{Out, to_json, to_yaml};
use crate::read::ALL_PROJECTS;
use spanwire_topology::model::{
    Action, CidrBlock, DefaultActions, GroupSpec, GroupTerm, HostSpec, IcmpVersion,
    LogicalPortSpec, LogicalRouterSpec, LogicalSwitchSpec, Mac, Metadata, ObjectRef, Peer,
    PortAttachment, PortRange, ProjectScope, Requirement, Resource, Revision, RouterInterface,
    Rule, SecurityPolicySpec, Selector, ServiceEntry, ServiceMatch, ServiceSpec, Spec, Text,
};

/// A resource as a YAML document, without `---`. Reading it gives the resource again.
pub fn write_yaml(resource: &Resource) -> String {
    to_yaml(&to_document(resource, None))
}

/// The same with the revision of the object's last change: applying the document is then refused
/// if the object has changed since.
pub fn write_yaml_at(resource: &Resource, revision: Revision) -> String {
    to_yaml(&to_document(resource, Some(revision)))
}

/// A resource as a JSON document. Reading it gives the resource again.
pub fn to_json_value(resource: &Resource) -> serde_json::Value {
    to_json(&to_document(resource, None))
}

/// The same with the revision of the object's last change, as in [`write_yaml_at`].
pub fn to_json_value_at(resource: &Resource, revision: Revision) -> serde_json::Value {
    to_json(&to_document(resource, Some(revision)))
}

/// A mapping that is being written.
#[derive(Default)]
struct Map(Vec<(String, Out)>);

impl Map {
    fn with(mut self, key: &str, value: Out) -> Map {
        self.0.push((key.to_owned(), value));
        self
    }

    fn with_some(self, key: &str, value: Option<Out>) -> Map {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// A list on one line, left out if it is empty.
    fn with_line(self, key: &str, list: impl IntoIterator<Item = Out>) -> Map {
        let list: Vec<Out> = list.into_iter().collect();
        if list.is_empty() { self } else { self.with(key, Out::Line(list)) }
    }

    /// A list with a line for each entry, left out if it is empty.
    fn with_list(self, key: &str, list: impl IntoIterator<Item = Out>) -> Map {
        let list: Vec<Out> = list.into_iter().collect();
        if list.is_empty() { self } else { self.with(key, Out::List(list)) }
    }

    fn done(self) -> Out {
        Out::Map(self.0)
    }
}

fn text(value: impl ToString) -> Out {
    Out::Text(value.to_string())
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<Out> {
    values.into_iter().map(text).collect()
}

/// `Some(value)` if it differs from the default.
fn unless<T: PartialEq>(default: T, value: T, write: impl FnOnce(T) -> Out) -> Option<Out> {
    (value != default).then(|| write(value))
}

/// What writing a body needs to know of its object.
#[derive(Clone, Copy)]
struct Writer<'a> {
    project: &'a Text,
}

fn to_document(resource: &Resource, revision: Option<Revision>) -> Out {
    let Resource { metadata: Metadata { project, name, labels }, spec } = resource;
    let kind = spec.kind();
    let shown_project = (!kind.is_fleet_wide()).then(|| text(project));
    let labels =
        labels.iter().fold(Map::default(), |labels, (key, value)| labels.with(key, text(value)));
    let labels = (!labels.0.is_empty()).then(|| labels.done());
    let metadata = Map::default()
        .with_some("project", shown_project)
        .with("name", text(name))
        .with_some("labels", labels)
        .with_some("revision", revision.map(Out::Number));
    Map::default()
        .with("kind", text(kind))
        .with("metadata", metadata.done())
        .with("spec", Writer { project }.spec(spec))
        .done()
}

impl Writer<'_> {
    fn reference(self, reference: &ObjectRef) -> Out {
        let ObjectRef { project, name } = reference;
        if project == self.project { text(name) } else { text(reference) }
    }

    fn references<'r>(self, references: impl IntoIterator<Item = &'r ObjectRef>) -> Vec<Out> {
        references.into_iter().map(|reference| self.reference(reference)).collect()
    }

    fn spec(self, spec: &Spec) -> Out {
        match spec {
            Spec::Host(HostSpec { vtep }) => {
                Map::default().with_some("vtep", vtep.map(text)).done()
            }
            Spec::LogicalSwitch(LogicalSwitchSpec { subnets }) => {
                Map::default().with_line("subnets", texts(subnets)).done()
            }
            Spec::LogicalRouter(router) => self.router(router),
            Spec::LogicalPort(port) => self.port(port),
            Spec::Group(group) => self.group(group),
            Spec::Service(ServiceSpec { entries }) => {
                let entries = entries.iter().map(write_entry).collect();
                Map::default().with("entries", Out::List(entries)).done()
            }
            Spec::SecurityPolicy(policy) => self.policy(policy),
        }
    }

    fn router(self, router: &LogicalRouterSpec) -> Out {
        let LogicalRouterSpec { interfaces, advertise, uplinks, peerings } = router;
        let interfaces = interfaces.iter().map(|RouterInterface { switch, addresses }| {
            Map::default()
                .with("switch", self.reference(switch))
                .with_line("addresses", texts(addresses))
                .done()
        });
        Map::default()
            .with_list("interfaces", interfaces)
            .with_some("advertise", unless(true, *advertise, Out::Boolean))
            .with_line("uplinks", self.references(uplinks))
            .with_line("peerings", self.references(peerings))
            .done()
    }

    fn port(self, port: &LogicalPortSpec) -> Out {
        let LogicalPortSpec { switch, mac, addresses, host, attachment, port_security } = port;
        let derived = addresses.first().map(|address| Mac::derived_from(*address));
        let (interface, host_stack) = match attachment {
            PortAttachment::Derived => (None, None),
            PortAttachment::Interface(name) => (Some(text(name)), None),
            PortAttachment::HostStack => (None, Some(Out::Boolean(true))),
        };
        Map::default()
            .with("switch", self.reference(switch))
            .with_some("mac", (derived != Some(*mac)).then(|| text(mac)))
            .with_line("addresses", texts(addresses))
            .with_some("host", host.as_ref().map(text))
            .with_some("interface", interface)
            .with_some("hostStack", host_stack)
            .with_some("portSecurity", unless(true, *port_security, Out::Boolean))
            .done()
    }

    fn group(self, group: &GroupSpec) -> Out {
        let GroupSpec { terms, blocks } = group;
        let terms: Vec<&GroupTerm> = terms.iter().filter(|term| !selects_nothing(term)).collect();
        let map = if is_friendly(&terms) {
            self.friendly_terms(&terms)
        } else {
            let terms = terms.iter().map(|term| self.term(term)).collect();
            Map::default().with("terms", Out::List(terms))
        };
        map.with_list("cidrs", blocks.iter().map(write_block)).done()
    }

    /// Terms whose order is that of [`rank`], with a field for each sort.
    fn friendly_terms(self, terms: &[&GroupTerm]) -> Map {
        let mut selectors = Vec::new();
        let (mut switches, mut routers, mut ports, mut groups) = (vec![], vec![], vec![], vec![]);
        let (mut intersection, mut difference) = (None, None);
        for term in terms {
            match term {
                GroupTerm::Selector { selector, projects } => {
                    selectors.push(write_selector_term(selector, projects));
                }
                GroupTerm::Switch(switch) => switches.push(self.reference(switch)),
                GroupTerm::Router(router) => routers.push(self.reference(router)),
                GroupTerm::Port(port) => ports.push(self.reference(port)),
                GroupTerm::Group(group) => groups.push(self.reference(group)),
                GroupTerm::Intersection(groups) => {
                    intersection = Some(Out::Line(self.references(groups)));
                }
                GroupTerm::Difference { of, minus } => {
                    difference = Some(self.difference(of, minus));
                }
            }
        }
        let map = match selectors.len() {
            1 => selectors.pop().unwrap_or_default(),
            _ => Map::default().with_list("selectors", selectors.into_iter().map(Map::done)),
        };
        map.with_line("switches", switches)
            .with_line("routers", routers)
            .with_line("ports", ports)
            .with_line("groups", groups)
            .with_some("intersection", intersection)
            .with_some("difference", difference)
    }

    fn term(self, term: &GroupTerm) -> Out {
        let map = Map::default();
        match term {
            GroupTerm::Selector { selector, projects } => write_selector_term(selector, projects),
            GroupTerm::Switch(switch) => map.with("switch", self.reference(switch)),
            GroupTerm::Router(router) => map.with("router", self.reference(router)),
            GroupTerm::Port(port) => map.with("port", self.reference(port)),
            GroupTerm::Group(group) => map.with("group", self.reference(group)),
            GroupTerm::Intersection(groups) => {
                map.with("intersection", Out::Line(self.references(groups)))
            }
            GroupTerm::Difference { of, minus } => {
                map.with("difference", self.difference(of, minus))
            }
        }
        .done()
    }

    fn difference(self, of: &ObjectRef, minus: &[ObjectRef]) -> Out {
        Map::default()
            .with("of", self.reference(of))
            .with_line("minus", self.references(minus))
            .done()
    }

    fn policy(self, policy: &SecurityPolicySpec) -> Out {
        let SecurityPolicySpec { applied_to, tier, priority, defaults, rules } = policy;
        let number = |number: u32| Out::Number(number.into());
        let tier = unless(SecurityPolicySpec::TIER_DEFAULT, *tier, |tier| number(tier.into()));
        let DefaultActions { inbound, outbound } = *defaults;
        let action = |action: Option<Action>| action.map(|action| text(action.as_str()));
        let defaults =
            Map::default().with_some("in", action(inbound)).with_some("out", action(outbound));
        Map::default()
            .with("appliedTo", Out::Line(self.references(applied_to)))
            .with_some("tier", tier)
            .with_some("priority", unless(SecurityPolicySpec::PRIORITY_DEFAULT, *priority, number))
            .with_some("defaults", (!defaults.0.is_empty()).then(|| defaults.done()))
            .with_list("rules", rules.iter().map(|rule| self.rule(rule)))
            .done()
    }

    fn rule(self, rule: &Rule) -> Out {
        let Rule { name, direction, peers, services, action, log } = rule;
        let peer = |Peer { group, negate }: &Peer| match negate {
            false => self.reference(group),
            true => Map::default()
                .with("group", self.reference(group))
                .with("negate", Out::Boolean(true))
                .done(),
        };
        let service = |service: &ServiceMatch| match service {
            ServiceMatch::Service(service) => self.reference(service),
            ServiceMatch::Entry(entry) => write_entry(entry),
        };
        Map::default()
            .with_some("name", name.as_ref().map(text))
            .with("direction", text(direction.as_str()))
            .with_list("peers", peers.iter().map(peer))
            .with_list("services", services.iter().map(service))
            .with("action", text(action.as_str()))
            .with_some("log", unless(false, *log, Out::Boolean))
            .done()
    }
}

/// Where terms of a sort stand when each sort has a field of its own.
fn rank(term: &GroupTerm) -> u8 {
    match term {
        GroupTerm::Selector { .. } => 0,
        GroupTerm::Switch(_) => 1,
        GroupTerm::Router(_) => 2,
        GroupTerm::Port(_) => 3,
        GroupTerm::Group(_) => 4,
        GroupTerm::Intersection(_) => 5,
        GroupTerm::Difference { .. } => 6,
    }
}

/// True if fields of their own keep the order of the terms, and there is a field for each.
fn is_friendly(terms: &[&GroupTerm]) -> bool {
    terms.windows(2).all(|pair| {
        let (first, second) = (rank(pair[0]), rank(pair[1]));
        let single = matches!(pair[0], GroupTerm::Intersection(_) | GroupTerm::Difference { .. });
        first < second || (first == second && !single)
    })
}

/// True for a selector over no project at all. It adds nothing to the group, and documents have
/// no way to say it.
fn selects_nothing(term: &GroupTerm) -> bool {
    matches!(
        term,
        GroupTerm::Selector { projects: ProjectScope::Listed(projects), .. } if projects.is_empty()
    )
}

fn write_selector_term(selector: &Selector, projects: &ProjectScope) -> Map {
    let projects = match projects {
        ProjectScope::Own => None,
        ProjectScope::All => Some(text(ALL_PROJECTS)),
        ProjectScope::Listed(projects) => Some(Out::Line(texts(projects))),
    };
    Map::default().with("selector", write_selector(selector)).with_some("projects", projects)
}

/// In kubectl's syntax, unless a value has characters that mean something there.
fn write_selector(selector: &Selector) -> Out {
    let short = selector.to_string();
    if selector.requirements().is_empty() {
        return Out::Map(Vec::new());
    }
    if short.parse::<Selector>().as_ref() == Ok(selector) {
        return Out::Text(short);
    }
    let requirements = selector.requirements().iter().map(|requirement| {
        let (operator, values) = match requirement {
            Requirement::In(_, values) => ("In", values.as_slice()),
            Requirement::NotIn(_, values) => ("NotIn", values.as_slice()),
            Requirement::Exists(_) => ("Exists", [].as_slice()),
            Requirement::DoesNotExist(_) => ("DoesNotExist", [].as_slice()),
        };
        Map::default()
            .with("key", text(requirement.key()))
            .with("operator", text(operator))
            .with_line("values", texts(values))
            .done()
    });
    Map::default().with_list("matchExpressions", requirements).done()
}

fn write_block(block: &CidrBlock) -> Out {
    match block.except() {
        [] => text(block.cidr()),
        except => Map::default()
            .with("cidr", text(block.cidr()))
            .with_line("except", texts(except))
            .done(),
    }
}

fn write_entry(entry: &ServiceEntry) -> Out {
    let map = Map::default();
    match entry {
        ServiceEntry::Any => map.with("protocol", text("any")),
        ServiceEntry::Transport { protocol, ports, source_ports } => map
            .with("protocol", text(protocol.as_str()))
            .with_line("ports", ports.iter().map(write_range))
            .with_line("sourcePorts", source_ports.iter().map(write_range)),
        ServiceEntry::Icmp { version, icmp_type, code } => {
            let number = |number: u8| Out::Number(number.into());
            let protocol = match version {
                IcmpVersion::V4 => "icmp",
                IcmpVersion::V6 => "icmpv6",
            };
            map.with("protocol", text(protocol))
                .with_some("type", icmp_type.map(number))
                .with_some("code", code.map(number))
        }
    }
    .done()
}

fn write_range(range: &PortRange) -> Out {
    if range.first() == range.last() { Out::Number(range.first().into()) } else { text(range) }
}
