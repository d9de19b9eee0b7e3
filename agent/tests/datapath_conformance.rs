//! The conformance suite of datapath drivers, run on each of them.

// A panic in a test, and in what tests share, is a failed test.
#![allow(clippy::unwrap_used)]

mod datapath_support;

use datapath_support::cases::base;
use datapath_support::conformance::{Harness, RecordHarness, check_conformance};
use datapath_support::lab::{Lab, can_run, run};
use datapath_support::probe::{Outcome, Sent, send};
use datapath_support::world::World;
use spanwire_agent::datapath::LinuxConfig;
use spanwire_topology::Kind;
use std::net::IpAddr;
use std::time::Duration;

#[test]
fn record_conforms() {
    check_conformance(&mut RecordHarness::default());
}

#[test]
fn linux_conforms() {
    if !can_run() {
        return;
    }
    let mut lab = Lab::new(&[("a", LinuxConfig::default()), ("b", LinuxConfig::default())]);
    for port in base().iter().filter(|resource| resource.key().kind == Kind::LogicalPort) {
        lab.plug(port);
    }
    // Forged sources need an address to send from.
    for (forger, address) in [
        ("web-0", "10.0.0.99/32"),
        ("web-0", "10.0.0.98/32"),
        ("web-0", "fd00::99/128"),
        ("lone-3", "10.0.0.1/32"),
    ] {
        run(&format!("ip -n {} addr add {address} dev lo", lab.namespace(forger)));
    }
    check_conformance(&mut LinuxHarness { lab });
}

/// Real packets between namespaces.
struct LinuxHarness {
    lab: Lab,
}

impl Harness for LinuxHarness {
    fn apply(&mut self, world: &World) {
        self.lab.apply_all(world);
    }

    fn send(
        &mut self,
        from: &str,
        source: Option<IpAddr>,
        to: IpAddr,
        sent: Sent,
        patience: Duration,
    ) -> Outcome {
        send(&self.lab.namespace(from), source, to, sent, patience)
    }
}
