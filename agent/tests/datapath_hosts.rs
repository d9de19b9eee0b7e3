//! The linux driver on hosts of other kinds: another underlay, other settings, nothing configured,
//! a large part of a large network.

// A panic in a test, and in what tests share, is a failed test.
#![allow(clippy::unwrap_used)]

mod datapath_support;

use datapath_support::cases::base;
use datapath_support::lab::{Lab, assert_same_lines, by, can_run, check, run};
use datapath_support::probe::{Outcome, PATIENCE, Sent, TCP_PORTS, in_namespace, send, serve};
use datapath_support::world::{
    World, changed, device, group, host, policy, port, port_with, router, switch,
};
use spanwire_agent::datapath::linux::LinuxDatapath;
use spanwire_agent::datapath::{Datapath, ForwardingMode, LinuxConfig, evaluate};
use spanwire_topology::model::{Mac, PortAttachment};
use spanwire_topology::view::{HostView, Item, ItemKey, Locator, VersionedItem};
use spanwire_topology::{Kind, Resource};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn plug_all(lab: &mut Lab) {
    for port in base().iter().filter(|resource| resource.key().kind == Kind::LogicalPort) {
        lab.plug(port);
    }
}

#[test]
fn the_underlay_may_be_ipv6() {
    if !can_run() {
        return;
    }
    let vtep = |number| format!("fd00:30::{number}");
    let hosts = [("a", LinuxConfig::default()), ("b", LinuxConfig::default())];
    let mut lab = Lab::over(&hosts, vtep);
    plug_all(&mut lab);
    let mut world = World::new(base());
    world.put([host("a", &vtep(1)), host("b", &vtep(2))]);
    world.put([policy("p", "dbs", "in reject * udp:53")]);
    lab.apply_all(&world);
    check(&lab, "web-0", "10.0.0.3", Sent::Tcp(80), by("web-2"));
    check(&lab, "web-0", "fd00::3", Sent::Udp(53), by("web-2"));
    check(&lab, "web-0", "10.9.0.2", Sent::Tcp(80), by("shared-1"));
    check(&lab, "web-0", "fd00:1::2", Sent::Udp(53), Outcome::Refused);
    check(&lab, "lone-0", "10.0.0.3", Sent::Tcp(80), by("lone-2"));
    // 1500 less the headers of Ethernet, IPv6, UDP and VXLAN.
    assert!(lab.run("a", "ip link show").contains("mtu 1430"));
}

#[test]
fn hosts_that_filter_by_reverse_path_are_served() {
    if !can_run() {
        return;
    }
    let hosts = [("a", LinuxConfig::default()), ("b", LinuxConfig::default())];
    for filter in ["1", "2"] {
        let mut lab = Lab::new(&hosts);
        for name in ["a", "b"] {
            lab.run(name, &format!("sysctl -qw net.ipv4.conf.all.rp_filter={filter}"));
            lab.run(name, "ip route add default via 172.30.0.254");
        }
        plug_all(&mut lab);
        let mut world = World::new(base());
        world.put([policy("p", "dbs", "in reject * tcp:80,udp:53")]);
        lab.apply_all(&world);
        check(&lab, "web-0", "10.0.0.2", Sent::Tcp(80), by("web-1"));
        check(&lab, "web-0", "10.0.0.3", Sent::Tcp(80), by("web-2"));
        check(&lab, "web-0", "10.9.0.1", Sent::Tcp(80), by("shared-0"));
        check(&lab, "web-0", "10.9.0.2", Sent::Tcp(80), by("shared-1"));
        check(&lab, "web-0", "10.0.1.1", Sent::Udp(53), Outcome::Refused);
        check(&lab, "web-0", "10.0.1.2", Sent::Udp(53), Outcome::Refused);
        check(&lab, "web-0", "10.0.1.2", Sent::Tcp(80), Outcome::Refused);
        check(&lab, "web-0", "10.0.0.77", Sent::Ping, Outcome::NoRoute);
        check(&lab, "lone-0", "10.0.0.3", Sent::Tcp(80), by("lone-2"));
    }
}

#[test]
fn a_device_without_a_port_is_closed() {
    if !can_run() {
        return;
    }
    let hosts = [("a", LinuxConfig::default()), ("b", LinuxConfig::default())];
    let mut lab = Lab::new(&hosts);
    plug_all(&mut lab);
    // A host that routes for others, and would route for the stranger too.
    lab.run("a", "sysctl -qw net.ipv4.ip_forward=1");
    lab.run("b", "ip route add 10.5.0.0/24 via 172.30.0.1");
    serve(&lab.namespace("a"), "host-a");
    serve(&lab.namespace("b"), "host-b");
    let stranger = port("stranger", "web", "a", "10.5.0.1", "app=web");
    lab.plug(&stranger);
    let device = device("stranger");
    lab.run("a", &format!("ip addr add 10.5.0.254/32 dev {device}"));
    lab.run("a", &format!("ip route add 10.5.0.1/32 dev {device}"));
    check(&lab, "stranger", "172.30.0.2", Sent::Tcp(80), by("host-b"));
    check(&lab, "b", "10.5.0.1", Sent::Tcp(80), by("stranger"));
    lab.apply_all(&World::new(base()));
    check(&lab, "stranger", "172.30.0.2", Sent::Tcp(80), Outcome::Silence);
    check(&lab, "stranger", "172.30.0.1", Sent::Tcp(80), Outcome::Silence);
    check(&lab, "b", "10.5.0.1", Sent::Tcp(80), Outcome::Silence);
    check(&lab, "b", "172.30.0.1", Sent::Tcp(80), by("host-a"));
}

#[test]
fn what_cannot_work_is_named_with_its_cause() {
    if !can_run() {
        return;
    }
    let lab = Lab::new(&[("a", LinuxConfig::default())]);
    let mut world = World::new(base());
    let two_on_one = |name: &str, address: &str| {
        port_with(
            name,
            "web",
            "a",
            address,
            "app=web",
            PortAttachment::Interface("eth0".into()),
            true,
        )
    };
    world.put([
        port("clash", "lone", "a", "172.30.0.1", "app=lone"),
        two_on_one("first", "10.0.0.21"),
        two_on_one("second", "10.0.0.22"),
    ]);
    let view = world.view("a");
    let domain = evaluate::port(&view, World::port_uid(&view, "web-0")).unwrap().domain;
    let apply = |config: LinuxConfig| {
        let view = view.clone();
        in_namespace(&lab.namespace("a"), move || {
            let mut driver = LinuxDatapath::new(config).unwrap();
            let rejections = driver.apply(&view, None).unwrap();
            driver.remove_all().unwrap();
            rejections
        })
    };
    let reasons = |config: LinuxConfig, key: ItemKey| -> Vec<String> {
        let rejections = apply(config).into_iter();
        rejections.filter(|r| r.key == key).map(|r| r.reason).collect()
    };
    let port = |name: &str| ItemKey::Port(World::port_uid(&view, name));
    let with_vtep =
        |vtep: &str| LinuxConfig { vtep: Some(vtep.parse().unwrap()), ..LinuxConfig::default() };
    let good = with_vtep("172.30.0.1");
    let locators = ItemKey::Locators(domain);
    let contains = |reasons: Vec<String>, expected: &str| {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{reasons:?}");
    };
    contains(reasons(good.clone(), port("clash")), "also this host's own, on device eth0");
    contains(reasons(good.clone(), port("second")), "device eth0 already belongs to port");
    assert_eq!(reasons(good.clone(), port("first")), Vec::<String>::new());
    assert_eq!(reasons(good.clone(), locators), Vec::<String>::new());
    contains(reasons(LinuxConfig::default(), locators), "this host has no tunnel endpoint");
    contains(reasons(with_vtep("172.30.0.9"), locators), "is on none of this host's devices");
    contains(reasons(with_vtep("fe80::1"), locators), "is on none of this host's devices");
    let narrow = LinuxConfig { underlay_mtu: Some(1300), ..good.clone() };
    contains(reasons(narrow, locators), "raise it to 1330");
    let nowhere = LinuxConfig { nft_program: "/nowhere/nft".into(), ..good };
    let view = view.clone();
    in_namespace(&lab.namespace("a"), move || {
        let mut driver = LinuxDatapath::new(nowhere).unwrap();
        let error = driver.apply(&view, None).unwrap_err().to_string();
        assert!(error.contains("could not run /nowhere/nft"), "{error}");
    });
}

/// A view with that many more locators and members than the world has.
fn enlarged(view: &HostView, locators: u32, members: u32) -> HostView {
    let mut view = view.clone();
    let other: IpAddr = "172.30.0.2".parse().unwrap();
    for (key, versioned) in &mut view.items {
        let item = match (key, &*versioned.item) {
            (ItemKey::Locators(_), Item::Locators(list)) => {
                let more = (0..locators).map(|n| {
                    let address = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + n));
                    Locator { address, mac: Mac::derived_from(address), vtep: other }
                });
                Item::Locators(list.iter().chain(more).collect())
            }
            (ItemKey::Shard { .. }, Item::Shard(list)) => {
                let mut list = list.clone();
                list.extend((0..members).map(|n| IpAddr::from(Ipv4Addr::from(0x0c00_0000 + n))));
                list.sort_unstable();
                Item::Shard(list)
            }
            _ => continue,
        };
        *versioned = VersionedItem { version: versioned.version + 1, item: Arc::new(item) };
    }
    view
}

#[test]
fn a_large_view_is_applied_and_small_changes_of_it_are_fast() {
    if !can_run() {
        return;
    }
    let hosts = [("a", LinuxConfig::default()), ("b", LinuxConfig::default())];
    let mut lab = Lab::new(&hosts);
    plug_all(&mut lab);
    let mut world = World::new(base());
    world.put([policy("p", "dbs", "in allow webs tcp:80\ndefault in drop")]);
    lab.apply_all(&world);
    let timed = |what: &str, lab: &mut Lab, view: &HostView| {
        let start = Instant::now();
        assert_eq!(lab.apply_view("a", view), []);
        println!("{what}: {:?}", start.elapsed());
        start.elapsed()
    };
    let small = world.view("a");
    let large = enlarged(&small, 5_000, 20_000);
    let larger = enlarged(&small, 5_001, 20_001);
    assert!(changed(&large, &larger).len() >= 2);
    timed("from small to large", &mut lab, &large);
    // Bounds are loose: the machine may be busy. A change must not cost what the whole costs.
    let one = timed("one member and one locator in each domain", &mut lab, &larger);
    assert!(one < Duration::from_secs(5), "{one:?}");
    let start = Instant::now();
    assert_eq!(lab.audit("a"), []);
    assert_eq!(lab.audit("a"), []);
    println!("two audits: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    check(&lab, "web-0", "10.0.1.1", Sent::Tcp(80), by("db-0"));
    timed("from large to small", &mut lab, &small);
    assert_eq!(lab.audit("a"), []);
    check(&lab, "web-0", "10.0.1.2", Sent::Tcp(80), by("db-1"));
}

/// A host that routes by itself between two workloads, and is guarded itself.
fn routed_host(lab: &mut Lab) -> (World, Vec<Resource>) {
    let at = |name: &str, address: &str, device: &str| {
        let attachment = PortAttachment::Interface(device.into());
        port_with(name, "web", "a", address, &format!("app={name}"), attachment, true)
    };
    let ports = vec![at("one", "10.0.0.1", "tap0"), at("two", "10.0.0.2", "tap1")];
    for (port, (address, device)) in ports.iter().zip([("10.0.0.1", "tap0"), ("10.0.0.2", "tap1")])
    {
        lab.plug(port);
        lab.run("a", &format!("ip addr add 10.0.0.254/32 dev {device}"));
        lab.run("a", &format!("ip route add {address}/32 dev {device}"));
        lab.run("a", &format!("sysctl -qw net.ipv4.conf.{device}.proxy_arp=1"));
        lab.run("a", &format!("sysctl -qw net.ipv4.neigh.{device}.proxy_delay=0"));
    }
    lab.run("a", "sysctl -qw net.ipv4.ip_forward=1");
    lab.run("b", "ip route add 10.0.0.0/24 via 172.30.0.1");
    let host_port =
        port_with("self", "web", "a", "172.30.0.1", "app=self", PortAttachment::HostStack, true);
    let mut resources = vec![
        host("a", "172.30.0.1"),
        switch("web", "10.0.0.0/24 172.30.0.0/24"),
        router("r", "web", ""),
        host_port,
        group("ones", "app=one"),
        group("twos", "app=two"),
        group("selves", "app=self"),
    ];
    resources.extend(ports.iter().cloned());
    (World::new(resources), ports)
}

#[test]
fn without_forwarding_the_network_is_left_alone() {
    if !can_run() {
        return;
    }
    let config = LinuxConfig {
        forwarding: ForwardingMode::None,
        controllers: vec!["172.30.0.2:443".parse().unwrap()],
        ..LinuxConfig::default()
    };
    let mut lab = Lab::new(&[("a", config), ("b", LinuxConfig::default())]);
    serve(&lab.namespace("a"), "host-a");
    serve(&lab.namespace("b"), "host-b");
    let (mut world, _) = routed_host(&mut lab);
    let network = |lab: &Lab| {
        let state = lab.kernel_state("a");
        state.split_once("# ip -o link show").unwrap().1.to_owned()
    };
    lab.settle("a");
    let before = network(&lab);
    assert_eq!(lab.apply("a", &world), []);
    for port in TCP_PORTS {
        check(&lab, "one", "10.0.0.2", Sent::Tcp(port), by("two"));
    }
    world.put([
        policy("t", "twos", "in allow ones tcp:80+443\ndefault in drop\nout reject * udp:53"),
        policy("o", "ones", "out reject * tcp:443"),
        policy("s", "selves", "in allow * tcp:80+443\ndefault in drop\ndefault out reject"),
    ]);
    assert_eq!(lab.apply("a", &world), []);
    let expectations = [
        ("one", "10.0.0.2", Sent::Tcp(80), by("two")),
        ("one", "10.0.0.2", Sent::Tcp(443), Outcome::Refused),
        ("one", "10.0.0.2", Sent::Tcp(8080), Outcome::Silence),
        ("b", "10.0.0.2", Sent::Tcp(80), Outcome::Silence),
        ("b", "10.0.0.1", Sent::Tcp(80), by("one")),
        ("two", "172.30.0.2", Sent::Udp(53), Outcome::Refused),
        ("two", "172.30.0.2", Sent::Udp(5353), by("host-b")),
        // The host itself: what comes in, what goes out, and what must never be cut.
        ("b", "172.30.0.1", Sent::Tcp(80), by("host-a")),
        ("b", "172.30.0.1", Sent::Tcp(8080), Outcome::Silence),
        ("a", "172.30.0.2", Sent::Tcp(80), Outcome::Refused),
        ("a", "172.30.0.2", Sent::Tcp(443), by("host-b")),
        ("a", "127.0.0.1", Sent::Tcp(8080), by("host-a")),
        // Between a workload and its host both have a say.
        ("one", "10.0.0.254", Sent::Tcp(80), by("host-a")),
        ("one", "10.0.0.254", Sent::Tcp(443), Outcome::Refused),
        ("one", "10.0.0.254", Sent::Tcp(8080), Outcome::Silence),
        ("a", "10.0.0.1", Sent::Tcp(80), Outcome::Refused),
    ];
    for (from, to, sent, outcome) in expectations {
        check(&lab, from, to, sent, outcome);
    }
    let forger = lab.namespace("one");
    run(&format!("ip -n {forger} addr add 10.0.0.99/32 dev lo"));
    let forged: Option<IpAddr> = Some("10.0.0.99".parse().unwrap());
    let to = "172.30.0.2".parse().unwrap();
    assert_eq!(send(&forger, forged, to, Sent::Udp(53), PATIENCE[0]), Outcome::Silence);
    assert_same_lines("without forwarding", &before, &network(&lab));
    lab.remove_all("a");
    assert_eq!(lab.run("a", "nft list ruleset"), "");
}
