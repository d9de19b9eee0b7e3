//! What is told about a verdict to whom asks for the reasons.

use crate::engine::api::{Decision, Verdict};
use crate::engine::path::Path;
use crate::model::{ObjectKey, Revision, ServiceEntry, Text, Vni};
use std::net::IpAddr;

/// A verdict with everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedVerdict {
    /// The end that sends.
    pub source: PacketEnd,
    /// The end that receives.
    pub destination: PacketEnd,
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// The end that keeps everything from being delivered, as it is bound to no host.
    pub unbound: Option<ObjectKey>,
    /// The way of the packet, or where that ends; nothing if an end lies outside, where no path is
    /// known, or is bound to no host.
    pub path: Option<Path>,
    /// What the source's host decides; nothing if the source lies outside or nothing is delivered.
    pub at_source: Option<HostDecision>,
    /// What the destination's host decides, or would decide if the source's host let the packet
    /// go; nothing if the destination lies outside or nothing is delivered.
    pub at_destination: Option<HostDecision>,
}

impl ExplainedVerdict {
    /// What keeps everything from being delivered, whatever the rules say.
    pub fn obstacle(&self) -> Option<String> {
        match &self.unbound {
            Some(port) => Some(format!("{port} is not bound to a host")),
            None => self.path.as_ref()?.ending(),
        }
    }
}

/// An end of a packet, as it was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketEnd {
    /// The address in the packet.
    pub address: IpAddr,
    /// The port that has it; nothing outside.
    pub port: Option<ObjectKey>,
    /// The host the port is bound to.
    pub host: Option<Text>,
    /// The routing domain of the port.
    pub domain: Option<Vni>,
}

/// What is decided about a packet at the host of one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDecision {
    /// What decides.
    pub decided: Decider,
    /// What matched before and left its tier with `pass`, in the order of evaluation.
    pub passed: Vec<Decider>,
    /// What would decide if the rule or default that decides were not there; nothing if none does.
    pub next: Option<Decider>,
}

/// What decides about a packet, and how the packet matches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decider {
    /// The rule or default.
    pub decision: Decision,
    /// The revision of its policy; 0 if none applies.
    pub revision: Revision,
    /// The tier of its policy.
    pub tier: u16,
    /// The priority of its policy.
    pub priority: u32,
    /// Why the policy is applied to the port of this end; nothing if none applies.
    pub applied: Option<Membership>,
    /// The peer through which the other end matches; nothing if everyone does.
    pub peer: Option<MatchedPeer>,
    /// The services entry that the packet matches; nothing if every packet does.
    pub entry: Option<MatchedEntry>,
}

impl Default for Decider {
    /// None applies.
    fn default() -> Decider {
        Decider {
            decision: Decision::NoneApplies,
            revision: 0,
            tier: 0,
            priority: 0,
            applied: None,
            peer: None,
            entry: None,
        }
    }
}

/// The peer of a rule through which the other end of a packet matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedPeer {
    /// The group.
    pub group: ObjectKey,
    /// The revision of the group.
    pub revision: Revision,
    /// True if everything matches that is not in the group.
    pub negated: bool,
    /// How the other end is in it.
    pub content: PeerContent,
}

/// How an address is in a group, for a port that looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerContent {
    /// A port with the address is a member.
    Port {
        /// The port.
        port: ObjectKey,
        /// False if it lies where the port that looks sees nothing, and counts because hosts have
        /// the whole group for deny rules while addresses can be forged (guarantee G3).
        in_sight: bool,
        /// How the port is in the group.
        membership: Membership,
    },
    /// It lies in one of the group's CIDR blocks.
    Block {
        /// Which, and through which groups.
        steps: Vec<MembershipStep>,
    },
    /// It is not in the group.
    Absent,
}

/// How a port is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: ObjectKey,
    /// The revision of the group.
    pub revision: Revision,
    /// From the group to what the port has that puts it there.
    pub steps: Vec<MembershipStep>,
}

/// One step of how something is in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipStep {
    /// How many groups lie around the one that this is about.
    pub depth: u32,
    /// What holds.
    pub finding: String,
    /// The objects it is about, besides the group.
    pub objects: Vec<ObjectKey>,
}

/// The services entry of a rule that a packet matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedEntry {
    /// The service it stands in; nothing if the rule has it in place.
    pub service: Option<ObjectKey>,
    /// The revision of the service; 0 if there is none.
    pub revision: Revision,
    /// The entry.
    pub entry: ServiceEntry,
}
