//! `spanwire verdict` on files, as a shell would run it: no controller is there.

// A panic here is a failed test, in helpers as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    root.join("examples").join(name).display().to_string()
}

/// Runs `spanwire verdict` with some arguments, on files.
fn verdict(files: &[&str], arguments: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanwire"));
    command.arg("verdict").args(arguments).arg("--offline");
    for file in files {
        command.args(["-f", file]);
    }
    // Nothing answers there: whoever asked a controller would fail.
    command.env("SPANWIRE_CONTROLLER", "127.0.0.1:1").env_remove("SPANWIRE_PROJECT");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever does not read it has closed it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output)
}

fn fails(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}{}", stdout(output), stderr(output));
    stderr(output)
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&ok(output)).unwrap()
}

fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path: PathBuf = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn an_answer_reads_like_an_explanation() {
    let three_tier = example("three-tier.yaml");
    let found = ok(&verdict(&[&three_tier], &["shop/app-0", "shop/db-0", "--tcp", "5432"], ""));
    let (head, place) = (found.lines().take(4), found.lines().nth(4).unwrap());
    assert_eq!(
        head.collect::<Vec<_>>(),
        [
            "tcp 5432 from port shop/app-0 (10.20.2.10) to port shop/db-0 (10.20.3.10): allowed",
            "  path: switch shop/app -> router shop/main -> switch shop/db",
            "  at the source, host host-02 allows it: no policy decides",
            "  at the destination, host host-01 allows it: rule 0 \"from-app\" of policy shop/db \
             (allow, tier 500, priority 1000, revision 1)",
        ]
    );
    assert!(
        place.starts_with("    it stands at ") && place.contains("three-tier.yaml:"),
        "{place}"
    );
    assert_eq!(
        found.lines().skip(5).collect::<Vec<_>>(),
        [
            "    the policy is applied to port shop/db-0 through group shop/db (revision 1)",
            "      its labels match the selector tier=db of group shop/db",
            "    the source is port shop/app-0 in group shop/app (revision 1)",
            "      its labels match the selector tier=app of group shop/app",
            "    the packet is in tcp:5432",
            "    without that: the default of policy shop/db (drop, tier 500, priority 1000, \
             revision 1)",
            "at revision 1",
        ]
    );
}

#[test]
fn programs_are_told_the_same() {
    let three_tier = example("three-tier.yaml");
    let ask =
        |words: &[&str]| json(&verdict(&[&three_tier], &[words, &["-o", "json"]].concat(), ""));
    let found = ask(&["shop/db-0", "203.0.113.9", "--udp", "53"]);
    assert_eq!(found["verdict"], "denied");
    assert_eq!(found["atSource"]["decided"]["by"], "default");
    assert_eq!(found["atSource"]["decided"]["policy"], "shop/db");
    assert_eq!(found["atSource"]["next"]["by"], "none");
    assert!(found["atDestination"].is_null() && found["path"].as_array().unwrap().is_empty());
    let found = ask(&["shop/web-0@fd00:20:1::10", "shop/web-1", "--icmp"]);
    assert_eq!(found["destination"]["address"], "fd00:20:1::11");
    assert_eq!(found["packet"]["type"], "echo");
    let found = ask(&["203.0.113.9", "-p", "shop", "web-0", "--tcp", "443", "--expect", "allowed"]);
    assert_eq!(found["verdict"], "allowed");
    let decided = &found["atDestination"]["decided"];
    assert_eq!(decided["rule"]["name"], "from-everyone");
    assert_eq!(decided["service"]["service"], "shop/https");
    assert_eq!(decided["service"]["entry"], "tcp:443");
}

#[test]
fn a_denied_packet_is_an_answer_and_no_failure_unless_it_is_expected_otherwise() {
    let three_tier = example("three-tier.yaml");
    let words = ["shop/web-0", "shop/db-0", "--tcp", "5432"];
    assert!(ok(&verdict(&[&three_tier], &words, "")).contains(": denied\n"));
    let expecting = |what| verdict(&[&three_tier], &[&words[..], &["--expect", what]].concat(), "");
    ok(&expecting("denied"));
    let text = fails(&expecting("allowed"), 1);
    assert!(text.contains("the packet is denied, and allowed was expected"), "{text}");
}

#[test]
fn overlapping_addresses_are_to_be_named() {
    let tenants = example("overlapping-tenants.yaml");
    let ports = ok(&verdict(&[&tenants], &["--matrix", "-A", "--tcp", "80", "-o", "json"], ""));
    let ports: serde_json::Value = serde_json::from_str(&ports).unwrap();
    let verdicts: Vec<&str> =
        ports["pairs"].as_array().unwrap().iter().filter_map(|p| p["verdict"].as_str()).collect();
    assert!(verdicts.contains(&"unreachable"), "{verdicts:?}");
    // An address that two of its ports have, found in the file itself.
    let text = std::fs::read_to_string(&tenants).unwrap();
    let mut addresses: Vec<&str> = text
        .split("addresses: [")
        .skip(1)
        .filter_map(|rest| rest.split([',', ']']).next())
        .filter(|address| address.parse::<std::net::IpAddr>().is_ok())
        .collect();
    addresses.sort_unstable();
    let twice = addresses.windows(2).find(|pair| pair[0] == pair[1]).unwrap()[0];
    let text = fails(&verdict(&[&tenants], &[twice, "203.0.113.9", "--tcp", "80"], ""), 1);
    assert!(text.contains("in domains apart: name the one you mean: port "), "{text}");
}

#[test]
fn the_matrix_shows_every_pair() {
    let three_tier = example("three-tier.yaml");
    let words = ["--matrix", "-p", "shop", "-l", "tier in (app,db)", "--tcp", "5432"];
    assert_eq!(
        ok(&verdict(&[&three_tier], &words, "")),
        "FROM   app-0   db-0\n\
         app-0  ·       allowed\n\
         db-0   denied  ·\n\
         from the rows to the columns, at revision 1\n"
    );
    let words = ["--matrix", "-l", "tier=none", "--tcp", "5432"];
    assert!(fails(&verdict(&[&three_tier], &words, ""), 3).contains("no port is selected"));

    let directory = tempfile::tempdir().unwrap();
    let mut many = "kind: LogicalSwitch\nmetadata: {name: s}\nspec: {}\n".to_owned();
    for n in 0..65 {
        many.push_str(&format!(
            "---\nkind: LogicalPort\nmetadata: {{name: p{n}}}\nspec: {{switch: s, addresses: \
             [10.0.0.{}]}}\n",
            n + 1
        ));
    }
    let many = file(&directory, "many.yaml", &many);
    let text = fails(&verdict(&[&many], &["--matrix", "--tcp", "80"], ""), 2);
    assert!(text.contains("65 ports are selected: a matrix has 64 at most"), "{text}");
}

#[test]
fn the_batch_beside_the_example_holds() {
    let (three_tier, batch) = (example("three-tier.yaml"), example("three-tier.verdicts"));
    let found = ok(&verdict(&[&three_tier], &["--batch", &batch], ""));
    let lines: Vec<serde_json::Value> =
        found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = std::fs::read_to_string(&batch).unwrap();
    let asked: Vec<usize> = (1..)
        .zip(asked.lines())
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(number, _)| number)
        .collect();
    let numbers: Vec<usize> =
        lines.iter().map(|line| line["line"].as_u64().unwrap() as usize).collect();
    assert_eq!(numbers, asked, "every question is answered, in order");
    assert!(lines.iter().all(|line| line["asExpected"] == true), "{found}");
}

#[test]
fn what_a_batch_expects_otherwise_is_told() {
    let three_tier = example("three-tier.yaml");
    let ask = |text: &str| verdict(&[&three_tier], &["--batch", "-", "-p", "shop"], text);
    let found =
        ask("web-0 app-0 tcp 8080 denied\n\nweb-0 db-0 tcp 5432 denied\nweb-0 app-0 tcp 1\n");
    let text = fails(&found, 1);
    assert!(text.contains("1 of 3 questions answered otherwise than expected"), "{text}");
    assert!(
        text.contains("line 1: allowed, expected denied: rule 0 \"from-web\" of policy shop/app")
    );
    let lines: Vec<serde_json::Value> =
        stdout(&found).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["line"].as_u64(), line["verdict"].as_str(), line["asExpected"].as_bool()))
        .collect();
    assert_eq!(
        told,
        [
            (Some(1), Some("allowed"), Some(false)),
            (Some(3), Some("denied"), Some(true)),
            (Some(4), Some("denied"), None),
        ]
    );

    // A port that is not there has no verdict, whatever is expected of it.
    let found = ask("web-9 db-0 tcp 5432 denied\nweb-0 db-0 tcp 5432 denied\n");
    let text = fails(&found, 3);
    assert!(text.contains("line 1: port shop/web-9 does not exist"), "{text}");
    let first: serde_json::Value =
        serde_json::from_str(stdout(&found).lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["verdict"], &first["asExpected"]),
        (&serde_json::Value::Null, &false.into())
    );
    assert_eq!(stdout(&found).lines().count(), 2);
}

#[test]
fn a_malformed_batch_asks_nothing() {
    let three_tier = example("three-tier.yaml");
    let directory = tempfile::tempdir().unwrap();
    let batch =
        file(&directory, "b", "shop/web-0 shop/db-0 tcp 5432\nshop/web-0 shop/db-0 tcp\nx\n");
    let found = verdict(&[&three_tier], &["--batch", &batch], "");
    let text = fails(&found, 2);
    assert!(found.stdout.is_empty());
    assert!(text.contains("2 lines malformed") && text.contains("b:2: 3 of 4 words"), "{text}");
    assert!(text.contains("b:3: 1 of 4 words: expected SOURCE DESTINATION"), "{text}");
    let empty = file(&directory, "empty", "# nothing\n");
    let text = fails(&verdict(&[&three_tier], &["--batch", &empty], ""), 2);
    assert!(text.contains("holds no question"), "{text}");
    let gone = directory.path().join("gone").display().to_string();
    let text = fails(&verdict(&[&three_tier], &["--batch", &gone], ""), 1);
    assert!(text.contains("cannot be read"), "{text}");
    let text = fails(&verdict(&["-"], &["--batch", "-"], ""), 2);
    assert!(text.contains("stdin is named twice"), "{text}");
}

#[test]
fn many_questions_are_answered_in_order() {
    let three_tier = example("three-tier.yaml");
    // More than one request takes.
    let batch: String =
        (1..=2_500).map(|port| format!("shop/web-0 shop/app-0 tcp {port}\n")).collect();
    let found = ok(&verdict(&[&three_tier], &["--batch", "-"], &batch));
    let ports: Vec<u64> = found
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["packet"]["port"].as_u64().unwrap())
        .collect();
    assert_eq!(ports, (1..=2_500).collect::<Vec<u64>>());
}

#[test]
fn wrong_command_lines_say_what_is_missing() {
    let three_tier = example("three-tier.yaml");
    let cases: [(&[&str], &str); 7] = [
        (&["a", "b"], "nothing says what is sent"),
        (&["a", "--tcp", "1"], "<DESTINATION>"),
        (&["a", "b", "--tcp", "1", "--udp", "1"], "cannot be used with"),
        (&["a", "b", "--tcp", "1", "-l", "x=y"], "select the ports of --matrix"),
        (&["--batch", "x", "--tcp", "1"], "each line of --batch says what is sent"),
        (&["a", "b", "--tcp", "1", "--at", "5"], "cannot be used with"),
        (&["a/b/c", "b", "--icmp", "300"], "is no ICMP type"),
    ];
    for (words, expected) in cases {
        let text = fails(&verdict(&[&three_tier], words, ""), 2);
        assert!(text.contains(expected), "{words:?}: {text}");
    }
}
