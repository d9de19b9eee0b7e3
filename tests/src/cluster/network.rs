//! The namespaces of the controllers, and partitions between them.

use super::MEMBERS_MAX;
use super::place::{run, try_run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// What the names of all namespaces begin with.
const PREFIX: &str = "spwchaos-";
/// Where agents and clients are.
pub const HUB: &str = "spwchaos-hub";
/// The table that makes a partition.
const TABLE: &str = "chaos";

/// The namespace of a member.
pub fn namespace(number: usize) -> String {
    format!("{PREFIX}c{}", number + 1)
}

/// The address of a member, without a port.
pub fn address(number: usize) -> String {
    format!("192.0.2.{}", 11 + number)
}

/// The namespaces, until this is dropped.
pub struct Network;

impl Network {
    /// Makes them.
    pub(super) fn make() -> Network {
        let network = Network;
        run("ip", &["netns", "add", HUB]);
        run("ip", &["-n", HUB, "link", "set", "lo", "up"]);
        run("ip", &["-n", HUB, "link", "add", "hub", "type", "bridge"]);
        run("ip", &["-n", HUB, "address", "add", "192.0.2.1/24", "dev", "hub"]);
        run("ip", &["-n", HUB, "link", "set", "hub", "up"]);
        for number in 0..MEMBERS_MAX {
            let (name, own) = (format!("c{}", number + 1), namespace(number));
            let address = format!("{}/24", address(number));
            run("ip", &["netns", "add", &own]);
            let pair = ["type", "veth", "peer", "name", "eth0", "netns", &own];
            run("ip", &[&["-n", HUB, "link", "add", &name], &pair[..]].concat());
            run("ip", &["-n", HUB, "link", "set", &name, "master", "hub", "up"]);
            run("ip", &["-n", &own, "link", "set", "lo", "up"]);
            run("ip", &["-n", &own, "address", "add", &address, "dev", "eth0"]);
            run("ip", &["-n", &own, "link", "set", "eth0", "up"]);
        }
        network
    }

    /// Removes them, and ends what still runs in them.
    pub(super) fn remove() {
        let Ok(names) = try_run("ip", &["netns", "list"]) else { return };
        let names: Vec<&str> = names
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| name.starts_with(PREFIX))
            .collect();
        for name in &names {
            // Nobody else starts anything in a namespace of this name.
            for pid in pids(name) {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        for name in &names {
            for _ in 0..500 {
                if pids(name).is_empty() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            if let Err(error) = try_run("ip", &["netns", "delete", name]) {
                eprintln!("{error}");
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        Network::remove();
    }
}

/// The processes in a namespace that are not this one: the test has threads in there.
fn pids(namespace: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let listed = try_run("ip", &["netns", "pids", namespace]).unwrap_or_default();
    listed.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != own).collect()
}

/// Which packets of a member are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Those that come to it.
    Inward,
    /// Those that it sends.
    Outward,
    /// All.
    Both,
}

/// A member that is cut off from others, until this is dropped.
pub struct Partition {
    namespace: String,
}

impl Partition {
    /// Cuts a member off from addresses.
    pub fn make(number: usize, from: &[String], lost: Lost) -> Partition {
        let partition = Partition { namespace: namespace(number) };
        let from = from.join(", ");
        let mut rules = format!("add table inet {TABLE}\n");
        if lost != Lost::Outward {
            rules += &format!(
                "add chain inet {TABLE} in {{ type filter hook input priority 0; }}\n\
                 add rule inet {TABLE} in ip saddr {{ {from} }} drop\n"
            );
        }
        if lost != Lost::Inward {
            rules += &format!(
                "add chain inet {TABLE} out {{ type filter hook output priority 0; }}\n\
                 add rule inet {TABLE} out ip daddr {{ {from} }} drop\n"
            );
        }
        let namespace = partition.namespace.clone();
        inside(&namespace, || run("nft", &[&rules]));
        partition
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        let deleted = spanwire_lab::run_in_namespace(&self.namespace, || {
            try_run("nft", &["delete", "table", "inet", TABLE])
        });
        match deleted {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => eprintln!("the partition is not healed: {error}"),
            Err(error) => eprintln!("the partition is not healed: {error}"),
        }
    }
}

/// Runs a function inside a namespace.
///
/// # Panics
///
/// If it cannot be entered.
pub fn inside<T: Send>(namespace: &str, function: impl FnOnce() -> T + Send) -> T {
    match spanwire_lab::run_in_namespace(namespace, function) {
        Ok(value) => value,
        Err(error) => panic!("namespace {namespace}: {error}"),
    }
}
