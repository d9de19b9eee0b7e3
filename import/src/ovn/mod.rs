//! OVN northbound databases.
//!
//! ```text
//!  bytes ─► dump ───┐
//!                   ├─► tables: typed rows, references checked ─► translate ─► Import
//!  socket ─► fetch ─┘                      ACL matches ─► expr ─┘
//! ```
//!
//! # What becomes of what
//!
//! | OVN | Spanwire |
//! |---|---|
//! | `Logical_Switch` | logical switch; subnets from router ports, `subnet`, `ipv6_prefix` |
//! | a switch with two or more routers and no workload | nothing: the routers are linked |
//! | `Logical_Router`, ports, static routes | logical router: interfaces, uplinks, peerings |
//! | `Logical_Switch_Port` of type `""` | logical port; `external_ids` become labels |
//! | `requested-chassis` | host, with a tunnel endpoint from [`OvnOptions::vtep_subnet`] |
//! | `Port_Group` | group of ports |
//! | `Address_Set` | group of blocks |
//! | `ACL` | rule of the policy `GROUP.PRIORITY` |
//! | everything else | a line in [`Import::unsupported`] |
//!
//! A port is in the project that its `external_ids` name under [`ProjectRule::ExternalId`]
//! (`tenant` by default), or in the default project. Switches, routers and groups are in the
//! project that all their ports agree on, or in the default one. An address set is in the default
//! project unless it names one itself.
//!
//! A switch port has port security if the column `port_security` is not empty.
//!
//! One difference is meant: `$group_ip4` in OVN is a list of addresses, so a rule about it also
//! matches an equal address in an isolated network. Here it is the ports of the group, and a rule
//! enforced in one routing domain never matches an endpoint of another (guarantee G6).

mod dump;
mod error;
pub mod expr;
pub mod fetch;
pub mod framing;
mod tables;
mod translate;
mod value;

pub use dump::{Table, parse_dump};
pub use error::OvnError;
pub use value::{Atom, Datum, Uuid};

use crate::Import;
use ipnet::{IpNet, Ipv4Net};
use spanwire_topology::model::DEFAULT_PROJECT;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

/// The key of `external_ids` that names a port's project unless the caller says otherwise.
pub const PROJECT_KEY_DEFAULT: &str = "tenant";

/// How projects are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectRule {
    /// Everything is in the default project.
    Single,
    /// The value of this key in `external_ids`.
    ExternalId(String),
}

/// What the importer is told besides the database.
#[derive(Debug, Clone, PartialEq)]
pub struct OvnOptions {
    /// The default project.
    pub project: String,
    /// How other projects are found.
    pub project_rule: ProjectRule,
    /// Where hosts get their tunnel endpoints from, in the order of their names: the database
    /// does not have them. The default is 198.18.0.0/15, which RFC 2544 sets aside for networks
    /// that are not connected to others: 131,070 hosts.
    pub vtep_subnet: IpNet,
    /// The tunnel endpoints that are known, by the name of the chassis.
    pub vteps: BTreeMap<String, IpAddr>,
}

impl Default for OvnOptions {
    fn default() -> OvnOptions {
        OvnOptions {
            project: DEFAULT_PROJECT.to_owned(),
            project_rule: ProjectRule::ExternalId(PROJECT_KEY_DEFAULT.to_owned()),
            vtep_subnet: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15)),
            vteps: BTreeMap::new(),
        }
    }
}

/// Imports what `ovsdb-client -f json dump SERVER OVN_Northbound` prints.
pub fn import_dump(bytes: &[u8], options: &OvnOptions) -> Result<Import, OvnError> {
    import_tables(&parse_dump(bytes)?, options)
}

/// Imports tables, wherever they come from.
pub fn import_tables(tables: &[Table], options: &OvnOptions) -> Result<Import, OvnError> {
    translate::translate(&tables::Northbound::read(tables)?, options)
}

/// Imports a dump from a file, gzip'd or not; `-` is standard input.
pub fn import_file(path: &Path, options: &OvnOptions) -> Result<Import, OvnError> {
    import_dump(&crate::file::read(path)?, options)
}

/// Imports what a running ovsdb-server has. The whole conversation must end within `timeout`.
pub fn import_server(
    remote: &fetch::Remote,
    timeout: Duration,
    options: &OvnOptions,
) -> Result<Import, OvnError> {
    import_tables(&fetch::fetch(remote, timeout)?, options)
}
