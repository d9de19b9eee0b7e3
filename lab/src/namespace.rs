//! Network namespaces of the machine, and code that runs inside them.

use crate::error::{LabError, Missing};
use nix::sched::{CloneFlags, setns, unshare};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the `ip` program keeps the names of namespaces.
const NAMESPACES_DIR: &str = "/run/netns";

/// The file that stands for a namespace.
pub(crate) fn path_of(namespace: &str) -> PathBuf {
    Path::new(NAMESPACES_DIR).join(namespace)
}

/// The names of all namespaces of the machine.
pub(crate) fn names() -> Result<BTreeSet<String>, LabError> {
    let entries = match fs::read_dir(NAMESPACES_DIR) {
        Ok(entries) => entries,
        // Nobody has made a namespace since the machine was started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(LabError::io(format!("reading {NAMESPACES_DIR}"))(error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(LabError::io(format!("reading {NAMESPACES_DIR}")))
}

/// Moves the calling thread into a namespace. The thread should be one of its own that ends soon:
/// a thread keeps its namespace alive.
pub(crate) fn enter(namespace: &str) -> Result<(), LabError> {
    let path = path_of(namespace);
    let file = File::open(&path).map_err(LabError::io(format!("opening {}", path.display())))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| LabError::io(format!("entering namespace {namespace}"))(errno.into()))
}

/// Runs a function inside a namespace, on a thread of its own, and waits for it. Sockets that it
/// opens stay in the namespace, wherever they are used, and processes that it starts run there.
///
/// # Errors
/// If there is no such namespace, or this is not root.
pub fn run_in<T: Send>(
    namespace: &str,
    function: impl FnOnce() -> T + Send,
) -> Result<T, LabError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("lab-namespace".to_owned())
            .spawn_scoped(scope, || enter(namespace).map(|()| function()))
            .map_err(LabError::io("starting a thread"))?;
        // A panic of the function is the caller's, as if there were no thread between.
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Sets parameters of the kernel inside a namespace: paths below `/proc/sys/net`, with values.
/// The kernel resolves that directory by the namespace of the thread that opens a file in it.
pub(crate) fn set_parameters(namespace: &str, parameters: &[(&str, &str)]) -> Result<(), LabError> {
    run_in(namespace, || {
        parameters.iter().try_for_each(|(name, value)| {
            let path = Path::new("/proc/sys/net").join(name);
            fs::write(&path, value).map_err(LabError::io(format!(
                "writing {value:?} to {} in namespace {namespace}",
                path.display()
            )))
        })
    })?
}

/// Says what this machine lacks for a lab, if anything.
pub(crate) fn supported() -> Result<(), Missing> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing {
            what: "root".to_owned(),
            remedy: "run it with sudo, or in a container with its own privileges".to_owned(),
        });
    }
    let ip = Command::new("ip").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !ip.is_ok_and(|status| status.success()) {
        return Err(Missing {
            what: "the `ip` program".to_owned(),
            remedy: "install the package iproute2 (Alpine: iproute2, not busybox)".to_owned(),
        });
    }
    // The thread ends at once, and its new namespace with it.
    let unshared = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    match unshared {
        Ok(Ok(())) => Ok(()),
        _ => Err(Missing {
            what: "the right to make network namespaces".to_owned(),
            remedy: "in a container, add the capability SYS_ADMIN, or run it on the machine itself"
                .to_owned(),
        }),
    }
}
