//! nft's JSON, as libnftables-json(5) has it.

use super::ruleset::{Element, Hook, SetKind};
use serde_json::{Value, json};
use std::net::IpAddr;

/// A field of a packet's header.
pub(crate) fn payload(protocol: &str, field: &str) -> Value {
    json!({ "payload": { "protocol": protocol, "field": field } })
}

/// A fact about a packet.
pub(crate) fn meta(key: &str) -> Value {
    json!({ "meta": { "key": key } })
}

/// `left` equals `right`, or is in it.
pub(crate) fn equal(left: Value, right: impl Into<Value>) -> Value {
    json!({ "match": { "op": "==", "left": left, "right": right.into() } })
}

/// `left` does not equal `right`, and is not in it.
pub(crate) fn differs(left: Value, right: impl Into<Value>) -> Value {
    json!({ "match": { "op": "!=", "left": left, "right": right.into() } })
}

/// Several fields as one key.
pub(crate) fn concat(parts: Vec<Value>) -> Value {
    json!({ "concat": parts })
}

/// A set written in place.
pub(crate) fn any_of(members: impl IntoIterator<Item = Value>) -> Value {
    json!({ "set": members.into_iter().collect::<Vec<Value>>() })
}

/// From `first` to `last`, both included.
pub(crate) fn range(first: u16, last: u16) -> Value {
    json!({ "range": [first, last] })
}

/// A prefix.
pub(crate) fn prefix(address: IpAddr, length: u8) -> Value {
    json!({ "prefix": { "addr": address.to_string(), "len": length } })
}

/// The name of a set where a value can stand.
pub(crate) fn in_set(name: &str) -> String {
    format!("@{name}")
}

/// Goes to the chain that a map has for a device.
pub(crate) fn by_device(key: &str, map: &str) -> Value {
    json!({ "vmap": { "key": meta(key), "data": in_set(map) } })
}

/// The connection is one that was let through, or belongs to one.
pub(crate) fn is_established() -> Value {
    let states = json!(["established", "related"]);
    json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": states } })
}

/// The packet belongs to no connection that could be.
pub(crate) fn is_invalid() -> Value {
    json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": "invalid" } })
}

/// Lets the packet through this base chain.
pub(crate) fn accept() -> Value {
    json!({ "accept": null })
}

/// Drops the packet.
pub(crate) fn drop() -> Value {
    json!({ "drop": null })
}

/// Goes back to the rule after the one that called this chain.
pub(crate) fn back() -> Value {
    json!({ "return": null })
}

/// Calls a chain.
pub(crate) fn jump(chain: &str) -> Value {
    json!({ "jump": { "target": chain } })
}

/// Goes on in a chain.
pub(crate) fn goto(chain: &str) -> Value {
    json!({ "goto": { "target": chain } })
}

/// An element, as a set has it.
pub(crate) fn element(element: &Element) -> Value {
    match element {
        Element::Address(address) => json!(address.to_string()),
        Element::Net(net) => prefix(net.addr(), net.prefix_len()),
        Element::Device(device) => json!(&**device),
        Element::DeviceMac(device, mac) => concat(vec![json!(&**device), json!(mac.to_string())]),
        Element::DeviceMacAddress(device, mac, address) => {
            concat(vec![json!(&**device), json!(mac.to_string()), json!(address.to_string())])
        }
    }
}

/// Commands that make up a transaction.
pub(crate) struct Commands {
    table: String,
    commands: Vec<Value>,
}

impl Commands {
    /// No commands yet, for a table of family `inet`.
    pub(crate) fn new(table: &str) -> Commands {
        Commands { table: table.to_owned(), commands: Vec::new() }
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The document for nft.
    pub(crate) fn to_document(&self) -> Vec<u8> {
        json!({ "nftables": self.commands }).to_string().into_bytes()
    }

    fn push(&mut self, verb: &str, kind: &str, mut object: Value) {
        if let Value::Object(fields) = &mut object {
            fields.insert("family".to_owned(), json!("inet"));
            let place = if kind == "table" { "name" } else { "table" };
            fields.insert(place.to_owned(), json!(self.table));
        }
        self.commands.push(json!({ verb: { kind: object } }));
    }

    pub(crate) fn add_table(&mut self) {
        self.push("add", "table", json!({}));
    }

    pub(crate) fn delete_table(&mut self) {
        self.push("delete", "table", json!({}));
    }

    pub(crate) fn add_set(&mut self, name: &str, kind: SetKind) {
        let types = match kind.types() {
            [one] => json!(one),
            several => json!(several),
        };
        let mut set = json!({ "name": name, "type": types });
        if kind.is_interval() {
            set["flags"] = json!(["interval"]);
        }
        self.push("add", "set", set);
    }

    pub(crate) fn add_map(&mut self, name: &str) {
        self.push("add", "map", json!({ "name": name, "type": "ifname", "map": "verdict" }));
    }

    /// `verb` is `delete` or `flush`.
    pub(crate) fn with_set(&mut self, verb: &str, name: &str) {
        self.push(verb, "set", json!({ "name": name }));
    }

    pub(crate) fn delete_map(&mut self, name: &str) {
        self.push("delete", "map", json!({ "name": name }));
    }

    /// `verb` is `add` or `delete`; nothing happens without elements.
    pub(crate) fn with_elements(&mut self, verb: &str, set: &str, elements: Vec<Value>) {
        if !elements.is_empty() {
            self.push(verb, "element", json!({ "name": set, "elem": elements }));
        }
    }

    pub(crate) fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        let chain = match hook {
            None => json!({ "name": name }),
            Some(Hook { hook, priority }) => json!({
                "name": name, "type": "filter", "hook": hook, "prio": priority, "policy": "accept",
            }),
        };
        self.push("add", "chain", chain);
    }

    /// `verb` is `delete` or `flush`.
    pub(crate) fn with_chain(&mut self, verb: &str, name: &str) {
        self.push(verb, "chain", json!({ "name": name }));
    }

    pub(crate) fn add_rule(&mut self, chain: &str, expressions: &[Value], comment: &str) {
        self.push(
            "add",
            "rule",
            json!({ "chain": chain, "expr": expressions, "comment": comment }),
        );
    }
}
