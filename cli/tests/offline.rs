//! Questions about files, asked of no controller.

// A panic here is a failed test, in helpers as well.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a verb where no controller answers.
fn spanwire(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanwire"));
    command
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .env_remove("SPANWIRE_CONTROLLER")
        .env_remove("SPANWIRE_PROJECT")
        .stdin(Stdio::null());
    command.output().unwrap()
}

fn run(arguments: &[&str]) -> String {
    let output = spanwire(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&run(&[arguments, &["-o", "json"]].concat())).unwrap()
}

const FILE: &str = "examples/three-tier.yaml";

const UNTIDY: &str = "kind: Group
metadata: {project: shop, name: wrong}
spec: {terms: [{selector: \"a,!a\"}]}
---
kind: Group
metadata: {project: shop, name: none}
spec: {terms: [{selector: app=none}]}
";

/// A file beside the example.
fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (directory, path)
}

#[test]
fn lint_tells_file_and_line_and_exits_by_severity() {
    let clean = run(&["lint", "--offline", "-f", FILE, "--severity", "warning"]);
    assert_eq!(clean, "nothing found\n");
    let (_directory, path) = file("untidy.yaml", UNTIDY);
    let output = spanwire(&["lint", "--offline", "-f", FILE, "-f", &path]);
    assert_eq!(output.status.code(), Some(7));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains(&format!(
            "{path}:5:1: warning: group shop/none: matches nothing: no port by its terms, and no \
             address by its CIDR blocks [empty-group]\n"
        )),
        "{stdout}"
    );
    assert!(stdout.contains("error: group shop/wrong: selector"), "{stdout}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("1 finding of severity error"), "{stderr}");
    let output = spanwire(&[
        "lint",
        "--offline",
        "-f",
        &path,
        "--severity",
        "error",
        "-o",
        "json",
        "--limit",
        "5",
    ]);
    assert_eq!(output.status.code(), Some(7));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["findings"][0]["rule"], "contradictory-selector");
    assert_eq!(answer["findings"][0]["object"], "group shop/wrong");
    assert_eq!(answer["findings"][0]["place"], format!("{path}:1:1"));
    assert_eq!((&answer["errors"], &answer["warnings"]), (&1.into(), &0.into()));
}

#[test]
fn explanations_and_views_come_from_files() {
    let has = run(&["explain", "host-01", "shop/app-0", "-g", "shop/app", "--offline", "-f", FILE]);
    assert!(has.starts_with("host host-01 has shop/app-0 of group shop/app"), "{has}");
    assert!(has.contains("rule 1 "), "{has}");
    let arguments = ["explain", "host-02", "10.20.3.10", "-g", "shop/db", "--offline", "-f", FILE];
    assert_eq!(json(&arguments)["hasMember"], false);
    let view = json(&["host-view", "host-02", "--offline", "-f", FILE]);
    assert_eq!(view["shards"][0]["group"], "shop/web");
    for arguments in [
        ["host-view", "host-99", "--offline", "-f", FILE].as_slice(),
        &["explain", "host-01", "shop/nobody", "-g", "shop/app", "--offline", "-f", FILE],
    ] {
        let output = spanwire(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn impact_compares_a_change_with_a_base() {
    let relabelled =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(FILE))
            .unwrap()
            .replace("name: web-0, labels: {tier: web}", "name: web-0, labels: {tier: app}");
    let (_directory, path) = file("relabelled.yaml", &relabelled);
    let arguments = ["impact", "--offline", "--base", FILE, "-f", &path];
    let text = run(&arguments);
    assert!(text.starts_with("1 of 17 objects would change; 2 hosts would be told"), "{text}");
    assert!(text.contains("would fare otherwise"), "{text}");
    let answer = json(&arguments);
    let flips = answer["flips"].as_array().unwrap();
    let opened = flips.iter().any(|flip| {
        flip["source"] == "shop/web-0"
            && flip["destination"] == "shop/db-0"
            && flip["packet"] == "tcp:5432"
            && flip["after"] == "allowed"
    });
    assert!(opened, "{answer:#}");
    assert_eq!(answer["domainMoves"].as_array().unwrap().len(), 0);
    // Without a base, what a file does to the empty network.
    let text = run(&["impact", "--offline", "-f", FILE]);
    assert!(text.starts_with("17 of 17 objects would change"), "{text}");
    let output = spanwire(&["impact", "--base", FILE, "-f", FILE]);
    assert_eq!(output.status.code(), Some(2), "a base is of no use to a controller");
}
