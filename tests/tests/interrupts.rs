//! A lab that is interrupted while it comes up leaves nothing behind.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use spanwire_lab::{Lab, STATE_ROOT};
use spanwire_tests::binary::spanwire;
use spanwire_tests::{fleet, step_aside, wait_for};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often a lab may be up before it is interrupted.
const ATTEMPTS: usize = 20;

#[test]
fn an_interrupted_lab_is_gone() {
    const NAME: &str = "interrupts";
    if let Some(lacking) = fleet::lacking() {
        return step_aside(NAME, &lacking);
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/three-tier.yaml");
    let state = Path::new(STATE_ROOT).join(NAME);
    for _ in 0..ATTEMPTS {
        let mut child = Command::new(spanwire())
            .args(["lab", "up", NAME, "-f"])
            .arg(&example)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        wait_for("the lab begins to be made", Duration::from_secs(30), || {
            match child.try_wait().expect("a child can be asked for") {
                Some(_) => Ok(()),
                None if state.exists() => Ok(()),
                None => Err(format!("{} is not there", state.display())),
            }
        });
        // Not reaped yet, so the pid is still its own.
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it can be signalled");
        let output = child.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Lab::open(NAME).and_then(Lab::down).expect("a lab that came up goes down");
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("interrupted; what was made is removed"), "{told}");
        assert!(!state.exists(), "{} is still there", state.display());
        let listed = Command::new("ip").args(["netns", "list"]).output().expect("ip runs");
        let namespaces = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(!namespaces.contains(&format!("spw-{NAME}-")), "{namespaces}");
        return;
    }
    panic!("{ATTEMPTS} labs were up before they could be interrupted");
}
