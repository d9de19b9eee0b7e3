//! A real ovsdb-server: what comes over its socket is what its dump says.
#![allow(clippy::unwrap_used)] // A panic in a test's own function is a failed test too.

mod common;

use spanwire_import::ovn::fetch::{FetchError, Remote};
use spanwire_import::ovn::{OvnOptions, import_dump, import_server};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SCHEMA: &str = "/usr/share/ovn/ovn-nb.ovsschema";
const TIMEOUT: Duration = Duration::from_secs(30);

/// A server of its own, stopped by its process when the test is over.
struct Server {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True if the programs are there. Where they must be, it fails.
fn has_tools() -> bool {
    let version = |tool: &str| {
        let run = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    let tools = ["ovsdb-server", "ovsdb-tool", "ovsdb-client"];
    let missing: Vec<&str> = tools.into_iter().filter(|tool| !version(tool)).collect();
    if missing.is_empty() && Path::new(SCHEMA).exists() {
        return true;
    }
    let text = format!("not run: there is no {SCHEMA}, or none of {missing:?}");
    assert!(std::env::var_os("SPANWIRE_CI").is_none(), "{text}");
    eprintln!("{text}");
    false
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn start() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    run(Command::new("ovsdb-tool").args(["create", &file("nb.db"), SCHEMA]));
    let child = Command::new("ovsdb-server")
        .arg(file("nb.db"))
        .arg(format!("--remote=punix:{}", file("nb.sock")))
        .arg(format!("--unixctl={}", file("nb.ctl")))
        .arg(format!("--pidfile={}", file("nb.pid")))
        .arg(format!("--log-file={}", file("nb.log")))
        .env("OVS_RUNDIR", directory.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, directory };
    let deadline = Instant::now() + TIMEOUT;
    let listens = |name| UnixStream::connect(server.directory.path().join(name)).is_ok();
    while !(listens("nb.sock") && listens("nb.ctl")) {
        assert!(Instant::now() < deadline, "ovsdb-server does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    server
}

impl Server {
    fn remote(&self) -> Remote {
        Remote::Unix(self.directory.path().join("nb.sock"))
    }

    fn client(&self, args: &[&str]) -> Vec<u8> {
        let socket = format!("unix:{}", self.directory.path().join("nb.sock").display());
        let (verbs, rest) = args.split_at(args.len().min(3));
        run(Command::new("ovsdb-client").args(verbs).arg(socket).args(rest))
    }
}

/// A small network, as a transaction.
const NETWORK: &str = r#"["OVN_Northbound",
  {"op":"insert","table":"Logical_Switch_Port","uuid-name":"w1","row":{"name":"w1",
   "addresses":"0a:00:00:00:00:01 10.0.0.10 fd00::10",
   "port_security":"0a:00:00:00:00:01 10.0.0.10 fd00::10",
   "options":["map",[["requested-chassis","h1"]]],"external_ids":["map",[["tenant","t1"]]]}},
  {"op":"insert","table":"Logical_Switch_Port","uuid-name":"w2","row":{"name":"w2",
   "addresses":["set",["0a:00:00:00:00:02 10.0.0.11","unknown"]]}},
  {"op":"insert","table":"Logical_Switch_Port","uuid-name":"sp","row":{"name":"sp","type":"router",
   "addresses":"router","options":["map",[["router-port","rp"]]]}},
  {"op":"insert","table":"ACL","uuid-name":"a1","row":{"priority":1001,"direction":"to-lport",
   "match":"outport == @g && ip4.src == $s && tcp.dst == {80, 443}",
   "action":"allow-related","name":"web"}},
  {"op":"insert","table":"ACL","uuid-name":"a2","row":{"priority":1000,"direction":"to-lport",
   "match":"outport == @g && ip","action":"drop","log":true}},
  {"op":"insert","table":"Logical_Switch","row":{"name":"s1",
   "ports":["set",[["named-uuid","w1"],["named-uuid","w2"],["named-uuid","sp"]]]}},
  {"op":"insert","table":"Logical_Router_Port","uuid-name":"rp","row":{"name":"rp",
   "mac":"0a:00:00:00:01:01","networks":"10.0.0.1/24"}},
  {"op":"insert","table":"Logical_Router","row":{"name":"r1","ports":["named-uuid","rp"]}},
  {"op":"insert","table":"Port_Group","row":{"name":"g","ports":["named-uuid","w1"],
   "acls":["set",[["named-uuid","a1"],["named-uuid","a2"]]]}},
  {"op":"insert","table":"Address_Set","row":{"name":"s",
   "addresses":["set",["192.0.2.0/24","198.51.100.1"]]}},
  {"op":"insert","table":"DNS","row":{"records":["map",[["a.example","10.0.0.10"]]]}}
]"#;

#[test]
fn the_socket_says_what_the_dump_says() {
    if !has_tools() {
        return;
    }
    let server = start();
    let options = OvnOptions::default();
    // The empty database first: every column of every table must be there.
    let empty = import_server(&server.remote(), TIMEOUT, &options).unwrap();
    assert_eq!(empty.resources, []);

    let answer = server.client(&["-v", "--timeout=30", "transact", NETWORK]);
    let answer = String::from_utf8(answer).unwrap();
    assert!(!answer.contains("error"), "{answer}");
    let dump = server.client(&["--timeout=30", "-fjson", "dump", "OVN_Northbound"]);
    let from_dump = import_dump(&dump, &options).unwrap();
    let from_server = import_server(&server.remote(), TIMEOUT, &options).unwrap();
    assert_eq!(from_server, from_dump);

    common::sound(&from_server);
    let keys: Vec<String> = from_server.resources.iter().map(|r| r.key().to_string()).collect();
    let expected = [
        "host h1",
        "switch default/s1",
        "router default/r1",
        "port default/w2",
        "port t1/w1",
        "group default/any-ipv4",
        "group default/any-ipv6",
        "group default/s",
        "group t1/g",
        "policy t1/g.1000.ip4",
        "policy t1/g.1000.ip6",
        "policy t1/g.1001.ip4",
        "policy t1/only-ipv4",
        "policy t1/only-ipv6",
    ];
    assert_eq!(keys, expected);
    let unsupported = common::unsupported(&from_server);
    assert_eq!(unsupported.len(), 2, "{unsupported:#?}");
    assert!(unsupported[0].contains(": the row: Spanwire does not answer DNS requests"));
    assert!(unsupported[1].starts_with("Logical_Switch_Port w2: addresses unknown"));
}

#[test]
fn another_database_is_refused() {
    if !has_tools() {
        return;
    }
    let server = start();
    run(Command::new("ovs-appctl")
        .arg("-t")
        .arg(server.directory.path().join("nb.ctl"))
        .args(["ovsdb-server/remove-db", "OVN_Northbound"]));
    let error = import_server(&server.remote(), TIMEOUT, &OvnOptions::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("refused get_schema"), "{text}");
    assert!(text.ends_with("is it the northbound database's server?"), "{text}");
}

#[test]
fn nobody_there_is_an_error_that_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    let remote = Remote::Unix(path.clone());
    let error = import_server(&remote, TIMEOUT, &OvnOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to unix:{}", path.display())), "{error}");
}

/// A server that answers each request with the next of some texts, `ID` being the request's id,
/// and then says nothing more.
fn scripted(answers: &[&str]) -> (Remote, thread::JoinHandle<String>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answers: Vec<String> = answers.iter().map(|text| (*text).to_owned()).collect();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut heard) = ([0; 4096], String::new());
        for answer in answers {
            let count = stream.read(&mut bytes).unwrap();
            heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
            if answer == "CLOSE" {
                return heard;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
        // Until the other side hangs up.
        while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
        heard
    });
    (Remote::Unix(path), thread, directory)
}

const SCHEMA_ANSWER: &str = r#"{"id":1,"error":null,"result":{"tables":{
    "Logical_Switch":{"columns":{"name":{},"ports":{}}},
    "Logical_Switch_Port":{"columns":{"name":{},"addresses":{}}}}}}"#;

#[test]
fn echoes_are_answered_and_notifications_passed_over() {
    let echo =
        r#"{"method":"update","id":null,"params":[]}{"method":"echo","id":"e","params":[7]}"#;
    let rows = r#"{"id":2,"error":null,"result":[
        {"rows":[{"_uuid":["uuid","00000000-0000-0000-0000-000000000001"],"name":"s",
         "ports":["set",[]]}]},
        {"rows":[]}]}"#;
    // The second read hears the answer to the echo.
    let (remote, thread, _directory) = scripted(&[echo, SCHEMA_ANSWER, rows]);
    let import = import_server(&remote, TIMEOUT, &OvnOptions::default()).unwrap();
    assert_eq!(import.resources.len(), 1);
    let heard = thread.join().unwrap();
    assert!(heard.contains(r#"{"error":null,"id":"e","result":[7]}"#), "{heard}");
}

#[test]
fn bad_answers_are_errors() {
    let cases: [(&[&str], &str); 9] = [
        (&["CLOSE"], "sent no valid answer to get_schema: it closed the connection"),
        (&["hello"], "a message starts with byte 0x68, not with a brace"),
        (&["{,}"], "sent no valid answer to get_schema: key must be a string"),
        (&[r#"{"id":1,"result":7}"#], "sent no valid answer to get_schema: it is no schema"),
        (&[r#"{"id":1,"result":null,"error":"no"}"#], "refused get_schema: \"no\""),
        (&[SCHEMA_ANSWER, r#"{"id":2,"result":{}}"#], "answer to transact: it is no list"),
        (
            &[SCHEMA_ANSWER, r#"{"id":2,"result":[]}"#],
            "answer to transact: Logical_Switch is missing",
        ),
        (
            &[SCHEMA_ANSWER, r#"{"id":2,"result":[{"error":"x"}]}"#],
            "refused transact: table Logical_Switch: \"x\"",
        ),
        (
            &[SCHEMA_ANSWER, r#"{"id":2,"result":[{"rows":[{}]},{"rows":[]}]}"#],
            "a row of table Logical_Switch lacks a column",
        ),
    ];
    for (answers, expected) in cases {
        let (remote, thread, _directory) = scripted(answers);
        let error = import_server(&remote, TIMEOUT, &OvnOptions::default()).unwrap_err();
        thread.join().unwrap();
        assert!(error.to_string().contains(expected), "{error}\nexpected {expected}");
    }
}

#[test]
fn silence_ends_with_the_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = Remote::Tcp("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
    let started = Instant::now();
    let timeout = Duration::from_millis(300);
    let error = spanwire_import::ovn::fetch::fetch(&remote, timeout).unwrap_err();
    assert!(matches!(error, FetchError::Timeout { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
