//! Hosts: the agent's end of the stream as tasks of this process, each with a connection of its own and
//! the `record` datapath. They wait and choose controllers as agents do.

use super::PATIENCE;
use super::stream::Stream;
use parking_lot::Mutex;
use prost::Message as _;
use spanwire_agent::Timing;
use spanwire_agent::backoff::{Backoff, Controllers, DRAINING_WAIT, STABLE_AFTER, jitter};
use spanwire_agent::datapath::record::RecordDatapath;
use spanwire_agent::datapath::{Datapath as _, DatapathError};
use spanwire_hostproto::wire::controller_message::Message;
use spanwire_hostproto::wire::refused::Reason;
use spanwire_hostproto::{
    Change, HostCommand, HostIdentity, HostSession, SUBSCRIBE_PATH, ViewChange, decode_update, wire,
};
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::{HostView, ItemKey};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Hosts that connect at the same time when a fleet starts.
const STARTING: usize = 50;
/// More than the key and the flag of a removal take; an update that is longer has content.
const REMOVAL_BYTES_MAX: usize = 64;
/// The pause between two looks at a fleet.
const LOOK_WAIT: Duration = Duration::from_millis(5);

/// What is known of a host.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The controller that it is connected to and was welcomed by.
    pub(crate) connected_to: Option<SocketAddr>,
    /// Connections so far.
    pub(crate) connections: usize,
    /// When its datapath came to have which revision.
    pub(crate) applied: Vec<(Revision, Instant)>,
    /// Bytes of all messages, of updates, and of those updates whose item it held in that version.
    pub(crate) bytes: u64,
    pub(crate) update_bytes: u64,
    pub(crate) resent_bytes: u64,
    /// Items that its datapath had and has no more.
    pub(crate) lost_items: u64,
}

impl Record {
    /// When it came to have a revision, or a later one.
    pub(crate) fn reached(&self, revision: Revision) -> Option<Instant> {
        let at = self.applied.partition_point(|(applied, _)| *applied < revision);
        self.applied.get(at).map(|(_, when)| *when)
    }
}

/// A host.
pub(crate) struct Host {
    name: Text,
    datapath: RecordDatapath,
    record: Mutex<Record>,
}

impl Host {
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&self.record.lock())
    }

    /// Puts a step of the view into the datapath.
    fn apply(&self, change: &ViewChange) -> Result<(), DatapathError> {
        let before = self.datapath.view();
        let is_lost =
            |key: &&ItemKey| before.items.contains_key(key) && !change.view.items.contains_key(key);
        let lost = change.changed.iter().filter(is_lost).count() as u64;
        // Or the datapath would have to leave us what we look at, and change a copy.
        drop(before);
        let changed = (!change.replace).then_some(&change.changed);
        self.datapath.clone().apply(&change.view, changed)?;
        let mut record = self.record.lock();
        record.lost_items += lost;
        record.applied.push((change.to, Instant::now()));
        Ok(())
    }

    /// Waits until its datapath has at least a revision. Returns when it had.
    pub(crate) async fn wait_revision(&self, revision: Revision) -> Result<Instant, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(when) = self.read(|record| record.reached(revision)) {
                return Ok(when);
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not come to have revision {revision}", self.name));
            }
            tokio::time::sleep(LOOK_WAIT).await;
        }
    }
}

/// Hosts that stay connected. Dropped, they are gone.
#[derive(Default)]
pub(crate) struct Fleet {
    hosts: Vec<Arc<Host>>,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Connects hosts, spread over the controllers, and waits until each has a view of at least a
    /// revision.
    pub(crate) async fn start(
        names: &[Text],
        controllers: &[SocketAddr],
        revision: Revision,
    ) -> Result<Fleet, String> {
        let mut fleet = Fleet::default();
        for batch in names.chunks(STARTING) {
            fleet.add(batch, controllers);
            fleet.wait_revision(revision).await?;
        }
        Ok(fleet)
    }

    /// Connects hosts all at once, spread over the controllers.
    pub(crate) fn start_all(names: &[Text], controllers: &[SocketAddr]) -> Fleet {
        let mut fleet = Fleet::default();
        fleet.add(names, controllers);
        fleet
    }

    fn add(&mut self, names: &[Text], controllers: &[SocketAddr]) {
        for name in names {
            let host = Arc::new(Host {
                name: name.clone(),
                datapath: RecordDatapath::new(),
                record: Mutex::default(),
            });
            let first = controllers[self.hosts.len() % controllers.len()];
            self.tasks.spawn(run(host.clone(), first, controllers.to_vec()));
            self.hosts.push(host);
        }
    }

    pub(crate) fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// Waits until each host's datapath has at least a revision. Returns when the last one had.
    pub(crate) async fn wait_revision(&self, revision: Revision) -> Result<Instant, String> {
        wait_revision(&self.hosts, revision).await
    }

    /// How many are connected to a controller.
    pub(crate) fn connected_to(&self, address: SocketAddr) -> usize {
        let here = |host: &&Arc<Host>| host.read(|record| record.connected_to == Some(address));
        self.hosts.iter().filter(here).count()
    }

    /// A sum over all hosts.
    pub(crate) fn sum(&self, of: impl Fn(&Record) -> u64) -> u64 {
        self.hosts.iter().map(|host| host.read(&of)).sum()
    }
}

/// Hosts of these names, connected to a controller until the process ends.
pub(crate) async fn follow_as(controller: SocketAddr, names: &[String]) -> Result<(), String> {
    let names: Vec<Text> = names.iter().map(|name| name.as_str().into()).collect();
    let mut fleet = Fleet::start_all(&names, &[controller]);
    // None of them ends but by being refused for good.
    match fleet.tasks.join_next().await {
        Some(_) => Err("a host is not let stay connected".to_owned()),
        None => Err("there are no hosts".to_owned()),
    }
}

async fn wait_revision(hosts: &[Arc<Host>], revision: Revision) -> Result<Instant, String> {
    let mut last: Option<Instant> = None;
    for host in hosts {
        last = last.max(Some(host.wait_revision(revision).await?));
    }
    last.ok_or_else(|| "there are no hosts".to_owned())
}

/// Waits until a controller welcomes a host that has nothing yet. It is tried over and over, without the
/// pauses of an agent.
pub(crate) async fn wait_welcome(controller: SocketAddr, name: &str) {
    while !is_welcomed(controller, name).await {
        tokio::time::sleep(LOOK_WAIT).await;
    }
}

async fn is_welcomed(controller: SocketAddr, name: &str) -> bool {
    let patience = Timing::default().connect_timeout;
    let opened = HostStream::open(controller, SUBSCRIBE_PATH, patience).await;
    let Some(mut stream) = opened else { return false };
    let mut session = HostSession::new(mk_identity(name.into()), None);
    for command in session.process_connected() {
        if let HostCommand::Send(message) = command
            && stream.send(&message).is_none()
        {
            return false;
        }
    }
    let message = stream.next_message().await.and_then(|message| message.message);
    matches!(message, Some(Message::Welcome(_)))
}

fn mk_identity(host: Text) -> HostIdentity {
    HostIdentity {
        host,
        instance: rand::random(),
        starts: 0,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        datapath: "record".to_owned(),
    }
}

type HostStream = Stream<wire::HostMessage, wire::ControllerMessage>;

/// Why a connection ended.
enum Ended {
    Broken,
    Refused(Reason),
}

/// Keeps a host connected.
async fn run(host: Arc<Host>, first: SocketAddr, controllers: Vec<SocketAddr>) {
    let timing = Timing::default();
    let mut session = HostSession::new(mk_identity(host.name.clone()), None);
    let mut others = Controllers::new(controllers.iter().map(ToString::to_string).collect());
    let mut backoff = Backoff::new(timing.reconnect_min, timing.reconnect_max);
    let mut controller = first;
    loop {
        let since = Instant::now();
        let ended = follow(&host, &mut session, controller, timing.connect_timeout).await;
        session.process_disconnected();
        host.record.lock().connected_to = None;
        let wait = match ended {
            Ended::Refused(Reason::Superseded) => return,
            Ended::Refused(Reason::UnknownHost | Reason::Deleted | Reason::Version) => {
                jitter(timing.refused_wait, rand::random())
            }
            Ended::Refused(Reason::Draining) => DRAINING_WAIT.mul_f64(rand::random()),
            Ended::Broken if since.elapsed() >= STABLE_AFTER => {
                backoff.reset();
                backoff.next_wait(rand::random())
            }
            Ended::Broken | Ended::Refused(_) => backoff.next_wait(rand::random()),
        };
        tokio::time::sleep(wait).await;
        loop {
            let next = others.choose(rand::random()).and_then(|next| next.parse().ok());
            let Some(next) = next else { return };
            // The first one was not among those chosen.
            if next != controller || controllers.len() == 1 {
                controller = next;
                break;
            }
        }
    }
}

/// Follows one controller until the connection ends.
async fn follow(
    host: &Host,
    session: &mut HostSession,
    controller: SocketAddr,
    connect_timeout: Duration,
) -> Ended {
    let Some(mut stream) = HostStream::open(controller, SUBSCRIBE_PATH, connect_timeout).await
    else {
        return Ended::Broken;
    };
    let mut commands = session.process_connected();
    loop {
        while !commands.is_empty() {
            for command in std::mem::take(&mut commands) {
                match command {
                    HostCommand::Send(message) => {
                        if stream.send(&message).is_none() {
                            return Ended::Broken;
                        }
                    }
                    HostCommand::Disconnect { reason, .. } => return Ended::Refused(reason),
                    HostCommand::Apply(change) => {
                        if host.apply(&change).is_err() {
                            return Ended::Broken;
                        }
                        commands.extend(session.process_applied(change.to, Vec::new()));
                    }
                }
            }
        }
        let Some(message) = stream.next_message().await else { return Ended::Broken };
        count(host, session.view(), controller, &message);
        commands = session.process_message(message);
    }
}

/// Counts what a message brings.
fn count(host: &Host, held: &HostView, controller: SocketAddr, message: &wire::ControllerMessage) {
    let mut record = host.record.lock();
    record.bytes += message.encoded_len() as u64;
    match &message.message {
        Some(Message::Welcome(_)) => {
            record.connected_to = Some(controller);
            record.connections += 1;
        }
        Some(Message::Part(part)) => {
            for update in &part.updates {
                record.update_bytes += update.len() as u64;
                if is_held(held, update) {
                    record.resent_bytes += update.len() as u64;
                }
            }
        }
        Some(Message::Check(_) | Message::Ranges(_) | Message::Refused(_)) | None => {}
    }
}

/// True if an update brings nothing: its item is held in that version, or a later one.
fn is_held(held: &HostView, update: &[u8]) -> bool {
    // A host that begins holds nothing, and has much to decode: all of it is news but for a removal.
    if held.items.is_empty() && update.len() > REMOVAL_BYTES_MAX {
        return false;
    }
    let Ok(update) = decode_update(update) else { return false };
    let item = held.items.get(&update.key);
    match update.change {
        Change::Removed => item.is_none(),
        Change::Full(_) | Change::Delta { .. } | Change::Ranges { .. } => {
            item.is_some_and(|item| item.version >= update.version)
        }
    }
}
