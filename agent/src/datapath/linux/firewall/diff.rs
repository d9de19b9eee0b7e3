//! From one table to another in one transaction. Pure.
//!
//! The kernel executes the commands in order and makes all of them visible at once; the order only
//! has to be one in which nothing refers to what does not exist.

use super::json::{self, Commands};
use super::ruleset::{Chain, Element, Ruleset, Set};
use serde_json::{Value, json};
use spanwire_topology::model::Text;
use std::collections::BTreeMap;

/// The commands that make the table from nothing, whatever is there now.
pub(crate) fn rebuild(table: &str, wanted: &Ruleset) -> Commands {
    let mut commands = Commands::new(table);
    // Deleting needs a table, and adding one that exists does nothing.
    commands.add_table();
    commands.delete_table();
    commands.add_table();
    append(&mut commands, &Ruleset::default(), wanted);
    commands
}

/// The commands that turn one table into another. Sets that both have keep their elements but for
/// those that differ, and chains that both have keep their rules unless they differ.
pub(crate) fn between(table: &str, present: &Ruleset, wanted: &Ruleset) -> Commands {
    let mut commands = Commands::new(table);
    append(&mut commands, present, wanted);
    commands
}

fn append(commands: &mut Commands, present: &Ruleset, wanted: &Ruleset) {
    let replaced =
        |name: &String, set: &Set| present.sets.get(name).is_some_and(|have| have.kind != set.kind);
    for (name, set) in &wanted.sets {
        if replaced(name, set) {
            // The kind of a set goes with its name, so this takes somebody else's hand. Rules may
            // use it: they go with their chains below, and the whole is refused if they do not.
            commands.with_set("delete", name);
            commands.add_set(name, set.kind);
        } else if !present.sets.contains_key(name) {
            commands.add_set(name, set.kind);
        }
    }
    for (name, set) in &wanted.sets {
        let present = present.sets.get(name).filter(|_| !replaced(name, set));
        elements(commands, name, present, set);
    }
    for name in wanted.maps.keys().filter(|name| !present.maps.contains_key(*name)) {
        commands.add_map(name);
    }
    for (name, chain) in &wanted.chains {
        if !present.chains.contains_key(name) {
            commands.add_chain(name, chain.hook);
        }
    }
    for (name, chain) in &wanted.chains {
        rules(commands, name, present.chains.get(name), chain);
    }
    for (name, map) in &wanted.maps {
        devices(commands, name, present.maps.get(name), map);
    }
    let stale = || present.chains.keys().filter(|name| !wanted.chains.contains_key(*name));
    for name in stale() {
        commands.with_chain("flush", name);
    }
    for name in present.maps.keys().filter(|name| !wanted.maps.contains_key(*name)) {
        commands.delete_map(name);
    }
    for name in stale() {
        commands.with_chain("delete", name);
    }
    for name in present.sets.keys().filter(|name| !wanted.sets.contains_key(*name)) {
        commands.with_set("delete", name);
    }
}

fn elements(commands: &mut Commands, name: &str, present: Option<&Set>, wanted: &Set) {
    let have = match present {
        Some(present) if present.is_same(wanted) => return,
        Some(present) => present.elements(),
        None => Vec::new(),
    };
    let want = wanted.elements();
    let lost = missing_from(&have, &want);
    let gained = missing_from(&want, &have);
    // Removals first: a new block may lie in one that goes.
    commands.with_elements("delete", name, lost);
    commands.with_elements("add", name, gained);
}

/// The elements of one sorted list that another lacks.
fn missing_from(list: &[Element], other: &[Element]) -> Vec<Value> {
    let mut other = other.iter().peekable();
    list.iter()
        .filter(|element| {
            while other.next_if(|next| next < element).is_some() {}
            other.peek() != Some(element)
        })
        .map(json::element)
        .collect()
}

fn rules(commands: &mut Commands, name: &str, present: Option<&Chain>, wanted: &Chain) {
    match present {
        Some(present) if present.rules == wanted.rules => return,
        Some(present) if !present.rules.is_empty() => commands.with_chain("flush", name),
        _ => {}
    }
    for rule in &wanted.rules {
        commands.add_rule(name, &rule.expressions, &rule.comment);
    }
}

fn devices(
    commands: &mut Commands,
    name: &str,
    present: Option<&BTreeMap<Text, String>>,
    wanted: &BTreeMap<Text, String>,
) {
    let none = BTreeMap::new();
    let present = present.unwrap_or(&none);
    let lost = present.iter().filter(|(device, chain)| wanted.get(*device) != Some(chain));
    let lost = lost.map(|(device, _)| json!(&**device)).collect();
    let gained = wanted.iter().filter(|(device, chain)| present.get(*device) != Some(chain));
    let gained = gained.map(|(device, chain)| json!([&**device, json::goto(chain)])).collect();
    commands.with_elements("delete", name, lost);
    commands.with_elements("add", name, gained);
}
