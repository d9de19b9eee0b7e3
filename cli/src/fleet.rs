//! Controllers and agents inside of a lab: child processes of this very binary, each in its
//! namespace.
//!
//! The lab's own namespaces cannot be reached from outside. So the runtime that talks to the
//! controller is built inside of the fabric: its threads, and the sockets they open, stay there.

use crate::client::{Admin, connect_to};
use crate::failure::Failure;
use spanwire_lab::{Lab, LabError, Place, ProcessSpec};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// The name of the controller among the processes of a lab.
pub(crate) const CONTROLLER: &str = "controller";
/// Where the controller listens, in the fabric; the second of several on the next port, and so on.
const CONTROLLER_PORT: u16 = 6690;
/// How long the controller may take to answer after it was started.
const START_WAIT: Duration = Duration::from_secs(30);
/// How often it is tried meanwhile.
const START_POLL: Duration = Duration::from_millis(20);
/// How long a process may take to end by itself.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// The lines of a log that a failure shows.
const LOG_LINES_SHOWN: usize = 5;

/// A lab's refusal.
pub(crate) fn lab_failure(doing: &str) -> impl Fn(LabError) -> Failure + '_ {
    move |error| Failure::caused(doing, &error)
}

/// The name of a host's agent among the processes of a lab.
pub(crate) fn agent_label(host: &str) -> String {
    format!("agent-{host}")
}

/// This binary, to be run again.
fn program() -> Result<OsString, Failure> {
    std::env::current_exe()
        .map(PathBuf::into_os_string)
        .map_err(|error| Failure::caused("this program does not find itself", &error))
}

/// A directory of the lab's own, which ends with it.
fn directory(lab: &Lab, label: &str) -> PathBuf {
    // Beside the log of the process.
    lab.record().log_path(label).with_extension("data")
}

/// The name of one of several controllers among the processes of a lab; the first is [`CONTROLLER`].
pub(crate) fn controller_label(number: u16) -> String {
    match number {
        0 => CONTROLLER.to_owned(),
        number => format!("{CONTROLLER}-{}", number + 1),
    }
}

/// Where hosts and other controllers reach one of several controllers.
pub(crate) fn controller_address(lab: &Lab, number: u16) -> String {
    format!("{}:{}", lab.fabric_address(), CONTROLLER_PORT + number)
}

/// Starts a controller in the fabric: the first, numbered 0, founds a cluster, and others wait to be
/// added to it.
pub(crate) fn start_controller(lab: &mut Lab, number: u16) -> Result<(), Failure> {
    let label = controller_label(number);
    let data = directory(lab, &label);
    let mut arguments: Vec<OsString> = vec![
        "controller".into(),
        "--listen".into(),
        format!("0.0.0.0:{}", CONTROLLER_PORT + number).into(),
        "--advertise".into(),
        controller_address(lab, number).into(),
        "--data-dir".into(),
        data.into(),
    ];
    if number > 0 {
        arguments.push("--join".into());
    }
    let spec = ProcessSpec::new(&label, Place::Fabric, program()?, arguments);
    lab.spawn(&spec).map(drop).map_err(lab_failure("a controller does not start"))
}

/// Starts the agent of a host, with the kernel's datapath, and so many controllers to choose from.
pub(crate) fn start_agent(lab: &mut Lab, host: &str, controllers: u16) -> Result<(), Failure> {
    let label = agent_label(host);
    let Some(vtep) = lab.spec().host(host).map(|host| host.vtep) else {
        return Err(Failure::refused(format!("the lab has no host {host}")));
    };
    let addresses: Vec<String> =
        (0..controllers).map(|number| controller_address(lab, number)).collect();
    let arguments: [OsString; 11] = [
        "agent".into(),
        "--host".into(),
        host.into(),
        "--controller".into(),
        addresses.join(",").into(),
        "--state-dir".into(),
        directory(lab, &label).into(),
        "--datapath".into(),
        "linux".into(),
        "--vtep".into(),
        vtep.to_string().into(),
    ];
    let spec = ProcessSpec::new(&label, Place::Host(host.to_owned()), program()?, arguments);
    lab.spawn(&spec).map(drop).map_err(lab_failure("an agent does not start"))
}

/// Asks a process of the lab to end, and waits until it has.
pub(crate) fn stop(lab: &mut Lab, label: &str) -> Result<(), Failure> {
    let doing = format!("{label} does not stop");
    lab.stop(label, STOP_WAIT).map(drop).map_err(lab_failure(&doing))
}

/// A runtime inside of the fabric.
pub(crate) fn fabric_runtime(lab: &Lab) -> Result<Runtime, Failure> {
    const DOING: &str = "the runtime does not start in the fabric";
    // Threads inherit the namespace of the one that starts them; these are started right here.
    lab.run_in(&Place::Fabric, || {
        Builder::new_multi_thread().worker_threads(2).enable_all().build()
    })
    .map_err(lab_failure(DOING))?
    .map_err(|error| Failure::caused(DOING, &error))
}

/// Connects to a controller in the fabric as soon as it answers.
pub(crate) fn connect(lab: &Lab, runtime: &Runtime, number: u16) -> Result<Admin, Failure> {
    let address = format!("127.0.0.1:{}", CONTROLLER_PORT + number);
    let label = controller_label(number);
    let deadline = Instant::now() + START_WAIT;
    loop {
        // On a thread of the runtime, for a socket belongs to the namespace it was opened in.
        let task = runtime.spawn({
            let address = address.clone();
            async move { connect_to(&address).await }
        });
        let failure = match runtime.block_on(task) {
            Ok(Ok(admin)) => return Ok(admin),
            Ok(Err(failure)) => failure,
            Err(error) => Failure::caused("the connection was given up", &error),
        };
        if !lab.record().is_running(&label) {
            let log = lab.record().log_path(&label);
            return Err(Failure::refused(format!("the controller ended: {}", tail(&log))));
        }
        if Instant::now() >= deadline {
            return Err(failure);
        }
        std::thread::sleep(START_POLL);
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
    match &lines[from..] {
        [] => format!("nothing in {}", log.display()),
        lines => lines.join("\n    "),
    }
}
