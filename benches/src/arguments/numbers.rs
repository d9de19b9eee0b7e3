//! Numbers on the command line, each with a bound.

/// The most hosts that a scenario may be asked to have: ports of the kernel for connections to one
/// address.
const HOSTS_MAX: usize = 20_000;
/// The most changes a second.
#[cfg(feature = "controller")]
const RATE_MAX: f64 = 100_000.0;
/// The most clients of `writes`: each has a connection to each of two clusters.
#[cfg(feature = "controller")]
const CLIENTS_MAX: usize = 4_096;
/// The most ports that a network may be asked to have: what the routed tenants have addresses for.
const PORTS_MAX: u64 = 8_000_000;

pub(super) fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale <= 10.0 => Ok(scale),
        _ => Err("expected a number above 0 and up to 10".to_owned()),
    }
}

#[cfg(feature = "controller")]
pub(super) fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3_600.0 => Ok(seconds),
        _ => Err("expected a number of seconds above 0 and up to 3600".to_owned()),
    }
}

#[cfg(feature = "controller")]
pub(super) fn parse_clients(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(clients) if (1..=CLIENTS_MAX).contains(&clients) => Ok(clients),
        _ => Err(format!("expected a number of clients from 1 to {CLIENTS_MAX}")),
    }
}

pub(super) fn parse_hosts(text: &str) -> Result<usize, String> {
    check_hosts(text.parse().unwrap_or(0))
}

/// Refuses a number of hosts, with the scale on it or not.
fn check_hosts(hosts: usize) -> Result<usize, String> {
    match (1..=HOSTS_MAX).contains(&hosts) {
        true => Ok(hosts),
        false => Err(format!("expected a number of hosts from 1 to {HOSTS_MAX}")),
    }
}

#[cfg(feature = "controller")]
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("expected a number above 0 and up to {RATE_MAX}")),
    }
}

pub(super) fn parse_ports(text: &str) -> Result<usize, String> {
    match text.parse::<u64>() {
        Ok(ports) if (1..=PORTS_MAX).contains(&ports) => Ok(ports as usize),
        _ => Err(format!("expected a number of ports from 1 to {PORTS_MAX}")),
    }
}

pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse::<u32>() {
        Ok(count) if count > 0 => Ok(count as usize),
        _ => Err("expected a number from 1 on".to_owned()),
    }
}

/// A number of ports with the scale on it.
pub(crate) fn scaled(ports: usize, scale: f64) -> usize {
    (ports as f64 * scale) as usize
}

/// A number of hosts with the scale on it.
pub(crate) fn scaled_hosts(hosts: usize, scale: f64) -> Result<usize, String> {
    check_hosts(scaled(hosts, scale))
}

/// Numbers of ports with the scale on each.
pub(crate) fn scaled_all(ports: &[usize], scale: f64) -> Vec<usize> {
    ports.iter().map(|&ports| scaled(ports, scale)).collect()
}
