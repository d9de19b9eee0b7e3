//! Why a host has, or lacks, a member of a group.
//!
//! Three conditions, each a step: the port (or address) is in the group; a rule with the group as a
//! peer is applied to a port on the host; such a port and the member can meet. Where one fails, the
//! steps of more depth after it say of what it is made and which part fails.
//!
//! | Module | Subject |
//! |---|---|
//! | `membership` | how a port is in a group, or by what it is not |
//! | `blocks` | the same for an address that belongs to no port |
//! | `rules` | which rule on the host names the group, or why none does |
//! | `meeting` | the way between the two, or where it ends |

mod blocks;
mod meeting;
mod membership;
mod rules;

use super::api::{ExplainStep, Explanation, HostId, QueryError};
use super::ids::{GroupId, PortId};
use super::state::Engine;
use crate::model::{Kind, ObjectKey, SYSTEM_PROJECT};
use std::net::IpAddr;

/// The most steps about one condition: enough for anybody to read.
const STEPS_MAX: usize = 64;
/// How deep groups in groups are followed.
const DEPTH_MAX: u32 = 6;

/// A host and a group, by name and by identifier.
struct Question<'a> {
    host: HostId,
    host_key: ObjectKey,
    group: GroupId,
    group_key: &'a ObjectKey,
}

impl Engine {
    pub(super) fn explain_member(
        &self,
        host: &str,
        member: &ObjectKey,
        group: &ObjectKey,
    ) -> Result<Explanation, QueryError> {
        let question = self.question(host, group)?;
        let port = PortId(self.find_object(member)?);
        Ok(self.explain_port(&question, port, member))
    }

    /// Explains every port that has the address, and the CIDR blocks it lies in.
    pub(super) fn explain_any(
        &self,
        host: &str,
        address: IpAddr,
        group: &ObjectKey,
    ) -> Result<Explanation, QueryError> {
        let question = self.question(host, group)?;
        let mut all = Explanation { has_member: false, steps: Vec::new() };
        for member in self.find_address(address) {
            let port = PortId(self.find_object(&member)?);
            let Explanation { has_member, mut steps } = self.explain_port(&question, port, &member);
            let condition = format!("{address} is an address of {member}");
            all.steps.push(step(condition, true, "see the steps that follow", vec![member], 0));
            all.has_member |= has_member;
            all.steps.append(&mut steps);
        }
        if let Some(Explanation { has_member, mut steps }) =
            self.explain_address_in_blocks(&question, address)
        {
            all.has_member |= has_member;
            all.steps.append(&mut steps);
        }
        if all.steps.is_empty() {
            return Err(QueryError::NoSuchAddress(address));
        }
        Ok(all)
    }

    fn question<'a>(
        &self,
        host: &str,
        group_key: &'a ObjectKey,
    ) -> Result<Question<'a>, QueryError> {
        let host_key = ObjectKey::new(Kind::Host, SYSTEM_PROJECT, host);
        let host = HostId(self.find_object(&host_key)?);
        let group = GroupId(self.find_object(group_key)?);
        Ok(Question { host, host_key, group, group_key })
    }

    fn find_object(&self, key: &ObjectKey) -> Result<u32, QueryError> {
        self.slot_of(key).ok_or_else(|| QueryError::NotFound(key.clone()))
    }

    fn explain_port(
        &self,
        question: &Question<'_>,
        port: PortId,
        member: &ObjectKey,
    ) -> Explanation {
        let mut steps = Vec::new();
        self.explain_membership(question, port, member, &mut steps);
        let sources = self.explain_rules(question, self.domain_of(port), &mut steps);
        self.explain_meeting(question, port, member, &sources, &mut steps);
        let is_member = self.ports[port].groups.binary_search(&question.group).is_ok();
        let shard = self.shard_of(question.group, self.domain_of(port)).filter(|_| is_member);
        let has_member =
            shard.is_some_and(|shard| self.shards[shard].subscribers.contains(question.host));
        Explanation { has_member, steps }
    }

    fn key_of_group(&self, group: GroupId) -> ObjectKey {
        self.groups[group].object.resource.key()
    }
}

fn step(
    condition: String,
    holds: bool,
    finding: impl Into<String>,
    objects: Vec<ObjectKey>,
    depth: u32,
) -> ExplainStep {
    ExplainStep { condition, holds, finding: finding.into(), objects, depth }
}

/// `group a/x, group a/y`
fn names(keys: &[ObjectKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
