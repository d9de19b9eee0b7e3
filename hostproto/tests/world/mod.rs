//! The model: a history, two replicas that follow it, two hosts that follow them.

mod history;

pub(crate) use history::Mutation;

use bytes::Bytes;
use history::{HOSTS, History, falsify, mk_source};
use prost::Message;
use spanwire_hostproto::limits::CATCH_UP_WAIT;
use spanwire_hostproto::wire::controller_message::Message as ToHost;
use spanwire_hostproto::wire::welcome::Resume;
use spanwire_hostproto::{
    Change, ChangeLog, CheckReport, ClusterId, ControllerSession, Found, HeldView, Hello,
    HostCommand, HostIdentity, HostSession, Rejection, SessionEvent, decode_update, wire,
};
use spanwire_topology::model::{Revision, Uid};
use spanwire_topology::view::ItemKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Why a host asks for a comparison.
const REPAIR: &str = "compare";
/// The most messages that a stream buffers.
const BUFFERED_MAX: usize = 2;

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// A transaction is committed.
    Change(Vec<Mutation>),
    /// A replica applies the next transactions.
    Advance {
        replica: usize,
        /// How many transactions.
        steps: u8,
        /// Whether sessions hear of items before they hear of spans.
        items_first: bool,
    },
    /// A host's stream and datapath do what there is to do, for so many rounds.
    Pump { host: usize, steps: u8 },
    /// The stream to a host takes a message.
    Send(usize),
    /// A message arrives.
    DeliverToHost(usize),
    /// A message arrives.
    DeliverToController(usize),
    /// A host's datapath has what it was given last.
    Applied { host: usize, rejects: bool },
    /// A host opens a stream.
    Connect { host: usize, replica: usize },
    /// A stream breaks, with all that is in it.
    Cut(usize),
    /// An agent is killed and started again.
    RestartAgent(usize),
    /// A replica is killed and started again: its log of deltas is gone.
    RestartReplica(usize),
    /// A message to a host is spoilt.
    Damage(usize),
    /// A host asks for a comparison.
    Repair(usize),
    /// The contents of a host are compared.
    Check(usize),
    /// Time passes.
    Wait,
}

struct Replica {
    applied: Revision,
    log: ChangeLog,
}

struct Stream {
    replica: usize,
    session: ControllerSession,
    to_host: VecDeque<wire::ControllerMessage>,
    to_controller: VecDeque<wire::HostMessage>,
    bytes_to_host: usize,
}

struct Host {
    session: HostSession,
    /// `None` while there is no stream, or the hello is not heard yet.
    stream: Option<Stream>,
    /// What a stream to this replica has sent before there is a session.
    opening: Option<(usize, VecDeque<wire::HostMessage>)>,
    applying: Option<Revision>,
    /// The revision in the datapath.
    enforced: Revision,
    /// What is on disk.
    disk: Option<HeldView>,
    newest_seen: Revision,
    /// The newest revision that any session said the host enforces.
    claimed: Revision,
    /// Whether a message to it was spoilt.
    spoilt: bool,
    /// Items whose contents a test made wrong.
    falsified: BTreeSet<ItemKey>,
}

pub(crate) struct World {
    history: History,
    replicas: Vec<Replica>,
    hosts: Vec<Host>,
    now: Duration,
    log_bytes_max: usize,
    instances: u64,
    seen: BTreeMap<&'static str, usize>,
    /// What checks found.
    reports: Vec<CheckReport>,
}

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);

fn mk_session(host: usize, instance: u64, held: Option<HeldView>) -> HostSession {
    let identity = HostIdentity {
        host: format!("host-{host}").into(),
        instance,
        starts: 0,
        agent_version: "0.1.0".to_owned(),
        datapath: "record".to_owned(),
    };
    HostSession::new(identity, held)
}

impl World {
    pub(crate) fn new(log_bytes_max: usize) -> World {
        let mk_replica =
            |_| Replica { applied: 1, log: ChangeLog::new(log_bytes_max, log_bytes_max) };
        let mk_host = |host| Host {
            session: mk_session(host, host as u64, None),
            stream: None,
            opening: None,
            applying: None,
            enforced: 0,
            disk: None,
            newest_seen: 0,
            claimed: 0,
            spoilt: false,
            falsified: BTreeSet::new(),
        };
        World {
            history: History::new(),
            replicas: (0..2).map(mk_replica).collect(),
            hosts: (0..HOSTS).map(mk_host).collect(),
            now: Duration::ZERO,
            log_bytes_max,
            instances: 100,
            seen: BTreeMap::new(),
            reports: Vec::new(),
        }
    }

    pub(crate) fn seen(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.seen.iter().map(|(corner, count)| (*corner, *count))
    }

    fn see(&mut self, corner: &'static str) {
        *self.seen.entry(corner).or_default() += 1;
    }

    pub(crate) fn act(&mut self, action: &Action) {
        match action {
            Action::Change(mutations) => self.history.commit(mutations),
            Action::Advance { replica, steps, items_first } => {
                (0..*steps).for_each(|_| self.advance(*replica, *items_first));
            }
            Action::Pump { host, steps } => {
                for _ in 0..*steps {
                    self.send(*host);
                    self.deliver_to_host(*host);
                    self.check();
                    self.applied(*host, false);
                    self.deliver_to_controller(*host);
                }
            }
            Action::Send(host) => drop(self.send(*host)),
            Action::DeliverToHost(host) => drop(self.deliver_to_host(*host)),
            Action::DeliverToController(host) => drop(self.deliver_to_controller(*host)),
            Action::Applied { host, rejects } => drop(self.applied(*host, *rejects)),
            Action::Connect { host, replica } => self.connect(*host, *replica),
            Action::Cut(host) => self.cut(*host),
            Action::RestartAgent(host) => self.restart_agent(*host),
            Action::RestartReplica(replica) => self.restart_replica(*replica),
            Action::Damage(host) => self.damage(*host),
            Action::Repair(host) => {
                let commands = self.hosts[*host].session.request_repair(REPAIR);
                self.execute(*host, commands);
            }
            Action::Check(host) => {
                if let Some(stream) = &mut self.hosts[*host].stream {
                    // One that is refused is not checked any more.
                    let _ = stream.session.request_check();
                }
            }
            Action::Wait => {
                self.now += CATCH_UP_WAIT;
                for stream in self.hosts.iter_mut().filter_map(|host| host.stream.as_mut()) {
                    stream.session.process_timer(self.now);
                }
            }
        }
    }

    // ---- Replicas ----

    fn advance(&mut self, replica: usize, items_first: bool) {
        let next = self.replicas[replica].applied + 1;
        if next > self.history.revision() {
            return;
        }
        let changes = self.history.changes(next);
        for change in &changes.items {
            self.replicas[replica].log.record(next, change);
        }
        self.replicas[replica].applied = next;
        for (number, host) in self.hosts.iter_mut().enumerate() {
            let Some(stream) = host.stream.as_mut().filter(|stream| stream.replica == replica)
            else {
                continue;
            };
            let tell_items = |session: &mut ControllerSession| {
                for change in &changes.items {
                    if self.history.has(next, number, change.key) {
                        session.process_item_changed(change.key);
                    }
                }
            };
            if items_first {
                tell_items(&mut stream.session);
            }
            let (gained, lost) = &changes.hosts[number];
            stream.session.process_host_change(gained, lost);
            if !items_first {
                tell_items(&mut stream.session);
            }
        }
    }

    fn restart_replica(&mut self, replica: usize) {
        self.replicas[replica].log = ChangeLog::new(self.log_bytes_max, self.log_bytes_max);
        for host in 0..self.hosts.len() {
            if self.hosts[host].stream.as_ref().is_some_and(|stream| stream.replica == replica) {
                self.cut(host);
            }
        }
    }

    // ---- Streams. Those that return a bool say whether anything happened. ----

    fn connect(&mut self, host: usize, replica: usize) {
        if self.hosts[host].stream.is_some() || self.hosts[host].opening.is_some() {
            return;
        }
        self.hosts[host].opening = Some((replica, VecDeque::new()));
        let commands = self.hosts[host].session.process_connected();
        self.execute(host, commands);
    }

    fn cut(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        let is_within_batch = host.stream.as_ref().is_some_and(|stream| {
            stream.session.phase() == spanwire_hostproto::controller_session::SessionPhase::Sending
        });
        host.stream = None;
        host.opening = None;
        host.session.process_disconnected();
        if is_within_batch {
            self.see("batch cut off");
        }
    }

    fn send(&mut self, host: usize) -> bool {
        let Some(stream) = self.hosts[host].stream.as_mut() else { return false };
        let replica = &mut self.replicas[stream.replica];
        if stream.to_host.len() >= BUFFERED_MAX || !stream.session.has_message(replica.applied) {
            return false;
        }
        let mut source = mk_source(&self.history, replica.applied, host, &mut replica.log);
        let Some(message) = stream.session.next_message(&mut source, self.now) else {
            if stream.session.next_deadline().is_some() {
                self.see("replica behind the host");
            }
            return false;
        };
        stream.bytes_to_host += message.encoded_len();
        stream.to_host.push_back(message.clone());
        self.see_message(&message);
        true
    }

    fn see_message(&mut self, message: &wire::ControllerMessage) {
        match message.message.as_ref().unwrap() {
            ToHost::Welcome(welcome) => self.see(match welcome.resume() {
                Resume::Current => "resume current",
                Resume::Inventory => "resume by inventory",
                Resume::Snapshot => "resume by snapshot",
                Resume::Unspecified => panic!("a welcome without a way to resume"),
            }),
            ToHost::Check(_) => self.see("check"),
            ToHost::Ranges(_) => self.see("ranges asked for"),
            ToHost::Refused(_) => self.see("refused"),
            ToHost::Part(part) => {
                if !part.last {
                    self.see("batch of several parts");
                }
                if part.last && part.sequence == 0 && part.updates.is_empty() {
                    self.see("empty batch");
                }
                for update in &part.updates {
                    self.see(match decode_update(update).unwrap().change {
                        Change::Removed => "removals",
                        Change::Full(_) => "full items",
                        Change::Delta { .. } => "deltas",
                        Change::Ranges { .. } => "ranges",
                    });
                }
            }
        }
    }

    fn deliver_to_host(&mut self, host: usize) -> bool {
        let Some(stream) = self.hosts[host].stream.as_mut() else { return false };
        let Some(message) = stream.to_host.pop_front() else {
            if stream.session.is_ended() {
                self.cut(host);
            }
            return false;
        };
        // As it comes out of gRPC.
        let message =
            wire::ControllerMessage::decode(Bytes::from(message.encode_to_vec())).unwrap();
        let commands = self.hosts[host].session.process_message(message);
        self.execute(host, commands);
        true
    }

    fn deliver_to_controller(&mut self, number: usize) -> bool {
        let host = &mut self.hosts[number];
        if let Some((replica, messages)) = &mut host.opening {
            let Some(first) = messages.pop_front() else { return false };
            let hello = Hello::from_first_message(first).unwrap();
            host.stream = Some(Stream {
                replica: *replica,
                session: ControllerSession::new(hello, self.now),
                to_host: VecDeque::new(),
                to_controller: std::mem::take(messages),
                bytes_to_host: 0,
            });
            host.opening = None;
            return true;
        }
        let Some(stream) = host.stream.as_mut() else { return false };
        let Some(message) = stream.to_controller.pop_front() else { return false };
        if let SessionEvent::Checked(report) = stream.session.process_message(message, self.now) {
            // Hosts hold the truth, unless a test falsified it.
            if host.falsified.is_empty() {
                assert_eq!(report.differences, [], "host {number}");
            }
            self.reports.push(report);
            self.see("checked");
        }
        true
    }

    fn damage(&mut self, host: usize) {
        let Host { stream: Some(stream), spoilt, .. } = &mut self.hosts[host] else { return };
        let Some(message) = stream.to_host.front_mut() else { return };
        if let Some(ToHost::Part(part)) = &mut message.message {
            *spoilt = true;
            match part.updates.first_mut() {
                Some(update) => *update = Bytes::from_static(b"\xff"),
                None => part.from_revision += 1,
            }
        }
    }

    // ---- Hosts ----

    fn execute(&mut self, number: usize, commands: Vec<HostCommand>) {
        for command in commands {
            let host = &mut self.hosts[number];
            match command {
                HostCommand::Send(message) => {
                    if let Some(wire::host_message::Message::Complaint(complaint)) =
                        &message.message
                    {
                        *self.seen.entry("complaint").or_default() += 1;
                        let is_due = std::mem::take(&mut host.spoilt);
                        let detail = &complaint.detail;
                        assert!(
                            is_due || detail == REPAIR,
                            "an honest batch did not fit: {detail}"
                        );
                    }
                    match (&mut host.stream, &mut host.opening) {
                        (Some(stream), _) => stream.to_controller.push_back(message),
                        (None, Some((_, messages))) => messages.push_back(message),
                        (None, None) => panic!("sent without a stream: {message:?}"),
                    }
                }
                HostCommand::Apply(change) => {
                    assert_eq!(host.applying, None, "two batches are applied at once");
                    assert_eq!(change.from, host.newest_seen);
                    host.applying = Some(change.to);
                    let (cluster_id, view) = (change.cluster_id, change.view);
                    host.disk = Some(HeldView { cluster_id, view });
                }
                HostCommand::Disconnect { .. } => self.cut(number),
            }
        }
    }

    fn applied(&mut self, number: usize, rejects: bool) -> bool {
        let host = &mut self.hosts[number];
        let Some(revision) = host.applying.take() else { return false };
        host.enforced = revision;
        let rejection = Rejection { key: ItemKey::Port(Uid(9)), reason: "no device".to_owned() };
        let rejections = if rejects { vec![rejection] } else { vec![] };
        let commands = host.session.process_applied(revision, rejections);
        self.execute(number, commands);
        true
    }

    fn restart_agent(&mut self, number: usize) {
        self.cut(number);
        self.instances += 1;
        let host = &mut self.hosts[number];
        host.session = mk_session(number, self.instances, host.disk.clone());
        // The datapath is restored from disk before a controller is sought.
        host.applying = None;
        host.enforced = host.session.revision();
    }

    // ---- Invariants ----

    /// What must hold after every step.
    pub(crate) fn check(&mut self) {
        for (number, host) in self.hosts.iter_mut().enumerate() {
            let view = host.session.view();
            if view.revision > 0 {
                let truth = self.history.view(view.revision, number);
                assert_eq!(**view, truth, "host {number} holds something else than the truth");
            }
            assert!(view.revision >= host.newest_seen, "host {number} went back");
            host.newest_seen = view.revision;
            if let Some(stream) = &host.stream {
                let applied = self.replicas[stream.replica].applied;
                host.claimed = host.claimed.max(stream.session.realized_revision(applied));
            }
            // A session may know more than the host: that nothing concerned it since. But that must
            // be so, and stay so on whatever replica the host meets next.
            if host.claimed > host.enforced {
                let enforced = self.history.view(host.enforced, number).items;
                let claimed = self.history.view(host.claimed, number).items;
                assert_eq!(enforced, claimed, "host {number} was said to enforce {}", host.claimed);
            }
        }
    }

    /// Everything works again, for as long as anything is left to do.
    pub(crate) fn heal(&mut self) {
        for _ in 0..20 {
            for replica in 0..self.replicas.len() {
                while self.replicas[replica].applied < self.history.revision() {
                    self.advance(replica, false);
                }
            }
            for host in 0..self.hosts.len() {
                self.connect(host, host % 2);
                let commands = self.hosts[host].session.process_rejections(vec![]);
                self.execute(host, commands);
                while self.send(host)
                    || self.deliver_to_host(host)
                    || self.applied(host, false)
                    || self.deliver_to_controller(host)
                {
                    self.check();
                }
            }
        }
    }

    /// Every host has the newest, and its session knows.
    pub(crate) fn check_converged(&self) {
        let newest = self.history.revision();
        for (number, host) in self.hosts.iter().enumerate() {
            let truth = self.history.view(newest, number);
            assert_eq!(host.session.view().items, truth.items, "host {number}");
            let stream = host.stream.as_ref().expect("a stream");
            assert_eq!(stream.session.realized_revision(newest), newest, "host {number}");
            assert_eq!(stream.session.status().rejections, []);
        }
    }

    /// Makes the contents of items of a host wrong, at the right versions, as a defect of memory or disk
    /// would; while it is checked, changes come. The check finds what is wrong, and nothing else is sent.
    pub(crate) fn check_finds(&mut self, number: usize, wrong: &[usize], meanwhile: &[Mutation]) {
        let newest = self.history.revision();
        let truth = self.history.view(newest, number);
        let Some(held) = self.hosts[number].disk.clone() else { return };
        let mut view = (*held.view).clone();
        let keys: Vec<ItemKey> = view.items.keys().copied().collect();
        let falsified: BTreeSet<ItemKey> =
            wrong.iter().filter_map(|at| keys.get(*at % keys.len().max(1))).copied().collect();
        for key in &falsified {
            let item = view.items.get_mut(key).unwrap();
            item.item = Arc::new(falsify(&item.item));
        }
        self.hosts[number].disk = Some(HeldView { view: Arc::new(view), ..held });
        self.hosts[number].falsified = falsified.clone();
        let others_sent = self.sent_updates(1 - number);
        self.restart_agent(number);
        self.connect(number, 0);
        self.run_alone(number);
        assert_eq!(self.sent_updates(number), 0, "keys and versions are right");
        let stream = self.hosts[number].stream.as_mut().unwrap();
        stream.session.request_check().unwrap();
        assert!(self.send(number), "the check");
        self.history.commit(meanwhile);
        let changed = self.history.revision() > newest;
        if changed {
            self.advance(0, false);
        }
        self.run_alone(number);
        let report = self.reports.pop().expect("a report");
        let now = self.history.view(self.history.revision(), number);
        let is_changed = |key: &ItemKey| now.items.get(key) != truth.items.get(key);
        let keys: Vec<ItemKey> = truth.items.keys().chain(now.items.keys()).copied().collect();
        let found: BTreeSet<ItemKey> = report.differences.iter().map(|it| it.key).collect();
        // What changed meanwhile is no difference of its own.
        let expected: BTreeSet<ItemKey> =
            falsified.iter().filter(|key| !is_changed(key)).copied().collect();
        assert_eq!(found, expected);
        for difference in &report.differences {
            assert_eq!(difference.found, Found::Differs);
            let members = &difference.members;
            assert!(members.extra_count + members.missing_count > 0, "{difference:?}");
        }
        let touched: BTreeSet<ItemKey> =
            keys.into_iter().filter(|key| falsified.contains(key) || is_changed(key)).collect();
        let most = touched.len() as u64;
        let sent = self.sent_updates(number);
        assert!(sent <= most && sent >= found.len() as u64, "{sent} updates of {touched:?}");
        if !changed {
            assert_eq!(sent, falsified.len() as u64, "only what is wrong is sent");
        }
        assert_eq!(self.hosts[number].session.view().items, now.items);
        assert_eq!(self.sent_updates(1 - number), others_sent, "the other host was sent something");
        // A second check finds nothing.
        self.hosts[number].falsified.clear();
        let stream = self.hosts[number].stream.as_mut().unwrap();
        stream.session.request_check().unwrap();
        self.run_alone(number);
        assert_eq!(self.reports.pop().expect("a report").found(), 0);
        let stream = self.hosts[number].stream.as_ref().unwrap();
        assert_eq!(stream.session.status().checks_repaired, found.len() as u64);
    }

    fn sent_updates(&self, host: usize) -> u64 {
        self.hosts[host].stream.as_ref().unwrap().session.status().sent_updates
    }

    fn run_alone(&mut self, host: usize) {
        while self.send(host)
            || self.deliver_to_host(host)
            || self.applied(host, false)
            || self.deliver_to_controller(host)
        {
            self.hosts[host].newest_seen = self.hosts[host].session.revision();
        }
    }

    /// A reconnect after which nothing differs sends nothing but a welcome, wherever it leads.
    pub(crate) fn check_reconnect_is_free(&mut self) {
        for host in 0..self.hosts.len() {
            self.cut(host);
            self.connect(host, (host + 1) % 2);
            while self.send(host)
                || self.deliver_to_host(host)
                || self.applied(host, false)
                || self.deliver_to_controller(host)
            {}
            let stream = self.hosts[host].stream.as_ref().expect("a stream");
            assert!(stream.bytes_to_host < 100, "{} bytes", stream.bytes_to_host);
            assert_eq!(stream.session.status().sent_updates, 0);
        }
        self.check_converged();
    }
}
