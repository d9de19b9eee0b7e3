//! The way between the member and a port on the host, or where it ends.

use super::rules::Source;
use super::{Question, step};
use crate::engine::api::ExplainStep;
use crate::engine::ids::{DomainId, PortId};
use crate::engine::state::Engine;
use crate::model::ObjectKey;

/// Domains of the host whose ways to the member are told where none arrives.
const DOMAINS_MAX: usize = 4;

impl Engine {
    pub(super) fn explain_meeting(
        &self,
        question: &Question<'_>,
        port: PortId,
        member: &ObjectKey,
        sources: &[Source],
        steps: &mut Vec<ExplainStep>,
    ) {
        let condition = "such a port and the member can meet in the logical topology".to_owned();
        let member_switch = self.switches[self.ports[port].switch].object.resource.key();
        let domain = self.domain_of(port);
        let vni = self.domains[domain].vni;
        let Some(source) = sources.first() else {
            let finding = "there is no such port to see it from";
            steps.push(step(condition, false, finding, vec![member_switch], 0));
            return;
        };
        let here = &self.domains[self.domain_of(source.port)];
        if here.sees.binary_search(&domain).is_ok() {
            let (finding, objects) = self.way(source.port, port);
            steps.push(step(condition, true, finding, objects, 0));
            return;
        }
        let spoofable = sources.iter().find(|source| {
            let domain = self.domain_of(source.port);
            self.domains[domain].spoofable && self.is_protected_at(question, domain)
        });
        if let Some(source) = spoofable {
            let finding = format!(
                "a deny rule or negated peer needs the whole group, because port security is off \
                 for a port that domain {} sees, and a forged source address could slip past \
                 otherwise (G3)",
                self.domains[self.domain_of(source.port)].vni
            );
            steps.push(step(condition, true, finding, vec![member_switch], 0));
            return;
        }
        let mut domains: Vec<DomainId> = Vec::new();
        let mut ways = Vec::new();
        for source in sources {
            let domain = self.domain_of(source.port);
            if domains.contains(&domain) || domains.len() == DOMAINS_MAX {
                continue;
            }
            domains.push(domain);
            let key = self.ports[source.port].object.resource.key();
            for (from, to, one, two) in
                [(source.port, port, &key, member), (port, source.port, member, &key)]
            {
                let path = self.path_between(self.ports[from].switch, self.ports[to].switch);
                let condition = format!("a packet from {one} gets to {two}");
                let objects = path.objects().cloned().collect();
                ways.push(step(condition, path.arrives(), path.to_string(), objects, 1));
            }
        }
        let own: Vec<String> = domains.iter().map(|&id| self.domains[id].vni.to_string()).collect();
        let finding = format!(
            "it lies in domain {vni}; such ports on the host lie in domain {}, and neither router \
             path nor peering leads from one to the other",
            own.join(", ")
        );
        steps.push(step(condition, false, finding, vec![member_switch], 0));
        steps.append(&mut ways);
    }

    /// True if a rule on the host in this domain must have the whole group (guarantee G3).
    fn is_protected_at(&self, question: &Question<'_>, domain: DomainId) -> bool {
        self.placement_of(question.host, domain)
            .and_then(|placement| self.groups[question.group].interest.get(placement))
            .is_some_and(|interest| interest.protected > 0)
    }

    /// How two ports that see each other do, and the places on the way.
    fn way(&self, one: PortId, two: PortId) -> (String, Vec<ObjectKey>) {
        let (from, to) = (self.ports[one].switch, self.ports[two].switch);
        let (here, there) = (self.domain_of(one), self.domain_of(two));
        if from == to {
            let key = self.switches[from].object.resource.key();
            return (format!("both are on {key}"), vec![key]);
        }
        let there_path = self.path_between(from, to);
        let path = match there_path.arrives() {
            true => there_path,
            // Seen one way only: what starts there gets here.
            false => self.path_between(to, from),
        };
        let vni = |id: DomainId| self.domains[id].vni;
        let relation = match here == there {
            true => format!("both lie in domain {}", vni(here)),
            false => {
                format!(
                    "domain {} of such a port and domain {} see each other",
                    vni(here),
                    vni(there)
                )
            }
        };
        (format!("{relation}: {path}"), path.objects().cloned().collect())
    }
}
