//! Labs that are up.

use crate::error::{LabError, Missing};
use crate::ip::{self, Batch};
use crate::namespace;
use crate::probe::Responder;
use crate::process::{ProcessId, ProcessRecord, TOKEN_VARIABLE, find_marked};
use crate::record::{self, LabLock, LabPhase, LabRecord, Place};
use crate::spec::{LabSpec, LabWorkload, WorkloadKey};
use crate::{GATEWAY_V6, UNDERLAY_DEVICE, WORKLOAD_DEVICE};
use ipnet::IpNet;
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

/// Parameters of workload namespaces, set before they have a device: addresses are usable at once
/// and come from nobody else, pings need no raw sockets, and every refusal is told.
const WORKLOAD_PARAMETERS: [(&str, &str); 7] = [
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/lo/disable_ipv6", "0"),
    ("ipv4/ping_group_range", "0 2147483647"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];
/// Parameters of host namespaces. Rejects are told at any rate, or they would look like drops when
/// thousands are probed.
const HOST_PARAMETERS: [(&str, &str); 3] = [
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];
/// How often marked processes are looked for at the end: a process may start another meanwhile.
const SWEEPS_MAX: usize = 10;

/// A lab that is up, and the right to change it. Dropping it leaves the lab up: a demo that means
/// to clean up calls [`Lab::down`].
#[derive(Debug)]
pub struct Lab {
    record: LabRecord,
    _lock: LabLock,
    /// Processes that this process has started and must reap.
    children: BTreeMap<String, Child>,
    /// Started by the first workload that listens.
    pub(crate) responder: Option<Responder>,
}

/// A process to be started in a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The name by which the lab knows it, as `controller` or `agent-host-01`: letters, digits and
    /// `. _ -`. Its output goes to a log file of this name, see [`LabRecord::log_path`].
    pub label: String,
    /// Where it runs.
    pub place: Place,
    /// What is run.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables added to the environment of the caller.
    pub environment: Vec<(OsString, OsString)>,
}

impl ProcessSpec {
    /// A process with nothing added to its environment.
    pub fn new<A: Into<OsString>>(
        label: impl Into<String>,
        place: Place,
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
    ) -> ProcessSpec {
        ProcessSpec {
            label: label.into(),
            place,
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }
}

// ---- Up and down ----

impl Lab {
    /// Says what this machine lacks for a lab, if anything.
    pub fn supported() -> Result<(), Missing> {
        namespace::supported()
    }

    /// Makes a lab. If it fails, nothing of it is left.
    ///
    /// # Errors
    ///
    /// Among others, if a lab of the name is up. What a crash or a restart of the machine has left
    /// of one is cleared away first.
    pub fn up(mut spec: LabSpec) -> Result<Lab, LabError> {
        Lab::supported()?;
        spec.hosts.sort();
        spec.workloads.sort_by(|a, b| a.key.cmp(&b.key));
        spec.check()?;
        let lab = spec.name.clone();
        let lock = LabLock::take(&lab)?;
        match LabRecord::read(&lab) {
            Ok(old) if old.phase == LabPhase::Up && !old.is_stale()? => {
                return Err(LabError::Exists { lab, hosts: old.spec.hosts.len() });
            }
            // Nobody works on it, or the lock would not be ours.
            Ok(old) => {
                tracing::info!(lab, "clearing away what is left of an earlier lab");
                remove(old)?;
                // The lock file went with it.
                drop(lock);
                return Lab::up(spec);
            }
            Err(LabError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let record = LabRecord::new(spec)?;
        if let Some(taken) = namespace::names()?.intersection(&record.namespaces).next() {
            return Err(LabError::NamespaceTaken { namespace: taken.clone() });
        }
        record.write()?;
        let mut lab = Lab { record, _lock: lock, children: BTreeMap::new(), responder: None };
        match lab.build() {
            Ok(()) => Ok(lab),
            Err(error) => {
                if let Err(also) = lab.down() {
                    tracing::warn!(%also, "could not clear away a lab that could not be made");
                }
                Err(error)
            }
        }
    }

    /// Takes over a lab that another process has left up, or left unfinished.
    pub fn open(name: &str) -> Result<Lab, LabError> {
        // Before the lock, whose file would make a directory for a lab that is not there.
        LabRecord::read(name)?;
        let lock = LabLock::take(name)?;
        let record = LabRecord::read(name)?;
        Ok(Lab { record, _lock: lock, children: BTreeMap::new(), responder: None })
    }

    /// Stops every process of the lab and removes everything that it has made.
    pub fn down(mut self) -> Result<(), LabError> {
        // Open sockets would keep the namespaces alive.
        self.responder = None;
        let children = std::mem::take(&mut self.children);
        let result = remove(self.record.clone());
        children.into_values().for_each(reap);
        result
    }

    fn build(&mut self) -> Result<(), LabError> {
        let record = &self.record;
        let spec = &record.spec;
        add_namespaces(&record.namespaces)?;
        for host in &spec.hosts {
            let namespace = record.namespace_name(&Place::Host(host.name.clone()));
            namespace::set_parameters(&namespace, &HOST_PARAMETERS)?;
        }
        for workload in &spec.workloads {
            let namespace = record.namespace_name(&Place::Workload(workload.key.clone()));
            namespace::set_parameters(&namespace, &WORKLOAD_PARAMETERS)?;
        }
        mk_fabric(record).run()?;
        let hosts: Vec<Batch> = spec.hosts.iter().map(|host| mk_host(record, &host.name)).collect();
        ip::run_all(&hosts)?;
        let workloads: Vec<Batch> =
            spec.workloads.iter().map(|workload| mk_addresses(record, workload)).collect();
        ip::run_all(&workloads)?;
        self.record.phase = LabPhase::Up;
        self.record.write()
    }

    /// What is recorded of the lab: its spec, places and processes.
    pub fn record(&self) -> &LabRecord {
        &self.record
    }

    /// What the lab is made of now.
    pub fn spec(&self) -> &LabSpec {
        &self.record.spec
    }

    /// The address in the underlay where all hosts reach what runs in [`Place::Fabric`].
    pub fn fabric_address(&self) -> Ipv4Addr {
        // `check` has refused a spec without one.
        self.record.spec.fabric_address().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }
}

/// Removes everything that the record names.
fn remove(mut record: LabRecord) -> Result<(), LabError> {
    record.phase = LabPhase::Removing;
    record.write()?;
    for process in record.processes.values() {
        process.id.kill()?;
    }
    for _ in 0..SWEEPS_MAX {
        let marked = find_marked(&record.token, &record.namespaces)?;
        if marked.is_empty() {
            break;
        }
        marked.iter().try_for_each(ProcessId::kill)?;
    }
    delete_namespaces(&record.namespaces)?;
    let directory = record::directory(&record.spec.name);
    fs::remove_dir_all(&directory)
        .map_err(LabError::io(format!("removing {}", directory.display())))
}

fn add_namespaces(namespaces: &BTreeSet<String>) -> Result<(), LabError> {
    let mut batch = Batch::outside();
    for namespace in namespaces {
        batch.add(format!("netns add {namespace}"));
    }
    batch.run()
}

/// Deletes those of the namespaces that are there.
fn delete_namespaces(namespaces: &BTreeSet<String>) -> Result<(), LabError> {
    let mut batch = Batch::outside();
    for namespace in namespaces.intersection(&namespace::names()?) {
        batch.add(format!("netns del {namespace}"));
    }
    batch.run()
}

/// The bridge of the underlay, and the links to all hosts.
fn mk_fabric(record: &LabRecord) -> Batch {
    let spec = &record.spec;
    let (mtu, prefix) = (spec.mtu, spec.underlay.prefix_len());
    let mut batch = Batch::inside(record.namespace_name(&Place::Fabric));
    batch.add("link set lo up");
    batch.add(format!(
        "link add {UNDERLAY_DEVICE} mtu {mtu} type bridge stp_state 0 forward_delay 0 \
         mcast_snooping 0"
    ));
    if let Some(address) = spec.fabric_address() {
        batch.add(format!("addr add {address}/{prefix} dev {UNDERLAY_DEVICE}"));
    }
    batch.add(format!("link set {UNDERLAY_DEVICE} up"));
    for (index, host) in spec.hosts.iter().enumerate() {
        let namespace = record.namespace_name(&Place::Host(host.name.clone()));
        batch.add(format!(
            "link add h{index} mtu {mtu} type veth peer name {UNDERLAY_DEVICE} mtu {mtu} netns \
             {namespace}"
        ));
        batch.add(format!("link set h{index} master {UNDERLAY_DEVICE} up"));
    }
    batch
}

/// A host's own address, and the links to its workloads.
fn mk_host(record: &LabRecord, name: &str) -> Batch {
    let spec = &record.spec;
    let mut batch = Batch::inside(record.namespace_name(&Place::Host(name.to_owned())));
    batch.add("link set lo up");
    if let Some(host) = spec.host(name) {
        let prefix = spec.underlay.prefix_len();
        batch.add(format!("addr add {}/{prefix} dev {UNDERLAY_DEVICE}", host.vtep));
    }
    batch.add(format!("link set {UNDERLAY_DEVICE} up"));
    for workload in spec.workloads.iter().filter(|workload| workload.host == name) {
        add_link(&mut batch, record, workload);
    }
    batch
}

/// The link from a host to a workload, in a batch inside the host.
fn add_link(batch: &mut Batch, record: &LabRecord, workload: &LabWorkload) {
    let namespace = record.namespace_name(&Place::Workload(workload.key.clone()));
    let (device, mac, mtu) = (&workload.device, workload.mac, record.spec.workload_mtu());
    batch.add(format!(
        "link add {device} mtu {mtu} type veth peer name {WORKLOAD_DEVICE} address {mac} mtu {mtu} \
         netns {namespace}"
    ));
    batch.add(format!("link set {device} up"));
}

/// A workload's own addresses and routes.
fn mk_addresses(record: &LabRecord, workload: &LabWorkload) -> Batch {
    let mut batch = Batch::inside(record.namespace_name(&Place::Workload(workload.key.clone())));
    batch.add("link set lo up");
    batch.add(format!("link set {WORKLOAD_DEVICE} up"));
    for address in &workload.addresses {
        let nodad = if matches!(address, IpNet::V6(_)) { " nodad" } else { "" };
        batch.add(format!("addr add {address} dev {WORKLOAD_DEVICE}{nodad}"));
    }
    let has = |v6: bool| workload.addresses.iter().any(|a| matches!(a, IpNet::V6(_)) == v6);
    if let Some(gateway) = workload.gateway_v4.filter(|_| has(false)) {
        // An address outside of every subnet has no link prefix that holds the gateway.
        batch.add(format!("route add default via {gateway} dev {WORKLOAD_DEVICE} onlink"));
    }
    if has(true) {
        batch.add(format!("route add ::/0 via {GATEWAY_V6} dev {WORKLOAD_DEVICE}"));
    }
    batch
}

// ---- Workloads that come, move and go ----

impl Lab {
    /// Adds a workload.
    pub fn add_workload(&mut self, workload: LabWorkload) -> Result<(), LabError> {
        let key = workload.key.clone();
        let mut spec = self.record.spec.clone();
        let at = spec.workloads.partition_point(|other| other.key < key);
        spec.workloads.insert(at, workload.clone());
        spec.check()?;
        let namespace = self.record.namespace_name(&Place::Workload(key.clone()));
        if namespace::names()?.contains(&namespace) {
            return Err(LabError::NamespaceTaken { namespace });
        }
        self.record.spec = spec;
        self.record.namespaces.insert(namespace.clone());
        self.record.write()?;
        let made = add_namespaces(&BTreeSet::from([namespace.clone()]))
            .and_then(|()| namespace::set_parameters(&namespace, &WORKLOAD_PARAMETERS))
            .and_then(|()| self.plug(&workload));
        if made.is_err()
            && let Err(also) = self.remove_workload(&key)
        {
            tracing::warn!(%also, workload = %key, "could not clear away a workload");
        }
        made
    }

    /// Removes a workload: stops what runs in it, and closes what listens in it.
    pub fn remove_workload(&mut self, key: &WorkloadKey) -> Result<(), LabError> {
        let place = Place::Workload(key.clone());
        let namespace = self.record.namespace(&place)?;
        let labels: Vec<String> = self
            .record
            .processes
            .iter()
            .filter(|(_, process)| process.place == place)
            .map(|(label, _)| label.clone())
            .collect();
        labels.iter().try_for_each(|label| self.kill(label))?;
        if let Some(responder) = &self.responder {
            responder.close(key)?;
        }
        delete_namespaces(&BTreeSet::from([namespace.clone()]))?;
        self.record.namespaces.remove(&namespace);
        self.record.spec.workloads.retain(|workload| workload.key != *key);
        self.record.write()
    }

    /// Moves a workload to another host: its link is cut and a new one is made there. What runs
    /// and listens in the workload goes on.
    pub fn move_workload(&mut self, key: &WorkloadKey, host: &str) -> Result<(), LabError> {
        let namespace = self.record.namespace(&Place::Workload(key.clone()))?;
        let mut spec = self.record.spec.clone();
        let Some(workload) = spec.workloads.iter_mut().find(|workload| workload.key == *key) else {
            return Err(self.no_such_place(&Place::Workload(key.clone())));
        };
        workload.host = host.to_owned();
        let workload = workload.clone();
        spec.check()?;
        let mut cut = Batch::inside(namespace);
        cut.add(format!("link del {WORKLOAD_DEVICE}"));
        cut.run()?;
        self.record.spec = spec;
        self.record.write()?;
        self.plug(&workload)
    }

    /// Makes the link of a workload whose namespace is there, and sets it up.
    fn plug(&self, workload: &LabWorkload) -> Result<(), LabError> {
        let host = Place::Host(workload.host.clone());
        let mut link = Batch::inside(self.record.namespace(&host)?);
        add_link(&mut link, &self.record, workload);
        link.run()?;
        mk_addresses(&self.record, workload).run()
    }

    fn no_such_place(&self, place: &Place) -> LabError {
        LabError::NoSuchPlace { lab: self.record.spec.name.clone(), what: place.to_string() }
    }
}

// ---- Processes ----

impl Lab {
    /// Starts a process and records it. It survives this process and ends with the lab.
    pub fn spawn(&mut self, spec: &ProcessSpec) -> Result<ProcessId, LabError> {
        let label = &spec.label;
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '@');
        if label.is_empty() || label.starts_with('.') || !label.chars().all(fine) {
            return Err(self.process_error(label, "has a bad label: use letters, digits, . _ -"));
        }
        if self.record.is_running(label) {
            return Err(self.process_error(label, "is running already: stop it first"));
        }
        let path = self.record.log_path(label);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(LabError::io(format!("opening {}", path.display())))?;
        let error_log = log.try_clone().map_err(LabError::io("sharing a log file"))?;
        let mut command = self.record.command_in(&spec.place, &spec.program)?;
        command
            .args(&spec.arguments)
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .env(TOKEN_VARIABLE, &self.record.token)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(error_log)
            // An interrupt from the terminal is for the demo, which then stops these in order.
            .process_group(0);
        let child = command.spawn().map_err(LabError::io(format!("starting {label}")))?;
        let id = ProcessId::of(child.id());
        self.forget(label);
        self.children.insert(label.clone(), child);
        let Some(id) = id else {
            let problem = format!("ended at once: see {}", path.display());
            return Err(self.process_error(label, problem));
        };
        let command = std::iter::once(spec.program.as_os_str())
            .chain(spec.arguments.iter().map(OsString::as_os_str))
            .map(OsStr::to_string_lossy)
            .collect::<Vec<_>>()
            .join(" ");
        let process = ProcessRecord { id, place: spec.place.clone(), command };
        self.record.processes.insert(label.clone(), process);
        self.record.write()?;
        Ok(id)
    }

    /// Ends a process at once, as a power cut would (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self, label: &str) -> Result<(), LabError> {
        self.process(label)?.id.kill()?;
        self.forget(label);
        self.record.write()
    }

    /// Asks a process to end (SIGTERM) and waits until it is gone. Returns false if it had to be
    /// killed because it did not end in time.
    pub fn stop(&mut self, label: &str, timeout: Duration) -> Result<bool, LabError> {
        let id = self.process(label)?.id;
        id.signal(Signal::SIGTERM)?;
        let ended = id.wait_gone(timeout);
        self.kill(label)?;
        Ok(ended)
    }

    /// Freezes a process (SIGSTOP): it is there and does nothing.
    pub fn pause(&self, label: &str) -> Result<(), LabError> {
        self.process(label)?.id.signal(Signal::SIGSTOP).map(|_| ())
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn resume(&self, label: &str) -> Result<(), LabError> {
        self.process(label)?.id.signal(Signal::SIGCONT).map(|_| ())
    }

    /// Runs a program in a place until it ends, with its output captured.
    pub fn exec<A: AsRef<OsStr>>(
        &self,
        place: &Place,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output, LabError> {
        let name = program.as_ref().to_string_lossy().into_owned();
        self.record
            .command_in(place, program)?
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(LabError::io(format!("running {name}")))
    }

    /// Runs a function in a place, on a thread of its own, and waits for it. Sockets that it opens
    /// stay in the place, wherever they are used.
    pub fn run_in<T: Send>(
        &self,
        place: &Place,
        function: impl FnOnce() -> T + Send,
    ) -> Result<T, LabError> {
        namespace::run_in(&self.record.namespace(place)?, function)
    }

    /// Drops what is known of a process that has ended.
    fn forget(&mut self, label: &str) {
        self.record.processes.remove(label);
        if let Some(child) = self.children.remove(label) {
            reap(child);
        }
    }

    fn process(&self, label: &str) -> Result<&ProcessRecord, LabError> {
        let process = self.record.processes.get(label);
        process.ok_or_else(|| self.process_error(label, "is not known: it was never started here"))
    }

    fn process_error(&self, label: &str, problem: impl Into<String>) -> LabError {
        LabError::Process {
            lab: self.record.spec.name.clone(),
            label: label.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Takes the exit status of a process that has ended, so that the kernel forgets it. Does not wait
/// for one that could not be killed.
fn reap(mut child: Child) {
    if let Err(error) = child.try_wait() {
        tracing::debug!(%error, pid = child.id(), "could not reap a process");
    }
}
