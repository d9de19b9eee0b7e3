//! `kill -9` of the controller and of agents at random points under load: nothing that was
//! acknowledged is lost, and all hosts converge. And agents that are stopped and go on (SIGSTOP): the
//! others notice nothing, and they take up where they were.
//!
//! `SPANWIRE_KILLS` sets how many there are (200 otherwise), `SPANWIRE_SEED` where the randomness
//! starts.

use nix::sys::signal::Signal;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spanwire_adminproto::wire::HostAgentStatus;
use spanwire_agent::Status as AgentStatus;
use spanwire_tests::admin::Admin;
use spanwire_tests::process::{AgentProcess, ControllerProcess};
use spanwire_tests::{RaiseOnDrop, wait_for};
use spanwire_topology::model::{
    Action, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, Kind, Labels,
    LogicalPortSpec, LogicalSwitchSpec, Mac, ObjectRef, Peer, PortAttachment, ProjectScope, Rule,
    SecurityPolicySpec, Spec,
};
use spanwire_topology::{ObjectKey, Resource};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tonic::Code;

const HOSTS: [&str; 5] = ["host-1", "host-2", "host-3", "host-4", "host-5"];
const PORTS: u32 = 60;
const CONVERGE_WAIT: Duration = Duration::from_secs(60);

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What the writer knows of one object: what it may be. The last entry is the last write; the
/// earlier ones are kept as long as a later one's outcome is unknown.
type Possible = Vec<Option<Resource>>;

fn mk_port(index: u32, random: &mut ChaCha8Rng) -> Resource {
    let label = ["web", "app", "db"].choose(random).copied().unwrap_or("web");
    let host = HOSTS.choose(random).copied().unwrap_or(HOSTS[0]);
    mk_port_of(index, host, label)
}

fn mk_port_of(index: u32, host: &str, label: &str) -> Resource {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + index));
    let spec = LogicalPortSpec {
        switch: ObjectRef::new("tenant", "switch"),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: Some(host.into()),
        attachment: PortAttachment::Derived,
        port_security: true,
    };
    let labels: Labels = [("app".into(), label.into())].into_iter().collect();
    Resource::new("tenant", format!("port-{index}"), labels, Spec::LogicalPort(spec))
}

fn mk_base() -> Vec<Resource> {
    let mut base: Vec<Resource> = HOSTS
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let vtep = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, index as u8 + 1)));
            Resource::new("system", *host, Labels::new(), Spec::Host(HostSpec { vtep }))
        })
        .collect();
    let switch = Spec::LogicalSwitch(LogicalSwitchSpec::default());
    base.push(Resource::new("tenant", "switch", Labels::new(), switch));
    for (app, peer) in [("web", "app"), ("app", "db"), ("db", "web")] {
        let selector = format!("app={app}").parse().expect("a well-formed selector");
        let terms = vec![GroupTerm::Selector { selector, projects: ProjectScope::Own }];
        let group = Spec::Group(GroupSpec { terms, blocks: Vec::new() });
        base.push(Resource::new("tenant", app, Labels::new(), group));
        let rule = Rule {
            name: None,
            direction: Direction::Both,
            peers: vec![Peer { group: ObjectRef::new("tenant", peer), negate: false }],
            services: Vec::new(),
            action: Action::Allow,
            log: false,
        };
        let policy = Spec::SecurityPolicy(SecurityPolicySpec {
            applied_to: vec![ObjectRef::new("tenant", app)],
            tier: 500,
            priority: 1000,
            defaults: DefaultActions { inbound: Some(Action::Drop), outbound: None },
            rules: vec![rule],
        });
        base.push(Resource::new("tenant", app, Labels::new(), policy));
    }
    base
}

/// Writes at random until it is told to stop. Returns what may be, and how many writes were
/// acknowledged and how many are unknown.
fn write(
    address: &str,
    seed: u64,
    stop: &AtomicBool,
) -> (BTreeMap<ObjectKey, Possible>, usize, usize) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut possible: BTreeMap<ObjectKey, Possible> = BTreeMap::new();
    let (mut acknowledged, mut unknown) = (0, 0);
    let mut admin: Option<Admin> = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(client) = admin.as_mut() else {
            admin = Admin::connect(address).ok();
            if admin.is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
            continue;
        };
        let resource = mk_port(random.random_range(0..PORTS), &mut random);
        let key = resource.key();
        let known = possible.entry(key.clone()).or_insert_with(|| vec![None]);
        let exists = known.iter().any(Option::is_some);
        let (result, wanted) = if exists && random.random_range(0..4) == 0 {
            (client.delete(&[key], false), None)
        } else {
            (client.apply(vec![resource.clone()]), Some(resource))
        };
        match result {
            Ok(_) => {
                *known = vec![wanted];
                acknowledged += 1;
            }
            // Whether it was there was unknown, and now it is known that it was not.
            Err(status) if status.code() == Code::NotFound => *known = vec![None],
            Err(status)
                if matches!(
                    status.code(),
                    Code::Unavailable
                        | Code::Unknown
                        | Code::Cancelled
                        | Code::DeadlineExceeded
                        | Code::Internal
                ) =>
            {
                known.push(wanted);
                unknown += 1;
                admin = None;
            }
            Err(status) => panic!("a well-formed write was refused: {status:?}"),
        }
    }
    (possible, acknowledged, unknown)
}

#[test]
fn nothing_acknowledged_is_lost_and_all_hosts_converge() {
    let kills = setting("SPANWIRE_KILLS", 200);
    let seed = setting("SPANWIRE_SEED", 1);
    println!("{kills} kills, seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut controller = ControllerProcess::start(directory.path());
    let address = controller.address().to_owned();
    let connect = |what: &str| wait_for(what, CONVERGE_WAIT, || Admin::connect(&address));
    connect("the controller").apply(mk_base()).expect("the base is applied");
    let mut agents: Vec<AgentProcess> =
        HOSTS.iter().map(|host| AgentProcess::start(host, &address, directory.path())).collect();

    let stop = AtomicBool::new(false);
    let (possible, acknowledged, unknown) = std::thread::scope(|scope| {
        let raise = RaiseOnDrop(&stop);
        let writer = scope.spawn(|| write(&address, seed, &stop));
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(random.random_range(5..250)));
            match random.random_range(0..=HOSTS.len() * 2) {
                // As often as all agents together.
                victim if victim >= HOSTS.len() => controller.restart(),
                victim => agents[victim].restart(),
            }
        }
        drop(raise);
        writer.join().expect("the writer ends")
    });
    println!("{acknowledged} writes acknowledged, {unknown} unknown");
    assert!(acknowledged > kills as usize / 4, "the load was too small to show anything");

    let mut admin = connect("the controller after the last kill");
    let found: BTreeMap<ObjectKey, Resource> = admin
        .list(Kind::LogicalPort)
        .expect("ports are listed")
        .into_iter()
        .map(|resource| (resource.key(), resource))
        .collect();
    for (key, possible) in &possible {
        let found = found.get(key).cloned();
        assert!(possible.contains(&found), "{key} is {found:?}; it may be one of {possible:?}");
    }

    // A last write, so that there is something to wait for that all of them must have.
    let last = mk_port(PORTS, &mut random);
    let revision = admin.apply(vec![last]).expect("a last write is applied");
    admin.wait_realized(revision).expect("all hosts converge");
    for agent in &agents {
        let status = wait_for("an agent's status", CONVERGE_WAIT, || {
            let status = AgentStatus::read(&agent.state_dir()).map_err(|e| e.to_string())?;
            let items = items_told(&mut admin, &status.host);
            if status.connected && status.items == items && status.rejections_total == 0 {
                Ok(status)
            } else {
                Err(format!("{status:?}, and it was told {items} items"))
            }
        });
        assert!(status.problem.is_none(), "{status:?}");
    }
    // What an agent has on disk is all it needs: with no controller it starts with the same.
    drop(controller);
    for agent in &mut agents {
        let before = AgentStatus::read(&agent.state_dir()).expect("the status is there");
        agent.restart();
        let after = wait_for("an agent without a controller", CONVERGE_WAIT, || {
            let status = AgentStatus::read(&agent.state_dir()).map_err(|e| e.to_string())?;
            if status.pid != before.pid && status.revision > 0 {
                Ok(status)
            } else {
                Err(format!("{status:?}"))
            }
        });
        assert_eq!((after.revision, after.items), (before.revision, before.items));
        agent.kill();
    }
}

/// Longer than any keepalive of either end would wait for an answer.
const STOPPED: Duration = Duration::from_secs(45);

#[test]
fn a_stopped_agent_stays_connected_and_catches_up_with_one_batch() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let controller = ControllerProcess::start(directory.path());
    let address = controller.address().to_owned();
    let mut admin = wait_for("the controller", CONVERGE_WAIT, || Admin::connect(&address));
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut base = mk_base();
    // Every host has a port of its own to protect, so that every change concerns it.
    base.extend(HOSTS.iter().zip(0..).map(|(host, index)| mk_port_of(index, host, "web")));
    let revision = admin.apply(base).expect("the base is applied");
    let mut agents: Vec<AgentProcess> =
        HOSTS.iter().map(|host| AgentProcess::start(host, &address, directory.path())).collect();
    admin.wait_realized(revision).expect("all hosts have the base");
    let (stopped, others) = HOSTS.split_at(2);
    let before = host_statuses(&mut admin);
    for agent in &mut agents[..stopped.len()] {
        agent.signal(Signal::SIGSTOP);
    }
    let since = Instant::now();
    let mut last = revision;
    while since.elapsed() < STOPPED {
        // A member of the group that the policy of every host names.
        let host = HOSTS.choose(&mut random).copied().unwrap_or(HOSTS[0]);
        let port = mk_port_of(random.random_range(10..PORTS), host, "app");
        last = admin.apply(vec![port]).expect("the change is applied");
        wait_for("the hosts that are not stopped", CONVERGE_WAIT, || {
            let statuses = host_statuses(&mut admin);
            let behind = others.iter().find(|host| statuses[**host].realized_revision < last);
            behind.map_or(Ok(()), |host| Err(format!("{:?}", statuses[*host])))
        });
        std::thread::sleep(Duration::from_millis(200));
    }
    let during = host_statuses(&mut admin);
    for host in stopped {
        let (before, during) = (&before[*host], &during[*host]);
        assert!(during.connected, "{during:?}");
        assert!(during.realized_revision < last, "it was not stopped: {during:?}");
        assert_eq!(during.connected_since_ms, before.connected_since_ms);
    }
    for agent in &mut agents[..stopped.len()] {
        agent.signal(Signal::SIGCONT);
    }
    admin.wait_realized(last).expect("they catch up");
    let after = host_statuses(&mut admin);
    for host in stopped {
        let (before, after) = (&before[*host], &after[*host]);
        assert_eq!(after.connected_since_ms, before.connected_since_ms);
        // One was on its way to it while it was stopped; one has all that came after.
        let batches = after.batches_sent - before.batches_sent;
        assert!((1..=2).contains(&batches), "{batches} batches: {after:?}");
    }
}

/// What the controller knows of the hosts, by name.
fn host_statuses(admin: &mut Admin) -> BTreeMap<String, HostAgentStatus> {
    let statuses = admin.host_status().expect("the status of the hosts");
    statuses.into_iter().map(|status| (status.host.clone(), status)).collect()
}

/// How many items a host's view has.
fn items_told(admin: &mut Admin, host: &str) -> usize {
    let view = admin.host_view(host).expect("the view is there");
    view.domains.len()
        + view.ports.len()
        + view.policies.len()
        + view.shards.len()
        + view.blocks.len()
        + view.locators.len()
}
