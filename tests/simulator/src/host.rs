//! A host: the agent's end of the stream, a view on disk, and a datapath that takes its time.

use crate::schedule::Time;
use crate::workload::host_name;
use spanwire_controller::publisher::Connection;
use spanwire_hostproto::{HeldView, HostIdentity, HostSession, ViewChange, wire};
use spanwire_topology::model::{Revision, Text};
use spanwire_topology::view::HostView;
use std::collections::VecDeque;
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
    /// On their way to the host.
    pub to_host: VecDeque<wire::ControllerMessage>,
    /// On their way to the replica.
    pub to_replica: VecDeque<wire::HostMessage>,
    /// When the last message of each direction arrives: streams keep their order.
    pub last_to_host: Time,
    /// See `last_to_host`.
    pub last_to_replica: Time,
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
        let starts = u32::try_from(self.run).unwrap_or(u32::MAX).saturating_add(1);
        self.session = mk_session(&self.name, starts, self.disk.clone());
        self.complained = false;
        if let Some(held) = &self.disk {
            self.enforced = held.view.clone();
        }
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
