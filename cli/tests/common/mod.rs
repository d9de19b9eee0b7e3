//! A controller in a process of its own, and the verbs as a shell would run them.

// Each test binary uses its own part of this, and a panic here is a failed test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A controller in a process of its own, which ends with this value.
pub struct World {
    controller: Child,
    pub address: String,
    pub directory: tempfile::TempDir,
}

impl World {
    pub fn start() -> World {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        World::start_on(directory, &data_dir)
    }

    /// A controller on a data directory; what is in `directory` goes with it.
    pub fn start_on(directory: tempfile::TempDir, data_dir: &Path) -> World {
        World::start_with(directory, data_dir, &[])
    }

    /// A controller that waits to be added to a cluster.
    pub fn start_waiting() -> World {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        World::start_with(directory, &data_dir, &["--join"])
    }

    fn start_with(directory: tempfile::TempDir, data_dir: &Path, more: &[&str]) -> World {
        let mut controller = Command::new(env!("CARGO_BIN_EXE_spanwire"))
            .args(["controller", "--listen", "127.0.0.1:0", "--log-format", "json", "--data-dir"])
            .arg(data_dir)
            .args(more)
            .env_remove("SPANWIRE_LOG")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(controller.stderr.take().unwrap()).lines();
        // Port 0 takes any free one; the log says which.
        let address = lines
            .by_ref()
            .find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
                Some(line["fields"]["address"].as_str()?.to_owned())
            })
            .expect("the controller says where it listens");
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        World { controller, address, directory }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = spanwire(arguments);
        command.env("SPANWIRE_CONTROLLER", &self.address);
        command
    }

    /// Runs a verb that must succeed, and returns its stdout.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a verb that must fail with a code, and returns its stderr.
    pub fn fail(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}: a failure printed something");
        stderr(&output)
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl World {
    /// Ends the controller as `kill -9` does, and leaves its files.
    pub fn stop(mut self) -> tempfile::TempDir {
        let _ended = self.controller.kill();
        let _status = self.controller.wait();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // By the handle of the child itself, so by nobody else's id.
        let _ended = self.controller.kill();
        let _status = self.controller.wait();
    }
}

pub fn spanwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanwire"));
    command
        .args(arguments)
        .env_remove("SPANWIRE_CONTROLLER")
        .env_remove("SPANWIRE_PROJECT")
        .stdin(Stdio::null());
    command
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
