//! Processes: started, and ended whatever becomes of the scenario.

use super::{ClusterOptions, PATIENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Display;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Clock ticks of a second, as `/proc/PID/stat` counts them (proc(5), `USER_HZ`).
const USER_HZ: f64 = 100.0;
/// Ports that processes are given: below those that the kernel gives to clients, so that a process that
/// was killed can have its own again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// The pause between two attempts to reach a process that is starting.
const LOOK_WAIT: Duration = Duration::from_millis(20);
/// Lines of a log that are shown when a process ends by itself.
const LOG_LINES: usize = 10;

/// A process. Dropped, it is killed.
pub(crate) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts one. What it prints is added to a file.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Process, String> {
        let open = || -> std::io::Result<(File, File)> {
            let file = File::options().create(true).append(true).open(log)?;
            Ok((file.try_clone()?, file))
        };
        let (out, errors) = open().map_err(|error| format!("{}: {error}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn();
        let child = child.map_err(|error| format!("{program} does not start: {error}"))?;
        Ok(Process { name: name.to_owned(), log: log.to_owned(), child })
    }

    /// Starts this program, to do something that it is told by its arguments.
    pub(crate) fn of_this_program(
        name: &str,
        arguments: &[&str],
        directory: &Path,
    ) -> Result<Process, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(arguments);
        Process::start(name, command, &directory.join(format!("{name}.log")))
    }

    /// Tries to reach it until it can be, for [`PATIENCE`] at most, or it has ended.
    pub(crate) async fn reach<T, E: Display>(
        &mut self,
        attempt: impl AsyncFn() -> Result<T, E>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt().await {
                Ok(reached) => return Ok(reached),
                Err(problem) if Instant::now() > deadline => {
                    return Err(format!("{} cannot be reached: {problem}", self.name));
                }
                Err(_) => self.check()?,
            }
            tokio::time::sleep(LOOK_WAIT).await;
        }
    }

    /// Stops it, as a debugger does: it does nothing until [`Process::go_on`].
    pub(crate) fn stop(&self) -> Result<(), String> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) -> Result<(), String> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let id = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(id), signal).map_err(|error| format!("{}: {signal}: {error}", self.name))
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        // It fails for a process that has ended, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// An error, with the end of its log, if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let Ok(Some(status)) = self.child.try_wait() else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        Err(format!("{} ended by itself ({status}):\n{}", self.name, last.join("\n")))
    }

    /// Processor time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        // The name is in parentheses, and may have spaces in it.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks =
            fields.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok());
        Duration::from_secs_f64(ticks.sum::<f64>() / USER_HZ)
    }

    /// Makes its peak start again from what is resident now.
    pub(crate) fn restart_peak_rss(&self) -> Result<(), String> {
        match crate::measure::restart_peak_rss_of(&self.child.id().to_string()) {
            true => Ok(()),
            false => Err(format!("{}: the kernel does not begin its peak memory anew", self.name)),
        }
    }

    /// Its resident set size in MiB; 0 if it has ended.
    pub(crate) fn rss_mib(&self) -> f64 {
        crate::measure::rss_mib_of(&self.child.id().to_string())
    }

    /// Its peak resident set size in MiB; 0 if it has ended.
    pub(crate) fn peak_rss_mib(&self) -> f64 {
        crate::measure::peak_rss_mib_of(&self.child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr, String> {
    let first: u16 = rand::random_range(PORTS);
    (first..PORTS.end)
        .chain(PORTS.start..first)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .ok_or_else(|| format!("no port of {PORTS:?} is free"))
}

/// The binary that is measured.
pub(crate) fn spanwire(options: &ClusterOptions) -> Result<PathBuf, String> {
    let path = match &options.spanwire {
        Some(path) => path.clone(),
        None => {
            std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("spanwire")
        }
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{} is not there: build it with `cargo build --release -p spanwire-cli`, or name one with \
         --spanwire",
        path.display()
    ))
}
