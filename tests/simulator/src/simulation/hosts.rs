//! Hosts, and the streams between them and replicas.

use super::{Event, Simulation, WINDOW, host_node};
use crate::checks::{Finding, check_repair, check_view, finding};
use crate::host::{SimHost, Stream};
use crate::replica::SimReplica;
use crate::schedule::{MS, Time};
use rand::RngExt as _;
use spanwire_controller::publisher::process_message;
use spanwire_hostproto::{HeldView, Hello, HostCommand, wire};
use std::time::Duration;

impl Simulation {
    /// A host opens a stream to some member.
    pub(super) fn connect(&mut self, host: usize) {
        if !self.hosts[host].is_up || self.hosts[host].stream.is_some() {
            return;
        }
        let now = self.schedule.now();
        let last = self.hosts[host].last_replica;
        let mut known: Vec<u64> =
            self.membership.ids().into_iter().filter(|id| *id != last).collect();
        if known.is_empty() {
            known.push(last.max(1));
        }
        let id = known[self.rng.random_range(0..known.len())];
        let run = self.hosts[host].run;
        let pause = self.rng.random_range(50..400) * MS;
        self.hosts[host].last_replica = id;
        let blocked = self.network.is_blocked(host_node(host), id);
        let replica = self.replicas.get(&id);
        let Some((replica_run, running)) =
            replica.and_then(|r| Some((r.run, r.running()?))).filter(|_| !blocked)
        else {
            self.schedule.put(now + pause, Event::Connect { host, run });
            return;
        };
        // A replica that has not caught up, or knows of no leader, sends hosts elsewhere.
        if !running.shared.standing.borrow().is_current {
            self.schedule.put(now + pause, Event::Connect { host, run });
            return;
        }
        self.streams += 1;
        let stream = Stream {
            number: self.streams,
            replica: id,
            run: replica_run,
            since: now,
            connection: None,
            asked: None,
            checked: 0,
            to_host: Default::default(),
            to_replica: Default::default(),
            last_to_host: now,
            last_to_replica: now,
        };
        self.hosts[host].stream = Some(stream);
        self.count("host streams");
        let commands = self.hosts[host].session.process_connected();
        self.execute(host, commands);
    }

    pub(super) fn execute(&mut self, host: usize, commands: Vec<HostCommand>) {
        let now = self.schedule.now();
        for command in commands {
            match command {
                HostCommand::Send(message) => self.send_to_replica(host, message),
                HostCommand::Apply(change) => {
                    self.hosts[host].applying = Some(change);
                    let took = self.rng.random_range(1..30) * MS;
                    let run = self.hosts[host].run;
                    self.schedule.put(now + took, Event::Applied { host, run });
                }
                HostCommand::Disconnect { .. } => self.break_stream(host, now),
            }
        }
    }

    pub(super) fn send_to_replica(&mut self, host: usize, message: wire::HostMessage) {
        let now = self.schedule.now();
        let delay = self.network.delay(&mut self.rng);
        let Some(stream) = &mut self.hosts[host].stream else { return };
        if self.network.is_blocked(host_node(host), stream.replica) {
            self.break_stream(host, now + delay);
            return;
        }
        stream.to_replica.push_back(message);
        stream.last_to_replica = stream.last_to_replica.max(now + delay);
        let (at, stream) = (stream.last_to_replica, stream.number);
        self.schedule.put(at, Event::ToReplica { host, stream });
    }

    pub(super) fn process_to_replica(&mut self, host: usize, number: u64) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(stream) = self.hosts[host].stream.as_mut().filter(|s| s.number == number) else {
            return Ok(());
        };
        let (id, run, since) = (stream.replica, stream.run, stream.since);
        let Some(replica) = self.replicas.get(&id).filter(|replica| replica.run == run) else {
            return Ok(());
        };
        let Some(running) = replica.running() else { return Ok(()) };
        let Some(message) = stream.to_replica.pop_front() else { return Ok(()) };
        let shared = running.shared.clone();
        let age = Duration::from_micros(now - since);
        match &stream.connection {
            Some(connection) => {
                process_message(&shared, connection, message, age);
                self.check_repair(host)?;
            }
            None => {
                let hello = Hello::from_first_message(message);
                let hello = hello.map_err(|refused| finding("host protocol", refused.detail))?;
                let connected =
                    shared.publisher.connect(&mut shared.state.write(), hello, now / MS);
                match connected {
                    Ok(connection) => stream.connection = Some(connection),
                    // It was not yet in the state: it tries again.
                    Err(_) => {
                        self.break_stream(host, now);
                        return Ok(());
                    }
                }
            }
        }
        self.serve_hosts(id);
        Ok(())
    }

    /// Sends what a replica has for its hosts, as far as they take it.
    pub(super) fn serve_hosts(&mut self, id: u64) {
        let now = self.schedule.now();
        let Some(replica) = self.replicas.get(&id) else { return };
        let run = replica.run;
        let Some(shared) = replica.running().map(|running| running.shared.clone()) else { return };
        for host in 0..self.hosts.len() {
            let slowness = self.hosts[host].slowness;
            let Some(stream) = &mut self.hosts[host].stream else { continue };
            let Some(connection) = stream.connection.clone() else { continue };
            if stream.replica != id || stream.run != run {
                continue;
            }
            let age = Duration::from_micros(now - stream.since);
            connection.process_timer(age);
            while stream.to_host.len() < WINDOW
                && !connection.is_ended()
                && connection.has_message(&shared.publisher)
            {
                let message = connection.next_message(&shared.publisher, &shared.state.read(), age);
                let Some(message) = message else { break };
                stream.to_host.push_back(message);
                let delay = self.network.delay(&mut self.rng) + slowness;
                stream.last_to_host = stream.last_to_host.max(now + delay);
                let (at, stream) = (stream.last_to_host, stream.number);
                self.schedule.put(at, Event::ToHost { host, stream });
            }
        }
    }

    pub(super) fn process_to_host(&mut self, host: usize, number: u64) -> Result<(), Finding> {
        let now = self.schedule.now();
        let SimHost { stream, session, .. } = &mut self.hosts[host];
        let Some(stream) = stream.as_mut().filter(|s| s.number == number) else {
            return Ok(());
        };
        let id = stream.replica;
        if self.network.is_blocked(id, host_node(host)) {
            self.break_stream(host, now);
            return Ok(());
        }
        let Some(message) = stream.to_host.pop_front() else { return Ok(()) };
        if let Some(wire::controller_message::Message::Check(_)) = &message.message {
            stream.asked = Some(session.view().clone());
        }
        let complained = self.hosts[host].complained;
        self.resume.check(&message, self.hosts[host].session.view(), complained)?;
        let commands = self.hosts[host].session.process_message(message);
        let complains = commands.iter().any(|command| {
            let HostCommand::Send(message) = command else { return false };
            matches!(message.message, Some(wire::host_message::Message::Complaint(_)))
        });
        if complains {
            self.hosts[host].complained = true;
            self.count("complaints of hosts");
            let name = self.hosts[host].name.clone();
            self.tell(format_args!("{name} complains: {commands:?}"));
        }
        self.execute(host, commands);
        self.serve_hosts(id);
        Ok(())
    }

    pub(super) fn process_applied(&mut self, host: usize, run: u64) -> Result<(), Finding> {
        if self.hosts[host].run != run {
            return Ok(());
        }
        let Some(change) = self.hosts[host].applying.take() else { return Ok(()) };
        let held = HeldView { cluster_id: change.cluster_id, view: change.view.clone() };
        self.hosts[host].disk = Some(held);
        self.hosts[host].enforced = change.view;
        if change.replace && change.repaired.is_empty() {
            self.hosts[host].complained = false;
        }
        let before = self.hosts[host].altered.clone();
        self.check_host(host)?;
        for key in before.difference(&self.hosts[host].altered.clone()) {
            let by_check = change.repaired.iter().any(|difference| difference.key == *key);
            let how =
                if by_check { "views repaired by checks" } else { "views repaired otherwise" };
            self.count(how);
        }
        let commands = self.hosts[host].session.process_applied(change.to, Vec::new());
        self.execute(host, commands);
        Ok(())
    }

    /// A host has something new in its datapath.
    pub(super) fn check_host(&mut self, host: usize) -> Result<(), Finding> {
        let SimHost { name, enforced, altered, .. } = &mut self.hosts[host];
        let (name, enforced) = (name.clone(), enforced.clone());
        self.forward_only.check(&name, enforced.revision)?;
        if enforced.revision > 0 {
            check_view(&self.reference, &name, &enforced, altered)?;
        }
        self.tell(format_args!("{name} enforces revision {}", enforced.revision));
        Ok(())
    }

    /// A check of what a host holds may have ended.
    fn check_repair(&mut self, host: usize) -> Result<(), Finding> {
        let SimHost { name, stream, .. } = &mut self.hosts[host];
        let Some(Stream { connection: Some(connection), asked, checked, .. }) = stream else {
            return Ok(());
        };
        let Some(report) = connection.check_report(*checked + 1) else { return Ok(()) };
        *checked = report.number;
        let (name, asked) = (name.clone(), asked.take());
        let Some(asked) = asked.filter(|_| report.problem.is_none()) else { return Ok(()) };
        check_repair(&self.reference, &name, &asked, &report)?;
        self.count("checks of hosts");
        if report.found() > 0 {
            self.count("checks of hosts that found something");
            let found: Vec<String> = report
                .differences
                .iter()
                .map(|d| format!("{} {}", d.key, d.found.as_str()))
                .collect();
            self.tell(format_args!("{name} is checked: {}", found.join(", ")));
        }
        Ok(())
    }

    /// Something alters what a host holds. False if there is no host that it can happen to now.
    pub(crate) fn alter_view(&mut self) -> bool {
        let host = self.rng.random_range(0..self.hosts.len());
        let Some((key, wrong)) = self.hosts[host].alter(&mut self.rng) else { return false };
        self.count("views altered");
        self.tell(format_args!("host {host}: {key} is altered: {wrong:?}"));
        true
    }

    /// An administrator has a host checked.
    pub(super) fn ask_check(&mut self, id: u64) {
        let Some(running) = self.replicas.get(&id).and_then(SimReplica::running) else { return };
        let connections = running.shared.publisher.connections();
        if connections.is_empty() {
            return;
        }
        let connection = &connections[self.rng.random_range(0..connections.len())];
        if connection.request_check().is_ok() {
            self.count("checks of hosts asked for");
            self.serve_hosts(id);
        }
    }

    /// A stream breaks: the host notices at a time, the replica at another.
    pub(crate) fn break_stream(&mut self, host: usize, at: Time) {
        let Some(stream) = self.hosts[host].stream.take() else { return };
        self.hosts[host].session.process_disconnected();
        let run = self.hosts[host].run;
        let pause = self.rng.random_range(20..600) * MS;
        self.schedule.put(at + pause, Event::Connect { host, run });
        let late = self.rng.random_range(0..2_000) * MS;
        self.schedule.put(at + late, Event::StreamEnds { stream: Box::new(stream) });
    }

    pub(super) fn process_stream_end(&mut self, stream: Stream) {
        let Some(replica) = self.replicas.get(&stream.replica) else { return };
        let Some(running) = replica.running().filter(|_| replica.run == stream.run) else { return };
        if let Some(connection) = &stream.connection {
            let shared = &running.shared;
            shared.publisher.disconnect(&mut shared.state.write(), connection);
        }
    }
}
