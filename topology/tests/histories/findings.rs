//! What lint is certain of, against what becomes of every packet of the universe.
//!
//! A rule that is said never to match, or to be shadowed, must not decide about any packet; nor must
//! a default that is said to be out of reach. Part of what is said of groups, policies and routers is
//! worked out anew from the definitions, by the oracle; the other rules have their tables of cases.

use crate::support::{Check, fail};
use crate::universe::{count, key};
use spanwire_oracle::{Network, Resources};
use spanwire_topology::engine::{Decision, Endpoint, PacketKind, Verdict};
use spanwire_topology::lint::{Finding, LintQuestion, RULES, Severity};
use spanwire_topology::model::*;
use spanwire_topology::{Engine, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Rules whose findings say that a rule of a policy never decides.
const NEVER_DECIDES: [&str; 5] = [
    "family-mismatch",
    "rule-without-peers",
    "rule-without-services",
    "shadowed-rule",
    "unreachable-peers",
];

/// How often each rule found something.
pub(crate) type Found = BTreeMap<&'static str, usize>;

/// What decided at least once: rules by position, and defaults by direction.
#[derive(Default)]
struct Deciders {
    rules: BTreeSet<(ObjectKey, usize)>,
    defaults: BTreeSet<(ObjectKey, bool)>,
}

impl Deciders {
    fn add(&mut self, decision: Decision, inbound: bool) {
        match decision {
            Decision::Rule { policy, index, .. } => {
                self.rules.insert((policy, index));
            }
            Decision::Default { policy, .. } => {
                self.defaults.insert((policy, inbound));
            }
            Decision::NoneApplies => {}
        }
    }
}

/// Checks every finding about an engine's state, and counts them.
pub(crate) fn check_findings(engine: &Engine, resources: &Resources, found: &mut Found) -> Check {
    let question = LintQuestion { project: None, severity: Severity::Info, limit: usize::MAX };
    let report = engine.lint(question);
    let deciders = all_deciders(engine);
    let network = Network::new(resources);
    for finding in &report.findings {
        *found.entry(finding.rule).or_default() += 1;
        if let Some(problem) = contradiction(finding, &deciders, &network, resources) {
            return fail(format!("{finding}, but {problem}"));
        }
    }
    check_complete(&report.findings, &network, resources)
}

/// The same network with much to find: each policy has its rules once more with other actions, and
/// stands once more in the next tier.
pub(crate) fn with_repetitions(resources: &Resources) -> Resources {
    let mut repeated = Resources::new();
    for (key, resource) in resources {
        let Spec::SecurityPolicy(policy) = &*resource.spec else {
            repeated.insert(key.clone(), resource.clone());
            continue;
        };
        let mut policy = policy.clone();
        let again: Vec<Rule> = policy
            .rules
            .iter()
            .map(|rule| Rule { action: other_action(rule.action), ..rule.clone() })
            .collect();
        policy.rules.extend(again);
        let mut later = policy.clone();
        later.tier += 1;
        for (name, policy) in [(key.name.to_string(), policy), (format!("{}-2", key.name), later)] {
            let resource = Resource::new(
                key.project.clone(),
                name,
                Labels::clone(&resource.metadata.labels),
                Spec::SecurityPolicy(policy),
            );
            repeated.insert(resource.key(), resource);
        }
    }
    repeated
}

fn other_action(action: Action) -> Action {
    match action {
        Action::Allow => Action::Drop,
        Action::Drop => Action::Pass,
        Action::Pass => Action::Allow,
        Action::Reject => Action::Allow,
    }
}

/// Why a finding is wrong.
fn contradiction(
    finding: &Finding,
    deciders: &Deciders,
    network: &Network<'_>,
    resources: &Resources,
) -> Option<String> {
    let object = &finding.object;
    let has_ports =
        |group: &ObjectKey| network.group_ports(group).is_some_and(|ports| !ports.is_empty());
    match (finding.rule, finding.position) {
        (rule, Some(position)) if NEVER_DECIDES.contains(&rule) => deciders
            .rules
            .contains(&(object.clone(), position))
            .then(|| "the rule decides".to_owned()),
        ("unreachable-default", _) => {
            let inbound = finding.message.contains("to its ports");
            let decides = deciders.defaults.contains(&(object.clone(), inbound));
            decides.then(|| "the default decides".to_owned())
        }
        ("empty-group", _) => has_ports(object).then(|| "the group has ports".to_owned()),
        ("idle-policy", _) => match &*resources.get(object)?.spec {
            Spec::SecurityPolicy(policy) => {
                let groups = policy.applied_to.iter().map(|group| group.to_key(Kind::Group));
                groups.into_iter().find(has_ports).map(|group| format!("{group} has ports"))
            }
            _ => Some("it is no policy".to_owned()),
        },
        _ => None,
    }
}

/// A host has a member just if all three conditions hold, whatever else is told of them.
pub(crate) fn check_explanations(engine: &Engine) -> Check {
    for host in engine.list(Kind::Host, None, None) {
        let host = &host.resource.metadata.name;
        for port in engine.list(Kind::LogicalPort, None, None) {
            let port = port.resource.key();
            for group in engine.list(Kind::Group, None, None) {
                let group = group.resource.key();
                let explanation = match engine.explain(host, &port, &group) {
                    Ok(explanation) => explanation,
                    Err(error) => return fail(format!("{host}, {port}, {group}: {error}")),
                };
                let mut conditions = explanation.steps.iter().filter(|step| step.depth == 0);
                if conditions.all(|step| step.holds) != explanation.has_member {
                    return fail(format!("{host}, {port}, {group}: {explanation:#?}"));
                }
            }
        }
    }
    Ok(())
}

/// Rules that are exact must not miss anything.
fn check_complete(findings: &[Finding], network: &Network<'_>, resources: &Resources) -> Check {
    let said: BTreeSet<&ObjectKey> = findings
        .iter()
        .filter(|finding| finding.rule == "idle-policy")
        .map(|finding| &finding.object)
        .collect();
    for (key, resource) in resources {
        let Spec::SecurityPolicy(policy) = &*resource.spec else { continue };
        let idle = policy.applied_to.iter().all(|group| {
            network.group_ports(&group.to_key(Kind::Group)).is_none_or(|ports| ports.is_empty())
        });
        if idle != said.contains(key) {
            return fail(format!("{key} is idle: {idle}, and lint says otherwise"));
        }
    }
    Ok(())
}

/// Sends every packet of the universe from everywhere to everywhere.
fn all_deciders(engine: &Engine) -> Deciders {
    let mut ends: Vec<Endpoint> = Vec::new();
    for number in 0..count(Kind::LogicalPort) {
        let key = key(Kind::LogicalPort, number);
        let Some(object) = engine.get(&key) else { continue };
        let Spec::LogicalPort(port) = &*object.resource.spec else { continue };
        ends.extend(port.addresses.iter().map(|a| Endpoint::Port(key.clone(), Some(*a))));
    }
    for outside in ["10.0.0.1", "10.0.0.2", "10.0.1.3", "203.0.113.1", "fd00::1", "2001:db8::1"] {
        ends.extend(outside.parse().map(Endpoint::Outside));
    }
    let mut deciders = Deciders::default();
    for source in &ends {
        for destination in &ends {
            for packet in packets() {
                match engine.verdict(source, destination, packet) {
                    Ok(Verdict::DeniedAtSource(out)) => deciders.add(out, false),
                    Ok(Verdict::Allowed(out, into) | Verdict::DeniedAtDestination(out, into)) => {
                        deciders.add(out, false);
                        deciders.add(into, true);
                    }
                    Ok(Verdict::Unreachable { .. }) | Err(_) => {}
                }
            }
        }
    }
    deciders
}

fn packets() -> impl Iterator<Item = PacketKind> {
    let transport = |protocol, port| PacketKind::Transport { protocol, source_port: 2, port };
    [
        transport(TransportProtocol::Tcp, 1),
        transport(TransportProtocol::Tcp, 9),
        transport(TransportProtocol::Udp, 2),
        PacketKind::Icmp { icmp_type: 1, code: 0 },
        PacketKind::Icmp { icmp_type: 8, code: 1 },
    ]
    .into_iter()
}

/// Rules that a run of many histories must have had something to find for. The universe has no
/// subnets.
pub(crate) fn check_coverage(found: &Found) {
    for rule in RULES.iter().filter(|rule| !rule.id.contains("outside-subnets")) {
        let times = found.get(rule.id).copied().unwrap_or_default();
        // The selectors of the universe ask for what there can be.
        if rule.id == "contradictory-selector" {
            continue;
        }
        assert!(times > 0, "{} never found anything: {found:?}", rule.id);
    }
}
