//! Security policies.
//!
//! A packet from one port to another is judged twice: by the outbound rules of the policies applied
//! to the sender's port, at the sender's host, and by the inbound rules of those applied to the
//! receiver's port, at the receiver's host. At each place the policies are taken by tier:
//!
//! 1. Within a tier, rules are tried in the order of policy priority (smaller first), then project
//!    and name, then position in the policy. The first that matches decides.
//! 2. `pass` leaves the tier, skipping its defaults, and goes on with the next tier.
//! 3. If no rule of the tier matched, the first default for the direction, in the same order,
//!    decides.
//! 4. If no tier decided, the packet is allowed.
//!
//! Replies to an allowed connection, and packets related to it, are allowed.

use super::object::{ObjectRef, Text};
use super::service::{SERVICE_SIZE_MAX, ServiceEntry};

/// Which way a rule looks, seen from the port it is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Packets to the port; peers are sources.
    In,
    /// Packets from the port; peers are destinations.
    Out,
    /// Both.
    Both,
}

impl Direction {
    /// True if a rule of this direction judges packets to the port.
    pub fn is_in(self) -> bool {
        matches!(self, Direction::In | Direction::Both)
    }

    /// True if a rule of this direction judges packets from the port.
    pub fn is_out(self) -> bool {
        matches!(self, Direction::Out | Direction::Both)
    }

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Both => "both",
        }
    }
}

/// What a rule does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Let it through, and its connection with it.
    Allow,
    /// Drop it silently.
    Drop,
    /// Drop it and tell the sender: TCP reset, or ICMP administratively prohibited.
    Reject,
    /// Leave the tier and let the next one decide.
    Pass,
}

impl Action {
    /// True for the actions that deny.
    pub fn is_deny(self) -> bool {
        matches!(self, Action::Drop | Action::Reject)
    }

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Drop => "drop",
            Action::Reject => "reject",
            Action::Pass => "pass",
        }
    }
}

/// One peer of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The group.
    pub group: ObjectRef,
    /// True to match everything but the group.
    pub negate: bool,
}

/// The protocols and ports of a rule: a service by name, or written in place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceMatch {
    /// All entries of a service.
    Service(ObjectRef),
    /// An entry written in place.
    Entry(ServiceEntry),
}

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A name for logs and explanations.
    pub name: Option<Text>,
    /// Which way it looks.
    pub direction: Direction,
    /// The peers, any of which matches. Empty means everyone.
    pub peers: Vec<Peer>,
    /// Protocols and ports, any of which matches. Empty means every IP packet.
    pub services: Vec<ServiceMatch>,
    /// What happens to a packet that matches.
    pub action: Action,
    /// True to log the packets that match.
    pub log: bool,
}

impl Rule {
    /// True if a packet with a forged source address could profit from a member that the host
    /// lacks (guarantee G3): a deny rule with peers, or any negated peer.
    pub fn needs_protection(&self) -> bool {
        !self.peers.is_empty() && (self.action.is_deny() || self.peers.iter().any(|p| p.negate))
    }
}

/// What happens, at the end of a tier, to a packet that no rule of the tier matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct DefaultActions {
    /// For packets to the ports the policy is applied to; `None` leaves them to the next tier.
    pub inbound: Option<Action>,
    /// For packets from them; `None` leaves them to the next tier.
    pub outbound: Option<Action>,
}

/// The body of a security policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityPolicySpec {
    /// The groups whose ports the policy is applied to. CIDR blocks in them are ignored.
    pub applied_to: Vec<ObjectRef>,
    /// The tier: smaller is evaluated first.
    pub tier: u16,
    /// The priority within the tier: smaller is evaluated first.
    pub priority: u32,
    /// Defaults at the end of the tier.
    pub defaults: DefaultActions,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// The largest policy, in units: see [`SecurityPolicySpec::size`]. It bounds what a policy takes on the
/// wire, with its services in place, so that no policy is ever too large to be told to a host: a
/// host that lacks one policy of several would let through what that one denies.
pub const POLICY_SIZE_MAX: usize = 10_000_000;
/// Units that a rule counts as, for its name and its fields.
const RULE_SIZE: usize = 32;

impl SecurityPolicySpec {
    /// Units that the policy counts as: those of its rules, groups, peers and services, a named
    /// service as the largest that there may be. A unit takes 12 bytes on the wire at most.
    pub fn size(&self) -> usize {
        let services = |rule: &Rule| -> usize {
            let size = |service: &ServiceMatch| match service {
                ServiceMatch::Entry(entry) => entry.size(),
                ServiceMatch::Service(_) => SERVICE_SIZE_MAX,
            };
            rule.services.iter().map(size).sum()
        };
        let rules = self.rules.iter().map(|rule| RULE_SIZE + rule.peers.len() + services(rule));
        self.applied_to.len() + rules.sum::<usize>()
    }

    /// The tier of a policy that names none: the middle of the application band.
    pub const TIER_DEFAULT: u16 = 500;
    /// The priority of a policy that names none.
    pub const PRIORITY_DEFAULT: u32 = 1000;
}
