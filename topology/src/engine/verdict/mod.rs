//! Whether a packet is delivered, and why.
//!
//! The procedure, in order:
//!
//! 1. The ends are resolved to ports and addresses of one family (`ends`).
//! 2. Both ports must be bound to a host, and the destination's domain must be one that the
//!    source's reaches. An address outside lies in no domain, and the model does not say what leads
//!    there: it is taken to be within reach. [`path`](super::path) finds the way, or where it ends.
//! 3. The outbound rules decide at the source's host, then the inbound rules at the destination's,
//!    each as the documentation of [`SecurityPolicySpec`](crate::model::SecurityPolicySpec) says
//!    (`decide`). Peers are compared by address with what the host of the port holds, as its
//!    datapath does (`matching`).
//! 4. Who asks for the reasons is told besides how the packet matched (`matching`, `membership`),
//!    and what would decide if the rule or default that decided were not there: step 3 once more
//!    without it.
//!
//! Everything here is a pure function of the state. Where several answers are equally good, the one
//! whose objects are older wins, so that replicas answer alike.

mod answer;
mod decide;
mod ends;
mod matching;
mod membership;

pub use answer::{
    Decider, ExplainedVerdict, HostDecision, MatchedEntry, MatchedPeer, Membership, MembershipStep,
    PacketEnd, PeerContent,
};

use super::api::{Decision, Endpoint, PacketKind, QueryError, Verdict};
use super::state::Engine;
use decide::Seen;
use ends::End;

impl Engine {
    pub(super) fn judge(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        packet: PacketKind,
    ) -> Result<Verdict, QueryError> {
        let (source, destination) = self.resolve_ends(source, destination)?;
        if let Some(reason) = self.obstacle(&source, &destination) {
            return Ok(Verdict::Unreachable { reason });
        }
        let [out, into] = seen_from_both(&source, &destination, packet);
        let decision = |seen: Option<Seen>| match seen {
            Some(seen) => self.decision(self.decide(seen, None, &mut |_| {})),
            None => Decision::NoneApplies,
        };
        let out = decision(out);
        if !out.is_allowed() {
            return Ok(Verdict::DeniedAtSource(out));
        }
        let into = decision(into);
        Ok(if into.is_allowed() {
            Verdict::Allowed(out, into)
        } else {
            Verdict::DeniedAtDestination(out, into)
        })
    }

    pub(super) fn judge_and_explain(
        &self,
        source: &Endpoint,
        destination: &Endpoint,
        packet: PacketKind,
    ) -> Result<ExplainedVerdict, QueryError> {
        let (source, destination) = self.resolve_ends(source, destination)?;
        let unbound = self.unbound(&source, &destination);
        let path = match (unbound, source.port, destination.port) {
            (None, Some(from), Some(to)) => {
                Some(self.path_between(self.ports[from].switch, self.ports[to].switch))
            }
            _ => None,
        };
        let mut explained = ExplainedVerdict {
            source: self.packet_end(&source),
            destination: self.packet_end(&destination),
            verdict: Verdict::Allowed(Decision::NoneApplies, Decision::NoneApplies),
            unbound: unbound.map(|port| self.port_key(port)),
            path,
            at_source: None,
            at_destination: None,
        };
        // What the domains say decides; the path only tells of it, and its search may give up.
        if let Some(reason) = self.obstacle(&source, &destination) {
            let reason = explained.obstacle().unwrap_or(reason);
            explained.verdict = Verdict::Unreachable { reason };
            return Ok(explained);
        }
        let [out, into] = seen_from_both(&source, &destination, packet);
        explained.at_source = out.map(|seen| self.explain_decision(seen));
        explained.at_destination = into.map(|seen| self.explain_decision(seen));
        let decision = |side: &Option<HostDecision>| {
            side.as_ref().map_or(Decision::NoneApplies, |side| side.decided.decision.clone())
        };
        let (out, into) = (decision(&explained.at_source), decision(&explained.at_destination));
        explained.verdict = match (out.is_allowed(), into.is_allowed()) {
            (false, _) => Verdict::DeniedAtSource(out),
            (true, false) => Verdict::DeniedAtDestination(out, into),
            (true, true) => Verdict::Allowed(out, into),
        };
        Ok(explained)
    }
}

/// The packet as the source's host sees it on its way out, and the destination's on its way in.
fn seen_from_both(source: &End, destination: &End, packet: PacketKind) -> [Option<Seen>; 2] {
    let seen = |here: &End, there: &End, inbound: bool| {
        Some(Seen { port: here.port?, inbound, other: there.address, packet })
    };
    [seen(source, destination, false), seen(destination, source, true)]
}
