//! The `ip` program, in batches: hundreds of commands to one process.

use crate::error::LabError;
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

/// How many batches run at once.
const BATCHES_AT_ONCE: usize = 4;

/// Commands for one run of `ip`.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    namespace: Option<String>,
    commands: Vec<String>,
}

impl Batch {
    /// A batch whose commands run where the process is. Such commands must name a namespace
    /// themselves, so that the machine's own network is left alone.
    pub(crate) fn outside() -> Batch {
        Batch::default()
    }

    /// A batch whose commands run in a namespace.
    pub(crate) fn inside(namespace: impl Into<String>) -> Batch {
        Batch { namespace: Some(namespace.into()), commands: Vec::new() }
    }

    /// Adds a command.
    pub(crate) fn add(&mut self, command: impl Into<String>) {
        self.commands.push(command.into());
    }

    /// Runs the commands in order, until one is refused.
    pub(crate) fn run(&self) -> Result<(), LabError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let mut ip = Command::new("ip");
        if let Some(namespace) = &self.namespace {
            ip.args(["-n", namespace]);
        }
        let mut child = ip
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(LabError::io("starting `ip`"))?;
        if let Some(mut input) = child.stdin.take() {
            let text = self.commands.join("\n") + "\n";
            match input.write_all(text.as_bytes()) {
                // It stopped reading because it refused a command, which it says on its way out.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                other => other.map_err(LabError::io("writing to `ip`"))?,
            }
        }
        let output = child.wait_with_output().map_err(LabError::io("waiting for `ip`"))?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Ip { command: self.refused_command(&message), message })
    }

    /// The command that a message of `ip` is about: its last line is `Command failed -:LINE`.
    fn refused_command(&self, message: &str) -> String {
        let line = message.rsplit(':').next().and_then(|line| line.trim().parse::<usize>().ok());
        let command = line.and_then(|line| self.commands.get(line.checked_sub(1)?));
        let namespace = match &self.namespace {
            Some(namespace) => format!("-n {namespace} "),
            None => String::new(),
        };
        match command {
            Some(command) => format!("ip {namespace}{command}"),
            None => format!("ip {namespace}-batch -"),
        }
    }
}

/// Runs batches that do not depend on one another, several at once. Returns the first error.
pub(crate) fn run_all(batches: &[Batch]) -> Result<(), LabError> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some(batch) = batches.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            batch.run()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..BATCHES_AT_ONCE.min(batches.len())).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_command_is_found_by_its_line() {
        let mut batch = Batch::inside("spw-x-fabric");
        batch.add("link set lo up");
        batch.add("link set nothing up");
        let message = "Cannot find device \"nothing\"\nCommand failed -:2";
        assert_eq!(batch.refused_command(message), "ip -n spw-x-fabric link set nothing up");
        assert_eq!(batch.refused_command("no line"), "ip -n spw-x-fabric -batch -");
    }
}
