//! The verbs of `spanwire cluster`, and clients that know of several controllers, against a controller of
//! their own.

// A panic here is a failed test, in helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{World, spanwire, stderr};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

const HOST: &str = "kind: Host\nmetadata: {name: host-01}\nspec: {vtep: 192.0.2.1}\n";

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_replica_alone() {
    let world = World::start();
    world.run(&["apply", "-f", &world.file("host.yaml", HOST)]);
    let text = world.run(&["cluster", "status"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("replica 1 leads in term 1, revision 2"), "{text}");
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!((cells[0], cells[2], cells[3], cells[7]), ("1", "leader", "yes", "ok"), "{text}");
    let status = json(&world.run(&["cluster", "status", "-o", "json"]));
    assert_eq!(status["replicas"][0]["view"]["logFirst"], 1, "{status}");
    assert_eq!(status["replicas"][0]["error"], serde_json::Value::Null);
    let wide = world.run(&["cluster", "status", "-o", "wide"]);
    assert!(wide.contains("RELEASE") && wide.contains(env!("CARGO_PKG_VERSION")), "{wide}");

    let gone = nowhere();
    let add = world.fail(&["cluster", "add", &gone], 1);
    assert!(add.contains(&format!("{gone} does not answer")), "{add}");
    assert!(add.contains("spanwire controller --join"), "{add}");
    let last = world.fail(&["cluster", "remove", "1"], 1);
    assert!(last.contains("a cluster needs a voter"), "{last}");
    let unknown = world.fail(&["cluster", "promote", "7"], 1);
    assert!(unknown.contains("replica 7 is no member"), "{unknown}");
    let transfer = world.fail(&["cluster", "transfer"], 1);
    assert!(transfer.contains("no other voter is heard from"), "{transfer}");
    assert_eq!(world.run(&["cluster", "transfer", "1"]), "replica 1 leads\n");
    let stale = world.run(&["get", "hosts", "--stale"]);
    assert!(stale.contains("host-01"), "{stale}");
}

#[test]
fn backup_and_restore() {
    let world = World::start();
    world.run(&["apply", "-f", &world.file("host.yaml", HOST)]);
    let file = world.directory.path().join("backup");
    let path = file.display().to_string();
    let told = json(&world.run(&["cluster", "backup", &path, "-o", "json"]));
    assert_eq!(told["revision"], 2, "{told}");
    let again = world.run(&["cluster", "backup", &path]);
    assert!(again.starts_with("revision 2 of cluster "), "a file is replaced: {again}");
    let missing = world.fail(&["cluster", "backup", "/nowhere/at/all"], 1);
    assert!(missing.contains("could not write /nowhere/at/all"), "{missing}");
    let files = std::fs::read_dir(world.directory.path()).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("partial")), "{names:?}");

    let restored = world.directory.path().join("restored");
    let restored_path = restored.display().to_string();
    let restore = ["cluster", "restore", &path, "--data-dir", &restored_path];
    let told = world.run(&restore);
    assert!(told.starts_with("1 object at revision 2 of cluster "), "{told}");
    let twice = world.fail(&restore, 1);
    assert!(twice.contains("is not empty"), "{twice}");
    let in_use = world.directory.path().join("data").display().to_string();
    let running = world.fail(&["cluster", "recover", "--data-dir", &in_use, "--yes"], 1);
    assert!(running.contains("is in use by another controller"), "{running}");
    let cluster = json(&world.run(&["cluster", "status", "-o", "json"]))["clusterId"].clone();
    let directory = world.stop();

    let world = World::start_on(directory, &restored);
    let hosts = world.run(&["get", "hosts"]);
    assert!(hosts.contains("host-01  192.0.2.1"), "{hosts}");
    let status = json(&world.run(&["cluster", "status", "-o", "json"]));
    assert_ne!(status["clusterId"], cluster);
    std::fs::write(&file, "kind: Host\n").unwrap();
    let bad = world.fail(&["cluster", "restore", &path, "--data-dir", "/nowhere/at/all"], 1);
    assert!(bad.contains("the file is no backup"), "{bad}");
}

#[test]
fn a_survivor_is_recovered_once_it_is_said_twice() {
    let world = World::start();
    world.run(&["apply", "-f", &world.file("host.yaml", HOST)]);
    let cluster = json(&world.run(&["cluster", "status", "-o", "json"]))["clusterId"].clone();
    let data = world.directory.path().join("data");
    let directory = world.stop();
    let data_path = data.display().to_string();
    let run = |more: &[&str]| {
        let arguments = [&["cluster", "recover", "--data-dir", &data_path], more].concat();
        let output = spanwire(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let plan = run(&[]);
    assert!(plan.contains("its log ends with entry 2 of term 1"), "{plan}");
    assert!(plan.contains("nothing was changed: with --yes"), "{plan}");
    let told = json(&run(&["-o", "json"]));
    assert_eq!((&told["done"], &told["oldClusterId"]), (&false.into(), &cluster), "{told}");
    let done = run(&["--yes"]);
    assert!(done.contains("done: it is the only replica of the new cluster"), "{done}");
    let world = World::start_on(directory, &data);
    let hosts = world.run(&["get", "hosts"]);
    assert!(hosts.contains("host-01"), "{hosts}");
    assert_ne!(json(&world.run(&["cluster", "status", "-o", "json"]))["clusterId"], cluster);
    let other = world.fail(&["cluster", "recover", "--data-dir", "/nowhere/at/all"], 1);
    assert!(other.contains("is no data directory of a replica"), "{other}");
}

#[test]
fn the_next_controller_is_asked_when_one_cannot_be_reached() {
    let world = World::start();
    let both = format!("{}, {}", nowhere(), world.address);
    world.run(&["apply", "-f", &world.file("host.yaml", HOST), "--controller", &both]);
    let hosts = world.run(&["get", "hosts", "--controller", &both]);
    assert!(hosts.contains("host-01"), "{hosts}");
    let none = format!("{},{}", nowhere(), nowhere());
    let failed = world.fail(&["get", "hosts", "--controller", &none], 4);
    assert!(failed.contains("none of 2 controllers answers"), "{failed}");
    let empty = world.fail(&["get", "hosts", "--controller", " ,"], 2);
    assert!(empty.contains("names no controller"), "{empty}");
}

/// One that waits to be added took nothing: the next one is asked, also for adding it.
#[test]
fn a_controller_that_waits_does_not_speak_for_the_others() {
    let (world, waiting) = (World::start(), World::start_waiting());
    let both = format!("{},{}", waiting.address, world.address);
    world.run(&["apply", "-f", &world.file("host.yaml", HOST), "--controller", &both]);
    let hosts = world.run(&["get", "hosts", "--controller", &both]);
    assert!(hosts.contains("host-01"), "{hosts}");
    for alone in [&["delete", "host/host-01"][..], &["get", "hosts"]] {
        let failed = waiting.fail(alone, 4);
        assert!(failed.contains("waits to be added to a cluster"), "{failed}");
    }
    let told = world.run(&["cluster", "add", &waiting.address, "--controller", &both]);
    assert!(told.contains(&format!("replica 2 at {} is a member", waiting.address)), "{told}");
}

/// Its kernel takes the connection, as that of a stopped process does, and nobody answers.
#[test]
fn a_controller_that_does_not_answer_does_not_hold_up_a_read() {
    let world = World::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let both = format!("{},{}", silent.local_addr().unwrap(), world.address);
    assert_eq!(world.run(&["get", "hosts", "--controller", &both]), "nothing found\n");
}

/// An address that leads to a controller, and loses its first answer: the connection breaks as soon as
/// the controller has answered.
fn losing_answers(controller: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(controller).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        // Whichever end goes first, the copy ends.
        let forward = thread::spawn(move || std::io::copy(&mut from, &mut to));
        wait_for_answer(server.try_clone().unwrap());
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = server.shutdown(std::net::Shutdown::Both);
        let _ = forward.join();
    });
    address
}

/// Reads HTTP/2 frames (RFC 9113, section 4.1) until one has data, or the headers of a refusal.
fn wait_for_answer(mut server: TcpStream) {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_STREAM: u8 = 1;
    loop {
        let mut header = [0; 9];
        server.read_exact(&mut header).unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        server.read_exact(&mut payload).unwrap();
        let (kind, flags) = (header[3], header[4]);
        if kind == DATA || (kind == HEADERS && flags & END_STREAM != 0) {
            return;
        }
    }
}

#[test]
fn a_write_whose_answer_is_lost_is_done_once() {
    let world = World::start();
    let file = world.file("host.yaml", HOST);
    let lossy = format!("{},{}", losing_answers(world.address.clone()), world.address);
    let told = world.run(&["apply", "-f", &file, "--controller", &lossy]);
    assert!(told.starts_with("applied before, at revision 2"), "{told}");
    let lossy = format!("{},{}", losing_answers(world.address.clone()), world.address);
    let told = world.run(&["delete", "host/host-01", "--controller", &lossy, "-o", "json"]);
    assert_eq!((&json(&told)["repeated"], &json(&told)["revision"]), (&true.into(), &3.into()));
    assert_eq!(world.run(&["get", "hosts"]), "nothing found\n");
    // A refusal is one wherever it is asked for again.
    let lossy = format!("{},{}", losing_answers(world.address.clone()), world.address);
    world.fail(&["delete", "host/host-01", "--controller", &lossy], 3);
}

/// A controller that hangs up at once took nothing: the next one is asked.
#[test]
fn a_broken_connection_is_not_the_end_of_a_write() {
    let world = World::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut preface = [0; 24];
        client.read_exact(&mut preface).unwrap();
        let _ = client.write_all(b"no");
    });
    let both = format!("{address},{}", world.address);
    let told = world.run(&["apply", "-f", &world.file("host.yaml", HOST), "--controller", &both]);
    assert!(told.contains("host host-01 created"), "{told}");
    assert!(Path::new(&world.directory.path().join("data")).exists());
}
