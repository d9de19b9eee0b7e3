//! Both ends of the host stream with each other: the input says what happens next. Beside them the
//! network changes, streams break, agents and replicas start again, checks and repairs are asked for,
//! time passes, and messages come that nobody sent.

use crate::world;
use prost::Message;
use spanwire_hostproto::message::Hello;
use spanwire_hostproto::{
    ChangeLog, ClusterId, ControllerSession, EngineSource, HeldView, HostCommand, HostIdentity,
    HostSession, ViewChange, wire,
};
use spanwire_topology::engine::HostId;
use spanwire_topology::model::{ObjectKey, Resource};
use spanwire_topology::{Engine, Kind, Spec, Transaction};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The cluster.
const CLUSTER: ClusterId = ClusterId([7; 16]);
/// The host.
const HOST: &str = "host-01";
/// The most that happens in one input.
const ACTIONS_MAX: usize = 256;
/// The most messages until both ends have nothing more to say: parts of this little world's only batch.
const EXCHANGES_MAX: usize = 1000;
/// Little enough that the log often does not reach back.
const LOG_BYTES_MAX: usize = 300;

/// What can happen, by the byte that says so.
pub(crate) mod actions {
    pub(crate) const CONNECT: u8 = 0;
    pub(crate) const TO_CONTROLLER: u8 = 1;
    pub(crate) const TO_HOST: u8 = 2;
    pub(crate) const APPLIED: u8 = 3;
    pub(crate) const CHANGE: u8 = 4;
    pub(crate) const CHECK: u8 = 5;
    pub(crate) const BREAK: u8 = 6;
    pub(crate) const RESTART_AGENT: u8 = 7;
    pub(crate) const RESTART_REPLICA: u8 = 8;
    pub(crate) const REPAIR: u8 = 9;
    pub(crate) const TIME: u8 = 10;
    pub(crate) const FORGE_TO_HOST: u8 = 11;
    pub(crate) const FORGE_TO_CONTROLLER: u8 = 12;
    pub(crate) const COUNT: u8 = 13;
}

/// Runs what the input says. A host's view never goes back. If no message was forged, it is at the end
/// what it must be, and a check finds nothing.
pub fn sessions(data: &[u8]) {
    let mut world = World::new();
    let mut rest = data;
    for _ in 0..ACTIONS_MAX {
        let Some((action, after)) = rest.split_first() else { break };
        rest = world.act(action % actions::COUNT, after);
    }
    if !world.is_forged {
        world.check_converges();
    }
}

struct World {
    engine: Engine,
    log: ChangeLog,
    host: HostId,
    /// Ports that come and go.
    ports: Vec<Resource>,
    starts: u32,
    agent: HostSession,
    stored: Option<HeldView>,
    applying: Option<ViewChange>,
    is_connected: bool,
    controller: Option<ControllerSession>,
    to_host: VecDeque<wire::ControllerMessage>,
    to_controller: VecDeque<wire::HostMessage>,
    now: Duration,
    is_forged: bool,
}

impl World {
    fn new() -> World {
        let engine = world();
        let host = engine.host_id(HOST).unwrap_or_else(|| panic!("the world has no {HOST}"));
        let ports = engine.list(Kind::LogicalPort, None, None);
        let ports = ports.map(|object| object.resource.clone()).collect();
        World {
            engine,
            log: ChangeLog::new(LOG_BYTES_MAX, LOG_BYTES_MAX),
            host,
            ports,
            starts: 1,
            agent: mk_agent(1, None),
            stored: None,
            applying: None,
            is_connected: false,
            controller: None,
            to_host: VecDeque::new(),
            to_controller: VecDeque::new(),
            now: Duration::ZERO,
            is_forged: false,
        }
    }

    /// Does one thing. Returns what is left of the input.
    fn act<'a>(&mut self, action: u8, input: &'a [u8]) -> &'a [u8] {
        let (argument, after) = input.split_first().map_or((0, input), |(n, after)| (*n, after));
        match action {
            actions::CONNECT => self.connect(),
            actions::TO_CONTROLLER => self.deliver_to_controller(),
            actions::TO_HOST => self.deliver_to_host(),
            actions::APPLIED => self.apply(),
            actions::CHANGE => {
                self.change(argument);
                return after;
            }
            actions::CHECK => {
                // A host that is refused is not checked.
                let _ = self.controller.as_mut().map(ControllerSession::request_check);
            }
            actions::BREAK => self.end_stream(),
            actions::RESTART_AGENT => {
                self.end_stream();
                self.starts += 1;
                self.applying = None;
                self.agent = mk_agent(self.starts, self.stored.clone());
            }
            actions::RESTART_REPLICA => {
                self.end_stream();
                self.log.reset();
            }
            actions::REPAIR => {
                let commands = self.agent.request_repair("somebody asked for it");
                self.execute(commands);
            }
            actions::TIME => {
                self.now += Duration::from_secs(u64::from(argument));
                if let Some(controller) = &mut self.controller {
                    controller.process_timer(self.now);
                }
                return after;
            }
            _ => {
                let length = usize::from(argument).min(after.len());
                let (bytes, after) = after.split_at(length);
                self.forge(action, bytes);
                return after;
            }
        }
        input
    }

    fn connect(&mut self) {
        if !self.is_connected {
            self.is_connected = true;
            let commands = self.agent.process_connected();
            self.execute(commands);
        }
    }

    fn end_stream(&mut self) {
        self.is_connected = false;
        self.agent.process_disconnected();
        self.controller = None;
        self.engine.set_watched(self.host, false);
        self.to_host.clear();
        self.to_controller.clear();
    }

    fn execute(&mut self, commands: Vec<HostCommand>) {
        for command in commands {
            match command {
                HostCommand::Send(message) if self.is_connected => {
                    self.to_controller.push_back(message);
                }
                HostCommand::Send(_) => {}
                HostCommand::Apply(change) => {
                    assert!(self.applying.is_none(), "two changes at one time");
                    self.applying = Some(change);
                }
                HostCommand::Disconnect { .. } => self.end_stream(),
            }
        }
    }

    fn deliver_to_controller(&mut self) {
        let Some(message) = self.to_controller.pop_front() else { return };
        self.give_to_controller(message);
    }

    fn give_to_controller(&mut self, message: wire::HostMessage) {
        if let Some(controller) = &mut self.controller {
            controller.process_message(message, self.now);
        } else {
            match Hello::from_first_message(message) {
                Ok(hello) => {
                    self.engine.set_watched(self.host, true);
                    self.controller = Some(ControllerSession::new(hello, self.now));
                }
                Err(_) => self.end_stream(),
            }
        }
    }

    fn deliver_to_host(&mut self) {
        if self.to_host.is_empty()
            && let Some(controller) = &mut self.controller
        {
            let (engine, log, host) = (&self.engine, &mut self.log, self.host);
            let mut source = EngineSource { engine, log, host, cluster_id: CLUSTER };
            self.to_host.extend(controller.next_message(&mut source, self.now));
        }
        if let Some(message) = self.to_host.pop_front() {
            self.give_to_host(message);
        }
    }

    fn give_to_host(&mut self, message: wire::ControllerMessage) {
        let (revision, cluster) = (self.agent.revision(), self.agent.cluster_id());
        let commands = self.agent.process_message(message);
        for command in &commands {
            if let HostCommand::Apply(change) = command
                && cluster == Some(change.cluster_id)
            {
                assert!(change.to >= revision, "from {revision} back to {}", change.to);
            }
        }
        self.execute(commands);
    }

    fn apply(&mut self) {
        let Some(change) = self.applying.take() else { return };
        self.stored = Some(HeldView { cluster_id: change.cluster_id, view: change.view });
        let commands = self.agent.process_applied(change.to, Vec::new());
        self.execute(commands);
    }

    /// A port goes, comes back, or is moved between the hosts.
    fn change(&mut self, argument: u8) {
        let port = &self.ports[usize::from(argument) % self.ports.len()];
        let key: ObjectKey = port.key();
        let transaction = match argument / 64 {
            0 if self.engine.get(&key).is_some() => Transaction::delete([key], false),
            1 => {
                let mut port = port.clone();
                let host = ["host-01", "host-02"][usize::from(argument / 8) % 2];
                if let Spec::LogicalPort(spec) = Arc::make_mut(&mut port.spec) {
                    spec.host = Some(host.into());
                }
                Transaction::put([port])
            }
            _ => Transaction::put([port.clone()]),
        };
        let revision = self.engine.revision() + 1;
        let Ok(changes) = self.engine.apply(&transaction, revision) else { return };
        for change in &changes.items {
            self.log.record(changes.revision, change);
        }
        let Some(controller) = &mut self.controller else { return };
        for change in changes.hosts.iter().filter(|change| change.host == self.host) {
            controller.process_host_change(&change.gained, &change.lost);
        }
        for change in &changes.items {
            if self.engine.has_item(self.host, change.key) {
                controller.process_item_changed(change.key);
            }
        }
    }

    /// A message comes that nobody sent.
    fn forge(&mut self, action: u8, bytes: &[u8]) {
        self.is_forged = true;
        if action == actions::FORGE_TO_HOST {
            if let Ok(message) = wire::ControllerMessage::decode(bytes) {
                self.give_to_host(message);
            }
        } else if let Ok(message) = wire::HostMessage::decode(bytes) {
            self.give_to_controller(message);
        }
    }

    /// Lets both ends say all that they have to say.
    fn exchange(&mut self) {
        for _ in 0..EXCHANGES_MAX {
            self.apply();
            self.deliver_to_controller();
            self.deliver_to_host();
            let newest = self.engine.revision();
            let has_message =
                self.controller.as_ref().is_some_and(|session| session.has_message(newest));
            let is_silent = self.to_host.is_empty() && self.to_controller.is_empty();
            if is_silent && self.applying.is_none() && !has_message {
                return;
            }
        }
        panic!("the two ends do not stop talking");
    }

    fn check_converges(&mut self) {
        self.end_stream();
        self.connect();
        self.exchange();
        assert_eq!(self.agent.view().items, self.engine.host_view(self.host).items);
        let requested = self.controller.as_mut().map(ControllerSession::request_check);
        let Some(Ok(number)) = requested else { panic!("no check: {requested:?}") };
        self.exchange();
        let report = self.controller.as_ref().and_then(|session| session.last_check().cloned());
        let Some(report) = report.filter(|report| report.number == number) else {
            panic!("check {number} has not ended")
        };
        assert_eq!((report.found(), &report.problem), (0, &None), "{report:?}");
    }
}

fn mk_agent(starts: u32, stored: Option<HeldView>) -> HostSession {
    let identity = HostIdentity {
        host: HOST.into(),
        instance: 1,
        starts,
        agent_version: "0".to_owned(),
        datapath: "record".to_owned(),
    };
    HostSession::new(identity, stored)
}
