//! Runs the `nft` program.

use crate::datapath::DatapathError;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long `nft` may take. A hundred thousand elements take it about a second.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How much of what it prints is read, in bytes: a listing of a million elements fits.
const OUTPUT_BYTES_MAX: u64 = 1 << 28;
/// How much of a refusal is passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 600;

/// Runs the `nft` program in the network namespace of the calling thread.
#[derive(Debug, Clone)]
pub(crate) struct Nft {
    program: PathBuf,
}

impl Nft {
    /// A runner of that program.
    pub(crate) fn new(program: PathBuf) -> Nft {
        Nft { program }
    }

    /// Executes a document in one transaction: all of it takes effect at once, or nothing.
    ///
    /// # Errors
    ///
    /// If it was refused; nothing has changed then.
    pub(crate) fn execute(&self, what: &str, document: &[u8]) -> Result<(), DatapathError> {
        self.run(what, &["-j", "-f", "-"], document).map(drop)
    }

    /// Asks the kernel whether it would take a document, without executing it.
    ///
    /// # Errors
    ///
    /// If it would not.
    pub(crate) fn check(&self, what: &str, document: &[u8]) -> Result<(), DatapathError> {
        self.run(what, &["-c", "-j", "-f", "-"], document).map(drop)
    }

    /// The listing of a table of family `inet`, `None` if there is no such table.
    ///
    /// # Errors
    ///
    /// If the tables could not be listed.
    pub(crate) fn list(&self, table: &str) -> Result<Option<Vec<u8>>, DatapathError> {
        let what = format!("to list table inet {table}");
        // Numbers instead of names: names differ with the files in /etc.
        match self.run(&what, &["-j", "-nn", "list", "table", "inet", table], &[]) {
            Ok(listing) => Ok(Some(listing)),
            Err(DatapathError::NftRefused { message, .. })
                if message.contains("No such file or directory") =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn run(&self, what: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, DatapathError> {
        let failed = |source| DatapathError::NftProgram { program: self.program.clone(), source };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let outcome = self.communicate(&mut child, input);
        let (output, complaint) = match outcome {
            Some(both) => both,
            None => {
                // Best effort: a child that cannot be killed has ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(DatapathError::NftTimeout {
                    program: self.program.clone(),
                    seconds: TIMEOUT.as_secs(),
                });
            }
        };
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(output);
        }
        let text = String::from_utf8_lossy(&complaint);
        let text = if text.trim().is_empty() { status.to_string() } else { text.into_owned() };
        Err(DatapathError::NftRefused {
            what: what.to_owned(),
            message: super::ruleset::truncate(text.trim(), MESSAGE_BYTES_MAX).to_owned(),
        })
    }

    /// Feeds the child and reads all it prints, until it closes both its outputs; `None` if that
    /// takes too long. All three pipes are worked on at once, for any of them may fill up.
    fn communicate(&self, child: &mut Child, input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let deadline = Instant::now() + TIMEOUT;
        let (sender, receiver) = mpsc::sync_channel(2);
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        for (number, pipe) in outputs.into_iter().enumerate() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut text = Vec::new();
                if let Some(pipe) = pipe {
                    // A broken pipe ends the output; the exit status says what it was.
                    let _ = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut text);
                }
                let _ = sender.send((number, text));
            });
        }
        if let Some(mut pipe) = child.stdin.take() {
            let input = input.to_vec();
            std::thread::spawn(move || {
                // If the child does not want it all, its exit status says why.
                let _ = pipe.write_all(&input);
            });
        }
        let mut both = [Vec::new(), Vec::new()];
        for _ in 0..2 {
            let left = deadline.saturating_duration_since(Instant::now());
            let (number, text) = receiver.recv_timeout(left).ok()?;
            both[number] = text;
        }
        let [output, complaint] = both;
        Some((output, complaint))
    }
}
