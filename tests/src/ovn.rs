//! A real Open Virtual Network, as a witness: its databases, `ovn-northd`, and `ovn-trace`.
//!
//! ```text
//!  northbound rows ──► ovsdb-server ◄──► ovn-northd     one run directory, sockets in it,
//!                        ▲                               nothing at the default paths
//!  question ──► ovn-trace┘──► the ports that the packet is output to
//! ```

use crate::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use spanwire_import::ovn::Table;
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const NORTHBOUND_SCHEMA: &str = "/usr/share/ovn/ovn-nb.ovsschema";
const SOUTHBOUND_SCHEMA: &str = "/usr/share/ovn/ovn-sb.ovsschema";
const PROGRAMS: [&str; 5] = ["ovsdb-tool", "ovsdb-server", "ovn-northd", "ovn-nbctl", "ovn-trace"];

/// How long a program may take to start, and `ovn-northd` to compile the network.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How many lookups in connection tracking one packet may make: two on each switch, and few
/// packets cross more than two switches with workloads on them.
const LOOKUPS_MAX: usize = 4;

/// What is missing to run all this, if anything.
pub fn missing() -> Option<String> {
    let runs = |program: &&str| {
        let status = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let programs = PROGRAMS.iter().filter(|program| !runs(program)).copied();
    let schemas = [NORTHBOUND_SCHEMA, SOUTHBOUND_SCHEMA].into_iter();
    let missing: Vec<&str> =
        programs.chain(schemas.filter(|schema| !Path::new(schema).exists())).collect();
    (!missing.is_empty()).then(|| format!("there is no {}", missing.join(", no ")))
}

/// A network, compiled.
pub struct Stand {
    directory: TempDir,
    // In the order in which they are ended.
    _northd: Daemon,
    _server: Daemon,
}

/// A child process that does not outlive the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing left to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stand {
    /// Starts servers with the rows of a northbound database, and waits until they are compiled.
    ///
    /// # Panics
    ///
    /// If a program fails, or the database refuses a row.
    pub fn start(rows: &[Table]) -> Stand {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = |name: &str| directory.path().join(name).display().to_string();
        for (file, schema) in [("nb.db", NORTHBOUND_SCHEMA), ("sb.db", SOUTHBOUND_SCHEMA)] {
            run(Command::new("ovsdb-tool").args(["create", &path(file), schema]));
        }
        let server = start_daemon(
            directory.path(),
            "ovsdb-server",
            "db",
            &[path("nb.db"), path("sb.db"), format!("--remote=punix:{}", path("db.sock"))],
        );
        let socket = connect(&directory.path().join("db.sock"));
        insert(socket, rows);
        let remote = format!("unix:{}", path("db.sock"));
        let northd = start_daemon(
            directory.path(),
            "ovn-northd",
            "northd",
            &[format!("--ovnnb-db={remote}"), format!("--ovnsb-db={remote}")],
        );
        run(Command::new("ovn-nbctl")
            .arg(format!("--db={remote}"))
            .arg(format!("--timeout={}", START_LIMIT.as_secs()))
            .args(["--wait=sb", "sync"]));
        Stand { directory, _northd: northd, _server: server }
    }

    /// A tracer for so many packets, each the first of its connection.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn tracer(&self, packets: usize) -> Tracer {
        let path = |name: &str| self.directory.path().join(name);
        let mut command = Command::new("ovn-trace");
        command
            .arg(format!("--db=unix:{}", path("db.sock").display()))
            .arg(format!("--unixctl={}", path("trace.ctl").display()))
            .arg(format!("--pidfile={}", path("trace.pid").display()))
            .arg(format!("--log-file={}", path("trace.log").display()))
            .env("OVN_RUNDIR", self.directory.path())
            .env("OVS_RUNDIR", self.directory.path());
        // As a daemon it takes the states of connections from its command line alone, one after
        // the other for as long as it runs.
        command.args(std::iter::repeat_n("--ct=new", packets * LOOKUPS_MAX));
        run(command.arg("--detach"));
        let pid = std::fs::read_to_string(path("trace.pid")).expect("it writes its pid");
        let pid = Pid::from_raw(pid.trim().parse().expect("a pid is a number"));
        let stream = connect(&path("trace.ctl"));
        Tracer { pid, stream: BufReader::new(stream), asked: 0, packets }
    }
}

/// `ovn-trace` as a daemon.
pub struct Tracer {
    pid: Pid,
    stream: BufReader<UnixStream>,
    asked: usize,
    packets: usize,
}

impl Tracer {
    /// The ports that a packet is output to, given the switch it starts on and its fields in the
    /// syntax of `ovn-trace`.
    ///
    /// # Panics
    ///
    /// If it has been asked for more packets than it was made for, or gives no answer.
    pub fn outputs(&mut self, switch: &str, packet: &str) -> Vec<String> {
        assert!(self.asked < self.packets, "the tracer is made for {} packets", self.packets);
        self.asked += 1;
        let trace = ask(&mut self.stream, "trace", json!(["--summary", switch, packet]));
        let trace = trace.as_str().unwrap_or_else(|| panic!("{packet}: {trace} is no trace"));
        // Connections that are not said to be new are taken to be established.
        assert!(!trace.contains("default (use --ct"), "{packet}: too many lookups:\n{trace}");
        let outputs = trace.lines().filter_map(|line| {
            let (port, kind) =
                line.trim().strip_prefix("/* output to \"")?.split_once("\", type ")?;
            kind.starts_with("\"\"").then(|| port.to_owned())
        });
        outputs.collect()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It is nobody's child, so it is ended by the pid it wrote; it may have ended before.
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

fn start_daemon(directory: &Path, program: &str, name: &str, arguments: &[String]) -> Daemon {
    let path = |suffix: &str| directory.join(format!("{name}.{suffix}"));
    let child = Command::new(program)
        .args(arguments)
        .arg(format!("--unixctl={}", path("ctl").display()))
        .arg(format!("--pidfile={}", path("pid").display()))
        .arg(format!("--log-file={}", path("log").display()))
        .env("OVN_RUNDIR", directory)
        .env("OVS_RUNDIR", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let daemon = Daemon(child);
    drop(connect(&path("ctl")));
    daemon
}

fn connect(socket: &PathBuf) -> UnixStream {
    let stream = wait_for(&format!("{} to listen", socket.display()), START_LIMIT, || {
        UnixStream::connect(socket).map_err(|error| error.to_string())
    });
    stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("a socket takes a timeout");
    stream
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", command.get_program());
}

/// One request in JSON-RPC, which both the database and the daemons speak.
fn ask(stream: &mut BufReader<UnixStream>, method: &str, parameters: Value) -> Value {
    let request = json!({"id": 1, "method": method, "params": parameters}).to_string();
    stream.get_mut().write_all(request.as_bytes()).expect("the server takes the request");
    let mut answers = serde_json::Deserializer::from_reader(stream).into_iter::<Value>();
    loop {
        let mut answer = match answers.next() {
            Some(Ok(answer)) => answer,
            other => panic!("{method} has no answer: {other:?}"),
        };
        if answer["method"].is_null() {
            assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
            return answer["result"].take();
        }
    }
}

/// Inserts rows with the identities they have, so that references between them hold.
fn insert(stream: UnixStream, tables: &[Table]) {
    let mut operations = vec![json!("OVN_Northbound")];
    for table in tables {
        for row in &table.rows {
            let mut columns: serde_json::Map<String, Value> =
                table.columns.iter().cloned().zip(row.iter().cloned()).collect();
            let uuid = columns.remove("_uuid").expect("a row has an identity");
            operations.push(
                json!({"op": "insert", "table": table.name, "uuid": uuid[1], "row": columns}),
            );
        }
    }
    let answer = ask(&mut BufReader::new(stream), "transact", Value::Array(operations));
    let results = answer.as_array().expect("a transaction has results");
    let refused: Vec<&Value> =
        results.iter().filter(|result| result["error"].is_string()).collect();
    assert!(refused.is_empty(), "the northbound database refuses rows: {refused:?}");
}
