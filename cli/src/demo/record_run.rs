//! The demo without packets: controllers and agents in this process, and drivers that keep each
//! host's view in memory. They answer, from the view alone, what a datapath would do.

use super::Stage;
use super::checks::{Attempt, SOURCE_PORT, Seen};
use super::cluster::{self, CONTROLLERS};
use crate::client::{Admin, connect_to};
use crate::failure::Failure;
use crate::output::render;
use spanwire_agent::datapath::evaluate::{
    self, Destination, EvaluateError, Packet, Payload, Verdict,
};
use spanwire_agent::datapath::record::RecordDatapath;
use spanwire_agent::{Agent, AgentError, Config, ConfigLayer};
use spanwire_controller::{Controller, ControllerError, RunningController};
use spanwire_topology::model::{Direction, Kind, Spec, TransportProtocol, Uid};
use spanwire_topology::{ObjectKey, Resource};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long an agent may take to restore its view.
const RESTORE_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const RESTORE_POLL: Duration = Duration::from_millis(5);

/// An agent in this process.
struct RunningAgent {
    datapath: RecordDatapath,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
}

/// Controllers and agents in this process.
pub(super) struct RecordStage {
    runtime: Runtime,
    /// Those that run, by their addresses.
    controllers: BTreeMap<String, RunningController>,
    /// The addresses of all.
    addresses: Vec<String>,
    agents: BTreeMap<String, RunningAgent>,
    /// The tunnel endpoints, by which a locator names a host.
    hosts: BTreeMap<IpAddr, String>,
    /// Everything that is written to disk; it goes with this value.
    directory: tempfile::TempDir,
}

/// Starts the controllers: one founds a cluster, and the others are added to it.
async fn start_controllers(
    directory: &Path,
) -> Result<BTreeMap<String, RunningController>, Failure> {
    let fail = |error: ControllerError| Failure::caused("a controller does not start", &error);
    let mut controllers = BTreeMap::new();
    let mut joining = Vec::new();
    for number in 0..CONTROLLERS {
        let mut config = spanwire_controller::Config::new(directory.join(number.to_string()));
        config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        config.join = number > 0;
        let prepared = Controller::prepare(config).await.map_err(fail)?;
        let address = prepared.address().to_string();
        if number == 0 {
            controllers.insert(address, prepared.serve().await.map_err(fail)?);
        } else {
            joining.push((address, tokio::spawn(prepared.serve())));
        }
    }
    let Some(founder) = controllers.keys().next() else { return Ok(controllers) };
    let mut admin = connect_to(founder).await?;
    cluster::grow(&mut admin, joining.iter().map(|(address, _)| address.clone()).collect()).await?;
    for (address, task) in joining {
        let joined = task.await;
        let joined = joined.map_err(|error| Failure::caused("a controller broke off", &error))?;
        controllers.insert(address, joined.map_err(fail)?);
    }
    Ok(controllers)
}

impl RecordStage {
    /// Starts the controllers.
    pub(super) fn new(resources: &[Resource]) -> Result<RecordStage, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::caused("the runtime does not start", &error))?;
        let directory = tempfile::Builder::new()
            .prefix("spanwire-demo-")
            .tempdir()
            .map_err(|error| Failure::caused("no temporary directory can be made", &error))?;
        let controllers = runtime.block_on(start_controllers(directory.path()))?;
        let addresses = controllers.keys().cloned().collect();
        let hosts = resources
            .iter()
            .filter_map(|resource| match &*resource.spec {
                Spec::Host(host) => Some((host.vtep?, resource.metadata.name.to_string())),
                _ => None,
            })
            .collect();
        let agents = BTreeMap::new();
        Ok(RecordStage { runtime, controllers, addresses, agents, hosts, directory })
    }

    fn start_agent(&mut self, host: &str) -> Result<(), Failure> {
        let fail = |error: AgentError| Failure::caused(format!("the agent of {host}"), &error);
        let layer = ConfigLayer {
            host: Some(host.to_owned()),
            controllers: self.addresses.clone(),
            state_dir: Some(self.directory.path().join(host)),
            datapath: Some("record".to_owned()),
            ..ConfigLayer::default()
        };
        let config = Config::load(None, layer).map_err(|error| fail(error.into()))?;
        let datapath = RecordDatapath::new();
        let stop = CancellationToken::new();
        let run = Agent::run(config, Box::new(datapath.clone()), stop.clone());
        let task = self.runtime.spawn(run);
        self.agents.insert(host.to_owned(), RunningAgent { datapath, stop, task });
        Ok(())
    }

    fn stop_agent(&mut self, host: &str) -> Result<(), Failure> {
        let Some(RunningAgent { datapath: _, stop, task }) = self.agents.remove(host) else {
            return Ok(());
        };
        stop.cancel();
        let doing = || format!("the agent of {host} does not end well");
        let ended = self.runtime.block_on(task);
        ended
            .map_err(|error| Failure::caused(doing(), &error))?
            .map_err(|error| Failure::caused(doing(), &error))
    }

    /// Where a port is bound, going by what the hosts themselves know.
    fn find(&self, key: &ObjectKey) -> Option<(&RecordDatapath, Uid)> {
        self.agents.values().find_map(|agent| {
            let view = agent.datapath.view();
            let (uid, _) = evaluate::ports(&view)
                .find(|(_, port)| port.project == key.project && port.name == key.name)?;
            Some((&agent.datapath, uid))
        })
    }

    fn try_one(&self, attempt: &Attempt) -> Result<Seen, EvaluateError> {
        let unanswered = |why: &str| Ok(Seen::Unanswered(why.to_owned()));
        let Some((datapath, from)) = self.find(&attempt.from) else {
            return unanswered("no host has the sender");
        };
        let view = datapath.view();
        let own = evaluate::port(&view, from).ok_or(EvaluateError::NoPort(from))?;
        let family = |address: &&IpAddr| address.is_ipv6() == attempt.address.is_ipv6();
        let Some(&source) = own.addresses.iter().find(family) else {
            return unanswered("the sender has no address of the family");
        };
        let payload = Payload::Transport {
            protocol: TransportProtocol::Tcp,
            source_port: SOURCE_PORT,
            destination_port: attempt.port,
        };
        let packet = Packet { source, destination: attempt.address, payload };
        if !datapath.admits_source(from, source)? {
            return unanswered("the sender forges its address");
        }
        if datapath.judge(from, Direction::Out, &packet)?.verdict != Verdict::Allow {
            return unanswered("it was denied where it came from");
        }
        let (receiver, to) = match datapath.route(from, attempt.address)? {
            Destination::Unreachable => return unanswered("there is no way"),
            Destination::Local(to) => (datapath, to),
            Destination::Remote { domain, locator } => {
                let remote = self.hosts.get(&locator.vtep).and_then(|host| self.agents.get(host));
                let Some(agent) = remote else { return unanswered("no host has the endpoint") };
                let view = agent.datapath.view();
                let to = evaluate::ports(&view).find(|(_, port)| {
                    port.domain == domain && port.addresses.contains(&attempt.address)
                });
                match to {
                    Some((to, _)) => (&agent.datapath, to),
                    None => return unanswered("the receiver is not where it was sent"),
                }
            }
        };
        if receiver.judge(to, Direction::In, &packet)?.verdict != Verdict::Allow {
            return unanswered("it was denied where it went to");
        }
        let view = receiver.view();
        let port = evaluate::port(&view, to).ok_or(EvaluateError::NoPort(to))?;
        let key = ObjectKey::new(Kind::LogicalPort, port.project.clone(), port.name.clone());
        Ok(Seen::Answered(key))
    }
}

impl Stage for RecordStage {
    fn describe(&self) -> String {
        let agents = render::count(self.hosts.len(), "agent");
        format!("{CONTROLLERS} controllers and {agents} in this process")
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn admin(&self) -> Result<Admin, Failure> {
        let none = || Failure::refused("no controller runs any more");
        let address = self.controllers.keys().next().ok_or_else(none)?;
        self.runtime.block_on(connect_to(address))
    }

    fn start_agents(&mut self) -> Result<(), Failure> {
        let hosts: Vec<String> = self.hosts.values().cloned().collect();
        hosts.iter().try_for_each(|host| self.start_agent(host))
    }

    fn move_workload(&mut self, _port: &ObjectKey, _host: &str) -> Result<(), Failure> {
        // There is no workload: where the port is bound is all there is.
        Ok(())
    }

    fn attempt(&mut self, attempts: &[Attempt]) -> Result<Vec<Seen>, Failure> {
        attempts
            .iter()
            .map(|attempt| {
                self.try_one(attempt).map_err(|error| {
                    Failure::caused(format!("a view says nothing of {attempt}"), &error)
                })
            })
            .collect()
    }

    fn kill_controller(&mut self, address: &str) -> Result<(), Failure> {
        // What is dropped without a shutdown ends like a process that is killed.
        let _in_runtime = self.runtime.enter();
        match self.controllers.remove(address) {
            Some(controller) => {
                drop(controller);
                Ok(())
            }
            None => Err(Failure::refused(format!("no controller runs at {address}"))),
        }
    }

    fn stop_controllers(&mut self) -> Result<(), Failure> {
        // All at once: one that leads would else hand over to one that is to go as well.
        let all = std::mem::take(&mut self.controllers).into_values();
        let tasks: Vec<_> =
            all.map(|controller| self.runtime.spawn(controller.shutdown())).collect();
        tasks.into_iter().try_for_each(|task| {
            let stopped = self.runtime.block_on(task);
            stopped
                .map_err(|error| Failure::caused("a controller broke off", &error))?
                .map_err(|error| Failure::caused("a controller does not end well", &error))
        })
    }

    fn restart_agent(&mut self, host: &str) -> Result<(), Failure> {
        self.stop_agent(host)?;
        self.start_agent(host)?;
        let deadline = Instant::now() + RESTORE_WAIT;
        // An empty datapath has the view of revision 0.
        while self.agents.get(host).is_none_or(|agent| agent.datapath.view().revision == 0) {
            if Instant::now() >= deadline {
                return Err(Failure::refused(format!("{host} has not restored its view")));
            }
            std::thread::sleep(RESTORE_POLL);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        let hosts: Vec<String> = self.agents.keys().cloned().collect();
        hosts.iter().try_for_each(|host| self.stop_agent(host))?;
        self.stop_controllers()
    }
}
