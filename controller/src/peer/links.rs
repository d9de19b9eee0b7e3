//! From this replica to the others.

use super::lane::{Lane, Purpose};
use super::{PeerMessage, Request};
use crate::core::{Command, Transport};
use crate::data_dir::Identity;
use crate::limits::PEER_SMALL_BYTES_MAX;
use crate::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use tokio::runtime::Handle;

/// The transport of a replica that has others: a link to each of them. Dropped, it ends them.
#[derive(Debug)]
pub struct Links {
    identity: Identity,
    commands: SyncSender<Command>,
    /// The core calls from a thread of its own.
    runtime: Handle,
    metrics: Metrics,
    links: BTreeMap<u64, Link>,
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

impl Links {
    /// No links yet. What happens to those to come, `commands` is told. Called on the runtime that
    /// they are to run on.
    pub(crate) fn new(
        identity: Identity,
        commands: SyncSender<Command>,
        metrics: Metrics,
    ) -> Links {
        Links { identity, commands, runtime: Handle::current(), metrics, links: BTreeMap::new() }
    }

    fn mk_link(&self, to: u64, address: &str) -> Link {
        let start = |purpose| {
            Lane::start(&self.runtime, self.identity, to, address, purpose, self.commands.clone())
        };
        let labels = vec![("replica", to.to_string())];
        Link {
            address: address.to_owned(),
            raft: start(Purpose::Raft),
            bulk: start(Purpose::Bulk),
            sent: self.metrics.peer_messages_sent.get_or_create(&labels).clone(),
            dropped: self.metrics.peer_messages_dropped.get_or_create(&labels).clone(),
        }
    }
}

impl Transport for Links {
    fn send(&mut self, to: u64, message: PeerMessage) -> bool {
        let Some(link) = self.links.get(&to) else { return false };
        let lane = if is_bulk(&message) { &link.bulk } else { &link.raft };
        let sent = lane.send(message);
        if sent { &link.sent } else { &link.dropped }.inc();
        sent
    }

    fn set_members(&mut self, members: &BTreeMap<u64, String>) {
        self.links.retain(|id, link| members.get(id) == Some(&link.address));
        for (id, address) in members {
            if *id != self.identity.replica_id && !self.links.contains_key(id) {
                let link = self.mk_link(*id, address);
                self.links.insert(*id, link);
            }
        }
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
