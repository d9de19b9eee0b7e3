//! The publisher: from changes of the state to the streams of the hosts.
//!
//! ```text
//!  core thread                    streams (one a connected host, polled by its connection)
//!
//!  Changes ─► ChangeLog ─────────────────► EngineSource ─► next_message ─► stream
//!      │      (each delta encoded once)         ▲
//!      └─► Connection: what is pending ─ wake ──┘   ◄─ Hello, Ack, Complaint, Drift
//! ```
//!
//! Level-triggered (design decision 6): the core marks what changed in the sessions of the hosts
//! that it concerns, wakes those, and goes on. It never waits for a session, and there is no queue
//! per host.
//!
//! Locks are taken in this order, and each only for short: state, change log, hosts, session.

mod connection;
mod convergence;
mod realized;
mod report;

pub(crate) use connection::drain;
pub use connection::{Connection, Serving, process_message};
pub use realized::{Assessment, HostReport, Missing, Scope};
pub(crate) use realized::{object_of, why_behind};

use crate::planted::{self, Bug};
use parking_lot::Mutex;
use spanwire_hostproto::{ChangeLog, ClusterId, ControllerSession, Hello, SessionStatus};
use spanwire_topology::Engine;
use spanwire_topology::engine::{Changes, HostId, ItemChangeKind};
use spanwire_topology::model::{Revision, Text};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// The connected hosts and what they are to be told.
#[derive(Debug)]
pub struct Publisher {
    cluster_id: ClusterId,
    change_log: Mutex<ChangeLog>,
    hosts: Mutex<Hosts>,
    /// The revision up to which every session was told all changes.
    revision: AtomicU64,
    /// Counts what may let a wait for realization go on.
    progress: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Hosts {
    connected: BTreeMap<HostId, Arc<Connection>>,
    /// What was last known of hosts that are not connected now.
    gone: BTreeMap<Text, SessionStatus>,
}

/// Sessions that have something to do, to be woken once the state is free again.
#[must_use = "nobody else wakes them"]
#[derive(Debug, Default)]
pub struct Wake(BTreeMap<HostId, Arc<Connection>>);

impl Wake {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Wakes them.
    pub fn wake(self) {
        for connection in self.0.into_values() {
            connection.wake();
        }
    }
}

/// Why a host that said hello is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The state does not have it.
    #[error("there is no host {0:?}: apply a Host of this name first, or correct the agent's name")]
    UnknownHost(Text),
    /// Its agent is connected already, by a connection that it opened later.
    #[error("this agent has connected again since it opened this connection")]
    Superseded,
}

impl Publisher {
    /// A publisher without connections, with bounds on what is kept encoded.
    pub fn new(
        cluster_id: ClusterId,
        change_log_bytes_max: usize,
        item_cache_bytes_max: usize,
    ) -> Publisher {
        Publisher {
            cluster_id,
            change_log: Mutex::new(ChangeLog::new(change_log_bytes_max, item_cache_bytes_max)),
            hosts: Mutex::new(Hosts::default()),
            revision: AtomicU64::new(0),
            progress: watch::Sender::new(0),
        }
    }

    /// The cluster.
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// The revision up to which every session was told all changes.
    pub fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    /// Takes what a transaction changed. Called under the state's write lock, once for each
    /// transaction in the order of revisions, so that no session reads a state whose changes it
    /// was not told.
    pub fn process_changes(&self, engine: &Engine, changes: &Changes, wake: &mut Wake) {
        {
            let mut log = self.change_log.lock();
            for change in &changes.items {
                log.record(changes.revision, change);
            }
        }
        let mut hosts = self.hosts.lock();
        let mut mark = |host: HostId, connection: &Arc<Connection>| {
            connection.process_view_change(changes.revision);
            wake.0.insert(host, connection.clone());
        };
        for change in &changes.hosts {
            if let Some(connection) = hosts.connected.get(&change.host) {
                connection.session().process_host_change(&change.gained, &change.lost);
                mark(change.host, connection);
            }
        }
        for change in &changes.items {
            if hosts.connected.is_empty() || change.kind == ItemChangeKind::Removed {
                continue; // who had it lost it, and was told so above
            }
            for host in engine.subscribers(change.key) {
                if let Some(connection) = hosts.connected.get(&host) {
                    connection.session().process_item_changed(change.key);
                    mark(host, connection);
                }
            }
        }
        for (host, name) in &changes.hosts_deleted {
            hosts.gone.remove(name);
            // The id may be given to another host: the connection must not be found under it.
            if let Some(connection) = hosts.connected.remove(host) {
                connection.session().process_deleted();
                wake.0.insert(*host, connection);
            }
        }
        drop(hosts);
        self.revision.store(changes.revision, Ordering::Release);
    }

    /// Takes the revision of a state that was put in place of the one before. Hosts that are connected
    /// are told to connect again: their sessions speak of the state that is gone.
    pub fn reset(&self, revision: Revision, wake: &mut Wake) {
        self.change_log.lock().reset();
        let mut hosts = self.hosts.lock();
        for (host, connection) in std::mem::take(&mut hosts.connected) {
            let status = {
                let mut session = connection.session();
                session.process_draining("this replica has caught up by a snapshot");
                session.status()
            };
            hosts.gone.insert(connection.name().clone(), status);
            wake.0.insert(host, connection);
        }
        drop(hosts);
        self.revision.store(revision, Ordering::Release);
    }

    /// Takes a host that said hello. An agent that is connected as the same host is told that it is
    /// superseded: the newer one wins, because it is the one that can be reached now. Of two
    /// connections of one agent the agent says which is the newer: what a run of it that is gone has
    /// sent may get here last.
    pub fn connect(
        &self,
        engine: &mut Engine,
        hello: Hello,
        now_ms: u64,
    ) -> Result<Arc<Connection>, ConnectError> {
        let host = engine
            .host_id(&hello.host)
            .ok_or_else(|| ConnectError::UnknownHost(hello.host.clone()))?;
        let instance = hello.instance;
        // Nobody else connects in between: the caller holds the state.
        let is_newer = |connected: &Arc<Connection>| connected.session().is_newer_than(&hello);
        if self.hosts.lock().connected.get(&host).is_some_and(is_newer) {
            return Err(ConnectError::Superseded);
        }
        let is_ahead = hello.revision > self.revision();
        let hello = match is_ahead && planted::is(Bug::RevisionGoesBack) {
            true => Hello { revision: 0, cluster_id: None, ..hello },
            false => hello,
        };
        let connection = Arc::new(Connection::new(host, hello, now_ms));
        // Changes to the host's set of items are reported from here on; nothing can come between
        // this and the session being found, for the caller holds the state.
        engine.set_watched(host, true);
        let older = {
            let mut hosts = self.hosts.lock();
            hosts.gone.remove(connection.name());
            hosts.connected.insert(host, connection.clone())
        };
        if let Some(older) = older {
            let same = older.session().status().instance == instance;
            let detail = match same {
                true => "this agent connected again".to_owned(),
                false => format!(
                    "another agent connected as host {:?}: two agents must not use one name",
                    connection.name()
                ),
            };
            older.session().process_superseded(detail);
            older.wake();
        }
        self.process_progress();
        Ok(connection)
    }

    /// Takes the end of a connection.
    pub fn disconnect(&self, engine: &mut Engine, connection: &Arc<Connection>) {
        let mut hosts = self.hosts.lock();
        let host = connection.host();
        let is_current =
            hosts.connected.get(&host).is_some_and(|current| Arc::ptr_eq(current, connection));
        if is_current {
            hosts.connected.remove(&host);
            engine.set_watched(host, false);
            let status = connection.session().status();
            hosts.gone.insert(connection.name().clone(), status);
        }
        drop(hosts);
        self.process_progress();
    }

    /// The connections, sorted by host.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.hosts.lock().connected.values().cloned().collect()
    }

    /// The connection of a host.
    pub fn connection(&self, host: HostId) -> Option<Arc<Connection>> {
        self.hosts.lock().connected.get(&host).cloned()
    }

    /// Something happened that a wait for realization may depend on.
    pub fn process_progress(&self) {
        // Telling nobody costs as much as telling somebody, and every acknowledgement comes here. Whoever
        // comes now looks at the sessions after it is counted, and so sees what happened in this one.
        if self.progress.receiver_count() == 0 {
            return;
        }
        self.progress.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes whenever something may have been realized, or is not any more.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Runs `read` with the change log. The caller holds the state.
    fn with_change_log<R>(&self, read: impl FnOnce(&mut ChangeLog) -> R) -> R {
        read(&mut self.change_log.lock())
    }

    /// How much was encoded and is kept.
    pub fn change_log_stats(&self) -> spanwire_hostproto::log::LogStats {
        self.change_log.lock().stats()
    }

    /// The hosts that are connected, and those that were since this replica started; sorted.
    pub fn known_hosts(&self) -> Vec<Text> {
        let hosts = self.hosts.lock();
        let connected = hosts.connected.values().map(|connection| connection.name());
        let names: std::collections::BTreeSet<&Text> = connected.chain(hosts.gone.keys()).collect();
        names.into_iter().cloned().collect()
    }

    fn last_known(&self, name: &str) -> Option<SessionStatus> {
        self.hosts.lock().gone.get(name).cloned()
    }
}

/// What a session is, while it is locked.
type SessionGuard<'a> = parking_lot::MutexGuard<'a, ControllerSession>;
