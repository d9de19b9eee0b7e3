//! Our nftables table as a value: the compiler makes one from the view, the listing reads one from
//! the kernel, and the work is the difference.

use crate::datapath::linux::names::fnv1a;
use ipnet::IpNet;
use serde_json::Value;
use spanwire_topology::model::{Mac, Text};
use spanwire_topology::view::Item;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What the elements of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SetKind {
    Ipv4,
    Ipv6,
    Ipv4Blocks,
    Ipv6Blocks,
    Device,
    DeviceMac,
    DeviceMacIpv4,
    DeviceMacIpv6,
}

impl SetKind {
    /// The parts of an element, as nft calls their types.
    pub(crate) fn types(self) -> &'static [&'static str] {
        match self {
            SetKind::Ipv4 | SetKind::Ipv4Blocks => &["ipv4_addr"],
            SetKind::Ipv6 | SetKind::Ipv6Blocks => &["ipv6_addr"],
            SetKind::Device => &["ifname"],
            SetKind::DeviceMac => &["ifname", "ether_addr"],
            SetKind::DeviceMacIpv4 => &["ifname", "ether_addr", "ipv4_addr"],
            SetKind::DeviceMacIpv6 => &["ifname", "ether_addr", "ipv6_addr"],
        }
    }

    /// True if the elements are ranges.
    pub(crate) fn is_interval(self) -> bool {
        matches!(self, SetKind::Ipv4Blocks | SetKind::Ipv6Blocks)
    }
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Element {
    Address(IpAddr),
    Net(IpNet),
    Device(Text),
    DeviceMac(Text, Mac),
    DeviceMacAddress(Text, Mac, IpAddr),
}

/// The elements of a set.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Those of one family of a shard or of blocks, which are shared with the view: a host may hold
    /// a hundred thousand of them.
    Shared(Arc<Item>),
    /// Others.
    Own(BTreeSet<Element>),
}

/// A set.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) kind: SetKind,
    pub(crate) content: Content,
}

impl Set {
    /// The elements, sorted.
    pub(crate) fn elements(&self) -> Vec<Element> {
        match &self.content {
            Content::Own(elements) => elements.iter().cloned().collect(),
            Content::Shared(item) => {
                let v4 = matches!(self.kind, SetKind::Ipv4 | SetKind::Ipv4Blocks);
                match &**item {
                    Item::Shard(members) => members
                        .iter()
                        .filter(|address| address.is_ipv4() == v4)
                        .map(|address| Element::Address(*address))
                        .collect(),
                    Item::Blocks(nets) => nets
                        .iter()
                        .filter(|net| net.addr().is_ipv4() == v4)
                        .map(|net| Element::Net(*net))
                        .collect(),
                    _ => Vec::new(),
                }
            }
        }
    }

    /// True if it is plain without looking at the elements that two sets are the same.
    pub(crate) fn is_same(&self, other: &Set) -> bool {
        match (&self.content, &other.content) {
            (Content::Shared(left), Content::Shared(right)) => Arc::ptr_eq(left, right),
            (Content::Own(left), Content::Own(right)) => left == right,
            _ => false,
        }
    }
}

/// A rule. Two rules are the same if their comments are: a comment ends in a hash of the
/// expressions, which the kernel gives back in other words than it was given them.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) comment: String,
    /// Not known of a rule that was read from the kernel.
    pub(crate) expressions: Vec<Value>,
}

/// The longest comment that nft takes, in bytes.
const COMMENT_BYTES_MAX: usize = 127;

impl Rule {
    /// A rule that does what the expressions say, and says what it is there for.
    pub(crate) fn new(label: &str, expressions: Vec<Value>) -> Rule {
        let hash = fnv1a(Value::from(expressions.as_slice()).to_string().as_bytes());
        let suffix = format!(" #{hash:016x}");
        let label = truncate(label, COMMENT_BYTES_MAX - suffix.len());
        Rule { comment: format!("{label}{suffix}"), expressions }
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.comment == other.comment
    }
}

/// As much of a text as fits, cut between characters.
pub(crate) fn truncate(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Where a chain is called by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) hook: &'static str,
    pub(crate) priority: i32,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Chain {
    /// Where the kernel calls it; `None` for chains that rules call.
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

/// The table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ruleset {
    pub(crate) sets: BTreeMap<String, Set>,
    /// Maps from the name of a device to the chain that its packets go to.
    pub(crate) maps: BTreeMap<String, BTreeMap<Text, String>>,
    pub(crate) chains: BTreeMap<String, Chain>,
}

impl Ruleset {
    /// Adds a set.
    pub(crate) fn set(&mut self, name: impl Into<String>, kind: SetKind, content: Content) {
        self.sets.insert(name.into(), Set { kind, content });
    }

    /// Adds a chain that rules call.
    pub(crate) fn chain(&mut self, name: impl Into<String>, rules: Vec<Rule>) {
        self.chains.insert(name.into(), Chain { hook: None, rules });
    }
}
