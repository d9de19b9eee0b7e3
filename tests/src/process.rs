//! Controllers and agents as child processes on loopback.

use crate::binary::spanwire;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A child process that does not outlive the test.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts the binary with arguments; what it prints goes to the end of a file.
    pub fn start(arguments: &[&str], log: &Path) -> Process {
        let mut command = Command::new(spanwire());
        command.args(arguments);
        Process::spawn(command, log)
    }

    /// Starts a command; what it prints goes to the end of a file.
    pub fn spawn(mut command: Command, log: &Path) -> Process {
        let log = File::options().create(true).append(true).open(log).expect("the log opens");
        let errors = log.try_clone().expect("a file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Process { child }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would (SIGKILL), and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        // It was started here, so there is a status to take.
        self.child.wait().expect("a child that was killed ends");
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.child.try_wait().expect("a child can be asked for").is_none() {
            // The child is not reaped yet, so the pid is still its own.
            kill(Pid::from_raw(self.child.id() as i32), signal).expect("a child can be signalled");
        }
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A controller on loopback that can be killed and started again on the same port and data.
pub struct ControllerProcess {
    address: String,
    directory: PathBuf,
    process: Option<Process>,
}

impl ControllerProcess {
    /// Starts one with its data in a directory.
    pub fn start(directory: &Path) -> ControllerProcess {
        let mut controller = ControllerProcess {
            address: format!("127.0.0.1:{}", free_port()),
            directory: directory.to_owned(),
            process: None,
        };
        controller.restart();
        controller
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it, if it runs, as a power cut would, and starts it on what it has on disk.
    pub fn restart(&mut self) {
        self.process = None;
        let data = self.directory.join("controller");
        let arguments =
            ["controller", "--listen", &self.address, "--data-dir", &data.to_string_lossy()];
        self.process = Some(Process::start(&arguments, &self.log()));
    }

    /// What it printed, for a failure.
    pub fn log(&self) -> PathBuf {
        self.directory.join("controller.log")
    }
}

/// An agent with the `record` datapath.
pub struct AgentProcess {
    host: String,
    controller: String,
    directory: PathBuf,
    process: Option<Process>,
}

impl AgentProcess {
    /// Starts one for a host.
    pub fn start(host: &str, controller: &str, directory: &Path) -> AgentProcess {
        let mut agent = AgentProcess {
            host: host.to_owned(),
            controller: controller.to_owned(),
            directory: directory.to_owned(),
            process: None,
        };
        agent.restart();
        agent
    }

    /// The directory of its view and status.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.join(format!("agent-{}", self.host))
    }

    /// Ends it, if it runs, as a power cut would, and starts it on what it has on disk.
    pub fn restart(&mut self) {
        self.process = None;
        let state = self.state_dir();
        let arguments = [
            "agent",
            "--host",
            &self.host,
            "--controller",
            &self.controller,
            "--state-dir",
            &state.to_string_lossy(),
            "--datapath",
            "record",
        ];
        let log = self.directory.join(format!("agent-{}.log", self.host));
        self.process = Some(Process::start(&arguments, &log));
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal, if it runs.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }
}

/// A TCP port that nobody listens on at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
