//! Small northbound databases, written row by row.
// Each test uses its own part of this, as a module of its own; a panic is a failed test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use serde_json::{Value, json};
use spanwire_import::Import;
use spanwire_import::ovn::{OvnError, OvnOptions, Table, Uuid, import_tables};
use spanwire_topology::model::{Kind, ObjectKey, Resource, Spec};
use std::collections::BTreeMap;

/// A northbound database in the making. Rows are JSON objects of column to value, in OVSDB's
/// encoding; `uuid(n)` refers to a row.
#[derive(Default, Clone)]
pub struct Nb {
    tables: BTreeMap<String, Vec<BTreeMap<String, Value>>>,
    last: u128,
}

/// The reference to a row.
pub fn uuid(n: u128) -> Value {
    json!(["uuid", Uuid(n).to_string()])
}

/// A set of values.
pub fn set(values: impl IntoIterator<Item = Value>) -> Value {
    json!(["set", values.into_iter().collect::<Vec<_>>()])
}

/// A map of texts, written `a=b c=d`.
pub fn map(text: &str) -> Value {
    let pairs: Vec<Value> = text
        .split_whitespace()
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap();
            json!([key, value])
        })
        .collect();
    json!(["map", pairs])
}

impl Nb {
    /// Adds a row and gives back its number.
    pub fn row(&mut self, table: &str, columns: Value) -> u128 {
        self.last += 1;
        let Value::Object(columns) = columns else { panic!("columns are an object") };
        let mut row: BTreeMap<String, Value> = columns.into_iter().collect();
        row.insert("_uuid".to_owned(), uuid(self.last));
        self.tables.entry(table.to_owned()).or_default().push(row);
        self.last
    }

    /// Adds a workload port: MAC `0a:00:00:00:00:0N`, addresses as given, port security on.
    pub fn port(&mut self, name: &str, addresses: &str, external_ids: &str) -> u128 {
        let mac = format!("0a:00:00:00:00:{:02x}", self.last + 1);
        let addresses = format!("{mac} {addresses}");
        self.row(
            "Logical_Switch_Port",
            json!({
                "name": name, "type": "", "addresses": addresses, "port_security": addresses,
                "options": map("requested-chassis=h1"), "external_ids": map(external_ids),
            }),
        )
    }

    /// Adds a switch with ports.
    pub fn switch(&mut self, name: &str, ports: &[u128]) -> u128 {
        self.switch_with(name, ports, json!({}))
    }

    /// Adds a switch with ports and other columns.
    pub fn switch_with(&mut self, name: &str, ports: &[u128], more: Value) -> u128 {
        let ports = set(ports.iter().map(|port| uuid(*port)));
        let mut columns = json!({ "name": name, "ports": ports });
        merge(&mut columns, more);
        self.row("Logical_Switch", columns)
    }

    /// Adds a router port, and the switch port that attaches it. Gives back both.
    pub fn router_port(&mut self, name: &str, networks: &[&str]) -> (u128, u128) {
        let networks = set(networks.iter().map(|net| json!(net)));
        let router_port =
            self.row("Logical_Router_Port", json!({ "name": name, "networks": networks }));
        let options = map(&format!("router-port={name}"));
        let switch_port = self.row(
            "Logical_Switch_Port",
            json!({
                "name": format!("to-{name}"), "type": "router", "addresses": "router",
                "options": options,
            }),
        );
        (router_port, switch_port)
    }

    /// Adds a router with ports and routes, each `PREFIX via NEXTHOP`.
    pub fn router(&mut self, name: &str, ports: &[u128], routes: &[&str]) -> u128 {
        let routes: Vec<Value> = routes
            .iter()
            .map(|route| {
                let (prefix, nexthop) = route.split_once(" via ").unwrap();
                let columns = json!({ "ip_prefix": prefix, "nexthop": nexthop });
                uuid(self.row("Logical_Router_Static_Route", columns))
            })
            .collect();
        let ports = set(ports.iter().map(|port| uuid(*port)));
        self.row(
            "Logical_Router",
            json!({ "name": name, "ports": ports, "static_routes": set(routes) }),
        )
    }

    /// Adds a port group with ports and ACLs.
    pub fn port_group(&mut self, name: &str, ports: &[u128], acls: &[u128]) -> u128 {
        let ports = set(ports.iter().map(|port| uuid(*port)));
        let acls = set(acls.iter().map(|acl| uuid(*acl)));
        self.row("Port_Group", json!({ "name": name, "ports": ports, "acls": acls }))
    }

    /// Adds an address set.
    pub fn address_set(&mut self, name: &str, addresses: &[&str]) -> u128 {
        let addresses = set(addresses.iter().map(|address| json!(address)));
        self.row("Address_Set", json!({ "name": name, "addresses": addresses }))
    }

    /// Adds an ACL.
    pub fn acl(&mut self, direction: &str, priority: u16, matches: &str, action: &str) -> u128 {
        self.acl_with(direction, priority, matches, action, json!({}))
    }

    /// Adds an ACL with other columns.
    pub fn acl_with(
        &mut self,
        direction: &str,
        priority: u16,
        matches: &str,
        action: &str,
        more: Value,
    ) -> u128 {
        let mut columns = json!({
            "direction": direction, "priority": priority, "match": matches, "action": action,
        });
        merge(&mut columns, more);
        self.row("ACL", columns)
    }

    /// The tables; every row of a table has every column that one of them has.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        for (name, rows) in &self.tables {
            let columns: std::collections::BTreeSet<&String> =
                rows.iter().flat_map(BTreeMap::keys).collect();
            let value = |row: &BTreeMap<String, Value>, column: &String| {
                row.get(column).cloned().unwrap_or_else(|| json!(["set", []]))
            };
            tables.push(Table {
                name: name.clone(),
                rows: rows.iter().map(|r| columns.iter().map(|c| value(r, c)).collect()).collect(),
                columns: columns.into_iter().cloned().collect(),
            });
        }
        tables
    }

    /// The dump that `ovsdb-client` would print.
    pub fn dump(&self) -> String {
        let dumped = self.tables().into_iter().map(|table| {
            json!({
                "caption": format!("{} table", table.name),
                "headings": table.columns,
                "data": table.rows,
            })
            .to_string()
        });
        dumped.collect::<Vec<_>>().join("\n")
    }

    /// Imports it; everything in project `p`.
    pub fn import(&self) -> Result<Import, OvnError> {
        let options = OvnOptions { project: "p".to_owned(), ..OvnOptions::default() };
        import_tables(&self.tables(), &options)
    }
}

fn merge(columns: &mut Value, more: Value) {
    let (Value::Object(columns), Value::Object(more)) = (columns, more) else {
        panic!("columns are objects")
    };
    columns.extend(more);
}

/// The resources by key; the oracle must find nothing wrong with them.
pub fn sound(import: &Import) -> BTreeMap<ObjectKey, Resource> {
    let resources: BTreeMap<ObjectKey, Resource> =
        import.resources.iter().map(|resource| (resource.key(), resource.clone())).collect();
    assert_eq!(resources.len(), import.resources.len(), "a key is there twice");
    assert_eq!(spanwire_oracle::problems(&resources), []);
    resources
}

/// The spec of a resource.
pub fn spec<'a>(import: &'a Import, kind: Kind, project: &str, name: &str) -> &'a Spec {
    let key = ObjectKey::new(kind, project, name);
    let found = import.resources.iter().find(|resource| resource.key() == key);
    &found.unwrap_or_else(|| panic!("there is no {key}")).spec
}

/// What was not supported, one line each.
pub fn unsupported(import: &Import) -> Vec<String> {
    import.unsupported.iter().map(ToString::to_string).collect()
}

/// What was noted, one line each.
pub fn notes(import: &Import) -> Vec<String> {
    import.notes.iter().map(ToString::to_string).collect()
}
