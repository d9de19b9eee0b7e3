//! The configuration of an agent: a TOML file, flags, or both; flags win.

use crate::datapath::{ForwardingMode, LinuxConfig, VXLAN_PORT};
use crate::error::ConfigError;
use serde::Deserialize;
use spanwire_topology::model::check_name;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The TCP port of the host stream, where an endpoint names none.
pub const CONTROLLER_PORT: u16 = 6690;
/// The most controllers.
pub const CONTROLLERS_MAX: usize = 64;
/// The largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 * 1024;
/// The shortest and the longest time between two audits, in seconds.
pub const AUDIT_SECONDS_RANGE: std::ops::RangeInclusive<u64> = 1..=3600;
/// The smallest MTU of an underlay: 1280 bytes for IPv6 inside, and the headers of the overlay.
pub const UNDERLAY_MTU_MIN: u32 = 1380;
/// The largest MTU that a device can have.
pub const UNDERLAY_MTU_MAX: u32 = 65_535;
/// The longest name of a table, in bytes.
pub const TABLE_NAME_MAX: usize = 64;

const DEFAULT_STATE_DIR: &str = "/var/lib/spanwire/agent";
const DEFAULT_AUDIT_SECONDS: u64 = 5;

/// Which driver the datapath has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatapathKind {
    /// The kernel alone.
    Linux,
    /// Memory, for scale tests and laptops: no packet is touched.
    Record,
}

/// The configuration of an agent, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name of the host in the model.
    pub host: String,
    /// Controllers as `ADDRESS:PORT`; one is chosen at random, and another when it fails.
    pub controllers: Vec<String>,
    /// Where the view and the status are kept. One agent to a directory.
    pub state_dir: PathBuf,
    /// The driver of the datapath.
    pub datapath: DatapathKind,
    /// Who forwards packets.
    pub forwarding: ForwardingMode,
    /// The address of this host's tunnel endpoint.
    pub vtep: Option<IpAddr>,
    /// The MTU of the network between the hosts, in bytes; asked of its device if not set.
    pub underlay_mtu: Option<u32>,
    /// The UDP port of the overlay.
    pub vxlan_port: u16,
    /// The name of the nftables table.
    pub table: String,
    /// The `nft` program.
    pub nft_program: PathBuf,
    /// How often the datapath is compared with the view.
    pub audit_interval: Duration,
    /// How long the agent waits for this and that; not in the file.
    pub timing: Timing,
}

/// How long an agent waits. The defaults are right for fleets; tests wait less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The first wait after a failed connection, and the least.
    pub reconnect_min: Duration,
    /// The longest wait after a failed connection.
    pub reconnect_max: Duration,
    /// The wait after a refusal that only an operator can lift: unknown host, other version.
    pub refused_wait: Duration,
    /// How long a connection may take to be made, and to be welcomed.
    pub connect_timeout: Duration,
    /// The first wait after the store or the datapath failed, and the least.
    pub repair_min: Duration,
    /// The longest wait after the store or the datapath failed.
    pub repair_max: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            reconnect_min: Duration::from_millis(250),
            reconnect_max: Duration::from_secs(15),
            refused_wait: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            repair_min: Duration::from_millis(250),
            repair_max: Duration::from_secs(10),
        }
    }
}

/// What one source says of the configuration: the file, or the flags. What it does not say is
/// `None`, or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigLayer {
    /// See [`Config::host`]. The machine's own name if nothing names one.
    pub host: Option<String>,
    /// See [`Config::controllers`]; without a port, [`CONTROLLER_PORT`] is meant.
    pub controllers: Vec<String>,
    /// See [`Config::state_dir`].
    pub state_dir: Option<PathBuf>,
    /// `linux` or `record`.
    pub datapath: Option<String>,
    /// `overlay` or `none`.
    pub forwarding: Option<String>,
    /// See [`Config::vtep`].
    pub vtep: Option<String>,
    /// See [`Config::underlay_mtu`].
    pub underlay_mtu: Option<u32>,
    /// See [`Config::vxlan_port`].
    pub vxlan_port: Option<u16>,
    /// See [`Config::table`].
    pub table: Option<String>,
    /// See [`Config::nft_program`].
    pub nft_program: Option<PathBuf>,
    /// See [`Config::audit_interval`]; in seconds.
    pub audit_seconds: Option<u64>,
}

/// A field and what is wrong with it.
struct Problem {
    field: &'static str,
    problem: String,
}

fn problem(field: &'static str, problem: impl Into<String>) -> Problem {
    Problem { field, problem: problem.into() }
}

impl Config {
    /// Reads the file, if one is given, and puts the flags over it.
    pub fn load(file: Option<&Path>, flags: ConfigLayer) -> Result<Config, ConfigError> {
        let Some(path) = file else {
            return flags
                .complete()
                .map_err(|Problem { field, problem }| ConfigError::Value { field, problem });
        };
        let text = read(path)?;
        let layer: ConfigLayer = toml::from_str(&text).map_err(|error| ConfigError::Line {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_at(&text, span.start)),
            problem: error.message().trim().replace('\n', "; "),
        })?;
        flags.over(layer).complete().map_err(|Problem { field, problem }| {
            match line_of_field(&text, field) {
                Some(line) => ConfigError::Line {
                    path: path.to_owned(),
                    line,
                    problem: format!("{field}: {problem}"),
                },
                None => ConfigError::Value { field, problem },
            }
        })
    }

    /// The configuration of the linux driver. Names of controllers are looked up now; one that
    /// cannot be found is left out, and logged.
    pub fn to_linux_config(&self) -> LinuxConfig {
        let mut controllers: Vec<SocketAddr> = Vec::new();
        for controller in &self.controllers {
            match controller.to_socket_addrs() {
                Ok(addresses) => controllers.extend(addresses),
                Err(error) => crate::log::controller_not_found(controller, &error),
            }
        }
        controllers.sort_unstable();
        controllers.dedup();
        LinuxConfig {
            forwarding: self.forwarding,
            vtep: self.vtep,
            vxlan_port: self.vxlan_port,
            underlay_mtu: self.underlay_mtu,
            controllers,
            table_name: self.table.clone(),
            nft_program: self.nft_program.clone(),
        }
    }
}

impl ConfigLayer {
    /// This layer over another one: what this one says counts.
    pub fn over(self, lower: ConfigLayer) -> ConfigLayer {
        ConfigLayer {
            host: self.host.or(lower.host),
            controllers: if self.controllers.is_empty() {
                lower.controllers
            } else {
                self.controllers
            },
            state_dir: self.state_dir.or(lower.state_dir),
            datapath: self.datapath.or(lower.datapath),
            forwarding: self.forwarding.or(lower.forwarding),
            vtep: self.vtep.or(lower.vtep),
            underlay_mtu: self.underlay_mtu.or(lower.underlay_mtu),
            vxlan_port: self.vxlan_port.or(lower.vxlan_port),
            table: self.table.or(lower.table),
            nft_program: self.nft_program.or(lower.nft_program),
            audit_seconds: self.audit_seconds.or(lower.audit_seconds),
        }
    }

    fn complete(self) -> Result<Config, Problem> {
        let ConfigLayer {
            host,
            controllers,
            state_dir,
            datapath,
            forwarding,
            vtep,
            underlay_mtu,
            vxlan_port,
            table,
            nft_program,
            audit_seconds,
        } = self;
        Ok(Config {
            host: complete_host(host)?,
            controllers: complete_controllers(&controllers)?,
            state_dir: state_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_DIR)),
            datapath: match datapath.as_deref() {
                None | Some("linux") => DatapathKind::Linux,
                Some("record") => DatapathKind::Record,
                Some(other) => {
                    return Err(problem(
                        "datapath",
                        format!("{other:?} is no driver: expected linux or record"),
                    ));
                }
            },
            forwarding: match forwarding.as_deref() {
                None | Some("overlay") => ForwardingMode::Overlay,
                Some("none") => ForwardingMode::None,
                Some(other) => {
                    return Err(problem(
                        "forwarding",
                        format!("{other:?} is no way of forwarding: expected overlay or none"),
                    ));
                }
            },
            vtep: vtep.map(|text| complete_vtep(&text)).transpose()?,
            underlay_mtu: underlay_mtu.map(complete_mtu).transpose()?,
            vxlan_port: match vxlan_port {
                Some(0) => return Err(problem("vxlan_port", "0 is no port: expected 1 to 65535")),
                port => port.unwrap_or(VXLAN_PORT),
            },
            table: complete_table(table)?,
            nft_program: nft_program.unwrap_or_else(|| PathBuf::from("nft")),
            audit_interval: complete_audit(audit_seconds)?,
            timing: Timing::default(),
        })
    }
}

// ---- Fields ----

fn complete_host(host: Option<String>) -> Result<String, Problem> {
    let host = match host {
        Some(host) => host,
        None => std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_err(|_| problem("host", "is not set, and the machine has no name to take"))?
            .trim()
            .to_owned(),
    };
    check_name("host name", &host).map_err(|error| problem("host", error.to_string()))?;
    Ok(host)
}

fn complete_controllers(controllers: &[String]) -> Result<Vec<String>, Problem> {
    if controllers.is_empty() {
        return Err(problem(
            "controllers",
            format!("names no controller: expected a list as [\"192.0.2.1:{CONTROLLER_PORT}\"]"),
        ));
    }
    if controllers.len() > CONTROLLERS_MAX {
        let count = controllers.len();
        return Err(problem("controllers", format!("has {count}: the most is {CONTROLLERS_MAX}")));
    }
    let mut complete = controllers
        .iter()
        .map(|text| complete_controller(text).map_err(|text| problem("controllers", text)))
        .collect::<Result<Vec<_>, _>>()?;
    complete.sort_unstable();
    complete.dedup();
    Ok(complete)
}

fn complete_controller(text: &str) -> Result<String, String> {
    // An IPv6 address has colons of its own.
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, CONTROLLER_PORT).to_string());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 {
            Err(format!("{text:?} has port 0: expected 1 to 65535"))
        } else {
            Ok(address.to_string())
        };
    }
    let expected = "expected ADDRESS:PORT or NAME:PORT, without a scheme";
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => {
            let port: u16 = port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| format!("{text:?} is no endpoint: {expected}"))?;
            (name, port)
        }
        None => (text, CONTROLLER_PORT),
    };
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || !name.chars().all(fine) {
        return Err(format!("{text:?} is no endpoint: {expected}"));
    }
    Ok(format!("{name}:{port}"))
}

fn complete_vtep(text: &str) -> Result<IpAddr, Problem> {
    let vtep: IpAddr = text.parse().map_err(|_| {
        problem("vtep", format!("{text:?} is no IP address: expected one as 192.0.2.7"))
    })?;
    if vtep.is_unspecified() || vtep.is_multicast() || vtep.is_loopback() {
        return Err(problem("vtep", format!("{vtep} is not the address of one host")));
    }
    Ok(vtep)
}

fn complete_mtu(mtu: u32) -> Result<u32, Problem> {
    if !(UNDERLAY_MTU_MIN..=UNDERLAY_MTU_MAX).contains(&mtu) {
        return Err(problem(
            "underlay_mtu",
            format!("is {mtu} bytes: expected {UNDERLAY_MTU_MIN} to {UNDERLAY_MTU_MAX}"),
        ));
    }
    Ok(mtu)
}

fn complete_table(table: Option<String>) -> Result<String, Problem> {
    let table = table.unwrap_or_else(|| LinuxConfig::default().table_name);
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first_fine = table.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first_fine || table.len() > TABLE_NAME_MAX || !table.chars().all(fine) {
        return Err(problem(
            "table",
            format!(
                "{table:?} is no table name: expected 1 to {TABLE_NAME_MAX} letters, digits and _, \
                 the first no digit"
            ),
        ));
    }
    Ok(table)
}

fn complete_audit(seconds: Option<u64>) -> Result<Duration, Problem> {
    let seconds = seconds.unwrap_or(DEFAULT_AUDIT_SECONDS);
    if !AUDIT_SECONDS_RANGE.contains(&seconds) {
        let (min, max) = (AUDIT_SECONDS_RANGE.start(), AUDIT_SECONDS_RANGE.end());
        return Err(problem("audit_seconds", format!("is {seconds}: expected {min} to {max}")));
    }
    Ok(Duration::from_secs(seconds))
}

// ---- The file ----

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > CONFIG_BYTES_MAX {
        let max = CONFIG_BYTES_MAX;
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes, max });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// The line, from 1, of a byte.
fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

/// The line, from 1, on which a field is set.
fn line_of_field(text: &str, field: &str) -> Option<usize> {
    let sets = |line: &str| {
        line.split_once('=').is_some_and(|(key, _)| key.trim().trim_matches(['"', '\'']) == field)
    };
    text.lines().position(sets).map(|index| index + 1)
}

#[cfg(test)]
mod tests;
