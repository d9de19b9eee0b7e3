//! Verdicts with their reasons: every reason is checked against the resources themselves.

use crate::support::{Check, about, check_same, fail};
use proptest::test_runner::TestCaseError;
use spanwire_oracle::{Network, Resources};
use spanwire_topology::engine::*;
use spanwire_topology::model::*;
use spanwire_topology::{Engine, Kind, Spec};
use std::net::IpAddr;
use std::sync::Arc;

/// What explained verdicts told of, so that the histories show something about all of it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct VerdictCoverage {
    unbound: u64,
    no_router: u64,
    not_advertised: u64,
    not_transitive: u64,
    no_link: u64,
    beyond_domain: u64,
    rules: u64,
    defaults: u64,
    passes: u64,
    next: u64,
    next_of_same_policy: u64,
    members: u64,
    unseen_members: u64,
    blocks: u64,
    nested: u64,
}

impl VerdictCoverage {
    pub(crate) fn add(&mut self, other: VerdictCoverage) {
        let VerdictCoverage {
            unbound,
            no_router,
            not_advertised,
            not_transitive,
            no_link,
            beyond_domain,
            rules,
            defaults,
            passes,
            next,
            next_of_same_policy,
            members,
            unseen_members,
            blocks,
            nested,
        } = other;
        self.unbound += unbound;
        self.no_router += no_router;
        self.not_advertised += not_advertised;
        self.not_transitive += not_transitive;
        self.no_link += no_link;
        self.beyond_domain += beyond_domain;
        self.rules += rules;
        self.defaults += defaults;
        self.passes += passes;
        self.next += next;
        self.next_of_same_policy += next_of_same_policy;
        self.members += members;
        self.unseen_members += unseen_members;
        self.blocks += blocks;
        self.nested += nested;
    }

    /// Panics if something was never met that is not rare.
    pub(crate) fn check(&self) {
        let all = [
            self.unbound,
            self.no_router,
            self.not_advertised,
            self.no_link,
            self.beyond_domain,
            self.rules,
            self.defaults,
            self.passes,
            self.next,
            self.next_of_same_policy,
            self.members,
            self.blocks,
            self.nested,
        ];
        assert!(all.iter().all(|&met| met > 0), "{self:?}");
    }
}

/// An engine, and the same network as the oracle has it.
pub(crate) struct Explained<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) resources: &'a Resources,
    pub(crate) network: &'a Network<'a>,
}

impl Explained<'_> {
    /// Asks for a verdict with its reasons, and checks all of them.
    pub(crate) fn check(
        &self,
        from: &Endpoint,
        to: &Endpoint,
        packet: PacketKind,
    ) -> Result<VerdictCoverage, TestCaseError> {
        let mut met = VerdictCoverage::default();
        let plain = self.engine.verdict(from, to, packet);
        let explained = match (self.engine.explain_verdict(from, to, packet), plain) {
            (Ok(explained), Ok(verdict)) => {
                check_same("verdict", &unworded(&explained.verdict), &unworded(&verdict))?;
                explained
            }
            (Err(one), Err(two)) => {
                check_same("error", &one, &two)?;
                return Ok(met);
            }
            (one, two) => return fail(format!("explained {one:?}, plain {two:?}")),
        };
        let unreachable = matches!(explained.verdict, Verdict::Unreachable { .. });
        check_same("an obstacle", &explained.obstacle().is_some(), &unreachable)?;
        about(self.check_path(&explained, &mut met), || format!("{:?}", explained.path))?;
        let ends = [
            (&explained.source, &explained.destination, &explained.at_source, false),
            (&explained.destination, &explained.source, &explained.at_destination, true),
        ];
        for (here, there, decision, inbound) in ends {
            let expected = here.port.is_some() && !unreachable;
            check_same("a host decides", &decision.is_some(), &expected)?;
            if let (Some(port), Some(decision)) = (&here.port, decision) {
                let side = Side { at: self, port, inbound, other: there.address, packet };
                about(side.check(decision, &mut met), || format!("at {port}: {decision:?}"))?;
            }
        }
        Ok(met)
    }

    fn spec(&self, key: &ObjectKey) -> Result<&Spec, TestCaseError> {
        match self.resources.get(key) {
            Some(resource) => Ok(&resource.spec),
            None => fail(format!("{key} does not exist")),
        }
    }

    fn router(&self, key: &ObjectKey) -> Result<&LogicalRouterSpec, TestCaseError> {
        match self.spec(key)? {
            Spec::LogicalRouter(router) => Ok(router),
            _ => fail(format!("{key} is no router")),
        }
    }

    fn port(&self, key: &ObjectKey) -> Result<&LogicalPortSpec, TestCaseError> {
        match self.spec(key)? {
            Spec::LogicalPort(port) => Ok(port),
            _ => fail(format!("{key} is no port")),
        }
    }

    fn switch_of(&self, end: &PacketEnd) -> Result<Option<ObjectKey>, TestCaseError> {
        let Some(port) = &end.port else { return Ok(None) };
        Ok(Some(self.port(port)?.switch.to_key(Kind::LogicalSwitch)))
    }

    fn check_path(&self, explained: &ExplainedVerdict, met: &mut VerdictCoverage) -> Check {
        if let Some(port) = &explained.unbound {
            met.unbound += 1;
            check_same("path", &explained.path, &None)?;
            return check_same("bound", &self.port(port)?.host, &None);
        }
        let from = self.switch_of(&explained.source)?;
        let to = self.switch_of(&explained.destination)?;
        let (Some(from), Some(to)) = (from, to) else {
            return check_same("a way to the outside", &explained.path, &None);
        };
        let Some(Path { hops, end }) = &explained.path else {
            return fail("no path".to_owned());
        };
        check_same("first place", &hops.first().map(|hop| &hop.object), &Some(&from))?;
        let mut stage = "home";
        for pair in hops.windows(2) {
            stage = self.pass(stage, &pair[0].object, pair[1].link, &pair[1].object)?;
        }
        met.beyond_domain += u64::from(stage != "home" && end.is_none());
        let last = hops.last().map_or(&from, |hop| &hop.object);
        match end {
            None => check_same("last place", last, &to),
            Some(end) => self.check_end(end, stage, last, met),
        }
    }

    /// That the way really ends here, for the reason that is given.
    fn check_end(
        &self,
        end: &PathEnd,
        stage: &str,
        last: &ObjectKey,
        met: &mut VerdictCoverage,
    ) -> Check {
        match end {
            PathEnd::NoRouter => {
                met.no_router += 1;
                let has_interface = self.resources.values().any(|resource| {
                    matches!(&*resource.spec, Spec::LogicalRouter(router) if on_switch(router, last))
                });
                check_same("has a router", &has_interface, &false)
            }
            PathEnd::NoLink => {
                met.no_link += 1;
                self.router(last).map(|_| ())
            }
            PathEnd::NotAdvertised { next } => {
                met.not_advertised += 1;
                let lower = self.router(next)?;
                let names = named(&lower.uplinks, last);
                check_same("silent uplink", &(names && !lower.advertise), &true)
            }
            PathEnd::PeeringEnds { next } => {
                met.not_transitive += 1;
                check_same("stage", &stage, &"above")?;
                check_same("peers", &self.peer(last, next)?, &true)
            }
            PathEnd::BeyondPeering { next } => {
                met.not_transitive += 1;
                check_same("stage", &stage, &"across")?;
                let up = named(&self.router(last)?.uplinks, next);
                check_same("linked", &(up || self.peer(last, next)?), &true)
            }
            PathEnd::GaveUp => fail("it gave up in a small network".to_owned()),
        }
    }

    fn peer(&self, one: &ObjectKey, two: &ObjectKey) -> Result<bool, TestCaseError> {
        Ok(named(&self.router(one)?.peerings, two) || named(&self.router(two)?.peerings, one))
    }

    /// How a packet has come so far once it passes a link; fails if it cannot.
    fn pass<'s>(
        &self,
        stage: &'s str,
        from: &ObjectKey,
        link: Option<PathLink>,
        to: &ObjectKey,
    ) -> Result<&'s str, TestCaseError> {
        let advertised = |lower: &ObjectKey, upper: &ObjectKey| {
            let router = self.router(lower)?;
            Ok::<_, TestCaseError>(named(&router.uplinks, upper).then_some(router.advertise))
        };
        let next = match link {
            None => None,
            Some(PathLink::Interface) => {
                let (router, switch) =
                    if from.kind == Kind::LogicalRouter { (from, to) } else { (to, from) };
                on_switch(self.router(router)?, switch).then_some(stage)
            }
            Some(PathLink::Uplink) => match (advertised(from, to)?, stage) {
                (Some(true), stage) => Some(stage),
                (Some(false), "home" | "above") => Some("above"),
                _ => None,
            },
            Some(PathLink::Downlink) => (advertised(to, from)? == Some(true)).then_some(stage),
            Some(PathLink::Peering) => {
                (stage == "home" && self.peer(from, to)?).then_some("across")
            }
        };
        match next {
            Some(next) => Ok(next),
            None => fail(format!("no packet that is {stage} goes {link:?} from {from} to {to}")),
        }
    }
}

fn named(list: &[ObjectRef], router: &ObjectKey) -> bool {
    list.iter().any(|other| other.to_key(Kind::LogicalRouter) == *router)
}

fn on_switch(router: &LogicalRouterSpec, switch: &ObjectKey) -> bool {
    router.interfaces.iter().any(|i| i.switch.to_key(Kind::LogicalSwitch) == *switch)
}

/// One end that decides.
struct Side<'a> {
    at: &'a Explained<'a>,
    port: &'a ObjectKey,
    inbound: bool,
    other: IpAddr,
    packet: PacketKind,
}

impl Side<'_> {
    fn oracle(&self, network: &Network<'_>) -> Option<Decision> {
        network.decision(self.port, self.inbound, self.other, self.packet)
    }

    fn check(&self, decision: &HostDecision, met: &mut VerdictCoverage) -> Check {
        let HostDecision { decided, passed, next } = decision;
        let expected = self.oracle(self.at.network);
        check_same("decision", &Some(&decided.decision), &expected.as_ref())?;
        self.check_decider(decided, met)?;
        for passed in passed {
            met.passes += 1;
            check_same("action", &action_of(&passed.decision), &Some(Action::Pass))?;
            self.check_decider(passed, met)?;
        }
        let Some(without) = self.without(&decided.decision) else {
            return check_same("next", next, &None);
        };
        met.next += 1;
        let expected = self.oracle(&Network::new(&without));
        let next = match next {
            Some(next) => next,
            None => return fail(format!("nothing is next, expected {expected:?}")),
        };
        let found = renumbered(&next.decision, &decided.decision, met);
        check_same("what would decide next", &Some(found), &expected)?;
        self.check_decider(next, met)
    }

    /// The network without the rule or default that decides.
    fn without(&self, decision: &Decision) -> Option<Resources> {
        let mut resources = self.at.resources.clone();
        let (Decision::Rule { policy, .. } | Decision::Default { policy, .. }) = decision else {
            return None;
        };
        let resource = resources.get_mut(policy)?;
        let Spec::SecurityPolicy(spec) = &*resource.spec else { return None };
        let mut spec = spec.clone();
        match decision {
            Decision::Rule { index, .. } => {
                spec.rules.remove(*index);
            }
            Decision::Default { .. } if self.inbound => spec.defaults.inbound = None,
            Decision::Default { .. } => spec.defaults.outbound = None,
            Decision::NoneApplies => {}
        }
        resource.spec = Arc::new(Spec::SecurityPolicy(spec));
        Some(resources)
    }

    fn check_decider(&self, decider: &Decider, met: &mut VerdictCoverage) -> Check {
        let policy = match &decider.decision {
            Decision::NoneApplies => return check_same("reasons", decider, &Decider::default()),
            Decision::Rule { policy, .. } => {
                met.rules += 1;
                policy
            }
            Decision::Default { policy, .. } => {
                met.defaults += 1;
                check_same("peer of a default", &decider.peer, &None)?;
                policy
            }
        };
        let Spec::SecurityPolicy(spec) = self.at.spec(policy)? else {
            return fail(format!("{policy} is no policy"));
        };
        let revision = self.at.engine.get(policy).map(|object| object.revision);
        check_same("revision", &Some(decider.revision), &revision)?;
        check_same("order", &(decider.tier, decider.priority), &(spec.tier, spec.priority))?;
        match &decider.applied {
            None => return fail("it is applied by no group".to_owned()),
            Some(membership) => {
                let named = |group: &ObjectRef| group.to_key(Kind::Group) == membership.group;
                check_same("applied to", &spec.applied_to.iter().any(named), &true)?;
                self.check_membership(membership, self.port, met)?;
            }
        }
        let Decision::Rule { index, .. } = decider.decision else { return Ok(()) };
        let Some(rule) = spec.rules.get(index) else {
            return fail(format!("{policy} has no rule {index}"));
        };
        check_same("a peer", &decider.peer.is_some(), &!rule.peers.is_empty())?;
        check_same("an entry", &decider.entry.is_some(), &!rule.services.is_empty())?;
        if let Some(entry) = &decider.entry {
            let stands = rule.services.iter().any(|service| match service {
                ServiceMatch::Entry(written) => *written == entry.entry && entry.service.is_none(),
                ServiceMatch::Service(service) => {
                    Some(service.to_key(Kind::Service)) == entry.service
                }
            });
            check_same("the entry stands in the rule", &stands, &true)?;
        }
        match &decider.peer {
            Some(peer) => self.check_peer(rule, peer, met),
            None => Ok(()),
        }
    }

    fn check_peer(&self, rule: &Rule, peer: &MatchedPeer, met: &mut VerdictCoverage) -> Check {
        let named =
            |p: &Peer| p.group.to_key(Kind::Group) == peer.group && p.negate == peer.negated;
        check_same("the peer stands in the rule", &rule.peers.iter().any(named), &true)?;
        match &peer.content {
            PeerContent::Absent => check_same("negated", &peer.negated, &true),
            PeerContent::Block { steps } => {
                met.blocks += 1;
                check_same("steps", &steps.is_empty(), &false)
            }
            PeerContent::Port { port, in_sight, membership } => {
                met.members += 1;
                met.unseen_members += u64::from(!in_sight);
                check_same("negated", &peer.negated, &false)?;
                check_same("group", &membership.group, &peer.group)?;
                let has = self.at.port(port)?.addresses.contains(&self.other);
                check_same("the member has the address", &has, &true)?;
                self.check_membership(membership, port, met)
            }
        }
    }

    fn check_membership(
        &self,
        membership: &Membership,
        port: &ObjectKey,
        met: &mut VerdictCoverage,
    ) -> Check {
        let members = self.at.network.group_ports(&membership.group);
        let is_member = members.is_some_and(|members| members.contains(port));
        check_same("member", &is_member, &true)?;
        check_same("without steps", &membership.steps.is_empty(), &false)?;
        met.nested += u64::from(membership.steps.iter().any(|step| step.depth > 0));
        Ok(())
    }
}

fn action_of(decision: &Decision) -> Option<Action> {
    match decision {
        Decision::Rule { action, .. } | Decision::Default { action, .. } => Some(*action),
        Decision::NoneApplies => None,
    }
}

/// A decision with the number its rule has once the rule that decides is taken out.
fn renumbered(next: &Decision, decided: &Decision, met: &mut VerdictCoverage) -> Decision {
    let mut next = next.clone();
    if let (Decision::Rule { policy, index, .. }, Decision::Rule { policy: removed, index: at, .. }) =
        (&mut next, decided)
        && policy == removed
    {
        met.next_of_same_policy += 1;
        *index -= usize::from(*index > *at);
    }
    next
}

/// A verdict without the wording of its reason.
fn unworded(verdict: &Verdict) -> Verdict {
    match verdict {
        Verdict::Unreachable { .. } => Verdict::Unreachable { reason: String::new() },
        verdict => verdict.clone(),
    }
}
