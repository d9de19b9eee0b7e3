//! The session: a thin shell around [`HostSession`], which knows the protocol. It carries events in
//! and executes the commands that come out; what it decides itself is only when to try again.

use crate::backoff::{Backoff, Controllers, DRAINING_WAIT, STABLE_AFTER, jitter};
use crate::config::Config;
use crate::datapath::{Finding, FindingKind, Rejection};
use crate::error::AgentError;
use crate::events::{Job, StreamEvent, StreamEventKind, WorkerEvent};
use crate::log;
use crate::metrics::{METRICS_FILE, Metrics};
use crate::state_dir::Starts;
use crate::status::{Activity, STATUS_LIST_MAX, Status, StatusRejection, now_us, replace};
use crate::tasks::{
    ConnectionHandle, OUTBOX_MAX, WorkerHandle, mk_stream_events, spawn_connection,
};
use spanwire_hostproto::host_session::HostPhase;
use spanwire_hostproto::wire::refused::Reason;
use spanwire_hostproto::{HeldView, HostCommand, HostIdentity, HostSession, wire};
use spanwire_topology::model::Revision;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How the session reaches controllers.
enum Link {
    /// The worker is busy with what the hello would have to speak of.
    Held,
    /// It waits before it tries again.
    Waiting { until: Instant },
    /// A connection is being made, or waits for its welcome.
    Opening { connection: ConnectionHandle, deadline: Instant },
    /// A controller has welcomed us.
    Open { connection: ConnectionHandle, since: Instant },
}

/// What the worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// It has nothing to put in force.
    Idle,
    /// It puts something in force.
    Busy,
    /// That failed, and is tried again at a given time.
    Failed { retry_at: Instant },
}

/// The session and everything that it owns.
pub(crate) struct Session {
    config: Config,
    session: HostSession,
    worker: WorkerHandle,
    stream_events_tx: Sender<StreamEvent>,
    stream_events_rx: Receiver<StreamEvent>,
    link: Link,
    connections: u64,
    outbox: VecDeque<wire::HostMessage>,
    controllers: Controllers,
    reconnect: Backoff,
    work: Work,
    repair: Backoff,
    /// True while the worker compares the datapath with the view.
    auditing: bool,
    audit_at: Instant,
    /// True once the datapath enforces a view that we know.
    in_force: bool,
    rejections: Vec<Rejection>,
    unrepaired: Vec<Finding>,
    /// Why the last audit failed, if it did.
    audit_problem: Option<String>,
    repaired_total: u64,
    status: Status,
    status_written: Option<Status>,
    metrics: Metrics,
}

/// A number from 0 to 1.
fn random() -> f64 {
    rand::random::<f64>()
}

impl Session {
    /// A session that starts from what is on disk.
    pub(crate) fn new(
        config: Config,
        datapath: &str,
        starts: Starts,
        held: Option<HeldView>,
        worker: WorkerHandle,
    ) -> Session {
        let now = Instant::now();
        let identity = HostIdentity {
            host: config.host.as_str().into(),
            instance: starts.instance,
            starts: starts.count,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            datapath: datapath.to_owned(),
        };
        let timing = config.timing;
        let (stream_events_tx, stream_events_rx) = mk_stream_events();
        Session {
            session: HostSession::new(identity, held),
            worker,
            stream_events_tx,
            stream_events_rx,
            link: Link::Waiting { until: now },
            connections: 0,
            outbox: VecDeque::new(),
            controllers: Controllers::new(config.controllers.clone()),
            reconnect: Backoff::new(timing.reconnect_min, timing.reconnect_max),
            work: Work::Idle,
            repair: Backoff::new(timing.repair_min, timing.repair_max),
            auditing: false,
            audit_at: now + config.audit_interval,
            in_force: false,
            rejections: Vec::new(),
            unrepaired: Vec::new(),
            audit_problem: None,
            repaired_total: 0,
            status: Status::new(&config.host, datapath),
            status_written: None,
            metrics: Metrics::new(),
            config,
        }
    }

    /// Runs until the shutdown token is cancelled, or a controller says that this agent must stop.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), AgentError> {
        let result = self.run_until(shutdown).await;
        self.link = Link::Held;
        self.status.activity = Activity::Stopped;
        self.status.connected = false;
        self.status.problem = result.as_ref().err().map(ToString::to_string);
        self.metrics.connected.set(0);
        self.write_status();
        self.write_metrics();
        log::stopped(&self.config.host, self.status.revision);
        let stopped = self.worker.stop().await;
        result.and(stopped)
    }

    async fn run_until(&mut self, shutdown: &CancellationToken) -> Result<(), AgentError> {
        if self.session.revision() > 0 {
            let view = self.session.view().clone();
            self.link = Link::Held;
            self.give(Job::Restore(view))?;
            self.work = Work::Busy;
        }
        loop {
            self.update_status();
            let messages_tx = self.sendable();
            let deadline = self.next_deadline();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                event = self.worker.events_rx.recv() => match event {
                    Some(event) => self.process_worker_event(event)?,
                    None => return Err(AgentError::Thread {
                        what: "datapath",
                        problem: "ended by itself: see its message above".to_owned(),
                    }),
                },
                Some(event) = self.stream_events_rx.recv() => self.process_stream_event(event)?,
                permit = async { match &messages_tx {
                    Some(messages_tx) => messages_tx.reserve().await,
                    None => std::future::pending().await,
                } } => match (permit, self.outbox.pop_front()) {
                    (Ok(permit), Some(message)) => permit.send(message),
                    // The connection has ended, and is about to say so.
                    _ => self.outbox.clear(),
                },
                () = sleep_until(deadline) => self.process_deadlines(Instant::now())?,
            }
        }
    }

    /// Where the first message of the outbox goes, if there is one and somewhere to send it.
    fn sendable(&self) -> Option<Sender<wire::HostMessage>> {
        match &self.link {
            Link::Opening { connection, .. } | Link::Open { connection, .. }
                if !self.outbox.is_empty() =>
            {
                Some(connection.messages_tx.clone())
            }
            _ => None,
        }
    }

    fn give(&self, job: Job) -> Result<(), AgentError> {
        self.worker.jobs_tx.try_send(job).map_err(|error| AgentError::Thread {
            what: "datapath",
            problem: format!("takes no more work: {error}"),
        })
    }

    // ---- Commands ----

    fn execute(&mut self, commands: Vec<HostCommand>) -> Result<(), AgentError> {
        for command in commands {
            match command {
                HostCommand::Send(message) => self.outbox.push_back(message),
                HostCommand::Apply(change) => {
                    change.repaired.iter().for_each(log::repaired);
                    self.give(Job::Apply(change))?;
                    self.work = Work::Busy;
                }
                HostCommand::Disconnect { reason, detail } => {
                    self.process_refused(reason, detail)?;
                }
            }
        }
        if self.outbox.len() > OUTBOX_MAX {
            self.disconnect("the controller does not read what it is sent");
        }
        Ok(())
    }

    fn process_refused(&mut self, reason: Reason, detail: String) -> Result<(), AgentError> {
        if reason == Reason::Superseded {
            let host = self.config.host.clone();
            return Err(AgentError::Superseded { host, detail });
        }
        let wait = match reason {
            // Nothing changes here until an operator or the model does.
            Reason::UnknownHost | Reason::Deleted | Reason::Version => {
                jitter(self.config.timing.refused_wait, random())
            }
            Reason::Draining => {
                DRAINING_WAIT.min(self.config.timing.reconnect_max).mul_f64(random())
            }
            _ => self.reconnect.next_wait(random()),
        };
        let controller = self.status.controller.clone().unwrap_or_default();
        log::refused(&controller, reason.as_str_name(), &detail, wait);
        self.status.problem = Some(format!("{controller} refused this host: {detail}"));
        self.status.activity = Activity::Refused;
        self.close(wait);
        Ok(())
    }

    // ---- The connection ----

    /// Gives the connection up, and waits before the next.
    fn disconnect(&mut self, problem: &str) {
        if let Link::Open { since, .. } = &self.link
            && since.elapsed() >= STABLE_AFTER
        {
            self.reconnect.reset();
        }
        let wait = self.reconnect.next_wait(random());
        let controller = self.status.controller.clone().unwrap_or_default();
        log::disconnected(&controller, problem, wait);
        self.status.problem = Some(format!("{controller}: {problem}"));
        self.status.activity = Activity::Connecting;
        self.close(wait);
    }

    fn close(&mut self, wait: Duration) {
        self.link = Link::Waiting { until: Instant::now() + wait };
        self.outbox.clear();
        self.session.process_disconnected();
        self.status.connected = false;
        self.metrics.connected.set(0);
    }

    fn connect(&mut self, now: Instant) {
        // The hello speaks of what is in the datapath. While something is on its way there the
        // controller would wait for the hello in vain.
        if self.work != Work::Idle {
            self.link = Link::Held;
            return;
        }
        let Some(endpoint) = self.controllers.choose(random()) else { return };
        log::connecting(&endpoint);
        self.connections += 1;
        self.status.controller = Some(endpoint.clone());
        let timeout = self.config.timing.connect_timeout;
        let events_tx = self.stream_events_tx.clone();
        let connection = spawn_connection(self.connections, endpoint, timeout, events_tx);
        self.link = Link::Opening { connection, deadline: now + timeout };
    }

    fn process_stream_event(&mut self, event: StreamEvent) -> Result<(), AgentError> {
        let current = match &self.link {
            Link::Opening { connection, .. } | Link::Open { connection, .. } => connection.number,
            Link::Held | Link::Waiting { .. } => return Ok(()),
        };
        if event.connection != current {
            return Ok(());
        }
        match event.kind {
            StreamEventKind::Connected => {
                let commands = self.session.process_connected();
                self.execute(commands)
            }
            StreamEventKind::Message(message) => {
                let commands = self.session.process_message(message);
                self.execute(commands)?;
                self.process_welcome();
                Ok(())
            }
            StreamEventKind::Ended { problem } => {
                self.disconnect(&problem);
                Ok(())
            }
        }
    }

    /// Notices the first welcome of a connection.
    fn process_welcome(&mut self) {
        let welcomed = matches!(self.session.phase(), HostPhase::Following | HostPhase::Applying);
        if !welcomed || !matches!(self.link, Link::Opening { .. }) {
            return;
        }
        if let Link::Opening { connection, .. } = std::mem::replace(&mut self.link, Link::Held) {
            log::welcomed(&connection.endpoint, self.session.revision());
            self.link = Link::Open { connection, since: Instant::now() };
        }
        self.status.connected = true;
        self.status.problem = None;
        self.metrics.connected.set(1);
        self.metrics.connections.inc();
    }

    // ---- The worker ----

    fn process_worker_event(&mut self, event: WorkerEvent) -> Result<(), AgentError> {
        match event {
            WorkerEvent::Applied { revision, rejections, stored_in, applied_in } => {
                if let Some(stored_in) = stored_in {
                    self.metrics.batches.inc();
                    self.metrics.store_seconds.observe(stored_in.as_secs_f64());
                }
                self.metrics.apply_seconds.observe(applied_in.as_secs_f64());
                log::applied(revision, rejections.len(), applied_in);
                self.process_applied(revision, rejections)
            }
            WorkerEvent::Failed { revision, problem } => {
                let wait = self.repair.next_wait(random());
                log::failed(revision, &problem, wait);
                self.metrics.failures.inc();
                self.work = Work::Failed { retry_at: Instant::now() + wait };
                let is_news = self.status.problem.as_ref() != Some(&problem);
                self.status.problem = Some(problem.clone());
                if !is_news {
                    return Ok(());
                }
                // The controller waits for an acknowledgement: it shall know why there is none.
                let finding = format!("revision {revision} could not be put in force: {problem}");
                let commands = self.session.process_drift(vec![finding], self.repaired_total);
                self.execute(commands)
            }
            WorkerEvent::Audited { findings, rejections } => {
                self.auditing = false;
                if let Some(problem) = self.audit_problem.take()
                    && self.status.problem.as_ref() == Some(&problem)
                {
                    self.status.problem = None;
                }
                self.process_audit(findings, rejections)
            }
            WorkerEvent::AuditFailed { problem } => {
                self.auditing = false;
                log::audit_failed(&problem);
                self.audit_problem = Some(problem.clone());
                self.status.problem = Some(problem);
                Ok(())
            }
        }
    }

    fn process_applied(
        &mut self,
        revision: Revision,
        rejections: Vec<Rejection>,
    ) -> Result<(), AgentError> {
        if matches!(self.work, Work::Busy) {
            self.work = Work::Idle;
        }
        self.repair.reset();
        self.in_force = true;
        if self.status.connected {
            self.status.problem = None;
        }
        self.status.revision = revision;
        self.status.applied_at_us = now_us();
        self.note_rejections(&rejections);
        let told = to_told(&rejections);
        // What was restored is no step of the session's, which takes the rejections all the same.
        let mut commands = self.session.process_applied(revision, told.clone());
        commands.extend(self.session.process_rejections(told));
        self.rejections = rejections;
        self.execute(commands)?;
        if matches!(self.link, Link::Held) {
            self.link = Link::Waiting { until: Instant::now() };
        }
        Ok(())
    }

    fn process_audit(
        &mut self,
        findings: Vec<Finding>,
        rejections: Vec<Rejection>,
    ) -> Result<(), AgentError> {
        // A rejection that has become possible is told as such, not as drift.
        let drift: Vec<Finding> =
            findings.into_iter().filter(|it| it.kind != FindingKind::Resolved).collect();
        let (repaired, unrepaired): (Vec<Finding>, Vec<Finding>) =
            drift.iter().cloned().partition(|finding| finding.repaired);
        let is_news = !repaired.is_empty() || unrepaired != self.unrepaired;
        if is_news && !drift.is_empty() {
            drift.iter().for_each(log::drift);
            self.repaired_total += repaired.len() as u64;
            self.metrics.repairs.inc_by(repaired.len() as u64);
            let texts: Vec<String> = drift.iter().map(ToString::to_string).collect();
            self.status.repaired_total = self.repaired_total;
            self.status.findings = texts.iter().take(STATUS_LIST_MAX).cloned().collect();
            let commands = self.session.process_drift(texts, self.repaired_total);
            self.execute(commands)?;
        }
        self.unrepaired = unrepaired;
        // A step that is under way has rejections of its own, which come with it.
        if rejections != self.rejections && self.work == Work::Idle {
            self.note_rejections(&rejections);
            let commands = self.session.process_rejections(to_told(&rejections));
            self.rejections = rejections;
            self.execute(commands)?;
        }
        Ok(())
    }

    /// Logs what is new among the rejections, and shows all of them.
    fn note_rejections(&mut self, rejections: &[Rejection]) {
        // Both are sorted.
        let is_new = |rejection: &&Rejection| self.rejections.binary_search(rejection).is_err();
        rejections.iter().filter(is_new).for_each(log::rejected);
        self.status.rejections_total = rejections.len();
        self.status.rejections = rejections
            .iter()
            .take(STATUS_LIST_MAX)
            .map(|it| StatusRejection { item: it.key.to_string(), reason: it.reason.clone() })
            .collect();
    }

    // ---- Time ----

    fn next_deadline(&self) -> Instant {
        let link = match &self.link {
            Link::Waiting { until } => Some(*until),
            Link::Opening { deadline, .. } => Some(*deadline),
            Link::Held | Link::Open { .. } => None,
        };
        let retry = match self.work {
            Work::Failed { retry_at } => Some(retry_at),
            Work::Idle | Work::Busy => None,
        };
        let earliest = [link, retry].into_iter().flatten().min();
        earliest.map_or(self.audit_at, |earliest| earliest.min(self.audit_at))
    }

    fn process_deadlines(&mut self, now: Instant) -> Result<(), AgentError> {
        match &self.link {
            Link::Waiting { until } if *until <= now => self.connect(now),
            Link::Opening { deadline, .. } if *deadline <= now => {
                self.disconnect("no welcome in time");
            }
            _ => {}
        }
        if let Work::Failed { retry_at } = self.work
            && retry_at <= now
        {
            self.work = Work::Busy;
            self.give(Job::Retry)?;
        }
        if self.audit_at <= now {
            // Not at fixed times: after a long stall one audit is enough.
            self.audit_at = now + self.config.audit_interval;
            self.write_metrics();
            if self.in_force && !self.auditing && self.work == Work::Idle {
                self.auditing = true;
                self.give(Job::Audit)?;
            }
        }
        Ok(())
    }

    // ---- What others see ----

    fn update_status(&mut self) {
        let restoring = !self.in_force && self.work != Work::Idle && self.session.revision() > 0;
        self.status.activity = match (&self.link, self.work) {
            _ if restoring && !self.status.connected => Activity::Restoring,
            (_, Work::Busy | Work::Failed { .. }) => Activity::Applying,
            (Link::Open { .. }, Work::Idle) => Activity::Following,
            // Refused until the next attempt succeeds, or fails for another reason.
            _ if self.status.activity == Activity::Refused => Activity::Refused,
            _ => Activity::Connecting,
        };
        self.status.cluster_id = self.session.cluster_id().map(|id| id.to_string());
        self.status.items = self.session.view().items.len();
        if self.status_written.as_ref() != Some(&self.status) {
            self.write_status();
        }
    }

    fn write_status(&mut self) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.items.set(gauge(self.status.items));
        self.metrics.rejections.set(gauge(self.status.rejections_total));
        self.metrics.revision.set(i64::try_from(self.status.revision).unwrap_or(i64::MAX));
        if let Err(error) = self.status.write(&self.config.state_dir) {
            log::status_not_written(&self.config.state_dir.join(crate::STATUS_FILE), &error);
        }
        // Also after an error: it is tried again with the next change, not in a loop.
        self.status_written = Some(self.status.clone());
    }

    fn write_metrics(&self) {
        let path = self.config.state_dir.join(METRICS_FILE);
        if let Err(error) = replace(&path, self.metrics.to_text().as_bytes()) {
            log::status_not_written(&path, &error);
        }
    }
}

/// Rejections as the controller is told of them.
fn to_told(rejections: &[Rejection]) -> Vec<spanwire_hostproto::Rejection> {
    rejections
        .iter()
        .map(|Rejection { key, reason }| spanwire_hostproto::Rejection {
            key: *key,
            reason: reason.clone(),
        })
        .collect()
}
