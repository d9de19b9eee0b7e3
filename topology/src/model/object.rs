//! How objects are identified.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Shared immutable text: names and labels stand in many places at once.
pub type Text = Arc<str>;

/// The Raft log index of the transaction that produced a state: the only version number there is.
/// 0 stands for the empty state before any transaction.
pub type Revision = u64;

/// The identity of an object for as long as it exists; never given to another. A name can be
/// used again after a deletion, a uid is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub u64);

/// The identity of a routing domain, and its VXLAN or Geneve network identifier (24 bits). 0 is
/// never given out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vni(pub u32);

impl Vni {
    /// The largest identifier that fits the 24-bit field (RFC 7348, section 5).
    pub const MAX: Vni = Vni((1 << 24) - 1);
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A transport node.
    Host,
    /// An L2 segment.
    LogicalSwitch,
    /// A router between switches.
    LogicalRouter,
    /// An endpoint's attachment to a switch.
    LogicalPort,
    /// A set of ports and CIDR blocks.
    Group,
    /// Named protocols and ports.
    Service,
    /// Rules applied to groups.
    SecurityPolicy,
}

impl Kind {
    /// All kinds, in the order in which they can be created without forward references.
    pub const ALL: [Kind; 7] = [
        Kind::Host,
        Kind::LogicalSwitch,
        Kind::LogicalRouter,
        Kind::LogicalPort,
        Kind::Group,
        Kind::Service,
        Kind::SecurityPolicy,
    ];

    /// The name of the kind in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Host => "Host",
            Kind::LogicalSwitch => "LogicalSwitch",
            Kind::LogicalRouter => "LogicalRouter",
            Kind::LogicalPort => "LogicalPort",
            Kind::Group => "Group",
            Kind::Service => "Service",
            Kind::SecurityPolicy => "SecurityPolicy",
        }
    }

    /// The short name on command lines and in messages.
    pub fn short(self) -> &'static str {
        match self {
            Kind::Host => "host",
            Kind::LogicalSwitch => "switch",
            Kind::LogicalRouter => "router",
            Kind::LogicalPort => "port",
            Kind::Group => "group",
            Kind::Service => "service",
            Kind::SecurityPolicy => "policy",
        }
    }

    /// True for kinds that belong to the fleet and not to a tenant: their project is always
    /// [`SYSTEM_PROJECT`](super::SYSTEM_PROJECT), and references to them are bare names.
    pub fn is_fleet_wide(self) -> bool {
        matches!(self, Kind::Host)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown kind {0:?}: expected Host, LogicalSwitch, LogicalRouter, LogicalPort, Group, Service \
     or SecurityPolicy"
)]
pub struct ParseKindError(pub String);

impl FromStr for Kind {
    type Err = ParseKindError;

    /// Takes the document name, the short name, its plural and the usual abbreviations, in any
    /// case.
    fn from_str(text: &str) -> Result<Kind, ParseKindError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "host" | "hosts" => Kind::Host,
            "logicalswitch" | "logicalswitches" | "switch" | "switches" | "ls" => {
                Kind::LogicalSwitch
            }
            "logicalrouter" | "logicalrouters" | "router" | "routers" | "lr" => Kind::LogicalRouter,
            "logicalport" | "logicalports" | "port" | "ports" | "lp" => Kind::LogicalPort,
            "group" | "groups" => Kind::Group,
            "service" | "services" | "svc" => Kind::Service,
            "securitypolicy" | "securitypolicies" | "policy" | "policies" | "sp" => {
                Kind::SecurityPolicy
            }
            _ => return Err(ParseKindError(text.to_owned())),
        })
    }
}

/// Names one object: its kind, project and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The project (tenant).
    pub project: Text,
    /// The name, unique among the objects of the kind in the project.
    pub name: Text,
}

impl ObjectKey {
    /// A key from its parts, which the caller has checked.
    pub fn new(kind: Kind, project: impl Into<Text>, name: impl Into<Text>) -> ObjectKey {
        ObjectKey { kind, project: project.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    /// `port t00/web-0`, and `host host-01` for fleet-wide kinds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_fleet_wide() {
            write!(f, "{} {}", self.kind.short(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.short(), self.project, self.name)
        }
    }
}

/// A reference to an object whose kind is plain from where the reference stands. In documents it
/// is written `name` (same project as the object that refers) or `project/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The project, already resolved.
    pub project: Text,
    /// The name.
    pub name: Text,
}

impl ObjectRef {
    /// A reference from its parts, which the caller has checked.
    pub fn new(project: impl Into<Text>, name: impl Into<Text>) -> ObjectRef {
        ObjectRef { project: project.into(), name: name.into() }
    }

    /// The key of the object that is referred to.
    pub fn to_key(&self, kind: Kind) -> ObjectKey {
        ObjectKey { kind, project: self.project.clone(), name: self.name.clone() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}
