//! Hosts and workloads as network namespaces, with an underlay between the hosts.
//!
//! ```text
//!   namespace PREFIX-u   bridge u0 ──┬─────────────┬──
//!                                    │ v-<host>    │
//!   namespace PREFIX-<host>        eth0          eth0      172.30.0.n/24, runs a driver
//!                                  spw…  spw…     spw…
//!                                    │    │        │
//!   namespace PREFIX-<port>        eth0  eth0     eth0     one to each workload
//! ```

use super::probe::{Outcome, PATIENCE, Resident, Sent, send, serve, wait_until};
use super::world::{World, changed, device};
use spanwire_agent::datapath::linux::LinuxDatapath;
use spanwire_agent::datapath::{Datapath, Finding, LinuxConfig, Rejection};
use spanwire_topology::Resource;
use spanwire_topology::model::{LogicalPortSpec, Spec};
use spanwire_topology::view::HostView;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The MTU of the network between hosts, in bytes.
pub(crate) const UNDERLAY_MTU: u32 = 1500;

/// A lab. All of it goes away with it.
pub(crate) struct Lab {
    prefix: String,
    namespaces: Vec<String>,
    hosts: BTreeMap<String, Host>,
}

struct Host {
    driver: Resident<LinuxDatapath>,
    view: HostView,
    config: LinuxConfig,
}

/// Whether tests that need root, `ip` and `nft` can run. Where they cannot they say so and are
/// skipped, except where the environment says that they must run.
pub(crate) fn can_run() -> bool {
    let works = |program: &str| Command::new(program).arg("-V").output().is_ok();
    let missing = [
        (nix::unistd::geteuid().is_root(), "root"),
        (works("ip"), "the ip program"),
        (works("nft"), "the nft program"),
    ]
    .into_iter()
    .find(|(there, _)| !there);
    match missing {
        None => true,
        Some((_, what)) => {
            assert!(
                std::env::var_os("SPANWIRE_CI").is_none(),
                "packet tests need {what}, and SPANWIRE_CI says that they must run"
            );
            eprintln!("skipped: packet tests need {what}");
            false
        }
    }
}

/// Runs a program that must succeed, and returns what it prints.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

impl Lab {
    /// A lab with hosts of these names and configurations; a tunnel endpoint is filled in.
    pub(crate) fn new(hosts: &[(&str, LinuxConfig)]) -> Lab {
        Lab::over(hosts, vtep)
    }

    /// The same, over an underlay with other addresses for the n-th host.
    pub(crate) fn over(hosts: &[(&str, LinuxConfig)], vtep: fn(u32) -> String) -> Lab {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("swt{}-{number}", std::process::id());
        let mut lab = Lab { prefix, namespaces: Vec::new(), hosts: BTreeMap::new() };
        let underlay = lab.add_namespace("u");
        run(&format!("ip -n {underlay} link add u0 mtu {UNDERLAY_MTU} type bridge"));
        run(&format!("ip -n {underlay} link set u0 up"));
        for (number, (name, config)) in (1..).zip(hosts) {
            let namespace = lab.add_namespace(name);
            run(&format!(
                "ip -n {underlay} link add v-{name} mtu {UNDERLAY_MTU} type veth \
                 peer name eth0 mtu {UNDERLAY_MTU} netns {namespace}"
            ));
            run(&format!("ip -n {underlay} link set v-{name} master u0 up"));
            let address: IpAddr = vtep(number).parse().unwrap();
            let (length, flags) = if address.is_ipv4() { (24, "") } else { (64, "nodad") };
            run(&format!("ip -n {namespace} addr add {address}/{length} dev eth0 {flags}"));
            run(&format!("ip -n {namespace} link set eth0 up"));
            let mut config = config.clone();
            config.vtep = Some(vtep(number).parse().unwrap());
            let driver = start(&namespace, &config);
            let host = Host { driver, view: HostView::default(), config };
            lab.hosts.insert((*name).to_owned(), host);
        }
        lab
    }

    fn add_namespace(&mut self, name: &str) -> String {
        let namespace = self.namespace(name);
        run(&format!("ip netns add {namespace}"));
        self.namespaces.push(namespace.clone());
        run(&format!("ip -n {namespace} link set lo up"));
        namespace
    }

    /// The namespace of a host or a workload.
    pub(crate) fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Plugs a workload in: a namespace with the port's addresses, whose peer device is on the
    /// port's host, and servers in it.
    pub(crate) fn plug(&mut self, port: &Resource) {
        let name = port.metadata.name.to_string();
        let Spec::LogicalPort(spec) = &*port.spec else { panic!("{name} is no port") };
        let host = self.namespace(spec.host.as_deref().unwrap());
        let workload = self.add_namespace(&name);
        let device = match &spec.attachment {
            spanwire_topology::model::PortAttachment::Interface(device) => device.to_string(),
            _ => device(&name),
        };
        run(&format!("ip -n {host} link add {device} type veth peer name eth0 netns {workload}"));
        run(&format!("ip -n {host} link set {device} up"));
        run(&format!("ip -n {workload} link set eth0 address {} up", spec.mac));
        self.address(&workload, spec);
        serve(&workload, &name);
    }

    fn address(&self, workload: &str, spec: &LogicalPortSpec) {
        for address in &spec.addresses {
            match address {
                IpAddr::V4(address) => {
                    let [a, b, c, _] = address.octets();
                    run(&format!("ip -n {workload} addr add {address}/24 dev eth0"));
                    run(&format!("ip -n {workload} route add default via {a}.{b}.{c}.254"));
                }
                IpAddr::V6(address) => {
                    run(&format!("ip -n {workload} addr add {address}/64 dev eth0 nodad"));
                    run(&format!("ip -n {workload} route add default via fe80::1 dev eth0"));
                }
            }
        }
    }

    /// Pulls a workload out: its device on the host is gone.
    pub(crate) fn unplug(&mut self, port: &Resource) {
        let name = &port.metadata.name;
        let Spec::LogicalPort(spec) = &*port.spec else { panic!("{name} is no port") };
        let host = self.namespace(spec.host.as_deref().unwrap());
        run(&format!("ip -n {host} link del {}", device(name)));
        let namespace = self.namespace(name);
        run(&format!("ip netns del {namespace}"));
        self.namespaces.retain(|other| *other != namespace);
    }

    /// Brings a host to what the world says.
    pub(crate) fn apply(&mut self, host: &str, world: &World) -> Vec<Rejection> {
        self.apply_view(host, &world.view(host))
    }

    /// Brings a host to a view.
    pub(crate) fn apply_view(&mut self, host: &str, view: &HostView) -> Vec<Rejection> {
        let state = self.hosts.get_mut(host).unwrap();
        let changed = changed(&state.view, view);
        state.view = view.clone();
        let view = view.clone();
        state.driver.with(move |driver| driver.apply(&view, Some(&changed)).unwrap())
    }

    /// Brings all hosts to what the world says; nothing may be rejected.
    pub(crate) fn apply_all(&mut self, world: &World) {
        let hosts: Vec<String> = self.hosts.keys().cloned().collect();
        for host in hosts {
            let rejections = self.apply(&host, world);
            assert!(rejections.is_empty(), "{host}: {rejections:?}");
        }
    }

    /// Lets a host's driver look for drift.
    pub(crate) fn audit(&self, host: &str) -> Vec<Finding> {
        self.hosts[host].driver.with(|driver| driver.audit().unwrap())
    }

    /// What a host could not apply.
    pub(crate) fn rejections(&self, host: &str) -> Vec<Rejection> {
        self.hosts[host].driver.with(|driver| driver.rejections().to_vec())
    }

    /// Takes everything of ours off a host.
    pub(crate) fn remove_all(&mut self, host: &str) {
        let state = self.hosts.get_mut(host).unwrap();
        state.driver.with(|driver| driver.remove_all().unwrap());
        state.view = HostView::default();
    }

    /// Ends a host's driver and starts another, which knows nothing.
    pub(crate) fn restart(&mut self, host: &str) {
        let namespace = self.namespace(host);
        let state = self.hosts.get_mut(host).unwrap();
        state.driver = start(&namespace, &state.config);
        state.view = HostView::default();
    }

    /// Runs a program in a namespace.
    pub(crate) fn run(&self, name: &str, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.namespace(name)))
    }

    /// Everything that a host's kernel has that drivers work on, as text.
    pub(crate) fn kernel_state(&self, host: &str) -> String {
        let mut state = String::new();
        for command in [
            "nft list ruleset",
            "ip -o link show",
            "ip addr show",
            "ip -4 rule show",
            "ip -6 rule show",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip neigh show nud permanent",
            "ip -6 neigh show proxy",
            "bridge fdb show",
            "sysctl -a -r fwmark_reflect|forwarding|proxy_|rp_filter|src_valid|accept_|redirects",
        ] {
            state.push_str(&format!("# {command}\n{}\n", self.run(host, command)));
        }
        state
    }

    /// Waits until the kernel has done what it does with new devices by itself.
    pub(crate) fn settle(&self, host: &str) {
        wait_until("link-local addresses have settled", Duration::from_secs(10), || {
            !self.run(host, "ip addr show").contains("tentative")
        });
    }
}

fn start(namespace: &str, config: &LinuxConfig) -> Resident<LinuxDatapath> {
    let config = config.clone();
    Resident::start(namespace, move || LinuxDatapath::new(config).unwrap())
}

/// Lets a workload or a host send something, and checks what becomes of it.
#[track_caller]
pub(crate) fn check(lab: &Lab, from: &str, to: &str, sent: Sent, expected: Outcome) {
    let mut got = Outcome::Silence;
    for patience in PATIENCE {
        got = send(&lab.namespace(from), None, to.parse().unwrap(), sent, patience);
        if got != Outcome::Silence || expected == Outcome::Silence {
            break;
        }
    }
    assert_eq!(got, expected, "{from} sends {sent:?} to {to}");
}

/// An answer of that workload or host.
pub(crate) fn by(name: &str) -> Outcome {
    Outcome::Answered(name.to_owned())
}

/// Compares two texts line by line, and shows only the lines that differ.
///
/// # Panics
///
/// If there are any.
pub(crate) fn assert_same_lines(what: &str, left: &str, right: &str) {
    let only_in = |text: &str, other: &str| {
        let other: std::collections::BTreeSet<&str> = other.lines().collect();
        text.lines().filter(|line| !other.contains(line)).collect::<Vec<_>>().join("\n")
    };
    let (lost, gained) = (only_in(left, right), only_in(right, left));
    assert!(left == right, "{what}\nonly before:\n{lost}\nonly after:\n{gained}");
}

/// The tunnel endpoint of the n-th host.
pub(crate) fn vtep(number: u32) -> String {
    format!("172.30.0.{number}")
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Drivers first: they are in the namespaces.
        self.hosts.clear();
        for namespace in &self.namespaces {
            let deleted = Command::new("ip").args(["netns", "del", namespace]).status();
            if !deleted.is_ok_and(|status| status.success()) {
                eprintln!("namespace {namespace} is left over: remove it with ip netns del");
            }
        }
    }
}
