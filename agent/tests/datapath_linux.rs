//! What the linux driver promises beyond the conformance suite, shown with real packets: flows that
//! live through changes, changes that touch nothing else, drift put right, nothing left behind.

// A panic in a test, and in what tests share, is a failed test.
#![allow(clippy::unwrap_used)]

mod datapath_support;

use datapath_support::cases::base;
use datapath_support::lab::{Lab, assert_same_lines, by, can_run, check};
use datapath_support::probe::{
    Outcome, PATIENCE, Sent, connect, in_namespace, received, serve, wait_until,
};
use datapath_support::world::{World, blocks, device, group, policy, port, port_with};
use spanwire_agent::datapath::{FindingKind, LinuxConfig};
use spanwire_topology::Kind;
use spanwire_topology::model::PortAttachment;
use spanwire_topology::view::ItemKey;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The network of the conformance suite with all workloads plugged in.
fn lab() -> (Lab, World) {
    let mut lab = Lab::new(&[("a", LinuxConfig::default()), ("b", LinuxConfig::default())]);
    for port in base().iter().filter(|resource| resource.key().kind == Kind::LogicalPort) {
        lab.plug(port);
    }
    let world = World::new(base());
    lab.apply_all(&world);
    (lab, world)
}

/// The rules of our table with their handles, which change when a rule is put anew.
fn rule_handles(lab: &Lab, host: &str) -> Vec<(String, u64, String)> {
    let listing = lab.run(host, "nft -j list table inet spanwire");
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let rules = listing["nftables"].as_array().unwrap().iter();
    rules
        .filter_map(|object| object.get("rule"))
        .map(|rule| {
            (
                rule["chain"].as_str().unwrap().to_owned(),
                rule["handle"].as_u64().unwrap(),
                rule["comment"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

#[test]
fn an_admitted_connection_outlives_its_rule_and_a_new_one_does_not() {
    if !can_run() {
        return;
    }
    let (mut lab, mut world) = lab();
    let open = policy("p", "dbs", "in allow webs tcp:80\ndefault in drop");
    world.put([open]);
    lab.apply_all(&world);
    for to in ["10.0.1.1:80", "10.0.1.2:80", "[fd00:1::2]:80"] {
        let address: SocketAddr = to.parse().unwrap();
        let (mut stream, _) =
            in_namespace(&lab.namespace("web-0"), move || connect(address, PATIENCE[2])).unwrap();
        world.put([policy("p", "dbs", "in reject *")]);
        lab.apply_all(&world);
        for _ in 0..3 {
            let mut echo = [0];
            stream.write_all(b"still there?").unwrap();
            stream.read_exact(&mut echo).unwrap();
        }
        check(&lab, "web-0", &address.ip().to_string(), Sent::Tcp(80), Outcome::Refused);
        world.put([policy("p", "dbs", "in allow webs tcp:80\ndefault in drop")]);
        lab.apply_all(&world);
    }
}

#[test]
fn rules_log_under_the_name_of_their_policy() {
    if !can_run() {
        return;
    }
    let (mut lab, mut world) = lab();
    world.put([policy("p", "dbs", "in reject log webs tcp:80,udp:53\nin drop log !webs")]);
    lab.apply_all(&world);
    let table = lab.run("a", "nft list table inet spanwire");
    for expected in [
        "limit rate 10/second burst 20 packets log prefix \"spanwire policy t/p rule 0 reject: \"",
        "limit rate 10/second burst 20 packets log prefix \"spanwire policy t/p rule 1 drop: \"",
    ] {
        assert!(table.contains(expected), "{table}");
    }
    // A name of any length fits the kernel's limit.
    let long = policy(&"n".repeat(250), "dbs", "in reject log webs tcp:443");
    world.put([long]);
    lab.apply_all(&world);
    check(&lab, "web-0", "10.0.1.1", Sent::Tcp(443), Outcome::Refused);
}

#[test]
fn connections_of_isolated_domains_are_told_apart() {
    if !can_run() {
        return;
    }
    let (mut lab, mut world) = lab();
    world.put([policy("p", "webs", "in drop * udp:53")]);
    lab.apply_all(&world);
    // The same addresses and ports, in two domains on one host.
    let from_fixed_port = |name: &str, to: &str| {
        let to: SocketAddr = to.parse().unwrap();
        in_namespace(&lab.namespace(name), move || {
            // Another test's child process may hold the last socket until it runs its program.
            let mut bound = UdpSocket::bind(("0.0.0.0", 33_333));
            wait_until("the port is free", Duration::from_secs(5), || {
                if bound.is_err() {
                    bound = UdpSocket::bind(("0.0.0.0", 33_333));
                }
                bound.is_ok()
            });
            let socket = bound.unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
            socket.send_to(b"hello", to).unwrap();
            let mut answer = [0; 64];
            socket.recv(&mut answer).map(|length| answer[..length].to_vec()).ok()
        })
    };
    for to in ["10.0.0.2:53", "10.0.0.3:53"] {
        let answer = from_fixed_port("lone-0", to).unwrap();
        assert!(answer.starts_with(b"lone-"), "{answer:?}");
        assert_eq!(from_fixed_port("web-0", to), None, "{to}");
        assert!(from_fixed_port("lone-0", to).is_some(), "{to}");
    }
}

#[test]
fn a_change_of_members_touches_elements_and_no_rule() {
    if !can_run() {
        return;
    }
    let (mut lab, mut world) = lab();
    world.put([
        policy("p", "dbs", "in allow left,low tcp:80\ndefault in drop"),
        port("web-0", "web", "a", "10.0.0.1", "app=web side=left"),
    ]);
    lab.apply_all(&world);
    check(&lab, "web-2", "10.0.1.1", Sent::Tcp(80), Outcome::Silence);
    let before = rule_handles(&lab, "a");
    // One more member, the first of its family, one more block, and a block cut in two.
    world.put([
        port("web-2", "web", "b", "10.0.0.3 fd00::3", "app=web side=left"),
        blocks("low", "10.0.0.0/32 10.9.0.2/32 10.7.0.0/16 fd00::/127"),
    ]);
    lab.apply_all(&world);
    assert_eq!(rule_handles(&lab, "a"), before);
    check(&lab, "web-2", "10.0.1.1", Sent::Tcp(80), by("db-0"));
    check(&lab, "web-2", "fd00:1::1", Sent::Tcp(80), by("db-0"));
    check(&lab, "shared-0", "10.0.1.1", Sent::Tcp(80), Outcome::Silence);
    check(&lab, "shared-1", "10.0.1.1", Sent::Tcp(80), by("db-0"));
    // And back.
    world.put([
        port("web-2", "web", "b", "10.0.0.3", "app=web"),
        blocks("low", "10.0.0.0/31 10.9.0.0/24 fd00::/127"),
    ]);
    lab.apply_all(&world);
    assert_eq!(rule_handles(&lab, "a"), before);
    check(&lab, "web-2", "10.0.1.1", Sent::Tcp(80), Outcome::Silence);
    check(&lab, "shared-0", "10.0.1.1", Sent::Tcp(80), by("db-0"));
    assert!(lab.audit("a").is_empty());
}

#[test]
fn no_packet_meets_a_mixture_while_rules_are_swapped() {
    if !can_run() {
        return;
    }
    const SWAPS: usize = 100;
    let (mut lab, mut world) = lab();
    // Both admit 53 and deny 5353, in different ways: between them lies an open and a closed door.
    let variants = [
        policy("p", "dbs", "in allow webs udp:53\ndefault in drop"),
        policy("p", "dbs", "in drop webs udp:100-6000\nin allow webs udp\nin reject *"),
    ];
    world.put([variants[0].clone()]);
    lab.apply_all(&world);
    let stop = Arc::new(AtomicBool::new(false));
    let stream = |to: &'static str, answered: bool| {
        let (namespace, stop) = (lab.namespace("web-0"), Arc::clone(&stop));
        std::thread::spawn(move || {
            in_namespace(&namespace, move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    // A new connection each time: an old one would pass on its state alone.
                    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
                    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                    socket.connect(to).unwrap();
                    socket.send(format!("swap {to}").as_bytes()).unwrap();
                    if answered {
                        socket.recv(&mut [0; 64]).expect("an allowed packet was lost");
                    } else {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    sent += 1;
                }
                sent
            })
        })
    };
    let address: SocketAddr = "10.0.1.2:53".parse().unwrap();
    let established = {
        let (namespace, stop) = (lab.namespace("web-0"), Arc::clone(&stop));
        std::thread::spawn(move || {
            in_namespace(&namespace, move || {
                let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                socket.connect(address).unwrap();
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    socket.send(b"established").unwrap();
                    socket.recv(&mut [0; 64]).expect("a packet of a connection was lost");
                    sent += 1;
                }
                sent
            })
        })
    };
    let streams = [
        established,
        stream("10.0.1.1:53", true),
        stream("10.0.1.2:53", true),
        stream("10.0.1.1:5353", false),
        stream("10.0.1.2:5353", false),
    ];
    for swap in 0..SWAPS {
        world.put([variants[(swap + 1) % 2].clone()]);
        lab.apply_all(&world);
    }
    stop.store(true, Ordering::Relaxed);
    for stream in streams {
        let sent: usize = stream.join().unwrap();
        assert!(sent > SWAPS, "only {sent} packets during {SWAPS} swaps");
    }
    assert!(received(b"swap 10.0.1.1:53").is_some());
    assert_eq!(received(b"swap 10.0.1.1:5353"), None);
    assert_eq!(received(b"swap 10.0.1.2:5353"), None);
}

/// What somebody does to a host, and how an audit must find it.
fn damages(table: u32, vni: &str, web: &str) -> Vec<(String, FindingKind, &'static str)> {
    let (missing, altered, foreign) =
        (FindingKind::Missing, FindingKind::Altered, FindingKind::Foreign);
    vec![
        ("nft delete table inet spanwire".to_owned(), missing, "table inet spanwire"),
        ("nft flush ruleset".to_owned(), missing, "table inet spanwire"),
        ("nft flush chain inet spanwire forward".to_owned(), altered, "chain forward"),
        ("nft insert rule inet spanwire forward accept".to_owned(), altered, "chain forward"),
        ("nft add chain inet spanwire guest".to_owned(), foreign, "chain guest"),
        (
            "nft add element inet spanwire own_v4 { foo . 0a:00:00:00:00:01 . 9.9.9.9 }".to_owned(),
            altered,
            "set own_v4",
        ),
        (
            format!("nft delete element inet spanwire inbound {{ {} }}", device("db-0")),
            altered,
            "map inbound",
        ),
        (format!("ip route del 10.0.0.2 table {table}"), missing, "route 10.0.0.2/32"),
        (
            format!("ip route replace 10.0.0.3 dev spnull proto 91 scope link table {table}"),
            altered,
            "route 10.0.0.3/32",
        ),
        (format!("ip -6 route del fd00::2 table {table}"), missing, "route fd00::2/128"),
        (
            format!("ip route add 10.66.0.1 dev spnull proto 91 table {table}"),
            foreign,
            "route 10.66.0.1/32",
        ),
        (format!("ip rule del iif {web} lookup {table}"), missing, "rule V4 iif"),
        (format!("ip -6 rule del iif {web} lookup {table}"), missing, "rule V6 iif"),
        (format!("ip neigh del 10.0.0.1 dev {web}"), missing, "neighbour 10.0.0.1"),
        (
            format!("ip neigh replace 10.0.0.1 lladdr 02:00:00:00:00:09 nud permanent dev {web}"),
            altered,
            "neighbour 10.0.0.1",
        ),
        (format!("ip -6 neigh del proxy fd00::2 dev {web}"), missing, "neighbour proxy fd00::2"),
        (format!("bridge fdb del 02:5b:ac:1e:00:02 dev spx{vni}"), missing, "forwarding entry"),
        (format!("ip link del spx{vni}"), missing, "device spx"),
        (format!("ip link set spx{vni} down"), altered, "device spx"),
        (format!("ip link set spx{vni} mtu 1280"), altered, "device spx"),
        (format!("ip link del spo{vni}"), missing, "device spo"),
        ("ip link del spnull".to_owned(), missing, "device spnull"),
        (format!("sysctl -qw net.ipv4.conf.{web}.proxy_arp=0"), altered, "proxy_arp"),
        (format!("sysctl -qw net.ipv6.conf.{web}.forwarding=0"), altered, "forwarding"),
        (format!("ip addr del 169.254.1.1/32 dev {web}"), missing, "address 169.254.1.1"),
    ]
}

#[test]
fn drift_is_found_and_put_right() {
    if !can_run() {
        return;
    }
    let (mut lab, mut world) = lab();
    world.put([policy("p", "dbs", "in allow left,low tcp:80\ndefault in drop")]);
    lab.apply_all(&world);
    assert_eq!(lab.audit("a"), []);
    let domain = World::new(base()).view("a");
    let table = {
        let port = World::port_uid(&domain, "web-0");
        let item = spanwire_agent::datapath::evaluate::port(&domain, port).unwrap();
        0x5b00_0000 + item.domain.0
    };
    let vni = format!("{:x}", table & 0xff_ffff);
    let web = device("web-0");
    for (damage, kind, subject) in damages(table, &vni, &web) {
        lab.run("a", &damage);
        let findings = lab.audit("a");
        let found = findings.iter().find(|f| f.kind == kind && f.subject.contains(subject));
        assert!(found.is_some(), "after {damage:?}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.repaired), "after {damage:?}: {findings:?}");
        assert_eq!(lab.audit("a"), [], "a second audit after {damage:?}");
        assert!(lab.rejections("a").is_empty(), "after {damage:?}");
    }
    check(&lab, "web-0", "10.0.1.1", Sent::Tcp(80), by("db-0"));
    check(&lab, "web-0", "10.0.1.2", Sent::Tcp(80), by("db-1"));
    check(&lab, "web-0", "10.0.1.1", Sent::Tcp(443), Outcome::Silence);
    check(&lab, "web-0", "10.9.0.1", Sent::Tcp(80), by("shared-0"));
    check(&lab, "web-0", "fd00::2", Sent::Tcp(80), by("web-1"));
    check(&lab, "lone-0", "10.0.0.3", Sent::Tcp(80), by("lone-2"));
}

#[test]
fn a_restarted_driver_takes_over_what_it_finds() {
    if !can_run() {
        return;
    }
    let (mut lab, mut world) = lab();
    world.put([policy("p", "dbs", "in pass left tcp:80\nin allow low\ndefault in drop")]);
    lab.apply_all(&world);
    lab.settle("a");
    let (state, handles) = (lab.kernel_state("a"), rule_handles(&lab, "a"));
    lab.restart("a");
    assert_eq!(lab.apply("a", &world), []);
    assert_eq!(rule_handles(&lab, "a"), handles);
    assert_same_lines("after a restart", &state, &lab.kernel_state("a"));
    // What changed while it was away is changed, and nothing else.
    lab.restart("a");
    let web = World::new(base()).port("web-1");
    world.delete([&web]);
    assert_eq!(lab.apply("a", &world), []);
    let routes = lab.run("a", "ip route show table all proto 91");
    assert!(!routes.contains(&device("web-1")), "{routes}");
    check(&lab, "web-0", "10.0.0.2", Sent::Ping, Outcome::NoRoute);
    check(&lab, "web-1", "10.0.0.1", Sent::Tcp(80), Outcome::Silence);
    check(&lab, "lone-0", "10.0.0.2", Sent::Tcp(80), by("lone-1"));
}

#[test]
fn removing_everything_leaves_what_others_have() {
    if !can_run() {
        return;
    }
    let mut lab = Lab::new(&[("a", LinuxConfig::default()), ("b", LinuxConfig::default())]);
    for port in base().iter().filter(|resource| resource.key().kind == Kind::LogicalPort) {
        lab.plug(port);
    }
    lab.run("a", "nft add table inet guest");
    lab.run("a", "nft add chain inet guest c { type filter hook forward priority 5 ; }");
    lab.run("a", "ip rule add pref 700 from 9.9.9.9 lookup 77");
    lab.run("a", "ip route add blackhole 9.9.9.0/24 table 77");
    lab.run("a", "ip neigh add 9.9.9.1 lladdr 02:00:00:00:00:09 dev eth0");
    lab.settle("a");
    let before = lab.kernel_state("a");
    lab.apply_all(&World::new(base()));
    assert_ne!(lab.kernel_state("a"), before);
    // Also what another run left behind.
    lab.restart("a");
    lab.remove_all("a");
    assert_same_lines("after removal", &before, &lab.kernel_state("a"));
    // The host is not a router for its workloads after that.
    check(&lab, "web-0", "172.30.0.2", Sent::Tcp(80), Outcome::Silence);
    lab.remove_all("a");
    lab.apply_all(&World::new(base()));
    check(&lab, "web-0", "10.0.0.3", Sent::Tcp(80), by("web-2"));
}

#[test]
fn a_workload_is_served_when_its_device_appears() {
    if !can_run() {
        return;
    }
    let (mut lab, mut world) = lab();
    let late = port("late", "web", "a", "10.0.0.9 fd00::9", "app=web");
    world.put([late.clone()]);
    let rejections = lab.apply("a", &world);
    lab.apply("b", &world);
    let view = world.view("a");
    let key = ItemKey::Port(World::port_uid(&view, "late"));
    let [rejection] = &rejections[..] else { panic!("{rejections:?}") };
    assert_eq!(rejection.key, key);
    let expected = format!("device {} does not exist on this host yet", device("late"));
    assert_eq!(rejection.reason, expected);
    assert_eq!(lab.audit("a"), []);
    for round in 0..2 {
        lab.plug(&late);
        let findings = lab.audit("a");
        assert!(
            findings.iter().all(|f| f.kind == FindingKind::Resolved && f.repaired),
            "{findings:?}"
        );
        assert_eq!(lab.rejections("a"), [], "round {round}");
        check(&lab, "late", "10.0.0.3", Sent::Tcp(80), by("web-2"));
        check(&lab, "web-2", "fd00::9", Sent::Tcp(80), by("late"));
        lab.unplug(&late);
        assert_eq!(lab.audit("a"), []);
        assert_eq!(lab.rejections("a"), rejections);
    }
}

#[test]
fn full_size_tcp_passes() {
    if !can_run() {
        return;
    }
    const BYTES: usize = 4 << 20;
    let (lab, _) = lab();
    for (to, who) in [
        ("10.0.0.2:80", "web-1"),
        ("10.0.0.3:80", "web-2"),
        ("[fd00::3]:80", "web-2"),
        ("10.9.0.1:80", "shared-0"),
        ("[fd00:9::2]:80", "shared-1"),
    ] {
        let to: SocketAddr = to.parse().unwrap();
        let got = in_namespace(&lab.namespace("web-0"), move || {
            let (mut stream, name) = connect(to, PATIENCE[2]).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut reader = stream.try_clone().unwrap();
            let drain = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()).unwrap());
            stream.write_all(&vec![7; BYTES]).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // The server closes only after it has read everything.
            assert!(drain.join().unwrap() > 0);
            name
        });
        assert_eq!(got, who);
    }
    // A datagram that does not fit is refused with the size that does, in both families.
    for (to, fits) in [("10.0.0.3:53", 1450 - 28), ("[fd00::3]:53", 1450 - 48)] {
        let to: SocketAddr = to.parse().unwrap();
        in_namespace(&lab.namespace("web-0"), move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
            socket.connect(to).unwrap();
            let exchange = |size: usize| {
                socket.send(&vec![0; size])?;
                socket.recv(&mut [0; 64])
            };
            assert!(exchange(fits).is_ok(), "{to}");
            // The first is lost, and the error says why; then the sender cuts it to fit.
            wait_until("the path's MTU is known", Duration::from_secs(5), || {
                exchange(fits + 50).is_ok()
            });
        });
    }
}

#[test]
fn an_item_that_nft_refuses_is_named_and_the_rest_is_in_force() {
    if !can_run() {
        return;
    }
    // An nft that does not like one policy.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("nft");
    let script = "#!/bin/sh\ninput=$(mktemp)\ncat >$input\n\
                  if grep -q t/poison $input; then\n\
                  rm $input; echo 'Error: t/poison is poison' >&2; exit 1\nfi\n\
                  nft \"$@\" <$input\nstatus=$?\nrm $input\nexit $status\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = LinuxConfig { nft_program: program, ..LinuxConfig::default() };
    let mut lab = Lab::new(&[("a", config), ("b", LinuxConfig::default())]);
    for port in base().iter().filter(|resource| resource.key().kind == Kind::LogicalPort) {
        lab.plug(port);
    }
    let mut world = World::new(base());
    // In the order of their names: what the first decides is decided, what is left to the second is
    // dropped in the direction it looks in, and the other direction is left to the third.
    let poison = policy("poison", "dbs", "in drop left tcp:443");
    world.put([
        policy("p", "dbs", "in reject left tcp:80\nin allow left tcp:8080"),
        poison.clone(),
        policy("q", "dbs", "in reject left tcp:8443\nout reject * tcp:443"),
    ]);
    let rejections = lab.apply("a", &world);
    lab.apply("b", &world);
    let view = world.view("a");
    let [rejection] = &rejections[..] else { panic!("{rejections:?}") };
    let ItemKey::Policy(uid) = rejection.key else { panic!("{rejection}") };
    assert_eq!(&*spanwire_agent::datapath::evaluate::policy(&view, uid).unwrap().name, "poison");
    assert!(rejection.reason.contains("t/poison is poison"), "{rejection}");
    assert!(rejection.reason.contains("what it would judge is dropped"), "{rejection}");
    for (port, outcome) in [
        (80, Outcome::Refused),
        (8080, by("db-0")),
        (443, Outcome::Silence),
        (8443, Outcome::Silence),
    ] {
        check(&lab, "web-0", "10.0.1.1", Sent::Tcp(port), outcome);
    }
    check(&lab, "db-0", "10.0.0.1", Sent::Tcp(80), by("web-0"));
    check(&lab, "db-0", "10.0.0.1", Sent::Tcp(443), Outcome::Refused);
    // It is not tried again until it changes, and then it is.
    world.put([policy("q", "dbs", "in reject left tcp:8443")]);
    assert_eq!(lab.apply("a", &world), rejections);
    check(&lab, "web-0", "10.0.1.1", Sent::Tcp(8443), Outcome::Silence);
    world.replace([&poison], [policy("cured", "dbs", "in drop left tcp:443")]);
    assert_eq!(lab.apply("a", &world), []);
    check(&lab, "web-0", "10.0.1.1", Sent::Tcp(443), Outcome::Silence);
    check(&lab, "web-0", "10.0.1.1", Sent::Tcp(8443), Outcome::Refused);
}

#[test]
fn workloads_and_host_are_kept_apart_in_the_overlay() {
    if !can_run() {
        return;
    }
    let (mut lab, mut world) = lab();
    serve(&lab.namespace("a"), "host-a");
    serve(&lab.namespace("b"), "host-b");
    check(&lab, "b", "172.30.0.1", Sent::Tcp(80), by("host-a"));
    check(&lab, "web-0", "172.30.0.1", Sent::Tcp(80), Outcome::Silence);
    check(&lab, "web-0", "172.30.0.2", Sent::Ping, Outcome::NoRoute);
    check(&lab, "web-0", "169.254.1.1", Sent::Ping, by("kernel"));
    check(&lab, "web-0", "169.254.1.1", Sent::Tcp(80), Outcome::Silence);
    // The host as a port: its own policies, which cut neither the overlay nor the controller.
    let host_a = port_with(
        "host-a",
        "shared",
        "a",
        "10.9.0.200",
        "app=host",
        PortAttachment::HostStack,
        true,
    );
    world.put([
        host_a,
        group("hosts", "app=host"),
        policy("h", "hosts", "in allow * tcp:443\ndefault in drop\ndefault out reject"),
    ]);
    lab.apply_all(&world);
    check(&lab, "b", "172.30.0.1", Sent::Tcp(80), Outcome::Silence);
    check(&lab, "b", "172.30.0.1", Sent::Tcp(443), by("host-a"));
    check(&lab, "a", "172.30.0.2", Sent::Tcp(80), Outcome::Refused);
    check(&lab, "a", "127.0.0.1", Sent::Tcp(80), by("host-a"));
    check(&lab, "web-0", "10.0.0.3", Sent::Tcp(80), by("web-2"));
    check(&lab, "web-0", "10.0.0.3", Sent::Tcp(99), Outcome::Refused);
}
