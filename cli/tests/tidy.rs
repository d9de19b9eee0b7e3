//! Rules of the repository that a program can check: links that lead somewhere, commands in the
//! docs that exist, sizes, and what every crate must say of itself.

// A panic here is a failed test, in helpers as well.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The largest file that may be checked in, in bytes. Real inputs of tests are the largest.
const FILE_BYTES_MAX: u64 = 3 << 20;
/// The longest source file, in lines: one subject a file.
const SOURCE_LINES_MAX: usize = 900;
/// The longest line of a source file, in characters. rustfmt keeps code within 100 columns; this is for
/// the texts and pictures that it leaves alone.
const SOURCE_COLUMNS_MAX: usize = 150;
/// Directories that hold nothing of ours.
const SKIPPED: [&str; 5] = ["target", ".git", "corpus", "artifacts", "proptest-regressions"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the repository, sorted, with its path from the top.
fn files() -> Vec<PathBuf> {
    fn visit(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let name = entry.file_name();
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
                visit(&entry.path(), found);
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    visit(&root(), &mut found);
    found.sort();
    found
}

fn with_extension(extension: &str) -> Vec<(PathBuf, String)> {
    files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// Every rule of lint has a section, and every section a rule.
#[test]
fn findings_are_documented() {
    let text = fs::read_to_string(root().join("docs/findings.md")).unwrap();
    let sections: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    let rules: Vec<&str> = spanwire_topology::lint::RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(sections, rules);
    for rule in spanwire_topology::lint::RULES {
        let row = format!("`{}`](#{}) | {} |", rule.id, rule.id, rule.severity);
        assert!(text.contains(&row), "the table lacks {row}");
    }
}

fn check(problems: Vec<String>) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// The heading's anchor, as code hosts make it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The targets of `[text](target)` outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every second part is inside of backticks.
        let prose: String = line.split('`').step_by(2).collect();
        for rest in prose.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let mut problems = Vec::new();
    for (path, text) in with_extension("md") {
        for target in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let linked =
                if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            if !linked.exists() {
                problems.push(format!("{}: {target} does not exist", path.display()));
            } else if !fragment.is_empty() {
                let text = fs::read_to_string(&linked).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                if !headings.into_iter().any(|heading| anchor(heading) == fragment) {
                    problems.push(format!("{}: {target}: no such heading", path.display()));
                }
            }
        }
    }
    check(problems);
}

#[test]
fn make_targets_in_the_docs_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '.', '#', ' ']))
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target)
        .collect();
    let mut problems = Vec::new();
    for (path, text) in with_extension("md") {
        for code in text.split('`').skip(1).step_by(2).chain(text.lines()) {
            let Some(rest) = code.trim().strip_prefix("make ") else { continue };
            let Some(target) = rest.split_whitespace().next() else { continue };
            let is_word = target.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if code.trim().len() < 40 && is_word && !targets.contains(target) {
                problems.push(format!("{}: no target {target:?}", path.display()));
            }
        }
    }
    check(problems);
}

/// Commands in fenced blocks of the docs, without a prompt: `spanwire VERB ...`.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        let line = line.trim_start().trim_start_matches("$ ").trim_start_matches("sudo ");
        if in_code && line.starts_with("spanwire ") {
            found.push(line.split_whitespace().skip(1).map(str::to_owned).collect());
        }
    }
    found
}

#[test]
fn commands_in_the_docs_exist() {
    const NESTED: [&str; 3] = ["cluster", "import", "lab"];
    let mut seen = BTreeSet::new();
    for (path, text) in with_extension("md") {
        for words in commands(&text) {
            let mut verb: Vec<String> =
                words.into_iter().filter(|word| !word.starts_with('-')).take(2).collect();
            if verb.first().is_none_or(|first| !NESTED.contains(&first.as_str())) {
                verb.truncate(1);
            }
            if !seen.insert(verb.clone()) {
                continue;
            }
            let output = Command::new(env!("CARGO_BIN_EXE_spanwire"))
                .args(&verb)
                .arg("--help")
                .output()
                .unwrap();
            assert!(output.status.success(), "{}: spanwire {verb:?}", path.display());
        }
    }
}

#[test]
fn files_are_small_enough() {
    let mut problems = Vec::new();
    for path in files() {
        let bytes = fs::metadata(&path).unwrap().len();
        if bytes > FILE_BYTES_MAX {
            problems.push(format!("{}: {bytes} bytes", path.display()));
        }
    }
    for (path, text) in with_extension("rs") {
        let lines = text.lines().count();
        if lines > SOURCE_LINES_MAX {
            problems.push(format!("{}: {lines} lines: split it", path.display()));
        }
        for (n, line) in text.lines().enumerate() {
            if line.chars().count() > SOURCE_COLUMNS_MAX {
                problems.push(format!("{}:{}: too long", path.display(), n + 1));
            }
        }
    }
    check(problems);
}

#[test]
fn nothing_is_put_off() {
    // Written apart, or this file would break its own rule.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut problems = Vec::new();
    for extension in ["rs", "toml", "proto", "md", "yaml", "service"] {
        for (path, text) in with_extension(extension) {
            for (n, line) in text.lines().enumerate() {
                if marks.iter().any(|mark| line.contains(mark)) {
                    problems.push(format!("{}:{}: {line}", path.display(), n + 1));
                }
            }
        }
    }
    check(problems);
}

#[test]
fn every_crate_says_what_it_is() {
    let mut problems = Vec::new();
    for (path, text) in with_extension("toml") {
        if path.file_name().is_none_or(|name| name != "Cargo.toml") || !text.contains("[package]") {
            continue;
        }
        let own_workspace = text.contains("\n[workspace]");
        for needed in ["description = \"", "license", "publish"] {
            if !text.contains(needed) {
                problems.push(format!("{}: no {needed}", path.display()));
            }
        }
        if !own_workspace && !text.contains("[lints]\nworkspace = true") {
            problems.push(format!("{}: not under the lints of the workspace", path.display()));
        }
    }
    check(problems);
}
