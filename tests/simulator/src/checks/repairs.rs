//! G13: a check names what is wrong with what a host holds, all of it and nothing else.

use super::{Finding, Reference, finding};
use spanwire_hostproto::{CheckReport, Difference, Found};
use spanwire_topology::model::Text;
use spanwire_topology::view::{HostView, Item, ItemKey};
use std::collections::BTreeSet;

const CHECK: &str = "G13 repairable";

/// A check has ended, of a host that held `asked` when it was asked.
pub fn check_repair(
    reference: &Reference,
    host: &Text,
    asked: &HostView,
    report: &CheckReport,
) -> Result<(), Finding> {
    let error = |what: String| Err(finding(CHECK, format!("a check of {host}: {what}")));
    let Some(expected) = reference.view_at(host, asked.revision) else {
        return error(format!("revision {} is not committed", asked.revision));
    };
    let (revision, items) = (report.revision, report.items);
    if (revision, items) != (asked.revision, expected.items.len()) {
        return error(format!("{items} items at {revision}, not {}", expected.items.len()));
    }
    for difference in &report.differences {
        check_difference(asked, &expected, difference).or_else(error)?;
    }
    let named: BTreeSet<ItemKey> = report.differences.iter().map(|found| found.key).collect();
    let later = reference.view_at(host, report.repaired_at);
    for key in expected.items.keys().chain(asked.items.keys()) {
        let wanted = expected.items.get(key);
        if wanted == asked.items.get(key) || named.contains(key) {
            continue;
        }
        // What changed meanwhile is sent as a change.
        let has_changed = report.repaired_at > 0
            && later.as_ref().is_some_and(|later| later.items.get(key) != wanted);
        if !has_changed {
            return error(format!("{key} is wrong and not named"));
        }
    }
    Ok(())
}

/// Something that was named is as it was named.
fn check_difference(
    asked: &HostView,
    expected: &HostView,
    difference: &Difference,
) -> Result<(), String> {
    let Difference { key, found, members } = difference;
    let (held, wanted) = (asked.items.get(key), expected.items.get(key));
    let is_right = match found {
        Found::Missing => held.is_none() && wanted.is_some(),
        Found::Extra => held.is_some() && wanted.is_none(),
        Found::Differs => held.is_some() && wanted.is_some() && held != wanted,
    };
    if !is_right {
        return Err(format!("{key} is named as {}", found.as_str()));
    }
    let (Some(held), Some(wanted)) = (held, wanted) else { return Ok(()) };
    let told = (members.extra_count as usize, members.missing_count as usize);
    let Some((held, wanted)) = members_of(&held.item).zip(members_of(&wanted.item)) else {
        return match told {
            (0, _) | (_, 0) => Err(format!("it is not told what {key} had wrong")),
            _ => Ok(()),
        };
    };
    let (extra, missing) = (held.difference(&wanted), wanted.difference(&held));
    if told != (extra.count(), missing.count()) {
        return Err(format!("{key} is told to have had {told:?} members wrong"));
    }
    Ok(())
}

/// The members of an item that is a list of some.
fn members_of(item: &Item) -> Option<BTreeSet<String>> {
    match item {
        Item::Shard(members) => Some(members.iter().map(ToString::to_string).collect()),
        Item::Locators(members) => Some(members.iter().map(|m| format!("{m:?}")).collect()),
        Item::Domain(_) | Item::Port(_) | Item::Policy(_) | Item::Blocks(_) => None,
    }
}
