//! What an operator may set.

use crate::limits::{
    HISTORY_CHANGES_MAX, HOST_CHECK_SECONDS, LOG_ENTRIES_KEPT, SNAPSHOT_ENTRIES, SNAPSHOT_LOG_BYTES,
};
use serde::Deserialize;
use spanwire_hostproto::limits::{CACHE_BYTES_MAX_DEFAULT, LOG_BYTES_MAX_DEFAULT};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where a controller listens if nothing else is said.
pub const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6690);

/// The configuration of a controller, as it stands in its TOML file:
///
/// ```
/// let text = r#"
///     data_dir = "/var/lib/spanwire/controller"
///     listen = "192.0.2.10:6690"
///     metrics_listen = "127.0.0.1:6691"
///
///     [limits]
///     change_log_bytes = 268435456
/// "#;
/// let config = spanwire_controller::Config::parse(text)?;
/// assert_eq!(config.listen.port(), 6690);
/// # Ok::<(), spanwire_controller::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The directory of the log and the snapshots. Made if it is not there.
    pub data_dir: PathBuf,
    /// Address and port for clients and hosts. Port 0 takes any free one.
    #[serde(default = "listen_default")]
    pub listen: SocketAddr,
    /// Where the other replicas of a cluster reach this one, as `host:port`. Absent, it is the address
    /// that is listened on; if that is all addresses (`0.0.0.0`), a cluster needs this.
    #[serde(default)]
    pub advertise: Option<String>,
    /// With an empty data directory: wait to be added to a cluster, instead of founding one.
    /// Otherwise it changes nothing.
    #[serde(default)]
    pub join: bool,
    /// Address and port of the Prometheus metrics (`/metrics`); none if absent.
    #[serde(default)]
    pub metrics_listen: Option<SocketAddr>,
    /// Seconds between two checks of what a host holds; 0 for none but those that are asked for.
    #[serde(default = "host_check_seconds_default")]
    pub host_check_seconds: u64,
    /// Bounds on memory and on the log.
    #[serde(default)]
    pub limits: Limits,
}

/// Bounds on memory for what can be made again, and on the length of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of the encoded deltas that are kept for hosts that are behind.
    pub change_log_bytes: usize,
    /// Bytes of the encoded items that are kept for hosts that come next.
    pub item_cache_bytes: usize,
    /// Changes of objects that are kept for watches.
    pub history_changes: usize,
    /// Log entries after which a snapshot is taken and the log is cut.
    pub snapshot_entries: u64,
    /// Bytes of log entries after which a snapshot is taken and the log is cut.
    pub snapshot_log_bytes: u64,
    /// Log entries that are kept before a snapshot, for replicas that are a little behind.
    pub log_entries_kept: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            change_log_bytes: LOG_BYTES_MAX_DEFAULT,
            item_cache_bytes: CACHE_BYTES_MAX_DEFAULT,
            history_changes: HISTORY_CHANGES_MAX,
            snapshot_entries: SNAPSHOT_ENTRIES,
            snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
            log_entries_kept: LOG_ENTRIES_KEPT,
        }
    }
}

fn host_check_seconds_default() -> u64 {
    HOST_CHECK_SECONDS
}

fn listen_default() -> SocketAddr {
    LISTEN_DEFAULT
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not TOML, or has a field that there is none of, or a value that does not fit.
    #[error("{}{source}", path.as_ref().map(|p| format!("{}: ", p.display())).unwrap_or_default())]
    Parse {
        /// The file, if it is one.
        path: Option<PathBuf>,
        /// What is wrong, and where.
        source: toml::de::Error,
    },
}

impl Config {
    /// The configuration with a data directory and nothing else said.
    pub fn new(data_dir: impl Into<PathBuf>) -> Config {
        Config {
            data_dir: data_dir.into(),
            listen: LISTEN_DEFAULT,
            advertise: None,
            join: false,
            metrics_listen: None,
            host_check_seconds: HOST_CHECK_SECONDS,
            limits: Limits::default(),
        }
    }

    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: Some(path.to_owned()), source })
    }

    /// Takes a configuration from text.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        toml::from_str(text).map_err(|source| ConfigError::Parse { path: None, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default() {
        assert_eq!(Config::parse("data_dir = '/x'").unwrap(), Config::new("/x"));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("data_dir = 1", "invalid type: integer"),
            ("listen = '127.0.0.1:1'", "missing field `data_dir`"),
            ("data_dir = 'x'\nlisten = 'here'", "invalid socket address syntax"),
            ("data_dir = 'x'\nlissten = '127.0.0.1:1'", "unknown field `lissten`, expected one of"),
            ("data_dir = 'x'\n[limits]\nmemory = 1", "unknown field `memory`"),
            ("data_dir = 'x'\n[limits]\nchange_log_bytes = -1", "invalid value"),
            ("data_dir", "line 1, column 9"),
        ];
        for (text, expected) in cases {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error}");
        }
        let error = Config::load(Path::new("/nowhere/spanwire.toml")).unwrap_err().to_string();
        assert!(error.contains("could not read the configuration /nowhere/spanwire.toml"));
    }
}
