//! While rules are swapped 1,000 times, no packet of an established allowed flow is lost and none
//! of a denied flow passes (guarantee G4).
//!
//! ```text
//!  host-1: client ───────────────────── host-2: server (TCP 80 allowed, TCP 81 denied)
//!          peer-0…9   members that come and go, bound to no host
//! ```
//!
//! `SPANWIRE_SWAPS` sets how often.

use spanwire_lab::probe::{Listen, Outcome};
use spanwire_lab::{Place, WorkloadKey};
use spanwire_oracle::Resources;
use spanwire_tests::fleet::{self, Fleet, workload};
use spanwire_tests::matrix::{Trial, try_all};
use spanwire_tests::step_aside;
use spanwire_topology::model::{
    Action, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, Kind, Labels,
    LogicalPortSpec, LogicalSwitchSpec, Mac, ObjectRef, Peer, PortAttachment, PortRange,
    ProjectScope, Rule, SecurityPolicySpec, ServiceEntry, ServiceMatch, Spec, TransportProtocol,
};
use spanwire_topology::{ObjectKey, Resource};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PROJECT: &str = "tenant";
const ALLOWED: u16 = 80;
const DENIED: u16 = 81;
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// Long enough for any machine. That nothing was lost is read from the kernel's own count of what
/// it sent again, not from a time.
const FLOW_WAIT: Duration = Duration::from_secs(10);

fn mk_port(name: &str, last: u8, host: Option<&str>, group: &str) -> Resource {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    let spec = LogicalPortSpec {
        switch: ObjectRef::new(PROJECT, "switch"),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: host.map(Into::into),
        attachment: PortAttachment::Derived,
        port_security: true,
    };
    let labels: Labels = [("group".into(), group.into())].into_iter().collect();
    Resource::new(PROJECT, name, labels, Spec::LogicalPort(spec))
}

fn mk_rule(name: String, peer: &str, ports: &[u16], action: Action) -> Rule {
    let entry = ServiceEntry::Transport {
        protocol: TransportProtocol::Tcp,
        ports: ports.iter().map(|&port| PortRange::single(port)).collect(),
        source_ports: Vec::new(),
    };
    Rule {
        name: Some(name.into()),
        direction: Direction::In,
        peers: vec![Peer { group: ObjectRef::new(PROJECT, peer), negate: false }],
        services: vec![ServiceMatch::Entry(entry)],
        action,
        log: false,
    }
}

/// The policy of the server in its `round`-th form. What it admits of the clients never changes;
/// everything else about it does, every time: the number, names, order and ports of its rules.
fn mk_policy(round: usize) -> Resource {
    let mut rules: Vec<Rule> = (0..round % 5)
        .map(|n| {
            let port = 1_000 + (round * 7 + n) as u16 % 5_000;
            mk_rule(format!("other-{round}-{n}"), "peers", &[port], Action::Allow)
        })
        .collect();
    let at = round % (rules.len() + 1);
    rules.insert(at, mk_rule(format!("clients-{round}"), "clients", &[ALLOWED], Action::Allow));
    if round.is_multiple_of(2) {
        rules.push(mk_rule(format!("never-{round}"), "clients", &[DENIED], Action::Drop));
    }
    Resource::new(
        PROJECT,
        "server",
        Labels::new(),
        Spec::SecurityPolicy(SecurityPolicySpec {
            applied_to: vec![ObjectRef::new(PROJECT, "servers")],
            tier: 500,
            priority: 1 + round as u32 % 3,
            defaults: DefaultActions { inbound: Some(Action::Drop), outbound: None },
            rules,
        }),
    )
}

fn mk_network() -> Resources {
    let mut resources = Vec::new();
    for (name, last) in [("host-1", 1), ("host-2", 2)] {
        let vtep = Some(IpAddr::V4(Ipv4Addr::new(198, 18, 0, last)));
        resources.push(Resource::new("system", name, Labels::new(), Spec::Host(HostSpec { vtep })));
    }
    let subnets = vec!["10.0.0.0/24".parse().expect("a well-formed subnet")];
    let switch = Spec::LogicalSwitch(LogicalSwitchSpec { subnets });
    resources.push(Resource::new(PROJECT, "switch", Labels::new(), switch));
    for group in ["clients", "servers", "peers"] {
        let selector = format!("group={group}").parse().expect("a well-formed selector");
        let terms = vec![GroupTerm::Selector { selector, projects: ProjectScope::Own }];
        let spec = Spec::Group(GroupSpec { terms, blocks: Vec::new() });
        resources.push(Resource::new(PROJECT, group, Labels::new(), spec));
    }
    resources.push(mk_port("client", 1, Some("host-1"), "clients"));
    resources.push(mk_port("server", 2, Some("host-2"), "servers"));
    resources.push(mk_policy(0));
    resources.into_iter().map(|resource| (resource.key(), resource)).collect()
}

#[test]
fn swapping_rules_loses_no_allowed_packet_and_passes_no_denied_one() {
    const NAME: &str = "swaps";
    if let Some(lacking) = fleet::lacking() {
        return step_aside(NAME, &lacking);
    }
    let swaps: usize =
        std::env::var("SPANWIRE_SWAPS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let mut fleet = Fleet::up(NAME, &mk_network());
    fleet.listen(&[Listen::Tcp(ALLOWED), Listen::Tcp(DENIED)]);
    let client = ObjectKey::new(Kind::LogicalPort, PROJECT, "client");
    let allowed = SocketAddr::new(SERVER, ALLOWED);
    let mut flow =
        fleet.lab().connect(&workload(&client), allowed, FLOW_WAIT).expect("the flow opens");
    let denied = (client, SERVER, Trial::Tcp(DENIED));

    let done = AtomicBool::new(false);
    let (echoes, attempts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let retransmitted = std::thread::scope(|scope| {
        let fleet = &fleet;
        let flowing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                flow.echo(b"established", FLOW_WAIT).expect("an established flow goes on");
                echoes.fetch_add(1, Ordering::Relaxed);
            }
            retransmissions(fleet, "client") + retransmissions(fleet, "server")
        });
        let knocking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let some = vec![&denied; 16];
                for outcome in try_all(fleet.lab(), &some, Duration::from_millis(300)) {
                    assert!(!matches!(outcome, Outcome::Connected { .. }), "a denied flow passed");
                    attempts.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let swapping = scope.spawn(|| {
            fleet.with_admin(|admin| {
                for round in 1..=swaps {
                    let mut change = vec![mk_policy(round)];
                    // Members come and go with the rules that name them.
                    let peer = 10 + (round % 10) as u8;
                    let group = if round % 20 < 10 { "peers" } else { "none" };
                    let name = format!("peer-{}", round % 10);
                    change.push(mk_port(&name, peer, None, group));
                    let revision = admin.apply(change).expect("the rules are swapped");
                    admin.wait_realized(revision).expect("both hosts have them");
                }
            });
        });
        let swapped = swapping.join();
        done.store(true, Ordering::Relaxed);
        knocking.join().expect("nothing denied passes");
        let retransmitted = flowing.join().expect("the flow goes on");
        swapped.expect("all swaps are made");
        retransmitted
    });
    let (echoes, attempts) = (echoes.into_inner(), attempts.into_inner());
    println!("{swaps} swaps, {echoes} echoes, {retransmitted} sent again, {attempts} denied");
    assert!(echoes > swaps / 2 && attempts > 16, "too little was sent to show anything");
    assert_eq!(retransmitted, 0, "packets of the established flow were lost");
}

/// How many segments the kernel of a workload has sent again on connections to or from the allowed
/// port: the second figure of `retrans:` in what `ss --info` prints, where there is one.
fn retransmissions(fleet: &Fleet, name: &str) -> u32 {
    let place = Place::Workload(WorkloadKey::new(PROJECT, name));
    let filter = format!("( sport = :{ALLOWED} or dport = :{ALLOWED} )");
    let output =
        fleet.lab().exec(&place, "ss", ["--tcp", "--info", "--numeric", "--no-header", &filter]);
    let output = output.expect("ss runs in a workload");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("cwnd:"), "ss says nothing of the flow: {text}");
    text.split_whitespace()
        .filter_map(|word| word.strip_prefix("retrans:")?.split_once('/'))
        .map(|(_, total)| total.parse::<u32>().expect("ss prints a number"))
        .sum()
}
