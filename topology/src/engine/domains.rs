//! Routing domains: connected components of switches and routers, kept incrementally.
//!
//! Two kinds of edges join: a router's interface on a switch, and the uplink of a router that
//! advertises. A new edge merges the smaller component into the larger. A removed edge starts two
//! searches, one from each end, that advance in turn: the first to run dry has found the smaller
//! part, at a cost in proportion to it, and that part moves out.
//!
//! Components are connected further by silent uplinks (one way up, transitive) and peerings (both
//! ways, not transitive). Those do not join; they decide which domains reach and see each other.

use super::ids::{DomainId, IdSet, Map, RouterId, Set, SwitchId};
use super::journal::Journal;
use super::state::{Domain, Engine, Links, sorted_insert, sorted_remove};
use crate::model::{Uid, Vni};
use crate::planted::{self, Bug};
use crate::view::{DomainItem, ItemKey};
use std::collections::VecDeque;

/// A switch or a router, as a vertex of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    Switch(SwitchId),
    Router(RouterId),
}

impl Engine {
    fn neighbours(&self, node: Node) -> Vec<Node> {
        match node {
            Node::Switch(id) => {
                self.switches[id].routers.iter().copied().map(Node::Router).collect()
            }
            Node::Router(id) => {
                let router = &self.routers[id];
                router
                    .links
                    .switches
                    .iter()
                    .copied()
                    .map(Node::Switch)
                    .chain(router.links.joined.iter().copied().map(Node::Router))
                    .chain(router.joined_by.iter().copied().map(Node::Router))
                    .collect()
            }
        }
    }

    pub(super) fn domain_of_node(&self, node: Node) -> DomainId {
        match node {
            Node::Switch(id) => self.switches[id].domain,
            Node::Router(id) => self.routers[id].domain,
        }
    }

    fn uid_of_node(&self, node: Node) -> Uid {
        match node {
            Node::Switch(id) => self.switches[id].object.uid,
            Node::Router(id) => self.routers[id].object.uid,
        }
    }

    /// A new, empty component.
    pub(super) fn make_domain(&mut self, journal: &mut Journal) -> DomainId {
        loop {
            self.last_vni = if self.last_vni >= Vni::MAX.0 { 1 } else { self.last_vni + 1 };
            // Identifiers wrap after 16 million domains; those in use are passed over.
            if !self.vnis.contains_key(&Vni(self.last_vni)) {
                break;
            }
        }
        let vni = Vni(self.last_vni);
        let id = self.domains.insert(Domain { vni, ..Domain::default() });
        self.vnis.insert(vni, id);
        journal.domains.insert(id, None);
        journal.closures.insert(id);
        id
    }

    /// Puts a new node into a component of its own.
    pub(super) fn settle_node(&mut self, journal: &mut Journal, node: Node) {
        let domain = self.make_domain(journal);
        self.enter_domain(journal, node, domain);
    }

    fn enter_domain(&mut self, journal: &mut Journal, node: Node, domain: DomainId) {
        match node {
            Node::Switch(id) => {
                self.switches[id].domain = domain;
                let ports = self.switches[id].ports.len();
                let domain_state = &mut self.domains[domain];
                if domain_state.switches.is_empty() {
                    journal.closures.insert(domain);
                }
                domain_state.switches.insert(id);
                domain_state.ports += ports;
            }
            Node::Router(id) => {
                self.routers[id].domain = domain;
                self.domains[domain].routers.insert(id);
                self.note_crossing(journal, id);
            }
        }
    }

    /// Takes a node out of its component, with the ports on it.
    pub(super) fn exit_domain(&mut self, journal: &mut Journal, node: Node) {
        let domain = self.domain_of_node(node);
        self.remember_domain(journal, domain);
        let vni = self.domains[domain].vni;
        journal.vnis.entry(self.uid_of_node(node)).or_insert(vni);
        match node {
            Node::Switch(id) => {
                for port in self.switches[id].ports.clone().iter() {
                    self.detach(journal, port);
                }
                let ports = self.switches[id].ports.len();
                let state = &mut self.domains[domain];
                state.switches.remove(id);
                state.ports -= ports;
                if state.switches.is_empty() {
                    journal.closures.insert(domain);
                }
            }
            Node::Router(id) => {
                self.note_crossing(journal, id);
                self.domains[domain].routers.remove(id);
            }
        }
        let state = &self.domains[domain];
        if state.switches.is_empty() && state.routers.is_empty() {
            journal.dead_domains.push(domain);
        }
    }

    /// A router with links beyond its component changes what the components at both ends see.
    pub(super) fn note_crossing(&self, journal: &mut Journal, id: RouterId) {
        let router = &self.routers[id];
        if router.links.silent.is_empty()
            && router.links.peers.is_empty()
            && router.silent_by.is_empty()
            && router.peered_by.is_empty()
        {
            return;
        }
        journal.crossing.insert(id);
        self.mark_closures(journal, id);
    }

    /// Marks what may see otherwise once a router's links beyond its component are others: what is
    /// below the lower end of each, and what is above its upper end, as the closures stand.
    fn mark_closures(&self, journal: &mut Journal, id: RouterId) {
        let router = &self.routers[id];
        let here = router.domain;
        for &upper in &router.links.silent {
            self.mark_below(journal, here);
            self.mark_above(journal, self.routers[upper].domain);
        }
        for &lower in &router.silent_by {
            self.mark_below(journal, self.routers[lower].domain);
            self.mark_above(journal, here);
        }
        for &peer in router.links.peers.iter().chain(&router.peered_by) {
            journal.closures.insert(here);
            journal.closures.insert(self.routers[peer].domain);
        }
    }

    fn mark_below(&self, journal: &mut Journal, domain: DomainId) {
        journal.closures.insert(domain);
        journal.closures.extend(self.domains[domain].down.iter().copied());
    }

    fn mark_above(&self, journal: &mut Journal, domain: DomainId) {
        journal.closures.insert(domain);
        journal.closures.extend(self.domains[domain].up.iter().copied());
    }

    /// Gives a router other links. `links` holds the resolved lists.
    pub(super) fn relink(&mut self, journal: &mut Journal, id: RouterId, links: Links) {
        let old = self.routers[id].links.clone();
        if old == links {
            return;
        }
        let beyond = old.silent != links.silent || old.peers != links.peers;
        if beyond {
            journal.crossing.insert(id);
            self.mark_closures(journal, id);
        }
        // First the edges that go, so that searches do not cross edges that are not merged yet.
        let cut = |old: &[RouterId], new: &[RouterId]| -> Vec<RouterId> {
            old.iter().filter(|id| new.binary_search(id).is_err()).copied().collect()
        };
        let lost = self.joining_nodes(&old, &links);
        // One edge after the other: two neighbours may be connected through this router alone.
        for node in lost {
            match node {
                Node::Switch(switch) => {
                    sorted_remove(&mut self.routers[id].links.switches, &switch);
                    sorted_remove(&mut self.switches[switch].routers, &id);
                }
                Node::Router(upper) => {
                    sorted_remove(&mut self.routers[id].links.joined, &upper);
                    sorted_remove(&mut self.routers[upper].joined_by, &id);
                }
            }
            self.split(journal, Node::Router(id), node);
        }
        for upper in cut(&old.silent, &links.silent) {
            sorted_remove(&mut self.routers[upper].silent_by, &id);
        }
        for peer in cut(&old.peers, &links.peers) {
            sorted_remove(&mut self.routers[peer].peered_by, &id);
        }
        for &upper in &links.silent {
            sorted_insert(&mut self.routers[upper].silent_by, id);
        }
        for &peer in &links.peers {
            sorted_insert(&mut self.routers[peer].peered_by, id);
        }
        self.routers[id].links.silent = links.silent.clone();
        self.routers[id].links.peers = links.peers.clone();
        for &switch in &links.switches {
            sorted_insert(&mut self.switches[switch].routers, id);
        }
        for &upper in &links.joined {
            sorted_insert(&mut self.routers[upper].joined_by, id);
        }
        let gained = self.joining_nodes(&links, &old);
        self.routers[id].links = links;
        for node in gained {
            self.merge(journal, Node::Router(id), node);
        }
        if beyond {
            self.mark_closures(journal, id);
        }
    }

    /// The nodes that one set of links joins and the other does not, by uid: the order decides
    /// which component keeps its identity, so it must be the same on every replica.
    fn joining_nodes(&self, links: &Links, other: &Links) -> Vec<Node> {
        let switches = links.switches.iter().filter(|id| other.switches.binary_search(id).is_err());
        let routers = links.joined.iter().filter(|id| other.joined.binary_search(id).is_err());
        let mut nodes: Vec<Node> = switches
            .map(|&id| Node::Switch(id))
            .chain(routers.map(|&id| Node::Router(id)))
            .collect();
        nodes.sort_by_key(|&node| self.uid_of_node(node));
        nodes
    }

    /// Joins the components of two nodes that an edge connects now.
    fn merge(&mut self, journal: &mut Journal, one: Node, two: Node) {
        let (a, b) = (self.domain_of_node(one), self.domain_of_node(two));
        if a == b {
            return;
        }
        // Ids differ between replicas that came by their state on different ways; VNIs do not.
        let rank = |id: DomainId| (self.weight(id), std::cmp::Reverse(self.domains[id].vni));
        let (mut from, mut to) = if rank(a) < rank(b) { (a, b) } else { (b, a) };
        if planted::is(Bug::MergeByLocalId) {
            (from, to) = (a.max(b), a.min(b));
        }
        let nodes = self.nodes_of(from);
        self.move_nodes(journal, &nodes, to);
    }

    fn weight(&self, domain: DomainId) -> u64 {
        let domain = &self.domains[domain];
        domain.ports + domain.switches.len() + domain.routers.len()
    }

    fn nodes_of(&self, domain: DomainId) -> Vec<Node> {
        let domain = &self.domains[domain];
        domain
            .switches
            .iter()
            .map(Node::Switch)
            .chain(domain.routers.iter().map(Node::Router))
            .collect()
    }

    fn move_nodes(&mut self, journal: &mut Journal, nodes: &[Node], to: DomainId) {
        self.remember_domain(journal, to);
        for &node in nodes {
            self.exit_domain(journal, node);
            self.enter_domain(journal, node, to);
        }
    }

    /// Separates the components of two nodes if nothing connects them any more.
    fn split(&mut self, journal: &mut Journal, one: Node, two: Node) {
        if self.domain_of_node(one) != self.domain_of_node(two) || planted::is(Bug::SplitMissed) {
            return;
        }
        if let Some(part) = self.smaller_part(one, two) {
            let domain = self.make_domain(journal);
            self.move_nodes(journal, &part, domain);
        }
    }

    /// The smaller of the two parts that the nodes lie in; `None` if they are connected.
    fn smaller_part(&self, one: Node, two: Node) -> Option<Vec<Node>> {
        let mut searches = [Search::new(one), Search::new(two)];
        let mut turn = 0;
        loop {
            let Some(node) = searches[turn].queue.pop_front() else {
                let mut part: Vec<Node> =
                    std::mem::take(&mut searches[turn].seen).into_iter().collect();
                part.sort_unstable();
                return Some(part);
            };
            for next in self.neighbours(node) {
                if searches[1 - turn].seen.contains(&next) {
                    return None;
                }
                if searches[turn].seen.insert(next) {
                    searches[turn].queue.push_back(next);
                }
            }
            turn = 1 - turn;
        }
    }

    /// Keeps a domain's content as it was before the transaction.
    pub(super) fn remember_domain(&self, journal: &mut Journal, id: DomainId) {
        if journal.domains.contains_key(&id) {
            return;
        }
        let domain = &self.domains[id];
        if domain.version > 0 {
            journal.versions.entry(ItemKey::Domain(domain.vni)).or_insert(domain.version);
        }
        if domain.locators_version > 0 {
            journal
                .versions
                .entry(ItemKey::Locators(domain.vni))
                .or_insert(domain.locators_version);
        }
        let had_switch = domain.version > 0;
        journal.domains.insert(id, had_switch.then(|| self.domain_item(id)));
    }

    /// The item of a domain, from its lists.
    pub(super) fn domain_item(&self, id: DomainId) -> DomainItem {
        let domain = &self.domains[id];
        let vnis = |list: &[DomainId]| {
            let mut vnis: Vec<Vni> = list.iter().map(|&id| self.domains[id].vni).collect();
            vnis.sort_unstable();
            vnis
        };
        DomainItem {
            sees: vnis(&domain.sees),
            reaches: vnis(&domain.reaches),
            spoofable: domain.spoofable,
        }
    }

    /// Brings closures and visibility up to date. Returns the domains whose lists or protection
    /// changed, each with what it saw before and whether it was spoofable.
    pub(super) fn update_visibility(
        &mut self,
        journal: &mut Journal,
    ) -> Map<DomainId, (Vec<DomainId>, bool)> {
        // What the links beyond components lead to now has to be looked at as well.
        let crossing: Vec<RouterId> = journal.crossing.iter().copied().collect();
        for id in crossing {
            let router = &self.routers[id];
            let mut lower: Vec<DomainId> =
                router.silent_by.iter().map(|&r| self.routers[r].domain).collect();
            let mut upper: Vec<DomainId> =
                router.links.silent.iter().map(|&r| self.routers[r].domain).collect();
            lower.push(router.domain);
            upper.push(router.domain);
            let down = self.search(&lower, false);
            let up = self.search(&upper, true);
            journal.closures.extend(down.into_iter().chain(up).chain(lower).chain(upper));
            let peers = router.links.peers.iter().chain(&router.peered_by);
            journal.closures.extend(peers.map(|&r| self.routers[r].domain));
        }
        let mut pending: Vec<DomainId> = journal.closures.iter().copied().collect();
        pending.sort_unstable();
        // A component that got its first switch, or lost its last, appears in others' lists.
        let mut more: Set<DomainId> = Set::default();
        for &id in &pending {
            let domain = &self.domains[id];
            if domain.switches.is_empty() != (domain.sees.binary_search(&id).is_err()) {
                for list in [&domain.up, &domain.down, &domain.peers] {
                    more.extend(list.iter().copied());
                }
                more.extend(self.search(&[id], true));
                more.extend(self.search(&[id], false));
                more.extend(self.peer_domains(id));
            }
        }
        pending.extend(more);
        pending.sort_unstable();
        pending.dedup();

        let mut before: Map<DomainId, (Vec<DomainId>, bool)> = Map::default();
        for &id in &pending {
            let empty = self.domains[id].switches.is_empty() && self.domains[id].routers.is_empty();
            let (up, down, peers) = if empty {
                Default::default()
            } else {
                (self.search(&[id], true), self.search(&[id], false), self.peer_domains(id))
            };
            self.set_lists(journal, id, up, down, peers, &mut before);
        }
        self.update_protection(journal, &mut before);
        before
    }

    fn set_lists(
        &mut self,
        journal: &mut Journal,
        id: DomainId,
        up: Vec<DomainId>,
        down: Vec<DomainId>,
        peers: Vec<DomainId>,
        before: &mut Map<DomainId, (Vec<DomainId>, bool)>,
    ) {
        let has_switch = |id: &DomainId| !self.domains[*id].switches.is_empty();
        let (reaches, sees) = if has_switch(&id) {
            let mut reaches: Vec<DomainId> =
                up.iter().chain(&peers).copied().filter(has_switch).collect();
            reaches.push(id);
            let mut sees = reaches.clone();
            sees.extend(down.iter().copied().filter(has_switch));
            for list in [&mut reaches, &mut sees] {
                list.sort_unstable();
                list.dedup();
            }
            (reaches, sees)
        } else {
            (Vec::new(), Vec::new())
        };
        let domain = &self.domains[id];
        if domain.reaches != reaches || domain.sees != sees {
            self.remember_domain(journal, id);
            let domain = &mut self.domains[id];
            before.entry(id).or_insert((domain.sees.clone(), domain.spoofable));
            domain.reaches = reaches;
            domain.sees = sees;
        }
        let domain = &mut self.domains[id];
        domain.up = up;
        domain.down = down;
        domain.peers = peers;
    }

    /// Brings `spoofable` up to date where visibility or the number of unprotected ports changed.
    fn update_protection(
        &mut self,
        journal: &mut Journal,
        before: &mut Map<DomainId, (Vec<DomainId>, bool)>,
    ) {
        let mut pending: Vec<DomainId> = before.keys().copied().collect();
        for &id in journal.protection.iter().filter(|_| !planted::is(Bug::SpoofableStale)) {
            pending.extend(self.domains[id].sees.iter().copied());
        }
        pending.sort_unstable();
        pending.dedup();
        for id in pending {
            let domain = &self.domains[id];
            let spoofable = domain.sees.iter().any(|&seen| self.domains[seen].unprotected > 0);
            if spoofable != domain.spoofable {
                self.remember_domain(journal, id);
                let domain = &mut self.domains[id];
                before.entry(id).or_insert((domain.sees.clone(), domain.spoofable));
                domain.spoofable = spoofable;
            }
        }
    }

    /// The components that silent uplinks lead to from some, or from which they lead there, sorted
    /// and without those one starts from, unless a way leads back.
    fn search(&self, from: &[DomainId], up: bool) -> Vec<DomainId> {
        let mut seen: Set<DomainId> = Set::default();
        let mut queue: Vec<DomainId> = from.to_vec();
        while let Some(id) = queue.pop() {
            for router in self.domains[id].routers.iter() {
                let router = &self.routers[router];
                let next = if up { &router.links.silent } else { &router.silent_by };
                for &other in next {
                    let other = self.routers[other].domain;
                    if seen.insert(other) {
                        queue.push(other);
                    }
                }
            }
        }
        let mut found: Vec<DomainId> = seen.into_iter().collect();
        found.sort_unstable();
        found
    }

    fn peer_domains(&self, id: DomainId) -> Vec<DomainId> {
        let mut found: Vec<DomainId> = self.domains[id]
            .routers
            .iter()
            .flat_map(|router| {
                let router = &self.routers[router];
                router.links.peers.iter().chain(&router.peered_by)
            })
            .map(|&router| self.routers[router].domain)
            .collect();
        if planted::is(Bug::PeeringsTransitive) {
            found.extend(found.clone().iter().flat_map(|&peer| self.domains[peer].peers.clone()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The ports of a domain that are attached.
    pub(super) fn ports_of(&self, id: DomainId) -> IdSet<super::ids::PortId> {
        IdSet::union_of(self.domains[id].switches.iter().map(|switch| &self.switches[switch].ports))
    }
}

struct Search {
    seen: Set<Node>,
    queue: VecDeque<Node>,
}

impl Search {
    fn new(node: Node) -> Search {
        let mut seen = Set::default();
        seen.insert(node);
        Search { seen, queue: VecDeque::from([node]) }
    }
}
