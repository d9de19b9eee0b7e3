//! The way a packet takes from one switch to another, or the place where it ends.
//!
//! Joining links (a router's interface on a switch, the uplink of a router that advertises) are
//! passed both ways. The uplink of a router that does not advertise is passed upwards only. A
//! peering is passed only straight from the domain where the packet starts, and after it nothing
//! but joining links. So a search of the graph needs to know of a node it comes to only which of
//! three [`Phase`]s the packet is in.
//!
//! Cost: in proportion to the routers and switches of the domains between the two ends, at most
//! [`PATH_NODES_MAX`]; a switch that only one router knows is passed over unless it is the goal.

use super::api::QueryError;
use super::domains::Node;
use super::ids::{Map, RouterId, Set, SwitchId};
use super::state::Engine;
use crate::model::{Kind, ObjectKey};
use std::collections::VecDeque;
use std::fmt;

/// The most switches and routers that one search looks at.
pub const PATH_NODES_MAX: usize = 1 << 20;

/// How a place on a path is joined to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathLink {
    /// A router's interface on a switch, either way.
    Interface,
    /// From a router up to one of its uplinks.
    Uplink,
    /// From a router down to one that has it as an uplink, and advertises.
    Downlink,
    /// From a router to one it peers with.
    Peering,
}

/// A switch or a router on a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// How one comes here; `None` at the start.
    pub link: Option<PathLink>,
    /// The switch or router.
    pub object: ObjectKey,
}

/// Why a path goes no further than its last hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEnd {
    /// The switch has no router.
    NoRouter,
    /// The router has no link that leads further.
    NoLink,
    /// The next router has the last one as its uplink, but does not advertise: nothing can be sent
    /// down to it.
    NotAdvertised {
        /// The next router.
        next: ObjectKey,
    },
    /// The next router is a peer of the last one, but the packet does not start in the last one's
    /// domain: a peering carries nothing that comes from beyond.
    PeeringEnds {
        /// The next router.
        next: ObjectKey,
    },
    /// The packet came over a peering, which leads no further than to the peer's own domain.
    BeyondPeering {
        /// The next router.
        next: ObjectKey,
    },
    /// More than [`PATH_NODES_MAX`] switches and routers were looked at.
    GaveUp,
}

impl PathEnd {
    /// The first place that is not reached, if it is known.
    pub fn next(&self) -> Option<&ObjectKey> {
        match self {
            PathEnd::NotAdvertised { next }
            | PathEnd::PeeringEnds { next }
            | PathEnd::BeyondPeering { next } => Some(next),
            PathEnd::NoRouter | PathEnd::NoLink | PathEnd::GaveUp => None,
        }
    }
}

/// The shortest way from one switch to another; of several, the one over the oldest objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The places, from the first switch on. Never empty.
    pub hops: Vec<Hop>,
    /// Why it ends at the last hop; `None` if that is the switch it was to lead to.
    pub end: Option<PathEnd>,
}

impl Path {
    /// True if it leads where it was to lead.
    pub fn arrives(&self) -> bool {
        self.end.is_none()
    }

    /// Why it ends before it arrives, as a sentence; `None` if it arrives.
    pub fn ending(&self) -> Option<String> {
        let last = &self.hops.last()?.object;
        Some(match self.end.as_ref()? {
            PathEnd::NoRouter => format!("{last} has no router"),
            PathEnd::NoLink => format!("no uplink or peering of {last} leads further"),
            PathEnd::NotAdvertised { next } => {
                format!("{next} has {last} as uplink but does not advertise")
            }
            PathEnd::PeeringEnds { next } => format!(
                "the peering of {last} with {next} carries only what starts in the domain of {last}"
            ),
            PathEnd::BeyondPeering { next } => {
                format!("a peering leads no further than the peer's domain, and {next} lies beyond")
            }
            PathEnd::GaveUp => format!("the search gave up after {PATH_NODES_MAX} places"),
        })
    }

    /// The switches and routers, in order.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectKey> {
        self.hops.iter().map(|hop| &hop.object)
    }
}

impl fmt::Display for Path {
    /// `switch t/a -> router t/r -> uplink router x/p -> switch x/b`, and for a path that ends,
    /// where and why it does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hop in &self.hops {
            match hop.link {
                None => {}
                Some(PathLink::Interface) => f.write_str(" -> ")?,
                Some(PathLink::Uplink) => f.write_str(" -> uplink ")?,
                Some(PathLink::Downlink) => f.write_str(" -> down to ")?,
                Some(PathLink::Peering) => f.write_str(" -> peer ")?,
            }
            hop.object.fmt(f)?;
        }
        match self.ending() {
            Some(ending) => write!(f, ", where it ends: {ending}"),
            None => Ok(()),
        }
    }
}

/// What a packet may still pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// It is in the domain where it started.
    Home,
    /// It went up an uplink that is not advertised.
    Up,
    /// It went over a peering.
    Peered,
}

/// A link as it is passed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    Joining(PathLink),
    SilentUp,
    SilentDown,
    Peering,
}

impl Passage {
    /// The phase afterwards; `None` if the packet may not pass.
    fn after(self, phase: Phase) -> Option<Phase> {
        match (self, phase) {
            (Passage::Joining(_), phase) => Some(phase),
            (Passage::SilentUp, Phase::Home | Phase::Up) => Some(Phase::Up),
            (Passage::Peering, Phase::Home) => Some(Phase::Peered),
            (Passage::SilentUp | Passage::Peering | Passage::SilentDown, _) => None,
        }
    }

    fn link(self) -> PathLink {
        match self {
            Passage::Joining(link) => link,
            Passage::SilentUp => PathLink::Uplink,
            Passage::SilentDown => PathLink::Downlink,
            Passage::Peering => PathLink::Peering,
        }
    }
}

/// A place in the search.
type Place = (Node, Phase);

impl Engine {
    /// The way from one switch to another.
    pub fn path(&self, from: &ObjectKey, to: &ObjectKey) -> Result<Path, QueryError> {
        let find = |key: &ObjectKey| {
            self.slot_of(key)
                .filter(|_| key.kind == Kind::LogicalSwitch)
                .map(SwitchId)
                .ok_or_else(|| QueryError::NotFound(key.clone()))
        };
        Ok(self.path_between(find(from)?, find(to)?))
    }

    /// The way from one switch to another.
    pub(super) fn path_between(&self, from: SwitchId, to: SwitchId) -> Path {
        let goal = Node::Switch(to);
        let (from_domain, to_domain) = (self.switches[from].domain, self.switches[to].domain);
        if self.domains[from_domain].reaches.binary_search(&to_domain).is_ok() {
            let found = self.search_path(from, goal, |passage, phase| passage.after(phase));
            return match found {
                Ok(steps) => Path { hops: self.hops(from, &steps), end: None },
                Err(_) => Path { hops: self.hops(from, &[]), end: Some(PathEnd::GaveUp) },
            };
        }
        // Any link, whether a packet may pass it or not: the first it may not is where it ends.
        match self.search_path(from, goal, |_, phase| Some(phase)) {
            Ok(steps) => self.cut_short(from, &steps),
            Err(Failure::GaveUp) => Path { hops: self.hops(from, &[]), end: Some(PathEnd::GaveUp) },
            Err(Failure::NotConnected) => self.dead_end(from),
        }
    }

    /// The nodes that links lead to, by uid: the order may not depend on dense identifiers.
    fn passages(&self, node: Node) -> Vec<(Passage, Node)> {
        let mut found: Vec<(Passage, Node)> = Vec::new();
        match node {
            Node::Switch(id) => {
                let passage = Passage::Joining(PathLink::Interface);
                found.extend(self.switches[id].routers.iter().map(|&r| (passage, Node::Router(r))));
            }
            Node::Router(id) => {
                let router = &self.routers[id];
                let mut add = |passage: Passage, list: &[RouterId]| {
                    found.extend(list.iter().map(|&r| (passage, Node::Router(r))));
                };
                add(Passage::Joining(PathLink::Uplink), &router.links.joined);
                add(Passage::Joining(PathLink::Downlink), &router.joined_by);
                add(Passage::SilentUp, &router.links.silent);
                add(Passage::SilentDown, &router.silent_by);
                add(Passage::Peering, &router.links.peers);
                add(Passage::Peering, &router.peered_by);
                let passage = Passage::Joining(PathLink::Interface);
                found.extend(
                    router.links.switches.iter().map(|&switch| (passage, Node::Switch(switch))),
                );
            }
        }
        found.sort_by_key(|&(_, node)| self.object_of_node(node).uid);
        found
    }

    fn object_of_node(&self, node: Node) -> &super::api::Object {
        match node {
            Node::Switch(id) => &self.switches[id].object,
            Node::Router(id) => &self.routers[id].object,
        }
    }

    /// Breadth first from a switch to a node, over the links that `pass` lets one pass.
    fn search_path(
        &self,
        from: SwitchId,
        goal: Node,
        pass: impl Fn(Passage, Phase) -> Option<Phase>,
    ) -> Result<Vec<(Passage, Node)>, Failure> {
        let start: Place = (Node::Switch(from), Phase::Home);
        if start.0 == goal {
            return Ok(Vec::new());
        }
        let mut came: Map<Place, (Passage, Place)> = Map::default();
        let mut seen: Set<Place> = Set::default();
        seen.insert(start);
        let mut queue: VecDeque<Place> = VecDeque::from([start]);
        while let Some(place) = queue.pop_front() {
            for (passage, node) in self.passages(place.0) {
                let Some(phase) = pass(passage, place.1) else { continue };
                let next = (node, phase);
                if node != goal && self.is_blind(node) || !seen.insert(next) {
                    continue;
                }
                came.insert(next, (passage, place));
                if node == goal {
                    return Ok(trace_back(&came, next));
                }
                if seen.len() >= PATH_NODES_MAX {
                    return Err(Failure::GaveUp);
                }
                queue.push_back(next);
            }
        }
        Err(Failure::NotConnected)
    }

    /// True for a switch that leads nowhere else.
    fn is_blind(&self, node: Node) -> bool {
        matches!(node, Node::Switch(id) if self.switches[id].routers.len() < 2)
    }

    fn hops(&self, from: SwitchId, steps: &[(Passage, Node)]) -> Vec<Hop> {
        let first = Hop { link: None, object: self.switches[from].object.resource.key() };
        let rest = steps.iter().map(|&(passage, node)| Hop {
            link: Some(passage.link()),
            object: self.object_of_node(node).resource.key(),
        });
        std::iter::once(first).chain(rest).collect()
    }

    /// The part of a chain of links that a packet may pass, and the link that it may not.
    fn cut_short(&self, from: SwitchId, steps: &[(Passage, Node)]) -> Path {
        let mut phase = Phase::Home;
        for (at, &(passage, node)) in steps.iter().enumerate() {
            match passage.after(phase) {
                Some(after) => phase = after,
                None => {
                    let next = self.object_of_node(node).resource.key();
                    let end = match passage {
                        Passage::SilentDown => PathEnd::NotAdvertised { next },
                        _ if phase == Phase::Peered => PathEnd::BeyondPeering { next },
                        _ => PathEnd::PeeringEnds { next },
                    };
                    return Path { hops: self.hops(from, &steps[..at]), end: Some(end) };
                }
            }
        }
        // Not reached: a chain that may be passed whole is found by the first search.
        Path { hops: self.hops(from, steps), end: None }
    }

    /// As far as a packet gets where no link of any kind leads to the goal: to the nearest router
    /// that has no uplink and no peering, or else to the nearest router.
    fn dead_end(&self, from: SwitchId) -> Path {
        if self.switches[from].routers.is_empty() {
            return Path { hops: self.hops(from, &[]), end: Some(PathEnd::NoRouter) };
        }
        let mut nearest = self.switches[from].routers.clone();
        nearest.sort_by_key(|&router| self.routers[router].object.uid);
        let mut chain: Vec<(Passage, Node)> = Vec::new();
        let mut seen: Set<RouterId> = Set::default();
        let mut next = nearest
            .first()
            .map(|&router| (Passage::Joining(PathLink::Interface), Node::Router(router)));
        while let Some((passage, Node::Router(router))) = next {
            if !seen.insert(router) {
                break;
            }
            chain.push((passage, Node::Router(router)));
            let links = &self.routers[router].links;
            let upper = |list: &[RouterId]| {
                list.iter().copied().min_by_key(|&upper| self.routers[upper].object.uid)
            };
            next = match (upper(&links.joined), upper(&links.silent)) {
                (Some(upper), _) => Some((Passage::Joining(PathLink::Uplink), Node::Router(upper))),
                (None, Some(upper)) => Some((Passage::SilentUp, Node::Router(upper))),
                (None, None) => None,
            };
        }
        Path { hops: self.hops(from, &chain), end: Some(PathEnd::NoLink) }
    }
}

/// Why a search found nothing.
enum Failure {
    NotConnected,
    GaveUp,
}

/// The links from the start to a place.
fn trace_back(came: &Map<Place, (Passage, Place)>, goal: Place) -> Vec<(Passage, Node)> {
    let mut steps = Vec::new();
    let mut place = goal;
    while let Some(&(passage, before)) = came.get(&place) {
        steps.push((passage, place.0));
        place = before;
    }
    steps.reverse();
    steps
}
