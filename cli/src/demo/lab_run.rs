//! The demo on namespaces: child processes, the kernel's datapath, real packets.

use super::checks::{Attempt, Seen};
use super::cluster::{self, CONTROLLERS};
use super::{Stage, lab_lacking};
use crate::client::Admin;
use crate::failure::Failure;
use crate::fleet::{self, lab_failure};
use crate::output::render;
use spanwire_lab::probe::{Check, Listen, Outcome, Probe};
use spanwire_lab::{Lab, LabError, LabSpec, WorkloadKey};
use spanwire_topology::model::Kind;
use spanwire_topology::{ObjectKey, Resource};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::runtime::Runtime;

/// The name of the lab, and nobody else's: one demo at a time runs on a machine.
const LAB: &str = "spanwire_demo";
/// How long a connection may take to open. Longer than a retransmission, so that what is allowed
/// is not called denied because a packet was lost on a busy machine.
const ATTEMPT_WAIT: Duration = Duration::from_millis(2500);

/// What this machine lacks for the lab or the driver, if anything.
pub(super) fn lacking() -> Option<String> {
    if let Some(lacking) = lab_lacking() {
        return Some(lacking);
    }
    let nft = Command::new("nft").arg("--version").stdout(Stdio::null()).status();
    match nft {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("nft --version ended with {status}")),
        Err(error) => Some(format!("nft does not run ({error}): install nftables")),
    }
}

/// The lab, with the controllers in it.
pub(super) struct LabStage {
    lab: Lab,
    runtime: Runtime,
    /// The numbers of the controllers that run.
    controllers: Vec<u16>,
}

impl LabStage {
    /// Makes hosts and workloads, has every workload listen, and starts the controllers.
    pub(super) fn new(
        resources: &[Resource],
        tcp_ports: &BTreeSet<u16>,
    ) -> Result<LabStage, Failure> {
        let fail = lab_failure("the lab of the demo does not come up");
        let spec = LabSpec::from_resources(LAB, resources, |_| true).map_err(&fail)?;
        // What a demo that was killed has left. One that still runs holds its lab, and this fails.
        match Lab::open(LAB) {
            Ok(left) => left.down().map_err(&fail)?,
            Err(LabError::NotFound { .. }) => {}
            Err(error) => return Err(fail(error)),
        }
        let lab = Lab::up(spec).map_err(&fail)?;
        LabStage::start(lab, tcp_ports)
    }

    fn start(mut lab: Lab, tcp_ports: &BTreeSet<u16>) -> Result<LabStage, Failure> {
        match LabStage::connected(&mut lab, tcp_ports) {
            Ok(runtime) => {
                let controllers = (0..CONTROLLERS).collect();
                Ok(LabStage { lab, runtime, controllers })
            }
            Err(failure) => {
                lab.down().map_err(lab_failure("what was made could not be removed"))?;
                Err(failure)
            }
        }
    }

    fn connected(lab: &mut Lab, tcp_ports: &BTreeSet<u16>) -> Result<Runtime, Failure> {
        let fail = lab_failure("the workloads do not listen");
        let listen: Vec<Listen> = tcp_ports.iter().map(|&port| Listen::Tcp(port)).collect();
        let keys: Vec<WorkloadKey> = lab.spec().workloads.iter().map(|w| w.key.clone()).collect();
        for key in keys {
            lab.listen(&key, &listen).map_err(&fail)?;
        }
        for number in 0..CONTROLLERS {
            fleet::start_controller(lab, number)?;
        }
        let runtime = fleet::fabric_runtime(lab)?;
        let mut admin = fleet::connect(lab, &runtime, 0)?;
        // They are added when they are reached.
        for number in 1..CONTROLLERS {
            fleet::connect(lab, &runtime, number)?;
        }
        let others =
            (1..CONTROLLERS).map(|number| fleet::controller_address(lab, number)).collect();
        runtime.block_on(cluster::grow(&mut admin, others))?;
        Ok(runtime)
    }
}

/// The workload behind a port.
fn workload(port: &ObjectKey) -> WorkloadKey {
    WorkloadKey::new(&*port.project, &*port.name)
}

impl Stage for LabStage {
    fn describe(&self) -> String {
        format!(
            "{} and {} as network namespaces, {CONTROLLERS} controllers and an agent each as processes",
            render::count(self.lab.spec().hosts.len(), "host"),
            render::count(self.lab.spec().workloads.len(), "workload"),
        )
    }

    fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn admin(&self) -> Result<Admin, Failure> {
        let none = || Failure::refused("no controller runs any more");
        let number = *self.controllers.first().ok_or_else(none)?;
        fleet::connect(&self.lab, &self.runtime, number)
    }

    fn start_agents(&mut self) -> Result<(), Failure> {
        let hosts: Vec<String> =
            self.lab.spec().hosts.iter().map(|host| host.name.clone()).collect();
        hosts.iter().try_for_each(|host| fleet::start_agent(&mut self.lab, host, CONTROLLERS))
    }

    fn move_workload(&mut self, port: &ObjectKey, host: &str) -> Result<(), Failure> {
        let fail = lab_failure("the workload does not move");
        self.lab.move_workload(&workload(port), host).map_err(&fail)
    }

    fn attempt(&mut self, attempts: &[Attempt]) -> Result<Vec<Seen>, Failure> {
        let probes: Vec<Probe> = attempts
            .iter()
            .map(|attempt| {
                let to = SocketAddr::new(attempt.address, attempt.port);
                Probe::new(&workload(&attempt.from), Check::Tcp(to))
            })
            .collect();
        let fail = lab_failure("the connections cannot be tried");
        let outcomes = self.lab.probe(&probes, ATTEMPT_WAIT).map_err(&fail)?;
        outcomes.into_iter().map(to_seen).collect()
    }

    fn kill_controller(&mut self, address: &str) -> Result<(), Failure> {
        let is_it = |number: &u16| fleet::controller_address(&self.lab, *number) == address;
        let Some(number) = self.controllers.iter().copied().find(is_it) else {
            return Err(Failure::refused(format!("no controller runs at {address}")));
        };
        self.controllers.retain(|other| *other != number);
        let fail = lab_failure("the controller does not end");
        self.lab.kill(&fleet::controller_label(number)).map_err(&fail)
    }

    fn stop_controllers(&mut self) -> Result<(), Failure> {
        let numbers = std::mem::take(&mut self.controllers);
        let mut labels = numbers.into_iter().map(fleet::controller_label);
        labels.try_for_each(|label| fleet::stop(&mut self.lab, &label))
    }

    fn restart_agent(&mut self, host: &str) -> Result<(), Failure> {
        let fail = lab_failure("the agent does not end");
        self.lab.kill(&fleet::agent_label(host)).map_err(&fail)?;
        fleet::start_agent(&mut self.lab, host, CONTROLLERS)
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let LabStage { lab, runtime, controllers: _ } = *self;
        // Its sockets would keep the fabric's namespace alive.
        runtime.shutdown_timeout(Duration::from_secs(1));
        lab.down().map_err(lab_failure("the lab of the demo does not go down"))
    }
}

fn to_seen(outcome: Outcome) -> Result<Seen, Failure> {
    Ok(match outcome {
        Outcome::Connected { by: Some(by) } => {
            Seen::Answered(ObjectKey::new(Kind::LogicalPort, by.project, by.name))
        }
        Outcome::Connected { by: None } => {
            return Err(Failure::refused("a connection opened, and nobody said who accepted it"));
        }
        Outcome::Refused => Seen::Unanswered("it was refused".to_owned()),
        Outcome::TimedOut => Seen::Unanswered("nobody answered".to_owned()),
        Outcome::Unreachable => Seen::Unanswered("it was unreachable".to_owned()),
        Outcome::Failed(error) => {
            return Err(Failure::refused(format!("a connection could not be tried: {error}")));
        }
    })
}
