//! The tables of a northbound database as typed rows, with every reference checked.

use super::dump::{Reader, Row, Table};
use super::error::OvnError;
use super::value::Uuid;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Options and identifiers: texts by text.
pub(super) type TextMap = BTreeMap<String, String>;

/// A row of `Logical_Switch`.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) uuid: Uuid,
    pub(super) name: String,
    /// Indices into [`Northbound::switch_ports`].
    pub(super) ports: Vec<usize>,
    /// Indices into [`Northbound::acls`].
    pub(super) acls: Vec<usize>,
    pub(super) other_config: TextMap,
    pub(super) external_ids: TextMap,
}

/// A row of `Logical_Switch_Port`.
#[derive(Debug)]
pub(super) struct SwitchPort {
    pub(super) name: String,
    /// Column `type`: empty for a workload.
    pub(super) kind: String,
    pub(super) addresses: Vec<String>,
    pub(super) dynamic_addresses: Option<String>,
    pub(super) port_security: Vec<String>,
    pub(super) options: TextMap,
    pub(super) external_ids: TextMap,
    pub(super) enabled: bool,
    pub(super) parent_name: Option<String>,
}

/// A row of `Logical_Router`.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) uuid: Uuid,
    pub(super) name: String,
    pub(super) enabled: bool,
    /// Indices into [`Northbound::router_ports`].
    pub(super) ports: Vec<usize>,
    /// Indices into [`Northbound::static_routes`].
    pub(super) static_routes: Vec<usize>,
    pub(super) options: TextMap,
    pub(super) external_ids: TextMap,
}

/// A row of `Logical_Router_Port`.
#[derive(Debug)]
pub(super) struct RouterPort {
    pub(super) name: String,
    /// The addresses of the port, with the prefix lengths of its networks.
    pub(super) networks: Vec<IpNet>,
    /// The name of the port at the other end of a direct link between routers.
    pub(super) peer: Option<String>,
    pub(super) enabled: bool,
    pub(super) options: TextMap,
}

/// A row of `Logical_Router_Static_Route`.
#[derive(Debug)]
pub(super) struct StaticRoute {
    pub(super) uuid: Uuid,
    pub(super) prefix: IpNet,
    pub(super) nexthop: String,
    pub(super) policy: Option<String>,
    pub(super) route_table: String,
}

/// A row of `Port_Group`.
#[derive(Debug)]
pub(super) struct PortGroup {
    pub(super) name: String,
    /// Indices into [`Northbound::switch_ports`], sorted.
    pub(super) ports: Vec<usize>,
    /// Indices into [`Northbound::acls`].
    pub(super) acls: Vec<usize>,
    pub(super) external_ids: TextMap,
}

/// A row of `Address_Set`.
#[derive(Debug)]
pub(super) struct AddressSet {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    pub(super) external_ids: TextMap,
}

/// A row of `ACL`.
#[derive(Debug)]
pub(super) struct Acl {
    pub(super) uuid: Uuid,
    pub(super) name: Option<String>,
    pub(super) priority: u16,
    pub(super) direction: String,
    pub(super) matches: String,
    pub(super) action: String,
    pub(super) log: bool,
    pub(super) tier: u16,
    pub(super) label: i64,
    pub(super) meter: Option<String>,
    pub(super) options: TextMap,
}

/// A row of a table that nothing is made of.
#[derive(Debug)]
pub(super) struct OtherRow {
    pub(super) table: String,
    pub(super) row: String,
}

/// A northbound database.
#[derive(Debug, Default)]
pub(super) struct Northbound {
    pub(super) switches: Vec<Switch>,
    pub(super) switch_ports: Vec<SwitchPort>,
    pub(super) routers: Vec<Router>,
    pub(super) router_ports: Vec<RouterPort>,
    pub(super) static_routes: Vec<StaticRoute>,
    pub(super) port_groups: Vec<PortGroup>,
    pub(super) address_sets: Vec<AddressSet>,
    pub(super) acls: Vec<Acl>,
    /// `NB_Global:options`.
    pub(super) global_options: TextMap,
    pub(super) others: Vec<OtherRow>,
}

/// Tables about the database itself.
const TABLES_OF_THE_SERVER: [&str; 2] = ["Connection", "SSL"];
/// The largest tier of an ACL.
const TIER_MAX: u16 = 3;

/// The rows of a table by identity, so that references can be resolved.
struct Rows {
    table: &'static str,
    by_uuid: BTreeMap<Uuid, usize>,
}

impl Rows {
    /// Reads every row of a table, sorted by `order` so that nothing depends on how the server
    /// happens to print them.
    fn read<T>(
        tables: &[Table],
        table: &'static str,
        required: &[&str],
        read: impl Fn(&Row<'_>) -> Result<T, OvnError>,
        name: impl Fn(&T) -> &str,
    ) -> Result<(Rows, Vec<T>), OvnError> {
        let mut rows = Vec::new();
        if let Some(found) = tables.iter().find(|found| found.name == table) {
            let reader = Reader::new(found);
            reader.require(&["_uuid"])?;
            reader.require(required)?;
            for row in reader.rows() {
                rows.push((row.uuid()?, read(&row)?));
            }
        }
        rows.sort_by(|(a_uuid, a), (b_uuid, b)| (name(a), a_uuid).cmp(&(name(b), b_uuid)));
        let mut by_uuid = BTreeMap::new();
        for (n, (uuid, _)) in rows.iter().enumerate() {
            if by_uuid.insert(*uuid, n).is_some() {
                let problem = format!("the row {uuid} is there twice");
                return Err(OvnError::Table { table: table.to_owned(), problem });
            }
        }
        Ok((Rows { table, by_uuid }, rows.into_iter().map(|(_, row)| row).collect()))
    }

    /// The indices of the rows that a column refers to, sorted.
    fn resolve(&self, row: &Row<'_>, column: &str) -> Result<Vec<usize>, OvnError> {
        let mut indices = Vec::new();
        for uuid in row.uuids(column)? {
            indices.push(*self.by_uuid.get(&uuid).ok_or_else(|| {
                row.bad(
                    column,
                    format!("{uuid} is no row of {}: the dump is not whole", self.table),
                )
            })?);
        }
        indices.sort_unstable();
        indices.dedup();
        Ok(indices)
    }
}

impl Northbound {
    /// Reads tables.
    pub(super) fn read(tables: &[Table]) -> Result<Northbound, OvnError> {
        for missing in ["Logical_Switch", "Logical_Switch_Port"] {
            if !tables.iter().any(|table| table.name == missing) {
                let names: Vec<&str> = tables.iter().map(|t| t.name.as_str()).take(10).collect();
                let found = match names.is_empty() {
                    true => "no table at all".to_owned(),
                    false => names.join(", "),
                };
                return Err(OvnError::NotNorthbound { missing, found });
            }
        }
        let mut nb =
            Northbound { global_options: global_options(tables)?, ..Northbound::default() };
        let switch_ports;
        (switch_ports, nb.switch_ports) = Rows::read(
            tables,
            "Logical_Switch_Port",
            &["name", "addresses"],
            switch_port,
            |port| &port.name,
        )?;
        unique("Logical_Switch_Port", nb.switch_ports.iter().map(|port| &port.name))?;
        let acls;
        (acls, nb.acls) =
            Rows::read(tables, "ACL", &["match", "action", "direction", "priority"], acl, |_| "")?;
        nb.read_routers(tables)?;
        (_, nb.switches) = Rows::read(
            tables,
            "Logical_Switch",
            &["name", "ports"],
            |row| switch(row, &switch_ports, &acls),
            |switch| &switch.name,
        )?;
        (_, nb.port_groups) = Rows::read(
            tables,
            "Port_Group",
            &["name", "ports"],
            |row| port_group(row, &switch_ports, &acls),
            |group| &group.name,
        )?;
        unique("Port_Group", nb.port_groups.iter().map(|group| &group.name))?;
        (_, nb.address_sets) =
            Rows::read(tables, "Address_Set", &["name", "addresses"], address_set, |set| {
                &set.name
            })?;
        unique("Address_Set", nb.address_sets.iter().map(|set| &set.name))?;
        nb.others = others(tables);
        Ok(nb)
    }

    fn read_routers(&mut self, tables: &[Table]) -> Result<(), OvnError> {
        let router_ports;
        (router_ports, self.router_ports) = Rows::read(
            tables,
            "Logical_Router_Port",
            &["name", "networks"],
            router_port,
            |port| &port.name,
        )?;
        unique("Logical_Router_Port", self.router_ports.iter().map(|port| &port.name))?;
        let static_routes;
        (static_routes, self.static_routes) = Rows::read(
            tables,
            "Logical_Router_Static_Route",
            &["ip_prefix", "nexthop"],
            static_route,
            |_| "",
        )?;
        (_, self.routers) = Rows::read(
            tables,
            "Logical_Router",
            &["name", "ports"],
            |row| router(row, &router_ports, &static_routes),
            |router| &router.name,
        )?;
        Ok(())
    }
}

/// Fails if a name that OVN keeps unique is there twice.
fn unique<'a>(table: &str, names: impl Iterator<Item = &'a String>) -> Result<(), OvnError> {
    let mut last: Option<&String> = None;
    for name in names {
        // The rows are sorted by name.
        if last == Some(name) {
            let problem = format!("the name {name:?} is there twice");
            return Err(OvnError::Table { table: table.to_owned(), problem });
        }
        last = Some(name);
    }
    Ok(())
}

fn global_options(tables: &[Table]) -> Result<TextMap, OvnError> {
    match tables.iter().find(|table| table.name == "NB_Global") {
        None => Ok(TextMap::new()),
        Some(table) => {
            let reader = Reader::new(table);
            let first = reader.rows().next();
            first.map_or_else(|| Ok(TextMap::new()), |row| row.map("options"))
        }
    }
}

fn others(tables: &[Table]) -> Vec<OtherRow> {
    const READ: [&str; 9] = [
        "Logical_Switch",
        "Logical_Switch_Port",
        "Logical_Router",
        "Logical_Router_Port",
        "Logical_Router_Static_Route",
        "Port_Group",
        "Address_Set",
        "ACL",
        "NB_Global",
    ];
    let mut others = Vec::new();
    for table in tables {
        let name = table.name.as_str();
        if READ.contains(&name) || TABLES_OF_THE_SERVER.contains(&name) {
            continue;
        }
        let reader = Reader::new(table);
        others.extend(
            reader.rows().map(|row| OtherRow { table: table.name.clone(), row: row.label }),
        );
    }
    others
}

fn switch(row: &Row<'_>, ports: &Rows, acls: &Rows) -> Result<Switch, OvnError> {
    Ok(Switch {
        uuid: row.uuid()?,
        name: row.text("name")?,
        ports: ports.resolve(row, "ports")?,
        acls: acls.resolve(row, "acls")?,
        other_config: row.map("other_config")?,
        external_ids: row.map("external_ids")?,
    })
}

fn switch_port(row: &Row<'_>) -> Result<SwitchPort, OvnError> {
    Ok(SwitchPort {
        name: row.text("name")?,
        kind: row.text("type")?,
        addresses: row.texts("addresses")?,
        dynamic_addresses: row.optional_text("dynamic_addresses")?,
        port_security: row.texts("port_security")?,
        options: row.map("options")?,
        external_ids: row.map("external_ids")?,
        enabled: row.flag("enabled")?.unwrap_or(true),
        parent_name: row.optional_text("parent_name")?.filter(|name| !name.is_empty()),
    })
}

fn router(row: &Row<'_>, ports: &Rows, routes: &Rows) -> Result<Router, OvnError> {
    Ok(Router {
        uuid: row.uuid()?,
        name: row.text("name")?,
        enabled: row.flag("enabled")?.unwrap_or(true),
        ports: ports.resolve(row, "ports")?,
        static_routes: routes.resolve(row, "static_routes")?,
        options: row.map("options")?,
        external_ids: row.map("external_ids")?,
    })
}

fn router_port(row: &Row<'_>) -> Result<RouterPort, OvnError> {
    let networks = row.texts("networks")?.into_iter().map(|text| {
        parse_network(&text).ok_or_else(|| {
            row.bad("networks", format!("{text:?} is not an address with a prefix length"))
        })
    });
    Ok(RouterPort {
        name: row.text("name")?,
        networks: networks.collect::<Result<_, _>>()?,
        peer: row.optional_text("peer")?.filter(|name| !name.is_empty()),
        enabled: row.flag("enabled")?.unwrap_or(true),
        options: row.map("options")?,
    })
}

fn static_route(row: &Row<'_>) -> Result<StaticRoute, OvnError> {
    let prefix = row.text("ip_prefix")?;
    Ok(StaticRoute {
        uuid: row.uuid()?,
        prefix: parse_network(&prefix).map(|net| net.trunc()).ok_or_else(|| {
            row.bad("ip_prefix", format!("{prefix:?} is neither a block nor an address"))
        })?,
        nexthop: row.text("nexthop")?,
        policy: row.optional_text("policy")?,
        route_table: row.text("route_table")?,
    })
}

fn port_group(row: &Row<'_>, ports: &Rows, acls: &Rows) -> Result<PortGroup, OvnError> {
    Ok(PortGroup {
        name: row.text("name")?,
        ports: ports.resolve(row, "ports")?,
        acls: acls.resolve(row, "acls")?,
        external_ids: row.map("external_ids")?,
    })
}

fn address_set(row: &Row<'_>) -> Result<AddressSet, OvnError> {
    let mut addresses = row.texts("addresses")?;
    addresses.sort_unstable();
    Ok(AddressSet { name: row.text("name")?, addresses, external_ids: row.map("external_ids")? })
}

fn acl(row: &Row<'_>) -> Result<Acl, OvnError> {
    let priority = row.integer("priority")?;
    let tier = row.integer("tier")?;
    Ok(Acl {
        uuid: row.uuid()?,
        name: row.optional_text("name")?.filter(|name| !name.is_empty()),
        priority: u16::try_from(priority)
            .ok()
            .filter(|priority| *priority <= 32767)
            .ok_or_else(|| row.bad("priority", format!("{priority} is not from 0 to 32767")))?,
        direction: one_of(row, "direction", &["from-lport", "to-lport"])?,
        matches: row.text("match")?,
        action: row.text("action")?,
        log: row.flag("log")?.unwrap_or(false),
        tier: u16::try_from(tier)
            .ok()
            .filter(|tier| *tier <= TIER_MAX)
            .ok_or_else(|| row.bad("tier", format!("{tier} is not from 0 to {TIER_MAX}")))?,
        label: row.integer("label")?,
        meter: row.optional_text("meter")?,
        options: row.map("options")?,
    })
}

fn one_of(row: &Row<'_>, column: &str, allowed: &[&str]) -> Result<String, OvnError> {
    let text = row.text(column)?;
    match allowed.contains(&text.as_str()) {
        true => Ok(text),
        false => Err(row.bad(column, format!("{text:?} is not {}", allowed.join(" or ")))),
    }
}

/// An address with a prefix length, or an address alone.
fn parse_network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
