//! Running the hot paths under callgrind, and reading what it counted.

use super::baselines::Counts;
use super::hot_paths;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// The line of a dump that has the sum of all events; there is one kind of event, instructions.
const TOTALS: &str = "totals: ";

/// Why nothing can be counted here, if nothing can.
pub(super) fn unavailable() -> Option<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some("the baselines are of x86-64 Linux".to_owned());
    }
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("valgrind does not work here ({status})")),
        Err(error) => Some(format!("there is no valgrind ({error})")),
    }
}

/// Counts the instructions of an operation of each hot path, and tells for each as many functions as
/// are wanted, those first that spend the most.
pub(super) fn count(functions: usize) -> Result<(Counts, String), String> {
    if cfg!(debug_assertions) {
        return Err("a debug build says nothing of a release: run with --release".to_owned());
    }
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let directory =
        tempfile::tempdir().map_err(|error| format!("a directory for callgrind: {error}"))?;
    let dump = directory.path().join("dump");
    let mut dump_option = OsString::from("--callgrind-out-file=");
    dump_option.push(&dump);
    let output = Command::new("valgrind")
        // Each dump is to be read on its own: names are written out in all of them.
        .args(["--quiet", "--tool=callgrind", "--compress-strings=no"])
        .arg(format!("--toggle-collect=*{}*", hot_paths::COLLECTED))
        .arg(format!("--dump-after=*{}*", hot_paths::LAST_OF_PATH))
        .arg(dump_option)
        .arg(program)
        .arg("hot-paths")
        // What stands in the environment moves everything on the heap.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        // The C library chooses its copying routines by the processor; these are on every one, so
        // that machines count alike.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX512F,-ERMS,-FSRM")
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind failed ({}):\n{text}", output.status));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let (mut counts, mut text) = (Counts::new(), String::new());
    for (at, line) in said.lines().enumerate() {
        let path = read_path(&dump, at + 1, line)?;
        if functions > 0 {
            text.push_str(&format!("{}:\n", path.name));
        }
        for (function, spent) in path.functions.iter().take(functions) {
            let percent = 100.0 * *spent as f64 / path.total as f64;
            text.push_str(&format!("{percent:6.2} %  {function}\n"));
        }
        counts.insert(path.name, path.total / path.operations);
    }
    Ok((counts, text))
}

/// What callgrind wrote down of one path.
#[derive(Debug, PartialEq)]
struct Counted {
    name: String,
    operations: u64,
    total: u64,
    /// Functions with the instructions of their own, most first.
    functions: Vec<(String, u64)>,
}

/// A line that the hot paths print, `name operations`, with the dump of the same number.
fn read_path(dump: &Path, number: usize, line: &str) -> Result<Counted, String> {
    let parts =
        line.split_once(' ').and_then(|(n, operations)| Some((n, operations.parse().ok()?)));
    let Some((name, operations)) = parts.filter(|&(_, operations): &(_, u64)| operations > 0)
    else {
        return Err(format!("the hot paths said {line:?}: expected a name and a number"));
    };
    let path = dump.with_extension(number.to_string());
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("callgrind left no dump of {name}: {error}"))?;
    let total = totals(&text).filter(|&total| total > 0);
    let total = total.ok_or_else(|| format!("callgrind counted nothing in {name}"))?;
    Ok(Counted { name: name.to_owned(), operations, total, functions: functions(&text) })
}

fn totals(dump: &str) -> Option<u64> {
    dump.lines().find_map(|line| line.strip_prefix(TOTALS))?.trim().parse().ok()
}

/// The functions of a dump. A line with a position and a count belongs to the function named last;
/// that after `calls=` is what was spent further in, and counts there.
fn functions(dump: &str) -> Vec<(String, u64)> {
    let mut spent: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut function, mut is_call) = ("", false);
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let count = line.split_whitespace().nth(1).and_then(|count| count.parse().ok());
            if !is_call {
                *spent.entry(function).or_default() += count.unwrap_or(0_u64);
            }
        }
        is_call = line.starts_with("calls=");
    }
    let mut list: Vec<(String, u64)> =
        spent.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    list.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_read_by_number() {
        let directory = tempfile::tempdir().unwrap();
        let dump = directory.path().join("dump");
        let text = "events: Ir\nfn=outer\n10 4\ncalls=1 20\n11 1220\n+1 10\n\nfn=inner\n20 1220\n\
                    totals: 1234\n";
        std::fs::write(dump.with_extension("2"), text).unwrap();
        std::fs::write(dump.with_extension("3"), "events: Ir\ntotals: 0\n").unwrap();
        let expected = Counted {
            name: "cut".to_owned(),
            operations: 10,
            total: 1234,
            functions: vec![("inner".to_owned(), 1220), ("outer".to_owned(), 14)],
        };
        assert_eq!(read_path(&dump, 2, "cut 10"), Ok(expected));
        for (number, line, problem) in [
            (1, "cut 10", "callgrind left no dump of cut"),
            (2, "cut", "expected a name and a number"),
            (2, "cut 0", "expected a name and a number"),
            (3, "cut 1", "callgrind counted nothing in cut"),
        ] {
            let found = read_path(&dump, number, line).unwrap_err();
            assert!(found.contains(problem), "{found}");
        }
    }
}
