//! Groups: sets of ports and CIDR blocks.

use super::object::{ObjectRef, Text};
use super::selector::Selector;
use ipnet::IpNet;
use std::collections::BTreeSet;

/// Whose ports a selector looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProjectScope {
    /// Those of the group's own project.
    Own,
    /// Those of every project.
    All,
    /// Those of the projects named.
    Listed(BTreeSet<Text>),
}

/// One term of a group. A group's ports are the union of its terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GroupTerm {
    /// The ports whose labels a selector matches.
    Selector {
        /// The selector.
        selector: Selector,
        /// Whose ports.
        projects: ProjectScope,
    },
    /// The ports of a switch.
    Switch(ObjectRef),
    /// The ports of the switches that a router has an interface on.
    Router(ObjectRef),
    /// One port by name.
    Port(ObjectRef),
    /// Everything in another group, its CIDR blocks included.
    Group(ObjectRef),
    /// What all of these groups have in common. Never empty.
    Intersection(Vec<ObjectRef>),
    /// What is in one group and in none of the others.
    Difference {
        /// The group to take from.
        of: ObjectRef,
        /// The groups to take away.
        minus: Vec<ObjectRef>,
    },
}

/// Why a CIDR block was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("exception {except} lies outside of {cidr}: an exception must be part of its block")]
pub struct CidrBlockError {
    /// The block.
    pub cidr: IpNet,
    /// The exception.
    pub except: IpNet,
}

/// A CIDR block with exceptions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CidrBlock {
    cidr: IpNet,
    except: Vec<IpNet>,
}

impl CidrBlock {
    /// A block without host bits, and the parts of it that are left out.
    pub fn new(cidr: IpNet, except: Vec<IpNet>) -> Result<CidrBlock, CidrBlockError> {
        let cidr = cidr.trunc();
        let except: Vec<IpNet> = except.into_iter().map(|net| net.trunc()).collect();
        match except.iter().find(|net| !cidr.contains(*net)) {
            Some(&except) => Err(CidrBlockError { cidr, except }),
            None => Ok(CidrBlock { cidr, except }),
        }
    }

    /// The block.
    pub fn cidr(&self) -> IpNet {
        self.cidr
    }

    /// The parts of it that are left out.
    pub fn except(&self) -> &[IpNet] {
        &self.except
    }
}

/// The body of a group: a set of ports, and a set of addresses that belong to no port.
///
/// Union, intersection and difference work on the two parts separately: a port is not a member
/// of a group because its address lies in one of the group's blocks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GroupSpec {
    /// The terms whose union the ports are.
    pub terms: Vec<GroupTerm>,
    /// CIDR blocks.
    pub blocks: Vec<CidrBlock>,
}

impl GroupSpec {
    /// The groups this one refers to, in the order in which they stand.
    pub fn group_refs(&self) -> impl Iterator<Item = &ObjectRef> {
        self.terms.iter().flat_map(|term| match term {
            GroupTerm::Group(group) => std::slice::from_ref(group).iter().chain(&[]),
            GroupTerm::Intersection(groups) => groups.iter().chain(&[]),
            GroupTerm::Difference { of, minus } => std::slice::from_ref(of).iter().chain(minus),
            GroupTerm::Selector { .. }
            | GroupTerm::Switch(_)
            | GroupTerm::Router(_)
            | GroupTerm::Port(_) => [].iter().chain(&[]),
        })
    }
}
