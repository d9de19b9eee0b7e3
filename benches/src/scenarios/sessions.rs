//! What one change costs the sessions of many hosts, without any transport: how much there would be to
//! gain if hosts with equal views shared theirs.

use super::loaded::Loaded;
use crate::measure::{Percentiles, Report, Spent, rss_mib};
use crate::workloads::peered::Peered;
use spanwire_hostproto::{
    ChangeLog, ClusterId, ControllerSession, EngineSource, Hello, HostCommand, HostIdentity,
    HostSession, wire,
};
use spanwire_topology::engine::HostId;
use spanwire_topology::{Engine, Transaction};
use std::time::Duration;

/// The cluster that all this would be of.
const CLUSTER: ClusterId = ClusterId([1; 16]);
/// Messages after which a host that never comes to rest has shown a defect.
const TURNS_MAX: usize = 100;

/// Measures with so many hosts, as many changes that all are told.
pub(crate) fn run(seed: u64, hosts: usize, rounds: usize) -> Result<Report, String> {
    let peered = Peered::with_hosts(hosts);
    let mut loaded = Loaded::from_resources(peered.resources())?;
    loaded.watch_all();
    let mut log = ChangeLog::default();
    let before = rss_mib();
    let mut pairs = Vec::with_capacity(hosts);
    for (number, name) in peered.hosts().iter().enumerate() {
        let host = HostId(number as u32);
        pairs.push(Pair::connect(host, name, &loaded.engine, &mut log)?);
    }
    let connected = rss_mib();
    // The hosts' ends are what an agent has, and each has its view.
    let mut sessions: Vec<ControllerSession> = Vec::with_capacity(hosts);
    let mut ends = Vec::with_capacity(hosts);
    for Pair { session, host } in pairs {
        sessions.push(session);
        ends.push(host);
    }

    let mut costs = Costs::default();
    for round in 0..rounds as u64 {
        let resource = peered.mk_common(round);
        let transaction = Transaction::put([resource]);
        let changes = loaded
            .engine
            .apply(&transaction, loaded.next_revision)
            .map_err(|refusal| refusal.to_string())?;
        loaded.next_revision += 1;
        let engine = &loaded.engine;
        let ((), spent) = Spent::on(|| {
            changes.items.iter().for_each(|change| log.record(changes.revision, change));
            for change in &changes.hosts {
                let session = &mut sessions[change.host.0 as usize];
                session.process_host_change(&change.gained, &change.lost);
            }
            for change in &changes.items {
                for host in engine.subscribers(change.key) {
                    sessions[host.0 as usize].process_item_changed(change.key);
                }
            }
        });
        costs.mark.add(spent.cpu);
        let (messages, spent) = Spent::on(|| {
            let each = sessions.iter_mut().enumerate();
            each.map(|(number, session)| {
                next_message(session, HostId(number as u32), engine, &mut log)
            })
            .collect::<Vec<_>>()
        });
        costs.message.add(spent.cpu);
        let told = messages.iter().filter(|message| message.is_some()).count();
        if told != hosts {
            return Err(format!("{told} of {hosts} hosts were told change {round}"));
        }
        let (answers, spent) = Spent::on(|| {
            let each = ends.iter_mut().zip(messages);
            each.map(|(end, message)| {
                message.map(|message| apply(end, message)).unwrap_or_default()
            })
            .collect::<Vec<_>>()
        });
        costs.host.add(spent.cpu);
        let ((), spent) = Spent::on(|| {
            for (session, answers) in sessions.iter_mut().zip(answers) {
                for answer in answers {
                    session.process_message(answer, Duration::ZERO);
                }
            }
        });
        costs.acknowledge.add(spent.cpu);
    }

    let mut report = Report::new("sessions", seed);
    report.set("hosts", hosts);
    report.set("rounds", rounds);
    let each = |costs: &Percentiles| costs.at(50.0) / hosts as f64;
    report.measure("mark_us_per_host", each(&costs.mark));
    report.measure("message_us_per_host", each(&costs.message));
    report.measure("acknowledge_us_per_host", each(&costs.acknowledge));
    let all = each(&costs.mark) + each(&costs.message) + each(&costs.acknowledge);
    report.measure("session_us_per_host", all);
    report.measure("agent_us_per_host", each(&costs.host));
    let kib = (connected - before) * 1024.0 / hosts as f64;
    report.measure("kib_per_pair", kib);
    report.set("session_struct_bytes", size_of::<ControllerSession>());
    Ok(report)
}

/// Processor time of one change, for all hosts, by what it was spent on.
#[derive(Default)]
struct Costs {
    mark: Percentiles,
    message: Percentiles,
    acknowledge: Percentiles,
    host: Percentiles,
}

/// Both ends of one host's stream.
struct Pair {
    session: ControllerSession,
    host: HostSession,
}

impl Pair {
    /// Has a host say hello and gets it everything that it shall have.
    fn connect(
        id: HostId,
        name: &str,
        engine: &Engine,
        log: &mut ChangeLog,
    ) -> Result<Pair, String> {
        let identity = HostIdentity {
            host: name.into(),
            instance: 1,
            starts: 1,
            agent_version: String::new(),
            datapath: String::new(),
        };
        let mut host = HostSession::new(identity, None);
        let mut said = sent(host.process_connected()).into_iter();
        let hello = said.next().ok_or("a host that connects says nothing")?;
        let hello = Hello::from_first_message(hello).map_err(|refused| refused.detail)?;
        let mut session = ControllerSession::new(hello, Duration::ZERO);
        for _ in 0..TURNS_MAX {
            let Some(message) = next_message(&mut session, id, engine, log) else {
                return Ok(Pair { session, host });
            };
            for answer in apply(&mut host, message) {
                session.process_message(answer, Duration::ZERO);
            }
        }
        Err(format!("host {name:?} never comes to rest"))
    }
}

fn next_message(
    session: &mut ControllerSession,
    host: HostId,
    engine: &Engine,
    log: &mut ChangeLog,
) -> Option<wire::ControllerMessage> {
    if !session.has_message(engine.revision()) {
        return None;
    }
    let mut source = EngineSource { engine, log, host, cluster_id: CLUSTER };
    session.next_message(&mut source, Duration::ZERO)
}

/// Has a host take a message, and gives its answers. It has no datapath.
fn apply(host: &mut HostSession, message: wire::ControllerMessage) -> Vec<wire::HostMessage> {
    let mut commands = host.process_message(message);
    let mut answers = Vec::new();
    while !commands.is_empty() {
        let mut applied = Vec::new();
        for command in commands {
            match command {
                HostCommand::Send(message) => answers.push(message),
                HostCommand::Apply(change) => {
                    applied.extend(host.process_applied(change.to, Vec::new()));
                }
                HostCommand::Disconnect { .. } => {}
            }
        }
        commands = applied;
    }
    answers
}

fn sent(commands: Vec<HostCommand>) -> Vec<wire::HostMessage> {
    let of = |command| match command {
        HostCommand::Send(message) => Some(message),
        HostCommand::Apply(_) | HostCommand::Disconnect { .. } => None,
    };
    commands.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every host is told every change, or it is an error.
    #[test]
    fn all_sessions_take_part() {
        run(1, 40, 3).unwrap();
    }
}
