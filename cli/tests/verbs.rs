//! The verbs against a controller of their own, as a shell would run them: output, exit codes, and
//! what is told when something is wrong.

// A panic here is a failed test, in helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{World, spanwire, stderr};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// How long anything may take that should happen at once.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn three_tier() -> String {
    root().join("examples/three-tier.yaml").display().to_string()
}

#[test]
fn the_life_of_resources() {
    let world = World::start();
    let file = three_tier();
    let dry = world.run(&["apply", "-f", &file, "--dry-run"]);
    assert!(dry.ends_with("17 created at revision 0 (dry run: nothing was changed)\n"), "{dry}");
    assert_eq!(world.run(&["get", "all", "-A"]), "nothing found\n");
    let applied = world.run(&["apply", "-f", &file]);
    assert!(applied.contains("port shop/web-0 created\n"), "{applied}");
    let again = world.run(&["apply", "-f", &file]);
    assert!(again.lines().last().unwrap().starts_with("17 unchanged at revision"), "{again}");

    assert_eq!(
        world.run(&["get", "ports", "-p", "shop", "-l", "tier in (app,db)"]),
        "NAME   SWITCH  ADDRESSES   HOST\n\
         app-0  app     10.20.2.10  host-02\n\
         db-0   db      10.20.3.10  host-01\n"
    );
    assert_eq!(
        world.run(&["get", "policies", "-A"]),
        "PROJECT  NAME  TIER  PRIORITY  APPLIED TO  RULES  DEFAULTS\n\
         shop     app   500   1000      app         1      in drop, out -\n\
         shop     db    500   1000      db          1      in drop, out drop\n\
         shop     web   500   1000      web         1      in drop, out -\n"
    );
    let hosts = world.run(&["get", "hosts"]);
    assert!(hosts.contains("host-01  192.0.2.1  absent"), "{hosts}");
    assert_eq!(
        world.run(&["span", "group/shop/app"]).lines().skip(1).collect::<Vec<_>>(),
        ["  host-01", "  host-02"]
    );
    let used = world.fail(&["delete", "group/shop/app"], 1);
    assert!(used.contains("policy shop/app") && used.contains("cascade"), "{used}");
    let gone = world.run(&["delete", "group/shop/app", "--cascade"]);
    assert!(gone.contains("policy shop/db deleted\n"), "{gone}");
    world.fail(&["get", "group/shop/app"], 3);
    world.run(&["delete", "-f", &world.file("port.yaml", PORT)]);
    world.fail(&["describe", "port/shop/web-0"], 3);
}

const PORT: &str = "kind: LogicalPort\nmetadata: {project: shop, name: web-0}\n\
                    spec: {switch: web, addresses: [10.20.1.10]}\n";

/// What `get` prints can be applied; with the revision, only until somebody else changes it.
#[test]
fn documents_go_round() {
    let world = World::start();
    world.run(&["apply", "-f", &three_tier()]);
    for format in ["yaml", "json"] {
        let all = world.run(&["get", "all", "-A", "-o", format]);
        let file = world.file(&format!("all.{format}"), &all);
        let applied = world.run(&["apply", "-f", &file]);
        assert!(applied.ends_with("17 unchanged at revision 2\n"), "{format}: {applied}");
    }
    let held = world.run(&["get", "port/shop/web-0", "-o", "yaml", "--with-revision"]);
    let held = world.file("held.yaml", &held.replace("host-01", "host-02"));
    world.run(&["apply", "-f", &held]);
    let conflict = world.fail(&["apply", "-f", &held], 1);
    assert!(conflict.contains("port shop/web-0 was last changed at revision"), "{conflict}");
    let stale = world.fail(&["apply", "-f", &three_tier(), "--expected-revision", "2"], 1);
    assert!(stale.contains("the state is at revision"), "{stale}");
}

#[test]
fn explanations_and_forecasts() {
    let world = World::start();
    world.run(&["apply", "-f", &three_tier()]);
    let has = world.run(&["explain", "host-01", "shop/app-0", "--group", "shop/app"]);
    assert!(has.starts_with("host host-01 has shop/app-0 of group shop/app"), "{has}");
    let lacks = world.run(&["explain", "host-02", "10.20.3.10", "--group", "shop/db"]);
    assert!(lacks.starts_with("host host-02 lacks 10.20.3.10 of group shop/db"), "{lacks}");
    let json = world.run(&["explain", "host-02", "shop/db-0", "--group", "shop/db", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["hasMember"], false);
    let view = world.run(&["host-view", "host-02", "-o", "json"]);
    let view: serde_json::Value = serde_json::from_str(&view).unwrap();
    assert_eq!(view["shards"].as_array().unwrap().len(), 1, "{view}");
    assert_eq!(view["shards"][0]["group"], "shop/web");
    let impact = world.run(&["impact", "-f", &world.file("port.yaml", PORT)]);
    assert!(impact.starts_with("1 of 1 object would change; 2 hosts would be told"), "{impact}");
    let same = world.run(&["impact", "-f", &three_tier()]);
    assert!(same.starts_with("0 of 17 objects would change; 0 hosts would be told"), "{same}");
    // No agent is there, so nothing is realized, and who waits is told why.
    let missing = world.fail(&["wait", "policy/shop/db", "--timeout", "200ms"], 5);
    assert!(missing.contains("host-01: "), "{missing}");
}

#[test]
fn findings_are_told() {
    let world = World::start();
    let file = world.file(
        "untidy.yaml",
        "kind: Group\nmetadata: {project: shop, name: none}\n\
         spec: {terms: [{selector: app=none}]}\n",
    );
    let output = world.command(&["apply", "-f", &file]).output().unwrap();
    assert!(output.status.success());
    let warning = "warning: group shop/none: matches nothing: no port by its terms, and no \
                   address by its CIDR blocks [empty-group]\n";
    assert_eq!(stderr(&output), warning);
    let dry = world.run(&["apply", "-f", &file, "--dry-run", "-o", "json"]);
    let dry: serde_json::Value = serde_json::from_str(&dry).unwrap();
    assert_eq!(dry["warnings"][0]["rule"], "empty-group", "{dry}");
    let found = world.run(&["lint", "-p", "shop", "--severity", "warning"]);
    assert_eq!(found, format!("{warning}1 warning at revision 2\n"));
    let found = world.run(&["lint", "-A", "-p", "other"]);
    assert!(found.ends_with("1 warning, 1 info at revision 2\n"), "{found}");
    assert_eq!(world.run(&["lint"]), "nothing found at revision 2\n");
    let wrong = world.file(
        "wrong.yaml",
        "kind: Group\nmetadata: {project: shop, name: wrong}\n\
         spec: {terms: [{selector: \"a,!a\"}]}\n",
    );
    world.run(&["apply", "-f", &wrong]);
    let output = world.command(&["lint", "-A"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("1 finding of severity error"), "{}", stderr(&output));
}

#[test]
fn changes_are_watched() {
    let world = World::start();
    world.run(&["apply", "-f", &three_tier()]);
    let mut watch = world
        .command(&["watch", "ports", "-p", "shop", "--from-revision", "0", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let line: serde_json::Value =
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["type"] == "put" {
            seen.push(line["resource"]["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    // In the order of the file: what others refer to may well have to come first.
    assert_eq!(seen, ["web-0", "web-1", "app-0", "db-0"]);
}

#[test]
fn failures_have_codes_and_say_what_to_do() {
    let world = World::start();
    let bad = world.file("bad.yaml", "kind: LogicalPort\nmetadata: {name: x}\nspec: {swich: a}\n");
    let text = world.fail(&["apply", "-f", &bad], 1);
    assert!(text.contains("bad.yaml:3") && text.contains("swich"), "{text}");
    let text = world.fail(&["apply", "-f", &world.file("port.yaml", PORT)], 1);
    assert!(text.contains("refers to switch shop/web, which does not exist"), "{text}");
    world.fail(&["get", "prots"], 2);
    world.fail(&["get", "ports", "-l", "a=b)"], 2);
    world.fail(&["delete", "ports"], 2);
    world.fail(&["span", "host/nobody"], 3);
    world.fail(&["--controller", "127.0.0.1:1", "get", "ports"], 4);
    world.fail(&["--controller", "no address", "get", "ports"], 2);
    assert_eq!(
        world.run(&["status"]).lines().nth(1).unwrap(),
        "0 hosts: 0 connected, 0 current, 0 with rejections"
    );
}

/// A reader that goes away ends the program, not with a panic.
/// An agent in a process of its own, which ends with this value.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // By the handle of the child itself, so by nobody else's id.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn what_a_host_holds_is_checked() {
    let world = World::start();
    world.run(&["apply", "-f", &three_tier()]);
    let absent = world.fail(&["host", "check", "host-01"], 1);
    assert!(absent.contains("host host-01 is connected to no replica"), "{absent}");
    world.fail(&["host", "check", "nobody"], 3);
    world.fail(&["host", "check"], 2);
    let state_dir = world.directory.path().join("agent").display().to_string();
    let arguments =
        ["agent", "--host", "host-01", "--datapath", "record", "--state-dir", &state_dir];
    let agent = world.command(&arguments).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
    let _agent = Agent(agent.unwrap());
    let is_connected = || world.run(&["get", "hosts"]).contains("host-01  192.0.2.1  connected");
    let begun = std::time::Instant::now();
    while !is_connected() {
        assert!(begun.elapsed() < PATIENCE, "the agent never connected");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let checked = world.run(&["host", "check", "host-01"]);
    assert!(checked.starts_with("host-01 holds what it should: "), "{checked}");
    let json = world.run(&["host", "check", "host-01", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let host = &json["hosts"][0];
    assert_eq!((host["host"].as_str(), host["replica"].as_u64()), (Some("host-01"), Some(1)));
    assert!(host["items"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(host["differences"].as_array().map(Vec::len), Some(0));
    let described = world.run(&["describe", "host/host-01"]);
    assert!(described.contains("checks      2 on this connection"), "{described}");
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut child = spanwire(&["completion", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything is read: the script is larger than a pipe holds, or comes too late.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn imports_list_what_they_leave_out() {
    let campus = root().join("import/tests/data/campus-12-tenants.json");
    let import = |arguments: &[&str]| spanwire(&[&["import", "ovn"], arguments].concat()).output();
    let campus = campus.display().to_string();
    let output = import(&[&campus]).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let yaml = String::from_utf8(output.stdout).unwrap();
    assert_eq!(yaml.matches("kind: LogicalPort\n").count(), 508);

    // A row of a table that has no counterpart, put into the dump.
    let text = fs::read_to_string(&campus).unwrap();
    let row = concat!(
        r#"[["uuid","11111111-2222-4333-8444-555555555555"],["set",[]],["set",[]],["map",[]],"#,
        r#""192.0.2.9",["set",[]],"",["set",[]],"10.0.0.9",["set",[]],["map",[]],"dnat_and_snat"]"#,
    );
    let with_nat = text.replace(
        r#"{"caption":"NAT table","data":[]"#,
        &format!(r#"{{"caption":"NAT table","data":[{row}]"#),
    );
    assert_ne!(with_nat, text, "the dump has an empty NAT table");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(with_nat.as_bytes()).unwrap();
    let path = file.path().display().to_string();
    let output = import(&[&path]).unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(stderr(&output).contains("unsupported: NAT "), "{}", stderr(&output));
    assert!(!output.stdout.is_empty());
    let output = import(&[&path, "--skip-unsupported"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = import(&["/no/such/file"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_demo_holds_without_packets() {
    let output = spanwire(&["demo", "--record", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["passed"], true);
    assert_eq!(summary["mode"], "record drivers");
    assert!(summary["checks"].as_array().unwrap().len() > 20);
}

/// The same with namespaces and packets, where that is possible; in CI it must be.
#[test]
fn the_demo_holds_with_packets() {
    // Two demos cannot run at once on a machine: the lab has one name.
    const TRIES_MAX: usize = 60;
    let mut tries = 0;
    let output = loop {
        let output = spanwire(&["demo", "--json"]).output().unwrap();
        tries += 1;
        if tries == TRIES_MAX || !stderr(&output).contains("is in use by process") {
            break output;
        }
        std::thread::sleep(std::time::Duration::from_secs(2));
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["passed"], true);
    if summary["mode"] != "linux drivers, real packets" {
        assert!(std::env::var_os("SPANWIRE_CI").is_none(), "CI must be able to send packets");
        eprintln!("no packets were sent: not root, or ip or nft is missing");
    }
}

#[test]
fn verdicts_of_a_controller() {
    let world = World::start();
    world.run(&["apply", "-f", &three_tier()]);
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&world.run(&[arguments, &["-o", "json"]].concat())).unwrap()
    };
    let question = ["verdict", "shop/app-0", "10.20.3.10", "--tcp", "5432"];
    let before = json(&question);
    assert_eq!(before["verdict"], "allowed");
    let text = world.run(&question);
    assert!(text.contains("rule 0 \"from-app\" of policy shop/db (allow"), "{text}");
    world.run(&[&question[..], &["--expect", "allowed"]].concat());
    let failed = world.command(&[&question[..], &["--expect", "denied"]].concat()).output();
    assert_eq!(failed.unwrap().status.code(), Some(1));
    world.fail(&["verdict", "shop/app-9", "shop/db-0", "--tcp", "1"], 3);

    let matrix =
        world.run(&["verdict", "--matrix", "-A", "-l", "tier in (app,db)", "--tcp", "5432"]);
    assert!(matrix.starts_with("FROM        shop/app-0  shop/db-0\n"), "{matrix}");
    let batch = root().join("examples/three-tier.verdicts").display().to_string();
    let answers = world.run(&["verdict", "--batch", &batch]);
    assert_eq!(answers.lines().count(), 13, "{answers}");

    let many: String =
        (1..=1_200).map(|port| format!("shop/web-0 shop/app-0 tcp {port} denied\n")).collect();
    let many = world.file("many.verdicts", &many);
    let answers = world.run(&["verdict", "--batch", &many]);
    assert_eq!(answers.lines().count(), 1_200, "more than one request takes");

    // As things were, and as they are.
    world.run(&["delete", "policy/shop/db"]);
    let after = json(&["verdict", "shop/web-0", "shop/db-0", "--tcp", "5432"]);
    assert_eq!(after["verdict"], "allowed");
    let revision = before["revision"].to_string();
    let then = json(&["verdict", "shop/web-0", "shop/db-0", "--tcp", "5432", "--at", &revision]);
    assert_eq!((&then["verdict"], &then["revision"]), (&"denied".into(), &before["revision"]));
    let answers = world.run(&["verdict", "--batch", &batch, "--at", &revision]);
    assert_eq!(answers.lines().count(), 13, "{answers}");
    let text = world.fail(&[&question[..], &["--at", "99999"]].concat(), 1);
    assert!(text.contains("revision 99999 is yet to come"), "{text}");
}
