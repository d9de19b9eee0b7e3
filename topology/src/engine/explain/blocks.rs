//! How an address that belongs to no port is in a group's CIDR blocks, or by what it is not.

use super::{DEPTH_MAX, Question, step};
use crate::engine::api::Explanation;
use crate::engine::ids::GroupId;
use crate::engine::state::{Engine, Term};
use crate::model::ObjectKey;
use std::net::IpAddr;

impl Engine {
    /// Nothing if the address lies in no block that the group is made of.
    pub(super) fn explain_address_in_blocks(
        &self,
        question: &Question<'_>,
        address: IpAddr,
    ) -> Option<Explanation> {
        let mut objects = Vec::new();
        let within = self.groups[question.group].blocks.contains(address);
        let finding = if within {
            let way = self.block_path(question.group, address, &mut objects, 0);
            format!("{way}; blocks belong to no domain")
        } else {
            self.missing_block(question.group, address, &mut objects, 0)?
        };
        let condition = format!("{address} lies in a CIDR block of {}", question.group_key);
        let mut steps = vec![step(condition, within, finding, objects, 0)];
        self.explain_rules_for_blocks(question, &mut steps);
        let has_member = within && self.wants_blocks(question.host, question.group);
        Some(Explanation { has_member, steps })
    }

    /// The blocks by which an address is in a group, from the outside in.
    fn block_path(
        &self,
        id: GroupId,
        address: IpAddr,
        objects: &mut Vec<ObjectKey>,
        depth: u32,
    ) -> String {
        let key = self.key_of_group(id);
        objects.push(key.clone());
        let own = self.groups[id].spec().blocks.iter().find(|block| {
            block.cidr().contains(&address) && !block.except().iter().any(|e| e.contains(&address))
        });
        if let Some(block) = own {
            return format!("it lies in {} of {key}", block.cidr());
        }
        let within = |group: &GroupId| self.groups[*group].blocks.contains(address);
        let inner = self.groups[id].terms.iter().find_map(|term| match term {
            Term::Group(inner) => Some(*inner).filter(within),
            Term::Intersection(list) => list.first().copied().filter(|_| list.iter().all(within)),
            Term::Difference(of, minus) => {
                Some(*of).filter(|of| within(of) && !minus.iter().any(within))
            }
            _ => None,
        });
        match inner.filter(|_| depth < DEPTH_MAX) {
            Some(inner) => format!(
                "{key} takes it from {}, {}",
                self.key_of_group(inner),
                self.block_path(inner, address, objects, depth + 1)
            ),
            None => format!("it lies in a block of a group that {key} takes in"),
        }
    }

    /// Why an address that lies in some block is not in the group after all.
    fn missing_block(
        &self,
        id: GroupId,
        address: IpAddr,
        objects: &mut Vec<ObjectKey>,
        depth: u32,
    ) -> Option<String> {
        let key = self.key_of_group(id);
        let within = |group: &GroupId| self.groups[*group].blocks.contains(address);
        for block in &self.groups[id].spec().blocks {
            let except = block.except().iter().find(|except| except.contains(&address));
            if let Some(except) = except {
                objects.push(key);
                let cidr = block.cidr();
                return Some(format!("it lies in {except}, which {cidr} leaves out"));
            }
        }
        self.groups[id].terms.iter().find_map(|term| match term {
            Term::Group(inner) if depth < DEPTH_MAX => {
                self.missing_block(*inner, address, objects, depth + 1)
            }
            Term::Intersection(list) if list.iter().any(within) => {
                let missing = *list.iter().find(|group| !within(group))?;
                let missing = self.key_of_group(missing);
                objects.extend([key.clone(), missing.clone()]);
                Some(format!("{key} takes what its groups have in common, and {missing} lacks it"))
            }
            Term::Difference(of, minus) if within(of) => {
                let taken = *minus.iter().find(|group| within(group))?;
                let taken = self.key_of_group(taken);
                objects.extend([key.clone(), taken.clone()]);
                Some(format!("{key} takes away what is in {taken}, and it is"))
            }
            _ => None,
        })
    }
}
