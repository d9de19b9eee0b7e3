//! A host: the agent's end of the stream, a view on disk, and a datapath that takes its time.

use crate::corruption::{self, Wrong};
use crate::schedule::Time;
use crate::workload::host_name;
use rand::Rng;
use spanwire_controller::publisher::Connection;
use spanwire_hostproto::controller_session::SessionPhase;
use spanwire_hostproto::host_session::HostPhase;
use spanwire_hostproto::{HeldView, HostIdentity, HostSession, PROTOCOL_VERSION, ViewChange, wire};
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::{HostView, ItemKey};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A stream between a host and a replica.
pub struct Stream {
    /// Tells it from earlier ones.
    pub number: u64,
    /// The replica.
    pub replica: u64,
    /// The run of the replica.
    pub run: u64,
    /// When it was opened.
    pub since: Time,
    /// The replica's side, once the hello is there.
    pub connection: Option<Arc<Connection>>,
    /// What the host held when it was last asked what it holds.
    pub asked: Option<Arc<HostView>>,
    /// How many checks have ended.
    pub checked: u64,
    /// On their way to the host.
    pub to_host: VecDeque<wire::ControllerMessage>,
    /// On their way to the replica.
    pub to_replica: VecDeque<wire::HostMessage>,
    /// When the last message of each direction arrives: streams keep their order.
    pub last_to_host: Time,
    /// See `last_to_host`.
    pub last_to_replica: Time,
}

impl Stream {
    /// True if nothing is on its way, and the replica's side waits for nothing.
    fn is_silent(&self) -> bool {
        let is_idle = |c: &Arc<Connection>| c.status().phase == SessionPhase::Idle;
        self.to_host.is_empty()
            && self.to_replica.is_empty()
            && self.connection.as_ref().is_some_and(is_idle)
    }
}

/// A host.
pub struct SimHost {
    /// Its name.
    pub name: Text,
    /// The agent.
    pub session: HostSession,
    /// What is on its disk.
    pub disk: Option<HeldView>,
    /// What is in its datapath.
    pub enforced: Arc<HostView>,
    /// On its way into the datapath.
    pub applying: Option<ViewChange>,
    /// The stream, if there is one.
    pub stream: Option<Stream>,
    /// The replica that it was connected to last.
    pub last_replica: u64,
    /// Counts runs of the agent.
    pub run: u64,
    /// The agent runs.
    pub is_up: bool,
    /// It reads slowly: a message waits so long before it is read.
    pub slowness: Time,
    /// It complained and was not set right yet.
    pub complained: bool,
    /// The items that were altered in what it holds, and are not right yet.
    pub altered: BTreeSet<ItemKey>,
}

impl SimHost {
    /// A host without a view.
    pub fn new(number: u8) -> SimHost {
        let name = host_name(number);
        SimHost {
            session: mk_session(&name, 1, None),
            name,
            disk: None,
            enforced: Arc::default(),
            applying: None,
            stream: None,
            last_replica: 0,
            run: 0,
            is_up: true,
            slowness: 0,
            complained: false,
            altered: BTreeSet::new(),
        }
    }

    /// The agent stops. `stored` says whether a view that was on its way is on the disk already.
    pub fn stop(&mut self, stored: bool) {
        if let Some(change) = self.applying.take().filter(|_| stored) {
            self.disk = Some(HeldView { cluster_id: change.cluster_id, view: change.view });
        }
        self.stream = None;
        self.is_up = false;
        self.run += 1;
    }

    /// The agent starts from its disk, and first of all puts that into the datapath.
    pub fn start(&mut self) {
        self.is_up = true;
        self.session = mk_session(&self.name, self.starts(), self.disk.clone());
        self.complained = false;
        if let Some(held) = &self.disk {
            self.enforced = held.view.clone();
        }
    }

    /// Something alters what a host holds: in the memory, the disk and the datapath of an agent that
    /// runs, or on the disk of one that does not. The agent does not notice, nor does its controller.
    /// Returns what was altered, if anything was.
    pub fn alter(&mut self, rng: &mut impl Rng) -> Option<(ItemKey, Wrong)> {
        let mut held = self.disk.clone()?;
        let is_idle = self.session.phase() == HostPhase::Following
            && self.session.revision() > 0
            && self.stream.as_ref().is_some_and(Stream::is_silent);
        if self.is_up && !is_idle {
            return None;
        }
        let altered = corruption::alter(Arc::make_mut(&mut held.view), rng)?;
        self.altered.insert(altered.0);
        self.disk = Some(held.clone());
        if self.is_up {
            self.enforced = held.view.clone();
            // A session that has been where the one is in whose place it comes.
            self.run += 1;
            let welcome = wire::Welcome {
                protocol_version: PROTOCOL_VERSION,
                cluster_id: held.cluster_id.0.to_vec().into(),
                resume: wire::welcome::Resume::Current.into(),
                revision: held.view.revision,
            };
            self.session = mk_session(&self.name, self.starts(), Some(held));
            let _hello = self.session.process_connected();
            let message = Some(wire::controller_message::Message::Welcome(welcome));
            let _ack = self.session.process_message(wire::ControllerMessage { message });
        }
        Some(altered)
    }

    fn starts(&self) -> u32 {
        u32::try_from(self.run).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The revision in the datapath.
    pub fn revision(&self) -> Revision {
        self.enforced.revision
    }
}

fn mk_session(name: &Text, starts: u32, held: Option<HeldView>) -> HostSession {
    let identity = HostIdentity {
        host: name.clone(),
        instance: 1,
        starts,
        agent_version: "0.1.0".to_owned(),
        datapath: "record".to_owned(),
    };
    HostSession::new(identity, held)
}
