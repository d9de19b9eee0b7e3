//! Both ends of the stream over the real engine: after random histories of all operations every
//! host holds what the engine says, and at every step what the engine said at its revision.

// Helpers of tests unwrap as the tests do: a panic is a failed test.
#![allow(clippy::unwrap_used)]

mod determinism;
mod universe;

use proptest::collection::vec;
use proptest::prelude::*;
use spanwire_hostproto::{
    Change, ChangeLog, ClusterId, ControllerSession, EngineSource, HeldView, Hello, HostCommand,
    HostIdentity, HostSession, decode_update, wire,
};
use spanwire_topology::Engine;
use spanwire_topology::engine::{Changes, HostId, ItemChangeKind};
use spanwire_topology::model::{Operation, Revision, Text, Transaction};

use spanwire_topology::view::HostView;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const NOW: Duration = Duration::ZERO;

/// What a host does between two transactions.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Connect,
    Cut,
    RestartAgent,
    /// So many rounds of messages.
    Pump(u8),
}

fn any_deed() -> impl Strategy<Value = (u8, Deed)> {
    let deed = prop_oneof![
        4 => Just(Deed::Connect),
        1 => Just(Deed::Cut),
        1 => Just(Deed::RestartAgent),
        8 => (1u8..6).prop_map(Deed::Pump),
    ];
    (0..universe::HOSTS, deed)
}

struct Stream {
    session: ControllerSession,
    id: HostId,
    to_host: VecDeque<wire::ControllerMessage>,
    to_controller: VecDeque<wire::HostMessage>,
}

struct Host {
    name: Text,
    session: HostSession,
    stream: Option<Stream>,
    applying: Option<Revision>,
    disk: Option<HeldView>,
    newest_seen: Revision,
}

struct World {
    engine: Engine,
    log: ChangeLog,
    hosts: Vec<Host>,
    /// What the engine said at each revision.
    views: BTreeMap<(Text, Revision), HostView>,
    seen: BTreeMap<&'static str, usize>,
}

fn mk_session(name: &Text, held: Option<HeldView>) -> HostSession {
    let identity = HostIdentity {
        host: name.clone(),
        instance: 1,
        starts: 0,
        agent_version: "0.1.0".to_owned(),
        datapath: "record".to_owned(),
    };
    HostSession::new(identity, held)
}

impl World {
    fn new(log_bytes_max: usize) -> World {
        let mk_host = |number| {
            let name = universe::host_name(number);
            let session = mk_session(&name, None);
            Host { name, session, stream: None, applying: None, disk: None, newest_seen: 0 }
        };
        World {
            engine: Engine::new(),
            log: ChangeLog::new(log_bytes_max, log_bytes_max),
            hosts: (0..universe::HOSTS).map(mk_host).collect(),
            views: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Applies a transaction, unless the engine refuses it.
    fn transact(&mut self, operations: Vec<Operation>) {
        let transaction = Transaction { operations, expected_revision: None };
        let revision = self.engine.revision() + 1;
        let corner = match self.engine.apply(&transaction, revision) {
            Ok(changes) => {
                self.publish(&changes);
                "transactions"
            }
            Err(_) => "refused transactions",
        };
        *self.seen.entry(corner).or_default() += 1;
    }

    /// Tells the sessions what changed, as a publisher does.
    fn publish(&mut self, changes: &Changes) {
        for change in &changes.items {
            self.log.record(changes.revision, change);
        }
        for stream in self.hosts.iter_mut().filter_map(|host| host.stream.as_mut()) {
            for change in changes.hosts.iter().filter(|change| change.host == stream.id) {
                stream.session.process_host_change(&change.gained, &change.lost);
            }
            for change in &changes.items {
                if change.kind != ItemChangeKind::Removed
                    && self.engine.subscribers(change.key).contains(&stream.id)
                {
                    stream.session.process_item_changed(change.key);
                }
            }
            if changes.hosts_deleted.iter().any(|(id, _)| *id == stream.id) {
                stream.session.process_deleted();
            }
        }
        for host in &self.hosts {
            if let Some(id) = self.engine.host_id(&host.name) {
                let key = (host.name.clone(), changes.revision);
                self.views.insert(key, self.engine.host_view(id));
            }
        }
    }

    /// The replica is killed and started again: its state is restored, its log of deltas is gone.
    fn restart_replica(&mut self) {
        self.engine = Engine::import(self.engine.export()).unwrap();
        self.log = ChangeLog::default();
        (0..self.hosts.len()).for_each(|host| self.cut(host));
    }

    fn connect(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let id = self.engine.host_id(&host.name);
        let (Some(id), None, None) = (id, &host.stream, host.applying) else { return };
        let commands = host.session.process_connected();
        let [HostCommand::Send(hello)] = &commands[..] else { panic!("{commands:?}") };
        let hello = Hello::from_first_message(hello.clone()).unwrap();
        self.engine.set_watched(id, true);
        host.stream = Some(Stream {
            session: ControllerSession::new(hello, NOW),
            id,
            to_host: VecDeque::new(),
            to_controller: VecDeque::new(),
        });
    }

    fn cut(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if let Some(stream) = host.stream.take()
            // A host that was deleted has lost its id, perhaps to another.
            && self.engine.host_id(&host.name) == Some(stream.id)
        {
            self.engine.set_watched(stream.id, false);
        }
        host.session.process_disconnected();
    }

    fn do_deed(&mut self, number: usize, deed: Deed) {
        match deed {
            Deed::Connect => self.connect(number),
            Deed::Cut => self.cut(number),
            Deed::RestartAgent => {
                self.cut(number);
                let host = &mut self.hosts[number];
                host.applying = None;
                host.session = mk_session(&host.name, host.disk.clone());
            }
            Deed::Pump(rounds) => {
                for _ in 0..rounds {
                    self.pump(number);
                }
            }
        }
    }

    /// One of everything that can happen on a stream. Says whether anything did.
    fn pump(&mut self, number: usize) -> bool {
        let World { engine, log, hosts, seen, .. } = self;
        let host = &mut hosts[number];
        let mut happened = false;
        let mut commands = Vec::new();
        if let Some(stream) = &mut host.stream {
            if let Some(message) = stream.to_controller.pop_front() {
                happened = true;
                stream.session.process_message(message, NOW);
            }
            let mut source = EngineSource { engine, log, host: stream.id, cluster_id: CLUSTER };
            if stream.to_host.len() < 2
                && stream.session.has_message(source.engine.revision())
                && let Some(message) = stream.session.next_message(&mut source, NOW)
            {
                happened = true;
                see(seen, &message);
                stream.to_host.push_back(message);
            }
            if let Some(message) = stream.to_host.pop_front() {
                happened = true;
                commands = host.session.process_message(message);
            }
        }
        if let Some(revision) = host.applying.take() {
            happened = true;
            commands.extend(host.session.process_applied(revision, vec![]));
        }
        for command in commands {
            match command {
                HostCommand::Send(message) => {
                    if let Some(wire::host_message::Message::Complaint(complaint)) =
                        &message.message
                    {
                        panic!("an honest batch did not fit: {}", complaint.detail);
                    }
                    if let Some(stream) = &mut hosts[number].stream {
                        stream.to_controller.push_back(message);
                    }
                }
                HostCommand::Apply(change) => {
                    let host = &mut hosts[number];
                    host.applying = Some(change.to);
                    let (cluster_id, view) = (change.cluster_id, change.view);
                    host.disk = Some(HeldView { cluster_id, view });
                }
                HostCommand::Disconnect { .. } => {
                    self.cut(number);
                    return true;
                }
            }
        }
        happened
    }

    /// Every host holds what the engine said at the revision that it stands for.
    fn check(&mut self) {
        for host in &mut self.hosts {
            let view = host.session.view();
            assert!(view.revision >= host.newest_seen, "host {} went back", host.name);
            host.newest_seen = view.revision;
            if view.revision > 0 {
                let said = self.views.get(&(host.name.clone(), view.revision));
                let said = said.unwrap_or_else(|| panic!("no view at {}", view.revision));
                assert_eq!(**view, *said, "host {}", host.name);
            }
        }
    }

    /// Every host that exists has the newest, and its session knows.
    fn check_converges(&mut self) {
        for number in 0..self.hosts.len() {
            // Twice, as the first stream may end with a refusal.
            for _ in 0..2 {
                self.connect(number);
                while self.pump(number) {}
            }
            let host = &self.hosts[number];
            let Some(id) = self.engine.host_id(&host.name) else { continue };
            let newest = self.engine.revision();
            assert_eq!(host.session.view().items, self.engine.host_view(id).items);
            let session = &host.stream.as_ref().unwrap().session;
            assert_eq!(session.realized_revision(newest), newest);
        }
    }
}

/// Counts what the messages are, to know that the histories reach it.
fn see(seen: &mut BTreeMap<&'static str, usize>, message: &wire::ControllerMessage) {
    use wire::controller_message::Message;
    let mut see = |corner| *seen.entry(corner).or_default() += 1;
    match message.message.as_ref().unwrap() {
        Message::Welcome(welcome) => see(welcome.resume().as_str_name()),
        Message::Check(_) => see("check"),
        Message::Ranges(_) => see("ranges asked for"),
        Message::Refused(refused) => see(refused.reason().as_str_name()),
        Message::Part(part) => {
            for update in &part.updates {
                see(match decode_update(update).unwrap().change {
                    Change::Removed => "removals",
                    Change::Full(_) => "full items",
                    Change::Delta { .. } => "deltas",
                    Change::Ranges { .. } => "ranges",
                });
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Transact(Vec<Operation>),
    Restart,
    Host(u8, Deed),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => universe::any_operations().prop_map(Step::Transact),
        1 => Just(Step::Restart),
        60 => any_deed().prop_map(|(host, deed)| Step::Host(host, deed)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn hosts_hold_what_the_engine_says(
        start in universe::any_start(),
        steps in vec(any_step(), 0..150),
        log_bytes_max in prop_oneof![Just(0usize), 0usize..2000, Just(1 << 20)],
    ) {
        run(log_bytes_max, start, steps);
    }
}

fn run(log_bytes_max: usize, start: Vec<Operation>, steps: Vec<Step>) -> World {
    let mut world = World::new(log_bytes_max);
    for operation in start {
        world.transact(vec![operation]);
    }
    for step in steps {
        match step {
            Step::Transact(operations) => world.transact(operations),
            Step::Restart => world.restart_replica(),
            Step::Host(host, deed) => world.do_deed(usize::from(host), deed),
        }
        world.check();
    }
    world.check_converges();
    world.check();
    world
}

/// A generator that stopped reaching what it is meant to would otherwise go unnoticed.
#[test]
fn the_histories_reach_every_corner() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeMap::<&str, usize>::new();
    for _ in 0..60 {
        let start = universe::any_start().new_tree(&mut runner).unwrap().current();
        let steps = vec(any_step(), 150).new_tree(&mut runner).unwrap().current();
        for (corner, count) in run(1 << 20, start, steps).seen {
            *seen.entry(corner).or_default() += count;
        }
    }
    for corner in [
        "transactions",
        "refused transactions",
        "deltas",
        "full items",
        "ranges",
        "removals",
        "RESUME_CURRENT",
        "RESUME_INVENTORY",
        "RESUME_SNAPSHOT",
        "REASON_DELETED",
    ] {
        assert!(seen.get(corner).is_some_and(|count| *count > 2), "{corner}: {seen:?}");
    }
}
