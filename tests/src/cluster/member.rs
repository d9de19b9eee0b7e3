//! A controller's process in a namespace of its own.

use super::network::{address, inside, namespace};
use super::{MEMBERS_MAX, WAIT};
use crate::binary::spanwire;
use crate::process::Process;
use crate::wait_for;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

const PORT: u16 = 6690;

/// The addresses of all members there can be, for agents.
pub fn all_addresses() -> String {
    let all: Vec<String> =
        (0..MEMBERS_MAX).map(|number| format!("{}:{PORT}", address(number))).collect();
    all.join(",")
}

/// A controller that can be stopped and started again.
pub struct Member {
    number: usize,
    address: String,
    data: PathBuf,
    log: PathBuf,
    process: Option<Running>,
}

struct Running {
    /// The child: the controller, or `unshare`, which ends as the controller does.
    child: Process,
    /// The controller.
    pid: Pid,
}

impl Member {
    pub(super) fn new(number: usize, data: PathBuf, logs: &Path) -> Member {
        Member {
            number,
            address: format!("{}:{PORT}", address(number)),
            data,
            log: logs.join(format!("controller-{}.log", number + 1)),
            process: None,
        }
    }

    /// HOST:PORT.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// True if it was started, and nothing was done to end it since.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// The process of the controller.
    pub fn pid(&self) -> u32 {
        self.running().pid.as_raw() as u32
    }

    /// Starts it as the first one of a cluster.
    pub(super) fn found(&mut self) {
        self.spawn(Command::new(spanwire()), false);
    }

    /// Starts it on what it has on disk; with nothing there it waits to be added.
    pub fn start(&mut self) {
        self.spawn(Command::new(spanwire()), true);
    }

    /// Starts it with clocks that are off by so many seconds, all but the time of day.
    pub fn start_off_by(&mut self, seconds: i64) {
        let mut unshare = Command::new("unshare");
        let seconds = seconds.to_string();
        unshare.args(["--time", "--monotonic", &seconds, "--boottime", &seconds]);
        unshare.args(["--fork", "--kill-child", "--"]);
        unshare.arg(spanwire());
        self.spawn(unshare, true);
        let child = self.running().child.pid();
        let pid = wait_for("the controller in a time namespace", WAIT, || {
            let children = std::fs::read_to_string(format!("/proc/{child}/task/{child}/children"));
            let children = children.map_err(|error| error.to_string())?;
            let pid = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
            pid.ok_or_else(|| format!("process {child} has no child"))
        });
        if let Some(running) = &mut self.process {
            running.pid = Pid::from_raw(pid);
        }
    }

    fn spawn(&mut self, mut command: Command, join: bool) {
        assert!(self.process.is_none(), "controller {} runs already", self.address);
        let level = std::env::var("SPANWIRE_LOG").unwrap_or_else(|_| "info".to_owned());
        command.env("SPANWIRE_LOG", level);
        command.args(["controller", "--listen", &self.address, "--data-dir"]).arg(&self.data);
        if join {
            command.arg("--join");
        }
        let log = self.log.clone();
        let child = inside(&namespace(self.number), move || Process::spawn(command, &log));
        let pid = Pid::from_raw(child.pid() as i32);
        self.process = Some(Running { child, pid });
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_ended();
    }

    /// Tells it to stop, and waits until it has. It must end well.
    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_ended();
        assert!(status.success(), "{} ended with {status}:\n{}", self.address, self.log_end());
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.check_running();
        match kill(self.running().pid, signal) {
            // It is about to be found that it ended.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("{} takes no {signal}: {error}", self.address),
        }
    }

    /// Waits until it has ended, which is expected.
    pub fn wait_ended(&mut self) -> ExitStatus {
        let what = format!("the end of the controller at {}", self.address);
        let running = self.process.as_mut().expect("it was started");
        let status =
            wait_for(&what, WAIT, || running.child.ended().ok_or_else(|| "it runs".to_owned()));
        self.process = None;
        status
    }

    /// True if it has ended, whether or not that is expected.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_some_and(|running| !running.child.is_running())
    }

    /// Removes all that it has on disk.
    pub fn wipe(&self) {
        assert!(self.process.is_none(), "{} runs on its data", self.address);
        std::fs::remove_dir_all(&self.data).expect("the data go");
    }

    /// How long its log is.
    pub fn log_length(&self) -> usize {
        std::fs::read(&self.log).map_or(0, |log| log.len())
    }

    /// Its log from a place on.
    pub fn log_from(&self, start: usize) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(start..).unwrap_or_default()).into_owned()
    }

    fn log_end(&self) -> String {
        const SHOWN: usize = 3000;
        self.log_from(self.log_length().saturating_sub(SHOWN))
    }

    /// Fails if it ended though it should run.
    pub fn check_running(&mut self) {
        if let Some(running) = &mut self.process
            && let Some(status) = running.child.ended()
        {
            panic!("{} ended with {status}:\n{}", self.address, self.log_end());
        }
    }

    fn running(&self) -> &Running {
        self.process.as_ref().expect("it was started")
    }
}
