//! Clients of the admin API: who writes, who reads, and what they are told.

use super::{Event, Simulation};
use crate::admin::{Task, What, to_command, to_transaction};
use crate::checks::{Finding, Operation, finding};
use crate::replica::SimReplica;
use crate::schedule::{MS, SECOND, Time};
use crate::workload::{self, Deed};
use rand::RngExt as _;
use spanwire_controller::core::{Answer, ProposeError};
use spanwire_controller::state::{Applied, RequestId};
use tokio::sync::oneshot;

impl Simulation {
    /// Replicas that run.
    pub(crate) fn up(&self) -> Vec<u64> {
        let up = |(id, replica): (&u64, &SimReplica)| replica.running().map(|_| *id);
        self.replicas.iter().filter_map(up).collect()
    }

    pub(super) fn any_up(&mut self) -> Option<u64> {
        let up = self.up();
        if up.is_empty() { None } else { Some(up[self.rng.random_range(0..up.len())]) }
    }

    pub(super) fn process_client(&mut self, client: usize) -> Result<(), Finding> {
        if self.clients[client].task.is_some() {
            return Ok(());
        }
        let now = self.schedule.now();
        let Some(id) = self.any_up() else {
            self.schedule.put(now + 100 * MS, Event::Client { client });
            return Ok(());
        };
        if self.rng.random_bool(0.05) {
            self.ask_check(id);
        }
        if self.rng.random_bool(0.7) {
            let deeds = workload::deeds(&mut self.rng);
            return self.begin_write(client, &deeds);
        }
        let run = self.replicas[&id].run;
        let (reply, current) = oneshot::channel();
        if self.rng.random_bool(0.2) {
            self.schedule.put(now + 50 * MS, Event::Client { client });
            return self.stale_read(id);
        }
        let task = Task {
            from: now,
            until: now + 3 * SECOND,
            replica: (id, run),
            what: What::Read { current },
        };
        self.clients[client].task = Some(task);
        self.step_replica(id, move |running| running.replica.process_read(reply))
    }

    /// A stale read shows a state that the log had, and says which.
    pub(super) fn stale_read(&mut self, id: u64) -> Result<(), Finding> {
        self.count("stale reads");
        if let Some(running) = self.replicas.get(&id).and_then(SimReplica::running) {
            let shared = running.shared.clone();
            let engine = shared.state.read();
            let revision = engine.revision();
            self.exactly_once.check(id, &engine, &self.reference)?;
            drop(engine);
            self.tell(format_args!("replica {id} shows revision {revision}"));
        }
        Ok(())
    }

    pub(super) fn begin_write(&mut self, client: usize, deeds: &[Deed]) -> Result<(), Finding> {
        let id = RequestId(self.rng.random());
        let transaction = to_transaction(deeds);
        let (_, answer) = oneshot::channel();
        let now = self.schedule.now();
        let what = What::Write { id, transaction, answer, attempts: 0 };
        let task = Task { from: now, until: now, replica: (0, 0), what };
        self.clients[client].task = Some(task);
        self.try_write(client)
    }

    /// Asks some replica for a write, again or for the first time.
    pub(super) fn try_write(&mut self, client: usize) -> Result<(), Finding> {
        let now = self.schedule.now();
        let patience = self.rng.random_range(200..6_000) * MS;
        let asked = self.any_up();
        let Some(task) = &mut self.clients[client].task else { return Ok(()) };
        let What::Write { id, transaction, answer, attempts } = &mut task.what else {
            return Ok(());
        };
        task.until = now + patience;
        let Some(replica) = asked else { return Ok(()) };
        let (reply, received) = oneshot::channel();
        *answer = received;
        *attempts += 1;
        let (request, attempt) = (*id, *attempts);
        let transaction = transaction.clone();
        task.replica = (replica, self.replicas[&replica].run);
        self.tell(format_args!("client {client} asks replica {replica} for {request}, {attempt}"));
        if attempt > 1 {
            self.count("writes tried again");
        }
        self.step_replica(replica, move |running| {
            let since = running.shared.standing.borrow().applied_index;
            let command = to_command(request, since, &transaction);
            running.replica.process_request(request, command, reply);
        })
    }

    pub(super) fn poll_clients(&mut self) -> Result<(), Finding> {
        for client in 0..self.clients.len() {
            self.poll_client(client)?;
        }
        Ok(())
    }

    pub(super) fn poll_client(&mut self, client: usize) -> Result<(), Finding> {
        let now = self.schedule.now();
        let Some(task) = &mut self.clients[client].task else { return Ok(()) };
        let (from, is_late) = (task.from, now >= task.until);
        let (replica, run) = task.replica;
        let is_gone =
            self.replicas.get(&replica).is_none_or(|r| r.run != run || r.running().is_none());
        match &mut task.what {
            What::Read { current } => match current.try_recv() {
                Ok(()) => {
                    self.clients[client].task = None;
                    let running = self.replicas.get(&replica).and_then(SimReplica::running);
                    if let Some(running) = running {
                        let revision = running.shared.state.read().revision();
                        let operation = Operation { from, to: now, revision, is_write: false };
                        self.linearizability.check(&operation)?;
                        self.tell(format_args!("client {client} reads revision {revision}"));
                    }
                    self.next_task(client);
                }
                Err(_) if is_late || is_gone => {
                    self.clients[client].task = None;
                    self.count("reads without an answer");
                    self.next_task(client);
                }
                Err(_) => {}
            },
            What::Write { id, answer, attempts, .. } => {
                let (id, attempts) = (*id, *attempts);
                match answer.try_recv() {
                    Ok(answer) => self.process_write_answer(client, id, attempts, from, answer)?,
                    Err(_) if is_late || is_gone => {
                        // The outcome is not known. Many ask again; some leave it at that.
                        if self.rng.random_bool(0.9) || self.is_healed {
                            self.try_write(client)?;
                        } else {
                            self.count("writes left unknown");
                            self.clients[client].task = None;
                            self.next_task(client);
                        }
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    pub(super) fn process_write_answer(
        &mut self,
        client: usize,
        id: RequestId,
        attempts: u32,
        from: Time,
        answer: Result<Answer, ProposeError>,
    ) -> Result<(), Finding> {
        let now = self.schedule.now();
        match answer {
            Ok(Answer::Outcome(Ok(applied))) => {
                if let Applied::Before(_) = applied {
                    self.count("writes found applied before");
                }
                let revision = applied.revision();
                self.durable.process_committed(id, revision);
                self.durable.check_one(&id, &self.reference)?;
                let operation = Operation { from, to: now, revision, is_write: true };
                self.linearizability.check(&operation)?;
                self.tell(format_args!("client {client} has {id} as revision {revision}"));
            }
            Ok(Answer::Outcome(Err(rejection))) => {
                self.count("writes rejected");
                self.durable.process_rejected(id);
                self.durable.check_one(&id, &self.reference)?;
                self.tell(format_args!("client {client} is refused {id}: {rejection}"));
            }
            Err(error) => {
                // Of the first attempt this is certain; of a later one, only that it did nothing.
                if attempts == 1 {
                    self.count("writes not applied");
                    self.durable.process_not_applied(id);
                }
                self.tell(format_args!("client {client} gives {id} up: {error}"));
            }
            Ok(other) => return Err(finding("admin API", format!("a write gave {other:?}"))),
        }
        self.clients[client].task = None;
        self.next_task(client);
        Ok(())
    }

    pub(super) fn next_task(&mut self, client: usize) {
        self.clients[client].done += 1;
        let pause = self.rng.random_range(1..400) * MS;
        self.schedule.put(self.schedule.now() + pause, Event::Client { client });
    }
}
