//! Rows of a northbound database: who is attached where, and IPv6 for a network routed without.

use serde_json::{Map, Value, json};
use spanwire_import::ovn::{Table, Uuid};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A row by the names of its columns.
type Row = Map<String, Value>;

/// Where the packets of a workload start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The switch.
    pub switch: String,
    /// The MAC address of the router on that switch.
    pub gateway: String,
}

/// The attachment of every workload whose switch has a router, by the name of its port.
///
/// # Panics
///
/// If a row lacks a column that is read here.
pub fn attachments(tables: &[Table]) -> BTreeMap<String, Attachment> {
    let ports: BTreeMap<String, Row> =
        rows(tables, "Logical_Switch_Port").map(|row| (uuid_of(&row["_uuid"]), row)).collect();
    let macs: BTreeMap<String, String> = rows(tables, "Logical_Router_Port")
        .map(|row| (text(&row, "name"), text(&row, "mac")))
        .collect();
    let mut found = BTreeMap::new();
    for switch in rows(tables, "Logical_Switch") {
        let here: Vec<&Row> =
            members(&switch["ports"]).iter().map(|uuid| &ports[&uuid_of(uuid)]).collect();
        let router_port = |port: &Row| {
            let options = port["options"][1].as_array()?;
            let option = options.iter().find(|option| option[0] == "router-port")?;
            Some(option[1].as_str()?.to_owned())
        };
        let Some(gateway) = here.iter().find_map(|port| macs.get(&router_port(port)?)) else {
            continue;
        };
        for port in here.iter().filter(|port| text(port, "type").is_empty()) {
            let (switch, gateway) = (text(&switch, "name"), gateway.clone());
            found.insert(text(port, "name"), Attachment { switch, gateway });
        }
    }
    found
}

/// Gives a network that routes IPv4 alone IPv6 as well, along the same paths and by the same
/// rules: each address and route of a router gets an equal one, by [`ipv6_for`], and each ACL of
/// port groups about IPv4 from other groups one about IPv6.
///
/// # Panics
///
/// If a row lacks a column that is read here, or an address is none.
pub fn with_ipv6(tables: &[Table]) -> Vec<Table> {
    let mut tables = tables.to_vec();
    route_ipv6(&mut tables);
    let mut twins: Vec<Value> = Vec::new();
    change(&mut tables, "ACL", |row| {
        let v4 = text(row, "match");
        if !v4.contains("ip4") || v4.contains("$as_") {
            return vec![row.clone()];
        }
        let mut second = row.clone();
        twins.push(row["_uuid"].clone());
        second.insert("_uuid".to_owned(), twin(&row["_uuid"]));
        second.insert("match".to_owned(), json!(v4.replace("ip4", "ip6").replace("mp4", "mp6")));
        vec![row.clone(), second]
    });
    change(&mut tables, "Port_Group", |row| {
        let mut acls = members(&row["acls"]);
        let more: Vec<Value> = acls.iter().filter(|acl| twins.contains(acl)).map(twin).collect();
        acls.extend(more);
        row.insert("acls".to_owned(), json!(["set", acls]));
        vec![row.clone()]
    });
    tables
}

/// Takes a port out of a port group.
///
/// # Panics
///
/// If there is no such port.
pub fn without_member(tables: &[Table], group: &str, port: &str) -> Vec<Table> {
    let mut ports = rows(tables, "Logical_Switch_Port").filter(|row| text(row, "name") == port);
    let leaving = ports.next().expect("there is such a port")["_uuid"].clone();
    let mut tables = tables.to_vec();
    change(&mut tables, "Port_Group", |row| {
        if text(row, "name") == group {
            let mut ports = members(&row["ports"]);
            ports.retain(|port| *port != leaving);
            row.insert("ports".to_owned(), json!(["set", ports]));
        }
        vec![row.clone()]
    });
    tables
}

fn route_ipv6(tables: &mut [Table]) {
    change(tables, "Logical_Router_Port", |row| {
        let mut networks = members(&row["networks"]);
        let more: Vec<Value> = networks
            .iter()
            .map(|network| {
                let (address, _) = network_of(network);
                json!(format!("{}/64", ipv6_for(address)))
            })
            .collect();
        networks.extend(more);
        row.insert("networks".to_owned(), json!(["set", networks]));
        vec![row.clone()]
    });
    change(tables, "Logical_Router_Static_Route", |row| {
        let mut second = row.clone();
        second.insert("_uuid".to_owned(), twin(&row["_uuid"]));
        let (address, length) = network_of(&row["ip_prefix"]);
        // One octet of IPv4 is one part of IPv6.
        let prefix = format!("{}/{}", ipv6_for(address), 2 * length);
        second.insert("ip_prefix".to_owned(), json!(prefix));
        let nexthop = ipv6_for(text(row, "nexthop").parse().expect("a next hop is an address"));
        second.insert("nexthop".to_owned(), json!(nexthop.to_string()));
        vec![row.clone(), second]
    });
    change(tables, "Logical_Router", |row| {
        let mut routes = members(&row["static_routes"]);
        let more: Vec<Value> = routes.iter().map(twin).collect();
        routes.extend(more);
        row.insert("static_routes".to_owned(), json!(["set", routes]));
        vec![row.clone()]
    });
}

/// The IPv6 address that stands beside an IPv4 one: the campus gives its workloads
/// `fd00:A:B::C` beside `10.A.B.C`. Whatever is not in 10.0.0.0/8 lies in `fd01::/64`.
pub fn ipv6_for(address: Ipv4Addr) -> Ipv6Addr {
    let [first, a, b, c] = address.octets().map(u16::from);
    match first {
        0 => Ipv6Addr::UNSPECIFIED,
        10 => Ipv6Addr::new(0xfd00, a, b, 0, 0, 0, 0, c),
        _ => Ipv6Addr::new(0xfd01, 0, 0, 0, 0, a, b, c),
    }
}

/// A packet from one workload to an address, the first of its connection, as `ovn-trace` is told
/// it. `transport` has what is above IP.
pub fn packet(
    port: &str,
    macs: (&str, &str),
    addresses: (IpAddr, IpAddr),
    transport: &str,
) -> String {
    let version = if addresses.0.is_ipv4() { "ip4" } else { "ip6" };
    format!(
        "inport == \"{port}\" && eth.src == {} && eth.dst == {} && {version}.src == {} && \
         {version}.dst == {} && ip.ttl == 64 && {transport}",
        macs.0, macs.1, addresses.0, addresses.1
    )
}

// ---- rows ----

fn rows<'a>(tables: &'a [Table], name: &'a str) -> impl Iterator<Item = Row> + 'a {
    tables.iter().filter(move |table| table.name == name).flat_map(|table| {
        table.rows.iter().map(|row| table.columns.iter().cloned().zip(row.clone()).collect())
    })
}

/// Puts, for each row of a table, the rows that the function makes of it.
fn change(tables: &mut [Table], name: &str, mut make: impl FnMut(&mut Row) -> Vec<Row>) {
    for table in tables.iter_mut().filter(|table| table.name == name) {
        let made: Vec<Row> =
            rows(std::slice::from_ref(table), name).flat_map(|mut row| make(&mut row)).collect();
        table.rows = made
            .into_iter()
            .map(|mut row| {
                let column = |name| row.remove(name).expect("a row has every column");
                table.columns.iter().map(column).collect()
            })
            .collect();
    }
}

fn text(row: &Row, column: &str) -> String {
    row[column].as_str().unwrap_or_else(|| panic!("{column} is a text: {row:?}")).to_owned()
}

fn uuid_of(reference: &Value) -> String {
    reference[1].as_str().expect("a reference has an identity").to_owned()
}

/// The identity of a second row that is made of a first.
fn twin(reference: &Value) -> Value {
    let Uuid(number) = Uuid::parse(&uuid_of(reference)).expect("an identity has 32 digits");
    json!(["uuid", Uuid(number ^ 1).to_string()])
}

/// The members of a set, which is written without brackets if it has just one.
fn members(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(pair) if pair[0] == "set" => {
            pair[1].as_array().expect("a set has members").clone()
        }
        one => vec![one.clone()],
    }
}

fn network_of(network: &Value) -> (Ipv4Addr, u8) {
    let parsed = network.as_str().and_then(|network| {
        let (address, length) = network.split_once('/')?;
        Some((address.parse().ok()?, length.parse().ok()?))
    });
    parsed.unwrap_or_else(|| panic!("{network} is no IPv4 network"))
}
