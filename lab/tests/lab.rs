//! Labs on a real machine. They need root and the `ip` program; without them each test says so and
//! ends, unless `SPANWIRE_CI` is set, and then it fails.
#![allow(clippy::unwrap_used)] // a panic here is a failed test, in its functions as well

use spanwire_lab::probe::{Check, Listen, Outcome, Probe};
use spanwire_lab::{
    Lab, LabError, LabHost, LabPhase, LabRecord, LabSpec, LabWorkload, Place, ProcessSpec,
    STATE_ROOT, WorkloadKey,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(3);
const SHORT_TIMEOUT: Duration = Duration::from_millis(300);

/// True if the test can run here.
fn can_run(test: &str) -> bool {
    match Lab::supported() {
        Ok(()) => true,
        Err(missing) if std::env::var_os("SPANWIRE_CI").is_some() => panic!("{test}: {missing}"),
        Err(missing) => {
            println!("{test} was skipped: {missing}");
            false
        }
    }
}

/// The name of a lab, which no other test run uses. A test that fails takes the lab down with it.
struct LabName(String);

impl std::ops::Deref for LabName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for LabName {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(lab) = Lab::open(&self.0)
            && let Err(error) = lab.down()
        {
            println!("{error}");
        }
    }
}

fn mk_name(test: &str) -> LabName {
    LabName(format!("{test}_{}", std::process::id()))
}

fn key(name: &str) -> WorkloadKey {
    WorkloadKey::new("t", name)
}

fn place(name: &str) -> Place {
    Place::Workload(key(name))
}

fn mk_workload(name: &str, host: &str, last: u8) -> LabWorkload {
    LabWorkload {
        key: key(name),
        host: host.to_owned(),
        device: format!("dev-{name}"),
        mac: spanwire_topology::model::Mac::new([0x0a, 0x58, 10, 0, 0, last]).unwrap(),
        addresses: vec![
            format!("10.0.0.{last}/24").parse().unwrap(),
            format!("fd00::{last}/64").parse().unwrap(),
        ],
        gateway_v4: Some("10.0.0.1".parse().unwrap()),
    }
}

/// Hosts h1 and h2; workloads a (10.0.0.2) and b (10.0.0.3) on h1.
fn mk_spec(name: &str) -> LabSpec {
    let host = |name: &str, last: u8| LabHost {
        name: name.to_owned(),
        vtep: format!("198.18.0.{last}").parse().unwrap(),
    };
    LabSpec {
        name: name.to_owned(),
        underlay: "198.18.0.0/24".parse().unwrap(),
        mtu: 1600,
        hosts: vec![host("h1", 1), host("h2", 2)],
        workloads: vec![mk_workload("a", "h1", 2), mk_workload("b", "h1", 3)],
    }
}

/// Everything of the machine's own network that a lab must not touch.
fn machine() -> Vec<String> {
    let arguments: [&[&str]; 4] =
        [&["-br", "link"], &["-br", "addr"], &["route"], &["-6", "route"]];
    arguments
        .iter()
        .map(|arguments| {
            let output = Command::new("ip").args(*arguments).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        })
        .collect()
}

/// What is there of a lab: its namespaces, and its directory.
fn remains(lab: &str) -> BTreeSet<String> {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let mut remains: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|namespace| namespace.starts_with(&format!("spw-{lab}-")))
        .map(str::to_owned)
        .collect();
    if Path::new(STATE_ROOT).join(lab).exists() {
        remains.insert("state".to_owned());
    }
    remains
}

/// Stands in for the agent: routes on h1 to its workloads, by hand, with their gateways.
fn add_routes(lab: &Lab, host: &str) {
    let script = "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        for d in $(ls /sys/class/net | grep ^dev-); do
            sysctl -qw net.ipv4.conf.$d.proxy_arp=1 net.ipv6.conf.$d.proxy_ndp=1
            ip addr add 10.0.0.1/32 dev $d
            ip addr add fe80::1/64 dev $d nodad
        done
        for pair in a:2 b:3 c:4; do
            d=dev-${pair%%:*}; n=${pair##*:}
            [ -e /sys/class/net/$d ] || continue
            ip route add 10.0.0.$n dev $d
            ip route add fd00::$n dev $d
            for o in $(ls /sys/class/net | grep ^dev- | grep -v $d); do
                ip neigh add proxy fd00::$n dev $o
            done
        done";
    let output = lab.exec(&Place::Host(host.to_owned()), "sh", ["-e", "-c", script]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn to(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

fn connected(name: &str) -> Outcome {
    Outcome::Connected { by: Some(key(name)) }
}

#[test]
fn a_lab_comes_up_and_leaves_nothing_behind() {
    if !can_run("a_lab_comes_up_and_leaves_nothing_behind") {
        return;
    }
    let before = machine();
    let name = mk_name("updown");
    let lab = Lab::up(mk_spec(&name)).unwrap();
    assert_eq!(remains(&name).len(), 1 + 2 + 2 + 1);
    assert_eq!(machine(), before);
    assert_eq!(lab.record().phase(), LabPhase::Up);
    assert_eq!(LabRecord::read(&name).unwrap().spec(), lab.spec());
    assert!(spanwire_lab::list().unwrap().contains(&name.0));

    // The hosts reach each other and the fabric, with packets of the underlay's full size.
    let full = [7; 1600 - 28];
    let (h1, h2) = (Place::Host("h1".to_owned()), Place::Host("h2".to_owned()));
    let fabric = lab.fabric_address().to_string();
    for (there, address) in [(h2, "198.18.0.2"), (Place::Fabric, fabric.as_str())] {
        let receiver = lab.run_in(&there, || UdpSocket::bind(to(address, 9999))).unwrap().unwrap();
        receiver.set_read_timeout(Some(TIMEOUT)).unwrap();
        let sender = lab.run_in(&h1, || UdpSocket::bind(to("198.18.0.1", 0))).unwrap().unwrap();
        sender.send_to(&full, to(address, 9999)).unwrap();
        let mut bytes = [0; 2000];
        assert_eq!(receiver.recv(&mut bytes).unwrap(), full.len());
        let mtu = lab.exec(&there, "cat", ["/sys/class/net/underlay/mtu"]).unwrap().stdout;
        assert_eq!(mtu, b"1600\n");
    }
    let output = lab.exec(&place("a"), "ip", ["-br", "link", "show", "eth0"]).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("0a:58:0a:00:00:02"), "{text}");

    lab.down().unwrap();
    assert_eq!(remains(&name), BTreeSet::new());
    assert_eq!(machine(), before);
    assert!(matches!(LabRecord::read(&name), Err(LabError::NotFound { .. })));
}

#[test]
fn a_lab_that_is_up_is_not_made_again_and_one_in_use_is_not_taken() {
    if !can_run("a_lab_that_is_up_is_not_made_again_and_one_in_use_is_not_taken") {
        return;
    }
    let name = mk_name("twice");
    let lab = Lab::up(mk_spec(&name)).unwrap();
    let pid = std::process::id().to_string();
    for result in [Lab::up(mk_spec(&name)), Lab::open(&name)] {
        match result {
            Err(LabError::Busy { pid: holder, .. }) => assert_eq!(holder, pid),
            other => panic!("{other:?}"),
        }
    }
    drop(lab);
    assert!(matches!(Lab::up(mk_spec(&name)), Err(LabError::Exists { hosts: 2, .. })));
    Lab::open(&name).unwrap().down().unwrap();
    assert!(matches!(Lab::open(&name), Err(LabError::NotFound { .. })));
    assert_eq!(remains(&name), BTreeSet::new());
}

#[test]
fn a_namespace_of_someone_else_is_not_taken() {
    if !can_run("a_namespace_of_someone_else_is_not_taken") {
        return;
    }
    let name = mk_name("taken");
    let foreign = format!("spw-{}-h-h2", name.0);
    let netns = |verb: &str| {
        assert!(Command::new("ip").args(["netns", verb, &foreign]).status().unwrap().success());
    };
    netns("add");
    let error = Lab::up(mk_spec(&name)).unwrap_err();
    assert!(matches!(&error, LabError::NamespaceTaken { namespace } if *namespace == foreign));
    assert!(remains(&name).contains(&foreign));
    assert!(matches!(LabRecord::read(&name), Err(LabError::NotFound { .. })));
    netns("del");
    Lab::up(mk_spec(&name)).unwrap().down().unwrap();
    assert_eq!(remains(&name), BTreeSet::new());
}

#[test]
fn a_crashed_lab_is_taken_down_from_its_record() {
    if !can_run("a_crashed_lab_is_taken_down_from_its_record") {
        return;
    }
    let name = mk_name("crash");
    let mut lab = Lab::up(mk_spec(&name)).unwrap();
    let sleep = ProcessSpec::new("sleeper", Place::Host("h1".to_owned()), "sleep", ["1000"]);
    let id = lab.spawn(&sleep).unwrap();
    assert!(lab.record().is_running("sleeper"));
    let path = Path::new(STATE_ROOT).join(&*name).join("state.json");
    let recorded = std::fs::read_to_string(&path).unwrap();
    let orphan = ProcessSpec::new("orphan", place("a"), "sleep", ["1000"]);
    let orphan = lab.spawn(&orphan).unwrap();
    // The crash: before the second process was recorded, and with the lab half made.
    drop(lab);
    std::fs::write(&path, recorded.replace("\"up\"", "\"creating\"")).unwrap();

    let lab = Lab::open(&name).unwrap();
    assert_eq!(lab.record().phase(), LabPhase::Creating);
    assert!(!lab.record().processes().contains_key("orphan"));
    lab.down().unwrap();
    assert!(!id.is_running());
    assert!(!orphan.is_running());
    assert_eq!(remains(&name), BTreeSet::new());
}

#[test]
fn what_a_crash_left_is_cleared_away_by_the_next_lab_of_the_name() {
    if !can_run("what_a_crash_left_is_cleared_away_by_the_next_lab_of_the_name") {
        return;
    }
    let name = mk_name("stale");
    drop(Lab::up(mk_spec(&name)).unwrap());
    for namespace in remains(&name).iter().filter(|it| *it != "state") {
        assert!(Command::new("ip").args(["netns", "del", namespace]).status().unwrap().success());
    }
    let lab = Lab::up(mk_spec(&name)).unwrap();
    assert_eq!(remains(&name).len(), 6);
    lab.down().unwrap();
    assert_eq!(remains(&name), BTreeSet::new());
}

#[test]
fn processes_are_started_frozen_and_stopped() {
    if !can_run("processes_are_started_frozen_and_stopped") {
        return;
    }
    let name = mk_name("process");
    let mut lab = Lab::up(mk_spec(&name)).unwrap();
    let script = "trap 'echo stopped; exit 0' TERM; ip -br addr show underlay; echo ready; \
                  while :; do sleep 0.05; done";
    let spec = ProcessSpec::new("agent", Place::Host("h2".to_owned()), "sh", ["-c", script]);
    lab.spawn(&spec).unwrap();
    assert!(matches!(lab.spawn(&spec), Err(LabError::Process { .. })));
    let log = lab.record().log_path("agent");
    let wait_for = |text: &str| {
        let deadline = Instant::now() + TIMEOUT;
        while !std::fs::read_to_string(&log).unwrap().contains(text) {
            assert!(Instant::now() < deadline, "the log never had {text:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for("ready");
    assert!(std::fs::read_to_string(&log).unwrap().contains("198.18.0.2/24"));
    lab.pause("agent").unwrap();
    assert!(lab.record().is_running("agent"));
    lab.resume("agent").unwrap();
    assert!(lab.stop("agent", TIMEOUT).unwrap());
    wait_for("stopped");
    assert!(!lab.record().is_running("agent"));
    assert!(matches!(lab.kill("agent"), Err(LabError::Process { .. })));

    // One that does not listen is killed in the end.
    let deaf = ["-c", "trap '' TERM; echo deaf; sleep 1000"];
    lab.spawn(&ProcessSpec { arguments: deaf.map(Into::into).to_vec(), ..spec }).unwrap();
    wait_for("deaf");
    assert!(!lab.stop("agent", Duration::from_millis(100)).unwrap());
    lab.down().unwrap();
    assert_eq!(remains(&name), BTreeSet::new());
}

#[test]
fn places_are_found_by_their_text() {
    if !can_run("places_are_found_by_their_text") {
        return;
    }
    let name = mk_name("places");
    let lab = Lab::up(mk_spec(&name)).unwrap();
    let find = |text: &str| lab.record().find_place(text);
    assert_eq!(find("fabric").unwrap(), Place::Fabric);
    assert_eq!(find("h2").unwrap(), Place::Host("h2".to_owned()));
    assert_eq!(find("t/a").unwrap(), place("a"));
    for bad in ["h3", "t/c", "", "/"] {
        assert!(matches!(find(bad), Err(LabError::NoSuchPlace { .. })), "{bad}");
    }
    lab.down().unwrap();
}

#[test]
fn probes_tell_what_became_of_packets() {
    if !can_run("probes_tell_what_became_of_packets") {
        return;
    }
    let name = mk_name("probe");
    let mut lab = Lab::up(mk_spec(&name)).unwrap();
    add_routes(&lab, "h1");
    lab.listen(&key("a"), &[Listen::Tcp(80)]).unwrap();
    lab.listen(&key("b"), &[Listen::Tcp(80), Listen::Udp(53)]).unwrap();
    // What is dropped gets no answer; what is prohibited gets an ICMP one.
    let rules = "ip rule add ipproto tcp dport 81 blackhole
        ip rule add ipproto udp dport 81 prohibit";
    let output = lab.exec(&Place::Host("h1".to_owned()), "sh", ["-e", "-c", rules]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let b = |check: Check| Probe::new(&key("a"), check);
    let cases = [
        (b(Check::Tcp(to("10.0.0.3", 80))), connected("b")),
        (b(Check::Tcp(to("fd00::3", 80))), connected("b")),
        (Probe::new(&key("b"), Check::Tcp(to("10.0.0.2", 80))), connected("a")),
        (b(Check::Tcp(to("10.0.0.3", 9))), Outcome::Refused),
        (b(Check::Tcp(to("fd00::3", 9))), Outcome::Refused),
        (b(Check::Tcp(to("10.0.0.3", 81))), Outcome::TimedOut),
        (b(Check::Tcp(to("203.0.113.1", 80))), Outcome::Unreachable),
        (b(Check::Udp(to("10.0.0.3", 53))), connected("b")),
        (b(Check::Udp(to("fd00::3", 53))), connected("b")),
        (b(Check::Udp(to("10.0.0.3", 54))), Outcome::Refused),
        (b(Check::Udp(to("10.0.0.3", 81))), Outcome::Unreachable),
        (b(Check::Ping("10.0.0.3".parse().unwrap())), Outcome::Connected { by: None }),
        (b(Check::Ping("fd00::3".parse().unwrap())), Outcome::Connected { by: None }),
        (b(Check::Ping("203.0.113.1".parse().unwrap())), Outcome::Unreachable),
        (
            Probe {
                source: Some("10.0.0.2".parse().unwrap()),
                ..b(Check::Tcp(to("10.0.0.3", 80)))
            },
            connected("b"),
        ),
    ];
    let probes: Vec<Probe> = cases.iter().map(|(probe, _)| probe.clone()).collect();
    // The first packets wait for neighbours to be found.
    lab.probe(&probes, TIMEOUT).unwrap();
    let outcomes = lab.probe(&probes, SHORT_TIMEOUT).unwrap();
    for ((probe, expected), outcome) in cases.iter().zip(&outcomes) {
        assert_eq!(outcome, expected, "{probe:?}");
    }
    // A source that is not there cannot be used, and that is no verdict about the network.
    let foreign = Probe { source: Some("10.0.0.99".parse().unwrap()), ..probes[0].clone() };
    assert!(matches!(lab.probe(&[foreign], SHORT_TIMEOUT).unwrap()[0], Outcome::Failed(_)));
    let nobody = Probe::new(&key("nobody"), probes[0].check);
    assert!(matches!(lab.probe(&[nobody], TIMEOUT), Err(LabError::NoSuchPlace { .. })));

    // Many more than are ever under way at once.
    let many = vec![probes[0].clone(); 10_000];
    let start = Instant::now();
    let outcomes = lab.probe(&many, TIMEOUT).unwrap();
    println!("10,000 probes took {:?}", start.elapsed());
    assert_eq!(outcomes, vec![connected("b"); 10_000]);
    lab.down().unwrap();
    assert_eq!(remains(&name), BTreeSet::new());
}

/// Every way in which an address that nobody has can answer, while they take turns: the moment at
/// which one follows another is when a probe could take the end of an attempt for its success.
#[test]
fn nobody_is_never_taken_for_somebody() {
    if !can_run("nobody_is_never_taken_for_somebody") {
        return;
    }
    // Longer than until a connection is asked for again: an answer to the first packet can come too
    // early to end the attempt, and the kernel then waits for another.
    const WAIT: Duration = Duration::from_millis(1_500);
    let name = mk_name("nobody");
    let mut lab = Lab::up(mk_spec(&name)).unwrap();
    add_routes(&lab, "h1");
    lab.listen(&key("b"), &[Listen::Tcp(80)]).unwrap();
    let turns = "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
        for turn in $(seq 60); do
            for kind in unreachable prohibit blackhole throw; do
                ip route replace $kind 203.0.113.0/24
                ip -6 route replace $kind 2001:db8::/64
                sleep 0.02
            done
        done";
    let probe = |address: &str, port| Probe::new(&key("a"), Check::Tcp(to(address, port)));
    let probes: Vec<Probe> = (1..=250)
        .flat_map(|n| {
            let (v4, v6) = (format!("203.0.113.{n}"), format!("2001:db8::{n:x}"));
            [probe(&v4, 80), probe(&v6, 80), probe("10.0.0.3", 9), probe("fd00::3", 9)]
        })
        .collect();
    let mut seen: [u32; 3] = [0; 3];
    let host = Place::Host("h1".to_owned());
    std::thread::scope(|scope| {
        let turning = scope.spawn(|| lab.exec(&host, "sh", ["-e", "-c", turns]).unwrap());
        while !turning.is_finished() {
            let outcomes = lab.probe(&probes, WAIT).unwrap();
            for (probe, outcome) in probes.iter().zip(&outcomes) {
                match outcome {
                    Outcome::Refused => seen[0] += 1,
                    Outcome::TimedOut => seen[1] += 1,
                    Outcome::Unreachable => seen[2] += 1,
                    other => panic!("{probe:?}: {other:?}"),
                }
            }
        }
        let output = turning.join().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    println!("refused, timed out, unreachable: {seen:?}");
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    lab.down().unwrap();
}

#[test]
fn flows_carry_bytes_and_notice_when_they_do_not() {
    if !can_run("flows_carry_bytes_and_notice_when_they_do_not") {
        return;
    }
    let name = mk_name("flow");
    let mut lab = Lab::up(mk_spec(&name)).unwrap();
    add_routes(&lab, "h1");
    lab.listen(&key("b"), &[Listen::Tcp(80)]).unwrap();
    let mut flow = lab.connect(&key("a"), to("10.0.0.3", 80), TIMEOUT).unwrap();
    assert_eq!(flow.by(), Some(&key("b")));
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    flow.echo(&bytes, TIMEOUT).unwrap();
    flow.echo(b"x", TIMEOUT).unwrap();
    let h1 = Place::Host("h1".to_owned());
    lab.exec(&h1, "ip", ["link", "set", "dev-b", "down"]).unwrap();
    let error = flow.echo(b"x", SHORT_TIMEOUT).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    lab.down().unwrap();
}

#[test]
fn workloads_come_move_and_go() {
    if !can_run("workloads_come_move_and_go") {
        return;
    }
    let name = mk_name("move");
    let mut lab = Lab::up(mk_spec(&name)).unwrap();
    lab.listen(&key("b"), &[Listen::Tcp(80)]).unwrap();
    lab.add_workload(mk_workload("c", "h2", 4)).unwrap();
    assert!(lab.add_workload(mk_workload("c", "h2", 4)).is_err());
    assert!(lab.add_workload(mk_workload("d", "h9", 5)).is_err());
    add_routes(&lab, "h2");
    assert!(lab.connect(&key("c"), to("10.0.0.3", 80), SHORT_TIMEOUT).is_err());

    lab.move_workload(&key("b"), "h2").unwrap();
    assert!(matches!(lab.move_workload(&key("b"), "h9"), Err(LabError::Spec { .. })));
    assert_eq!(lab.spec().workload(&key("b")).unwrap().host, "h2");
    let output = lab.exec(&Place::Host("h1".to_owned()), "ip", ["link", "show", "dev-b"]).unwrap();
    assert!(!output.status.success());
    // Run again, the script finds b at its new place; what it has done before it is told is there.
    let clear = "ip addr flush dev dev-c scope global; ip addr del fe80::1/64 dev dev-c; \
                 ip -6 route del fd00::4 dev dev-c; ip route del 10.0.0.4 dev dev-c 2>&1; true";
    lab.exec(&Place::Host("h2".to_owned()), "sh", ["-c", clear]).unwrap();
    add_routes(&lab, "h2");
    // What listened before the move still does.
    let flow = lab.connect(&key("c"), to("10.0.0.3", 80), TIMEOUT).unwrap();
    assert_eq!(flow.by(), Some(&key("b")));
    let flow = lab.connect(&key("c"), to("fd00::3", 80), TIMEOUT).unwrap();
    assert_eq!(flow.by(), Some(&key("b")));
    drop(flow);

    lab.remove_workload(&key("b")).unwrap();
    assert!(matches!(lab.remove_workload(&key("b")), Err(LabError::NoSuchPlace { .. })));
    assert_eq!(remains(&name).len(), 6);
    assert_eq!(LabRecord::read(&name).unwrap().spec(), lab.spec());
    lab.down().unwrap();
    assert_eq!(remains(&name), BTreeSet::new());
}

#[test]
fn five_hundred_workloads_come_up_quickly() {
    if !can_run("five_hundred_workloads_come_up_quickly") {
        return;
    }
    let name = mk_name("large");
    let mut spec = mk_spec(&name);
    spec.hosts = (1..=24_u8)
        .map(|i| LabHost {
            name: format!("host-{i:02}"),
            vtep: format!("198.18.0.{i}").parse().unwrap(),
        })
        .collect();
    spec.workloads = (0..500)
        .map(|i| {
            let host = format!("host-{:02}", i % 24 + 1);
            mk_workload(&format!("w{i}"), &host, u8::try_from(i % 200 + 2).unwrap())
        })
        .collect();
    let start = Instant::now();
    let mut lab = Lab::up(spec.clone()).unwrap();
    println!("up: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(60));
    for workload in &spec.workloads {
        lab.listen(&workload.key, &[Listen::Tcp(80), Listen::Tcp(443), Listen::Udp(53)]).unwrap();
    }
    println!("listening: {:?}", start.elapsed());
    lab.down().unwrap();
    println!("down: {:?}", start.elapsed());
    assert_eq!(remains(&name), BTreeSet::new());
}
