//! Which rule on the host names the group, or why none does.

use super::{Question, names, step};
use crate::engine::api::ExplainStep;
use crate::engine::ids::{DomainId, GroupId, PolicyId, PortId};
use crate::engine::lint::rule_name;
use crate::engine::state::{Engine, Policy};
use crate::model::ObjectKey;

/// Policies that are told of where none is applied on the host.
const POLICIES_MAX: usize = 8;
/// Ports of the host that a rule is applied to and that are looked at: one in each domain counts.
const SOURCES_MAX: usize = 16;
/// Groups further out that are named where the group itself is no peer.
const OUTER_MAX: usize = 3;

/// A port on the host to which a policy with the group as a peer is applied.
pub(super) struct Source {
    pub(super) port: PortId,
    pub(super) policy: PolicyId,
    /// The group by which the policy is applied to it.
    applied: GroupId,
}

impl Engine {
    /// Returns ports on the host with such a rule, those that see the member's domain first, and
    /// otherwise one of each domain.
    pub(super) fn explain_rules(
        &self,
        question: &Question<'_>,
        member_domain: DomainId,
        steps: &mut Vec<ExplainStep>,
    ) -> Vec<Source> {
        let domain_of = |source: &Source| &self.domains[self.domain_of(source.port)];
        let sees = |source: &Source| domain_of(source).sees.binary_search(&member_domain).is_ok();
        // Where addresses can be forged the host has members that it does not see, too (G3).
        let matters = |source: &Source| sees(source) || domain_of(source).spoofable;
        let mut sources = self.sources(question, matters);
        // Stable: of those that see it, the one named first stays first.
        sources.sort_by_key(|source| !sees(source));
        self.push_rule_step(question, sources.first(), steps);
        sources
    }

    /// As [`Engine::explain_rules`], for members that belong to no domain.
    pub(super) fn explain_rules_for_blocks(
        &self,
        question: &Question<'_>,
        steps: &mut Vec<ExplainStep>,
    ) {
        let sources = self.sources(question, |_| false);
        self.push_rule_step(question, sources.first(), steps);
    }

    fn push_rule_step(
        &self,
        question: &Question<'_>,
        source: Option<&Source>,
        steps: &mut Vec<ExplainStep>,
    ) {
        let Question { host, host_key, group, group_key } = question;
        let condition =
            format!("a policy with {group_key} as a peer is applied to a port on {host_key}");
        if let Some(source) = source {
            let policy = &self.policies[source.policy];
            let key = policy.object.resource.key();
            let port = self.ports[source.port].object.resource.key();
            let applied = self.key_of_group(source.applied);
            let finding = format!(
                "{} of {key} names it, and {key} is applied to {port}, a member of {applied}",
                naming_rules(policy, group_key)
            );
            steps.push(step(condition, true, finding, vec![key, port, applied], 0));
            return;
        }
        let peer_of = &self.groups[*group].peer_of;
        let ports = self.hosts[*host].ports.len();
        let finding = match (ports, peer_of.len()) {
            (0, _) => format!("{host_key} has no ports"),
            (_, 0) => format!("no policy has {group_key} as a peer{}", self.outer_peers(*group)),
            (ports, _) => format!(
                "no policy applied to one of the {ports} ports on {host_key} names it as a peer"
            ),
        };
        steps.push(step(condition, false, finding, Vec::new(), 0));
        for &id in peer_of.iter().take(POLICIES_MAX) {
            let policy = &self.policies[id];
            let key = policy.object.resource.key();
            let applied: Vec<ObjectKey> =
                policy.applied_to.iter().map(|&group| self.key_of_group(group)).collect();
            let condition = format!(
                "{key}, whose {} names it, is applied there",
                naming_rules(policy, group_key)
            );
            let finding = match applied.is_empty() {
                true => "it is applied to no group".to_owned(),
                false => format!("no port on {host_key} is a member of {}", names(&applied)),
            };
            steps.push(step(condition, false, finding, vec![key], 1));
        }
    }

    /// Groups that take this one in and are peers: the host has the member as one of theirs.
    fn outer_peers(&self, group: GroupId) -> String {
        let outer: Vec<ObjectKey> = self.groups[group]
            .parents
            .iter()
            .filter(|&&outer| !self.groups[outer].peer_of.is_empty())
            .take(OUTER_MAX)
            .map(|&outer| self.key_of_group(outer))
            .collect();
        match outer.is_empty() {
            true => String::new(),
            false => format!("; {} refers to it and is: ask for that one", names(&outer)),
        }
    }

    /// Ports on the host to which policies with the group as a peer are applied, by the name of the
    /// policy and the port; at most one of each domain for a policy. Past [`SOURCES_MAX`] only those
    /// that `matters` holds for are taken, so that none of these is missed.
    fn sources(&self, question: &Question<'_>, matters: impl Fn(&Source) -> bool) -> Vec<Source> {
        let mut policies: Vec<PolicyId> = self.groups[question.group].peer_of.clone();
        policies.sort_by_cached_key(|&policy| self.policies[policy].object.resource.key());
        let mut found: Vec<Source> = Vec::new();
        for policy in policies {
            let mut domains: Vec<DomainId> = Vec::new();
            let mut here: Vec<Source> = Vec::new();
            for port in self.hosts[question.host].ports.iter() {
                let groups = &self.ports[port].groups;
                let mut applied_to = self.policies[policy].applied_to.iter();
                let applied = applied_to.find(|group| groups.binary_search(group).is_ok());
                let domain = self.domain_of(port);
                if let Some(&applied) = applied.filter(|_| !domains.contains(&domain)) {
                    domains.push(domain);
                    here.push(Source { port, policy, applied });
                }
            }
            here.sort_by_cached_key(|source| self.ports[source.port].object.resource.key());
            let room = SOURCES_MAX.saturating_sub(found.len());
            let taken = here.into_iter().enumerate().filter(|(n, s)| *n < room || matters(s));
            found.extend(taken.map(|(_, source)| source));
        }
        found
    }
}

/// `rule 1 (web)`, `rule 1 and rule 3`
fn naming_rules(policy: &Policy, group: &ObjectKey) -> String {
    let rules = policy.spec().rules.iter().enumerate();
    let naming: Vec<String> = rules
        .filter(|(_, rule)| {
            rule.peers
                .iter()
                .any(|peer| peer.group.project == group.project && peer.group.name == group.name)
        })
        .map(|(position, _)| rule_name(policy, position))
        .collect();
    naming.join(" and ")
}
