//! One answer, as an explanation to read.
//!
//! ```text
//! tcp 5432 from port shop/app-0 (10.20.2.10) to port shop/db-0 (10.20.3.10): allowed
//!   path: switch shop/app -> router shop/main -> switch shop/db
//!   at the source, host host-02 allows it: no policy decides
//!   at the destination, host host-01 allows it: rule 0 "from-app" of policy shop/db (allow, ...)
//!     the policy is applied to port shop/db-0 through group shop/db (revision 2)
//!       its labels match the selector tier=db of group shop/db
//!     the source is port shop/app-0 in group shop/app (revision 2)
//!       its labels match the selector tier=app of group shop/app
//!     the packet is in tcp:5432
//!     without that: the default of policy shop/db (drop, ...)
//! at revision 2
//! ```

use super::state::State;
use super::{Expected, verdict_name};
use crate::output::render;
use owo_colors::OwoColorize;
use spanwire_adminproto::wire::decider::Kind;
use spanwire_adminproto::{convert, wire};

/// Which end is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

impl Side {
    /// What is at this end.
    fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Destination => "destination",
        }
    }

    /// What is at the other end.
    fn other(self) -> &'static str {
        match self {
            Side::Source => "destination",
            Side::Destination => "source",
        }
    }
}

/// The whole answer.
pub(super) fn to_text(
    answer: &wire::VerdictAnswer,
    packet: &str,
    revision: u64,
    state: &State,
) -> String {
    let mut text = Text { text: String::new(), state };
    let verdict = verdict_name(answer);
    let verdict = match Expected::of(answer) {
        Some(Expected::Allowed) => verdict.green().to_string(),
        Some(Expected::Denied) => verdict.red().to_string(),
        Some(Expected::Unreachable) | None => verdict.yellow().to_string(),
    };
    let (source, destination) = (end(answer.source.as_ref()), end(answer.destination.as_ref()));
    text.line(0, &format!("{packet} from {source} to {destination}: {verdict}"));
    if !answer.path.is_empty() {
        text.line(1, &format!("path: {}", path(&answer.path)));
    }
    if let Some(end) = &answer.path_end {
        text.line(1, &format!("where it ends: {}", end.reason));
    }
    let denied_first = answer.at_source.as_ref().is_some_and(is_denied);
    text.decision(Side::Source, answer.source.as_ref(), answer.at_source.as_ref(), false);
    text.decision(
        Side::Destination,
        answer.destination.as_ref(),
        answer.at_destination.as_ref(),
        denied_first,
    );
    text.line(0, &format!("at revision {revision}"));
    text.text
}

/// What decided, in a few words.
pub(super) fn summary(answer: &wire::VerdictAnswer) -> String {
    if let Some(end) = &answer.path_end {
        return end.reason.clone();
    }
    let decided = |side: &Option<wire::HostDecision>| side.as_ref()?.decided.as_ref().map(decider);
    match (&answer.at_source, &answer.at_destination) {
        (Some(source), _) if is_denied(source) => decided(&answer.at_source),
        (_, Some(_)) => decided(&answer.at_destination),
        (source, None) => decided(source),
    }
    .unwrap_or_default()
}

fn is_denied(decision: &wire::HostDecision) -> bool {
    let action = decision.decided.as_ref().map(|decided| decided.action());
    matches!(action, Some(wire::Action::Drop | wire::Action::Reject))
}

fn end(end: Option<&wire::PacketEnd>) -> String {
    match end {
        None => "somewhere".to_owned(),
        Some(wire::PacketEnd { address, port: Some(port), .. }) => {
            format!("{} ({address})", render::key(port))
        }
        Some(wire::PacketEnd { address, port: None, .. }) => format!("{address} outside"),
    }
}

fn path(steps: &[wire::PathStep]) -> String {
    let step = |step: &wire::PathStep| {
        let object = render::key_or_dash(step.object.as_ref());
        match step.link.as_str() {
            "start" => object,
            "uplink" => format!(" -> uplink {object}"),
            "downlink" => format!(" -> down to {object}"),
            "peering" => format!(" -> peer {object}"),
            _ => format!(" -> {object}"),
        }
    };
    steps.iter().map(step).collect()
}

/// What decides, with where it stands in the order of evaluation.
fn decider(decider: &wire::Decider) -> String {
    let policy = render::key_or_dash(decider.policy.as_ref());
    let part = match decider.kind() {
        Kind::Rule if decider.rule_name.is_empty() => format!("rule {} of {policy}", decider.rule),
        Kind::Rule => format!("rule {} {:?} of {policy}", decider.rule, decider.rule_name),
        Kind::Default => format!("the default of {policy}"),
        Kind::None => return "no policy decides".to_owned(),
        Kind::Unspecified => return "something that this client does not know".to_owned(),
    };
    format!(
        "{part} ({}, tier {}, priority {}, revision {})",
        action(decider),
        decider.tier,
        decider.priority,
        decider.revision
    )
}

/// The action as documents have it.
pub(super) fn action(decider: &wire::Decider) -> &'static str {
    match decider.action() {
        wire::Action::Allow => "allow",
        wire::Action::Drop => "drop",
        wire::Action::Reject => "reject",
        wire::Action::Pass => "pass",
        wire::Action::Unspecified => "-",
    }
}

/// An entry of a service as people read it.
pub(super) fn entry(entry: &wire::ServiceEntry) -> String {
    match convert::to_service_entry(entry) {
        Ok(entry) => entry.to_string(),
        Err(_) => "an entry that this client does not know".to_owned(),
    }
}

/// Indented lines.
struct Text<'a> {
    text: String,
    /// Knows where objects stand, if they stand in files.
    state: &'a State,
}

impl Text<'_> {
    fn line(&mut self, depth: usize, line: &str) {
        self.text.extend(std::iter::repeat_n("  ", depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn decision(
        &mut self,
        side: Side,
        end: Option<&wire::PacketEnd>,
        decision: Option<&wire::HostDecision>,
        is_denied_before: bool,
    ) {
        let (Some(end), Some(decision)) = (end, decision) else { return };
        let Some(decided) = &decision.decided else { return };
        let verb = match (is_denied(decision), is_denied_before) {
            (true, false) => "denies it",
            (false, false) => "allows it",
            (true, true) => "would deny it too",
            (false, true) => "would allow it",
        };
        self.line(
            1,
            &format!("at the {}, host {} {verb}: {}", side.name(), end.host, decider(decided)),
        );
        if let Some(place) = self.state.place_of(decided.policy.as_ref()) {
            self.line(2, &format!("it stands at {place}"));
        }
        self.reasons(side, end, decided);
        for passed in &decision.passed {
            self.line(2, &format!("passed over before: {}", decider(passed)));
        }
        if let Some(next) = &decision.next {
            self.line(2, &format!("without that: {}", decider(next)));
        }
    }

    fn reasons(&mut self, side: Side, end: &wire::PacketEnd, decided: &wire::Decider) {
        let port = render::key_or_dash(end.port.as_ref());
        if let Some(applied) = &decided.applied {
            let group = render::key_or_dash(applied.group.as_ref());
            let revision = applied.revision;
            self.line(
                2,
                &format!("the policy is applied to {port} through {group} (revision {revision})"),
            );
            self.steps(&applied.steps);
        }
        if decided.kind() != Kind::Rule {
            return;
        }
        match &decided.peer {
            None => self.line(2, &format!("the rule takes any {}", side.other())),
            Some(peer) => self.peer(side, peer),
        }
        match &decided.entry {
            None => self.line(2, "the rule takes any packet"),
            Some(matched) => {
                let entry = matched.entry.as_ref().map(entry).unwrap_or_default();
                let line = match &matched.service {
                    None => format!("the packet is in {entry}"),
                    Some(service) => format!(
                        "the packet is in {entry} of {} (revision {})",
                        render::key(service),
                        matched.revision
                    ),
                };
                self.line(2, &line);
            }
        }
    }

    fn peer(&mut self, side: Side, peer: &wire::MatchedPeer) {
        let other = side.other();
        let group =
            format!("{} (revision {})", render::key_or_dash(peer.group.as_ref()), peer.revision);
        let line = match (&peer.port, peer.negated) {
            (_, true) => format!("the {other} is not in {group}, and the rule takes what is not"),
            (Some(port), false) if peer.out_of_sight => format!(
                "the {other} has the address of {} in {group}, which lies out of sight and counts \
                 because addresses can be forged here",
                render::key(port)
            ),
            (Some(port), false) => format!("the {other} is {} in {group}", render::key(port)),
            (None, false) => format!("the {other} is in {group}"),
        };
        self.line(2, &line);
        self.steps(&peer.steps);
    }

    fn steps(&mut self, steps: &[wire::MembershipStep]) {
        for step in steps {
            let depth = usize::try_from(step.depth).unwrap_or(usize::MAX).min(64);
            self.line(3 + depth, &step.finding);
        }
    }
}
