//! What a check of a host's view found (guarantee G13).

use crate::codec::{DecodeError, key_from_wire, key_to_wire};
use crate::limits::{DIFFERENCE_MEMBERS_MAX, DIFFERENCE_TEXT_BYTES_MAX, DIFFERENCES_MAX};
use crate::message::cut;
use crate::wire;
use spanwire_topology::model::{DefaultActions, PortAttachment, Revision};
use spanwire_topology::view::{
    DomainItem, Item, ItemKey, Locator, PolicyItem, PortItem, VersionedItem,
};
use std::cmp::Ordering;

/// How an item of a host differed from what it should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// The host did not have it, and should have.
    Missing,
    /// The host had it, and should not have.
    Extra,
    /// The host had something else under its name.
    Differs,
}

impl Found {
    /// The name for listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Found::Missing => "missing",
            Found::Extra => "extra",
            Found::Differs => "differs",
        }
    }
}

/// The members of an item that were wrong: addresses, locators, blocks, rules. A few of each, and how
/// many there were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Some that were there and should not have been.
    pub extra: Vec<String>,
    /// Some that were not there and should have been.
    pub missing: Vec<String>,
    /// How many there were of the former.
    pub extra_count: u32,
    /// How many there were of the latter.
    pub missing_count: u32,
}

/// One item that a check found to differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The item.
    pub key: ItemKey,
    /// How it differed.
    pub found: Found,
    /// Its members that were wrong, as the host says; none if it is missing or extra as a whole.
    pub members: Members,
}

/// What a check found. If something differed, it was repaired by the time that there is a report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Which check of the session, from 1.
    pub number: u64,
    /// The revision that the host held.
    pub revision: Revision,
    /// How many items it should have had.
    pub items: usize,
    /// What differed, sorted by item.
    pub differences: Vec<Difference>,
    /// How many more items differed.
    pub differences_omitted: usize,
    /// The revision of the batch that repaired it; 0 if nothing had to be.
    pub repaired_at: Revision,
    /// Why the check came to no end, if it did not.
    pub problem: Option<String>,
}

impl CheckReport {
    /// How many items differed.
    pub fn found(&self) -> usize {
        self.differences.len() + self.differences_omitted
    }
}

impl Members {
    /// How an item that is held differs from what it should be.
    pub fn compare(held: &VersionedItem, wanted: &VersionedItem) -> Members {
        let mut members = Members::default();
        if held.item == wanted.item && held.version != wanted.version {
            members.add_extra(format!("version {}", held.version));
            members.add_missing(format!("version {}", wanted.version));
            return members;
        }
        match (&*held.item, &*wanted.item) {
            (Item::Shard(held), Item::Shard(wanted)) => {
                members.diff(held.iter(), wanted.iter(), ToString::to_string);
            }
            (Item::Blocks(held), Item::Blocks(wanted)) => {
                members.diff(held.iter(), wanted.iter(), ToString::to_string);
            }
            (Item::Locators(held), Item::Locators(wanted)) => {
                members.diff(held.iter(), wanted.iter(), |Locator { address, mac, vtep }| {
                    format!("{address} ({mac}) at {vtep}")
                });
            }
            (held, wanted) => {
                members.diff(facts(held).iter(), facts(wanted).iter(), ToString::to_string);
            }
        }
        members
    }

    /// Adds what is in one of two sorted lists and not in the other.
    fn diff<T: Ord>(
        &mut self,
        held: impl Iterator<Item = T>,
        wanted: impl Iterator<Item = T>,
        text: impl Fn(&T) -> String,
    ) {
        let (mut held, mut wanted) = (held.peekable(), wanted.peekable());
        loop {
            let order = match (held.peek(), wanted.peek()) {
                (Some(held), Some(wanted)) => held.cmp(wanted),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let of_held = held.next_if(|_| order != Ordering::Greater);
            let of_wanted = wanted.next_if(|_| order != Ordering::Less);
            match (of_held, of_wanted) {
                (Some(extra), None) if self.extra.len() < DIFFERENCE_MEMBERS_MAX => {
                    self.add_extra(text(&extra));
                }
                (Some(_), None) => self.extra_count = self.extra_count.saturating_add(1),
                (None, Some(missing)) if self.missing.len() < DIFFERENCE_MEMBERS_MAX => {
                    self.add_missing(text(&missing));
                }
                (None, Some(_)) => self.missing_count = self.missing_count.saturating_add(1),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    fn add_extra(&mut self, text: String) {
        self.extra.push(cut(&text, DIFFERENCE_TEXT_BYTES_MAX).to_owned());
        self.extra_count = self.extra_count.saturating_add(1);
    }

    fn add_missing(&mut self, text: String) {
        self.missing.push(cut(&text, DIFFERENCE_TEXT_BYTES_MAX).to_owned());
        self.missing_count = self.missing_count.saturating_add(1);
    }

    pub(crate) fn to_wire(&self, key: ItemKey) -> wire::ItemRepair {
        let Members { extra, missing, extra_count, missing_count } = self.clone();
        wire::ItemRepair { key: Some(key_to_wire(key)), extra, missing, extra_count, missing_count }
    }

    /// From the wire, within bounds, whoever made it.
    pub(crate) fn from_wire(repair: wire::ItemRepair) -> Result<(ItemKey, Members), DecodeError> {
        let wire::ItemRepair { key, extra, missing, extra_count, missing_count } = repair;
        let key = key_from_wire(key.as_ref())?;
        let within = |texts: Vec<String>| -> Vec<String> {
            let texts = texts.iter().take(DIFFERENCE_MEMBERS_MAX);
            texts.map(|text| cut(text, DIFFERENCE_TEXT_BYTES_MAX).to_owned()).collect()
        };
        let (extra, missing) = (within(extra), within(missing));
        Ok((key, Members { extra, missing, extra_count, missing_count }))
    }
}

/// Repairs on the wire: an error if there are more than a host may tell of.
pub(crate) fn repairs_from_wire(
    repaired: Vec<wire::ItemRepair>,
) -> Result<Vec<(ItemKey, Members)>, DecodeError> {
    if repaired.len() > DIFFERENCES_MAX {
        let (count, max) = (repaired.len() as u64, DIFFERENCES_MAX as u64);
        return Err(DecodeError::Limit { what: "repairs of an acknowledgement", count, max });
    }
    repaired.into_iter().map(Members::from_wire).collect()
}

/// What is to be said of an item that is no list, each thing by itself, sorted.
fn facts(item: &Item) -> Vec<String> {
    let mut facts = match item {
        Item::Domain(item) => facts_of_domain(item),
        Item::Port(item) => facts_of_port(item),
        Item::Policy(item) => facts_of_policy(item),
        Item::Blocks(_) | Item::Shard(_) | Item::Locators(_) => {
            vec!["an item of another type".to_owned()]
        }
    };
    facts.sort_unstable();
    facts
}

fn facts_of_domain(item: &DomainItem) -> Vec<String> {
    let DomainItem { sees, reaches, spoofable } = item;
    let sees = sees.iter().map(|domain| format!("sees domain {domain}"));
    let reaches = reaches.iter().map(|domain| format!("reaches domain {domain}"));
    sees.chain(reaches).chain([format!("spoofable {spoofable}")]).collect()
}

fn facts_of_port(item: &PortItem) -> Vec<String> {
    let PortItem { project, name, domain, mac, addresses, attachment, port_security, groups } =
        item;
    let attachment = match attachment {
        PortAttachment::Derived => "interface of a derived name".to_owned(),
        PortAttachment::Interface(interface) => format!("interface {interface}"),
        PortAttachment::HostStack => "the host's own stack".to_owned(),
    };
    let of_its_own = [
        format!("name {project}/{name}"),
        format!("domain {domain}"),
        format!("MAC address {mac}"),
        attachment,
        format!("port security {port_security}"),
    ];
    let addresses = addresses.iter().map(|address| format!("address {address}"));
    let groups = groups.iter().map(|group| format!("group {group}"));
    addresses.chain(groups).chain(of_its_own).collect()
}

fn facts_of_policy(item: &PolicyItem) -> Vec<String> {
    let PolicyItem { project, name, applied_to, tier, priority, defaults, rules } = item;
    let DefaultActions { inbound, outbound } = defaults;
    let of_its_own = [
        format!("name {project}/{name}"),
        format!("tier {tier}"),
        format!("priority {priority}"),
        format!("default in {inbound:?}"),
        format!("default out {outbound:?}"),
    ];
    let rules =
        rules.iter().enumerate().map(|(position, rule)| format!("rule {position} {rule:?}"));
    let groups = applied_to.iter().map(|group| format!("applied to group {group}"));
    rules.chain(groups).chain(of_its_own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanwire_topology::model::{Mac, Vni};
    use std::net::IpAddr;
    use std::sync::Arc;

    fn versioned(version: Revision, item: Item) -> VersionedItem {
        VersionedItem { version, item: Arc::new(item) }
    }

    fn address(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn compare(held: Item, wanted: Item) -> Members {
        Members::compare(&versioned(3, held), &versioned(3, wanted))
    }

    #[test]
    fn members_are_told_by_name() {
        let shard = |numbers: &[u8]| Item::Shard(numbers.iter().copied().map(address).collect());
        let members = compare(shard(&[1, 2, 4]), shard(&[2, 3, 4, 5]));
        assert_eq!(members.extra, ["10.0.0.1"]);
        assert_eq!(members.missing, ["10.0.0.3", "10.0.0.5"]);
        let locators = |vtep: u8| {
            let (address, vtep) = (address(1), address(vtep));
            let locator = Locator { address, mac: Mac::derived_from(address), vtep };
            Item::Locators([locator].into_iter().collect())
        };
        let members = compare(locators(8), locators(9));
        assert!(members.extra[0].ends_with("at 10.0.0.8"), "{members:?}");
        assert!(members.missing[0].ends_with("at 10.0.0.9"), "{members:?}");
        let domain = |sees: u32| {
            Item::Domain(DomainItem { sees: vec![Vni(sees)], reaches: vec![], spoofable: false })
        };
        let members = compare(domain(5), domain(6));
        assert_eq!(members.extra, ["sees domain 5"]);
        assert_eq!(members.missing, ["sees domain 6"]);
        let members = Members::compare(&versioned(9, domain(5)), &versioned(3, domain(5)));
        assert_eq!((&*members.extra[0], &*members.missing[0]), ("version 9", "version 3"));
    }

    #[test]
    fn what_is_told_is_bounded() {
        let all = Item::Shard((0..200).map(address).collect());
        let members = compare(all, Item::Shard(Vec::new()));
        assert_eq!((members.extra.len(), members.extra_count), (DIFFERENCE_MEMBERS_MAX, 200));
        let key = ItemKey::Locators(Vni(1));
        let hostile = wire::ItemRepair {
            extra: vec!["ä".repeat(500); 500],
            ..Members::default().to_wire(key)
        };
        let (back, members) = Members::from_wire(hostile).unwrap();
        assert_eq!((back, members.extra.len()), (key, DIFFERENCE_MEMBERS_MAX));
        assert!(members.extra[0].len() <= DIFFERENCE_TEXT_BYTES_MAX);
        let many = vec![Members::default().to_wire(key); DIFFERENCES_MAX + 1];
        let error = repairs_from_wire(many).unwrap_err().to_string();
        assert!(error.contains("101 is more than the limit"), "{error}");
    }
}
