//! The linux driver on hosts of other kinds: another underlay, other settings, nothing configured,
//! a large part of a large network.

// A panic in a test, and in what tests share, is a failed test.
#![allow(clippy::unwrap_used)]

mod datapath_support;

use datapath_support::cases::base;
use datapath_support::lab::{Lab, can_run};
use datapath_support::probe::{Outcome, PATIENCE, Sent, send, serve};
use datapath_support::world::{World, changed, device, host, policy, port};
use spanwire_agent::datapath::linux::LinuxDatapath;
use spanwire_agent::datapath::{Datapath, LinuxConfig, evaluate};
use spanwire_topology::Kind;
use spanwire_topology::model::Mac;
use spanwire_topology::view::{HostView, Item, ItemKey, Locator, VersionedItem};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn plug_all(lab: &mut Lab) {
    for port in base().iter().filter(|resource| resource.key().kind == Kind::LogicalPort) {
        lab.plug(port);
    }
}

#[track_caller]
fn check(lab: &Lab, from: &str, to: &str, sent: Sent, expected: Outcome) {
    let mut got = Outcome::Silence;
    for patience in PATIENCE {
        got = send(&lab.namespace(from), None, to.parse().unwrap(), sent, patience);
        if got != Outcome::Silence || expected == Outcome::Silence {
            break;
        }
    }
    assert_eq!(got, expected, "{from} sends {sent:?} to {to}");
}

fn by(name: &str) -> Outcome {
    Outcome::Answered(name.to_owned())
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
        datapath_support::world::port_with(
            name,
            "web",
            "a",
            address,
            "app=web",
            spanwire_topology::model::PortAttachment::Interface("eth0".into()),
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
        datapath_support::probe::in_namespace(&lab.namespace("a"), move || {
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
    datapath_support::probe::in_namespace(&lab.namespace("a"), move || {
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
                let mut list = list.clone();
                list.extend((0..locators).map(|n| {
                    let address = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + n));
                    Locator { address, mac: Mac::derived_from(address), vtep: other }
                }));
                list.sort_unstable();
                Item::Locators(list)
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
