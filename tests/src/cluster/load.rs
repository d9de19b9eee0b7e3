//! Load on a cluster: writers that record what they are told, a reader that never may be shown less
//! than anybody was told before, and a watch that must see each write once.

use super::clients::{Clients, NotWritten, Write, Written};
use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spanwire_adminproto::{convert, wire};
use spanwire_topology::model::{
    Action, CidrBlock, DefaultActions, Direction, GroupSpec, GroupTerm, HostSpec, Kind, Labels,
    LogicalPortSpec, LogicalSwitchSpec, Mac, ObjectRef, Peer, PortAttachment, ProjectScope, Rule,
    SecurityPolicySpec, Spec,
};
use spanwire_topology::{ObjectKey, Resource, Revision};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::Code;

/// Hosts, each with an agent.
pub const HOSTS: usize = 50;
/// Tenants, each with a switch.
const TENANTS: u32 = 4;
/// Ports that a writer writes, and nobody else.
const PORTS_EACH: u32 = 100;
/// Blocks of the group that makes logs grow: some 40 KiB.
const BALLAST_BLOCKS: u32 = 2_000;
/// The label that names the write.
const WRITE_LABEL: &str = "write";
/// How long a writer goes on with its last write when it is to stop.
const LAST_WRITE_WAIT: Duration = Duration::from_secs(120);

/// The name of a host.
pub fn host_name(index: usize) -> String {
    format!("host-{:02}", index + 1)
}

fn tenant_name(index: u32) -> String {
    format!("tenant-{index}")
}

/// What all load has in common.
#[derive(Debug, Default)]
pub struct Shared {
    /// Where controllers should be.
    pub addresses: Mutex<Vec<String>>,
    /// The highest revision that anybody was told of.
    pub told: AtomicU64,
    /// No more load.
    pub stop: AtomicBool,
    /// The watch may end when it has seen this revision; 0 before that is known.
    pub last: AtomicU64,
    /// Writes that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Attempts whose outcome was unknown, which were made again.
    pub unknown: AtomicU64,
    /// Attempts that were not applied though the controller was reached, and none before was unknown:
    /// what the command line reports as failed.
    pub not_applied: AtomicU64,
    /// Attempts after the first.
    pub retried: AtomicU64,
    /// Writes that an earlier attempt had done, as the answer to a later one said.
    pub repeated: AtomicU64,
    /// Reads that were answered, and that were not.
    pub reads: AtomicU64,
    /// Reads that were not answered.
    pub reads_unanswered: AtomicU64,
    /// The longest time from the first attempt of a write to its acknowledgement, in milliseconds.
    pub longest_stall_ms: AtomicU64,
    /// The last few statuses of attempts that were not applied, for a failure.
    pub not_applied_because: Mutex<Vec<String>>,
}

impl Shared {
    fn tell(&self, revision: Revision) {
        self.told.fetch_max(revision, Ordering::SeqCst);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn any_address(&self, random: &mut ChaCha8Rng) -> String {
        let addresses = self.addresses.lock();
        addresses.choose(random).cloned().expect("there are controllers")
    }
}

/// Hosts, and per tenant a switch, groups by label and policies between them.
pub fn base() -> Vec<Resource> {
    let mut base: Vec<Resource> = (0..HOSTS)
        .map(|index| {
            let vtep = Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, index as u8 + 1)));
            let spec = Spec::Host(HostSpec { vtep });
            Resource::new("system", host_name(index), Labels::new(), spec)
        })
        .collect();
    for tenant in (0..TENANTS).map(tenant_name) {
        let switch = Spec::LogicalSwitch(LogicalSwitchSpec::default());
        base.push(Resource::new(&*tenant, "switch", Labels::new(), switch));
        for (app, peer) in [("web", "app"), ("app", "db"), ("db", "web")] {
            let selector = format!("app={app}").parse().expect("a well-formed selector");
            let terms = vec![GroupTerm::Selector { selector, projects: ProjectScope::Own }];
            let group = Spec::Group(GroupSpec { terms, blocks: Vec::new() });
            base.push(Resource::new(&*tenant, app, Labels::new(), group));
            let rule = Rule {
                name: None,
                direction: Direction::Both,
                peers: vec![Peer { group: ObjectRef::new(&*tenant, peer), negate: false }],
                services: Vec::new(),
                action: Action::Allow,
                log: false,
            };
            let policy = Spec::SecurityPolicy(SecurityPolicySpec {
                applied_to: vec![ObjectRef::new(&*tenant, app)],
                tier: 500,
                priority: 1000,
                defaults: DefaultActions { inbound: Some(Action::Drop), outbound: None },
                rules: vec![rule],
            });
            base.push(Resource::new(&*tenant, app, Labels::new(), policy));
        }
    }
    base
}

/// A port, with the name of the write that makes it so.
pub fn port(index: u32, write: &str, random: &mut ChaCha8Rng) -> Resource {
    let tenant = tenant_name(index % TENANTS);
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0001 + index));
    let spec = LogicalPortSpec {
        switch: ObjectRef::new(&*tenant, "switch"),
        mac: Mac::derived_from(address),
        addresses: [address].into_iter().collect(),
        host: Some(host_name(random.random_range(0..HOSTS)).as_str().into()),
        attachment: PortAttachment::Derived,
        port_security: true,
    };
    let app = ["web", "app", "db"].choose(random).copied().unwrap_or("web");
    let labels: Labels =
        [("app".into(), app.into()), (WRITE_LABEL.into(), write.into())].into_iter().collect();
    Resource::new(&*tenant, format!("port-{index}"), labels, Spec::LogicalPort(spec))
}

/// A group that nothing refers to, large, and another with each number: for logs to grow.
pub fn ballast(number: u32) -> Resource {
    // No two blocks are next to each other, which would make one of them.
    let shift = 2 * (number % 2);
    let block = |n: u32| {
        let address = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + 4 * n + shift));
        CidrBlock::new(address.into(), Vec::new()).expect("nothing is left out of it")
    };
    let blocks = (0..BALLAST_BLOCKS).map(block).collect();
    let spec = Spec::Group(GroupSpec { terms: Vec::new(), blocks });
    Resource::new(&*tenant_name(0), "ballast", Labels::new(), spec)
}

/// What a port may be.
#[derive(Debug, Clone, Default)]
pub struct Possible {
    /// As the last acknowledged write left it, with the write's revision.
    pub acknowledged: Option<(Option<Resource>, Revision)>,
    /// As a write would leave it whose outcome is unknown.
    pub unknown: Option<Option<Resource>>,
}

/// What a writer was told.
#[derive(Debug, Default)]
pub struct Record {
    /// What each port may be.
    pub ports: BTreeMap<ObjectKey, Possible>,
    /// The revision of each write that put an object, by the name of the write.
    pub puts: BTreeMap<String, Revision>,
    /// The revision of each acknowledged write.
    pub revisions: Vec<Revision>,
}

/// Writes at random controllers until it is told to stop.
pub fn write(shared: &Shared, writer: u32, seed: u64) -> Record {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ (u64::from(writer) << 32));
    let mut clients = Clients::new();
    let mut record = Record::default();
    for number in 0.. {
        if shared.stopped() {
            break;
        }
        let name = format!("{writer}-{number}");
        let index = writer * PORTS_EACH + random.random_range(0..PORTS_EACH);
        let resource = port(index, &name, &mut random);
        let key = resource.key();
        let known = record.ports.entry(key.clone()).or_default();
        let exists = matches!(&known.acknowledged, Some((Some(_), _)));
        let delete = exists && random.random_range(0..5) == 0;
        let (write, wanted) = if delete {
            (Write::Delete(key), None)
        } else {
            (Write::Put(Box::new(resource.clone())), Some(resource))
        };
        let mut id = [0; 16];
        random.fill_bytes(&mut id);
        match write_at_last(shared, &mut clients, id, &write, &mut random) {
            Some(written) => {
                if wanted.is_some() {
                    record.puts.insert(name, written.revision);
                }
                *known = Possible { acknowledged: Some((wanted, written.revision)), unknown: None };
                record.revisions.push(written.revision);
                if random.random_range(0..10) == 0 {
                    again(shared, &mut clients, id, &write, written, &mut random);
                }
            }
            // Only the very last write may be left like that.
            None => known.unknown = Some(wanted),
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..20)));
    }
    record
}

/// Asks for a write under one identity at one controller after the other, until it is known what
/// became of it. `None` if that is not known long after everything should stop.
fn write_at_last(
    shared: &Shared,
    clients: &mut Clients,
    id: [u8; 16],
    write: &Write,
    random: &mut ChaCha8Rng,
) -> Option<Written> {
    let started = Instant::now();
    let mut stopped: Option<Instant> = None;
    let mut may_be_applied = false;
    let mut history = Vec::new();
    loop {
        let address = shared.any_address(random);
        match clients.write(&address, id, write) {
            Ok(written) => {
                let stall = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                shared.longest_stall_ms.fetch_max(stall, Ordering::Relaxed);
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                shared.repeated.fetch_add(u64::from(written.repeated), Ordering::Relaxed);
                shared.tell(written.revision);
                return Some(written);
            }
            // The objects are this writer's alone, and all references are there.
            Err(NotWritten::Refused(status)) => {
                panic!("{write:?} was refused by {address}, after {history:?}: {status:?}")
            }
            Err(NotWritten::Unknown(status)) => {
                may_be_applied = true;
                shared.unknown.fetch_add(1, Ordering::Relaxed);
                history.push(format!("{address}: unknown: {}", status.message()));
            }
            Err(NotWritten::NotApplied(status)) => {
                if !may_be_applied {
                    shared.not_applied.fetch_add(1, Ordering::Relaxed);
                    let mut because = shared.not_applied_because.lock();
                    because.push(format!("{address}: {status}"));
                }
                history.push(format!("{address}: not applied: {}", status.message()));
            }
            Err(NotWritten::NotAsked(status)) => history.push(status.message().to_owned()),
        }
        shared.retried.fetch_add(1, Ordering::Relaxed);
        if shared.stopped() && stopped.get_or_insert_with(Instant::now).elapsed() > LAST_WRITE_WAIT
        {
            println!("given up: {write:?}, after {history:?}");
            return None;
        }
        std::thread::sleep(Duration::from_millis(random.random_range(50..200)));
    }
}

/// Asks once more for what was done: it is not done again.
fn again(
    shared: &Shared,
    clients: &mut Clients,
    id: [u8; 16],
    write: &Write,
    written: Written,
    random: &mut ChaCha8Rng,
) {
    let address = shared.any_address(random);
    match clients.write(&address, id, write) {
        // A replica that had not applied it yet is answered by the very same log entry, and does not
        // call that repeated.
        Ok(repeated) => assert_eq!(
            repeated.revision, written.revision,
            "{write:?}, asked again at {address}: {repeated:?}"
        ),
        Err(NotWritten::Refused(status)) => {
            panic!("{write:?}, which was applied, was refused by {address}: {status:?}")
        }
        Err(_) => {}
    }
}

/// Reads at random controllers until it is told to stop: what anybody was told before a read began is
/// in its answer.
pub fn read(shared: &Shared, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut clients = Clients::new();
    while !shared.stopped() {
        let address = shared.any_address(&mut random);
        let told = shared.told.load(Ordering::SeqCst);
        let revision = if random.random() {
            let page = clients.list(&address, Kind::LogicalPort.as_str(), 3, String::new(), false);
            page.map(|page| page.revision)
        } else {
            let host = host_name(random.random_range(0..HOSTS));
            let key = ObjectKey::new(Kind::Host, "system", &*host);
            clients.get(&address, &key).map(|answer| answer.revision)
        };
        match revision {
            Ok(revision) => {
                assert!(
                    revision >= told,
                    "{address} showed revision {revision} after {told} had been told"
                );
                shared.tell(revision);
                shared.reads.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) => {
                assert_ne!(status.code(), Code::NotFound, "{address}: {status:?}");
                shared.reads_unanswered.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..20)));
    }
}

/// What the watch saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// The revision of each write that put a port, by the name of the write.
    pub puts: BTreeMap<String, Revision>,
    /// Times after which changes may be missing, because no controller remembered far enough: after
    /// the first revision, up to the second.
    pub gaps: Vec<(Revision, Revision)>,
}

/// Follows all changes of ports, at one controller after the other, from a revision up to the last.
pub fn follow(shared: &Shared, from: Revision, seed: u64) -> Seen {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut clients = Clients::new();
    let mut seen = Seen::default();
    let mut at = from;
    let mut forgotten = 0;
    let done = |at: Revision| {
        let last = shared.last.load(Ordering::SeqCst);
        last != 0 && at >= last
    };
    while !done(at) {
        let address = shared.any_address(&mut random);
        let before = at;
        let ended = clients.watch(&address, Kind::LogicalPort.as_str(), before, |event| {
            assert!(event.revision >= at, "{address}: {event:?} after revision {at}");
            at = event.revision;
            take(&mut seen, &event, &address);
            // Others as well, now and then.
            !done(at) && at < before + 500
        });
        match ended {
            Err(status) if status.code() == Code::OutOfRange => forgotten += 1,
            _ => forgotten = 0,
        }
        // Several were asked, and all had started anew since.
        if forgotten > 20
            && let Ok(page) =
                clients.list(&address, Kind::LogicalPort.as_str(), 1, String::new(), false)
            && page.revision > at
        {
            seen.gaps.push((at, page.revision));
            at = page.revision;
            forgotten = 0;
        }
        if at == before {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    seen
}

fn take(seen: &mut Seen, event: &wire::WatchEvent, address: &str) {
    if event.r#type() != wire::watch_event::Type::Put {
        return;
    }
    let resource = event.resource.as_ref().expect("a change is of an object");
    let Some(name) = resource.labels.get(WRITE_LABEL) else { return };
    // A watch that starts again in the middle of a revision tells all of that revision again.
    let earlier = seen.puts.insert(name.clone(), event.revision);
    assert!(
        earlier.is_none_or(|earlier| earlier == event.revision),
        "write {name} was applied twice: as {earlier:?}, and, says {address}, as {}",
        event.revision
    );
}

/// A resource from the wire, and the revision of its last change.
pub fn from_wire(resource: &wire::Resource) -> (Resource, Revision) {
    let revision = resource.status.as_ref().map_or(0, |status| status.revision);
    let resource = convert::to_resource(resource).expect("a controller tells what is well-formed");
    (resource, revision)
}
