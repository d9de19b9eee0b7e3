//! Resources: what people apply.

use super::address::Mac;
use super::group::GroupSpec;
use super::name::Labels;
use super::object::{Kind, ObjectKey, ObjectRef, Text};
use super::policy::SecurityPolicySpec;
use super::service::ServiceSpec;
use ipnet::IpNet;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

/// The most addresses one port may have.
pub const PORT_ADDRESSES_MAX: usize = 64;

/// What every object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The project (tenant).
    pub project: Text,
    /// The name, unique among the objects of the kind in the project.
    pub name: Text,
    /// Labels. Shared: thousands of ports have equal ones.
    pub labels: Arc<Labels>,
}

/// The body of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostSpec {
    /// The address of the host's tunnel endpoint. A host without one enforces policies but
    /// carries no overlay traffic.
    pub vtep: Option<IpAddr>,
}

/// The body of a logical switch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogicalSwitchSpec {
    /// The subnets of the segment, without host bits.
    pub subnets: Vec<IpNet>,
}

/// A router's interface on a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterInterface {
    /// The switch.
    pub switch: ObjectRef,
    /// The router's own addresses there: the gateways that workloads use.
    pub addresses: Vec<IpAddr>,
}

/// The body of a logical router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalRouterSpec {
    /// Interfaces on switches. Switches that share a router reach each other.
    pub interfaces: Vec<RouterInterface>,
    /// Whether the router advertises its connected subnets to its uplinks. If it does, both share
    /// all their routes and so one routing domain. If it does not, its ports can send through the
    /// uplinks, and nothing can be sent to them from there.
    pub advertise: bool,
    /// Routers this one has its default routes to. Transitive: what they reach, it reaches.
    pub uplinks: Vec<ObjectRef>,
    /// Routers whose domain and this one's see each other, and nothing beyond. It is enough that
    /// one side names the other.
    pub peerings: Vec<ObjectRef>,
}

impl Default for LogicalRouterSpec {
    /// A router that is connected to nothing, and would advertise.
    fn default() -> LogicalRouterSpec {
        LogicalRouterSpec {
            interfaces: Vec::new(),
            advertise: true,
            uplinks: Vec::new(),
            peerings: Vec::new(),
        }
    }
}

/// How the workload behind a port is attached to its host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PortAttachment {
    /// By a device whose name the agent derives from the port.
    #[default]
    Derived,
    /// By the device of this name on the host (1 to 15 bytes, as the kernel has it).
    Interface(Text),
    /// The workload is the host itself: the policies guard the host's own network stack.
    HostStack,
}

/// The name of the device behind a port whose attachment is [`PortAttachment::Derived`]: `spw` and
/// 12 hexadecimal digits mixed from project and name, so that whoever plugs a workload in and the
/// agent agree without asking each other. 15 bytes: the most that the kernel takes.
pub fn derived_device_name(project: &str, name: &str) -> String {
    // FNV-1a, 64 bits, of "project/name"; the upper 48 bits are the better mixed ones.
    let hash = project
        .bytes()
        .chain(std::iter::once(b'/'))
        .chain(name.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("spw{:012x}", hash >> 16)
}

/// The body of a logical port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalPortSpec {
    /// The switch the port is on.
    pub switch: ObjectRef,
    /// The MAC address of the workload.
    pub mac: Mac,
    /// The addresses of the workload, at most [`PORT_ADDRESSES_MAX`].
    pub addresses: SmallVec<[IpAddr; 1]>,
    /// The name of the host the port is bound to, if it is.
    pub host: Option<Text>,
    /// How the workload is attached.
    pub attachment: PortAttachment,
    /// Whether packets from the workload must carry the port's own addresses (anti-spoofing).
    pub port_security: bool,
}

/// The body of a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// A host.
    Host(HostSpec),
    /// A logical switch.
    LogicalSwitch(LogicalSwitchSpec),
    /// A logical router.
    LogicalRouter(LogicalRouterSpec),
    /// A logical port.
    LogicalPort(LogicalPortSpec),
    /// A group.
    Group(GroupSpec),
    /// A service.
    Service(ServiceSpec),
    /// A security policy.
    SecurityPolicy(SecurityPolicySpec),
}

impl Spec {
    /// The kind of the resource.
    pub fn kind(&self) -> Kind {
        match self {
            Spec::Host(_) => Kind::Host,
            Spec::LogicalSwitch(_) => Kind::LogicalSwitch,
            Spec::LogicalRouter(_) => Kind::LogicalRouter,
            Spec::LogicalPort(_) => Kind::LogicalPort,
            Spec::Group(_) => Kind::Group,
            Spec::Service(_) => Kind::Service,
            Spec::SecurityPolicy(_) => Kind::SecurityPolicy,
        }
    }

    /// The objects that the body refers to, which must exist. May name one more than once.
    pub fn references(&self) -> Vec<ObjectKey> {
        let mut keys = Vec::new();
        self.visit_references(&mut |kind, project, name| {
            keys.push(ObjectKey::new(kind, project, name));
        });
        keys
    }

    /// Shows `visit` the kind, project and name of each object that [`Spec::references`] lists,
    /// without a copy of any.
    pub fn visit_references(&self, visit: &mut dyn FnMut(Kind, &str, &str)) {
        use super::{GroupTerm, SYSTEM_PROJECT, ServiceMatch};
        let mut each =
            |kind, reference: &ObjectRef| visit(kind, &reference.project, &reference.name);
        match self {
            Spec::Host(_) | Spec::LogicalSwitch(_) | Spec::Service(_) => {}
            Spec::LogicalRouter(router) => {
                for interface in &router.interfaces {
                    each(Kind::LogicalSwitch, &interface.switch);
                }
                for other in router.uplinks.iter().chain(&router.peerings) {
                    each(Kind::LogicalRouter, other);
                }
            }
            Spec::LogicalPort(port) => {
                each(Kind::LogicalSwitch, &port.switch);
                if let Some(host) = &port.host {
                    visit(Kind::Host, SYSTEM_PROJECT, host);
                }
            }
            Spec::Group(group) => {
                for term in &group.terms {
                    match term {
                        GroupTerm::Switch(switch) => each(Kind::LogicalSwitch, switch),
                        GroupTerm::Router(router) => each(Kind::LogicalRouter, router),
                        GroupTerm::Port(port) => each(Kind::LogicalPort, port),
                        GroupTerm::Selector { .. }
                        | GroupTerm::Group(_)
                        | GroupTerm::Intersection(_)
                        | GroupTerm::Difference { .. } => {}
                    }
                }
                group.group_refs().for_each(|group| each(Kind::Group, group));
            }
            Spec::SecurityPolicy(policy) => {
                let peers = policy.rules.iter().flat_map(|rule| &rule.peers);
                for group in policy.applied_to.iter().chain(peers.map(|peer| &peer.group)) {
                    each(Kind::Group, group);
                }
                for service in policy.rules.iter().flat_map(|rule| &rule.services) {
                    if let ServiceMatch::Service(service) = service {
                        each(Kind::Service, service);
                    }
                }
            }
        }
    }
}

/// A resource as it is applied and stored. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Project, name and labels.
    pub metadata: Metadata,
    /// The body. Shared: the log, the engine and readers hold the same one.
    pub spec: Arc<Spec>,
}

impl Resource {
    /// A resource with labels.
    pub fn new(
        project: impl Into<Text>,
        name: impl Into<Text>,
        labels: Labels,
        spec: Spec,
    ) -> Resource {
        Resource {
            metadata: Metadata {
                project: project.into(),
                name: name.into(),
                labels: Arc::new(labels),
            },
            spec: Arc::new(spec),
        }
    }

    /// The key of the object.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            kind: self.spec.kind(),
            project: self.metadata.project.clone(),
            name: self.metadata.name.clone(),
        }
    }
}
