//! From this replica to the others.

use super::lane::{Lane, Purpose, Target};
use super::{PeerMessage, Request};
use crate::core::{Command, Transport};
use crate::data_dir::Identity;
use crate::limits::{MEMBERS_MAX, PEER_SMALL_BYTES_MAX};
use crate::shared::Shared;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::runtime::Handle;

/// The transport of a replica that has others: a link to each of them. Clones are the same links.
#[derive(Debug, Clone)]
pub struct Links(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    own: Arc<Own>,
    commands: SyncSender<Command>,
    /// The core calls from a thread of its own.
    runtime: Handle,
    members: BTreeMap<u64, String>,
    /// Who has streams to this replica, where it is reached, and how many streams there are. A replica
    /// that has just been added knows no members yet: it answers whoever speaks to it.
    met: BTreeMap<u64, (String, usize)>,
    links: BTreeMap<u64, Link>,
    /// True once there are to be no links any more.
    is_closed: bool,
}

/// What a replica says of itself.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) identity: Identity,
    /// Where it says that it is reached; empty if it was not told.
    pub(super) advertised: String,
    pub(super) shared: Arc<Shared>,
}

/// Two streams to one replica, each on a connection of its own: what is large, and can wait, does not
/// hold up the Raft messages, whose order is kept.
#[derive(Debug)]
struct Link {
    address: String,
    raft: Lane,
    bulk: Lane,
    sent: Counter,
    dropped: Counter,
}

/// A stream from another replica, as long as it is open.
#[derive(Debug)]
pub(super) struct Met {
    links: Links,
    id: u64,
}

impl Drop for Met {
    fn drop(&mut self) {
        let mut table = self.links.0.lock();
        if let Some((_, streams)) = table.met.get_mut(&self.id) {
            *streams -= 1;
            if *streams == 0 {
                table.met.remove(&self.id);
                table.relink();
            }
        }
    }
}

impl Own {
    /// Where this replica is reached; empty if nobody said.
    pub(super) fn address(&self) -> String {
        if !self.advertised.is_empty() {
            return self.advertised.clone();
        }
        let membership = self.shared.standing.borrow().membership.clone();
        membership.members.addresses.get(&self.identity.replica_id).cloned().unwrap_or_default()
    }
}

impl Links {
    /// No links yet. What happens to those to come, `commands` is told. Called on the runtime that
    /// they are to run on. `advertised` is where the others reach this replica.
    pub(crate) fn new(
        identity: Identity,
        advertised: String,
        commands: SyncSender<Command>,
        shared: Arc<Shared>,
    ) -> Links {
        Links(Arc::new(Mutex::new(Table {
            own: Arc::new(Own { identity, advertised, shared }),
            commands,
            runtime: Handle::current(),
            members: BTreeMap::new(),
            met: BTreeMap::new(),
            links: BTreeMap::new(),
            is_closed: false,
        })))
    }

    /// Ends all links, for good.
    pub(crate) fn close(&self) {
        let mut table = self.0.lock();
        table.is_closed = true;
        table.relink();
    }

    /// Takes a replica that opened a stream, and says that it is reached at an address. There is a
    /// link to it as long as what is returned is held.
    pub(super) fn meet(&self, id: u64, address: &str) -> Option<Met> {
        let mut table = self.0.lock();
        if address.is_empty() || (table.met.len() >= MEMBERS_MAX && !table.met.contains_key(&id)) {
            return None;
        }
        let met = table.met.entry(id).or_default();
        address.clone_into(&mut met.0);
        met.1 += 1;
        table.relink();
        Some(Met { links: self.clone(), id })
    }
}

impl Table {
    /// Starts and ends links, so that there is one to each member and to each replica that was met.
    fn relink(&mut self) {
        let met = self.met.iter().map(|(id, (address, _))| (*id, address.clone()));
        let mut wanted: BTreeMap<u64, String> = met.collect();
        wanted.extend(self.members.clone());
        wanted.remove(&self.own.identity.replica_id);
        if self.is_closed {
            wanted.clear();
        }
        self.links.retain(|id, link| wanted.get(id) == Some(&link.address));
        for (id, address) in wanted {
            if !self.links.contains_key(&id) {
                self.links.insert(id, self.mk_link(id, address));
            }
        }
    }

    fn mk_link(&self, to: u64, address: String) -> Link {
        let start = |purpose| {
            let target = Target { to, address: address.clone(), purpose };
            Lane::start(&self.runtime, self.own.clone(), target, self.commands.clone())
        };
        let labels = vec![("replica", to.to_string())];
        let metrics = &self.own.shared.metrics;
        Link {
            raft: start(Purpose::Raft),
            bulk: start(Purpose::Bulk),
            sent: metrics.peer_messages_sent.get_or_create(&labels).clone(),
            dropped: metrics.peer_messages_dropped.get_or_create(&labels).clone(),
            address,
        }
    }
}

impl Transport for Links {
    fn send(&mut self, to: u64, message: PeerMessage) -> bool {
        let table = self.0.lock();
        let Some(link) = table.links.get(&to) else { return false };
        let lane = if is_bulk(&message) { &link.bulk } else { &link.raft };
        let sent = lane.send(message);
        if sent { &link.sent } else { &link.dropped }.inc();
        sent
    }

    fn set_members(&mut self, members: &BTreeMap<u64, String>) {
        let mut table = self.0.lock();
        table.members.clone_from(members);
        table.relink();
    }
}

/// True for what must not hold up the Raft messages.
fn is_bulk(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::SnapshotChunk(_) => true,
        PeerMessage::Forward { what: Request::Command(bytes), .. } => {
            bytes.len() > PEER_SMALL_BYTES_MAX
        }
        PeerMessage::Forward { .. }
        | PeerMessage::Raft(_)
        | PeerMessage::SnapshotRequest(_)
        | PeerMessage::SnapshotGone(_)
        | PeerMessage::Answer { .. }
        | PeerMessage::Load(_) => false,
    }
}
