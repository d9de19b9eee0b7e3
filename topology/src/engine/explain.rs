//! Why a host has, or lacks, a member of a group.

use super::api::{ExplainStep, Explanation, HostId, QueryError};
use super::ids::{GroupId, PlacementId, PortId};
use super::state::{Engine, Term};
use crate::model::{Kind, ObjectKey, SYSTEM_PROJECT};

impl Engine {
    pub(super) fn explain_member(
        &self,
        host: &str,
        member: &ObjectKey,
        group: &ObjectKey,
    ) -> Result<Explanation, QueryError> {
        let find =
            |key: &ObjectKey| self.slot_of(key).ok_or_else(|| QueryError::NotFound(key.clone()));
        let host_key = ObjectKey::new(Kind::Host, SYSTEM_PROJECT, host);
        let host = HostId(find(&host_key)?);
        let port = PortId(find(member)?);
        let id = GroupId(find(group)?);
        let domain = self.domain_of(port);
        let vni = self.domains[domain].vni;

        let mut steps = vec![self.explain_membership(port, member, id, group)];
        let shard = self.shard_of(id, domain).filter(|_| self.ports[port].groups.contains(&id));
        let rules = self.rules_on(host, id);
        steps.push(ExplainStep {
            condition: format!(
                "a policy with {group} as a peer is applied to a port on {host_key}"
            ),
            holds: !rules.is_empty(),
            finding: match rules.first() {
                None if self.hosts[host].ports.is_empty() => {
                    format!("{host_key} has no ports")
                }
                None => format!(
                    "no policy applied to one of the {} ports on {host_key} names it as a peer",
                    self.hosts[host].ports.len()
                ),
                Some((policy, port)) => format!("{policy} is applied to {port}"),
            },
            objects: rules.iter().take(1).flat_map(|(a, b)| [a.clone(), b.clone()]).collect(),
        });

        let placements: Vec<PlacementId> = self.hosts[host]
            .placements
            .iter()
            .map(|&(_, placement)| placement)
            .filter(|&placement| self.groups[id].interest.contains_key(placement))
            .collect();
        let seeing = placements.iter().find(|&&placement| {
            self.domains[self.placements[placement].domain].sees.binary_search(&domain).is_ok()
        });
        let whole = placements.iter().find(|&&placement| {
            let interest = self.groups[id].interest.get(placement).copied().unwrap_or_default();
            interest.protected > 0 && self.domains[self.placements[placement].domain].spoofable
        });
        let own: Vec<String> = placements
            .iter()
            .map(|&p| self.domains[self.placements[p].domain].vni.to_string())
            .collect();
        let (holds, finding) = match (seeing, whole) {
            (Some(&placement), _) => {
                let here = &self.domains[self.placements[placement].domain];
                let finding = if self.placements[placement].domain == domain {
                    format!("both lie in domain {vni}")
                } else {
                    format!("domain {} of such a port and domain {vni} see each other", here.vni)
                };
                (true, finding)
            }
            (None, Some(&placement)) => {
                let here = &self.domains[self.placements[placement].domain];
                let finding = format!(
                    "a deny rule or negated peer needs the whole group, because port security is \
                     off for a port that domain {} sees, and a forged source address could slip \
                     past otherwise (G3)",
                    here.vni
                );
                (true, finding)
            }
            (None, None) if own.is_empty() => {
                (false, "there is no such port to see it from".to_owned())
            }
            (None, None) => (
                false,
                format!(
                    "it lies in domain {vni}; such ports on the host lie in domain {}, and neither \
                     router path nor peering leads from one to the other",
                    own.join(", ")
                ),
            ),
        };
        steps.push(ExplainStep {
            condition: "such a port and the member can meet in the logical topology".to_owned(),
            holds,
            finding,
            objects: vec![self.switches[self.ports[port].switch].object.resource.key()],
        });
        let has_member = shard.is_some_and(|shard| self.shards[shard].subscribers.contains(host));
        Ok(Explanation { has_member, steps })
    }

    fn explain_membership(
        &self,
        port: PortId,
        member: &ObjectKey,
        id: GroupId,
        group: &ObjectKey,
    ) -> ExplainStep {
        let mut objects = vec![group.clone()];
        let holds = self.ports[port].groups.binary_search(&id).is_ok();
        let finding = if holds {
            let mut path = Vec::new();
            self.membership_path(port, id, &mut path, &mut objects);
            path.join(", ")
        } else {
            format!("none of its {} terms holds for {member}", self.groups[id].terms.len())
        };
        ExplainStep {
            condition: format!("{member} is a member of {group}"),
            holds,
            finding,
            objects,
        }
    }

    /// The terms by which a port is in a group, from the outside in.
    fn membership_path(
        &self,
        port: PortId,
        id: GroupId,
        path: &mut Vec<String>,
        objects: &mut Vec<ObjectKey>,
    ) {
        let groups = &self.ports[port].groups;
        let within = |group: &GroupId| groups.binary_search(group).is_ok();
        let name = |group: GroupId| self.groups[group].object.resource.key();
        for term in &self.groups[id].terms {
            let inner = match term {
                Term::Selector => {
                    if self.signatures[self.ports[port].signature].groups.binary_search(&id).is_ok()
                    {
                        path.push(format!("its labels match the selector of {}", name(id)));
                        return;
                    }
                    continue;
                }
                Term::Switch(switch) if self.ports[port].switch == *switch => {
                    let key = self.switches[*switch].object.resource.key();
                    path.push(format!("it is on {key}"));
                    objects.push(key);
                    return;
                }
                Term::Router(router)
                    if self.switches[self.ports[port].switch]
                        .routers
                        .binary_search(router)
                        .is_ok() =>
                {
                    let key = self.routers[*router].object.resource.key();
                    path.push(format!("it is on a switch of {key}"));
                    objects.push(key);
                    return;
                }
                Term::Port(named) if *named == port => {
                    path.push(format!("{} names it", name(id)));
                    return;
                }
                Term::Group(inner) if within(inner) => *inner,
                Term::Intersection(list) if list.iter().all(within) => list[0],
                Term::Difference(of, minus) if within(of) && !minus.iter().any(within) => *of,
                _ => continue,
            };
            let key = name(inner);
            path.push(format!("{} takes it from {key}", name(id)));
            objects.push(key);
            self.membership_path(port, inner, path, objects);
            return;
        }
    }

    /// Policies with a group as a peer that are applied to ports of a host, each with one port.
    fn rules_on(&self, host: HostId, group: GroupId) -> Vec<(ObjectKey, ObjectKey)> {
        let mut found: Vec<(ObjectKey, ObjectKey)> = self.groups[group]
            .peer_of
            .iter()
            .filter_map(|&policy| {
                let port = self.hosts[host].ports.iter().find(|&port| {
                    let groups = &self.ports[port].groups;
                    self.policies[policy].applied_to.iter().any(|a| groups.binary_search(a).is_ok())
                })?;
                Some((
                    self.policies[policy].object.resource.key(),
                    self.ports[port].object.resource.key(),
                ))
            })
            .collect();
        found.sort_unstable();
        found
    }
}
